/* See dir.h. */
#include "store/dir.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "store/block.h"

/* "PREFIX" and ten digits. */
static bool parse_name(const char *name, const char *prefix, uint32_t *ret)
{
    size_t n = strlen(prefix);
    uint64_t v;
    if (strncmp(name, prefix, n) != 0 || strlen(name) != n + 10 ||
        num_parse_u64(slice_str(name + n), BLOCK_NUMBER_MAX, &v) != 0) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static int add_block(struct dir_view *v, uint32_t number, bool open, uint64_t size)
{
    if (v->n_blocks == v->cap_blocks) {
        size_t cap = v->cap_blocks == 0 ? 64 : v->cap_blocks * 2;
        struct dir_block *p = realloc(v->blocks, cap * sizeof(*p));
        if (p == NULL) {
            return ZERR_NOMEM;
        }
        v->blocks = p;
        v->cap_blocks = cap;
    }
    v->blocks[v->n_blocks++] = (struct dir_block){number, open, size};
    v->framed = v->framed || open;
    v->sealed_bytes += open ? 0 : size;
    return 0;
}

static int see_entry(void *user, const struct vfs_dirent *e)
{
    struct dir_view *v = user;
    uint32_t n;
    if (e->is_dir) {
        return 0;
    }
    if (parse_name(e->name, "block", &n)) {
        return add_block(v, n, false, e->size);
    }
    if (parse_name(e->name, "open", &n)) {
        return add_block(v, n, true, e->size);
    }
    if (parse_name(e->name, "db", &n) && n < DB_IDS) {
        v->dbs[v->n_dbs++] = n;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct dir_block *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

int dir_view_read(struct vfs *vfs, struct dir_view *ret, struct zerr_info *info)
{
    struct dir_view v = {0};
    int rc = vfs->ops->list(vfs, see_entry, &v);
    if (rc != 0) {
        dir_view_finish(&v);
        return zerr_fail(info, rc, vfs_last_errno(), "the directory cannot be listed");
    }
    if (v.n_blocks > 0) {
        qsort(v.blocks, v.n_blocks, sizeof(v.blocks[0]), by_number);
    }
    for (size_t i = 1; i < v.n_blocks; i++) {
        if (v.blocks[i].number == v.blocks[i - 1].number) {
            uint32_t n = v.blocks[i].number;
            dir_view_finish(&v);
            return zerr_fail(info, ZERR_CORRUPT, 0,
                             "there are both " BLOCK_NAME_FMT " and " OPEN_NAME_FMT
                             ": compare them and move the wrong one away",
                             n, n);
        }
    }
    *ret = v;
    return 0;
}

void dir_view_finish(struct dir_view *v)
{
    free(v->blocks);
    *v = (struct dir_view){0};
}

const struct dir_block *dir_view_block(const struct dir_view *v, uint32_t number)
{
    struct dir_block key = {.number = number};
    return v->n_blocks == 0 ? NULL : bsearch(&key, v->blocks, v->n_blocks, sizeof(key), by_number);
}

struct contender {
    uint32_t id;
    uint64_t generation, records;
};

static bool beats(const struct contender *a, const struct contender *b)
{
    if (a->generation != b->generation) {
        return a->generation > b->generation;
    }
    if (a->records != b->records) {
        return a->records > b->records;
    }
    return a->id == (b->id + 1) % DB_IDS;
}

static int examine(struct vfs *vfs, uint32_t id, struct contender *ret, struct zerr_info *info)
{
    char name[FILE_NAME_BYTES];
    (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
    struct vfs_file *file;
    int rc = vfs->ops->open(vfs, name, VFS_READ, &file);
    if (rc != 0) {
        return zerr_fail(info, rc, vfs_last_errno(), "%s cannot be opened", name);
    }
    struct db_summary sum = {0};
    static const struct db_visitor nothing = {0};
    rc = db_scan(vfs, file, (struct db_pos){0}, &nothing, &sum, info);
    vfs->ops->close(file);
    if (rc == 0) {
        *ret = (struct contender){id, sum.state.generation, sum.end.rev};
        db_summary_finish(&sum);
    }
    return rc;
}

int dir_choose_db(struct vfs *vfs, const struct dir_view *v, uint32_t *ret_id, bool bad[DB_IDS],
                  struct zerr_info *info)
{
    memset(bad, 0, DB_IDS * sizeof(bad[0]));
    if (v->n_dbs <= 1) {
        if (v->n_dbs == 1) {
            *ret_id = v->dbs[0];
        }
        return v->n_dbs == 1 ? 0 : ZERR_NOT_FOUND;
    }
    struct contender best = {0};
    bool found = false;
    for (size_t i = 0; i < v->n_dbs; i++) {
        struct contender c = {0};
        struct zerr_info ignored = {0};
        int rc = examine(vfs, v->dbs[i], &c, &ignored);
        if (rc == ZERR_CORRUPT) {
            bad[i] = true;
        } else if (rc != 0) {
            return zerr_fail(info, rc, 0, "%s", zerr_text(&ignored, rc));
        } else if (!found || beats(&c, &best)) {
            best = c;
            found = true;
        }
    }
    if (!found) {
        return zerr_fail(info, ZERR_CORRUPT, 0,
                         "none of the db files can be read: put one back from a copy, or run "
                         "zipkvverify -rebuild");
    }
    *ret_id = best.id;
    return 0;
}

int dir_open_block(struct vfs *vfs, const struct dir_block *b, bool writable, struct vfs_file **ret)
{
    char name[FILE_NAME_BYTES];
    block_name(name, b->number, !b->open);
    int rc = vfs->ops->open(vfs, name, writable && b->open ? VFS_WRITE : VFS_READ, ret);
    if (rc == ZERR_NOT_FOUND && b->open && !writable) { /* a server has sealed it meanwhile */
        block_name(name, b->number, true);
        rc = vfs->ops->open(vfs, name, VFS_READ, ret);
    }
    return rc;
}

bool dir_was_unsealed(uint32_t number, const struct db_state *s)
{
    if (number >= s->next_backend_file) {
        return true;
    }
    for (size_t i = 0; i < s->n_open_blocks; i++) {
        if (s->open_blocks[i] == number) {
            return true;
        }
    }
    return false;
}

bool dir_is_unsealed(const struct dir_block *b, const struct db_state *s)
{
    return b->open || dir_was_unsealed(b->number, s);
}

int dir_settle(struct vfs_file *f, const char *name, struct dir_settled *ret,
               struct zerr_info *info)
{
    struct vfs *vfs = f->vfs;
    int rc = vfs->ops->datasync(f);
    *ret = (struct dir_settled){.failed = rc != 0};
    bool cached = (rc == 0 || rc == ZERR_IO) && vfs->ops->drop_cache(f) != 0;
    if (rc == ZERR_IO) {
        rc = vfs->ops->datasync(f);
    }
    if (rc != 0) {
        return zerr_fail(info, rc, vfs_last_errno(),
                         "%s cannot be written to the disk (see the kernel's log; check the file "
                         "system and mount it again before the next start)",
                         name);
    }
    if (!cached) {
        return 0;
    }
    rc = vfs->ops->open(vfs, name, VFS_READ | VFS_DIRECT, &ret->direct);
    if (rc == ZERR_UNSUPPORTED && !ret->failed) {
        return 0; /* a file system that has no other way than the cache */
    }
    if (rc == ZERR_UNSUPPORTED) {
        return zerr_fail(info, ZERR_IO, 0,
                         "the disk has lost writes to %s, and what it has cannot be told from what "
                         "is still in memory: unmount the file system, check it and mount it again",
                         name);
    }
    return rc == 0 ? 0 : zerr_fail(info, rc, vfs_last_errno(), "%s cannot be opened", name);
}
