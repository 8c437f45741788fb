/* Any document as a DeleteObjects list and as the end of an upload in parts, and any bytes as text of
 * an answer.
 *
 * What is read is written again as an answer would; that document must be well-formed, unless a
 * control character is in it (S3 writes those as references that XML 1.0 does not know). */
#include <stdlib.h>

#include <expat.h>

#include "s3/s3_assembly.h"
#include "s3/s3_xml.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < 0x20 && s.ptr[i] != '\t' && s.ptr[i] != '\n' && s.ptr[i] != '\r') {
            return true;
        }
    }
    return false;
}

static void write_and_parse(struct slice text, bool url)
{
    struct buf out = {0};
    struct s3_xml w;
    XML_Parser p;

    s3_xml_begin(&w, &out, "R", S3_XMLNS);
    s3_xml_key(&w, "K", text, url);
    require(s3_xml_finish(&w, "R") == 0);
    p = XML_ParserCreate(NULL);
    if (p != NULL && (url || !has_control(text))) {
        require(XML_Parse(p, (const char *)out.ptr, (int)out.len, 1) == XML_STATUS_OK);
    }
    XML_ParserFree(p);
    buf_finish(&out);
}

static void complete(struct slice body, struct arena *arena)
{
    const struct http_request req = {.arena = arena};
    const struct s3_head head = {0};
    struct s3_complete_list list;
    struct s3_assembly *a = NULL;
    const char *message = NULL;
    int err;

    if (s3_xml_parse_complete(body, arena, &list) != 0) {
        return;
    }
    require(list.n >= 1 && list.n <= PART_MAX);
    for (size_t i = 0; i < list.n; i++) {
        require(list.parts[i].number >= 1 && list.parts[i].number <= PART_MAX);
    }
    err = s3_assembly_create(&req, &head, &list, &a, &message);
    require(err == 0 ? a != NULL : message != NULL);
    s3_assembly_destroy(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct slice body = slice_of(data, size);
    struct s3_delete_list list;

    complete(body, &arena);
    (void)!s3_xml_check_acl(body, &arena);
    if (s3_xml_parse_delete(body, &arena, &list) == 0) {
        require(list.n >= 1 && list.n <= S3_DELETE_MAX_KEYS);
        for (size_t i = 0; i < list.n; i++) {
            require(list.keys[i].key.len <= KEY_MAX_BYTES + 1);
            write_and_parse(list.keys[i].key, false);
        }
    }
    write_and_parse(body, false);
    write_and_parse(body, true);
    arena_finish(&arena);
    return 0;
}
