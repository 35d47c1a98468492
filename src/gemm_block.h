/* gemm_block.h: one product on one thread, in the form of gemm.h.
 *
 * Vectors along n: q is read where it lies, or packed block by block into panels that stay in L2 while all rows of p pass.
 * Vectors along m (the transposed problem) where c is so narrow that vectors along n would be mostly empty; with few
 * enough outputs the transpose never leaves the registers (gemm_lanes.h).
 */
#ifndef CBP_GEMM_BLOCK_H
#define CBP_GEMM_BLOCK_H

#include "gemm_dots.h"
#include "gemm_lanes.h"
#include "gemm_micro.h"

#include <string.h>

enum {
    PACK = CBP_PACK_BYTES / sizeof(T),
    AUX = CBP_AUX_BYTES / sizeof(T), AUX_ROWS = 64,
    /* A block of k: what one tile reads of p stays in L1, what it reads of q comes from L2.  Below AVX-512,
     * where tiles are lower, twice as many save a pass over c: 3 to 6 % from 800 k's on (AVX2, Zen 3). */
    KC_GATHERED = 2048 / sizeof(T), KC = V_BYTES == 64 ? KC_GATHERED : 2 * KC_GATHERED,
    P_TILES = 8, P_TILE = MR * KC_GATHERED + 16,       /* 16: eight tiles written at once must not share a cache set */
    EPILOGUE = 1024,                           /* elements that make a call of `done` worth it */
    STREAM_BYTES = 8 << 20, STREAM_K = 4, P_LARGE = (96 << 10) / sizeof(T),        /* see run_direct */
    PACK_TRAFFIC = 160 << 20, PACK_SIZE = 6 << 20                          /* see wants_packing */
};
enum { SERIAL = PACK + AUX + P_TILES * P_TILE };       /* scratch of one thread, in elements */

/* ---- one product ---- */

static void finish(const cbp_product *x, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0, ptrdiff_t n1)
{
    if (x->done) x->done(x->ctx, x->m_at + m0, x->m_at + m1, x->n_at + n0, x->n_at + n1);
}

typedef struct {                   /* where the q of one block is */
    const T *q;
    ptrdiff_t q_ld;                /* of the unpacked matrix; 0: packed panels */
    ptrdiff_t n0, n, k0, K;
    const T *init;
    ptrdiff_t init_ld;
    T *c;
    ptrdiff_t c_ld;
    int add;
} block;

/* The wide tile for one or two rows.  NOTE: beside two there is no wide tile for the one row of column sums. */
static ptrdiff_t flat_cols(const cbp_product *x, ptrdiff_t rows)
{
    return rows == 1 ? FLAT1 : rows == 2 && !x->sums ? FLAT2 : 0;
}

/* Tiles of p from row m on, heights rows[0..count), for one block of k, each (K,height): whole cache lines are read, once
 * for all panels of q.  TN only, where what one k needs lies side by side but two k's may be pages apart. */
static void pack_p(const cbp_product *x, const block *b, ptrdiff_t m, const ptrdiff_t *rows, int count, T *to)
{
    const T *from = x->p + m + b->k0 * x->p_k;
    ptrdiff_t width = 0;
    for (int i = 0; i < count; i++) width += rows[i];
    for (ptrdiff_t k = 0; k < b->K; k++, from += x->p_k) {
        const T *p = from;
        if (k + 16 < b->K)
            for (ptrdiff_t i = 0; i < width; i += 64 / (ptrdiff_t)sizeof(T))
                __builtin_prefetch(from + 16 * x->p_k + i);
        for (int i = 0; i < count; p += rows[i], i++) {
            T *tile = to + i * P_TILE + k * rows[i];
            if (rows[i] == MR) memcpy(tile, p, MR * sizeof(T));
            else for (ptrdiff_t r = 0; r < rows[i]; r++) tile[r] = p[r];
        }
    }
}

