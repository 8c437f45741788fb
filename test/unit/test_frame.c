/* Block headers, frame heads and sums, byte for byte. */
#include "store/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/num.h"

static const struct block_header header = {
    .block = 31, .store_id = {'s', 't', 'o', 'r', 'e'}, .salt = 0x1122334455667788, .session = 7};
static const struct frame_head head = {.kind = FRAME_PUT, .record_len = 100, .body_len = 70000};

/* Makes the CRC of an edited header or head right again. */
static void seal(uint8_t *bytes)
{
    le32_put(bytes + 60, (uint32_t)crc32(0, bytes, 60));
}

static void a_block_header_is_written_as_format_h_says(void **state)
{
    static const uint8_t want[60] = "ZKVBLOCK\2\0\0\0\x1f\0\0\0store\0\0\0\0\0\0\0\0\0\0\0"
                                    "\x88\x77\x66\x55\x44\x33\x22\x11\7";
    uint8_t bytes[BLOCK_HEADER_BYTES];
    struct block_header back;

    (void)state;
    block_header_encode(&header, bytes);
    assert_memory_equal(bytes, want, sizeof(want));
    assert_int_equal(le32_get(bytes + 60), crc32(0, bytes, 60));
    assert_int_equal(block_header_decode(bytes, 31, &back), 0);
    assert_int_equal(back.block, 31);
    assert_memory_equal(back.store_id, header.store_id, STORE_ID_BYTES);
    assert_int_equal(back.salt, header.salt);
    assert_int_equal(back.session, 7);
}

static void a_block_header_of_another_kind_is_refused(void **state)
{
    uint8_t good[BLOCK_HEADER_BYTES], bad[BLOCK_HEADER_BYTES] = {0};
    struct block_header back;

    (void)state;
    block_header_encode(&header, good);
    assert_int_equal(block_header_decode(bad, 31, &back), ZERR_NOT_FOUND);
    assert_int_equal(block_header_decode(good, 30, &back), ZERR_CORRUPT);
    memcpy(bad, good, sizeof(bad));
    bad[8] = 1; /* blocks of older programs: their frames say which version they are */
    seal(bad);
    assert_int_equal(block_header_decode(bad, 31, &back), 0);
    bad[8] = 3;
    seal(bad);
    assert_int_equal(block_header_decode(bad, 31, &back), ZERR_UNSUPPORTED);
    memcpy(bad, good, sizeof(bad));
    bad[50] = 1; /* where zeros belong */
    seal(bad);
    assert_int_equal(block_header_decode(bad, 31, &back), ZERR_CORRUPT);
    memcpy(bad, good, sizeof(bad));
    bad[43] = 1; /* session 2^24 */
    seal(bad);
    assert_int_equal(block_header_decode(bad, 31, &back), ZERR_CORRUPT);
}

static void a_head_is_written_as_format_h_says(void **state)
{
    static const uint8_t want[60] =
        "ZKFR\2\1\0\0\x88\x77\x66\x55\x44\x33\x22\x11\x1f\0\0\0\x64\0\0\0"
        "\x40\x10\0\0\0\0\0\0\x70\x11\1\0\0\0\0\0\x10";
    uint8_t bytes[FRAME_HEAD_BYTES];
    struct frame_head back;

    (void)state;
    frame_head_encode(&head, &header, 4160, bytes);
    assert_memory_equal(bytes, want, sizeof(want));
    assert_int_equal(frame_head_decode(bytes, &header, 4160, &back), 0);
    assert_int_equal(back.kind, FRAME_PUT);
    assert_int_equal(back.record_len, 100);
    assert_int_equal(back.body_len, 70000);
}

