/* cumsum.c: see cumsum.h. */
#include "cumsum.h"

/* The chain of one row of x at a time, so that the inner loop runs over neighbours.  at: where the chain starts. */
#define CUMSUM(name, T) \
static void name(int backwards, ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const T *x, T *y) \
{ \
    const ptrdiff_t step = backwards ? -N : N, at = backwards ? (K - 1) * N : 0; \
    for (ptrdiff_t b = 0; b < B; b++, x += K * N, y += K * N) { \
        for (ptrdiff_t j = 0; j < N; j++) y[at + j] = x[at + j]; \
        for (ptrdiff_t k = 1, now = at + step; k < K; k++, now += step) \
            for (ptrdiff_t j = 0; j < N; j++) y[now + j] = y[now - step + j] + x[now + j]; \
    } \
}
CUMSUM(cumsum_f32, float)
CUMSUM(cumsum_f64, double)
CUMSUM(cumsum_u64, uint64_t)

void cbp_cumsum(cbp_dtype dtype, int backwards, ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const void *x, void *y)
{
    if (K <= 0) return;
    if (dtype == CBP_F32) cumsum_f32(backwards, B, K, N, x, y);
    else if (dtype == CBP_F64) cumsum_f64(backwards, B, K, N, x, y);
    else cumsum_u64(backwards, B, K, N, x, y);
}
