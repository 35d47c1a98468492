/* gemm.c: c = a b, a b^T, a^T b.  Formula, shapes and layouts: cbp.h.  The order of every sum: ADR "The same bits".
 *
 * NN and NT run as one product with q along n, or with q along m (the transposed problem) where c is so narrow that
 * vectors along n would be mostly empty.  TN cuts its K rows into groups, one product each, summed by the fixed tree.
 */
#include "gemm_micro.h"
#include "pool.h"

enum { PACK = CBP_PACK_BYTES / sizeof(T), AUX = CBP_AUX_BYTES / sizeof(T), KC = 512, AUX_ROWS = 64, EPILOGUE = 1024 };

/* ---- one product ---- */

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

/* All tiles of rows [m0, m1) over one block of q: a row panel of c after the other. */
static void sweep(const cbp_product *x, const block *b, ptrdiff_t m0, ptrdiff_t m1, int finished)
{
    const ptrdiff_t flat = flat_cols(m1 - m0), all = vectors(b->n);
    cbp_tile t = {.K = b->K, .p_row = x->p_row, .p_k = x->p_k, .init_ld = b->init_ld, .c_ld = b->c_ld, .add = b->add};
    ptrdiff_t rows, fresh = m0;
    for (ptrdiff_t m = m0; m < m1; m += rows) {
        rows = next_rows(m1 - m);
        t.p = x->p + m * x->p_row + b->k0 * x->p_k;
        ptrdiff_t cols;
        for (ptrdiff_t v = 0; v < all; v += cols) {
            cols = next_cols(all - v, flat);
            t.q_ld = b->q_ld ? b->q_ld : cols * VL;
            t.q = b->q_ld ? b->q + v * VL : b->q + v * VL * b->K;
            t.init = b->init ? b->init + (m - m0) * b->init_ld + v * VL : NULL;
            t.c = b->c + (m - m0) * b->c_ld + v * VL;
            t.last = v + cols < all ? VL : b->n - (all - 1) * VL;
            tiles[rows - 1][cols - 1](&t);
        }
        if (finished && x->done && ((m + rows - fresh) * b->n >= EPILOGUE || m + rows == m1)) {
            x->done(x->ctx, fresh, m + rows, b->n0, b->n0 + b->n);
            fresh = m + rows;
        }
    }
}

/* The panels of one block of q, in the widths in which sweep() takes them. */
static void pack(const cbp_product *x, const block *b, ptrdiff_t rows, T *to)
{
    const ptrdiff_t flat = flat_cols(rows), all = vectors(b->n);
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

static void run_packed(const cbp_product *x, T *panels, T *aux)
{
    const ptrdiff_t kc = min_of(x->K, KC), nc = PACK / (kc * VL) * VL;
    /* NOTE: add must see the finished product, so chains longer than one block of k wait in aux. */
    const int wait = x->add && x->K > kc;
    const ptrdiff_t mc = wait ? AUX_ROWS : x->M, aux_nc = min_of(nc, AUX / AUX_ROWS);
    for (ptrdiff_t n0 = 0, n; n0 < x->N; n0 += n) {
        n = min_of(x->N - n0, wait ? aux_nc : nc);
        for (ptrdiff_t m0 = 0, m1; m0 < x->M; m0 = m1) {
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
                sweep(x, &b, m0, m1, b.k0 + b.K == x->K && !wait);
            }
            if (!wait) continue;
            for (ptrdiff_t m = 0; m < m1 - m0; m++)
                for (ptrdiff_t j = 0; j < n; j++) c[m * x->c_ld + j] += aux[m * aux_nc + j];
            if (x->done) x->done(x->ctx, m0, m1, n0, n0 + n);
        }
    }
}

static void run_direct(const cbp_product *x)
{
    const int start = x->carry ? 2 : x->bias != NULL;
    block b = {.q = x->q, .q_ld = x->q_ld, .n = x->N, .K = x->K, .c = x->c, .c_ld = x->c_ld, .add = x->add,
               .init = start == 2 ? x->c : x->bias, .init_ld = start == 2 ? x->c_ld : 0};
    sweep(x, &b, 0, x->M, 1);
}

/* q may be read where it lies unless it has to be transposed, or its rows are long and read often. */
static int wants_packing(const cbp_product *x)
{
    if (x->K == 0) return 0;
    if (x->q_by_column) return 1;
    return x->M >= 4 * MR && x->K * x->N * (ptrdiff_t)sizeof(T) > CBP_PACK_BYTES;
}

static void run_along_n(const cbp_product *x, T *scratch)
{
    if (wants_packing(x)) run_packed(x, scratch, scratch + PACK);
    else run_direct(x);
}

