/* softmax.c: softmax and its relatives over the last axis of x (B,C), each row on its own.
 *
 *   m = max_c x[c]      e[c] = exp(x[c] - m)      rest = sum_c e[c] - 1      s = 1 + rest
 *   softmax e[c] / s      log_softmax (x[c] - m) - log1p(rest)      logsumexp m + log1p(rest)
 *   cross-entropy of class t: log1p(rest) - (x[t] - m)
 * rest is not found by subtracting: the e[c] that are exactly 1, such as the maximum's, are counted, the others summed
 * in the order of sum_last, and rest = sum + (count - 1).  So log1p sees a confident row's tiny rest whole: a float32
 * loss of 1e-12 is 1e-12, not 0.
 *
 * Logits of any finite size are safe.  -inf has probability 0; a row with NaN or +inf, or all -inf, is NaN throughout,
 * except logsumexp, which is then NaN, +inf or -inf.  Outputs may be the input (y == x, p == x, dx == p).
 */
#include "reduce.h"
#include "vmath.h"

/* The lanes after the first sixteen exponentials of a block, and after more: others sums the e that are not 1, ones
 * counts those that are. */
static inline void first_lanes(const T *e, T *others, T *ones)
{
    CBP_EACH_LANE(l) {
        others[l] = e[l] == 1 ? 0 : e[l];
        ones[l] = e[l] == 1 ? K(1) : K(0);
    }
}
static inline void add_lanes(const T *e, T *others, T *ones)
{
    CBP_EACH_LANE(l) {
        others[l] += e[l] == 1 ? 0 : e[l];
        ones[l] += e[l] == 1 ? K(1) : K(0);
    }
}

/* Sixteen exponentials into e; or, at the ragged end of a row, n < 16 of them into e (if not NULL) and all into v, where
 * the lanes beyond n weigh nothing. */
static inline void exp_lanes(const T *x, T m, T *e)
{
    CBP_EACH_LANE(l) e[l] = cbp_exp(x[l] - m);
}
static inline void exp_end(ptrdiff_t n, const T *x, T m, T *e, T *v)
{
    const T end = (T)n;
    CBP_EACH_LANE(l) v[l] = cbp_exp((cbp_lane[l] < end ? x[l] : -CBP_INF) - m);
    if (e) CBP_EACH_LANE(l) if (cbp_lane[l] < end) e[l] = v[l];
}

/* rest of one long row with maximum m; e (C), if wanted, gets the exponentials. */
static T row_rest(ptrdiff_t C, const T *x, T m, T *e)
{
    CBP_ALIGNED T v[CBP_LANES], others[CBP_LANES], ones[CBP_LANES];
    const ptrdiff_t keep = e ? CBP_LANES : 0;             /* where exponentials are not wanted all go to one place */
    cbp_counter sums;
    T count = 0;
    sums.count = 0;
    for (ptrdiff_t from = 0; from < C; from += CBP_LANE_BLOCK) {
        const ptrdiff_t n = cbp_lesser(C - from, CBP_LANE_BLOCK);
        T *at = e ? e + from : v;
        ptrdiff_t c = CBP_LANES;
        if (n < CBP_LANES) exp_end(n, x + from, m, e ? at : NULL, v);
        else exp_lanes(x + from, m, at);
        first_lanes(n < CBP_LANES ? v : at, others, ones);
        for (; c + CBP_LANES <= n; c += CBP_LANES) {
            at += keep;
            exp_lanes(x + from + c, m, at);
            add_lanes(at, others, ones);
        }
        if (c < n) {
            exp_end(n - c, x + from + c, m, e ? at + keep : NULL, v);
            add_lanes(v, others, ones);
        }
        cbp_counter_push(&sums, cbp_lane_tree(others));
        count += cbp_lane_tree(ones);
    }
    return cbp_counter_total(&sums) + (count - 1);
}

static void divide(ptrdiff_t n, T *y, T s)
{
    for (ptrdiff_t i = 0; i < n; i++) y[i] /= s;
}

/* Up to sixteen short rows side by side: the same in every bit.  xs[c][r] in, e[c][r] out. */
static void tile_rest(ptrdiff_t C, T (*xs)[CBP_TILE_ROWS], T (*e)[CBP_TILE_ROWS], T *m, T *rest)
{
    CBP_ALIGNED cbp_tile others;
    CBP_ALIGNED T ones[CBP_TILE_ROWS];
    CBP_EACH_LANE(r) m[r] = cbp_max_step(xs[0][r], xs[C - 1][r]);
    for (ptrdiff_t c = 1; c < C - 1; c++) CBP_EACH_LANE(r) m[r] = cbp_max_step(m[r], xs[c][r]);
    for (ptrdiff_t c = 0; c < C; c++) CBP_EACH_LANE(r) e[c][r] = cbp_exp(xs[c][r] - m[r]);
    first_lanes(e[0], others[0], ones);
    for (ptrdiff_t c = 1; c < C; c++)
        CBP_EACH_LANE(r) {
            others[c][r] = e[c][r] == 1 ? 0 : e[c][r];
            ones[r] += e[c][r] == 1 ? K(1) : K(0);
        }
    cbp_tile_sum(C, others, rest);
    CBP_EACH_LANE(r) rest[r] += ones[r] - 1;
}

