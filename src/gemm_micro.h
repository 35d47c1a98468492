/* gemm_micro.h: the register tiles and the packing of gemm.c.
 *
 * A tile is `rows` broadcast rows by `cols` vectors of c.  Its accumulators start from init (bias, or c itself when the
 * chains go on), take one fma per k in k order, and are stored once.  So an element's bits do not depend on its tile.
 */
#ifndef CBP_GEMM_MICRO_H
#define CBP_GEMM_MICRO_H

#include "gemm.h"

/* Tall tiles: with 32 registers 8x3 = 24 accumulators + 3 of q + 1 broadcast; with 16 registers 6x2 (SSE2 without FMA
 * needs a product too: 4x2).  Flat tiles serve few rows, where more columns are the only parallelism. */
#if V_REGS == 32
enum { MR = 8, NV = 3, FLAT1 = 8, FLAT2 = 6 };
#define CBP_TILES_TALL(X) \
    X(1,1) X(1,2) X(1,3) X(2,1) X(2,2) X(2,3) X(3,1) X(3,2) X(3,3) X(4,1) X(4,2) X(4,3) \
    X(5,1) X(5,2) X(5,3) X(6,1) X(6,2) X(6,3) X(7,1) X(7,2) X(7,3) X(8,1) X(8,2) X(8,3)
#define CBP_TILES_FLAT(X) X(1,4) X(1,8) X(2,6)
#elif CBP_HAS_FMA
enum { MR = 6, NV = 2, FLAT1 = 8, FLAT2 = 4 };
#define CBP_TILES_TALL(X) \
    X(1,1) X(1,2) X(2,1) X(2,2) X(3,1) X(3,2) X(4,1) X(4,2) X(5,1) X(5,2) X(6,1) X(6,2)
#define CBP_TILES_FLAT(X) X(1,4) X(1,8) X(2,4)
#else
enum { MR = 4, NV = 2, FLAT1 = 6, FLAT2 = 4 };
#define CBP_TILES_TALL(X) X(1,1) X(1,2) X(2,1) X(2,2) X(3,1) X(3,2) X(4,1) X(4,2)
#define CBP_TILES_FLAT(X) X(1,4) X(1,6) X(2,4)
#endif

typedef struct cbp_tile {
    ptrdiff_t K;
    const T *p, *q, *init;         /* init NULL: zero */
    ptrdiff_t p_row, p_k, q_ld, init_ld;
    T *c;
    ptrdiff_t c_ld;
    int add;
    ptrdiff_t last;                /* lanes of the last vector in use, 1..VL */
} cbp_tile;

CBP_INLINE void tile_body(const int rows, const int cols, const cbp_tile *t)
{
    V acc[8][8];
    const VM last = v_mask(t->last);
    const T *init = t->init;
    if (init) {
        CBP_UNROLL
        for (int m = 0; m < rows; m++) {
            CBP_UNROLL
            for (int v = 0; v < cols; v++) {
                const T *from = init + m * t->init_ld + v * VL;
                acc[m][v] = v < cols - 1 ? v_load(from) : v_load_m(from, last);
            }
        }
    } else {
        CBP_UNROLL
        for (int m = 0; m < rows; m++) {
            CBP_UNROLL
            for (int v = 0; v < cols; v++) acc[m][v] = v_zero();
        }
    }

    const T *q = t->q, *p[8];
    const ptrdiff_t q_ld = t->q_ld, p_k = t->p_k;
    CBP_UNROLL
    for (int m = 0; m < rows; m++) p[m] = t->p + m * t->p_row;
    ptrdiff_t at = 0;
    for (ptrdiff_t k = t->K; k > 0; k--) {
        V qv[8];
        CBP_UNROLL
        for (int v = 0; v < cols; v++)
            qv[v] = v < cols - 1 || !V_FAST_MASKS ? v_load(q + v * VL) : v_load_m(q + v * VL, last);
        CBP_UNROLL
        for (int m = 0; m < rows; m++) {
            V pv = v_set1(p[m][at]);
            CBP_UNROLL
            for (int v = 0; v < cols; v++) acc[m][v] = v_fma(pv, qv[v], acc[m][v]);
        }
        q += q_ld;
        at += p_k;
    }

    CBP_UNROLL
    for (int m = 0; m < rows; m++) {
        CBP_UNROLL
        for (int v = 0; v < cols; v++) {
            T *to = t->c + m * t->c_ld + v * VL;
            if (v < cols - 1) {
                v_store(to, t->add ? v_add(v_load(to), acc[m][v]) : acc[m][v]);
            } else {
                v_store_m(to, last, t->add ? v_add(v_load_m(to, last), acc[m][v]) : acc[m][v]);
            }
        }
    }
}

