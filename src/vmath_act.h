/* vmath_act.h: erf, the normal density, and the activations with their slopes. Included by vmath.h.
 *
 * The smooth rectifiers f (silu, gelu, gelu_tanh) are x S(x) with S(-x) = 1 - S(x). So f(x) = x + f(-x) and
 * f'(x) = 1 - f'(-x): only t = |x|, the negative side, is computed, where f and f' decay like an exponential and need
 * every relative bit; the other side is one subtraction without cancellation.
 *
 * Each slope has one zero on that side. It is written so that the distance to it, d, known in two words, is a factor
 * of every term, and the terms agree in sign: relative accuracy through the zero. */
#ifndef CBP_VMATH_ACT_H
#define CBP_VMATH_ACT_H

/* exp(-x^2/2) = s1 s2 (1 + p), for |x| <= CBP_GAUSS_MAX */
static inline T cbp_gauss(T x, T *s1, T *s2)
{
    T lo, hi = cbp_two_prod(x, x, &lo);
    return cbp_exp_two_lo(K(-0.5) * hi, K(-0.5) * lo, s1, s2);
}

static inline T cbp_normal_pdf(T x)
{
    T s1, s2, p = cbp_gauss(cbp_min(cbp_abs(x), CBP_GAUSS_MAX), &s1, &s2);
    return (cbp_fma(CBP_PDF_HI, p, CBP_PDF_LO) + CBP_PDF_HI) * s1 * s2;
}

static inline T cbp_erf(T x)
{
    T a = cbp_abs(x), c = cbp_min(a, CBP_ERF_MAX), z = c * c;
    T small = cbp_fma(a, CBP_POLY_ERF(z), a);
    T lo, hi = cbp_two_prod(c, c, &lo), s, p = cbp_exp_one_lo(-hi, -lo, &s);
    T u = c - CBP_ERFC_MID, q = CBP_POLY_ERFC(u) * s;
    return cbp_copysign(a < CBP_ERF_SMALL ? small : K(1) - cbp_fma(q, p, q), x);
}

/* t Phi(-t) = a (1 + v); near 0, x Phi(x) = x/2 + t/2 erf(t / sqrt 2), where the errors of erf are damped */
static inline T cbp_gelu(T x)
{
    T t = cbp_min(cbp_abs(x), CBP_GAUSS_MAX), s1, s2, p = cbp_gauss(t, &s1, &s2);
    T d = cbp_math_fma(CBP_GELU_A, t, CBP_GELU_B), d_lo = cbp_math_fma(CBP_GELU_A, t, CBP_GELU_B - d);
    T w = t / d, u = w - CBP_GELU_MID, v = CBP_POLY_GELU(u);
    T o = cbp_fma(-CBP_GELU_A, w, K(1));                 /* d_lo, the rounding of d, weighs about o^3 A / B */
    v = cbp_math_fma(o * o, o * (d_lo * (-CBP_GELU_A / CBP_GELU_B)), cbp_math_fma(v, p, p)) + v;
    T c = t * K(0.70710678118654752), z = c * c, erf = cbp_fma(c, CBP_POLY_ERF(z), c), half = K(0.5) * t;
    int near = t < K(0.6), right = x > 0;
    T a = near ? half : w * s1;
    v = near ? (right ? erf : -erf) : v;
    T y = cbp_math_fma(a, v, a) * s2;
    return right & !near ? x - y : cbp_copysign(y, x);
}

static inline T cbp_gelu_slope(T x)
{
    T t = cbp_min(cbp_abs(x), CBP_GAUSS_MAX), s1, s2, p = cbp_gauss(t, &s1, &s2);
    T d = (CBP_GELU_T0 - t) + CBP_GELU_T0_LO;
    T u = t / (t + CBP_GELU_SLOPE_C) - CBP_GELU_SLOPE_MID, v = CBP_POLY_GELU_SLOPE(u);
    v = cbp_fma(v, p, p) + v;
    d *= K(0.5) * s1;
    T y = cbp_fma(d, v, d) * s2;
    return x > 0 ? K(1) - y : y;
}

/* x / (1 + exp(-y)), y of x's sign, t = |x|, exp(-|y|) = e = s1 s2 (1 + p). Written so that the errors of a quotient
 * are damped: for e <= 1/2, q = e / (1 + e), x - t q on the right, t e - t e q on the left; near 0, x/2 + t/2 q,
 * q = (1 - e) / (1 + e). t is below what T holds, x may be inf. */
