/* rng.c: see rng.h.  Arithmetic is integers, + - * / and sqrt of doubles only: no libm, no fused operation, so that
 * every machine, compiler and instruction set gives the same bits. */
#include "rng.h"

/* ---- Philox4x32-10 ---- */

enum { ROUNDS = 10, BLOCKS = 64 };      /* blocks of four words made at a time, side by side for the vectors */

/* The kind of number, in the counter's last word: kinds never share a block.  The third word counts retries. */
typedef enum { BITS, UNIFORM, NORMAL, MASK, BELOW, PERMUTATION } kind;

static void rounds(const uint32_t key[2], int n, uint32_t c[4][BLOCKS])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (int l = 0; l < n; l++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c[0][l], p1 = (uint64_t)0xCD9E8D57u * c[2][l];
            c[0][l] = (uint32_t)(p1 >> 32) ^ c[1][l] ^ k0;
            c[2][l] = (uint32_t)(p0 >> 32) ^ c[3][l] ^ k1;
            c[1][l] = (uint32_t)p1;
            c[3][l] = (uint32_t)p0;
        }
}

void cbp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4][BLOCKS];
    for (int j = 0; j < 4; j++) c[j][0] = counter[j];
    rounds(key, 1, c);
    for (int j = 0; j < 4; j++) out[j] = c[j][0];
}

/* words (n,4) = blocks first .. first + n - 1 of a kind's stream, n <= BLOCKS */
static void draw(uint64_t key_, kind tag, uint64_t first, int n, uint32_t *words)
{
    const uint32_t key[2] = {(uint32_t)key_, (uint32_t)(key_ >> 32)};
    uint32_t c[4][BLOCKS];
    const int padded = (n + 7) / 8 * 8;                 /* whole vectors; the surplus is not read */
    for (int l = 0; l < padded; l++) {
        c[0][l] = (uint32_t)(first + (uint64_t)l);
        c[1][l] = (uint32_t)((first + (uint64_t)l) >> 32);
        c[2][l] = 0;
        c[3][l] = (uint32_t)tag;
    }
    rounds(key, padded, c);
    for (int l = 0; l < n; l++)
        for (int j = 0; j < 4; j++) words[4 * l + j] = c[j][l];
}

