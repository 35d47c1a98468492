/* oracle.c: the rows of oracle.h with R = double, long double or __float128 (-DREAL=64, 80, 128).
 *
 * In double the loops call the vector versions of the C library (libmvec, within 4 ulp of double: 2^-27 of float's).
 * No expression loses more than a few bits but where `size` says so; there the caller asks a higher precision. */
#include "oracle.h"

#include <math.h>
#include <stddef.h>

#if REAL == 64
typedef double R;
#define C(c) c
#define M(name) name
#define OUT(name) name##_64
#ifdef __x86_64__                          /* math.h says this only under -ffast-math */
#define VECTOR(name) __attribute__((simd("notinbranch"), const)) double name(double);
VECTOR(exp) VECTOR(expm1) VECTOR(log) VECTOR(log1p) VECTOR(sin) VECTOR(cos) VECTOR(tanh) VECTOR(erf) VECTOR(erfc)
#endif
#elif REAL == 80
typedef long double R;
#define C(c) c##L
#define M(name) name##l
#define OUT(name) name##_80
#else
#include <quadmath.h>
typedef quad R;
#define C(c) c##Q
#define M(name) name##q
#define OUT(name) name##_128
#endif

#define PI C(3.14159265358979323846264338327950288419716939937510582)
#define INLINE static inline __attribute__((always_inline, unused))

INLINE R above(R x, R low) { return x < low ? low : x; }      /* NaN stays */
INLINE R below(R x, R high) { return x > high ? high : x; }
INLINE R pick(int c, R a, R b) { return c ? a : b; }
#if REAL == 64
/* What is far above or below float's numbers is cut off: the vector functions hand it to slow scalar ones.
 * NOTE: variables that anyone may write, or gcc would put the cut values behind the call, as it knows exp(600). */
double oracle_far[] = {600, -600, 25, 300};
INLINE R exp_(R x) { return exp(above(below(x, oracle_far[0]), oracle_far[1])); }
INLINE R erfc_(R x) { return erfc(below(x, oracle_far[2])); }
INLINE R low(R x) { return below(x, oracle_far[3]); }
#else
INLINE R low(R x) { return below(x, 5000); }
INLINE R exp_(R x) { return M(exp)(x); }
INLINE R erfc_(R x) { return M(erfc)(x); }
#endif
INLINE R left(R x) { return above(x, -2000); }                /* times an exponential: -inf * 0 is -0 here */
INLINE R sigma(R x) { R e = exp_(-M(fabs)(x)); return (x < 0 ? e : 1) / (1 + e); }
INLINE R pdf(R x) { return exp_(x * x / -2) / M(sqrt)(2 * PI); }
INLINE R cdf(R x) { return erfc_(-x / M(sqrt)(C(2.0))) / 2; }
INLINE R sech2(R x) { R e = exp_(-2 * M(fabs)(x)); return 4 * e / ((1 + e) * (1 + e)); }
/* gelu_tanh(x) = x (1 + tanh u) / 2 */
INLINE R inner(R x) { return M(sqrt)(2 / PI) * (x + C(0.044715) * x * x * x); }
INLINE R inner1(R x) { return M(sqrt)(2 / PI) * (1 + 3 * C(0.044715) * x * x); }
INLINE R inner2(R x) { return M(sqrt)(2 / PI) * 6 * C(0.044715) * x; }
/* mish(x) = x gate(x), gate = tanh(log(1 + w)) = 1 - rest */
INLINE R rest(R x) { R w = exp_(low(x)); return 2 / (w * (w + 2) + 2); }
INLINE R gate(R x) { R w = exp_(low(x)); return w * (w + 2) / (w * (w + 2) + 2); }

#define SELU_SCALE C(1.0507009873554804934193349852946)       /* Klambauer et al. (2017) */
#define SELU_ALPHA C(1.6732632423543772848170429916717)

