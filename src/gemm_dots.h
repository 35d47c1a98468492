/* gemm_dots.h: products that are dot products of long rows: both operands row-major along k, few of one side.
 *
 *   c[i * c_i + j * c_j] = init + sum over k of x[i,k] * s[j * s_j + k],    in the chains of cbp_dots (cbp.h)
 *
 * The chains of one output are the elements of 128 bits, so rows are read as they lie and nothing is transposed.
 */
#ifndef CBP_GEMM_DOTS_H
#define CBP_GEMM_DOTS_H

#include "gemm.h"

#include <string.h>

typedef struct {
    ptrdiff_t M, K, J;
    const T *x, *s;
    ptrdiff_t x_ld, s_k, s_j;      /* s_k is 1 where J > 1 */
    const T *bias_i, *bias_j;      /* at most one: a start for each row of x, or of s */
    T *c;
    ptrdiff_t c_i, c_j;
    int add;
} cbp_dots_call;

enum {
    DOTS_J = 4,                                /* rows of s at a time */
    DOTS_ROWS = 8,                             /* rows of x */
    DOTS_PART = 512                            /* s elements copied at a time where they don't lie side by side */
};
#define CBP_DOTS(X) X(1) X(2) X(3) X(4)

/* K k's, whole multiples of CBP_CHAINS, for 8 rows of x and J of s; sums (J, 8, CBP_CHAINS) go on. */
CBP_INLINE void dots_body(const int J, const int rows, const T *const *row, ptrdiff_t K, const T *s, ptrdiff_t s_j, T *sums)
{
    enum { MOST = DOTS_ROWS / H_ROWS };
    const int vectors = rows / H_ROWS;
    for (int from = 0; from < DOTS_ROWS; from += rows, row += rows, sums += rows * CBP_CHAINS) {
        H acc[DOTS_J][MOST];
        CBP_UNROLL
        for (int j = 0; j < J; j++) {
            CBP_UNROLL
            for (int v = 0; v < vectors; v++) acc[j][v] = h_load(sums + (j * DOTS_ROWS + v * H_ROWS) * CBP_CHAINS);
        }
        for (ptrdiff_t k = 0; k < K; k += CBP_CHAINS) {
            H sv[DOTS_J];
            CBP_UNROLL
            for (int j = 0; j < J; j++) sv[j] = h_rows(s + j * s_j + k, s + j * s_j + k);
            CBP_UNROLL
            for (int v = 0; v < vectors; v++) {
                const H x = h_rows(row[v * H_ROWS] + k, row[v * H_ROWS + H_ROWS - 1] + k);
                CBP_UNROLL
                for (int j = 0; j < J; j++) acc[j][v] = h_fma(x, sv[j], acc[j][v]);
            }
        }
        CBP_UNROLL
        for (int j = 0; j < J; j++) {
            CBP_UNROLL
            for (int v = 0; v < vectors; v++) h_store(sums + (j * DOTS_ROWS + v * H_ROWS) * CBP_CHAINS, acc[j][v]);
        }
    }
}

/* Fewer rows at a time where the sums would not fit 16 registers, or x and s not the ways of the L1 cache, which is what
 * rows a multiple of 4096 bytes apart compete for. */
#define CBP_DOTS_FN(J) \
    static __attribute__((noinline)) void dots_##J(const T *const *row, ptrdiff_t K, const T *s, ptrdiff_t s_j, T *sums) \
    { \
        dots_body(J, J <= H_ROWS ? 8 : J <= 2 * H_ROWS ? 4 : 2, row, K, s, s_j, sums); \
    }
#define CBP_DOTS_AT(J) dots_##J,
CBP_DOTS(CBP_DOTS_FN)
static void (*const dots[DOTS_J])(const T *const *, ptrdiff_t, const T *, ptrdiff_t, T *) = { CBP_DOTS(CBP_DOTS_AT) };

/* All K k's; s lies apart only where there is one. */
static void dots_sums(const cbp_dots_call *t, const T **row, const T *s, ptrdiff_t J, T *sums)
{
    const ptrdiff_t whole = t->K / CBP_CHAINS * CBP_CHAINS, step = t->s_k == 1 ? whole : DOTS_PART;
    T part[DOTS_PART];
    for (ptrdiff_t k = 0, K; k < whole; k += K) {
        K = whole - k < step ? whole - k : step;
        for (ptrdiff_t i = 0; i < K && t->s_k != 1; i++) part[i] = s[(k + i) * t->s_k];
        dots[J - 1](row, K, t->s_k == 1 ? s + k : part, t->s_j, sums);
        for (ptrdiff_t r = 0; r < DOTS_ROWS; r++) row[r] += K;
    }
    for (ptrdiff_t l = 0; l < t->K - whole; l++)               /* the last k's, less than one for each chain */
        for (ptrdiff_t j = 0; j < J; j++)
            for (ptrdiff_t r = 0; r < DOTS_ROWS; r++) {
                T *chain = sums + (j * DOTS_ROWS + r) * CBP_CHAINS + l;
                *chain = cbp_fma(row[r][l], s[j * t->s_j + (whole + l) * t->s_k], *chain);
            }
}

/* Rows [i, i + n) of x with rows [j0, j0 + J) of s. */
static void dots_rows(const cbp_dots_call *t, ptrdiff_t i, ptrdiff_t n, ptrdiff_t j0, ptrdiff_t J)
{
    const T *row[DOTS_ROWS];
    T sums[DOTS_J * DOTS_ROWS * CBP_CHAINS];
    for (ptrdiff_t r = 0; r < DOTS_ROWS; r++) row[r] = t->x + (i + (r < n ? r : 0)) * t->x_ld;
    memset(sums, 0, sizeof sums);
    for (ptrdiff_t j = 0; j < J && (t->bias_i || t->bias_j); j++)
        for (ptrdiff_t r = 0; r < n; r++)
            sums[(j * DOTS_ROWS + r) * CBP_CHAINS] = t->bias_j ? t->bias_j[j0 + j] : t->bias_i[i + r];
    dots_sums(t, row, t->s + j0 * t->s_j, J, sums);
    for (ptrdiff_t j = 0; j < J; j++)
        for (ptrdiff_t r = 0; r < n; r++) {
            const T *chain = sums + (j * DOTS_ROWS + r) * CBP_CHAINS;
            T *c = t->c + (i + r) * t->c_i + (j0 + j) * t->c_j, sum = chain[0];
            for (int l = 1; l < CBP_CHAINS; l++) sum += chain[l];
            *c = t->add ? *c + sum : sum;
        }
}

static void run_dots_of(const cbp_dots_call *t)
{
    for (ptrdiff_t i = 0; i < t->M; i += DOTS_ROWS)
        for (ptrdiff_t j = 0; j < t->J; j += DOTS_J)
            dots_rows(t, i, t->M - i < DOTS_ROWS ? t->M - i : DOTS_ROWS, j, t->J - j < DOTS_J ? t->J - j : DOTS_J);
}

#endif
