/* vmath_mod.h: floor_divide and remainder, as Python and NumPy have them. Included by vmath.h.
 *
 * The remainder has the sign of the divisor and is exact before it is rounded.  A quotient that is small enough leaves a
 * remainder that one fused multiply-add gives without error; others, and targets without one, take the slow way, which
 * gives the same bits wherever both are possible. */
#ifndef CBP_VMATH_MOD_H
#define CBP_VMATH_MOD_H

#define CBP_QUOTIENT_MAX (CBP_BITS == 32 ? K(0x1p21) : K(0x1p50))
#define CBP_RARE_quotient(a, b) \
    (!CBP_HAS_FMA | !(cbp_abs((a) / (b)) < CBP_QUOTIENT_MAX) | !(cbp_abs(b) < CBP_INF))

/* floor(a / b), and a - b floor(a / b) in *r.  a / b rounded may reach the next integer, so that q is 1 too large and *r,
 * still exact, has the other sign. */
static inline T cbp_divmod(T a, T b, T *r)
{
    T x = a / b, q = cbp_floor(x), m = cbp_fma(-q, b, a);
    int over = (m != 0) & ((m < 0) != (b < 0));
    q = over ? q - 1 : q;
    m = over ? m + b : m;
    *r = m == 0 ? cbp_copysign(K(0), b) : m;
    return q == 0 ? cbp_copysign(K(0), x) : q;
}
static inline T cbp_floor_divide(T a, T b) { T r; return cbp_divmod(a, b, &r); }
static inline T cbp_remainder(T a, T b) { T r; (void)cbp_divmod(a, b, &r); return r; }

/* The exact remainder of |x| by |y| with the sign of x: long division, 11 bits at a time. */
static double cbp_fmod64(double x, double y)
{
    const uint64_t one = (uint64_t)1 << 52, inf = (uint64_t)0x7ff << 52;
    uint64_t a, b, sign;
    __builtin_memcpy(&a, &x, sizeof a);
    __builtin_memcpy(&b, &y, sizeof b);
    sign = a >> 63 << 63, a ^= sign, b = b << 1 >> 1;
    if (b == 0 || a >= inf || b > inf) return __builtin_nan("");
    if (a < b) return x;
    int ea = (int)(a >> 52), eb = (int)(b >> 52);
    a = ea ? (a & (one - 1)) | one : a, ea += !ea;       /* subnormals have the exponent of the smallest normal ones */
    b = eb ? (b & (one - 1)) | one : b, eb += !eb;
    a %= b;
    for (int step; ea > eb; ea -= step) {
        step = ea - eb < 11 ? ea - eb : 11;
        a = (a << step) % b;
    }
    for (; a && a < one && ea > 1; ea--) a <<= 1;
    a = sign | (a >= one ? (a - one) | (uint64_t)ea << 52 : a);
    __builtin_memcpy(&x, &a, sizeof x);
    return x;
}

static T cbp_divmod_large(T a, T b, T *r)
{
    T m = (T)cbp_fmod64((double)a, (double)b), q = (a - m) / b;
    const int over = m != 0 && (m < 0) != (b < 0);
    *r = over ? m + b : m == 0 ? cbp_copysign(K(0), b) : m;
    if (b == 0) return a / b;
    q = over ? q - 1 : q;
    if (q == 0) return cbp_copysign(K(0), a / b);
    const T f = cbp_floor(q);
    return q - f > K(0.5) ? f + 1 : f;
}
static __attribute__((unused)) T cbp_floor_divide_large(T a, T b) { T r; return cbp_divmod_large(a, b, &r); }
static __attribute__((unused)) T cbp_remainder_large(T a, T b) { T r; (void)cbp_divmod_large(a, b, &r); return r; }

#endif