/* ROW(name, f, size of f's terms, df, size of df's terms); slopes at kinks are the ones the table declares */
#define ROWS \
    ROW(neg, -x, 0, -1, 0) \
    ROW(abs, M(fabs)(x), 0, x > 0 ? 1 : x < 0 ? -1 : x, 0) \
    ROW(exp, exp_(x), 0, exp_(x), 0) \
    ROW(expm1, M(expm1)(x), 0, exp_(x), 0) \
    ROW(log, M(log)(x), 0, 1 / x, 0) \
    ROW(log1p, M(log1p)(x), 0, 1 / (1 + x), 0) \
    ROW(sqrt, M(sqrt)(x), 0, C(0.5) / M(sqrt)(x), 0) \
    ROW(rsqrt, 1 / M(sqrt)(x), 0, C(-0.5) / M(sqrt)(x) / M(sqrt)(x) / M(sqrt)(x), 0) \
    ROW(square, x * x, 0, 2 * x, 0) \
    ROW(reciprocal, 1 / x, 0, -1 / (x * x), 0) \
    ROW(sin, M(sin)(x), 0, M(cos)(x), 0) \
    ROW(cos, M(cos)(x), 0, -M(sin)(x), 0) \
    ROW(tanh, M(tanh)(x), 0, sech2(x), 0) \
    ROW(sigmoid, sigma(x), 0, sigma(x) * sigma(-x), 0) \
    ROW(relu, x <= 0 ? 0 : x, 0, x <= 0 ? 0 : 1, 0) \
    ROW(leaky_relu, x <= 0 ? (R)p[0] * x : x, 0, x <= 0 ? (R)p[0] : 1, 0) \
    ROW(elu, pick(x <= 0, (R)p[0] * M(expm1)(x), x), 0, pick(x <= 0, (R)p[0] * exp_(x), 1), 0) \
    ROW(selu, pick(x <= 0, SELU_SCALE * SELU_ALPHA * M(expm1)(x), SELU_SCALE * x), 0, \
        pick(x <= 0, SELU_SCALE * SELU_ALPHA * exp_(x), SELU_SCALE), 0) \
    ROW(celu, pick(x <= 0, (R)p[0] * M(expm1)(x / (R)p[0]), x), 0, pick(x <= 0, exp_(x / (R)p[0]), 1), 0) \
    ROW(gelu, left(x) * cdf(x), 0, cdf(x) + left(below(x, 2000)) * pdf(x), cdf(x)) \
    ROW(gelu_tanh, left(x) * sigma(2 * inner(x)), 0, gelu_tanh_slope_at(left(below(x, 2000))), sigma(2 * inner(x))) \
    ROW(silu, left(x) * sigma(x), 0, sigma(x) * (1 + left(below(x, 20000)) * sigma(-x)), sigma(x)) \
    ROW(mish, left(x) * gate(x), 0, mish_slope_at(left(below(x, 2000))), gate(x)) \
    ROW(softplus, above(x, 0) + M(log1p)(exp_(-M(fabs)(x))), 0, sigma(x), 0) \
    ROW(softsign, pick(M(fabs)(x) < C(1e30), x / (1 + M(fabs)(x)), x > 0 ? 1 : x < 0 ? -1 : x), 0, \
        1 / ((1 + M(fabs)(x)) * (1 + M(fabs)(x))), 0) \
    ROW(hard_sigmoid, below(above((x + 3) / 6, 0), 1), 0, M(fabs)(x) >= 3 ? 0 : 1 / C(6.0), 0) \
    ROW(hard_tanh, below(above(x, (R)p[0]), (R)p[1]), 0, (x <= (R)p[0]) | (x >= (R)p[1]) ? 0 : 1, 0) \
    ROW(clip, below(above(x, (R)p[0]), (R)p[1]), 0, (x < (R)p[0]) | (x > (R)p[1]) ? 0 : 1, 0) \
    ROW(erf, M(erf)(x), 0, 2 / M(sqrt)(PI) * exp_(-x * x), 0) \
    ROW(floor, M(floor)(x), 0, 0, 0) \
    ROW(sign, x > 0 ? 1 : x < 0 ? -1 : pick(x == 0, 0, x), 0, 0, 0) \
    ROW(normal_pdf, pdf(x), 0, -left(below(x, 2000)) * pdf(x), 0) \
    ROW(gelu_slope, cdf(x) + left(below(x, 2000)) * pdf(x), cdf(x), gelu_curve(left(below(x, 2000))), 2 * pdf(x)) \
    ROW(tanh_slope, sech2(x), 0, -2 * M(tanh)(x) * sech2(x), 0) \
    ROW(sigmoid_slope, sigma(x) * sigma(-x), 0, -sigma(x) * sigma(-x) * M(tanh)(x / 2), 0) \
    ROW(silu_slope, sigma(x) * (1 + left(below(x, 20000)) * sigma(-x)), sigma(x), \
        sigma(x) * sigma(-x) * (2 - left(below(x, 2000)) * M(tanh)(x / 2)), 2 * sigma(x) * sigma(-x)) \
    ROW(mish_slope, mish_slope_at(left(below(x, 2000))), gate(x), mish_curve(left(below(x, 2000))), \
        2 * rest(x) * sigma(x)) \
    ROW(gelu_tanh_slope, gelu_tanh_slope_at(left(below(x, 2000))), sigma(2 * inner(x)), \
        gelu_tanh_curve(left(below(x, 2000))), sech2(inner(x)))

INLINE R gelu_curve(R x) { return pdf(x) * (2 - x * x); }
INLINE R gelu_tanh_slope_at(R x) { return sigma(2 * inner(x)) * (1 + 2 * x * sigma(-2 * inner(x)) * inner1(x)); }
INLINE R gelu_tanh_curve(R x)
{
    return sech2(inner(x)) * (inner1(x) + x * (inner2(x) / 2 - M(tanh)(inner(x)) * inner1(x) * inner1(x)));
}
INLINE R mish_slope_at(R x) { return gate(x) + x * sigma(x) * rest(x) * (1 + gate(x)); }
INLINE R mish_curve(R x)
{
    return rest(x) * (1 + gate(x)) * sigma(x) * (2 + x * (1 - sigma(x) * (1 + 2 * gate(x))));
}

#define LOOP(name, value, terms) \
    static void name(long n, const double *restrict x_, R *restrict y, R *restrict size, const double *p) \
    { \
        (void)p; \
        for (long i = 0; i < n; i++) { R x = x_[i]; (void)x; y[i] = value; size[i] = terms; } \
    }
#define ROW(name, f, f_size, df, df_size) LOOP(name##_value, f, f_size) LOOP(name##_slope, df, df_size)
ROWS
#undef ROW
#define ROW(name, ...) {#name, name##_value, name##_slope},
const OUT(rows) OUT(oracles)[] = {ROWS {NULL, NULL, NULL}};

#if REAL == 128
quad oracle_pow(double a, double b) { return powq(a, b); }
quad oracle_atan2(double a, double b) { return atan2q(a, b); }
#endif
