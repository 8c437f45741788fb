/* See block.h. Files are made and opened under the block's mutex by whichever job needs them first;
 * everything else here is the loop's. */
#include "store/block.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/scan.h"
#include "store/store_priv.h"

void block_name(char out[FILE_NAME_BYTES], uint32_t number, bool sealed)
{
    (void)snprintf(out, FILE_NAME_BYTES, sealed ? BLOCK_NAME_FMT : OPEN_NAME_FMT, number);
}

/* ---- the table ---- */

static struct block **bucket_of(struct store *st, uint32_t number)
{
    return &st->block_hash[number % BLOCK_HASH];
}

static struct block *block_alloc(struct store *st, uint32_t number)
{
    struct block *b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return NULL;
    }
    b->st = st;
    b->number = number;
    b->refs = 1;
    (void)pthread_mutex_init(&b->mutex, NULL);
    struct block **bucket = bucket_of(st, number);
    b->hash_next = *bucket;
    *bucket = b;
    return b;
}

static void block_free(struct block *b)
{
    for (struct block **p = bucket_of(b->st, b->number); *p != NULL; p = &(*p)->hash_next) {
        if (*p == b) {
            *p = b->hash_next;
            break;
        }
    }
    if (b->file != NULL) {
        b->st->vfs->ops->close(b->file);
    }
    (void)pthread_mutex_destroy(&b->mutex);
    free(b);
}

static void open_list_add(struct block *b)
{
    b->prev = NULL;
    b->next = b->st->open_blocks;
    if (b->next != NULL) {
        b->next->prev = b;
    }
    b->st->open_blocks = b;
}

static void open_list_remove(struct block *b)
{
    if (b->prev != NULL) {
        b->prev->next = b->next;
    } else {
        b->st->open_blocks = b->next;
    }
    if (b->next != NULL) {
        b->next->prev = b->prev;
    }
    b->next = b->prev = NULL;
}

static void cache_remove(struct block *b)
{
    struct store *st = b->st;
    *(b->prev != NULL ? &b->prev->next : &st->cache_head) = b->next;
    *(b->next != NULL ? &b->next->prev : &st->cache_tail) = b->prev;
    b->next = b->prev = NULL;
    st->n_cached--;
}

/* Nobody holds a sealed block any more: keep its descriptor for a while, or not at all if opening
 * it failed (the file may come back). */
static void cache_add(struct block *b)
{
    struct store *st = b->st;
    if (b->file == NULL) {
        block_free(b);
        return;
    }
    b->next = NULL;
    b->prev = st->cache_tail;
    *(st->cache_tail != NULL ? &st->cache_tail->next : &st->cache_head) = b;
    st->cache_tail = b;
    if (++st->n_cached > BLOCK_CACHE_MAX) {
        struct block *oldest = st->cache_head;
        cache_remove(oldest);
        block_free(oldest);
    }
}

struct block *block_create(struct store *st)
{
    uint64_t salt;
    if (st->next_block > BLOCK_NUMBER_MAX ||
        st->vfs->ops->random(st->vfs, &salt, sizeof(salt)) != 0) {
        return NULL;
    }
    struct block *b = block_alloc(st, st->next_block);
    if (b == NULL) {
        return NULL;
    }
    st->next_block++;
    b->state = BLOCK_FILLING;
    b->is_new = true;
    b->framed = true;
    b->tail = BLOCK_HEADER_BYTES;
    b->header.block = b->number;
    b->header.salt = salt;
    b->header.session = st->session;
    memcpy(b->header.store_id, st->store_id, STORE_ID_BYTES);
    open_list_add(b);
    st->stats.n_blocks++;
    return b;
}

struct block *block_get(struct store *st, uint32_t number)
{
    for (struct block *b = *bucket_of(st, number); b != NULL; b = b->hash_next) {
        if (b->number == number) {
            return block_ref(b);
        }
    }
    struct block *b = block_alloc(st, number);
    if (b != NULL) {
        b->state = BLOCK_SEALED;
    }
    return b;
}

struct block *block_ref(struct block *b)
{
    if (b->refs++ == 0 && b->state == BLOCK_SEALED) {
        cache_remove(b);
    }
    return b;
}

void block_unref(struct block *b)
{
    if (b == NULL) {
        return;
    }
    assert(b->refs > 0);
    if (--b->refs == 0 && b->state == BLOCK_SEALED) {
        cache_add(b);
    }
}

void block_set_sealed(struct block *b)
{
    open_list_remove(b);
    b->state = BLOCK_SEALED;
    if (b->refs == 0) {
        cache_add(b);
    }
}

void block_forget(struct block *b)
{
    assert(b->refs == 0 && b->n_puts == 0 && b->voids == NULL);
    open_list_remove(b);
    b->st->stats.n_blocks--;
    block_free(b);
}