/* The rows of x in batches, b .. b + rows - 1 at a time, leaving m[r] and rest[r], and in e the exponentials.
 *   LONG_ROWS: step by step for the whole batch, since one row alone would wait at each step; e (B,C), NULL if not wanted
 *   SHORT_ROWS: the rows of a tile, which is left in xs, exponentials in e */
#define BATCHES(b, rows, limit, ...) \
    CBP_ALIGNED T m[CBP_TILE_ROWS] = {0}, rest[CBP_TILE_ROWS] = {0}; \
    for (ptrdiff_t b = 0, rows; rows = cbp_lesser(B - b, limit), rows > 0 && (__VA_ARGS__, 1); b += rows)
#define LONG_ROWS(b, rows, e) \
    const ptrdiff_t in_cache = 4096 / C; \
    BATCHES(b, rows, in_cache < 1 ? 1 : cbp_lesser(in_cache, CBP_TILE_ROWS), \
            batch_rest(rows, C, x + b * C, e, m, rest))
#define SHORT_ROWS(b, rows) \
    CBP_ALIGNED cbp_tile xs, e; \
    BATCHES(b, rows, CBP_TILE_ROWS, cbp_tile_load(rows, C, x + b * C, xs), tile_rest(C, xs, e, m, rest))

static void batch_rest(ptrdiff_t rows, ptrdiff_t C, const T *x, T *e, T *m, T *rest)
{
    for (ptrdiff_t r = 0; r < rows; r++) m[r] = cbp_row_max(C, x + r * C);
    for (ptrdiff_t r = 0; r < rows; r++) rest[r] = row_rest(C, x + r * C, m[r], e ? e + r * C : NULL);
}

void CBP_SYM(cbp_softmax)(ptrdiff_t B, ptrdiff_t C, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    if (C == 0) return;
    if (C > CBP_TILE_K) {
        LONG_ROWS(b, rows, y + b * C)
            for (ptrdiff_t r = 0; r < rows; r++) divide(C, y + (b + r) * C, 1 + rest[r]);
        return;
    }
    SHORT_ROWS(b, rows) {
        for (ptrdiff_t c = 0; c < C; c++) CBP_EACH_LANE(r) e[c][r] /= 1 + rest[r];
        cbp_tile_store(rows, C, e, y + b * C);
    }
}

void CBP_SYM(cbp_log_softmax)(ptrdiff_t B, ptrdiff_t C, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    if (C == 0) return;
    if (C > CBP_TILE_K) {
        LONG_ROWS(b, rows, NULL) {
            CBP_EACH_LANE(r) rest[r] = cbp_log1p(rest[r]);
            for (ptrdiff_t r = 0; r < rows; r++)
                for (ptrdiff_t i = (b + r) * C; i < (b + r + 1) * C; i++) y[i] = (x[i] - m[r]) - rest[r];
        }
        return;
    }
    SHORT_ROWS(b, rows) {
        CBP_EACH_LANE(r) rest[r] = cbp_log1p(rest[r]);
        for (ptrdiff_t c = 0; c < C; c++) CBP_EACH_LANE(r) e[c][r] = (xs[c][r] - m[r]) - rest[r];
        cbp_tile_store(rows, C, e, y + b * C);
    }
}

/* An infinite maximum, or NaN, is the result itself. */
static void put_logsumexp(ptrdiff_t rows, const T *m, const T *rest, T *y)
{
    CBP_ALIGNED T v[CBP_TILE_ROWS];
    CBP_EACH_LANE(r) v[r] = cbp_log1p(rest[r]);
    for (ptrdiff_t r = 0; r < rows; r++) y[r] = m[r] - m[r] == 0 ? m[r] + v[r] : cbp_max_end(m[r]);
}
void CBP_SYM(cbp_logsumexp)(ptrdiff_t B, ptrdiff_t C, const void *x_, void *y_)
{
    const T *x = x_;
    T *y = y_;
    if (C == 0)
        for (ptrdiff_t b = 0; b < B; b++) y[b] = -CBP_INF;
    else if (C > CBP_TILE_K) {
        LONG_ROWS(b, rows, NULL) put_logsumexp(rows, m, rest, y + b);
    } else {
        SHORT_ROWS(b, rows) put_logsumexp(rows, m, rest, y + b);
    }
}