/* One row panel: the tiles of `rows` rows of p over one block of q, from its row k on. */
static void sweep_panel(const block *b, cbp_tile *t, ptrdiff_t rows, ptrdiff_t m, ptrdiff_t k, ptrdiff_t flat)
{
    const ptrdiff_t all = vectors(b->n);
    ptrdiff_t cols;
    for (ptrdiff_t v = 0; v < all; v += cols) {
        cols = next_cols(all - v, flat);
        t->q_ld = b->q_ld ? b->q_ld : cols * VL;
        t->q = (b->q_ld ? b->q + v * VL : b->q + v * VL * b->K) + k * t->q_ld;
        t->init = b->init ? b->init + m * b->init_ld + v * VL : NULL;
        t->c = b->c + m * b->c_ld + v * VL;
        t->last = v + cols < all ? VL : b->n - (all - 1) * VL;
        if (!b->q_ld)                  /* c is as large as q: the next tile would wait for its rows */
            for (ptrdiff_t r = 0; r < rows; r++) __builtin_prefetch(t->c + r * b->c_ld + cols * VL);
        tiles[rows - 1][cols - 1](t);
    }
}

/* to (n) = or += from */
static void add_row(ptrdiff_t n, T *to, const T *from, int add)
{
    for (ptrdiff_t j = 0; j < n; j++) to[j] = add ? to[j] + from[j] : from[j];
}

/* One more row of c while the block of q is hot: its p is 1 everywhere, and fma(1, q, s) is s + q exactly. */
static void sum_columns(const cbp_product *x, const block *b, ptrdiff_t flat)
{
    static const T one = 1;
    const cbp_sums *s = x->sums;
    const ptrdiff_t from = x->k_at + b->k0, end = from + b->K;
    ptrdiff_t k = from, stop;
    do {
        const ptrdiff_t group = k / s->rows;
        int top = __builtin_popcountll((unsigned long long)group);     /* sums that wait */
        T *slot = s->slot + top * x->N + b->n0;
        stop = min_of(end, (group + 1) * s->rows);
        block c = {.q = b->q, .q_ld = b->q_ld, .n = b->n, .K = b->K, .init = k % s->rows ? slot : NULL, .c = slot};
        cbp_tile t = {.K = stop - k, .p = &one};
        sweep_panel(&c, &t, 1, 0, k - from, flat);
        k = stop;
        if (k < s->K && k % s->rows) continue;
        ptrdiff_t pairs = group + 1;
        for (; top && (pairs % 2 == 0 || k == s->K); pairs /= 2, top--, slot -= x->N) add_row(b->n, slot - x->N, slot, 1);
        if (k == s->K) add_row(b->n, s->to + b->n0, slot, s->add);
    } while (k < end);
}

/* All tiles of rows [m0, m1) over one block of q: a row panel of c after the other. */
static void sweep(const cbp_product *x, const block *b, ptrdiff_t m0, ptrdiff_t m1, int finished, T *p_tiles)
{
    const ptrdiff_t flat = flat_cols(x, m1 - m0);
    cbp_tile t = {.K = b->K, .p_row = x->p_row, .p_k = x->p_k, .init_ld = b->init_ld, .c_ld = b->c_ld, .add = b->add};
    ptrdiff_t rows[P_TILES], fresh = m0;
    for (ptrdiff_t m = m0; m < m1;) {
        int count = 0;
        for (ptrdiff_t end = m; end < m1 && count < P_TILES; end += rows[count++]) rows[count] = next_rows(m1 - end);
        if (p_tiles) pack_p(x, b, m, rows, count, p_tiles);
        for (int i = 0; i < count; m += rows[i], i++) {
            t.p = p_tiles ? p_tiles + i * P_TILE : x->p + m * x->p_row + b->k0 * x->p_k;
            t.p_k = p_tiles ? rows[i] : x->p_k;
            sweep_panel(b, &t, rows[i], m - m0, 0, flat);
            const ptrdiff_t end = m + rows[i];
            if (!finished || ((end - fresh) * b->n < EPILOGUE && end < m1)) continue;
            finish(x, fresh, end, b->n0, b->n0 + b->n);
            fresh = end;
        }
    }
    if (x->sums && m0 == 0) sum_columns(x, b, b->q_ld ? FLAT1 : flat);
}

