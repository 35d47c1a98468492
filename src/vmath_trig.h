/* vmath_trig.h: sin, cos, atan2. Included by vmath.h.
 *
 * cbp_sin and cbp_cos are branch-free and right for |x| <= 2^20. Beyond that, CBP_RARE_sin(x) and CBP_RARE_cos(x) say
 * so, and the scalar cbp_sin_large and cbp_cos_large (right for every x) must replace the result: a loop over a block
 * first computes all of it, then looks for rare elements. */
#ifndef CBP_VMATH_TRIG_H
#define CBP_VMATH_TRIG_H

#define CBP_TRIG_MAX K(0x1p20)
#define CBP_RARE_sin(x) (cbp_abs(x) > CBP_TRIG_MAX)
#define CBP_RARE_cos(x) (cbp_abs(x) > CBP_TRIG_MAX)

/* pi/2 in parts: the first ones of 33 bits, so that n times a part is exact for n < 2^20 */
#define CBP_PIO2_1 0x1.921fb544p+0
#define CBP_PIO2_2 0x1.0b4611a6p-34
#define CBP_PIO2_3 0x1.3198a2ep-69
#define CBP_PIO2_4 0x1.b839a252049c1p-104
#define CBP_PIO2_23 0x1.0b4611a626331p-34  /* the second and all that follows, in 53 bits */
#define CBP_2_PI 0x1.45f306dc9c883p-1

/* a = n pi/2 + r + *lo, |r| <= pi/4: returns r, n's last bits in *q. 0 <= a <= 2^20. */
static inline T cbp_trig_reduce(T a, T *lo, cbp_uint *q)
{
#if CBP_BITS == 32
    /* in double: r is then good to 2^-65 absolutely, far below the nearest miss of a float */
    T z = cbp_math_fma(a, (T)CBP_2_PI, CBP_SHIFT), n = z - CBP_SHIFT;
    *q = cbp_to_bits(z);
    *lo = 0;
    return (T)cbp_fma64(-(double)n, CBP_PIO2_23, cbp_fma64(-(double)n, CBP_PIO2_1, (double)a));
#else
    T z = cbp_fma(a, CBP_2_PI, CBP_SHIFT), n = z - CBP_SHIFT, e2, e3;
    T r = a - n * CBP_PIO2_1;                            /* exact */
    r = cbp_two_sum(r, -(n * CBP_PIO2_2), &e2);
    r = cbp_two_sum(r, -(n * CBP_PIO2_3), &e3);
    e2 = cbp_fma(n, -CBP_PIO2_4, e2 + e3);
    *q = cbp_to_bits(z);
    T s = r + e2;
    *lo = (r - s) + e2;
    return s;
#endif
}

/* sin(r + lo + q pi/2) */
static inline T cbp_trig_eval(T r, T lo, cbp_uint q)
{
    T z = r * r;
    T s = cbp_fma(r * z, CBP_POLY_SIN(z), lo * cbp_fma(K(-0.5), z, K(1))) + r;
    T c = cbp_fma(z, cbp_fma(z, CBP_POLY_COS(z), K(-0.5)), -r * lo) + K(1);
    T y = (q & 1) ? c : s;
    return cbp_from_bits(cbp_to_bits(y) ^ (q >> 1 << (CBP_BITS - 1)));
}

static inline T cbp_sin(T x)
{
    T lo, r;
    cbp_uint q;
    r = cbp_trig_reduce(cbp_abs(x), &lo, &q);
    const cbp_uint sign = (cbp_uint)1 << (CBP_BITS - 1);
    return cbp_from_bits(cbp_to_bits(cbp_trig_eval(r, lo, q)) ^ (cbp_to_bits(x) & sign));
}

static inline T cbp_cos(T x)
{
    T lo, r;
    cbp_uint q;
    r = cbp_trig_reduce(cbp_abs(x), &lo, &q);
    return cbp_trig_eval(r, lo, q + 1);
}

/* ---- any x: Payne and Hanek ---- */

