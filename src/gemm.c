/* gemm.c: c = a b, a b^T, a^T b.  Formula, shapes and layouts: cbp.h.  The order of every sum: ADR "The same bits".
 *
 * NN and NT are one product (gemm_block.h); TN cuts its K rows into groups, one product each, summed by the fixed tree.
 * With threads each runs a slab of c on its own.  The plain triple loop at the end says the same and is the oracle.
 */
#include "gemm_block.h"
#include "pool.h"

/* ---- TN: the groups of rows ---- */

/* How TN cuts its K rows, and the buffers of the binary counter: one for each bit of the number of groups. */
static ptrdiff_t tn_groups(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K)
{
    return M * N > CBP_ONE_GROUP_ABOVE ? 1 : cbp_groups(K);
}
static ptrdiff_t bits(ptrdiff_t groups)
{
    ptrdiff_t slots = 0;
    for (; groups; groups /= 2) slots++;
    return slots;
}
static ptrdiff_t tn_slots(ptrdiff_t groups) { return groups > 1 ? bits(groups) : 0; }

static void run_groups(const cbp_product *x, ptrdiff_t groups, T *slot, T *scratch)
{
    const ptrdiff_t size = cbp_group_rows(x->K), MN = x->M * x->N;
    ptrdiff_t top = 0;
    for (ptrdiff_t group = 0; group < groups; group++) {
        cbp_product y = *x;
        y.K = min_of(size, x->K - group * size);
        y.p += group * size * x->p_k;
        y.q += group * size * x->q_ld;
        y.k_at = group * size;
        y.c = slot + top++ * MN;
        y.c_ld = x->N;
        y.add = 0;
        run_serial(&y, scratch);
        for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--)
            add_row(MN, slot + (top - 2) * MN, slot + (top - 1) * MN, 1);
    }
    for (; top > 1; top--) add_row(MN, slot + (top - 2) * MN, slot + (top - 1) * MN, 1);
    for (ptrdiff_t m = 0; m < x->M; m++) add_row(x->N, x->c + m * x->c_ld, slot + m * x->N, x->add);
}

/* ---- threads: c is cut along one axis; nothing about an element's chain depends on the cut ---- */

/* Multiply-adds below which another thread is not worth waking: it costs 20-40 us on a busy machine (a 128x256x128 product,
 * 80 us, came out slower on two threads; 128x256x784 gains 1.4-1.7).  The tests set it low. */
#ifndef CBP_MADDS_A_THREAD
#define CBP_MADDS_A_THREAD 4e6
#endif

typedef struct {
    const cbp_product *x;
    ptrdiff_t groups, step;
    int along_n;
    T *scratch;                    /* the submitter's: packing space, then the slots of all parts */
} parts;

static void run_part(void *ctx, ptrdiff_t i)
{
    const parts *all = ctx;
    cbp_product y = *all->x;
    T *slot = all->scratch + SERIAL, *own = cbp_worker_scratch();
    const ptrdiff_t at = i * all->step, slots = tn_slots(all->groups);
    cbp_sums sums = {0};
    if (y.sums) {
        sums = *y.sums;
        y.sums = all->along_n || at == 0 ? &sums : NULL;
    }
    if (all->along_n) {
        slot += slots * at * y.M;
        sums.to += y.sums ? at : 0;
        sums.slot += y.sums ? at * bits(cbp_groups(sums.K)) : 0;
        y.q += at * (y.q_by_column ? y.q_ld : 1);
        y.bias += y.bias ? at : 0;
        y.c += at;
        y.n_at = at;
        y.N = min_of(all->step, y.N - at);
    } else {
        slot += slots * at * y.N;
        y.p += at * y.p_row;
        y.c += at * y.c_ld;
        y.m_at = at;
        y.M = min_of(all->step, y.M - at);
    }
    T *scratch = own ? own : all->scratch;
    if (slots) run_groups(&y, all->groups, slot, scratch);
    else run_serial(&y, scratch);
}

