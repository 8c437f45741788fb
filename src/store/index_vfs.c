/* SQLite's files of the look-up index, every page of them checked when it is read.
 *
 * SQLite notices a wrong bit only where it breaks the shape of a tree: elsewhere a bit gives another
 * name, another size, or a tree that hides part of itself. So the index is opened through a layer
 * over SQLite's own file functions, and a page that is not what was written is SQLITE_IOERR_DATA,
 * which becomes ZERR_CORRUPT.
 *
 *   index.sqlite       the last 8 bytes of each page, which SQLite leaves to us (byte 20 of the file
 *                      says so), hold the XXH3-64 of the bytes before them, with the page's number
 *                      mixed in: pages that were swapped or copied over each other do not match
 *   index.sqlite-wal   has check sums of its own, which chain each frame to the one before. SQLite
 *                      looks at them only when it recovers; here they are computed again whenever
 *                      a page is read from it
 *   index.sqlite-shm   is not a file here, but memory (index_shm.c)
 *
 * A page that was never written and still is what it was before cannot be told from a good one.
 * zipkvverify finds that, for it compares the whole index with the history. So after a sync that
 * failed nothing of the file is believed (the next sync reports success with the pages gone): that
 * is SQLITE_IOERR_DATA, too.
 *
 * While a transaction that is larger than the cache writes a page a second time, SQLite leaves the
 * chain as it was until the commit; pages from the first such frame on are not checked until its
 * head is written anew. Only the connection that writes them sees them before. */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/num.h"
#include "store/frame.h"
#include "store/index_priv.h"

#define SUM_OFF (INDEX_PAGE_BYTES - INDEX_PAGE_RESERVED)
#define WAL_HEAD 32
#define WAL_HEAD_SUM 24 /* where the chain begins */
#define WAL_FRAME_HEAD 24
#define WAL_FRAME_SUM 16
#define WAL_FRAME (WAL_FRAME_HEAD + INDEX_PAGE_BYTES)

struct checked_file {
    sqlite3_file base; /* what SQLite knows; the file below it lies behind this struct */
    bool is_wal;
    sqlite3_int64 head_written; /* the frame whose head was written last */
    sqlite3_int64 rewritten;    /* the first page written again before its chain; INT64_MAX: none */
    const char *name;
    struct index_shm_conn conn; /* joined when SQLite asks for the first region */
};

static sqlite3_vfs *below; /* SQLite's own */
static sqlite3_vfs vfs;

static struct checked_file *checked(sqlite3_file *f)
{
    return (struct checked_file *)(void *)f;
}

static sqlite3_file *real(sqlite3_file *f)
{
    return (sqlite3_file *)(void *)(checked(f) + 1);
}

/* ---- index.sqlite ---------------------------------------------------------------------------- */

static uint64_t page_sum(const uint8_t *page, sqlite3_int64 off)
{
    uint64_t number = (uint64_t)off / INDEX_PAGE_BYTES + 1;
    return piece_sum(page, SUM_OFF) ^ number * 0x9e3779b97f4a7c15u;
}

/* Also of parts of a page, such as the header: all of it is read and checked. */
static int read_page(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
    uint8_t page[INDEX_PAGE_BYTES];
    sqlite3_int64 in_page = off % INDEX_PAGE_BYTES;
    if (in_page + n > INDEX_PAGE_BYTES) {
        return SQLITE_IOERR_DATA; /* pages of another size: not ours */
    }
    int rc = real(f)->pMethods->xRead(real(f), page, sizeof page, off - in_page);
    if (rc == SQLITE_IOERR_SHORT_READ) {
        sqlite3_int64 size = 1;
        rc = real(f)->pMethods->xFileSize(real(f), &size);
        if (rc == SQLITE_OK && size == 0) { /* a new file */
            memset(buf, 0, (size_t)n);
            return SQLITE_IOERR_SHORT_READ;
        }
        return rc == SQLITE_OK ? SQLITE_IOERR_DATA : rc;
    }
    if (rc == SQLITE_OK && page_sum(page, off - in_page) != le64_get(page + SUM_OFF)) {
        rc = SQLITE_IOERR_DATA;
    }
    if (rc == SQLITE_OK) {
        memcpy(buf, page + in_page, (size_t)n);
    }
    return rc;
}

static int write_page(sqlite3_file *f, const void *buf, int n, sqlite3_int64 off)
{
    uint8_t page[INDEX_PAGE_BYTES];
    if (n != INDEX_PAGE_BYTES || off % INDEX_PAGE_BYTES != 0) {
        return SQLITE_IOERR_WRITE;
    }
    memcpy(page, buf, SUM_OFF);
    le64_put(page + SUM_OFF, page_sum(page, off));
    return real(f)->pMethods->xWrite(real(f), page, n, off);
}

/* ---- index.sqlite-wal ------------------------------------------------------------------------ */

static uint32_t be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* SQLite's sum of n bytes, in words of this machine; a log of the other kind does not match. */
static void wal_sum(const uint8_t *p, size_t n, uint32_t sum[2])
{
    for (size_t i = 0; i < n; i += 8) {
        uint32_t x[2];
        memcpy(x, p + i, sizeof x);
        sum[0] += x[0] + sum[1];
        sum[1] += x[1] + sum[0];
    }
}