/* The panels of one block of q, in the widths in which sweep() takes them. */
static void pack(const cbp_product *x, const block *b, ptrdiff_t rows, T *to)
{
    const ptrdiff_t flat = flat_cols(x, rows), all = vectors(b->n);
    ptrdiff_t cols;
    for (ptrdiff_t v = 0; v < all; v += cols) {
        cols = next_cols(all - v, flat);
        ptrdiff_t n = b->n0 + v * VL, width = min_of(cols * VL, b->n - v * VL);
        if (x->q_by_column)
            pack_columns(b->K, width, x->q + n * x->q_ld + b->k0, x->q_ld, to + v * VL * b->K);
        else
            pack_rows(b->K, width, x->q + b->k0 * x->q_ld + n, x->q_ld, to + v * VL * b->K);
    }
}

/* TN: is p worth gathering (pack_p), for the number of columns that will read it? */
static int gathers(const cbp_product *x) { return x->p_row == 1 && x->N >= 4 * NV * VL; }

static void run_packed(const cbp_product *x, T *panels)
{
    T *const aux = panels + PACK, *const p_tiles = aux + AUX;
    const int gather = gathers(x);
    const ptrdiff_t kc = min_of(x->K, gather ? KC_GATHERED : KC), nc = PACK / (kc * VL) * VL;
    /* NOTE: add must see the finished product, so chains longer than one block of k wait in aux. */
    const int wait = x->add && x->K > kc;
    const ptrdiff_t mc = wait ? AUX_ROWS : x->M, aux_nc = min_of(nc, AUX / AUX_ROWS);
    for (ptrdiff_t n0 = 0, n; n0 < x->N; n0 += n) {
        n = min_of(x->N - n0, wait ? aux_nc : nc);
        ptrdiff_t m0 = 0, m1;
        do {
            m1 = min_of(x->M, m0 + mc);
            T *c = x->c + m0 * x->c_ld + n0;
            block b = {.q = panels, .n0 = n0, .n = n, .c = wait ? aux : c, .c_ld = wait ? aux_nc : x->c_ld};
            for (b.k0 = 0; b.k0 < x->K; b.k0 += b.K) {
                b.K = min_of(x->K - b.k0, kc);
                const int first = b.k0 == 0 && !x->carry;
                b.init = !first ? b.c : x->bias ? x->bias + n0 : NULL;
                b.init_ld = first ? 0 : b.c_ld;
                b.add = x->add && !wait;
                pack(x, &b, m1 - m0, panels);
                sweep(x, &b, m0, m1, b.k0 + b.K == x->K && !wait, gather ? p_tiles : NULL);
            }
            if (!wait) continue;
            for (ptrdiff_t m = 0; m < m1 - m0; m++) add_row(n, c + m * x->c_ld, aux + m * aux_nc, 1);
            finish(x, m0, m1, n0, n0 + n);
        } while (m0 = m1, m0 < x->M);
    }
}

/* NOTE: p beyond L1 is worth gathering here too, if it is read by enough columns: TN 256x256x256 0.8 of the time without,
 * 128x256x784 0.7 (Zen 3); below, 64x64x64 1.15. */
static void run_direct(const cbp_product *x, T *scratch)
{
    block b = {.q_ld = x->q_ld, .n = x->N, .c = x->c, .c_ld = x->c_ld, .add = x->add};
    /* NOTE: one or two rows read a matrix beyond L3 once, at the speed of memory: a few long rows at a time, c in L1, because
     * a narrow column of a long matrix touches another page for every k. */
    const int stream = x->M <= 2 && !x->add && x->K * x->N * (ptrdiff_t)sizeof(T) > STREAM_BYTES;
    const int gather = gathers(x) && x->K * x->p_k > P_LARGE && (x->K <= KC_GATHERED || !x->add);
    const ptrdiff_t step = stream ? STREAM_K : gather ? KC_GATHERED : x->K;
    do {
        const int first = b.k0 == 0 && !x->carry;
        b.q = x->q + b.k0 * x->q_ld;
        b.K = min_of(step, x->K - b.k0);
        b.init = first ? x->bias : x->c;
        b.init_ld = first ? 0 : x->c_ld;
        sweep(x, &b, 0, x->M, b.k0 + b.K == x->K, gather ? scratch + PACK + AUX : NULL);
        b.k0 += b.K;
    } while (b.k0 < x->K);
}

