/* See store_dir.h. */
#include "support/store_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- files ---- */

void store_dir_file(const struct store_dir *d, const char *name, char out[512])
{
    assert_true(snprintf(out, 512, "%s/%s", d->path, name) < 512);
}

/* Runs "COMMAND 'path'" or "COMMAND 'from'/. 'path'". */
static void run(const char *command, const char *from, const char *path)
{
    char cmd[1024];
    int n = from != NULL ? snprintf(cmd, sizeof cmd, "%s '%s'/. '%s'", command, from, path)
                         : snprintf(cmd, sizeof cmd, "%s '%s'", command, path);
    assert_true(n < (int)sizeof cmd);
    assert_int_equal(system(cmd), 0);
}

void store_dir_init(struct store_dir *d)
{
    *d = (struct store_dir){.path = "/tmp/zkv-store-XXXXXX"};
    assert_non_null(mkdtemp(d->path));
}

void store_dir_init_copy(struct store_dir *d, const char *from)
{
    store_dir_init(d);
    run("cp -r", from, d->path);
}

void store_dir_finish(struct store_dir *d)
{
    if (d->store != NULL) {
        store_dir_crash(d);
    }
    run("rm -rf", NULL, d->path);
}

bool store_dir_has(const struct store_dir *d, const char *name)
{
    char path[512];
    store_dir_file(d, name, path);
    return access(path, F_OK) == 0;
}

uint64_t store_dir_file_size(const struct store_dir *d, const char *name)
{
    char path[512];
    struct stat st;
    store_dir_file(d, name, path);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static int open_for_writing(const struct store_dir *d, const char *name)
{
    char path[512];
    store_dir_file(d, name, path);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

void store_dir_flip(const struct store_dir *d, const char *name, uint64_t off)
{
    uint8_t byte;
    int fd = open_for_writing(d, name);
    assert_int_equal(pread(fd, &byte, 1, (off_t)off), 1);
    byte = (uint8_t)~byte;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)off), 1);
    close(fd);
}

