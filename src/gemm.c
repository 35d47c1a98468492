/* gemm.c: c = a b, a b^T, a^T b.  Formula, shapes and layouts: cbp.h.  The order of every sum: ADR "The same bits".
 *
 * NN and NT are one product (gemm_block.h); TN cuts its K rows into groups, one product each, summed by the fixed tree.
 * With threads each runs a slab of c on its own.  The plain triple loop at the end says the same and is the oracle.
 */
#include "gemm_block.h"
#include "pool.h"

/* ---- TN: the groups of rows ---- */

/* dst (M,N) = src or dst + src */
static void put(ptrdiff_t M, ptrdiff_t N, T *dst, ptrdiff_t dst_ld, const T *src, ptrdiff_t src_ld, int add)
{
    for (ptrdiff_t m = 0; m < M; m++, dst += dst_ld, src += src_ld)
        for (ptrdiff_t n = 0; n < N; n++) dst[n] = add ? dst[n] + src[n] : src[n];
}

/* How TN cuts its K rows, and the buffers of the binary counter: one for each bit of the number of groups. */
static ptrdiff_t tn_groups(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K)
{
    return M * N > CBP_ONE_GROUP_ABOVE ? 1 : cbp_groups(K);
}
static ptrdiff_t tn_slots(ptrdiff_t groups)
{
    ptrdiff_t slots = 0;
    if (groups > 1)
        for (; groups; groups /= 2) slots++;
    return slots;
}

static void run_groups(const cbp_product *x, ptrdiff_t groups, T *slot, T *scratch)
{
    const ptrdiff_t size = cbp_group_rows(x->K), MN = x->M * x->N;
    ptrdiff_t top = 0;
    for (ptrdiff_t group = 0; group < groups; group++) {
        cbp_product y = *x;
        y.K = min_of(size, x->K - group * size);
        y.p += group * size * x->p_k;
        y.q += group * size * x->q_ld;
        y.c = slot + top++ * MN;
        y.c_ld = x->N;
        y.add = 0;
        run_serial(&y, scratch);
        for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--)
            put(1, MN, slot + (top - 2) * MN, MN, slot + (top - 1) * MN, MN, 1);
    }
    for (; top > 1; top--) put(1, MN, slot + (top - 2) * MN, MN, slot + (top - 1) * MN, MN, 1);
    put(x->M, x->N, x->c, x->c_ld, slot, x->N, x->add);
}

/* One block of up to 4 vectors of columns. */
CBP_INLINE void column_block(const int cols, VM last, ptrdiff_t K, const T *g, ptrdiff_t g_ld, T *sums, int add)
{
    V slot[60][4];
    const ptrdiff_t size = cbp_group_rows(K), groups = cbp_groups(K);
    int top = 0;
    for (ptrdiff_t group = 0; group < groups; group++) {
        V acc[4];
        CBP_UNROLL
        for (int v = 0; v < cols; v++) acc[v] = v_zero();
        const ptrdiff_t end = min_of(K, (group + 1) * size);
        for (ptrdiff_t k = group * size; k < end; k++) {
            CBP_UNROLL
            for (int v = 0; v < cols; v++) {
                const T *row = g + k * g_ld + v * VL;
                acc[v] = v_add(acc[v], v < cols - 1 ? v_load(row) : v_load_m(row, last));
            }
        }
        for (ptrdiff_t i = group + 1; i % 2 == 0; i /= 2, top--)
            for (int v = 0; v < cols; v++) acc[v] = v_add(slot[top - 1][v], acc[v]);
        for (int v = 0; v < cols; v++) slot[top][v] = acc[v];
        top++;
    }
    for (; top > 1; top--)
        for (int v = 0; v < cols; v++) slot[top - 2][v] = v_add(slot[top - 2][v], slot[top - 1][v]);
    for (int v = 0; v < cols; v++) {
        T *to = sums + v * VL;
        const VM mask = v < cols - 1 ? v_mask(VL) : last;
        v_store_m(to, mask, add ? v_add(v_load_m(to, mask), slot[0][v]) : slot[0][v]);
    }
}

/* Column sums of g (K,N): one chain of plain additions from 0 for each of cbp_groups(K) groups, then the tree: the bits of
 * sum_lead(1, K, N). */
static void column_sums(ptrdiff_t K, ptrdiff_t N, const T *g, ptrdiff_t g_ld, T *sums, int add)
{
    ptrdiff_t n = 0;
    for (; n + 4 * VL <= N; n += 4 * VL) column_block(4, v_mask(VL), K, g + n, g_ld, sums + n, add);
    for (; n < N; n += VL) column_block(1, v_mask(min_of(VL, N - n)), K, g + n, g_ld, sums + n, add);
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
    if (all->along_n) {
        slot += slots * at * y.M;
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
    if (x->M <= 0 || x->N <= 0) return;
    if (work < 2 * CBP_MADDS_A_THREAD || cbp_get_num_threads() < 2) {
        run_part(&all, 0);
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

void CBP_SYM(cbp_gemm)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                       const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                       void *colsum, void *scratch)
{
    const int tn = layout == CBP_TN;
    cbp_product x = {.M = M, .N = N, .K = K, .p = a, .p_row = tn ? 1 : lda, .p_k = tn ? lda : 1, .q = b, .q_ld = ldb,
                     .q_by_column = layout == CBP_NT, .bias = tn ? NULL : bias, .c = c, .c_ld = ldc, .add = add};
    run(&x, tn ? tn_groups(M, N, K) : 1, scratch);
    if (tn && colsum) column_sums(K, N, b, ldb, colsum, add);
}

size_t CBP_SYM(cbp_gemm_scratch)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K)
{
    const ptrdiff_t slots = layout == CBP_TN ? tn_slots(tn_groups(M, N, K)) : 0;
    return (size_t)(SERIAL + slots * M * N) * sizeof(T);
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