static inline T cbp_times_sigmoid(T x, T t, T s1, T s2, T p)
{
    T s = s1 * s2, e = cbp_math_fma(s, p, s), v = t * s1;
    v = cbp_math_fma(v, p, v);
    int near = e > K(0.5), right = x > 0;
    T q = (near ? cbp_math_fma(-s, p, K(1) - s) : e) / (K(1) + e);
    T a = near ? K(0.5) * t : right ? -t : -v, b = near ? K(0.5) * x : right ? x : v;
    T y = cbp_math_fma(a, q, b);
    return cbp_copysign(near | right ? y : y * s2, x);
}

/* a b (1 + p + c), rounded once but for p's own error; c of the size of a rounding */
static inline T cbp_times_exp(T a, T b, T p, T c)
{
    T lo, v = cbp_two_prod(a, b, &lo);
    return cbp_fma(v, p, cbp_fma(v, c, lo)) + v;
}

/* a b (1 + p) / (1 + e)^2, 0 <= e <= 1, with what 1 + e and its square lose in rounding */
static inline T cbp_over_square(T a, T b, T p, T e)
{
    T d = K(1) + e, d_lo = e - (d - K(1)), sq_lo, sq = cbp_two_prod(d, d, &sq_lo);
    T inv = cbp_fma(K(-0.5), e, K(0.97));                /* 1 / d, to a few per cent */
    return cbp_times_exp(a, b, p, cbp_fma(sq_lo, -inv, K(-2) * d_lo) * inv) / sq;
}

/* y = t (A + B t^2) in two words */
static inline T cbp_gelu_tanh_arg(T t, T *y_lo)
{
    T t2_lo, t2 = cbp_two_prod(t, t, &t2_lo);
    T b_lo, b = cbp_two_prod(CBP_GT_B, t2, &b_lo);
    T k_lo, k = cbp_two_sum(CBP_GT_A, b, &k_lo);
    k_lo += b_lo + cbp_fma(CBP_GT_B, t2_lo, cbp_fma(CBP_GT_B_LO, t2, CBP_GT_A_LO));
    T e, y = cbp_two_prod(t, k, &e);
    *y_lo = cbp_fma(t, k_lo, e);
    return y;
}

static inline T cbp_gelu_tanh(T x)
{
    T t = cbp_min(cbp_abs(x), CBP_GELU_TANH_MAX), lo, y = cbp_gelu_tanh_arg(t, &lo);
    T s1, s2, p = cbp_exp_two_lo(-y, -lo, &s1, &s2);
    return cbp_times_sigmoid(x, t, s1, s2, p);
}

/* With e = exp(-y): f'(-t) = e h / (1 + e)^2, h = 1 + e - t y'. Around T0: e = E0 exp(Y0 - y), and with d = t - T0,
 * g = t^2 + T0 (t + T0):  y - Y0 = d (A + B g) + constant,  h = E0 expm1(Y0 - y) - d (A + 3 B g) + ETA. */
static inline T cbp_gelu_tanh_slope(T x)
{
    T t = cbp_min(cbp_abs(x), CBP_GELU_TANH_MAX), lo, y = cbp_gelu_tanh_arg(t, &lo);
    T d = t - CBP_GT_T0, d_lo = (t - d) - CBP_GT_T0, t2 = t * t, g0 = CBP_GT_T0 * (t + CBP_GT_T0);
    T m = d * cbp_math_fma(CBP_GT_B, t2, cbp_math_fma(CBP_GT_B, g0, CBP_GT_A));    /* y - Y0, relatively accurate ... */
    T e_lo, yd = cbp_two_sum(y, -CBP_GT_Y0, &e_lo);
    lo = (yd - m) + (e_lo + (lo - CBP_GT_Y0_LO));        /* ... and what it misses, absolutely accurate */
    T s1, s2, p = cbp_exp_two_lo(-m, -lo, &s1, &s2), s = s1 * s2;
    T se = s * CBP_GT_E0, e = cbp_math_fma(se, p, se);
    T h = cbp_math_fma(CBP_GT_E0, cbp_math_fma(s, p, s - K(1)), CBP_GT_ETA);
    T k = cbp_math_fma(K(3) * CBP_GT_B, t2, cbp_math_fma(K(3) * CBP_GT_B, g0, CBP_GT_A));
    T dk_lo, dk = cbp_two_prod(d, k, &dk_lo);
    h = (cbp_math_fma(-d_lo, k, cbp_math_fma(-d, CBP_GT_A_LO, h)) - dk_lo) - dk;
    T v = cbp_over_square(CBP_GT_E0 * s1, h, p, e) * s2;
    return x > 0 ? K(1) - v : v;
}

static inline T cbp_silu(T x)
{
    T t = cbp_min(cbp_abs(x), CBP_DECAY_MAX), s1, s2, p = cbp_exp_two(-t, &s1, &s2);
    return cbp_times_sigmoid(x, t, s1, s2, p);
}

