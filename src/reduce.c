/* reduce.c: sums and maxima over the last axis (B,K) -> (B) and over a middle one (B,K,N) -> (B,N).
 *
 * The order of every sum follows from its shape alone (ADR "The same bits"):
 *   sum_last   lanes, blocks and tree as in reduce.h;
 *   sum_lead   the K rows in groups of cbp_group_rows(K), per output and group one chain of additions from 0, the
 *              groups by the tree of cbp.h.
 * A maximum has no order: NaN if any element is NaN (the canonical quiet one), +0 if the largest element is a zero.
 * argmax: the first NaN, else the first largest element; +0 and -0 are equal.
 * K == 0: sums are 0; max and argmax are refused by the caller (and write nothing).  Nothing here allocates or fails.
 */
#include "reduce.h"

/* ---- over the last axis ---- */

enum { SHORT = 24 };            /* rows up to here are worked on in tiles: measured crossover, at most CBP_TILE_K */

void CBP_SYM(cbp_sum_last)(ptrdiff_t B, ptrdiff_t K, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    if (K == 1) {
        for (ptrdiff_t b = 0; b < B; b++) y[b] = x[b] + 0;             /* the sum starts from 0: -0 to +0 */
        return;
    }
    if (K == 0 || K > SHORT) {
        for (ptrdiff_t b = 0; b < B; b++) y[b] = cbp_row_sum(K, x + b * K);
        return;
    }
    for (ptrdiff_t b = 0; b < B; b += CBP_TILE_ROWS) {
        CBP_ALIGNED cbp_tile tile;
        CBP_ALIGNED T sum[CBP_TILE_ROWS];
        const ptrdiff_t rows = cbp_lesser(B - b, CBP_TILE_ROWS);
        cbp_tile_load(rows, K, x + b * K, tile);
        cbp_tile_sum(K, tile, sum);
        for (ptrdiff_t r = 0; r < rows; r++) y[b + r] = sum[r];
    }
}

void CBP_SYM(cbp_max_last)(ptrdiff_t B, ptrdiff_t K, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    if (K <= 0) return;
    if (K > SHORT) {
        for (ptrdiff_t b = 0; b < B; b++) y[b] = cbp_max_end(cbp_row_max(K, x + b * K));
        return;
    }
    for (ptrdiff_t b = 0; b < B; b += CBP_TILE_ROWS) {
        CBP_ALIGNED cbp_tile tile;
        const ptrdiff_t rows = cbp_lesser(B - b, CBP_TILE_ROWS);
        cbp_tile_load(rows, K, x + b * K, tile);
        for (ptrdiff_t k = 1; k < K; k++)
            CBP_EACH_LANE(r) tile[0][r] = cbp_max_step(tile[0][r], tile[k][r]);
        for (ptrdiff_t r = 0; r < rows; r++) y[b + r] = cbp_max_end(tile[0][r]);
    }
}

/* First place of m (or, if m is NaN, of a NaN) in a piece of a row, n if there is none: a pass of compares, selects and
 * minima.  Places are kept in T, as wide as the data, and must be exact there. */
enum { PIECE = 1 << 20 };
static ptrdiff_t first_place(ptrdiff_t n, const T *x, T m)
{
    CBP_ALIGNED T at[CBP_LANES];
    const T none = (T)(2 * PIECE), end = (T)(n % CBP_LANES);
    ptrdiff_t k = 0;
    CBP_EACH_LANE(l) at[l] = cbp_lane[l] + none;
    for (; k + CBP_LANES <= n; k += CBP_LANES) {
        const T start = (T)k;
        CBP_EACH_LANE(l) {
            const T here = (x[k + l] == m) | (x[k + l] != x[k + l]) ? start + cbp_lane[l] : none;
            at[l] = here < at[l] ? here : at[l];
        }
    }
    if (k < n) {
        const T start = (T)k;
        CBP_EACH_LANE(l) {
            const T v = cbp_lane[l] < end ? x[k + l] : 0;
            const T here = (cbp_lane[l] < end) & ((v == m) | (v != v)) ? start + cbp_lane[l] : none;
            at[l] = here < at[l] ? here : at[l];
        }
    }
    for (int l = 0; l < 8; l++) at[l] = at[l + 8] < at[l] ? at[l + 8] : at[l];
    for (int l = 0; l < 4; l++) at[l] = at[l + 4] < at[l] ? at[l + 4] : at[l];
    T first = at[0];
    for (int l = 1; l < 4; l++) first = at[l] < first ? at[l] : first;
    return first < none ? (ptrdiff_t)first : n;
}
static int64_t row_argmax(ptrdiff_t K, const T *x)
{
    const T m = cbp_row_max(K, x);
    for (ptrdiff_t k = 0; k < K; k += PIECE) {
        const ptrdiff_t n = cbp_lesser(K - k, PIECE), at = first_place(n, x + k, m);
        if (at < n) return k + at;
    }
    return 0;                                                                    /* not reached */
}

void CBP_SYM(cbp_argmax_last)(ptrdiff_t B, ptrdiff_t K, const void *x_, int64_t *y)
{
    const T *x = x_;
    if (K <= 0) return;
    if (K > CBP_TILE_K) {
        for (ptrdiff_t b = 0; b < B; b++) y[b] = row_argmax(K, x + b * K);
        return;
    }
    for (ptrdiff_t b = 0; b < B; b += CBP_TILE_ROWS) {
        CBP_ALIGNED cbp_tile tile;
        CBP_ALIGNED T at[CBP_TILE_ROWS] = {0};        /* as wide as the data, so that both are selected alike */
        const ptrdiff_t rows = cbp_lesser(B - b, CBP_TILE_ROWS);
        cbp_tile_load(rows, K, x + b * K, tile);
        for (ptrdiff_t k = 1; k < K; k++)
            CBP_EACH_LANE(r) {
                const T m = tile[0][r], v = tile[k][r];
                const int take = !(v <= m) & (m == m);
                tile[0][r] = take ? v : m;
                at[r] = take ? (T)k : at[r];
            }
        for (ptrdiff_t r = 0; r < rows; r++) y[b + r] = (int64_t)at[r];
    }
}

