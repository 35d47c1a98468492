/* simd.h: one vector of T, under one set of names, for the sources that are compiled per target.
 *
 *   V        a vector of VL elements            VM      the first n lanes, made by v_mask(n), 1 <= n <= VL
 *   v_fma    cbp_fma in every lane (a * b + c in two roundings only on a target without FMA)
 *   v_load_m / v_store_m touch the memory of the masked lanes only; the other lanes load as 0
 *   v_pad         fills a rest up to whole vectors
 *   v_quad        t[j] lane i = x[i * ld + j] for the V_QUAD columns in 128 bits of n <= VL rows (others repeat row 0)
 *   v_quad_to     the same, straight to memory
 *   h_rows        128 bits from a and, where H has room, from b beside them;   H_ROWS: how many H holds
 *   v_columns     AVX-512 only: VL columns of VL rows, of which the first ones (a mask) are read, the others 0
 *
 * AVX-512, AVX2 and SSE2 share the text through V_(op); NEON and the portable base follow.
 */
#ifndef CBP_SIMD_H
#define CBP_SIMD_H

#include "cbp.h"

#define CBP_INLINE static inline __attribute__((always_inline))
#define CBP_UNROLL _Pragma("GCC unroll 32")

/* The loops of such a function start on a cache line: a tile's, of 120 bytes, takes 5 to 9 % longer where it lies in three
 * lines instead of two (Zen 3), and which one it gets is chance.  For all loops of a file it would be 5 kB of the wheel. */
#if defined(__GNUC__) && !defined(__clang__)
#define CBP_LOOPS_ON_LINES __attribute__((optimize("align-loops=64")))
#else
#define CBP_LOOPS_ON_LINES
#endif

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>

#if defined(__AVX512F__)
#define V_BYTES 64
#define V_REGS 32
#define V_PREFIX _mm512
#elif defined(__AVX2__)
#define V_BYTES 32
#define V_REGS 16
#define V_PREFIX _mm256
#else
#define V_BYTES 16
#define V_REGS 16
#define V_PREFIX _mm
#endif

#if CBP_BITS == 32
#define V_SUFFIX ps
#else
#define V_SUFFIX pd
#endif
#define V_PASTE_(prefix, op, suffix) prefix##_##op##_##suffix
#define V_PASTE(prefix, op, suffix) V_PASTE_(prefix, op, suffix)
#define V_(op) V_PASTE(V_PREFIX, op, V_SUFFIX)

#if V_BYTES == 64 && CBP_BITS == 32
typedef __m512 V;
typedef __mmask16 VM;
#elif V_BYTES == 64
typedef __m512d V;
typedef __mmask8 VM;
#elif V_BYTES == 32 && CBP_BITS == 32
typedef __m256 V;
typedef struct { __m256i lanes; int n; } VM;
#elif V_BYTES == 32
typedef __m256d V;
typedef struct { __m256i lanes; int n; } VM;
#elif CBP_BITS == 32
typedef __m128 V;
typedef int VM;
#else
typedef __m128d V;
typedef int VM;
#endif
enum { VL = V_BYTES * 8 / CBP_BITS };

CBP_INLINE V v_load(const T *x) { return V_(loadu)(x); }
CBP_INLINE void v_store(T *y, V a) { V_(storeu)(y, a); }
CBP_INLINE V v_zero(void) { return V_PASTE(V_PREFIX, setzero, V_SUFFIX)(); }
CBP_INLINE V v_set1(T a) { return V_(set1)(a); }
CBP_INLINE V v_add(V a, V b) { return V_(add)(a, b); }
#if CBP_HAS_FMA
CBP_INLINE V v_fma(V a, V b, V c) { return V_(fmadd)(a, b, c); }
#else
CBP_INLINE V v_fma(V a, V b, V c) { return V_(add)(V_(mul)(a, b), c); }
#endif

