/* SQLite on a disk whose syncs fail when a test says so: a layer below that of index_vfs.c.
 *
 * sqlite_sync_install() before any index is opened. Static: for one test file at a time. */
#ifndef ZKV_TEST_SQLITE_SYNC_H
#define ZKV_TEST_SQLITE_SYNC_H

#include <sqlite3.h>
#include <stddef.h>

static unsigned sqlite_syncs_good; /* so many syncs succeed, */
static unsigned sqlite_syncs_bad;  /* and then so many fail */

static sqlite3_vfs sqlite_sync_vfs, *sqlite_sync_real;
static sqlite3_io_methods sqlite_sync_methods[2]; /* of databases and of their logs */
static int (*sqlite_sync_below)(sqlite3_file *, int);

static inline int sqlite_sync_cb(sqlite3_file *f, int flags)
{
    if (sqlite_syncs_bad > 0) {
        if (sqlite_syncs_good == 0) {
            sqlite_syncs_bad--;
            return SQLITE_IOERR_FSYNC;
        }
        sqlite_syncs_good--;
    }
    return sqlite_sync_below(f, flags);
}

static inline int sqlite_sync_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags,
                                   int *ret_flags)
{
    int rc = sqlite_sync_real->xOpen(sqlite_sync_real, name, f, flags, ret_flags);
    (void)v;
    if (rc == SQLITE_OK && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0) {
        sqlite3_io_methods *m = &sqlite_sync_methods[(flags & SQLITE_OPEN_WAL) != 0];
        sqlite_sync_below = f->pMethods->xSync;
        *m = *f->pMethods;
        m->xSync = sqlite_sync_cb;
        f->pMethods = m;
    }
    return rc;
}

static inline void sqlite_sync_install(void)
{
    sqlite_sync_real = sqlite3_vfs_find(NULL);
    sqlite_sync_vfs = *sqlite_sync_real;
    sqlite_sync_vfs.pNext = NULL;
    sqlite_sync_vfs.zName = "failing-syncs";
    sqlite_sync_vfs.xOpen = sqlite_sync_open;
    (void)sqlite3_vfs_register(&sqlite_sync_vfs, 1);
}

#endif