static ptrdiff_t min(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Runs body for the elements of a stream that has `per` of them in a block, a batch of blocks at a time:
 * elements i .. i + count - 1 of the call are elements skip .. of the batch whose words are in w. */
#define STREAM(tag, per, ...) \
    for (ptrdiff_t i = 0, count; i < n; i += count) { \
        const uint64_t at = offset + (uint64_t)i; \
        const int skip = (int)(at % (per)), blocks = (int)min(BLOCKS, (skip + (n - i) + (per) - 1) / (per)); \
        uint32_t w[4 * BLOCKS]; \
        count = min(n - i, (ptrdiff_t)blocks * (per) - skip); \
        draw(key, tag, at / (per), blocks, w); \
        __VA_ARGS__ \
    }
#define EACH(expression) for (ptrdiff_t k = 0; k < count; k++) { const ptrdiff_t e = skip + k; out[i + k] = expression; }

static inline uint64_t word64(const uint32_t *w, ptrdiff_t e) { return w[2 * e] | (uint64_t)w[2 * e + 1] << 32; }

void cbp_rng_bits(uint64_t key, uint64_t offset, ptrdiff_t n, uint64_t *out)
{
    STREAM(BITS, 2, EACH(word64(w, e)))
}

/* ---- real numbers ---- */

/* float32 has the high word's upper 24 bits, float64 29 more below them. */
void cbp_rng_uniform_f32(uint64_t key, uint64_t offset, ptrdiff_t n, float *out)
{
    STREAM(UNIFORM, 2, EACH((float)(int32_t)(w[2 * e + 1] >> 8) * 0x1p-24f))
}
void cbp_rng_uniform_f64(uint64_t key, uint64_t offset, ptrdiff_t n, double *out)
{
    STREAM(UNIFORM, 2, EACH((double)(int64_t)(word64(w, e) >> 11) * 0x1p-53))
}

/* log(k / 2^53) for 1 <= k <= 2^53: k = 2^e m with m in [sqrt 1/2, sqrt 2), log m = 2 atanh f, f = (m - 1) / (m + 1) */
static inline double log_of(int64_t k)
{
    union { double d; uint64_t bits; } m = {.d = (double)k};
    const int64_t above = (m.bits & 0xFFFFFFFFFFFFF) > 0x6A09E667F3BCC;                  /* the mantissa of sqrt 2 */
    const double e = (double)((int64_t)(m.bits >> 52) - 1023 - 53 + above);
    m.bits = (m.bits & 0xFFFFFFFFFFFFF) | (uint64_t)(1023 - above) << 52;
    const double f = (m.d - 1) / (m.d + 1), s = f * f;
    double tail = 1. / 21;                                                                 /* s <= 0.0295: 2^-55 left */
    for (int odd = 19; odd >= 3; odd -= 2) tail = tail * s + 1. / odd;
    return e * 0x1.62E42FEFA39EFp-1 + (2 * f + 2 * f * (s * tail));                        /* ln 2 */
}

/* cos and sin of 2 pi k / 2^53: whole quarter turns apart, the rest within pi/4 by Taylor's series */
static inline void cos_sin_of(int64_t k, double *c, double *s)
{
    const int64_t quarter = (k + ((int64_t)1 << 50)) >> 51;
    const double x = (double)(k - quarter * ((int64_t)1 << 51)) * (6.283185307179586 * 0x1p-53), xx = x * x;
    double cosine = 1, sine = 1;
    for (int j = 16; j > 0; j -= 2) cosine = 1 - cosine * xx * (1. / (j * (j - 1)));
    for (int j = 15; j > 1; j -= 2) sine = 1 - sine * xx * (1. / (j * (j - 1)));
    sine *= x;
    const double a = quarter & 1 ? sine : cosine, b = quarter & 1 ? cosine : sine;
    *c = (quarter + 1) & 2 ? -a : a;
    *s = quarter & 2 ? -b : b;
}

/* Box-Muller, two normals from each block; z (blocks, 2) */
static void normals(int blocks, const uint32_t *w, double *z)
{
    for (int l = 0; l < blocks; l++) {
        double c, s;
        const double radius = __builtin_sqrt(-2 * log_of((int64_t)(word64(w, 2 * l) >> 11) + 1));
        cos_sin_of((int64_t)(word64(w, 2 * l + 1) >> 11), &c, &s);
        z[2 * l] = radius * c;
        z[2 * l + 1] = radius * s;
    }
}
void cbp_rng_normal_f32(uint64_t key, uint64_t offset, ptrdiff_t n, float *out)
{
    double z[2 * BLOCKS];
    STREAM(NORMAL, 2, normals(blocks, w, z); EACH((float)z[e]))
}
void cbp_rng_normal_f64(uint64_t key, uint64_t offset, ptrdiff_t n, double *out)
{
    double z[2 * BLOCKS];
    STREAM(NORMAL, 2, normals(blocks, w, z); EACH(z[e]))
}

/* ---- masks and integers ---- */

void cbp_rng_mask(uint64_t key, uint64_t offset, ptrdiff_t n, double p, uint8_t *out)
{
    const uint32_t dropped = p > 0 && p < 1 ? (uint32_t)(p * 0x1p32) : 0, any = p < 1;
    STREAM(MASK, 4, EACH((uint8_t)((w[e] >= dropped) & any)))
}

/* x mod bound, fairly: an x of the last, incomplete run of bounds is thrown away for another try at the same position. */
static inline int64_t below(uint64_t key, kind tag, uint64_t at, uint64_t x, uint64_t bound)
{
    uint64_t r = x % bound;
    for (uint32_t try = 1; x - r > UINT64_MAX - (bound - 1); try++, r = x % bound) {
        const uint32_t counter[4] = {(uint32_t)(at / 2), (uint32_t)(at / 2 >> 32), try, (uint32_t)tag};
        uint32_t w[4];
        cbp_philox(counter, (const uint32_t[2]){(uint32_t)key, (uint32_t)(key >> 32)}, w);
        x = word64(w, (ptrdiff_t)(at % 2));
    }
    return (int64_t)r;
}
void cbp_rng_below(uint64_t key, uint64_t offset, ptrdiff_t n, int64_t bound, int64_t *out)
{
    STREAM(BELOW, 2, EACH(below(key, BELOW, at + (uint64_t)k, word64(w, e), (uint64_t)bound)))
}

void cbp_rng_permutation(uint64_t key, uint64_t offset, ptrdiff_t n, int64_t *out)
{
    STREAM(PERMUTATION, 2, for (ptrdiff_t k = 0; k < count; k++) {
        const uint64_t bound = (uint64_t)(i + k) + 1;               /* the new number goes to a random place, */
        const int64_t j = below(key, PERMUTATION, at + (uint64_t)k, word64(w, skip + k), bound);
        out[i + k] = out[j];                                        /* whose holder moves to the end */
        out[j] = i + k;
    })
}
