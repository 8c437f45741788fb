/* Block headers, frame heads and sums, byte for byte (frame.h, format.h).
 *
 * MD5 comes from OpenSSL; its algorithm is fetched once for the whole process and never given back,
 * since a fetch costs more than the MD5 of a small object. */
#include "store/frame.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <zlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/num.h"

#define CRC_OFF 60 /* of a block header's and a head's CRC: it covers what comes before */

static uint32_t crc_of(const uint8_t *p, size_t len)
{
    return (uint32_t)crc32(crc32(0, NULL, 0), p, (uInt)len);
}

/* ---- block header ---------------------------------------------------------------------------- */

void block_header_encode(const struct block_header *h, uint8_t out[BLOCK_HEADER_BYTES])
{
    memset(out, 0, BLOCK_HEADER_BYTES);
    memcpy(out, BLOCK_MAGIC, 8);
    le32_put(out + 8, BLOCK_VERSION);
    le32_put(out + 12, h->block);
    memcpy(out + 16, h->store_id, STORE_ID_BYTES);
    le64_put(out + 32, h->salt);
    le64_put(out + 40, h->session);
    le32_put(out + CRC_OFF, crc_of(out, CRC_OFF));
}

int block_header_decode(const uint8_t in[BLOCK_HEADER_BYTES], uint32_t block,
                        struct block_header *ret)
{
    static const uint8_t zeros[12];

    if (memcmp(in, BLOCK_MAGIC, 8) != 0) {
        return ZERR_NOT_FOUND;
    }
    if (le32_get(in + CRC_OFF) != crc_of(in, CRC_OFF)) {
        return ZERR_CORRUPT;
    }
    if (le32_get(in + 8) == 0 || le32_get(in + 8) > BLOCK_VERSION) {
        return ZERR_UNSUPPORTED;
    }
    if (le32_get(in + 12) != block || le64_get(in + 40) > SEQ_SESSION_MAX ||
        memcmp(in + 48, zeros, sizeof(zeros)) != 0) {
        return ZERR_CORRUPT;
    }
    ret->block = block;
    memcpy(ret->store_id, in + 16, STORE_ID_BYTES);
    ret->salt = le64_get(in + 32);
    ret->session = le64_get(in + 40);
    return 0;
}

/* ---- frame head ------------------------------------------------------------------------------ */

void frame_head_encode(const struct frame_head *head, const struct block_header *h, uint64_t off,
                       uint8_t out[FRAME_HEAD_BYTES])
{
    memset(out, 0, FRAME_HEAD_BYTES);
    memcpy(out, FRAME_MAGIC, 4);
    out[4] = FRAME_VERSION;
    out[5] = head->kind;
    le64_put(out + 8, h->salt);
    le32_put(out + 16, h->block);
    le32_put(out + 20, head->record_len);
    le64_put(out + 24, off);
    le64_put(out + 32, head->body_len);
    le64_put(out + 40, frame_sums_len(head->body_len));
    le32_put(out + CRC_OFF, crc_of(out, CRC_OFF));
}

int frame_head_decode(const uint8_t in[FRAME_HEAD_BYTES], const struct block_header *h,
                      uint64_t off, struct frame_head *ret)
{
    struct frame_head head;

    if (memcmp(in, FRAME_MAGIC, 4) != 0 || le64_get(in + 8) != h->salt ||
        le32_get(in + 16) != h->block || le64_get(in + 24) != off ||
        le32_get(in + CRC_OFF) != crc_of(in, CRC_OFF)) {
        return ZERR_CORRUPT;
    }
    head.kind = in[5];
    head.record_len = le32_get(in + 20);
    head.body_len = le64_get(in + 32);
    if (in[4] == 0 || in[4] > FRAME_VERSION ||
        ((head.kind & FRAME_MUST_UNDERSTAND) != 0 && head.kind != FRAME_PART &&
         head.kind != FRAME_UPLOAD)) {
        return ZERR_UNSUPPORTED;
    }
    if (head.record_len > RECORD_MAX_BYTES || head.body_len > BODY_MAX_BYTES ||
        le64_get(in + 40) != frame_sums_len(head.body_len) ||
        off > INT64_MAX - BODY_MAX_BYTES * 2) {
        return ZERR_CORRUPT;
    }
    *ret = head;
    return 0;
}

