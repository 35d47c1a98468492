/* cumsum.h: sums of all that comes before, along one axis.  Compiled once. */
#ifndef CBP_CUMSUM_H
#define CBP_CUMSUM_H

#include "cbp.h"

/* x (B,K,N) -> y[b,k,n] = x[b,0,n] + ... + x[b,k,n], one chain of additions in that order; backwards: from x[b,K-1,n] down.
 * Integers wrap.  dtype: CBP_F32, CBP_F64 or CBP_I64.  y may be x; sizes may be 0. */
void cbp_cumsum(cbp_dtype dtype, int backwards, ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const void *x, void *y);

#endif
