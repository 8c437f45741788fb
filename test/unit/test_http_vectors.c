/* Requests, good, ambiguous and malicious, and what must come of them: http/vectors.txt, which says
 * how it is written. Each vector is replayed whole, byte by byte, and cut in two at every place;
 * the trace must be the same each time. */
#include "support/http_rig.h"

#define VECTORS_MAX 600
#define BAD "!400 BadRequest drain"

struct vector {
    char *name;
    struct buf in, trace; /* the trace NUL-terminated */
};

static struct vector vectors[VECTORS_MAX];
static size_t n_vectors;

/* ---- the file ---- */

static void bad_file(const char *line, const char *why)
{
    (void)fprintf(stderr, "vectors.txt: %s: %s\n", why, line);
    exit(1);
}

/* \r \n \t \0 \\ \xHH; everything else stands for itself. */
static void append_unescaped(struct buf *out, const char *line, const char *s)
{
    static const char letters[] = "rnt0\\", bytes[] = "\r\n\t\0\\";
    for (; *s != '\0'; s++) {
        char c = *s;
        if (c == '\\') {
            const char *at = *++s != '\0' ? strchr(letters, *s) : NULL;
            unsigned byte;
            if (at != NULL) {
                c = bytes[at - letters];
            } else if (sscanf(s, "x%2x", &byte) == 1 && s[1] != '\0' && s[2] != '\0') {
                c = (char)byte;
                s += 2;
            } else {
                bad_file(line, "unknown escape");
            }
        }
        assert_int_equal(buf_append(out, &c, 1), 0);
    }
}

static void end_vector(struct vector *v, const char *line)
{
    char *bad = strstr(line, "BAD");
    bool refused = bad != NULL && bad[3] == '\0';
    if (v->name == NULL || v->in.len == 0) {
        bad_file(line, "a trace without name or input");
    }
    if (refused) {
        *bad = '\0';
    }
    append_unescaped(&v->trace, line, line);
    put_text(&v->trace, refused ? BAD : "");
    assert_int_equal(buf_append(&v->trace, "", 1), 0);
    n_vectors++;
}

static void read_vectors(void)
{
    FILE *f = fopen(TEST_DIR "/http/vectors.txt", "r");
    char line[1000];
    if (f == NULL) {
        bad_file("vectors.txt", "cannot be opened");
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        struct vector *v = &vectors[n_vectors];
        size_t len = strlen(line);
        if (n_vectors == VECTORS_MAX || line[len - 1] != '\n') {
            bad_file(line, "too many vectors, or too long a line");
        }
        line[len - 1] = '\0';
        if (line[0] == '#' || line[0] == '\0') {
            continue;
        }
        if (strncmp(line, "  ", 2) == 0) {
            append_unescaped(&v->in, line, line + 2);
        } else if (strncmp(line, "= ", 2) == 0) {
            end_vector(v, line + 2);
        } else if (v->name == NULL) {
            v->name = strdup(line);
        } else {
            bad_file(line, "no trace before this");
        }
    }
    (void)fclose(f);
}

/* ---- replay ---- */

/* Feeds copies of exactly the bytes of each part, so that a sanitizer sees reads behind it. */
static void replay(const struct vector *v, const size_t *cuts, size_t n_cuts)
{
    struct rig r;
    struct buf waiting = {0};
    rig_init(&r);
    size_t from = 0;
    for (size_t i = 0; i <= n_cuts; i++) {
        size_t to = i < n_cuts ? cuts[i] : v->in.len;
        size_t len = waiting.len + to - from;
        uint8_t *part = malloc(len > 0 ? len : 1);
        assert_non_null(part);
        if (waiting.len > 0) {
            memcpy(part, waiting.ptr, waiting.len);
        }
        if (to > from) {
            memcpy(part + waiting.len, v->in.ptr + from, to - from);
        }
        struct slice rest = feed(&r, slice_of(part, len));
        buf_reset(&waiting);
        assert_int_equal(buf_append(&waiting, rest.ptr, rest.len), 0);
        free(part);
        from = to;
    }
    if (r.conn.state == CONN_READ_HEAD && http_conn_is_idle(&r.conn)) {
        assert_null(r.conn.mem);
        assert_null(r.conn.partial.ptr);
    }
    buf_finish(&waiting);
    assert_trace(&r, (const char *)v->trace.ptr);
    rig_finish(&r);
}

static void the_vector_holds_however_it_is_cut(void **state)
{
    const struct vector *v = *state;
    size_t n = v->in.len;
    size_t *all = malloc(n * sizeof(*all));
    assert_non_null(all);
    replay(v, NULL, 0);
    for (size_t i = 0; i < n; i++) {
        all[i] = i;
        replay(v, &all[i], 1);
    }
    replay(v, all, n);
    free(all);
}

int main(void)
{
    static struct CMUnitTest tests[VECTORS_MAX];
    read_vectors();
    for (size_t i = 0; i < n_vectors; i++) {
        tests[i] = (struct CMUnitTest)cmocka_unit_test_prestate(the_vector_holds_however_it_is_cut,
                                                                &vectors[i]);
        tests[i].name = vectors[i].name;
    }
    int failed = _cmocka_run_group_tests("vectors", tests, n_vectors, NULL, NULL);
    for (size_t i = 0; i < n_vectors; i++) {
        free(vectors[i].name);
        buf_finish(&vectors[i].in);
        buf_finish(&vectors[i].trace);
    }
    return failed;
}
