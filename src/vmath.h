/* vmath.h: exp, log, tanh and their family, branch-free, so that  for (...) y[i] = cbp_tanh(x[i]);  vectorises.
 *
 * For T = the dtype of this build. Every fused operation is written as cbp_fma, so AVX2, AVX-512 and NEON give the
 * same bits; the base build, without FMA, may differ in the last ones. No libm, no table, no state; a result depends
 * on its element alone. NaN gives NaN, +-0 keeps its sign under odd functions, subnormals are exact citizens.
 *
 * How far they are from the exact values is in docs/accuracy.md; `make sweep` measures it.
 *
 * The one exception to "no rare path" is sin and cos: see vmath_trig.h.
 *
 * NOTE: minimum and maximum are written  hi < x ? hi : x,  so that a NaN x comes through. */
#ifndef CBP_VMATH_H
#define CBP_VMATH_H

#include "cbp.h"
#include "vmath_coeffs.h"

#if CBP_BITS == 32
typedef uint32_t cbp_uint;
#else
typedef uint64_t cbp_uint;
#endif

#define CBP_INF ((T)__builtin_inff())
#define CBP_NAN ((T)__builtin_nanf(""))

/* ---- bits ---- */

/* base has no FMA: there float32 goes through double, whose product is exact, where a*b + c would cost ulps */
#if !CBP_HAS_FMA && CBP_BITS == 32
static inline T cbp_math_fma(T a, T b, T c) { return (T)((double)a * (double)b + (double)c); }
#else
static inline T cbp_math_fma(T a, T b, T c) { return cbp_fma(a, b, c); }
#endif