static void a_head_counts_only_in_its_own_file_and_place(void **state)
{
    uint8_t bytes[FRAME_HEAD_BYTES];
    struct block_header other = header;
    struct frame_head back;

    (void)state;
    frame_head_encode(&head, &header, 4160, bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 4224, &back), ZERR_CORRUPT);
    other.salt++;
    assert_int_equal(frame_head_decode(bytes, &other, 4160, &back), ZERR_CORRUPT);
    other = header;
    other.block++;
    assert_int_equal(frame_head_decode(bytes, &other, 4160, &back), ZERR_CORRUPT);
    for (size_t i = 0; i < FRAME_HEAD_BYTES * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(frame_head_decode(bytes, &header, 4160, &back), ZERR_CORRUPT);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

/* A CRC over something and its own CRC is a constant: such a sum would fit any head. */
static void a_records_crc_fits_its_own_head_alone(void **state)
{
    static const uint8_t record[] = {1, 2, 3};
    const struct slice s = slice_of(record, sizeof(record));
    uint8_t bytes[FRAME_HEAD_BYTES], elsewhere[FRAME_HEAD_BYTES], of_version_1[FRAME_HEAD_BYTES];

    (void)state;
    frame_head_encode(&head, &header, 4160, bytes);
    frame_head_encode(&head, &header, 4224, elsewhere);
    assert_int_not_equal(frame_record_crc(bytes, s), frame_record_crc(elsewhere, s));
    assert_int_equal(frame_record_crc(bytes, s),
                     crc32(crc32(0, bytes, 60), record, sizeof(record)));
    memcpy(of_version_1, bytes, sizeof(bytes));
    of_version_1[4] = 1;
    seal(of_version_1);
    assert_int_equal(frame_record_crc(of_version_1, s),
                     crc32(crc32(0, of_version_1, sizeof(of_version_1)), record, sizeof(record)));
}

static void heads_with_lengths_beyond_the_limits_are_refused(void **state)
{
    uint8_t bytes[FRAME_HEAD_BYTES];
    struct frame_head h = head;

    (void)state;
    h.record_len = RECORD_MAX_BYTES + 1;
    frame_head_encode(&h, &header, 64, bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), ZERR_CORRUPT);
    h = head;
    h.body_len = BODY_MAX_BYTES + 1;
    frame_head_encode(&h, &header, 64, bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), ZERR_CORRUPT);
    frame_head_encode(&head, &header, 64, bytes);
    bytes[40] += 8; /* one sum more than the body has pieces */
    seal(bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), ZERR_CORRUPT);
}

static void unknown_kinds_are_refused_if_they_must_be_understood(void **state)
{
    uint8_t bytes[FRAME_HEAD_BYTES];
    struct frame_head h = head;

    (void)state;
    h.kind = 0x7f;
    frame_head_encode(&h, &header, 64, bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), 0);
    assert_int_equal(h.kind, 0x7f);
    bytes[4] = 1;
    seal(bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), 0);
    bytes[4] = 3;
    seal(bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), ZERR_UNSUPPORTED);
    h.kind = 0x80 | FRAME_PUT;
    frame_head_encode(&h, &header, 64, bytes);
    assert_int_equal(frame_head_decode(bytes, &header, 64, &h), ZERR_UNSUPPORTED);
}

static void frame_lengths_are_aligned_and_do_not_overflow(void **state)
{
    (void)state;
    assert_int_equal(frame_pieces(0), 0);
    assert_int_equal(frame_pieces(PIECE_BYTES), 1);
    assert_int_equal(frame_pieces(PIECE_BYTES + 1), 2);
    assert_int_equal(frame_len(0, 0), 64);
    assert_int_equal(frame_len(10, 0), 128);
    assert_int_equal(frame_len(60, 56), 64 + 60 + 4 + 56 + 8);
    assert_true(frame_len(RECORD_MAX_BYTES, BODY_MAX_BYTES) > BODY_MAX_BYTES);
}

/* The sums and MD5 of data fed in steps. */
static void hash_in_steps(const uint8_t *data, size_t len, size_t step, struct buf *sums,
                          uint8_t md5[16], uint64_t *ret_hash)
{
    struct body_hash *h = body_hash_create();

    assert_non_null(h);
    for (size_t i = 0; i < len; i += step) {
        size_t n = len - i < step ? len - i : step;

        assert_int_equal(body_hash_update(h, data + i, n, sums), 0);
        assert_int_equal(sums->len / SUM_BYTES, (i + n) / PIECE_BYTES);
    }
    assert_int_equal(body_hash_final(h, sums, md5, ret_hash), 0);
    body_hash_destroy(h);
}