void block_poison(struct block *b, int status)
{
    struct store *st = b->st;
    if (b->state == BLOCK_POISONED) {
        return;
    }
    store_note(st, LOG_ERROR,
               "block %u: cannot be written (%s); it takes no more objects and will be checked "
               "from the disk at the next start",
               b->number, zerr_str(status));
    b->state = BLOCK_POISONED;
    if (st->current == b) {
        st->current = NULL;
        block_unref(b);
    }
    put_fail_block(b, status);
    if (st->cfg.sync == STORE_SYNC_BLOCK && b->committed) {
        store_fail(st,
                   "block %u could not be written (%s): objects acknowledged with -sync block may "
                   "be lost",
                   b->number, zerr_str(status));
    }
}

bool block_is_broken(struct block *b)
{
    (void)pthread_mutex_lock(&b->mutex);
    bool broken = b->is_new && b->error != 0;
    (void)pthread_mutex_unlock(&b->mutex);
    return broken;
}

void block_retire_broken(struct block *b)
{
    if (block_is_broken(b) && b->state == BLOCK_FILLING) {
        b->state = BLOCK_DRAINING; /* ends as a block with nothing in it */
        if (b->st->current == b) {
            b->st->current = NULL;
            block_unref(b);
        }
    }
}

void blocks_finish(struct store *st)
{
    for (unsigned i = 0; i < BLOCK_HASH; i++) {
        while (st->block_hash[i] != NULL) {
            assert(st->block_hash[i]->refs == 0);
            block_free(st->block_hash[i]);
        }
    }
    st->open_blocks = st->cache_head = st->cache_tail = NULL;
    st->n_cached = 0;
}

/* ---- the file ---- */

static int create_file(struct block *b)
{
    struct vfs *vfs = b->st->vfs;
    char name[FILE_NAME_BYTES];
    block_name(name, b->number, false);
    int rc = store_ensure_db(b->st);
    if (rc != 0) {
        return rc;
    }
    struct vfs_file *file;
    rc = vfs->ops->open(vfs, name, VFS_WRITE | VFS_CREATE, &file);
    if (rc != 0) {
        return rc;
    }
    uint8_t head[BLOCK_HEADER_BYTES];
    block_header_encode(&b->header, head);
    struct iovec iov = {head, sizeof(head)};
    rc = vfs->ops->pwritev(file, &iov, 1, 0);
    if (rc != 0) {
        vfs->ops->close(file);
        (void)vfs->ops->unlink(vfs, name);
        return rc;
    }
    b->file = file;
    b->is_new = false;
    return 0;
}

static int open_file(struct block *b)
{
    struct vfs *vfs = b->st->vfs;
    struct vfs_file *file;
    char name[FILE_NAME_BYTES];
    block_name(name, b->number, false);
    int rc = vfs->ops->open(vfs, name, VFS_READ, &file);
    if (rc == ZERR_NOT_FOUND) {
        block_name(name, b->number, true);
        rc = vfs->ops->open(vfs, name, VFS_READ, &file);
    }
    if (rc != 0) {
        return rc;
    }
    bool damaged;
    rc = scan_header(file, b->number, &b->header, &damaged);
    b->framed = rc == 0;
    if (rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT) {
        rc = 0; /* the original's, or beyond mending: frames are refused, plain bodies are not */
    }
    if (rc != 0) {
        vfs->ops->close(file);
        return rc;
    }
    b->file = file;
    return 0;
}

int block_file(struct block *b, struct vfs_file **ret)
{
    (void)pthread_mutex_lock(&b->mutex);
    int rc = 0;
    if (b->file == NULL) {
        rc = b->error != 0 ? b->error : b->is_new ? create_file(b) : open_file(b);
        if (rc != 0 && b->is_new) {
            b->error = rc;
        }
    }
    if (rc == 0) {
        *ret = b->file;
    }
    (void)pthread_mutex_unlock(&b->mutex);
    return rc;
}

struct vfs_file *block_file_if_open(struct block *b)
{
    if (pthread_mutex_trylock(&b->mutex) != 0) {
        return NULL;
    }
    struct vfs_file *file = b->file;
    (void)pthread_mutex_unlock(&b->mutex);
    return file;
}

/* ---- room ---- */

int block_reserve(struct store *st, uint64_t frame_len, struct block **ret, uint64_t *ret_off)
{
    uint64_t limit = st->cfg.block_size;
    if (BLOCK_HEADER_BYTES + frame_len > limit) { /* a block of its own; the current one stays */
        struct block *own = block_create(st);
        if (own == NULL) {
            return ZERR_NOMEM;
        }
        own->state = BLOCK_DRAINING;
        *ret_off = own->tail;
        own->tail += frame_len;
        *ret = own;
        return 0;
    }
    struct block *b = st->current;
    if (b != NULL && b->cutting) {
        return ZERR_BUSY;
    }
    if (b == NULL || b->tail + frame_len > limit) {
        struct block *next = block_create(st);
        if (next == NULL) {
            return ZERR_NOMEM;
        }
        if (b != NULL) {
            b->state = BLOCK_DRAINING;
            block_unref(b);
        }
        st->current = b = next; /* block_create()'s reference is the store's */
    }
    *ret_off = b->tail;
    b->tail += frame_len;
    *ret = block_ref(b);
    return 0;
}
