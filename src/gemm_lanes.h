/* gemm_lanes.h: products with few outputs a row, rows in the vector lanes: the transpose happens in registers.
 *
 *   c[i * c_i + j * c_j] = init + sum over k of x[i,k] * s[k * s_k + j * s_j],    x (M,K) row-major, M >= LANES_ROWS, few j
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
enum { LANES_J = 10, LANES_J_DEEP = V_BYTES == 64 ? 0 : 3 };
#define CBP_LANES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10)
#else
enum { LANES_J = 6, LANES_J_DEEP = 3 };
#define CBP_LANES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif

/* One chain a lane leaves the multipliers idle for the length of an fma; short vectors take more rows at a time. */
enum { LANES_DEPTH = V_BYTES == 64 ? 1 : 2, LANES_ROWS = LANES_DEPTH * VL };

/* Out of line, for size: once a block of rows. */
static __attribute__((noinline)) void lanes_tail(const T *x, ptrdiff_t ld, ptrdiff_t n, T *columns)
{
#if V_BYTES == 64
    V col[VL];
    v_columns(x, ld, v_mask(n), col);
    CBP_UNROLL
    for (int e = 0; e < VL; e++) v_store(columns + e * VL, col[e]);
#else
    for (ptrdiff_t e = 0; e < n; e++)
        for (int i = 0; i < VL; i++) columns[e * VL + i] = x[i * ld + e];
#endif
}
static __attribute__((noinline)) void lanes_store(const cbp_lanes *t, const T *lane, ptrdiff_t J, ptrdiff_t i,
                                                  ptrdiff_t skip)
{
    for (ptrdiff_t r = skip > 0 ? skip : 0; r < VL; r++)
        for (ptrdiff_t j = 0; j < J; j++) {
            T *c = t->c + (i + r) * t->c_i + j * t->c_j;
            *c = t->add ? *c + lane[j * VL + r] : lane[j * VL + r];
        }
}

/* depth * VL rows from row i on; of them the first `skip` are known already. */
CBP_INLINE void lanes_body(const int J, const int depth, const cbp_lanes *t, ptrdiff_t i, ptrdiff_t skip)
{
    V acc[LANES_DEPTH][LANES_J];
    CBP_UNROLL
    for (int d = 0; d < depth; d++) {
        CBP_UNROLL
        for (int j = 0; j < J; j++)
            acc[d][j] = t->bias_i ? v_load(t->bias_i + i + d * VL) : t->bias_j ? v_set1(t->bias_j[j]) : v_zero();
    }
    const ptrdiff_t K = t->K, ld = t->x_ld, s_k = t->s_k, s_j = t->s_j;
    const T *x = t->x + i * ld, *s = t->s;
    enum { STEP = V_BYTES == 64 ? VL : V_QUAD };
    ptrdiff_t k = 0;
    for (; k + STEP <= K; k += STEP) {
        V col[LANES_DEPTH][STEP];
        CBP_UNROLL
        for (int d = 0; d < depth; d++) {
#if V_BYTES == 64
            v_columns(x + d * VL * ld + k, ld, v_mask(VL), col[d]);
#else
            v_quad(x + d * VL * ld + k, ld, VL, col[d]);
#endif
        }
        CBP_UNROLL
        for (int e = 0; e < STEP; e++, s += s_k) {
            CBP_UNROLL
            for (int j = 0; j < J; j++) {
                V sv = v_set1(s[j * s_j]);
                CBP_UNROLL
                for (int d = 0; d < depth; d++) acc[d][j] = v_fma(col[d][e], sv, acc[d][j]);
            }
        }
    }
    if (k < K) {
        T rest[LANES_DEPTH][STEP * VL];
        for (int d = 0; d < depth; d++) lanes_tail(x + d * VL * ld + k, ld, K - k, rest[d]);
        for (ptrdiff_t e = 0; e < K - k; e++, s += s_k) {
            CBP_UNROLL
            for (int d = 0; d < depth; d++) {
                V col = v_load(rest[d] + e * VL);
                CBP_UNROLL
                for (int j = 0; j < J; j++) acc[d][j] = v_fma(col, v_set1(s[j * s_j]), acc[d][j]);
            }
        }
    }
    CBP_UNROLL
    for (int d = 0; d < depth; d++, i += VL, skip -= VL) {
        T lane[LANES_J * VL];
        CBP_UNROLL
        for (int j = 0; j < J; j++) {
            T *c = t->c + i + j * t->c_j;
            if (t->c_i == 1 && skip <= 0) v_store(c, t->add ? v_add(v_load(c), acc[d][j]) : acc[d][j]);
            else v_store(lane + j * VL, acc[d][j]);
        }
        if (t->c_i != 1 || skip > 0) lanes_store(t, lane, J, i, skip);
    }
}

/* The last block reaches back over rows that are done: the same bits once more, not stored. */
#define CBP_LANES_FN(J) \
    static __attribute__((noinline)) void lanes_##J(const cbp_lanes *t) \
    { \
        enum { DEPTH = J <= LANES_J_DEEP ? LANES_DEPTH : 1, ROWS = DEPTH * VL }; \
        for (ptrdiff_t done = 0; done < t->M; done += ROWS) { \
            ptrdiff_t i = done + ROWS <= t->M ? done : t->M - ROWS; \
            lanes_body(J, DEPTH, t, i, done - i); \
        } \
    }
CBP_LANES(CBP_LANES_FN)

typedef void (*lanes_fn)(const cbp_lanes *t);
#define CBP_LANES_AT(J) lanes_##J,
static const lanes_fn lanes[LANES_J] = { CBP_LANES(CBP_LANES_AT) };

#endif