/* The transposed problem: vectors along m.  x is c^T = q^T p^T, block by block of its columns, turned round at the end. */
static void run_along_m(const cbp_product *x, T *scratch)
{
    T *aux = scratch + PACK;
    const ptrdiff_t step = AUX / x->N / VL * VL;
    for (ptrdiff_t m0 = 0; m0 < x->M; m0 += step) {
        const ptrdiff_t rows = min_of(step, x->M - m0);
        cbp_product y = {.M = x->N, .N = rows, .K = x->K, .carry = x->bias != NULL, .c = aux, .c_ld = step};
        y.p = x->q;
        y.p_row = x->q_by_column ? x->q_ld : 1;
        y.p_k = x->q_by_column ? 1 : x->q_ld;
        y.q = x->p + m0 * x->p_row;
        y.q_by_column = x->p_k == 1;
        y.q_ld = y.q_by_column ? x->p_row : x->p_k;
        for (ptrdiff_t n = 0; y.carry && n < x->N; n++)
            for (ptrdiff_t m = 0; m < rows; m++) aux[n * step + m] = x->bias[n];
        if (wants_packing(&y)) run_packed(&y, scratch, NULL);
        else run_direct(&y);
        store_transposed(rows, x->N, aux, step, x->c + m0 * x->c_ld, x->c_ld, x->add);
        if (x->done) x->done(x->ctx, m0, m0 + rows, 0, x->N);
    }
}

/* Vector operations for one k, in fma's; a transposed vector costs about four more. */
static int along_m_is_cheaper(const cbp_product *x)
{
    if (x->N > 32 || x->M <= x->N || x->M < VL / 2) return 0;
    const ptrdiff_t turned = x->p_k == 1 ? 4 : 0;
    const ptrdiff_t along_n = (x->M + (x->q_by_column ? 4 : 0)) * vectors(x->N);
    const ptrdiff_t along_m = (x->N + turned) * vectors(x->M);
    return along_m * 8 < along_n * 7 && x->K >= 4;
}

static void run_serial(const cbp_product *x, void *scratch)
{
    if (x->M <= 0 || x->N <= 0) return;
    if (x->K <= 0) {                           /* a and b may be NULL: no arithmetic on them */
        cbp_product y = *x;
        y.p = y.q = x->c;
        y.K = y.p_row = y.p_k = y.q_ld = y.q_by_column = 0;
        run_direct(&y);
        return;
    }
    if (along_m_is_cheaper(x)) run_along_m(x, scratch);
    else run_along_n(x, scratch);
}

void CBP_SYM(cbp_product_run)(const cbp_product *x, void *scratch)
{
    run_serial(x, scratch);
}

/* ---- the public three layouts ---- */

/* dst (M,N) = dst + src */
static void add_into(ptrdiff_t M, ptrdiff_t N, T *dst, ptrdiff_t dst_ld, const T *src, ptrdiff_t src_ld)
{
    for (ptrdiff_t m = 0; m < M; m++)
        for (ptrdiff_t n = 0; n < N; n++) dst[m * dst_ld + n] += src[m * src_ld + n];
}

/* sums[n] of rows of g, one chain of plain additions from 0 for each of cbp_groups(K) groups, then the tree: the bits
 * of sum_lead(1, K, N).  slot (64, at least n) is the binary counter. */
static void column_sums(ptrdiff_t K, ptrdiff_t N, const T *g, ptrdiff_t g_ld, T *sums, int add)
{
    enum { LEVELS = 56, WIDE = 4 * VL };
    const ptrdiff_t size = cbp_group_rows(K), groups = cbp_groups(K);
    T slot[LEVELS][WIDE];
    for (ptrdiff_t n0 = 0; n0 < N; n0 += WIDE) {
        const ptrdiff_t n = min_of(N - n0, WIDE);
        int top = 0;
        for (ptrdiff_t group = 0; group < groups; group++) {
            T *s = slot[top++];
            for (ptrdiff_t j = 0; j < n; j++) s[j] = 0;
            for (ptrdiff_t k = group * size; k < min_of(K, (group + 1) * size); k++)
                for (ptrdiff_t j = 0; j < n; j++) s[j] += g[k * g_ld + n0 + j];
            for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--)
                for (ptrdiff_t j = 0; j < n; j++) slot[top - 2][j] += slot[top - 1][j];
        }
        for (; top > 1; top--)
            for (ptrdiff_t j = 0; j < n; j++) slot[top - 2][j] += slot[top - 1][j];
        for (ptrdiff_t j = 0; j < n; j++) sums[n0 + j] = add ? sums[n0 + j] + slot[0][j] : slot[0][j];
    }
}

/* How TN cuts its K rows. */
static ptrdiff_t tn_groups(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K)
{
    return M * N > CBP_ONE_GROUP_ABOVE ? 1 : cbp_groups(K);
}
/* Buffers of the binary counter: one for each bit of the group count. */
static int tn_slots(ptrdiff_t groups)
{
    int slots = 1;
    for (; groups > 1; groups /= 2) slots++;
    return groups == 1 && slots == 1 ? 0 : slots;
}

