/* Directories with their index, kept and put back (fault_world.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/format.h"
#include "support/fault_world.h"
#include "support/vfs_mem.h"

static const char *const INDEX_FILES[] = {"", "-wal", "-shm"};

static FILE *open_index_file(const struct world *w, int i, const char *mode)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/" INDEX_NAME "%s", w->f.dir, INDEX_FILES[i]);
    return fopen(path, mode);
}

void world_save(struct world *w, struct world_image *img)
{
    assert_null(w->f.st);
    memset(img, 0, sizeof(*img));
    img->vfs = vfs_mem_crash(w->f.vfs, MEM_CRASH_EVERYTHING, 1);
    memcpy(img->keys, w->keys, sizeof(img->keys));
    img->next_version = w->next_version;
    memcpy(img->uploads, w->uploads, sizeof(img->uploads));
    for (int i = 0; i < 3; i++) {
        FILE *f = open_index_file(w, i, "rb");
        uint8_t bytes[4096];
        for (size_t n; f != NULL && (n = fread(bytes, 1, sizeof(bytes), f)) > 0;) {
            assert_int_equal(buf_append(&img->index[i], bytes, n), 0);
        }
        if (f != NULL) {
            (void)fclose(f);
        }
    }
}

void world_load(struct world *w, const struct world_image *img)
{
    vfs_mem_destroy(w->f.vfs);
    w->f.vfs = vfs_mem_crash(img->vfs, MEM_CRASH_EVERYTHING, 1);
    memcpy(w->keys, img->keys, sizeof(w->keys));
    w->next_version = img->next_version;
    memcpy(w->uploads, img->uploads, sizeof(w->uploads));
    for (int i = 0; i < 3; i++) {
        if (img->index[i].len > 0) {
            FILE *f = open_index_file(w, i, "wb");
            assert_non_null(f);
            assert_int_equal(fwrite(img->index[i].ptr, 1, img->index[i].len, f), img->index[i].len);
            assert_int_equal(fclose(f), 0);
        }
    }
}

void world_image_finish(struct world_image *img)
{
    vfs_mem_destroy(img->vfs);
    for (int i = 0; i < 3; i++) {
        buf_finish(&img->index[i]);
    }
    memset(img, 0, sizeof(*img));
}