/* x = n pi/2 + r + *lo: x times 192 bits of 2/pi, those that weigh 2 and less; those above give multiples of 2 pi. */
__attribute__((noinline, unused)) static double cbp_trig_reduce_large(double x, double *lo, unsigned *q)
{
    static const uint64_t two_over_pi[] = {              /* 64 zeros, then the 1216 bits after the point */
        0x0000000000000000, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561,
        0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41,
        0x3991d639835339f4, 0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7,
        0x4f463f669e5fea2d, 0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab,
    };
    uint64_t b, m, w[3], p[3];
    __builtin_memcpy(&b, &x, sizeof b);
    int e = (int)(b >> 52 & 2047) - 1075, at = e + 62;   /* x = m 2^e; bit i of 2/pi weighs 2^(e-i): from i = e - 1 */
    m = (b & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
    for (int i = 0; i < 3; i++) {
        const uint64_t *t = two_over_pi + at / 64 + i;
        w[i] = at % 64 ? t[0] << at % 64 | t[1] >> (64 - at % 64) : t[0];
    }
    unsigned __int128 s = (unsigned __int128)m * w[2];
    p[2] = (uint64_t)s;
    s = (s >> 64) + (unsigned __int128)m * w[1];
    p[1] = (uint64_t)s;
    p[0] = (uint64_t)(s >> 64) + m * w[0];               /* p 2^-190 = x 2/pi mod 4 */

    *q = (unsigned)(p[0] >> 62);
    p[0] = p[0] << 2 | p[1] >> 62, p[1] = p[1] << 2 | p[2] >> 62, p[2] <<= 2;
    int down = (int)(p[0] >> 63);                        /* past a half: count from the next quadrant down */
    if (down) {
        *q += 1;
        p[2] = ~p[2] + 1, p[1] = ~p[1] + (p[2] == 0), p[0] = ~p[0] + (p[2] == 0 && p[1] == 0);
    }
    double scale = 0x1p-53;
    if (p[0] == 0) p[0] = p[1], p[1] = p[2], p[2] = 0, scale = 0x1p-117;
    int shift = __builtin_clzll(p[0] | 1);
    if (shift) p[0] = p[0] << shift | p[1] >> (64 - shift), p[1] = p[1] << shift | p[2] >> (64 - shift);
    for (int i = 0; i < shift; i++) scale *= 0.5;

    const uint64_t pi_hi = 0xc90fdaa22168c234, pi_lo = 0xc4c6628b80dc1cd1;      /* pi/4 = 0.11001... */
    s = (unsigned __int128)p[0] * pi_hi + (uint64_t)((unsigned __int128)p[0] * pi_lo >> 64)
      + (uint64_t)((unsigned __int128)p[1] * pi_hi >> 64);
    double r = (double)(uint64_t)(s >> 75) * 2 * scale;
    double t = (double)((uint64_t)(s >> 22) & (((uint64_t)1 << 53) - 1)) * 0x1p-52 * scale;
    *lo = down ? -t : t;
    return down ? -r : r;
}

__attribute__((noinline, unused)) static T cbp_trig_large(T x, unsigned turn)
{
    if (!(cbp_abs(x) < CBP_INF)) return x - x;
    double lo, r;
    unsigned q;
    r = cbp_trig_reduce_large((double)cbp_abs(x), &lo, &q);
    T head = (T)(r + lo), tail = (T)((r - (double)head) + lo);
    return cbp_trig_eval(head, tail, q + turn);
}

__attribute__((noinline, unused)) static T cbp_sin_large(T x)
{
    if (!CBP_RARE_sin(x)) return cbp_sin(x);
    T y = cbp_trig_large(x, 0);
    return x < 0 ? -y : y;
}

__attribute__((noinline, unused)) static T cbp_cos_large(T x)
{
    return CBP_RARE_cos(x) ? cbp_trig_large(x, 1) : cbp_cos(x);
}

/* ---- atan2 ---- */

/* atan(q) = q + q z A(z), z = q^2, |q| <= tan(pi/8): 2^-31.9 for float, 2^-63.9 */
#if CBP_BITS == 32
#define CBP_POLY_ATAN(z) CBP_P5(z, -0x1.555554p-2f, 0x1.99991ap-3f, -0x1.247f06p-3f, 0x1.c467e0p-4f, -0x1.5b449ep-4f, \
    0x1.84f228p-5f)
