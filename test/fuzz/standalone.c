/* Runs a fuzz target over files, without libFuzzer: corpora as an ordinary test.
 *
 * Usage: PROGRAM FILE|DIRECTORY...  Each file is given whole; of a directory, each file in it. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size > 0 ? size : 1); /* exactly as long, so that ASan sees the end */
    FILE *f = fopen(path, "rb");
    int err = 1;

    if (data != NULL && f != NULL && fread(data, 1, size, f) == size) {
        (void)LLVMFuzzerTestOneInput(data, size);
        err = 0;
    } else {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    free(data);
    return err;
}

static int run_path(const char *path, unsigned *n_files)
{
    char name[4096];
    struct dirent *e;
    struct stat st;
    DIR *dir;
    int err = 0;

    if (stat(path, &st) != 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        ++*n_files;
        return run_file(path, (size_t)st.st_size);
    }
    dir = opendir(path);
    if (dir == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.') {
            (void)snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
            err |= run_path(name, n_files);
        }
    }
    (void)closedir(dir);
    return err;
}

int main(int argc, char **argv)
{
    unsigned n_files = 0;
    int err = 0;

    for (int i = 1; i < argc; i++) {
        err |= run_path(argv[i], &n_files);
    }
    printf("%u files\n", n_files);
    return err != 0 || n_files == 0;
}