/* f'(-t) = e h / (1 + e)^2, e = exp(-t), h = 1 + e - t. Around T0: e = E0 exp(d), d = T0 - t, h = E0 expm1(d) + d. */
static inline T cbp_silu_slope(T x)
{
    const T e0 = CBP_SILU_T0 - K(1);
    T t = cbp_min(cbp_abs(x), CBP_DECAY_MAX), lo, d = cbp_two_sum(CBP_SILU_T0, -t, &lo);
    T s1, s2, p = cbp_exp_two_lo(d, lo + CBP_SILU_OFF, &s1, &s2), s = s1 * s2;
    T se = s * e0, e = cbp_fma(se, p, se);
    T h = cbp_fma(e0, cbp_fma(s, p, s - K(1)), lo) + d;
    T v = cbp_over_square(e0 * s1, h, p, e) * s2;
    return x > 0 ? K(1) - v : v;
}

/* tanh(log(1 + w)) = n / (1 + n), n = w + w^2/2, w = exp(x). With e = exp(-|x|):
 * left, w = e: e (1 + e/2) / (1 + n), what 1 + n loses taken off the numerator;
 * right, w = 1/e: 1 - e^2 / (e^2 + e + 1/2);
 * near 0, so that the errors of the quotient are damped, 1/2 (1 + (n - 1) / (1 + n)): with m = e - 1, the numerator is
 * 1/2 + 2 m + m^2/2 over the left's, 1/2 - m e over the right's denominator. */
static inline T cbp_mish(T x)
{
    T t = cbp_min(cbp_abs(x), CBP_DECAY_MAX), s1, s2, p = cbp_exp_two(-t, &s1, &s2), s = s1 * s2;
    T e = cbp_math_fma(s, p, s), half = K(0.5) * e, e2 = e * e, v = t * s1, m = cbp_math_fma(s, p, s - K(1));
    T a = K(1) + e, a_lo = e - (a - K(1)), d = cbp_fma(e, half, a), d_lo = cbp_fma(e, half, a - d) + a_lo;
    T inv = cbp_fma(K(-0.62), e, K(0.98));               /* 1 / d, to a few per cent */
    half = cbp_fma(-d_lo, inv, half);
    v = cbp_math_fma(v, cbp_fma(p, half, half) + p, v);
    int near = e > K(0.5), right = x > 0;
    T n = cbp_fma(m, right ? -e : cbp_fma(m, K(0.5), K(2)), K(0.5));
    T q = (near ? n : right ? e2 : v) / (right ? e2 + (e + K(0.5)) : d);
    T y = cbp_math_fma(near ? K(0.5) * t : -t, q, near ? K(0.5) * t : x);
    return cbp_copysign(near | right ? y : q * s2, x);
}

/* With D = 1 + w + w^2/2. Right, mish' = 1 + (x w (1 + w) - D) / D^2.
 * Left, w h / D^2, 4 h = w^3 + 4 w^2 + 6 w + 4 + 4 x (1 + w). Around X0: w = W0 (1 + m), m = expm1(d), d = x - log W0,
 * h = d (1 + w) + m (C0 + C1 m + C2 m^2) + ETA.
 * D and D^2 carry their rounding errors along: these would cost two ulp. */
static inline T cbp_mish_slope(T x)
{
    T c = cbp_max(cbp_min(x, CBP_MISH_MAX), -CBP_DECAY_MAX), lo, d = cbp_two_sum(c, -CBP_MISH_X0, &lo);
    lo -= CBP_MISH_X0_LO;
    T s1, s2, p = cbp_exp_two_lo(d, lo, &s1, &s2), s = s1 * s2;
    T m = cbp_math_fma(s, p, s - K(1)), sw = s * CBP_MISH_W0;
    T w = cbp_math_fma(sw, p, sw), half = K(0.5) * w;
    T a = K(1) + w, a_lo = w - (a - K(1));
    T den = cbp_math_fma(w, half, a), den_lo = cbp_math_fma(w, half, a - den) + a_lo;
    T sq_lo, sq = cbp_two_prod(den, den, &sq_lo);
    T inv = cbp_math_fma(w, cbp_math_fma(w, K(0.33), K(-0.93)), K(1));                /* 1 / D to a few per cent */
    T fix = cbp_math_fma(sq_lo, -inv, K(-2) * den_lo) * inv;
    T h = cbp_math_fma(lo, a, cbp_math_fma(d, a_lo, CBP_MISH_ETA));
    h = cbp_math_fma(d, a, cbp_math_fma(m, CBP_P2(m, CBP_MISH_C0, CBP_MISH_C1, CBP_MISH_C2), h));
    T num = x > 0 ? cbp_math_fma(c * w, a, -den) : cbp_times_exp(CBP_MISH_W0 * s1, h, p, fix);
    T y = num / sq;
    return x > 0 ? K(1) + y : y * s2;
}

#endif