/* q may be read where it lies unless it has to be transposed, or is read so often that the copy pays (float32, Zen 4, time
 * unpacked / packed: 32 rows of 512x512 0.86, 256 of it 1.05; 64 of 1024x1024 1.24; 2048x1000 3.3 already at 32 rows). */
static int wants_packing(const cbp_product *x)
{
    if (x->K == 0) return 0;
    if (x->q_by_column || (x->N % VL && !V_FAST_MASKS)) return 1;
    const double bytes = (double)x->K * (double)x->N * sizeof(T), rows = (double)x->M;
    return rows * bytes > PACK_TRAFFIC || (bytes > PACK_SIZE && x->M > 2);
}

static void run_along_n(const cbp_product *x, T *scratch)
{
    if (wants_packing(x)) run_packed(x, scratch);
    else run_direct(x, scratch);
}

/* The transposed problem: vectors along m.  x is c^T = q^T p^T, block by block of its columns, turned round at the end. */
static void run_along_m(const cbp_product *x, T *scratch)
{
    const int direct = x->N == 1 && x->c_ld == 1 && !x->bias;  /* c is its own transpose */
    T *aux = direct ? x->c : scratch + PACK;
    const ptrdiff_t step = direct ? x->M : AUX / x->N / VL * VL;
    for (ptrdiff_t m0 = 0; m0 < x->M; m0 += step) {
        const ptrdiff_t rows = min_of(step, x->M - m0);
        cbp_product y = {.M = x->N, .N = rows, .K = x->K, .carry = x->bias != NULL, .c = aux, .c_ld = step,
                         .add = direct && x->add};
        y.p = x->q;
        y.p_row = x->q_by_column ? x->q_ld : 1;
        y.p_k = x->q_by_column ? 1 : x->q_ld;
        y.q = x->p + m0 * x->p_row;
        y.q_by_column = x->p_k == 1;
        y.q_ld = y.q_by_column ? x->p_row : x->p_k;
        for (ptrdiff_t n = 0; y.carry && n < x->N; n++)
            for (ptrdiff_t m = 0; m < rows; m++) aux[n * step + m] = x->bias[n];
        run_along_n(&y, scratch);
        if (!direct) store_transposed(rows, x->N, aux, step, x->c + m0 * x->c_ld, x->c_ld, x->add);
        finish(x, m0, m0 + rows, 0, x->N);
    }
    if (!x->sums) return;
    cbp_product sums = *x;
    sums.M = 0;
    run_along_n(&sums, scratch);
}

/* Vector operations for one k, in fma's; a transposed vector costs about four more. */
static int along_m_is_cheaper(const cbp_product *x)
{
    if (x->carry || x->N > 32 || x->M <= x->N || x->M < VL / 2) return 0;
    const ptrdiff_t turned = x->p_k == 1 ? 4 : 0;
    const ptrdiff_t along_n = (x->M + (x->q_by_column ? 4 : 0)) * vectors(x->N);
    const ptrdiff_t along_m = (x->N + turned) * vectors(x->M);
    return along_m * 8 < along_n * 7 && x->K >= (x->N == 1 && !turned ? 1 : 4);
}

/* Rows in the lanes, transposed in registers: whose rows, those of p (1), of q (2, NT only), or neither (0)? */
static int lanes_side(const cbp_product *x)
{
    if (x->p_k != 1 || x->carry || x->K < V_QUAD) return 0;
    /* A block of VL rows costs about (N + 2) K + (12 N + 48) VL / 16 fma this way (measured), VL vectors(N) K along n. */
    const ptrdiff_t gain = (VL * vectors(x->N) - x->N - 2) * x->K - (12 * x->N + 48) * VL / 16;
    const int p = x->M >= LANES_ROWS && x->N <= LANES_J && gain > 0;
    const int q = x->q_by_column && x->N >= LANES_ROWS && x->M <= LANES_J;
    return q && (!p || x->M <= x->N) ? 2 : p;
}