#if V_BYTES == 64
CBP_INLINE VM v_mask(ptrdiff_t n) { return (VM)((1u << n) - 1u); }
CBP_INLINE V v_load_m(const T *x, VM m) { return V_(maskz_loadu)(m, x); }
CBP_INLINE void v_store_m(T *y, VM m, V a) { V_(mask_storeu)(y, m, a); }
#elif V_BYTES == 32
CBP_INLINE VM v_mask(ptrdiff_t n)
{
#if CBP_BITS == 32
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (VM){_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane), (int)n};
#else
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return (VM){_mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), lane), (int)n};
#endif
}
CBP_INLINE V v_load_m(const T *x, VM m) { return V_(maskload)(x, m.lanes); }
/* NOTE: in pieces, not by maskstore, which takes 12 cycles on AMD. */
CBP_INLINE void v_store_m(T *y, VM m, V a)
{
    if (m.n == VL) {
        v_store(y, a);
        return;
    }
#if CBP_BITS == 32
    __m128 part = _mm256_castps256_ps128(a);
    if (m.n & 4) {
        _mm_storeu_ps(y, part);
        part = _mm256_extractf128_ps(a, 1);
        y += 4;
    }
    if (m.n & 2) {
        _mm_storel_pi((__m64 *)y, part);
        part = _mm_movehl_ps(part, part);
        y += 2;
    }
    if (m.n & 1) _mm_store_ss(y, part);
#else
    __m128d part = _mm256_castpd256_pd128(a);
    if (m.n & 2) {
        _mm_storeu_pd(y, part);
        part = _mm256_extractf128_pd(a, 1);
        y += 2;
    }
    if (m.n & 1) _mm_store_sd(y, part);
#endif
}
#endif

/* ---- columns of row-major memory: 128 bits of each row side by side, then a transpose inside the 128-bit lanes ---- */

#if CBP_BITS == 32
#define V_ROW128(x) _mm_loadu_ps(x)
#define V_UNPACK4(P, r) do { \
        __typeof__(r[0]) a_ = P##_unpacklo_ps(r[0], r[1]), b_ = P##_unpackhi_ps(r[0], r[1]); \
        __typeof__(r[0]) c_ = P##_unpacklo_ps(r[2], r[3]), d_ = P##_unpackhi_ps(r[2], r[3]); \
        r[0] = P##_castpd_ps(P##_unpacklo_pd(P##_castps_pd(a_), P##_castps_pd(c_))); \
        r[1] = P##_castpd_ps(P##_unpackhi_pd(P##_castps_pd(a_), P##_castps_pd(c_))); \
        r[2] = P##_castpd_ps(P##_unpacklo_pd(P##_castps_pd(b_), P##_castps_pd(d_))); \
        r[3] = P##_castpd_ps(P##_unpackhi_pd(P##_castps_pd(b_), P##_castps_pd(d_))); \
    } while (0)
#define V_INSERT256(a, x) _mm256_insertf128_ps(a, x, 1)
#define V_WIDEN256(x) _mm256_castps128_ps256(x)
#define V_SHUFFLE(a, b, i) _mm512_shuffle_f32x4(a, b, i)
typedef __m128 V128;
#ifdef __AVX2__
typedef __m256 V256;
#endif
#else
#define V_ROW128(x) _mm_loadu_pd(x)
#define V_UNPACK4(P, r) do { \
        __typeof__(r[0]) a_ = P##_unpacklo_pd(r[0], r[1]); \
        r[1] = P##_unpackhi_pd(r[0], r[1]); \
        r[0] = a_; \
    } while (0)
#define V_INSERT256(a, x) _mm256_insertf128_pd(a, x, 1)
#define V_WIDEN256(x) _mm256_castpd128_pd256(x)
#define V_SHUFFLE(a, b, i) _mm512_shuffle_f64x2(a, b, i)
typedef __m128d V128;
#ifdef __AVX2__
typedef __m256d V256;
#endif
#endif
enum { V_QUAD = 16 * 8 / CBP_BITS };

/* Row i of a block that has n rows; the others repeat row 0 (their lanes are never stored). */
#define V_ROW(i) V_ROW128(x + ((i) < n ? (i) * ld : 0))

#if V_BYTES >= 32
CBP_INLINE void v_quad256(const T *x, ptrdiff_t ld, ptrdiff_t n, V256 t[V_QUAD])
{
    CBP_UNROLL
    for (int i = 0; i < V_QUAD; i++) t[i] = V_INSERT256(V_WIDEN256(V_ROW(i)), V_ROW(i + V_QUAD));
    V_UNPACK4(_mm256, t);
}
#endif
#if V_BYTES == 64
/* NOTE: whole cache lines here, not 128 bits at a time: rows a multiple of 4096 bytes apart share one set of the L1 cache,
 * and VL of them evict each other (Zen 4: 110 against 200 cycles for 16x16, equal elsewhere). */