static void a_body_hashes_the_same_in_whatever_pieces_it_comes(void **state)
{
    static const size_t steps[] = {
        1, 7, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, SIZE_MAX / 2};
    size_t len = 3 * PIECE_BYTES + 5;
    uint8_t *data = malloc(len), md5[16], want_md5[16];
    struct buf sums = {0}, want = {0};
    uint64_t hash, want_hash;

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    hash_in_steps(data, len, len, &want, want_md5, &want_hash);
    assert_int_equal(want.len, frame_sums_len(len));
    for (size_t i = 0; i < 4; i++) {
        size_t n = i < 3 ? PIECE_BYTES : 5;

        assert_int_equal(le64_get(want.ptr + i * SUM_BYTES), piece_sum(data + i * PIECE_BYTES, n));
    }
    assert_int_equal(want_hash, piece_sum(want.ptr, want.len));
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        buf_reset(&sums);
        hash_in_steps(data, len, steps[i], &sums, md5, &hash);
        assert_true(slice_eq(buf_slice(&sums), buf_slice(&want)));
        assert_memory_equal(md5, want_md5, 16);
        assert_int_equal(hash, want_hash);
    }
    buf_finish(&sums);
    buf_finish(&want);
    free(data);
}

static void known_answers_of_md5_and_xxh3(void **state)
{
    uint8_t md5[16];
    char hex[33] = "";
    struct buf sums = {0};
    uint64_t hash;

    (void)state;
    hash_in_steps((const uint8_t *)"", 0, 1, &sums, md5, &hash);
    hex_encode(md5, 16, hex);
    assert_string_equal(hex, "d41d8cd98f00b204e9800998ecf8427e");
    assert_int_equal(hash, 0x2d06800538d394c2); /* XXH3-64 of nothing */
    assert_int_equal(sums.len, 0);
    hash_in_steps((const uint8_t *)"abc", 3, 1, &sums, md5, &hash);
    hex_encode(md5, 16, hex);
    assert_string_equal(hex, "900150983cd24fb0d6963f7d28e17f72");
    assert_int_equal(le64_get(sums.ptr), 0x78af5f94892f3950); /* XXH3-64 of "abc" */
    buf_finish(&sums);
}

static void sums_can_be_hashed_in_parts(void **state)
{
    static const uint8_t sums[1000 * SUM_BYTES] = {1, 2, 3};
    struct sums_hash *h = sums_hash_create();

    (void)state;
    assert_non_null(h);
    for (int again = 0; again < 2; again++) {
        sums_hash_reset(h);
        for (size_t i = 0; i < sizeof(sums); i += 800) {
            sums_hash_update(h, sums + i, 800);
        }
        assert_int_equal(sums_hash_final(h), piece_sum(sums, sizeof(sums)));
    }
    sums_hash_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_header_is_written_as_format_h_says),
        cmocka_unit_test(a_block_header_of_another_kind_is_refused),
        cmocka_unit_test(a_head_is_written_as_format_h_says),
        cmocka_unit_test(a_head_counts_only_in_its_own_file_and_place),
        cmocka_unit_test(a_records_crc_fits_its_own_head_alone),
        cmocka_unit_test(heads_with_lengths_beyond_the_limits_are_refused),
        cmocka_unit_test(unknown_kinds_are_refused_if_they_must_be_understood),
        cmocka_unit_test(frame_lengths_are_aligned_and_do_not_overflow),
        cmocka_unit_test(a_body_hashes_the_same_in_whatever_pieces_it_comes),
        cmocka_unit_test(known_answers_of_md5_and_xxh3),
        cmocka_unit_test(sums_can_be_hashed_in_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
