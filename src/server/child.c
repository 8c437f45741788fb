/* The command behind `--` (child.h).
 *
 * fork and exec are our own, not uv_spawn(): libuv waits only for processes it started, and the
 * orphans that come to us as sub-reaper must be reaped too. As in uv_spawn() all signals are
 * blocked around the fork, since libuv's handlers would write into a pipe shared with the parent,
 * and the child tells a failed exec through a pipe that a successful one closes. */
#include "server/child.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

struct child {
    struct child_config config;
    uv_signal_t sigchld;
    pid_t pid; /* 0: CMD has ended */
    bool is_gone;
};

static void handle_gone(struct child *c)
{
    if (!c->is_gone) {
        c->is_gone = true;
        c->config.gone(c->config.user);
    }
}

/* Reaps whatever has ended. The kernel hands orphans over before it reports the death of their
 * parent, so that when CMD is reaped, what it left behind counts among our children already. */
static void reap(struct child *c)
{
    pid_t pid;
    int wstatus, exit_status = -1;
    do {
        pid = waitpid(-1, &wstatus, WNOHANG);
        if (pid > 0 && pid == c->pid) {
            exit_status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
            c->pid = 0;
        }
    } while (pid > 0 || (pid < 0 && errno == EINTR));
    bool none_left = pid < 0;
    if (exit_status >= 0) {
        c->config.exited(c->config.user, exit_status, !none_left);
    }
    if (none_left) {
        handle_gone(c);
    }
}

static void on_sigchld(uv_signal_t *handle, int signo)
{
    (void)signo;
    reap(handle->data);
}

/* In the new process, with all signals blocked. Returns only the errno of a failure. */
static int exec_command(const struct child_config *config, const sigset_t *mask)
{
    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction sa;
        bool ours = signo == SIGPIPE || signo == SIGXFSZ; /* ignored by us, not by who started us */
        if (sigaction(signo, NULL, &sa) == 0 && (ours || sa.sa_handler != SIG_IGN)) {
            (void)signal(signo, SIG_DFL); /* fails for SIGKILL and SIGSTOP, rightly */
        }
    }
    (void)setrlimit(RLIMIT_NOFILE, &config->nofile);
    (void)pthread_sigmask(SIG_SETMASK, mask, NULL);
    (void)execvp(config->argv[0], config->argv);
    return errno;
}

/* The errno of the child's exec; 0: it worked. */
static int read_exec_errno(int fd)
{
    int sys_errno = 0;
    ssize_t n;
    do {
        n = read(fd, &sys_errno, sizeof sys_errno);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof sys_errno ? sys_errno : 0;
}

static int spawn(const struct child_config *config, pid_t *ret_pid, struct zerr_info *info)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return zerr_fail(info, ZERR_LIMIT, errno, "cannot make a pipe");
    }
    sigset_t all, mask;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t pid = fork();
    int fork_errno = errno;
    if (pid == 0) {
        int sys_errno = exec_command(config, &mask);
        ssize_t n = write(fds[1], &sys_errno, sizeof sys_errno);
        _exit(n == (ssize_t)sizeof sys_errno ? 127 : 126);
    }
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    (void)close(fds[1]);
    int sys_errno = pid > 0 ? read_exec_errno(fds[0]) : 0;
    (void)close(fds[0]);
    if (pid < 0) {
        return zerr_fail(info, fork_errno == ENOMEM ? ZERR_NOMEM : ZERR_LIMIT, fork_errno,
                         "cannot start a process");
    }
    if (sys_errno != 0) {
        char quoted[256];
        (void)waitpid(pid, NULL, 0);
        return zerr_fail(info, sys_errno == ENOENT ? ZERR_NOT_FOUND : ZERR_INVALID, sys_errno,
                         "cannot run %s",
                         log_quote(slice_str(config->argv[0]), quoted, sizeof quoted));
    }
    *ret_pid = pid;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int child_start(uv_loop_t *loop, const struct child_config *config, struct child **ret,
                struct zerr_info *info)
{
    struct child *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return ZERR_NOMEM;
    }
    c->config = *config;
    int rc = uv_signal_init(loop, &c->sigchld);
    if (rc != 0) {
        free(c);
        return zerr_fail(info, ZERR_LIMIT, -rc, "cannot watch a process");
    }
    c->sigchld.data = c;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* known since Linux 3.4 */
    rc = uv_signal_start(&c->sigchld, on_sigchld, SIGCHLD);
    rc = rc != 0 ? zerr_fail(info, ZERR_LIMIT, -rc, "cannot watch a process")
                 : spawn(config, &c->pid, info);
    if (rc != 0) {
        child_destroy(c);
        return rc;
    }
    *ret = c;
    return 0;
}

bool child_running(const struct child *c)
{
    return c != NULL && c->pid != 0;
}

void child_signal(const struct child *c, int signo)
{
    if (child_running(c)) {
        (void)kill(c->pid, signo);
    }
}

void child_destroy(struct child *c)
{
    if (c != NULL) {
        uv_close((uv_handle_t *)&c->sigchld, on_closed);
    }
}