#define CBP_PIO4_HI 0x1.921f8p-1f          /* pi/4 in 21 bits and the rest */
#define CBP_PIO4_LO 0x1.aa2216p-20f
#define CBP_ATAN_UP 0x1p40f
#define CBP_ATAN_BIG 0x1p120f
#else
#define CBP_POLY_ATAN(z) CBP_P11(z, -0x1.5555555555554p-2, 0x1.9999999999583p-3, -0x1.249249246f498p-3, \
    0x1.c71c71b44e427p-4, -0x1.745d144e6fb81p-4, 0x1.3b1364c0146d9p-4, -0x1.110be869210bap-4, 0x1.e1677b9e17c54p-5, \
    -0x1.ab3a480a0f1d3p-5, 0x1.6fddfcf527bf8p-5, -0x1.0fc505f9c91bep-5, 0x1.e80ad7c644c43p-7)
#define CBP_PIO4_HI 0x1.921fb54442d10p-1   /* 50 bits */
#define CBP_PIO4_LO 0x1.08d313198a2e0p-50
#define CBP_ATAN_UP 0x1p200
#define CBP_ATAN_BIG 0x1p900
#endif

/* The angle of (x, y) is j pi/4 +- atan(q), |q| <= tan(pi/8): n <= d the sides, q = n / d or (n - d) / (n + d). */
static inline T cbp_atan2(T y, T x)
{
    T ax = cbp_abs(x), ay = cbp_abs(y);
    int swap = ay > ax, left = cbp_copysign(K(1), x) < 0;
    T n = swap ? ax : ay, d = swap ? ay : ax;
    n = d < CBP_INF ? n : n < CBP_INF ? K(0) : K(1);     /* inf / inf counts as 1, 0 / 0 as 0 */
    d = d < CBP_INF && d > 0 ? d : K(1);
    T up = d < CBP_TINY * (CBP_ATAN_UP * CBP_ATAN_UP) ? CBP_ATAN_UP : K(1);
    up = d > CBP_ATAN_BIG ? K(1) / CBP_ATAN_UP : up;       /* n + d and 1 / d are normal numbers */
    n *= up, d *= up;
    int big = n > d * K(0.41421356237309503);
    T q, z, tail;
#if CBP_BITS == 32
    q = (big ? n - d : n) / (big ? n + d : d), z = q * q;
    tail = q * z * CBP_POLY_ATAN(z);
#else
    T n_lo, d_lo, diff = cbp_two_sum(n, -d, &n_lo), sum = cbp_two_sum(n, d, &d_lo);
    n = big ? diff : n, d = big ? sum : d, n_lo = big ? n_lo : K(0), d_lo = big ? d_lo : K(0);
    T inv = K(1) / d;
    q = n * inv;
    T e, p = cbp_two_prod(q, d, &e);
    T fix = (((n - p) - e) + (n_lo - q * d_lo)) * inv;    /* the quotient's remainder; below 2^-100 it may underflow */
    z = q * q;
    tail = cbp_fma(q * z, CBP_POLY_ATAN(z), q > K(0x1p-100) ? fix : K(0));
#endif
    int j = swap ? (big ? 1 : 2) : (big ? 1 : 0), minus = swap ^ left;
    j = left ? 4 - j : j;
    q = minus ? -q : q, tail = minus ? -tail : tail;
    T jf = (T)j, r = jf * CBP_PIO4_HI + (q + cbp_math_fma(jf, CBP_PIO4_LO, tail));
    return x != x || y != y ? x + y : cbp_copysign(r, y);
}

#endif
