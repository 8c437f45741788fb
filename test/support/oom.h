/* Stand-ins for whatever allocates, below the server: the sources are compiled a second time with
 * this header in front of them (test/faults/meson.build). fault_points.h says which one fails.
 *
 * Own allocations are counted, so that a leak is seen at once, in every build. SQLite and OpenSSL
 * get allocators that fail (oom_init()); zlib and expat get theirs where they are initialized. */
#ifndef ZKV_TEST_OOM_H
#define ZKV_TEST_OOM_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum oom_kind { OOM_OWN, OOM_ZLIB, OOM_EXPAT, OOM_SQLITE, OOM_OPENSSL, N_OOM_KINDS };
extern const char *const oom_kind_names[N_OOM_KINDS];

/* Before anything else in the program. */
void oom_init(void);
/* Blocks of memory that are not freed: own ones, zlib's and expat's; and SQLite's in bytes. */
uint64_t oom_live(void);
uint64_t oom_live_sqlite(void);

void *oom_malloc(size_t n);
void *oom_calloc(size_t n, size_t size);
void *oom_realloc(void *p, size_t n);
void oom_free(void *p);
char *oom_strdup(const char *s);
void *oom_aligned_alloc(size_t align, size_t n);
int oom_posix_memalign(void **ret, size_t align, size_t n);
int oom_asprintf(char **ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
FILE *oom_fopen(const char *path, const char *mode);
DIR *oom_fdopendir(int fd);

#ifdef FAULT_RENAME
#define malloc(n) oom_malloc(n)
#define calloc(n, size) oom_calloc(n, size)
#define realloc(p, n) oom_realloc(p, n)
#define free(p) oom_free(p)
#undef strdup
#define strdup(s) oom_strdup(s)
#define aligned_alloc(align, n) oom_aligned_alloc(align, n)
#define posix_memalign(ret, align, n) oom_posix_memalign(ret, align, n)
#define asprintf(...) oom_asprintf(__VA_ARGS__)
#define fopen(path, mode) oom_fopen(path, mode)
#define fdopendir(fd) oom_fdopendir(fd)
/* Renamed in their headers, too. */
#define deflateInit2_ oom_deflateInit2_
#define inflateInit2_ oom_inflateInit2_
#define XML_ParserCreateNS oom_XML_ParserCreateNS
#endif

#endif