static void run(const cbp_product *x, ptrdiff_t groups, T *scratch)
{
    _Static_assert(SERIAL * sizeof(T) <= CBP_WORKER_SCRATCH, "a pool worker's scratch holds what one thread packs");
    parts all = {.x = x, .groups = groups, .step = x->M, .scratch = scratch};
    const double work = (double)x->M * (double)x->N * (double)x->K;
    if ((x->M <= 0 && !x->sums) || x->N <= 0) return;
    if (work < 2 * CBP_MADDS_A_THREAD || cbp_get_num_threads() < 2) {
        T *own = cbp_worker_scratch();
        if (tn_slots(groups)) run_groups(x, groups, scratch + SERIAL, own ? own : scratch);
        else run_serial(x, own ? own : scratch);
        return;
    }
    /* Twice as many parts as threads where they are long, so that a late worker costs little. */
    const double most = work / CBP_MADDS_A_THREAD, threads = (double)cbp_get_num_threads();
    const ptrdiff_t count = (ptrdiff_t)(most < threads ? most : most < 16 * threads ? threads : 2 * threads);
    /* Along n every part packs its own q once; along m all pack the same q, so m only where n is too short. */
    all.along_n = x->N >= count * 4 * NV * VL || x->M < count * MR;
    const ptrdiff_t size = all.along_n ? x->N : x->M, unit = all.along_n ? VL : MR;
    all.step = ((size + count - 1) / count + unit - 1) / unit * unit;
    cbp_parallel(run_part, &all, (size + all.step - 1) / all.step);
}

void CBP_SYM(cbp_product_run)(const cbp_product *x, void *scratch)
{
    run(x, 1, scratch);
}

/* ---- the three layouts ---- */

static cbp_product product_of(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                              const void *b, ptrdiff_t ldb, void *c, ptrdiff_t ldc)
{
    const int tn = layout == CBP_TN;
    return (cbp_product){.M = M, .N = N, .K = K, .p = a, .p_row = tn ? 1 : lda, .p_k = tn ? lda : 1, .q = b, .q_ld = ldb,
                         .q_by_column = layout == CBP_NT, .dots = cbp_dots(layout, N, K), .c = c, .c_ld = ldc};
}

void CBP_SYM(cbp_gemm)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                       const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                       void *colsum, void *scratch)
{
    const int tn = layout == CBP_TN;
    const ptrdiff_t groups = tn ? tn_groups(M, N, K) : 1;
    cbp_product x = product_of(layout, M, N, K, a, lda, b, ldb, c, ldc);
    const cbp_sums sums = {.to = colsum, .add = add, .K = K, .rows = cbp_group_rows(K),
                           .slot = (T *)scratch + SERIAL + tn_slots(groups) * M * N};
    x.bias = tn ? NULL : bias;
    x.add = add;
    x.sums = tn && colsum ? &sums : NULL;
    run(&x, groups, scratch);
}

void CBP_SYM(cbp_gemm_part)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, const void *b, void *c, void *colsum,
                            ptrdiff_t at, ptrdiff_t of, void *scratch)
{
    cbp_product x = product_of(CBP_TN, c ? M : 0, N, K, a, M, b, N, c, N);
    const cbp_sums sums = {.to = colsum, .K = of, .rows = of, .slot = colsum};
    T *own = cbp_worker_scratch();
    if (K <= 0) return;
    x.carry = at > 0;
    x.k_at = at;
    x.sums = colsum ? &sums : NULL;
    run_serial(&x, own ? own : scratch);
}

size_t CBP_SYM(cbp_gemm_scratch)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K)
{
    const ptrdiff_t tn = layout == CBP_TN, slots = tn * tn_slots(tn_groups(M, N, K)), sums = tn * bits(cbp_groups(K));
    return (size_t)(SERIAL + slots * M * N + sums * N) * sizeof(T);
}

/* ---- many small products ---- */

typedef struct {
    const cbp_product *x;
    ptrdiff_t batch, step, a_step, b_step, c_step;
    T *scratch;
} many;

