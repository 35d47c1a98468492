/* vmath_pow.h: pow. Included by vmath.h.
 *
 * exp(y log|x|) with the logarithm in two words (float: in double), then the special cases of C99. */
#ifndef CBP_VMATH_POW_H
#define CBP_VMATH_POW_H

/* |x|^y for 0 < |x| < inf, any y that is not NaN */
#if CBP_BITS == 32

static inline float cbp_pow_core(float x, float y)
{
    const uint64_t one = (uint64_t)1023 << 52, magic = (uint64_t)1075 << 52, root = 0x3fe6a09e667f3bcd;
    double v = (double)x, m, k, s;
    uint64_t b, c;
    __builtin_memcpy(&b, &v, sizeof b);
    b += one - root;
    c = b >> 52 | magic;
    __builtin_memcpy(&k, &c, sizeof k);
    c = (b & (((uint64_t)1 << 52) - 1)) + root;
    __builtin_memcpy(&m, &c, sizeof m);
    k -= 0x1p52 + 1023;
    s = (m - 1) / (m + 1);
    double z = s * s, log = cbp_fma64(k, 0x1.62e42fefa39efp-1, cbp_fma64(s * z, cbp_fma64(z, cbp_fma64(z, cbp_fma64(z,
        cbp_fma64(z, 0x1.90b6b01b67a1dp-3, 0x1.c6329cbaaccc1p-3), 0x1.2493f6e0fb9e3p-2), 0x1.999996f927d94p-2),
        0x1.55555555f69c7p-1), 2 * s));                  /* 2^-44.8 */

    double t = (double)cbp_max(cbp_min(y, 0x1p100f), -0x1p100f) * log;      /* finite: 1^inf = 1 */
    t = t > 112 ? 112 : t;
    t = t < -112 ? -112 : t;
    const T shift = CBP_SHIFT + K(2 * CBP_BIAS);
    T n = cbp_fma((T)t, CBP_LOG2E, shift), s2, s1 = cbp_scale_two(n, &s2);
    T r = (T)cbp_fma64(-(double)(n - shift), 0x1.62e42fefa39efp-1, t), p = cbp_fma(r * r, CBP_POLY_EXPM1(r), r);
    return cbp_fma(s1, p, s1) * s2;
}

#else

/* log m = 2 atanh(s), s = (m - 1) / (m + 1); atanh(s) / s = 1 + z/3 + z^2 T(z): 2^-73; every word pair good to 2^-68,
 * for y log x may be 745 and must be good to 2^-55 absolutely. */
#define CBP_POLY_ATANH(z) CBP_P7(z, 0x1.9999999999995p-3, 0x1.2492492493192p-3, 0x1.c71c71c557430p-4, \
    0x1.745d1845e5b09p-4, 0x1.3b135d88b3b9bp-4, 0x1.11217b4b3eb13p-4, 0x1.de14558fc1f8bp-5, 0x1.ec122b6884ad0p-5)

static inline __attribute__((always_inline)) double cbp_pow_core(double x, double y)
{
    int tiny = x < CBP_TINY;
    T k, f = cbp_log_split(tiny ? x * 0x1p54 : x, &k), e;
    k = tiny ? k - 54 : k;

    T d = 2 + f, d_lo = f - (d - 2), inv = 1 / d, s = f * inv, p = cbp_two_prod(s, d, &e);
    T s_lo = (((f - p) - e) - s * d_lo) * inv;           /* s d + s_lo d = f, whatever s was rounded to */
    T z_lo, z = cbp_two_prod(s, s, &z_lo);
    z_lo = cbp_fma(2 * s, s_lo, z_lo);
    T a_lo, t = CBP_POLY_ATANH(z), a = cbp_two_prod(z, t, &a_lo);
    a_lo = cbp_fma(z_lo, t, a_lo + 0x1.5555555555555p-56);
    a = cbp_two_sum(0x1.5555555555555p-2, a, &e);        /* a = 1/3 + z T */
    a_lo += e;
    T b_lo, b = cbp_two_prod(z, a, &b_lo);               /* b = z a */
    b_lo += cbp_fma(z_lo, a, z * a_lo);
    T c_lo, c = cbp_two_prod(s, b, &c_lo);               /* c = s b: atanh(s) = s + c */
    c_lo += cbp_fma(s_lo, b, s * b_lo) + s_lo;
    T h = cbp_two_sum(s, c, &e), l = 2 * (c_lo + e);
    h = cbp_two_sum(k * CBP_LN2_HI, 2 * h, &e);
    l = cbp_fma(k, CBP_LN2_LO, l + e);

    y = cbp_max(cbp_min(y, 0x1p65), -0x1p65);            /* beyond this only x = 1 neither overflows nor underflows */
    T r = cbp_two_prod(y, h, &e), r_lo = cbp_fma(y, l, e), s1, s2;
    r_lo = cbp_abs(r) < 1400 ? r_lo : 0;
    p = cbp_exp_two_lo(cbp_max(cbp_min(r, 1400.0), -1400.0), r_lo, &s1, &s2);
    return cbp_fma(s1, p, s1) * s2;
}

#endif

static inline __attribute__((always_inline)) T cbp_pow(T x, T y)
{
    T a = cbp_abs(x), r = cbp_pow_core(a, y), half = K(0.5) * y;
    r = a == 0 ? (y < 0 ? CBP_INF : K(0)) : r;
    r = a < CBP_INF ? r : y < 0 ? K(0) : CBP_INF;
    /* from 2^(CBP_MANT + 1) on every y is even, and y / 2 an integer */
    int whole = cbp_floor(y) == y, odd = whole & (cbp_floor(half) != half);
    r = odd ? cbp_copysign(r, x) : r;
    r = (x < 0) & (a < CBP_INF) & !whole ? CBP_NAN : r;
    r = x != x || y != y ? x + y : r;
    return x == 1 || y == 0 ? K(1) : r;
}

#endif