#define CBP_TILE(rows, cols) \
    static __attribute__((noinline)) CBP_LOOPS_ON_LINES void tile_##rows##x##cols(const cbp_tile *t) \
    { \
        tile_body(rows, cols, t); \
    }
CBP_TILES_TALL(CBP_TILE)
CBP_TILES_FLAT(CBP_TILE)

typedef void (*tile_fn)(const cbp_tile *t);
#define CBP_TILE_AT(rows, cols) [rows - 1][cols - 1] = tile_##rows##x##cols,
static const tile_fn tiles[MR][8] = { CBP_TILES_TALL(CBP_TILE_AT) CBP_TILES_FLAT(CBP_TILE_AT) };

/* The height of the next tile when `left` rows remain: never a full tile followed by a sliver. */
CBP_INLINE ptrdiff_t next_rows(ptrdiff_t left)
{
    return left >= 2 * MR ? MR : left > MR ? (left + 1) / 2 : left;
}
/* The same for vectors of columns; flat: the wide tile for products of one or two rows (0: none).  One row of 64 columns
 * takes 71 ns in one tile of four vectors, twice that in two: each k waits for the one before. */
CBP_INLINE ptrdiff_t next_cols(ptrdiff_t left, ptrdiff_t flat)
{
    if (flat && left >= flat) return flat;
    if (flat == FLAT1 && left >= 4) return 4;
    return left == NV + 1 ? (left + 1) / 2 : left > NV ? NV : left;
}

CBP_INLINE ptrdiff_t vectors(ptrdiff_t n) { return (n + VL - 1) / VL; }
CBP_INLINE ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* (K,n) rows of q -> a panel (K,width), width = n rounded up to vectors, filled up with zeros. */
static void pack_rows(ptrdiff_t K, ptrdiff_t n, const T *q, ptrdiff_t q_ld, T *panel)
{
    enum { AHEAD = 8 };                /* rows lie pages apart, where nothing fetches the next one unasked */
    const ptrdiff_t full = (n - 1) / VL;
    const VM last = v_mask(n - full * VL);
    for (ptrdiff_t k = 0; k < K; k++, q += q_ld) {
        if (k + AHEAD < K) __builtin_prefetch(q + AHEAD * q_ld);
        for (ptrdiff_t v = 0; v < full; v++, panel += VL) v_store(panel, v_load(q + v * VL));
        v_store(panel, v_load_m(q + full * VL, last));
        panel += VL;
    }
}

/* VL columns of the panel from n <= VL rows of q. */
CBP_INLINE void pack_block(ptrdiff_t K, ptrdiff_t n, const T *q, ptrdiff_t q_ld, T *panel, ptrdiff_t width)
{
    ptrdiff_t k = 0;
    for (; k + V_QUAD <= K; k += V_QUAD) v_quad_to(q + k, q_ld, n, panel + k * width, width);
    for (; k < K; k++) v_store(panel + k * width, v_column(q + k, q_ld, n));
}

/* (n,K) rows of q -> the same panel, transposed in registers. */
static void pack_columns(ptrdiff_t K, ptrdiff_t n, const T *q, ptrdiff_t q_ld, T *panel)
{
    const ptrdiff_t width = vectors(n) * VL;
    ptrdiff_t v = 0;
    for (; v + VL <= n; v += VL) pack_block(K, VL, q + v * q_ld, q_ld, panel + v, width);
    if (v < n) pack_block(K, n - v, q + v * q_ld, q_ld, panel + v, width);
}

/* c (rows, n) = or += the transpose of t (n, rows) */
static void store_transposed(ptrdiff_t rows, ptrdiff_t n, const T *t, ptrdiff_t t_ld, T *c, ptrdiff_t c_ld, int add)
{
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < n; j++) c[i * c_ld + j] = add ? c[i * c_ld + j] + t[j * t_ld + i] : t[j * t_ld + i];
}

#endif