/* xt: the logits of the targets, before p may have overwritten them */
static void put_loss(ptrdiff_t rows, const int64_t *t, int64_t ignore, const T *xt, const T *m, const T *rest, T *loss)
{
    CBP_ALIGNED T v[CBP_TILE_ROWS];
    CBP_EACH_LANE(r) v[r] = cbp_log1p(rest[r]);
    for (ptrdiff_t r = 0; r < rows; r++) loss[r] = t[r] == ignore ? 0 : v[r] - (xt[r] - m[r]);
}
static void targets(ptrdiff_t rows, ptrdiff_t C, const T *x, const int64_t *t, int64_t ignore, T *xt)
{
    for (ptrdiff_t r = 0; r < rows; r++) xt[r] = t[r] == ignore ? 0 : x[r * C + t[r]];
}

/* dx = g (p - onehot(t)) for one row; p may be dx.  A row whose target is `ignore` (or, memory safety only, outside [0, C))
 * gets zeros, as does one whose g is 0. */
static void row_gradient(ptrdiff_t C, const T *p, int64_t t, int64_t ignore, T g, T *dx)
{
    if (t == ignore || t < 0 || t >= C || g == 0) {
        for (ptrdiff_t c = 0; c < C; c++) dx[c] = 0;
        return;
    }
    const T at_target = g * (p[t] - 1);
    for (ptrdiff_t c = 0; c < C; c++) dx[c] = g * p[c];
    dx[t] = at_target;
}

/* The same for the rows of a tile, p and then dx in e. */
static void tile_gradient(ptrdiff_t rows, ptrdiff_t C, cbp_tile e, const int64_t *t, int64_t ignore, const T *g, ptrdiff_t sg,
                          T *dx)
{
    CBP_ALIGNED T gs[CBP_TILE_ROWS] = {0}, at_target[CBP_TILE_ROWS];
    for (ptrdiff_t r = 0; r < rows; r++) {
        gs[r] = t[r] == ignore ? 0 : g[r * sg];
        at_target[r] = gs[r] == 0 ? 0 : gs[r] * (e[t[r]][r] - 1);
    }
    for (ptrdiff_t c = 0; c < C; c++) CBP_EACH_LANE(r) e[c][r] = cbp_strong_mul(gs[r], e[c][r]);
    for (ptrdiff_t r = 0; r < rows; r++)
        if (t[r] != ignore) e[t[r]][r] = at_target[r];
    cbp_tile_store(rows, C, e, dx);
}

/* p may be NULL where only the loss is wanted; rows whose target is `ignore` get their p all the same. */
cbp_status CBP_SYM(cbp_ce_fwd)(ptrdiff_t B, ptrdiff_t C, const void *x_, const int64_t *t, int64_t ignore,
                               void *loss_, void *p_, const void *g_, ptrdiff_t sg, void *dx_)
{
    const T *x = x_, *g = g_;
    T *loss = loss_, *p = p_, *dx = dx_, xt[CBP_TILE_ROWS];
    for (ptrdiff_t b = 0; b < B; b++)
        if (t[b] != ignore && (t[b] < 0 || t[b] >= C)) return CBP_OUT_OF_RANGE;
    if (C == 0)
        for (ptrdiff_t b = 0; b < B; b++) loss[b] = 0;
    else if (C > CBP_TILE_K) {
        T *e = p ? p : dx;
        LONG_ROWS(b, rows, (targets(rows, C, x + b * C, t + b, ignore, xt), e ? e + b * C : NULL)) {
            put_loss(rows, t + b, ignore, xt, m, rest, loss + b);
            for (ptrdiff_t r = 0; e && r < rows; r++) {
                T *row = e + (b + r) * C;
                divide(C, row, 1 + rest[r]);
                if (dx) row_gradient(C, row, t[b + r], ignore, g[(b + r) * sg], dx + (b + r) * C);
            }
        }
    } else {
        SHORT_ROWS(b, rows) {
            targets(rows, C, x + b * C, t + b, ignore, xt);
            put_loss(rows, t + b, ignore, xt, m, rest, loss + b);
            if (!p && !dx) continue;
            for (ptrdiff_t c = 0; c < C; c++) CBP_EACH_LANE(r) e[c][r] /= 1 + rest[r];
            if (p) cbp_tile_store(rows, C, e, p + b * C);
            if (dx) tile_gradient(rows, C, e, t + b, ignore, g + b * sg, sg, dx + b * C);
        }
    }
    return CBP_OK;
}

void CBP_SYM(cbp_ce_vjp)(ptrdiff_t B, ptrdiff_t C, const void *p, const int64_t *t, int64_t ignore, const void *g, void *dx)
{
    for (ptrdiff_t b = 0; b < B; b++)
        row_gradient(C, (const T *)p + b * C, t[b], ignore, ((const T *)g)[b], (T *)dx + b * C);
}