CBP_INLINE void v_columns(const T *x, ptrdiff_t ld, VM columns, V t[VL])
{
    CBP_UNROLL
    for (int i = 0; i < VL; i++) t[i] = v_load_m(x + i * ld, columns);
    CBP_UNROLL
    for (int i = 0; i < VL; i += V_QUAD) V_UNPACK4(_mm512, (t + i));
    CBP_UNROLL
    for (int j = 0; j < V_QUAD; j++) {
        V a = t[j], b = t[V_QUAD + j], c = t[2 * V_QUAD + j], d = t[3 * V_QUAD + j];
        V ab = V_SHUFFLE(a, b, 0x44), ab2 = V_SHUFFLE(a, b, 0xEE);
        V cd = V_SHUFFLE(c, d, 0x44), cd2 = V_SHUFFLE(c, d, 0xEE);
        t[j] = V_SHUFFLE(ab, cd, 0x88);
        t[V_QUAD + j] = V_SHUFFLE(ab, cd, 0xDD);
        t[2 * V_QUAD + j] = V_SHUFFLE(ab2, cd2, 0x88);
        t[3 * V_QUAD + j] = V_SHUFFLE(ab2, cd2, 0xDD);
    }
}
/* NOTE: from memory to memory two halves are a quarter faster than whole vectors (Zen 4: 54 against 69 cycles for 16x16). */
CBP_INLINE void v_quad_to(const T *x, ptrdiff_t ld, ptrdiff_t n, T *y, ptrdiff_t y_ld)
{
    CBP_UNROLL
    for (int half = 0; half < VL; half += VL / 2) {
        V256 t[V_QUAD];
        v_quad256(half < n ? x + half * ld : x, ld, n - half, t);
        CBP_UNROLL
        for (int j = 0; j < V_QUAD; j++) V_PASTE(_mm256, storeu, V_SUFFIX)(y + j * y_ld + half, t[j]);
    }
}
#elif V_BYTES == 32
CBP_INLINE void v_quad(const T *x, ptrdiff_t ld, ptrdiff_t n, V t[V_QUAD]) { v_quad256(x, ld, n, t); }
#else
CBP_INLINE void v_quad(const T *x, ptrdiff_t ld, ptrdiff_t n, V t[V_QUAD])
{
    CBP_UNROLL
    for (int i = 0; i < V_QUAD; i++) t[i] = V_ROW(i);
    V_UNPACK4(_mm, t);
}
#endif

#elif defined(__aarch64__)
#include <arm_neon.h>
#define V_BYTES 16
#define V_REGS 32
#if CBP_BITS == 32
typedef float32x4_t V;
#define V_(op) v##op##q_f32
#define V_DUP vdupq_n_f32
#else
typedef float64x2_t V;
#define V_(op) v##op##q_f64
#define V_DUP vdupq_n_f64
#endif
typedef int VM;
enum { VL = V_BYTES * 8 / CBP_BITS };