/* ---- over the axis before ---- */

/* Columns worked on at a time: a kilobyte of each row, so that the 48 levels of the group tree fit on the stack.
 * 48 levels of groups of at least 256 rows are more rows than memory has bytes. */
enum { STRIP = 1024 / sizeof(T), LEVELS = 48 };

/* acc[n] = x[0,n] + x[1,n] + ... in that order, from 0; four rows a pass save traffic on acc, not order. */
static inline void chain(ptrdiff_t rows, ptrdiff_t n, const T *x, ptrdiff_t stride, T *restrict acc)
{
    for (ptrdiff_t i = 0; i < n; i++) acc[i] = 0;
    ptrdiff_t k = 0;
    for (; k + 4 <= rows; k += 4, x += 4 * stride)
        for (ptrdiff_t i = 0; i < n; i++)
            acc[i] = (((acc[i] + x[i]) + x[stride + i]) + x[2 * stride + i]) + x[3 * stride + i];
    for (; k < rows; k++, x += stride)
        for (ptrdiff_t i = 0; i < n; i++) acc[i] += x[i];
}

/* One strip of n columns of one outer b. */
static void sum_strip(ptrdiff_t K, ptrdiff_t n, const T *x, ptrdiff_t stride, T *restrict y)
{
    const ptrdiff_t size = cbp_group_rows(K);
    if (K <= size) {
        chain(K, n, x, stride, y);
        return;
    }
    CBP_ALIGNED T level[LEVELS][STRIP];
    CBP_ALIGNED T acc[STRIP];
    size_t count = 0;
    for (ptrdiff_t k = 0; k < K; k += size, count++) {
        int l = 0;
        chain(cbp_lesser(K - k, size), n, x + k * stride, stride, acc);
        for (size_t full = count; full & 1; full >>= 1, l++)
            for (ptrdiff_t i = 0; i < n; i++) acc[i] = level[l][i] + acc[i];
        for (ptrdiff_t i = 0; i < n; i++) level[l][i] = acc[i];
    }
    int l = 0;
    for (; !(count & 1); count >>= 1) l++;
    for (ptrdiff_t i = 0; i < n; i++) y[i] = level[l][i];
    while (count >>= 1)
        if (l++, count & 1)
            for (ptrdiff_t i = 0; i < n; i++) y[i] = level[l][i] + y[i];
}

/* N == 1: four whole groups' chains side by side, because one alone waits for each addition.  Where fewer are left the
 * last one is summed again and not counted. */
static T sum_column(ptrdiff_t K, const T *x)
{
    const ptrdiff_t size = cbp_group_rows(K), whole = K / size;
    cbp_counter c;
    c.count = 0;
    for (ptrdiff_t left = whole; left > 0; left -= 4) {
        const T *p[4];
        T sum[4] = {0};
        for (int j = 0; j < 4; j++) p[j] = x + (whole - left + cbp_lesser(j, left - 1)) * size;
        for (ptrdiff_t k = 0; k < size; k++)
            for (int j = 0; j < 4; j++) sum[j] += p[j][k];
        for (int j = 0; j < cbp_lesser(left, 4); j++) cbp_counter_push(&c, sum[j]);
    }
    if (whole * size < K) {
        T sum = 0;
        for (ptrdiff_t k = whole * size; k < K; k++) sum += x[k];
        cbp_counter_push(&c, sum);
    }
    return cbp_counter_total(&c);
}

void CBP_SYM(cbp_sum_lead)(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    for (ptrdiff_t b = 0; b < B; b++, x += K * N, y += N) {
        if (N == 1) {
            y[0] = sum_column(K, x);
            continue;
        }
        for (ptrdiff_t n = 0; n < N; n += STRIP) sum_strip(K, cbp_lesser(N - n, STRIP), x + n, N, y + n);
    }
}

static void max_strip(ptrdiff_t K, ptrdiff_t n, const T *x, ptrdiff_t stride, T *restrict y)
{
    for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i];
    ptrdiff_t k = 1;
    for (x += stride; k + 4 <= K; k += 4, x += 4 * stride)
        for (ptrdiff_t i = 0; i < n; i++)
            y[i] = cbp_max_step(y[i], cbp_max_step(cbp_max_step(x[i], x[stride + i]),
                                                   cbp_max_step(x[2 * stride + i], x[3 * stride + i])));
    for (; k < K; k++, x += stride)
        for (ptrdiff_t i = 0; i < n; i++) y[i] = cbp_max_step(y[i], x[i]);
    for (ptrdiff_t i = 0; i < n; i++) y[i] = cbp_max_end(y[i]);
}

void CBP_SYM(cbp_max_lead)(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    if (K <= 0) return;
    if (N == 1) {
        CBP_SYM(cbp_max_last)(B, K, x, y);
        return;
    }
    for (ptrdiff_t b = 0; b < B; b++, x += K * N, y += N)
        for (ptrdiff_t n = 0; n < N; n += STRIP) max_strip(K, cbp_lesser(N - n, STRIP), x + n, N, y + n);
}
