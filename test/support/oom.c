/* See oom.h. */
#include "support/oom.h"

#include <assert.h>
#include <errno.h>
#include <expat.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <zlib.h>

#include "support/fault_points.h"

const char *const oom_kind_names[N_OOM_KINDS] = {"own", "zlib", "expat", "SQLite", "OpenSSL"};

static uint64_t n_live;

static bool fails(enum oom_kind kind)
{
    if (fault_next(kind) == 0) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

static void *counted(void *p)
{
    n_live += p != NULL;
    return p;
}

uint64_t oom_live(void)
{
    return n_live;
}

uint64_t oom_live_sqlite(void)
{
    return (uint64_t)sqlite3_memory_used();
}

/* ---- own ---- */

void *oom_malloc(size_t n)
{
    return fails(OOM_OWN) ? NULL : counted(malloc(n));
}

void *oom_calloc(size_t n, size_t size)
{
    return fails(OOM_OWN) ? NULL : counted(calloc(n, size));
}

void *oom_realloc(void *p, size_t n)
{
    if (fails(OOM_OWN)) {
        return NULL;
    }
    void *q = realloc(p, n);
    n_live += p == NULL && q != NULL;
    return q;
}

void oom_free(void *p)
{
    n_live -= p != NULL;
    free(p);
}

char *oom_strdup(const char *s)
{
    return fails(OOM_OWN) ? NULL : counted(strdup(s));
}

void *oom_aligned_alloc(size_t align, size_t n)
{
    return fails(OOM_OWN) ? NULL : counted(aligned_alloc(align, n));
}

int oom_posix_memalign(void **ret, size_t align, size_t n)
{
    int rc = fails(OOM_OWN) ? ENOMEM : posix_memalign(ret, align, n);
    n_live += rc == 0;
    return rc;
}

int oom_asprintf(char **ret, const char *fmt, ...)
{
    if (fails(OOM_OWN)) {
        return -1;
    }
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(ret, fmt, ap);
    va_end(ap);
    n_live += n >= 0;
    return n;
}

FILE *oom_fopen(const char *path, const char *mode)
{
    return fails(OOM_OWN) ? NULL : fopen(path, mode);
}

DIR *oom_fdopendir(int fd)
{
    return fails(OOM_OWN) ? NULL : fdopendir(fd);
}

/* ---- zlib ---- */

static voidpf zlib_alloc(voidpf opaque, uInt n, uInt size)
{
    (void)opaque;
    return fails(OOM_ZLIB) ? NULL : counted(calloc(n, size));
}

static void zlib_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    oom_free(p);
}

int oom_deflateInit2_(z_streamp z, int level, int method, int bits, int mem, int strategy,
                      const char *version, int size);
int oom_deflateInit2_(z_streamp z, int level, int method, int bits, int mem, int strategy,
                      const char *version, int size)
{
    z->zalloc = zlib_alloc;
    z->zfree = zlib_free;
    return deflateInit2_(z, level, method, bits, mem, strategy, version, size);
}

int oom_inflateInit2_(z_streamp z, int bits, const char *version, int size);
int oom_inflateInit2_(z_streamp z, int bits, const char *version, int size)
{
    z->zalloc = zlib_alloc;
    z->zfree = zlib_free;
    return inflateInit2_(z, bits, version, size);
}

/* ---- expat ---- */

static void *expat_malloc(size_t n)
{
    return fails(OOM_EXPAT) ? NULL : counted(malloc(n));
}

static void *expat_realloc(void *p, size_t n)
{
    if (fails(OOM_EXPAT)) {
        return NULL;
    }
    void *q = realloc(p, n);
    n_live += p == NULL && q != NULL;
    return q;
}

XML_Parser oom_XML_ParserCreateNS(const XML_Char *encoding, XML_Char separator);
XML_Parser oom_XML_ParserCreateNS(const XML_Char *encoding, XML_Char separator)
{
    static const XML_Memory_Handling_Suite suite = {expat_malloc, expat_realloc, oom_free};
    const XML_Char text[] = {separator, 0};
    return XML_ParserCreate_MM(encoding, &suite, text);
}

/* ---- SQLite ---- */

/* The size lies before the block: what malloc_usable_size() says differs from time to time, and SQLite
 * would use it. */
#define LITE_HEAD 16

static void *with_size(void *p, int n)
{
    if (p == NULL) {
        return NULL;
    }
    memcpy(p, &n, sizeof(n));
    return (char *)p + LITE_HEAD;
}

static void *lite_malloc(int n)
{
    return fails(OOM_SQLITE) ? NULL : with_size(malloc((size_t)n + LITE_HEAD), n);
}

static void *lite_realloc(void *p, int n)
{
    return fails(OOM_SQLITE) ? NULL
                             : with_size(realloc((char *)p - LITE_HEAD, (size_t)n + LITE_HEAD), n);
}

static void lite_free(void *p)
{
    free((char *)p - LITE_HEAD);
}

static int lite_size(void *p)
{
    int n = 0;
    if (p != NULL) {
        memcpy(&n, (char *)p - LITE_HEAD, sizeof(n));
    }
    return n;
}

static int lite_roundup(int n)
{
    return (n + 7) / 8 * 8;
}

static int lite_init(void *data)
{
    (void)data;
    return SQLITE_OK;
}

static void lite_shutdown(void *data)
{
    (void)data;
}

/* ---- OpenSSL ---- */

static void *ssl_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return fails(OOM_OPENSSL) ? NULL : malloc(n);
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return fails(OOM_OPENSSL) ? NULL : realloc(p, n);
}

static void ssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

/* What both libraries make once in a program's life is made here, and does not fail. */
void oom_init(void)
{
    static const sqlite3_mem_methods lite = {
        .xMalloc = lite_malloc,
        .xFree = lite_free,
        .xRealloc = lite_realloc,
        .xSize = lite_size,
        .xRoundup = lite_roundup,
        .xInit = lite_init,
        .xShutdown = lite_shutdown,
    };
    int ok = CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free);
    assert(ok == 1);
    ok = sqlite3_config(SQLITE_CONFIG_MALLOC, &lite);
    assert(ok == SQLITE_OK);
    ok = sqlite3_initialize();
    assert(ok == SQLITE_OK);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ok = EVP_DigestInit_ex(ctx, EVP_md5(), NULL);
    assert(ok == 1);
    EVP_MD_CTX_free(ctx);
}
