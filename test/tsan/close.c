/*
 * Preloaded into the server when ThreadSanitizer looks at it: tells the sanitizer of each descriptor that
 * libuv closes.
 *
 * The sanitizer takes a descriptor for memory: using it reads, closing it forgets what was read. It learns
 * of both from libc's functions. libuv closes by syscall(SYS_close), which it does not hear of, and openat()
 * is unknown to gcc 12's version; so a block file that a worker opened under the number that a client's
 * connection had a moment before looked like a race with that connection. Here such a close goes by way of
 * close(), and all else to the kernel as before.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...)
{
    static long (*next)(long number, ...);
    long arg[6];
    va_list list;

    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        arg[i] = va_arg(list, long);
    }
    va_end(list);
    if (number == SYS_close) {
        return close((int)arg[0]);
    }
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    }
    return next(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
