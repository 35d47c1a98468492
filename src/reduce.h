/* reduce.h: the fixed orders of a row's reduction, shared by reduce.c and softmax.c (compiled per target and dtype).
 *
 * Sum of K elements: blocks of CBP_LANE_BLOCK; in a block lane l of 16 adds elements l, l + 16, ... from 0 and the
 * lanes are combined s[l] += s[l + d], d = 8, 4, 2, 1; the block values are combined by the tree of cbp.h.
 * A missing element may be added as +0: no lane is ever -0, so that changes no bit.
 */
#ifndef CBP_REDUCE_H
#define CBP_REDUCE_H

#include "cbp.h"

#define CBP_ALIGNED __attribute__((aligned(64)))

/* For each lane, or row of a tile.  The pragmas say: no step depends on another, and make vectors of the loop instead of
 * unrolling it into scalar steps first.
 * NOTE: lanes start from their first values, not from {0} or a copy: the compiler clears and copies in pieces of 16
 * bytes, and a wider load of what was just stored in pieces stalls until the store buffer is empty.  Ends of rows are
 * selected (cbp_lane[l] < n ? x[l] : ...), which becomes a masked load, for the same reason. */
#ifdef __clang__
#define CBP_EACH(l, n) _Pragma("clang loop vectorize(assume_safety)") for (int l = 0; l < (n); l++)
#else
#define CBP_EACH(l, n) _Pragma("GCC ivdep") _Pragma("GCC unroll 1") for (int l = 0; l < (n); l++)
#endif
#define CBP_EACH_LANE(l) CBP_EACH(l, CBP_LANES)
static const T cbp_lane[CBP_LANES] __attribute__((unused)) = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static inline ptrdiff_t cbp_lesser(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Lanes to one value; s is used up. */
static inline T cbp_lane_tree(T *s)
{
    for (int l = 0; l < 8; l++) s[l] += s[l + 8];
    for (int l = 0; l < 4; l++) s[l] += s[l + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
}

/* Sum of one block, n <= CBP_LANE_BLOCK. */
static inline T cbp_block_sum(ptrdiff_t n, const T *x)
{
    CBP_ALIGNED T s[CBP_LANES];
    const T end = (T)(n % CBP_LANES);
    ptrdiff_t k = CBP_LANES;
    if (n < CBP_LANES) CBP_EACH_LANE(l) s[l] = cbp_lane[l] < end ? 0 + x[l] : 0;
    else CBP_EACH_LANE(l) s[l] = 0 + x[l];
    for (; k + CBP_LANES <= n; k += CBP_LANES) CBP_EACH_LANE(l) s[l] += x[k + l];
    if (k < n) CBP_EACH_LANE(l) s[l] += cbp_lane[l] < end ? x[k + l] : 0;
    return cbp_lane_tree(s);
}

/* The tree of cbp.h as a binary counter: level l holds the sum of 2^l finished values. */
typedef struct { size_t count; T level[64]; } cbp_counter;

static inline void cbp_counter_push(cbp_counter *c, T value)
{
    int l = 0;
    for (size_t full = c->count++; full & 1; full >>= 1) value = c->level[l++] + value;
    c->level[l] = value;
}
static inline T cbp_counter_total(const cbp_counter *c)
{
    int l = 0;
    size_t left = c->count;
    if (left == 0) return 0;
    for (; !(left & 1); left >>= 1) l++;
    T total = c->level[l];
    while (left >>= 1) {                        /* the shorter, later sums join the longer, earlier ones */
        l++;
        if (left & 1) total = c->level[l] + total;
    }
    return total;
}

static inline T cbp_row_sum(ptrdiff_t n, const T *x)
{
    if (n <= CBP_LANE_BLOCK) return cbp_block_sum(n, x);
    cbp_counter c;
    c.count = 0;
    for (ptrdiff_t k = 0; k < n; k += CBP_LANE_BLOCK)
        cbp_counter_push(&c, cbp_block_sum(cbp_lesser(n - k, CBP_LANE_BLOCK), x + k));
    return cbp_counter_total(&c);
}

/* ---- short rows: sixteen of them side by side, tile[k][r] = x[r,k], so that the vectors run across rows ---- */

enum { CBP_TILE_ROWS = 16, CBP_TILE_K = 48 };        /* longer rows fill vectors on their own: measured crossover */
typedef T cbp_tile[CBP_TILE_K][CBP_TILE_ROWS];

/* K >= 1.  A ragged tile repeats its last row. */
static inline void cbp_tile_load(ptrdiff_t rows, ptrdiff_t K, const T *x, T (*tile)[CBP_TILE_ROWS])
{
    ptrdiff_t k = 0;
    if (rows >= CBP_TILE_ROWS)
        do for (int r = 0; r < CBP_TILE_ROWS; r++) tile[k][r] = x[r * K + k];
        while (++k < K);
    else
        do for (ptrdiff_t r = 0; r < CBP_TILE_ROWS; r++) tile[k][r] = x[(r < rows ? r : rows - 1) * K + k];
        while (++k < K);
}
static inline void cbp_tile_store(ptrdiff_t rows, ptrdiff_t K, T (*tile)[CBP_TILE_ROWS], T *y)
{
    if (rows >= CBP_TILE_ROWS)
        for (ptrdiff_t k = 0; k < K; k++)
            for (int r = 0; r < CBP_TILE_ROWS; r++) y[r * K + k] = tile[k][r];
    else
        for (ptrdiff_t k = 0; k < K; k++)
            for (ptrdiff_t r = 0; r < rows; r++) y[r * K + k] = tile[k][r];
}
/* y[r] = the sum of row r in the order above, lane l being tile[l]; uses tile up. */
static inline void cbp_tile_sum(ptrdiff_t K, T (*tile)[CBP_TILE_ROWS], T *y)
{
    for (ptrdiff_t k = CBP_LANES; k < K; k++) CBP_EACH_LANE(r) tile[k % CBP_LANES][r] += tile[k][r];
    for (ptrdiff_t d = CBP_LANES / 2; d > 0; d /= 2)
        for (ptrdiff_t l = 0; l < d && l + d < K; l++) CBP_EACH_LANE(r) tile[l][r] += tile[l + d][r];
    CBP_EACH_LANE(r) y[r] = tile[0][r] + 0;               /* -0 to +0: the lanes started from 0 */
}

/* ---- maxima: no order to keep, so rows take as many lanes as hide the latency, and a window that overlaps ---- */

/* Larger of two, a NaN kept once met.  Which of +0 and -0 comes out is settled by cbp_max_end. */
static inline T cbp_max_step(T m, T x)
{
    m = x > m ? x : m;
    return x != x ? x : m;
}
/* The same bits in any order of steps: a zero maximum is +0, a NaN the canonical one. */
static inline T cbp_max_end(T m) { return m != m ? CBP_MATH(nan)("") : m + 0; }

/* Before cbp_max_end.  K >= lanes; lanes <= 64 is a constant where this is expanded. */
static inline __attribute__((always_inline)) T cbp_max_lanes(const int lanes, ptrdiff_t K, const T *x)
{
    CBP_ALIGNED T s[64];
    CBP_EACH(l, lanes) s[l] = cbp_max_step(x[l], x[K - lanes + l]);
    for (ptrdiff_t k = lanes; k + lanes <= K; k += lanes) CBP_EACH(l, lanes) s[l] = cbp_max_step(s[l], x[k + l]);
    for (int d = lanes / 2; d >= 8; d /= 2)
        for (int l = 0; l < d; l++) s[l] = cbp_max_step(s[l], s[l + d]);
    for (int l = 0; l < 4; l++) s[l] = cbp_max_step(s[l], s[l + 4]);
    return cbp_max_step(cbp_max_step(s[0], s[2]), cbp_max_step(s[1], s[3]));
}
static inline T cbp_row_max(ptrdiff_t K, const T *x)
{
    if (K >= 64) return cbp_max_lanes(64, K, x);
    if (K >= CBP_LANES) return cbp_max_lanes(CBP_LANES, K, x);
    T m = x[0];
    for (ptrdiff_t k = 1; k < K; k++) m = cbp_max_step(m, x[k]);
    return m;
}

#endif