static cbp_product one_of(const many *all, ptrdiff_t i)
{
    cbp_product x = *all->x;
    x.p += i * all->a_step;
    x.q += i * all->b_step;
    x.c += i * all->c_step;
    return x;
}

static void run_some(void *ctx, ptrdiff_t part)
{
    const many *all = ctx;
    T *own = cbp_worker_scratch();
    for (ptrdiff_t i = part * all->step; i < min_of(all->batch, (part + 1) * all->step); i++) {
        const cbp_product x = one_of(all, i);
        run_serial(&x, own ? own : all->scratch);
    }
}

void CBP_SYM(cbp_gemm_batch)(cbp_layout layout, ptrdiff_t batch, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K,
                             const void *a, ptrdiff_t lda, ptrdiff_t a_step, const void *b, ptrdiff_t ldb,
                             ptrdiff_t b_step, void *c, ptrdiff_t ldc, ptrdiff_t c_step, void *scratch)
{
    const cbp_product x = product_of(layout, M, N, K, a, lda, b, ldb, c, ldc);
    const ptrdiff_t groups = layout == CBP_TN ? tn_groups(M, N, K) : 1, threads = cbp_get_num_threads();
    const double work = (double)batch * (double)M * (double)N * (double)K;
    many all = {.x = &x, .batch = batch, .step = batch, .a_step = a_step, .b_step = b_step, .c_step = c_step,
                .scratch = scratch};
    if (M <= 0 || N <= 0 || batch <= 0) return;
    if (groups > 1 || (work >= 2 * CBP_MADDS_A_THREAD && batch < 2 * threads)) {
        for (ptrdiff_t i = 0; i < batch; i++) {
            const cbp_product y = one_of(&all, i);
            run(&y, groups, scratch);
        }
        return;
    }
    if (work >= 2 * CBP_MADDS_A_THREAD && threads > 1) {
        const double most = work / CBP_MADDS_A_THREAD;
        const ptrdiff_t count = most < 2 * (double)threads ? (ptrdiff_t)most : 2 * threads;
        all.step = (batch + count - 1) / count;
    }
    cbp_parallel(run_some, &all, (batch + all.step - 1) / all.step);
}

/* ---- the oracle ---- */

/* The k's below `end` from `k` on, `step` apart, as one chain. */
static T chain_ref(ptrdiff_t k, ptrdiff_t end, ptrdiff_t step, const T *a, ptrdiff_t a_k, const T *b, ptrdiff_t b_k, T acc)
{
    for (; k < end; k += step) acc = cbp_fma(a[k * a_k], b[k * b_k], acc);
    return acc;
}

/* One element: chains over groups of `size` k's, and the tree over them. */
static T element_ref(ptrdiff_t K, ptrdiff_t size, const T *a, ptrdiff_t a_k, const T *b, ptrdiff_t b_k, T init)
{
    T slot[64];
    int top = 0;
    for (ptrdiff_t group = 0; group == 0 || group * size < K; group++) {
        slot[top++] = chain_ref(group * size, min_of(K, (group + 1) * size), 1, a, a_k, b, b_k, init);
        for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--) slot[top - 2] += slot[top - 1];
    }
    for (; top > 1; top--) slot[top - 2] += slot[top - 1];
    return slot[0];
}

/* One element in the chains of cbp_dots. */
static T dots_ref(ptrdiff_t K, const T *a, ptrdiff_t a_k, const T *b, ptrdiff_t b_k, T init)
{
    T sum = chain_ref(0, K, CBP_CHAINS, a, a_k, b, b_k, init);
    for (ptrdiff_t l = 1; l < CBP_CHAINS; l++) sum += chain_ref(l, K, CBP_CHAINS, a, a_k, b, b_k, 0);
    return sum;
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
            const T *row = (const T *)a + m * a_m, *column = (const T *)b + n * b_n;
            T sum = cbp_dots(layout, N, K) ? dots_ref(K, row, a_k, column, b_k, init)
                                           : element_ref(K, size, row, a_k, column, b_k, init);
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