static void run_tn(const cbp_product *x, T *scratch)
{
    const ptrdiff_t groups = tn_groups(x->M, x->N, x->K), size = groups == 1 ? x->K : cbp_group_rows(x->K);
    if (groups == 1 || x->M <= 0 || x->N <= 0) {
        CBP_SYM(cbp_product_run)(x, scratch);
        return;
    }
    const ptrdiff_t MN = x->M * x->N;
    T *slot = scratch + PACK + AUX;
    int top = 0;
    for (ptrdiff_t group = 0; group < groups; group++) {
        cbp_product y = *x;
        y.K = min_of(size, x->K - group * size);
        y.p += group * size * x->p_k;
        y.q += group * size * x->q_ld;
        y.c = slot + top++ * MN;
        y.c_ld = x->N;
        y.add = 0;
        CBP_SYM(cbp_product_run)(&y, scratch);
        for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--)
            add_into(1, MN, slot + (top - 2) * MN, MN, slot + (top - 1) * MN, MN);
    }
    for (; top > 1; top--) add_into(1, MN, slot + (top - 2) * MN, MN, slot + (top - 1) * MN, MN);
    for (ptrdiff_t m = 0; m < x->M; m++)
        for (ptrdiff_t n = 0; n < x->N; n++) {
            T *c = x->c + m * x->c_ld + n;
            *c = x->add ? *c + slot[m * x->N + n] : slot[m * x->N + n];
        }
}

void CBP_SYM(cbp_gemm)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                       const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                       void *colsum, void *scratch)
{
    cbp_product x = {.M = M, .N = N, .K = K, .p = a, .q = b, .q_ld = ldb, .q_by_column = layout == CBP_NT,
                     .bias = layout == CBP_TN ? NULL : bias, .c = c, .c_ld = ldc, .add = add};
    x.p_row = layout == CBP_TN ? 1 : lda;
    x.p_k = layout == CBP_TN ? lda : 1;
    if (layout != CBP_TN) {
        CBP_SYM(cbp_product_run)(&x, scratch);
        return;
    }
    run_tn(&x, scratch);
    if (colsum) column_sums(K, N, b, ldb, colsum, add);
}

size_t CBP_SYM(cbp_gemm_scratch)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K)
{
    size_t bytes = CBP_PACK_BYTES + CBP_AUX_BYTES;
    if (layout == CBP_TN) bytes += (size_t)tn_slots(tn_groups(M, N, K)) * (size_t)(M * N) * sizeof(T);
    return bytes;
}

/* ---- the oracle ---- */

/* One element: chains over groups of `size` k's, and the tree over them. */
static T element_ref(ptrdiff_t K, ptrdiff_t size, const T *a, ptrdiff_t a_k, const T *b, ptrdiff_t b_k, T init)
{
    T slot[64];
    int top = 0;
    for (ptrdiff_t group = 0; group == 0 || group * size < K; group++) {
        T acc = init;
        for (ptrdiff_t k = group * size; k < min_of(K, (group + 1) * size); k++)
            acc = cbp_fma(a[k * a_k], b[k * b_k], acc);
        slot[top++] = acc;
        for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--) slot[top - 2] += slot[top - 1];
    }
    for (; top > 1; top--) slot[top - 2] += slot[top - 1];
    return slot[0];
}

void CBP_SYM(cbp_gemm_ref)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                           const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                           void *colsum, void *scratch)
{
    (void)scratch;
    const ptrdiff_t a_m = layout == CBP_TN ? 1 : lda, a_k = layout == CBP_TN ? lda : 1;
    const ptrdiff_t b_n = layout == CBP_NT ? ldb : 1, b_k = layout == CBP_NT ? 1 : ldb;
    const ptrdiff_t rows = cbp_group_rows(K), all = K > 0 ? K : 1;
    const ptrdiff_t size = layout == CBP_TN && M * N <= CBP_ONE_GROUP_ABOVE ? rows : all;
    for (ptrdiff_t m = 0; m < M; m++)
        for (ptrdiff_t n = 0; n < N; n++) {
            T init = bias && layout != CBP_TN ? ((const T *)bias)[n] : 0;
            T sum = element_ref(K, size, (const T *)a + m * a_m, a_k, (const T *)b + n * b_n, b_k, init);
            T *out = (T *)c + m * ldc + n;
            *out = add ? *out + sum : sum;
        }
    if (layout != CBP_TN || !colsum) return;
    for (ptrdiff_t n = 0; n < N; n++) {
        const T one = 1;                       /* fma(1, g, acc) is acc + g, exactly */
        T sum = element_ref(K, rows, &one, 0, (const T *)b + n, ldb, 0);
        T *out = (T *)colsum + n;
        *out = add ? *out + sum : sum;
    }
}