static void run_lanes(const cbp_product *x, int side)
{
    cbp_lanes t = {.K = x->K, .c = x->c, .add = x->add};
    if (side == 2) {
        t.M = x->N, t.x = x->q, t.x_ld = x->q_ld, t.s = x->p, t.s_k = 1, t.s_j = x->p_row;
        t.bias_i = x->bias, t.c_i = 1, t.c_j = x->c_ld;
        lanes[x->M - 1](&t);
    } else {
        t.M = x->M, t.x = x->p, t.x_ld = x->p_row, t.s = x->q;
        t.s_k = x->q_by_column ? 1 : x->q_ld, t.s_j = x->q_by_column ? x->q_ld : 1;
        t.bias_j = x->bias, t.c_i = x->c_ld, t.c_j = 1;
        lanes[x->N - 1](&t);
    }
    finish(x, 0, x->M, 0, x->N);
}

/* Whose rows are the fewer? */
static void run_dots(const cbp_product *x)
{
    cbp_dots_call t = {.K = x->K, .c = x->c, .add = x->add, .s_k = 1};
    if (x->q_by_column && x->M <= x->N) {
        t.M = x->N, t.J = x->M, t.x = x->q, t.x_ld = x->q_ld, t.s = x->p, t.s_j = x->p_row;
        t.bias_i = x->bias, t.c_i = 1, t.c_j = x->c_ld;
    } else {
        t.M = x->M, t.J = x->N, t.x = x->p, t.x_ld = x->p_row, t.s = x->q, t.s_j = x->q_ld;
        t.s_k = x->q_by_column ? 1 : x->q_ld;
        t.bias_j = x->bias, t.c_i = x->c_ld, t.c_j = 1;
    }
    run_dots_of(&t);
    finish(x, 0, x->M, 0, x->N);
}

/* c (n) = p q */
static __attribute__((noinline)) void outer_row(ptrdiff_t n, T p, const T *q, T *c)
{
    const V pv = v_set1(p);
    for (; n > VL; n -= VL, q += VL, c += VL) v_store(c, v_fma(pv, v_load(q), v_zero()));
    v_store_m(c, v_mask(n), v_fma(pv, v_load_m(q, v_mask(n)), v_zero()));
}

/* One k, nothing to add to: an outer product, such as the dw of a single row, whose tiles would cost more than what is in
 * them. */
static int is_outer(const cbp_product *x)
{
    return V_FAST_MASKS && x->K == 1 && (!x->q_by_column || x->q_ld == 1) && !x->bias && !x->add && !x->carry
        && (!x->sums || (x->sums->K == 1 && !x->sums->add));
}

static void run_outer(const cbp_product *x)
{
    if (x->N == 1 && x->M > 0 && x->c_ld == 1 && x->p_row == 1) outer_row(x->M, *x->q, x->p, x->c);
    else for (ptrdiff_t m = 0; m < x->M; m++) outer_row(x->N, x->p[m * x->p_row], x->q, x->c + m * x->c_ld);
    if (x->sums) outer_row(x->N, 1, x->q, x->sums->to);
    finish(x, 0, x->M, 0, x->N);
}

/* Which way, decided by the shape alone; a way never changes bits, only `dots` is part of the promise.  Time by the way
 * taken over time by the next best, float32, one Zen 4 core with AVX-512:
 *
 *   dots       NT of <= 12 columns, NN of one, K >= 256      NT 1x4x2048 0.20, 8x4x2048 0.31, NN 128x1x1024 0.23
 *   lanes      few columns, or few rows of NT                NN 512x10x784 0.74, 64x2x64 0.80; NT 1x256x256 0.64
 *   along m    c so narrow that vectors along n are empty    TN 2048x1x1 0.05, 2048x1x8 0.10, 128x2x64 0.26
 *   outer      one k, nothing to add to                      by count of instructions
 *   packed     see wants_packing
 *   direct     all else; one or two rows of > 8 MB stream
 */
static __attribute__((noinline)) void run_serial(const cbp_product *x, void *scratch)
{
    if (x->K <= 0) {                           /* a and b may be NULL: no arithmetic on them */
        cbp_product y = *x;
        y.p = y.q = x->c;
        y.K = y.p_row = y.p_k = y.q_ld = y.q_by_column = 0;
        run_direct(&y, scratch);
        return;
    }
    const int side = lanes_side(x);
    if (is_outer(x)) run_outer(x);
    else if (x->dots) run_dots(x);
    else if (side) run_lanes(x, side);
    else if (along_m_is_cheaper(x)) run_along_m(x, scratch);
    else run_along_n(x, scratch);
}

#endif