void store_dir_cut(const struct store_dir *d, const char *name, uint64_t size)
{
    int fd = open_for_writing(d, name);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

void store_dir_unlink(const struct store_dir *d, const char *name)
{
    char path[512];
    store_dir_file(d, name, path);
    assert_int_equal(unlink(path), 0);
}

/* ---- open stores ---- */

struct outcome {
    bool done, released;
    int status;
    struct object obj;
    struct read_piece piece;
    struct chunk chunk;
};

static void on_status(void *user, int status)
{
    struct outcome *o = user;
    o->done = true;
    o->status = status;
}

static void on_object(void *user, int status, const struct object *obj)
{
    struct outcome *o = user;
    on_status(o, status);
    if (status == 0) {
        o->obj = *obj;
    }
}

static void on_release(struct chunk *c)
{
    container_of(c, struct outcome, chunk)->released = true;
}

static void on_read(void *user, int status, struct read_piece piece)
{
    struct outcome *o = user;
    on_status(o, status);
    o->piece = piece;
}

void store_dir_open(struct store_dir *d, uint64_t block_size)
{
    struct zerr_info info = {0};
    workers_inline_init(&d->workers);
    assert_int_equal(vfs_posix_open(d->path, &d->vfs, &info), 0);
    struct store_config cfg = {.vfs = d->vfs,
                               .workers = &d->workers.base,
                               .dir = d->path,
                               .block_size = block_size,
                               .reserve = 0};
    int rc = store_open(&cfg, &d->store, &info);
    if (rc != 0) {
        print_error("%s\n", zerr_text(&info, rc));
    }
    assert_int_equal(rc, 0);
}

void store_dir_stop(struct store_dir *d)
{
    struct outcome o = {0};
    store_stop(d->store, on_status, &o);
    workers_inline_drain(&d->workers);
    assert_true(o.done);
    assert_int_equal(o.status, 0);
    store_dir_crash(d);
}

void store_dir_crash(struct store_dir *d)
{
    store_destroy(d->store);
    vfs_posix_close(d->vfs);
    d->store = NULL;
    d->vfs = NULL;
}

static void put(struct store_dir *d, const struct put_spec *spec, const void *data)
{
    static const struct put_ops ops = {.ready = on_status, .done = on_object};
    struct outcome o = {0};
    struct put *put;
    int rc = put_begin(d->store, spec, &ops, &o, &put);
    if (rc == ZKV_PENDING) {
        workers_inline_drain(&d->workers);
        assert_true(o.done);
        rc = o.status;
        o.done = false;
    }
    assert_int_equal(rc, 0);
    o.released = spec->size == 0;
    if (spec->size > 0) {
        o.chunk = (struct chunk){.data = data, .len = spec->size, .release = on_release};
        put_write(put, &o.chunk);
    }
    put_commit(put, NULL);
    workers_inline_drain(&d->workers);
    assert_true(o.done && o.released);
    assert_int_equal(o.status, 0);
}

void store_dir_put(struct store_dir *d, const char *key, const void *data, size_t len)
{
    struct attr meta = {SLICE_LIT("X-Amz-Meta-K"), slice_str(key)};
    struct attr sys = {SLICE_LIT("Content-Type"), SLICE_LIT("text/x-test")};
    struct put_spec spec = {.key = slice_str(key),
                            .size = len,
                            .meta = {&meta, 1},
                            .sys = {&sys, 1},
                            .mtime_ms = 1700000000123};
    put(d, &spec, data);
}

static void on_begun(void *user, int status, uint64_t upload)
{
    *(uint64_t *)user = status == 0 ? upload : 0;
}

static void on_completed(void *user, int status, const struct object *obj, size_t at)
{
    (void)at;
    on_object(user, status, obj);
}

uint64_t store_dir_begin(struct store_dir *d, const char *key)
{
    struct attr meta = {SLICE_LIT("X-Amz-Meta-K"), slice_str(key)};
    struct upload_spec begin = {.key = slice_str(key), .meta = {&meta, 1}};
    uint64_t upload = 0;
    assert_int_equal(store_begin_upload(d->store, &begin, on_begun, &upload), 0);
    workers_inline_drain(&d->workers);
    assert_int_not_equal(upload, 0);
    return upload;
}

void store_dir_multipart(struct store_dir *d, const char *key, const void *data, size_t len,
                         size_t part_size)
{
    uint64_t upload = store_dir_begin(d, key);
    struct part_name parts[16];
    struct complete_spec complete = {
        .key = slice_str(key), .upload = upload, .parts = parts, .mtime_ms = 1700000000789};
    struct outcome o = {0};
    for (size_t at = 0; at < len; at += part_size) {
        uint32_t number = (uint32_t)complete.n_parts * 3 + 1;
        struct put_spec spec = {.key = slice_str(key),
                                .size = len - at < part_size ? len - at : part_size,
                                .upload = upload,
                                .part = number};
        assert_true(complete.n_parts < 16);
        put(d, &spec, (const uint8_t *)data + at);
        parts[complete.n_parts++] = (struct part_name){.number = number};
    }
    assert_int_equal(store_complete_upload(d->store, &complete, on_completed, &o), 0);
    workers_inline_drain(&d->workers);
    assert_true(o.done);
    assert_int_equal(o.status, 0);
}

void store_dir_delete(struct store_dir *d, const char *key)
{
    struct outcome o = {0};
    struct slice k = slice_str(key);
    assert_int_equal(store_delete(d->store, &k, 1, NULL, on_status, &o), 0);
    workers_inline_drain(&d->workers);
    assert_true(o.done);
    assert_int_equal(o.status, 0);
}

void store_dir_copy(struct store_dir *d, const char *from, const char *to)
{
    static const struct reader_ops ops = {.opened = on_status};
    struct outcome o = {0};
    struct attr meta = {SLICE_LIT("X-Amz-Meta-K"), slice_str(to)};
    struct copy_spec spec = {.key = slice_str(to), .meta = {&meta, 1}, .mtime_ms = 1700000000456};
    struct reader *r = NULL;
    int rc = reader_open(d->store, slice_str(from), false, &ops, &o, &r);
    if (rc == ZKV_PENDING) {
        workers_inline_drain(&d->workers);
        assert_true(o.done);
        rc = o.status;
    }
    assert_int_equal(rc, 0);
    spec.src = *reader_object(r);
    spec.extents = reader_extents(r);
    o = (struct outcome){0};
    assert_int_equal(store_copy(d->store, &spec, on_object, &o), 0);
    reader_close(r);
    workers_inline_drain(&d->workers);
    assert_true(o.done);
    assert_int_equal(o.status, 0);
}

static int read_all(struct store_dir *d, struct reader *r, struct outcome *o, struct buf *out)
{
    uint64_t size = reader_object(r)->size;
    for (uint64_t off = 0; off < size;) {
        uint64_t span = reader_span(r, off);
        size_t len = span < PIECE_BYTES ? (size_t)span : PIECE_BYTES;
        o->done = false;
        int rc = reader_read(r, off, len, &o->piece);
        if (rc == ZKV_PENDING) {
            workers_inline_drain(&d->workers);
            assert_true(o->done);
            rc = o->status;
        }
        if (rc != 0) {
            return rc;
        }
        assert_int_equal(o->piece.len, len);
        assert_int_equal(buf_append(out, o->piece.data, len), 0);
        reader_release(r);
        off += len;
    }
    return 0;
}

int store_dir_get(struct store_dir *d, struct slice key, struct buf *out, char meta[256],
                  struct object *ret_obj)
{
    static const struct reader_ops ops = {.opened = on_status, .read = on_read};
    struct outcome o = {0};
    struct reader *r = NULL;
    int rc = reader_open(d->store, key, true, &ops, &o, &r);
    if (rc != 0 && rc != ZKV_PENDING) {
        return rc;
    }
    if (rc == ZKV_PENDING) {
        workers_inline_drain(&d->workers);
        assert_true(o.done);
        rc = o.status;
    }
    if (rc == 0) {
        rc = read_all(d, r, &o, out);
    }
    if (rc == 0 && meta != NULL) {
        struct attrs a = reader_meta(r);
        meta[0] = '\0';
        for (size_t i = 0; i < a.n; i++) {
            if (slice_eq_str(a.v[i].name, "X-Amz-Meta-K")) {
                snprintf(meta, 256, "%.*s", SLICE_FMT(a.v[i].value));
            }
        }
    }
    if (rc == 0 && ret_obj != NULL) {
        *ret_obj = *reader_object(r);
    }
    reader_close(r);
    workers_inline_drain(&d->workers);
    return rc;
}

/* ---- standard output ---- */

static int saved_stdout = -1;
static FILE *captured;

void capture_begin(void)
{
    assert_int_equal(fflush(stdout), 0);
    captured = tmpfile();
    assert_non_null(captured);
    saved_stdout = dup(STDOUT_FILENO);
    assert_true(saved_stdout >= 0);
    assert_true(dup2(fileno(captured), STDOUT_FILENO) >= 0);
}

char *capture_end(void)
{
    fflush(stdout);
    assert_true(dup2(saved_stdout, STDOUT_FILENO) >= 0);
    close(saved_stdout);
    off_t size = lseek(fileno(captured), 0, SEEK_END);
    assert_true(size >= 0);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fileno(captured), text, (size_t)size, 0), size);
    fclose(captured);
    return text;
}