CBP_INLINE V v_load(const T *x) { return V_(ld1)(x); }
CBP_INLINE void v_store(T *y, V a) { V_(st1)(y, a); }
CBP_INLINE V v_zero(void) { return V_DUP(0); }
CBP_INLINE V v_set1(T a) { return V_DUP(a); }
CBP_INLINE V v_add(V a, V b) { return V_(add)(a, b); }
CBP_INLINE V v_fma(V a, V b, V c) { return V_(fma)(c, a, b); }      /* NEON puts the addend first */
enum { V_QUAD = VL };
#define V_ROW(i) v_load(x + ((i) < n ? (i) * ld : 0))
CBP_INLINE void v_quad(const T *x, ptrdiff_t ld, ptrdiff_t n, V t[V_QUAD])
{
#if CBP_BITS == 32
#define V_F64(trn, i, j) vreinterpretq_f64_f32(trn##q_f32(V_ROW(i), V_ROW(j)))
    float64x2_t a = V_F64(vtrn1, 0, 1), b = V_F64(vtrn2, 0, 1), c = V_F64(vtrn1, 2, 3), d = V_F64(vtrn2, 2, 3);
    t[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    t[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    t[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    t[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
#else
    V a = V_ROW(0), b = V_ROW(1);
    t[0] = vtrn1q_f64(a, b);
    t[1] = vtrn2q_f64(a, b);
#endif
}

#else                                          /* any other machine: the compiler's own vectors */
#include <string.h>
#define V_BYTES 16
#define V_REGS 16
typedef T V __attribute__((vector_size(V_BYTES)));
typedef int VM;
enum { VL = V_BYTES * 8 / CBP_BITS };

CBP_INLINE V v_load(const T *x) { V a; memcpy(&a, x, sizeof a); return a; }
CBP_INLINE void v_store(T *y, V a) { memcpy(y, &a, sizeof a); }
CBP_INLINE V v_zero(void) { return (V){0}; }
CBP_INLINE V v_set1(T a) { return a - (V){0}; }           /* keeps -0 */
CBP_INLINE V v_add(V a, V b) { return a + b; }
#if CBP_HAS_FMA
CBP_INLINE V v_fma(V a, V b, V c) { for (int i = 0; i < VL; i++) c[i] = cbp_fma(a[i], b[i], c[i]); return c; }
#else
CBP_INLINE V v_fma(V a, V b, V c) { return a * b + c; }
#endif
enum { V_QUAD = VL };
CBP_INLINE void v_quad(const T *x, ptrdiff_t ld, ptrdiff_t n, V t[V_QUAD])
{
    for (int j = 0; j < V_QUAD; j++) {
        T lane[VL];
        for (int i = 0; i < VL; i++) lane[i] = x[(i < n ? i * ld : 0) + j];
        t[j] = v_load(lane);
    }
}
#endif

/* Loads with masks are as fast as others on AVX; elsewhere they go lane by lane and have no place in an inner loop. */
enum { V_FAST_MASKS = V_BYTES > 16 };
#if V_BYTES == 16
CBP_INLINE VM v_mask(ptrdiff_t n) { return (VM)n; }
CBP_INLINE V v_load_m(const T *x, VM m)
{
    if (m == VL) return v_load(x);
    T lane[VL] = {0};
    for (int i = 0; i < m; i++) lane[i] = x[i];
    return v_load(lane);
}
CBP_INLINE void v_store_m(T *y, VM m, V a)
{
    if (m == VL) { v_store(y, a); return; }
    T lane[VL];
    v_store(lane, a);
    for (int i = 0; i < m; i++) y[i] = lane[i];
}
#endif

#if V_BYTES < 64
CBP_INLINE void v_quad_to(const T *x, ptrdiff_t ld, ptrdiff_t n, T *y, ptrdiff_t y_ld)
{
    V t[V_QUAD];
    v_quad(x, ld, n, t);
    CBP_UNROLL
    for (int j = 0; j < V_QUAD; j++) v_store(y + j * y_ld, t[j]);
}
#endif
/* to[0, whole) = n elements of x, then zeros; whole is a multiple of VL. */
CBP_INLINE void v_pad(T *to, ptrdiff_t whole, const T *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < whole; i += VL, n -= VL)
        v_store(to + i, n >= VL ? v_load(x + i) : n > 0 ? v_load_m(x + i, v_mask(n)) : v_zero());
}
/* One column, element by element: what is left where a quad doesn't fit. */
static __attribute__((noinline, unused)) V v_column(const T *x, ptrdiff_t ld, ptrdiff_t n)
{
    T lane[VL];
    for (int i = 0; i < VL; i++) lane[i] = x[i < n ? i * ld : 0];
    return v_load(lane);
}

/* ---- 128 bits of each row side by side, in vectors H of at most 256: filling 512 takes longer than it saves (Zen 4) ---- */

#if V_BYTES >= 32
typedef V256 H;
#define H_(op) V_PASTE(_mm256, op, V_SUFFIX)
CBP_INLINE H h_load(const T *x) { return H_(loadu)(x); }
CBP_INLINE void h_store(T *y, H a) { H_(storeu)(y, a); }
CBP_INLINE H h_fma(H a, H b, H c) { return H_(fmadd)(a, b, c); }
CBP_INLINE H h_rows(const T *a, const T *b) { return V_INSERT256(V_WIDEN256(V_ROW128(a)), V_ROW128(b)); }
#else
typedef V H;
CBP_INLINE H h_load(const T *x) { return v_load(x); }
CBP_INLINE void h_store(T *y, H a) { v_store(y, a); }
CBP_INLINE H h_fma(H a, H b, H c) { return v_fma(a, b, c); }
CBP_INLINE H h_rows(const T *a, const T *b) { (void)b; return v_load(a); }
#endif
enum { H_ROWS = sizeof(H) / 16 };

#endif