uint32_t frame_record_crc(const uint8_t head[FRAME_HEAD_BYTES], struct slice record)
{
    uLong crc = crc32(crc32(0, NULL, 0), head, head[4] == 1 ? FRAME_HEAD_BYTES : CRC_OFF);

    if (record.len > 0) {
        crc = crc32(crc, record.ptr, (uInt)record.len);
    }
    return (uint32_t)crc;
}

/* ---- sums ------------------------------------------------------------------------------------ */

uint64_t piece_sum(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

struct sums_hash {
    XXH3_state_t xxh;
};

struct sums_hash *sums_hash_create(void)
{
    struct sums_hash *h = aligned_alloc(_Alignof(struct sums_hash), sizeof(*h));

    if (h != NULL) {
        sums_hash_reset(h);
    }
    return h;
}

void sums_hash_destroy(struct sums_hash *h)
{
    free(h);
}

void sums_hash_reset(struct sums_hash *h)
{
    (void)XXH3_64bits_reset(&h->xxh);
}

void sums_hash_update(struct sums_hash *h, const uint8_t *sums, size_t len)
{
    (void)XXH3_64bits_update(&h->xxh, sums, len);
}

uint64_t sums_hash_final(const struct sums_hash *h)
{
    return XXH3_64bits_digest(&h->xxh);
}

/* The piece being collected is hashed as it comes, unless a call brings it whole. */
struct body_hash {
    EVP_MD_CTX *md5;
    size_t piece_fill; /* bytes of the current piece seen: < PIECE_BYTES */
    XXH3_state_t piece;
    struct sums_hash sums;
};

/* NULL: out of memory just now; the next call tries again. */
static const EVP_MD *md5_algorithm(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static EVP_MD *md;
    const EVP_MD *ret;

    (void)pthread_mutex_lock(&mutex);
    if (md == NULL) {
        md = EVP_MD_fetch(NULL, "MD5", NULL);
    }
    ret = md;
    (void)pthread_mutex_unlock(&mutex);
    return ret;
}

struct body_hash *body_hash_create(void)
{
    const EVP_MD *algorithm = md5_algorithm();
    struct body_hash *h;

    if (algorithm == NULL) {
        return NULL;
    }
    h = aligned_alloc(_Alignof(struct body_hash), sizeof(*h));
    if (h == NULL) {
        return NULL;
    }
    h->md5 = EVP_MD_CTX_new();
    if (h->md5 == NULL || EVP_DigestInit_ex2(h->md5, algorithm, NULL) != 1) {
        body_hash_destroy(h);
        return NULL;
    }
    h->piece_fill = 0;
    (void)XXH3_64bits_reset(&h->piece);
    sums_hash_reset(&h->sums);
    return h;
}

void body_hash_destroy(struct body_hash *h)
{
    if (h != NULL) {
        EVP_MD_CTX_free(h->md5);
        free(h);
    }
}

static int append_sum(struct body_hash *h, uint64_t sum, struct buf *sums)
{
    uint8_t bytes[SUM_BYTES];

    le64_put(bytes, sum);
    sums_hash_update(&h->sums, bytes, sizeof(bytes));
    return buf_append(sums, bytes, sizeof(bytes));
}

int body_hash_update(struct body_hash *h, const void *data, size_t len, struct buf *sums)
{
    const uint8_t *p = data;

    if (len > 0 && EVP_DigestUpdate(h->md5, data, len) != 1) {
        return ZERR_NOMEM;
    }
    while (len > 0) {
        size_t n = PIECE_BYTES - h->piece_fill;
        int err = 0;

        n = n < len ? n : len;
        if (n == PIECE_BYTES) {
            err = append_sum(h, piece_sum(p, n), sums);
        } else {
            (void)XXH3_64bits_update(&h->piece, p, n);
            h->piece_fill += n;
            if (h->piece_fill == PIECE_BYTES) {
                err = append_sum(h, XXH3_64bits_digest(&h->piece), sums);
                (void)XXH3_64bits_reset(&h->piece);
                h->piece_fill = 0;
            }
        }
        if (err != 0) {
            return err;
        }
        p += n;
        len -= n;
    }
    return 0;
}

int body_hash_final(struct body_hash *h, struct buf *sums, uint8_t md5[16], uint64_t *ret_sums_hash)
{
    int err;

    if (h->piece_fill > 0) {
        err = append_sum(h, XXH3_64bits_digest(&h->piece), sums);
        if (err != 0) {
            return err;
        }
    }
    if (EVP_DigestFinal_ex(h->md5, md5, NULL) != 1) {
        return ZERR_NOMEM;
    }
    *ret_sums_hash = sums_hash_final(&h->sums);
    return 0;
}
