/* The main() of a fuzz target where there is no libFuzzer: runs it once on each file of the
 * directories given, so that every corpus is an ordinary test. Fails if there is no file at all. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    int rc = -1;
    uint8_t *data = NULL;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        goto out;
    }
    long size = ftell(f);
    if (size < 0 || fseek(f, 0, SEEK_SET) != 0) {
        goto out;
    }
    data = malloc(size > 0 ? (size_t)size : 1);
    if (data == NULL || fread(data, 1, (size_t)size, f) != (size_t)size) {
        goto out;
    }
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    rc = 0;
out:
    if (rc != 0) {
        perror(path);
    }
    free(data);
    if (f != NULL) {
        (void)fclose(f);
    }
    return rc;
}

int main(int argc, char **argv)
{
    int n_files = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            char path[4096];
            if (e->d_name[0] != '.' &&
                snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name) < (int)sizeof(path)) {
                failed |= replay_file(path);
                n_files++;
            }
        }
        (void)closedir(dir);
    }
    (void)printf("%d files\n", n_files);
    return failed != 0 || n_files == 0;
}
