/* native.c: what kernels are measured against, compiled when the benchmark starts, for the instruction set in use.
 *
 * A register-only loop of fused multiply-adds, whose rate is the peak; a loop that moves what an optimizer moves and
 * computes next to nothing; erf and erfc in long double, which NumPy doesn't have.
 */
#include <math.h>
#include <stddef.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float V __attribute__((vector_size(BYTES)));

enum { LANES = BYTES / 4, CHAINS = 12 };      /* two ports, four cycles: eight; twelve and two constants fit 16 registers */

/* Flops done; the chains stay near 1. */
double fma_loop(ptrdiff_t n, float *out)
{
    V x[CHAINS], a = {0}, b = {0};
    a += 0.999f;
    b += 0.001f;
    for (int i = 0; i < CHAINS; i++) x[i] = b + (float)i;
    for (ptrdiff_t k = 0; k < n; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * a + b;
    }
    for (int i = 1; i < CHAINS; i++) x[0] += x[i];
    *out = x[0][0];
    return 2.0 * (double)n * CHAINS * LANES;
}

/* Reads four arrays and writes three of them, as Adam does; so many times. */
void plain_loop(ptrdiff_t times, ptrdiff_t n, float *restrict w, const float *restrict g, float *restrict m,
                float *restrict v)
{
    for (; times > 0; times--)
        for (ptrdiff_t i = 0; i < n; i++) {
            m[i] = 0.9f * m[i] + g[i];
            v[i] = 0.9f * v[i] + g[i];
            w[i] = w[i] - 1e-9f * m[i];
        }
}

void exact_erf(ptrdiff_t n, const long double *x, long double *y)
{
    for (ptrdiff_t i = 0; i < n; i++) y[i] = erfl(x[i]);
}

void exact_erfc(ptrdiff_t n, const long double *x, long double *y)
{
    for (ptrdiff_t i = 0; i < n; i++) y[i] = erfcl(x[i]);
}
