/* gemm_lanes.h: products with few outputs a row, rows in the vector lanes: the transpose happens in registers.
 *
 *   c[i * c_i + j * c_j] = init + sum over k of x[i,k] * s[k * s_k + j * s_j],    x (M,K) row-major, M >= VL, few j
 *
 * NN with few columns (x = a, s = b), and NT with few rows (x = b, s = a).  One chain per output in k order as always.
 */
#ifndef CBP_GEMM_LANES_H
#define CBP_GEMM_LANES_H

#include "gemm.h"

typedef struct cbp_lanes {
    ptrdiff_t M, K;
    const T *x, *s;
    ptrdiff_t x_ld, s_k, s_j;
    const T *bias_i, *bias_j;      /* at most one: a start for each lane, or for each j */
    T *c;
    ptrdiff_t c_i, c_j;
    int add;
} cbp_lanes;

#if V_REGS == 32
enum { LANES_J = 12 };
#define CBP_LANES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#else
enum { LANES_J = 6 };
#define CBP_LANES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif

/* Out of line, for size: once a block of rows. */
static __attribute__((noinline, unused)) void lanes_column(const T *x, ptrdiff_t ld, T *lane)
{
    for (int i = 0; i < VL; i++) lane[i] = x[i * ld];
}
#if V_BYTES == 64
static __attribute__((noinline)) void lanes_tail(const T *x, ptrdiff_t ld, ptrdiff_t n, T *columns)
{
    V col[VL];
    v_columns(x, ld, v_mask(n), col);
    CBP_UNROLL
    for (int e = 0; e < VL; e++) v_store(columns + e * VL, col[e]);
}
#endif
static __attribute__((noinline)) void lanes_store(const cbp_lanes *t, const T *lane, ptrdiff_t J, ptrdiff_t i, ptrdiff_t skip)
{
    for (ptrdiff_t r = skip; r < VL; r++)
        for (ptrdiff_t j = 0; j < J; j++) {
            T *c = t->c + (i + r) * t->c_i + j * t->c_j;
            *c = t->add ? *c + lane[j * VL + r] : lane[j * VL + r];
        }
}

/* VL rows from row i on; of them the first `skip` are known already. */
CBP_INLINE void lanes_body(const int J, const cbp_lanes *t, ptrdiff_t i, ptrdiff_t skip)
{
    V acc[LANES_J];
    CBP_UNROLL
    for (int j = 0; j < J; j++) acc[j] = t->bias_i ? v_load(t->bias_i + i) : t->bias_j ? v_set1(t->bias_j[j]) : v_zero();
    const ptrdiff_t K = t->K, ld = t->x_ld, s_k = t->s_k, s_j = t->s_j;
    const T *x = t->x + i * ld, *s = t->s;
    T lane[LANES_J * VL];
    ptrdiff_t k = 0;
#if V_BYTES == 64
    for (; k + VL <= K; k += VL) {
        V col[VL];
        v_columns(x + k, ld, v_mask(VL), col);
        CBP_UNROLL
        for (int e = 0; e < VL; e++, s += s_k) {
            CBP_UNROLL
            for (int j = 0; j < J; j++) acc[j] = v_fma(col[e], v_set1(s[j * s_j]), acc[j]);
        }
    }
    if (k < K) {
        T columns[VL * VL];
        lanes_tail(x + k, ld, K - k, columns);
        for (ptrdiff_t e = 0; e < K - k; e++, s += s_k) {
            V col = v_load(columns + e * VL);
            CBP_UNROLL
            for (int j = 0; j < J; j++) acc[j] = v_fma(col, v_set1(s[j * s_j]), acc[j]);
        }
    }
#else
    for (; k + V_QUAD <= K; k += V_QUAD) {
        V col[V_QUAD];
        v_quad(x + k, ld, VL, col);
        CBP_UNROLL
        for (int e = 0; e < V_QUAD; e++, s += s_k) {
            CBP_UNROLL
            for (int j = 0; j < J; j++) acc[j] = v_fma(col[e], v_set1(s[j * s_j]), acc[j]);
        }
    }
    for (; k < K; k++, s += s_k) {
        lanes_column(x + k, ld, lane);
        V col = v_load(lane);
        CBP_UNROLL
        for (int j = 0; j < J; j++) acc[j] = v_fma(col, v_set1(s[j * s_j]), acc[j]);
    }
#endif
    if (t->c_i == 1 && skip == 0) {
        CBP_UNROLL
        for (int j = 0; j < J; j++) {
            T *c = t->c + i + j * t->c_j;
            v_store(c, t->add ? v_add(v_load(c), acc[j]) : acc[j]);
        }
        return;
    }
    CBP_UNROLL
    for (int j = 0; j < J; j++) v_store(lane + j * VL, acc[j]);
    lanes_store(t, lane, J, i, skip);
}

/* The last block reaches back over rows that are done: the same bits once more, not stored. */
#define CBP_LANES_FN(J) \
    static __attribute__((noinline)) void lanes_##J(const cbp_lanes *t) \
    { \
        for (ptrdiff_t done = 0; done < t->M; done += VL) { \
            ptrdiff_t i = done + VL <= t->M ? done : t->M - VL; \
            lanes_body(J, t, i, done - i); \
        } \
    }
CBP_LANES(CBP_LANES_FN)

typedef void (*lanes_fn)(const cbp_lanes *t);
#define CBP_LANES_AT(J) lanes_##J,
static const lanes_fn lanes[LANES_J] = { CBP_LANES(CBP_LANES_AT) };

#endif
