/* simd.h: one vector of T, under one set of names, for the sources that are compiled per target.
 *
 *   V        a vector of VL elements            VM      the first n lanes, made by v_mask(n), 1 <= n <= VL
 *   v_fma    cbp_fma in every lane (a * b + c in two roundings only on a target without FMA)
 *   v_load_m / v_store_m touch the memory of the masked lanes only; the other lanes load as 0
 *   v_transpose   r[i] lane j <-> r[j] lane i, VL vectors
 *
 * AVX-512, AVX2 and SSE2 share the text through V_(op); NEON and the portable base follow.
 */
#ifndef CBP_SIMD_H
#define CBP_SIMD_H

#include "cbp.h"

#define CBP_INLINE static inline __attribute__((always_inline))
#define CBP_UNROLL _Pragma("GCC unroll 32")

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
typedef __m256i VM;
#elif V_BYTES == 32
typedef __m256d V;
typedef __m256i VM;
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
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#else
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), _mm256_setr_epi64x(0, 1, 2, 3));
#endif
}
CBP_INLINE V v_load_m(const T *x, VM m) { return V_(maskload)(x, m); }
CBP_INLINE void v_store_m(T *y, VM m, V a) { V_(maskstore)(y, m, a); }
#endif

/* ---- transpose: first inside the 128-bit lanes, then the lanes ---- */

#define V_LANES (V_BYTES / 16)
#define V_EACH (16 * 8 / CBP_BITS)             /* elements of one 128-bit lane */

#if V_BYTES == 64
#define V_PD(a) _mm512_castps_pd(a)
#define V_PS(a) _mm512_castpd_ps(a)
#if CBP_BITS == 32
#define V_SHUF(a, b, i) _mm512_shuffle_f32x4(a, b, i)
#else
#define V_SHUF(a, b, i) _mm512_shuffle_f64x2(a, b, i)
#endif
#elif V_BYTES == 32
#define V_PD(a) _mm256_castps_pd(a)
#define V_PS(a) _mm256_castpd_ps(a)
#else
#define V_PD(a) _mm_castps_pd(a)
#define V_PS(a) _mm_castpd_ps(a)
#endif

CBP_INLINE void v_transpose(V r[VL])
{
    CBP_UNROLL
    for (int q = 0; q < VL; q += V_EACH) {
#if CBP_BITS == 32
        V a = V_(unpacklo)(r[q], r[q + 1]), b = V_(unpackhi)(r[q], r[q + 1]);
        V c = V_(unpacklo)(r[q + 2], r[q + 3]), d = V_(unpackhi)(r[q + 2], r[q + 3]);
        r[q] = V_PS(V_PASTE(V_PREFIX, unpacklo, pd)(V_PD(a), V_PD(c)));
        r[q + 1] = V_PS(V_PASTE(V_PREFIX, unpackhi, pd)(V_PD(a), V_PD(c)));
        r[q + 2] = V_PS(V_PASTE(V_PREFIX, unpacklo, pd)(V_PD(b), V_PD(d)));
        r[q + 3] = V_PS(V_PASTE(V_PREFIX, unpackhi, pd)(V_PD(b), V_PD(d)));
#else
        V a = V_(unpacklo)(r[q], r[q + 1]), b = V_(unpackhi)(r[q], r[q + 1]);
        r[q] = a;
        r[q + 1] = b;
#endif
    }
#if V_LANES > 1
    CBP_UNROLL
    for (int j = 0; j < V_EACH; j++) {
        V a = r[j], b = r[V_EACH + j];
#if V_LANES == 2
        r[j] = V_(permute2f128)(a, b, 0x20);
        r[V_EACH + j] = V_(permute2f128)(a, b, 0x31);
#else
        V c = r[2 * V_EACH + j], d = r[3 * V_EACH + j];
        V ab_lo = V_SHUF(a, b, 0x44), ab_hi = V_SHUF(a, b, 0xEE);
        V cd_lo = V_SHUF(c, d, 0x44), cd_hi = V_SHUF(c, d, 0xEE);
        r[j] = V_SHUF(ab_lo, cd_lo, 0x88);
        r[V_EACH + j] = V_SHUF(ab_lo, cd_lo, 0xDD);
        r[2 * V_EACH + j] = V_SHUF(ab_hi, cd_hi, 0x88);
        r[3 * V_EACH + j] = V_SHUF(ab_hi, cd_hi, 0xDD);
#endif
    }
#endif
}

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
CBP_INLINE void v_transpose(V r[VL])
{
#if CBP_BITS == 32
    float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])), b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])), d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
#else
    V a = vtrn1q_f64(r[0], r[1]), b = vtrn2q_f64(r[0], r[1]);
    r[0] = a;
    r[1] = b;
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
CBP_INLINE void v_transpose(V r[VL])
{
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < i; j++) {
            T t = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = t;
        }
}
#endif

#if V_BYTES == 16                              /* no masks: lane by lane */
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

#endif
