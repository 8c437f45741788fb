/* Any directory as a store: a history and two blocks out of the input, each open or sealed.
 *
 * The start succeeds or says why not. When it succeeds, every name that is listed can be asked for,
 * a new object can be put and got, and after an orderly stop and after a kill the next start has the
 * same names.
 *
 * Input: one byte with what there is, one each with what is mended in the blocks; the length of the
 * history's part (2 bytes) and of the first block (2 bytes); then these and the second block. */
#include "files.h"

#include <stdio.h>

#include "support/store_fixture.h"
#include "support/vfs_mem.h"

enum { HAS_DB = 1, HAS_FIRST = 2, FIRST_OPEN = 4, HAS_SECOND = 8, SECOND_OPEN = 16, KILL = 32 };

static void put_block(struct vfs *vfs, uint32_t number, bool open, unsigned mend, struct slice data)
{
    char name[FILE_NAME_BYTES];
    uint8_t *bytes = malloc(data.len + 1);

    require(bytes != NULL);
    memcpy(bytes, data.ptr, data.len);
    fuzz_mend_block(bytes, data.len, number, mend);
    (void)snprintf(name, sizeof(name), open ? OPEN_NAME_FMT : BLOCK_NAME_FMT, number);
    vfs_mem_put(vfs, name, slice_of(bytes, data.len));
    free(bytes);
}

static void make_directory(struct vfs *vfs, const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    unsigned what = fuzz_byte(&in), mend_first = fuzz_byte(&in), mend_second = fuzz_byte(&in);
    size_t n_db = fuzz_byte(&in), n_first;
    struct fuzz_in db_in;
    struct slice part;

    n_db += fuzz_byte(&in) * 256u;
    n_first = fuzz_byte(&in);
    n_first += fuzz_byte(&in) * 256u;
    part = fuzz_take(&in, n_db);
    db_in = (struct fuzz_in){part.ptr, part.len};
    if ((what & HAS_DB) != 0) {
        struct buf db = {0};
        fuzz_make_db(&db_in, &db);
        vfs_mem_put(vfs, "db0000000000", buf_slice(&db));
        buf_finish(&db);
    }
    part = fuzz_take(&in, n_first);
    if ((what & HAS_FIRST) != 0) {
        put_block(vfs, 0, (what & FIRST_OPEN) != 0, mend_first, part);
    }
    if ((what & HAS_SECOND) != 0) {
        put_block(vfs, 1, (what & SECOND_OPEN) != 0, mend_second, slice_of(in.p, in.n));
    }
}

/* Each name that is listed is there, or damaged, and nothing worse. */
static void get_all(struct fixture *f, struct buf *names)
{
    struct buf body = {0};
    char key[KEY_MAX_BYTES + 1];

    require(fx_names(f, names) == 0);
    for (size_t at = 0; at < names->len;) {
        const uint8_t *end = memchr(names->ptr + at, '\n', names->len - at);
        size_t n = (size_t)(end - (names->ptr + at));
        /* Keys with a NUL or a newline are asked for by what is before it, which may be absent. */
        if (n > 0 && n <= KEY_MAX_BYTES) {
            int err;
            memcpy(key, names->ptr + at, n);
            key[n] = '\0';
            err = key[0] == '\0' ? 0 : fx_get(f, key, &body);
            require(err == 0 || err == ZERR_NOT_FOUND || err == ZERR_DAMAGED ||
                    err == ZERR_CORRUPT || err == ZERR_IO);
        }
        at += n + 1;
    }
    buf_finish(&body);
}

static void live(struct fixture *f, bool kill)
{
    static const uint8_t text[] = "a new object's body";
    struct slice body = slice_of(text, sizeof(text));
    struct buf before = {0}, after = {0}, got = {0};
    bool put;

    get_all(f, &before); /* marks what is damaged */
    put = fx_put(f, "zz-new", body, 0) == 0;
    if (put) {
        require(fx_get(f, "zz-new", &got) == 0 && slice_eq(buf_slice(&got), body));
    }
    require(fx_names(f, &before) == 0);
    if (kill) {
        fx_kill(f);
    } else {
        require(fx_stop(f) == 0);
    }
    require(fx_open(f) == 0);
    get_all(f, &after); /* a start forgets the marks */
    require(fx_names(f, &after) == 0);
    require(slice_eq(buf_slice(&before), buf_slice(&after)));
    if (put) {
        require(fx_get(f, "zz-new", &got) == 0 && slice_eq(buf_slice(&got), body));
    }
    buf_finish(&before);
    buf_finish(&after);
    buf_finish(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fixture f;

    fx_init(&f, 1 << 20);
    make_directory(f.vfs, data, size);
    if (fx_open(&f) == 0) {
        live(&f, size > 0 && (data[0] & KILL) != 0);
    }
    fx_finish(&f);
    return 0;
}