static bool is_wal_page(int n, sqlite3_int64 off)
{
    return n == INDEX_PAGE_BYTES && off > WAL_HEAD &&
           (off - WAL_HEAD) % WAL_FRAME == WAL_FRAME_HEAD;
}

static int read_wal(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
    sqlite3_file *wal = real(f);
    uint8_t head[WAL_FRAME_HEAD], before[8];
    sqlite3_int64 frame = off - WAL_FRAME_HEAD;
    int rc = wal->pMethods->xRead(wal, buf, n, off);
    if (rc != SQLITE_OK || !is_wal_page(n, off) || off >= checked(f)->rewritten) {
        return rc;
    }
    rc = wal->pMethods->xRead(wal, head, sizeof head, frame);
    if (rc == SQLITE_OK) {
        rc = wal->pMethods->xRead(wal, before, sizeof before,
                                  frame == WAL_HEAD ? WAL_HEAD_SUM
                                                    : frame - WAL_FRAME + WAL_FRAME_SUM);
    }
    if (rc != SQLITE_OK) {
        return rc;
    }
    uint32_t sum[2] = {be32_get(before), be32_get(before + 4)};
    wal_sum(head, 8, sum);
    wal_sum(buf, (size_t)n, sum);
    return sum[0] == be32_get(head + WAL_FRAME_SUM) && sum[1] == be32_get(head + WAL_FRAME_SUM + 4)
               ? SQLITE_OK
               : SQLITE_IOERR_DATA;
}

static void note_wal_write(struct checked_file *f, int n, sqlite3_int64 off)
{
    if (n == WAL_FRAME_HEAD && off >= WAL_HEAD && (off - WAL_HEAD) % WAL_FRAME == 0) {
        f->head_written = off;
        if (off + WAL_FRAME_HEAD == f->rewritten) {
            f->rewritten = INT64_MAX;
        }
    } else if (is_wal_page(n, off) && off - WAL_FRAME_HEAD != f->head_written &&
               off < f->rewritten) {
        f->rewritten = off;
    }
}

/* ---- a file, as SQLite calls it -------------------------------------------------------------- */

static int on_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}

static int on_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 off)
{
    return checked(f)->is_wal ? read_wal(f, buf, n, off) : read_page(f, buf, n, off);
}

static int on_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 off)
{
    if (!checked(f)->is_wal) {
        return write_page(f, buf, n, off);
    }
    note_wal_write(checked(f), n, off);
    return real(f)->pMethods->xWrite(real(f), buf, n, off);
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int on_sync(sqlite3_file *f, int flags)
{
    int rc = real(f)->pMethods->xSync(real(f), flags);
    return rc == SQLITE_OK ? rc : SQLITE_IOERR_DATA;
}

static int on_file_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real(f)->pMethods->xFileSize(real(f), ret);
}

static int on_lock(sqlite3_file *f, int kind)
{
    return real(f)->pMethods->xLock(real(f), kind);
}

static int on_unlock(sqlite3_file *f, int kind)
{
    return real(f)->pMethods->xUnlock(real(f), kind);
}

static int on_check_reserved_lock(sqlite3_file *f, int *ret)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int on_file_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int on_sector_size(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

static int on_device_characteristics(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int on_shm_map(sqlite3_file *f, int at, int size, int extend, void volatile **ret)
{
    struct index_shm_conn *conn = &checked(f)->conn;
    int rc = conn->shm == NULL ? index_shm_join(conn, checked(f)->name) : SQLITE_OK;
    return rc == SQLITE_OK ? index_shm_map(conn, at, size, extend != 0, ret) : rc;
}

static int on_shm_lock(sqlite3_file *f, int first, int n, int flags)
{
    return index_shm_lock(&checked(f)->conn, first, n, flags);
}

static void on_shm_barrier(sqlite3_file *f)
{
    (void)f;
    index_shm_barrier();
}

static int on_shm_unmap(sqlite3_file *f, int remove)
{
    (void)remove; /* there is no file to remove */
    if (checked(f)->conn.shm != NULL) {
        index_shm_leave(&checked(f)->conn);
    }
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* no memory mapping: what is mapped is not read through here */
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_file_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_reserved_lock,
    .xFileControl = on_file_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_device_characteristics,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *unused, const char *name, sqlite3_file *f, int flags, int *ret)
{
    (void)unused;
    if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0) {
        return below->xOpen(below, name, f, flags, ret);
    }
    *checked(f) = (struct checked_file){.is_wal = (flags & SQLITE_OPEN_WAL) != 0,
                                        .head_written = -1,
                                        .rewritten = INT64_MAX,
                                        .name = name};
    int rc = below->xOpen(below, name, real(f), flags, ret);
    f->pMethods = rc == SQLITE_OK ? &methods : NULL;
    return rc;
}

static void make_vfs(void)
{
    below = sqlite3_vfs_find(NULL);
    if (below == NULL) {
        return;
    }
    vfs = *below; /* all but files is SQLite's own */
    vfs.pNext = NULL;
    vfs.zName = INDEX_VFS;
    vfs.szOsFile = (int)sizeof(struct checked_file) + below->szOsFile;
    vfs.xOpen = on_open;
}

int index_vfs_register(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_vfs);
    return vfs.xOpen == NULL || sqlite3_vfs_register(&vfs, 0) != SQLITE_OK ? ZERR_NOMEM : 0;
}