#if CBP_HAS_FMA                             /* for float32's few steps in double */
static inline double cbp_fma64(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
static inline double cbp_fma64(double a, double b, double c) { return a * b + c; }
#endif

static inline cbp_uint cbp_to_bits(T x) { cbp_uint u; __builtin_memcpy(&u, &x, sizeof u); return u; }
static inline T cbp_from_bits(cbp_uint u) { T x; __builtin_memcpy(&x, &u, sizeof x); return x; }

static inline T cbp_abs(T x) { return CBP_MATH(fabs)(x); }
static inline T cbp_copysign(T x, T s) { return CBP_MATH(copysign)(x, s); }
static inline T cbp_min(T x, T hi) { return hi < x ? hi : x; }
static inline T cbp_max(T x, T lo) { return lo > x ? lo : x; }
static inline T cbp_sign(T x) { return x > 0 ? K(1) : x < 0 ? K(-1) : x == 0 ? K(0) : x; }
static inline T cbp_sqrt(T x) { return CBP_MATH(sqrt)(x); }
static inline T cbp_rsqrt(T x) { return K(1) / CBP_MATH(sqrt)(x); }

static inline T cbp_floor(T x)
{
#if defined(__SSE4_1__) || defined(__aarch64__)
    return CBP_MATH(floor)(x);
#else                                       /* plain SSE2 would call libm */
    const T big = (T)((cbp_uint)1 << CBP_MANT);          /* from here on every number is an integer */
    T a = cbp_abs(x), r = (a + big) - big;               /* |x| rounded */
    r = cbp_copysign(r, x);
    r = r > x ? r - 1 : r;
    return a < big ? cbp_copysign(r, x) : x;
#endif
}

/* a b = product + *err, exactly */
static inline T cbp_two_prod(T a, T b, T *err)
{
    T p = a * b;
#if CBP_HAS_FMA
    *err = cbp_fma(a, b, -p);
#elif CBP_BITS == 32
    *err = (float)((double)a * (double)b - (double)p);
#else                                       /* halves of 26 and 27 bits (Dekker); a, b below 2^995 */
    T ca = a * 0x1.0000002p27, cb = b * 0x1.0000002p27;
    T ah = ca - (ca - a), al = a - ah, bh = cb - (cb - b), bl = b - bh;
    *err = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
#endif
    return p;
}

/* a + b = sum + *err, exactly (Knuth) */
static inline T cbp_two_sum(T a, T b, T *err)
{
    T s = a + b, t = s - a;
    *err = (a - (s - t)) + (b - t);
    return s;
}

/* ---- the exponential ---- */

/* exp(x) = 2^n (1 + p): returns p, |p| < 0.42, given n. */
static inline T cbp_exp_rest(T x, T n)
{
    T r = cbp_fma(n, -CBP_LN2_LO, cbp_fma(n, -CBP_LN2_HI, x));
    return cbp_fma(r * r, CBP_POLY_EXPM1(r), r);
}

/* The same for exp(x + lo), with what the rounding of r loses. */
static inline T cbp_exp_rest_lo(T x, T lo, T n)
{
    T head = cbp_fma(n, -CBP_LN2_HI, x), tail = cbp_fma(n, -CBP_LN2_LO, lo), r = head + tail;
    return cbp_fma(r * r, CBP_POLY_EXPM1(r), (head - r) + tail) + r;
}

/* z = n + shift: n sits in the low bits of z. (In double r's rounding counts: expm1 cancels where n = 1, p < 0.) */
static inline T cbp_exp_core(T x, T shift, T *z)
{
    *z = cbp_fma(x, CBP_LOG2E, shift);
    return CBP_BITS == 64 ? cbp_exp_rest_lo(x, 0, *z - shift) : cbp_exp_rest(x, *z - shift);
}

/* The same, with n kept below top: beyond, p grows until exp(x) is inf. NaN and inf come through p.
 * NOTE: a comparison of bits is one instruction (but not in 64 bits before AVX-512); two limits on x itself, gcc 12
 * compiles into seven. */
static inline T cbp_exp_core_below(T x, T top, T shift, T *z)
{
    T y = cbp_fma(x, CBP_LOG2E, shift), limit = shift + top;
#if CBP_BITS == 32
    int32_t b = (int32_t)cbp_to_bits(y), c = (int32_t)cbp_to_bits(limit);
    *z = cbp_from_bits((cbp_uint)(b < c ? b : c));
#else
    *z = y < limit ? y : limit;
#endif
    return cbp_exp_rest(x, *z - shift);
}

/* 2^n as one number, z = n + SHIFT + BIAS; or as two near 2^(n/2), z = n + SHIFT + 2 BIAS: a product with these can
 * underflow or overflow in one rounding, the multiplication by the second, done last. */
static inline T cbp_scale_one(T z) { return cbp_from_bits(cbp_to_bits(z) << CBP_MANT); }
static inline T cbp_scale_two(T z, T *s2)
{
    cbp_uint b = cbp_to_bits(z), half = (b & ~(cbp_uint)1) << (CBP_MANT - 1);
    *s2 = cbp_from_bits((b << CBP_MANT) - half);
    return cbp_from_bits(half);
}

/* exp(x + lo) = s (1 + p): for 2^n a normal number. */
static inline T cbp_exp_one_lo(T x, T lo, T *s)
{
    const T shift = CBP_SHIFT + K(CBP_BIAS);
    T z = cbp_fma(x, CBP_LOG2E, shift);
    *s = cbp_scale_one(z);
    return cbp_exp_rest_lo(x, lo, z - shift);
}

/* exp(x + lo) = s1 s2 (1 + p), exp(x) = s1 s2 (1 + p): for n up to twice the normal range. */
static inline T cbp_exp_two_lo(T x, T lo, T *s1, T *s2)
{
    const T shift = CBP_SHIFT + K(2 * CBP_BIAS);
    T z = cbp_fma(x, CBP_LOG2E, shift);
    *s1 = cbp_scale_two(z, s2);
    return cbp_exp_rest_lo(x, lo, z - shift);
}
static inline T cbp_exp_two(T x, T *s1, T *s2) { return cbp_exp_two_lo(x, 0, s1, s2); }

static inline T cbp_exp(T x)
{
    T z, p = cbp_exp_core_below(cbp_max(x, CBP_EXP_MIN), K(CBP_BIAS + 1), CBP_SHIFT + K(2 * CBP_BIAS), &z);
    T s2, s1 = cbp_scale_two(z, &s2);
    return cbp_fma(s1, p, s1) * s2;
}

static inline T cbp_expm1(T x)
{
    /* half of it, so that 2^n stays in range up to the overflow */
    T z, p = cbp_exp_core_below(cbp_max(x, CBP_EXPM1_MIN), K(CBP_BIAS + 1), CBP_SHIFT + K(CBP_BIAS - 1), &z);
    T s = cbp_scale_one(z), y = K(2) * cbp_fma(s, p, s - K(0.5));
    return cbp_abs(x) < K(0x1p-54) ? x : y;             /* keeps -0 and subnormals */
}

/* ---- the logarithm ---- */

/* log(1 + f) + k log 2 for sqrt(1/2) <= 1 + f <= sqrt 2 */
static inline T cbp_log_core(T f, T k)
{
#if CBP_BITS == 32
    T f2 = f * f, tail = cbp_fma(f2 * f, CBP_POLY_LOG(f), K(-0.5) * f2);
#else
    T s = f / (K(2) + f), z = s * s, half = K(0.5) * f * f;
    T tail = cbp_fma(s, cbp_fma(z, CBP_POLY_LOG(z), half), -half);
#endif
    return k * CBP_LN2_HI + (f + cbp_fma(k, CBP_LN2_LO, tail));
}

/* x = 2^k (1 + f), for a normal x > 0 */
static inline T cbp_log_split(T x, T *k)
{
    const cbp_uint one = (cbp_uint)CBP_BIAS << CBP_MANT, magic = cbp_to_bits((T)((cbp_uint)1 << CBP_MANT));
    const cbp_uint root = cbp_to_bits(K(0x1.6a09e667f3bcdp-1));      /* sqrt(1/2) */
    cbp_uint b = cbp_to_bits(x) + (one - root);
    *k = cbp_from_bits((b >> CBP_MANT) | magic) - K(((cbp_uint)1 << CBP_MANT) + CBP_BIAS);
    return cbp_from_bits((b & (((cbp_uint)1 << CBP_MANT) - 1)) + root) - K(1);
}

static inline T cbp_log(T x)
{
    const T up = K(0x1p54);
    int tiny = x < CBP_TINY;
    T k, f = cbp_log_split(tiny ? x * up : x, &k);
    T y = cbp_log_core(f, tiny ? k - 54 : k);
    y = x < CBP_INF ? y : x;                             /* inf and NaN */
    return x > 0 ? y : x == 0 ? -CBP_INF : CBP_NAN;
}

static inline T cbp_log1p(T x)
{
    const T down = K(0x1p-60);
    int huge = x > K(0x1p125);                           /* 2^-k must stay normal below; 1 + x = x here */
    T v = huge ? x * down : x, u = huge ? v : K(1) + x, k;
    cbp_log_split(u, &k);
    T scale = cbp_from_bits(((cbp_uint)CBP_BIAS << CBP_MANT) - (cbp_to_bits(k + CBP_SHIFT) << CBP_MANT));
    T f = cbp_fma(v, scale, scale - K(1));               /* 2^-k (1 + x) - 1, without the rounding of 1 + x */
    T y = cbp_copysign(cbp_log_core(f, huge ? k + 60 : k), x);
    y = x < CBP_INF ? y : x;
    return x > -1 ? y : x == -1 ? -CBP_INF : CBP_NAN;
}

/* log(1 + e) for 0 <= e <= 1 */
static inline T cbp_log1p_unit(T e)
{
#if CBP_BITS == 32
    return cbp_math_fma(e * e, CBP_POLY_LOG1P01(e), e);
#else
    int big = e > K(0.41421356237309503);
    return cbp_log_core(big ? K(0.5) * (e - K(1)) : e, big ? K(1) : K(0));
#endif
}

/* ---- tanh, sigmoid and what is built on exp(-|x|) ---- */

static inline T cbp_tanh(T x)
{
    T z, p = cbp_exp_core(K(2) * cbp_min(cbp_abs(x), CBP_TANH_MAX), CBP_SHIFT + K(CBP_BIAS - 1), &z);
    T s = cbp_scale_one(z), h = cbp_math_fma(s, p, s - K(0.5));   /* expm1(2|x|) / 2: tanh = h / (1 + h) */
    T b = h < 1 ? h : K(1), q = b / (K(1) + h);          /* = b - b q: the errors of q are damped */
    return cbp_copysign(cbp_math_fma(-b, q, b), x);
}

/* With e = exp(-|x|), q = e / (1 + e): e - e q on the left, 1 - q on the right; the errors of q are damped. */
static inline T cbp_sigmoid(T x)
{
    T s1, s2, p = cbp_exp_two(-cbp_min(cbp_abs(x), CBP_DECAY_MAX), &s1, &s2);
    T e = cbp_fma(s1, p, s1) * s2, q = e / (K(1) + e), b = x < 0 ? e : K(1);
    return cbp_fma(-b, q, b);
}

/* c sigmoid(a) sigmoid(-a), a >= 0: c e / (1 + e)^2, e = exp(-a). As cheap as can be: dense layers wait for it. */
static inline T cbp_logistic_pdf(T a, T c)
{
    T z, p = cbp_exp_core(-cbp_min(a, CBP_DECAY_MAX), CBP_SHIFT + K(2 * CBP_BIAS), &z);
    T s2, s1 = cbp_scale_two(z, &s2), e1 = cbp_fma(s1, p, s1), e = e1 * s2;
    return e1 / cbp_fma(e, e + K(2), K(1)) * (c * s2);
}
static inline T cbp_sigmoid_slope(T x) { return cbp_logistic_pdf(cbp_abs(x), 1); }
static inline T cbp_tanh_slope(T x) { return cbp_logistic_pdf(K(2) * cbp_abs(x), 4); }

static inline T cbp_softplus(T x)
{
    T s1, s2, p = cbp_exp_two(-cbp_min(cbp_abs(x), CBP_DECAY_MAX), &s1, &s2);
    return (x > 0 ? x : K(0)) + cbp_log1p_unit(cbp_math_fma(s1, p, s1) * s2);
}

#include "vmath_act.h"
#include "vmath_trig.h"
#include "vmath_pow.h"
#include "vmath_mod.h"

#endif
