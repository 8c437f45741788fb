/* What the connections to one look-up index share: SQLite's "wal-index" and its locks, in plain memory.
 *
 * By itself SQLite keeps the wal-index in a file that all processes map, and locks bytes of that file: two
 * calls of the kernel for each look-up, pages written back to a slow disk for nothing, and SIGBUS
 * where that disk has no room or fails. A look-up index has one process, which holds the store's lock; so
 * memory and counters do. Whoever opens the index first makes it anew from the log, as ever. A foreign
 * program that reads the index at the same time disturbs nobody: it makes a wal-index of its own, and
 * the lock of index.sqlite itself, which stays SQLite's, keeps it from moving the log's pages.
 *
 * One index_shm for each file that is open, found by its inode (the name may be another file's by now)
 * and freed with its last connection. The list, the counters and the regions are under one mutex, which
 * is held for a few instructions; what is in a region SQLite orders by these locks and barriers. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "store/index_priv.h"

#define EXCLUSIVE (-1)

struct index_shm {
    struct index_shm *next;
    dev_t dev;
    ino_t ino;
    unsigned n_conns;
    void **regions; /* each of the size that SQLite asks for, always the same */
    int n_regions;
    int locks[SQLITE_SHM_NLOCK]; /* how many share it, or EXCLUSIVE */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct index_shm *all;

int index_shm_join(struct index_shm_conn *conn, const char *name)
{
    struct stat s;
    *conn = (struct index_shm_conn){0};
    if (stat(name, &s) != 0) {
        return SQLITE_IOERR_FSTAT;
    }
    (void)pthread_mutex_lock(&mutex);
    struct index_shm *shm = all;
    while (shm != NULL && (shm->dev != s.st_dev || shm->ino != s.st_ino)) {
        shm = shm->next;
    }
    if (shm == NULL && (shm = calloc(1, sizeof(*shm))) != NULL) {
        *shm = (struct index_shm){.next = all, .dev = s.st_dev, .ino = s.st_ino};
        all = shm;
    }
    if (shm != NULL) {
        shm->n_conns++;
        conn->shm = shm;
    }
    (void)pthread_mutex_unlock(&mutex);
    return shm == NULL ? SQLITE_NOMEM : SQLITE_OK;
}

/* The mutex is held. */
static void unlock(struct index_shm_conn *conn, unsigned mask)
{
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++) {
        unsigned bit = 1u << i & mask;
        conn->shm->locks[i] -= (conn->shared & bit) != 0;
        conn->shm->locks[i] += (conn->exclusive & bit) != 0; /* from EXCLUSIVE to nobody's */
    }
    conn->shared &= ~mask;
    conn->exclusive &= ~mask;
}

void index_shm_leave(struct index_shm_conn *conn)
{
    struct index_shm *shm = conn->shm;
    (void)pthread_mutex_lock(&mutex);
    unlock(conn, ~0u);
    conn->shm = NULL;
    if (--shm->n_conns > 0) {
        shm = NULL;
    } else {
        struct index_shm **at = &all;
        while (*at != shm) {
            at = &(*at)->next;
        }
        *at = shm->next;
    }
    (void)pthread_mutex_unlock(&mutex);
    if (shm != NULL) {
        for (int i = 0; i < shm->n_regions; i++) {
            free(shm->regions[i]);
        }
        free(shm->regions);
        free(shm);
    }
}

static int add_region(struct index_shm *shm, size_t size)
{
    void **regions = realloc(shm->regions, (size_t)(shm->n_regions + 1) * sizeof(*regions));
    if (regions == NULL) {
        return SQLITE_NOMEM;
    }
    shm->regions = regions;
    regions[shm->n_regions] = calloc(1, size);
    if (regions[shm->n_regions] == NULL) {
        return SQLITE_NOMEM;
    }
    shm->n_regions++;
    return SQLITE_OK;
}

int index_shm_map(struct index_shm_conn *conn, int at, int size, bool extend, void volatile **ret)
{
    struct index_shm *shm = conn->shm;
    int rc = SQLITE_OK;
    (void)pthread_mutex_lock(&mutex);
    while (extend && shm->n_regions <= at && rc == SQLITE_OK) {
        rc = add_region(shm, (size_t)size);
    }
    *ret = at < shm->n_regions ? shm->regions[at] : NULL;
    (void)pthread_mutex_unlock(&mutex);
    return rc;
}

int index_shm_lock(struct index_shm_conn *conn, int first, int n, int flags)
{
    unsigned mask = ((1u << n) - 1) << first;
    if (conn->shm == NULL) { /* could not join: SQLite asks all the same, for a checkpoint */
        return SQLITE_IOERR_SHMLOCK;
    }
    int *locks = conn->shm->locks;
    int rc = SQLITE_OK;
    (void)pthread_mutex_lock(&mutex);
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        unlock(conn, mask);
    } else if ((flags & SQLITE_SHM_SHARED) != 0) { /* of one */
        if ((conn->shared & mask) == 0 && locks[first] == EXCLUSIVE) {
            rc = SQLITE_BUSY;
        } else if ((conn->shared & mask) == 0) {
            locks[first]++;
            conn->shared |= mask;
        }
    } else {
        for (int i = first; i < first + n; i++) {
            rc = locks[i] != 0 && (conn->exclusive & 1u << i) == 0 ? SQLITE_BUSY : rc;
        }
        for (int i = first; i < first + n && rc == SQLITE_OK; i++) {
            locks[i] = EXCLUSIVE;
            conn->exclusive |= 1u << i;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
    return rc;
}

void index_shm_barrier(void)
{
    (void)pthread_mutex_lock(&mutex);
    (void)pthread_mutex_unlock(&mutex);
}
