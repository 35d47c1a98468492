/* gemm.h: the one product loop behind gemm.c and dense.c.  Internal; letters as in cbp.h.
 *
 * Every layout is brought to the form  c[m,n] = init + sum over k of  p(m,k) * q(k,n)  in which p is broadcast from
 * where it lies, p(m,k) = p[m * p_row + k * p_k], and q comes in vectors along n.
 */
#ifndef CBP_GEMM_H
#define CBP_GEMM_H

#include "simd.h"

/* Sums over k of q(k,n), part by part as the product reads q: db beside dw.  In the groups and the tree of any sum over K
 * rows, K being all of them, whatever the groups of the product. */
typedef struct cbp_sums {
    T *to;                         /* (N) */
    int add;
    ptrdiff_t K, rows;             /* rows: of one group */
    T *slot;                       /* the binary counter of group sums, (cbp_sum_slots(K), N) */
} cbp_sums;

typedef struct cbp_product {
    ptrdiff_t M, N, K;
    const T *p;
    ptrdiff_t p_row, p_k;
    const T *q;                    /* (K,N), or (N,K) when q_by_column: then it is transposed into panels */
    ptrdiff_t q_ld;
    int q_by_column;
    int dots;                      /* in the chains of cbp_dots (cbp.h) */
    const T *bias;                 /* (N) or NULL */
    T *c;
    ptrdiff_t c_ld;
    int add;                       /* c = c + (bias + product), one addition at the end */
    int carry;                     /* chains go on from what c holds; neither bias nor add then */
    /* Called for every finished block of c, rows [m0, m1) by columns [n0, n1), while it is hot; may be NULL. */
    void (*done)(void *ctx, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0, ptrdiff_t n1);
    void *ctx;
    ptrdiff_t m_at, n_at;          /* where c starts in the whole that `done` knows */
    const cbp_sums *sums;          /* of this product's columns, or NULL; not where q_by_column */
    ptrdiff_t k_at;                /* where its rows start in those that are summed */
} cbp_product;

enum {
    CBP_PACK_BYTES = 512 << 10,    /* packed panels of q: half of a 1 MB L2 */
    CBP_AUX_BYTES = 128 << 10      /* a block of c that is transposed or added later */
};

/* Runs a product on the calling thread or on the pool.  scratch: cbp_gemm_scratch bytes. */
void CBP_SYM(cbp_product_run)(const cbp_product *x, void *scratch);

#endif
