/* selftest.c: see selftest.h.
 *
 * A section is a function here and its name in the list of selftest.h.  What it wants it asks of the state
 * (selftest_state.h): numbers() and room() give memory, put() takes results.  Nothing here names an op.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")                /* it runs once */
#endif

#include "cumsum.h"
#include "integer.h"
#include "selftest_state.h"
#include "selftest_train.h"

/* ---- the elementwise tables ---- */

enum { RARE = 97, N_SIZES = 2 };
static const ptrdiff_t sizes[N_SIZES] = {67, 1000};
static const double params[2] = {0.25, 0.75};          /* any numbers will do */

/* A tangent goes through the same kernel as a cotangent: other numbers, the same product. */
static void unary(state *s)
{
    for (int at = 0; at < N_SIZES * cbp_n_unary && !s->status; at++, release(s)) {
        const int row = at / N_SIZES;
        const ptrdiff_t n = sizes[at % N_SIZES];
        const cbp_unary_info *info = cbp_unary_rows + row;
        const void *x = numbers(s, n, info->low, info->high, 5);
        const void *g = numbers(s, n, -2, 2, 6), *tx = numbers(s, n, -1, 1, 0);
        void *y = room(s, n), *d = room(s, n), *dx = numbers(s, n, -9, 9, RARE);
        if (s->status) break;
        s->k->unary(row, n, x, y, params);
        put(s, n, y);
        s->k->unary_vjp(row, n, kept_of(info, x, y), g, d, params, 0);
        put(s, n, d);
        s->k->unary_vjp(row, n, kept_of(info, x, y), tx, d, params, 0);
        put(s, n, d);
        s->k->unary_vjp(row, n, kept_of(info, x, y), g, dx, params, 1);
        put(s, n, dx);
    }
}

static void binary(state *s)
{
    for (int at = 0; at < 3 * N_SIZES * cbp_n_binary && !s->status; at++, release(s)) {
        const int row = at / (3 * N_SIZES), sa = at % 3 != 1, sb = at % 3 != 2;
        const ptrdiff_t n = sizes[at / 3 % N_SIZES];
        const cbp_binary_info *info = cbp_binary_rows + row;
        const void *a = numbers(s, n, info->a_low, info->a_high, 5), *b = numbers(s, n, info->b_low, info->b_high, 4);
        const void *g = numbers(s, n, -2, 2, 6), *t = numbers(s, n, -1, 1, 0);
        void *y = room(s, n), *d = room(s, n), *dx = numbers(s, n, -9, 9, RARE);
        if (s->status) break;
        s->k->binary(row, n, a, sa, b, sb, y);
        if (info->compares) {
            put_bytes(s, n, y);
            continue;
        }
        put(s, n, y);
        for (int side = 0; side < 2; side++) {
            s->k->binary_vjp(row, side, n, a, sa, b, sb, y, g, d, 0);
            put(s, n, d);
            s->k->binary_vjp(row, side, n, a, sa, b, sb, y, t, d, 0);
            put(s, n, d);
            s->k->binary_vjp(row, side, n, a, sa, b, sb, y, g, dx, 1);
            put(s, n, dx);
        }
    }
}

static void where(state *s)
{
    for (int at = 0; at < 8 * N_SIZES && !s->status; at++, release(s)) {
        const ptrdiff_t n = sizes[at % N_SIZES];
        const uint8_t *c = mask(s, n, 0.4);
        const void *a = numbers(s, n, -1, 1, 5), *b = numbers(s, n, -1, 1, 7);
        void *y = room(s, n);
        if (s->status) break;
        s->k->where(n, c, at >> 1 & 1, a, at >> 2 & 1, b, at >> 3 & 1, y);
        put(s, n, y);
    }
}

/* Each row of optim.def with every choice of its moments, some steps with their own hyper-parameters, all in (0, 1),
 * each of which is 0 once. */
static void optim(state *s)
{
    for (int row = 0; row < cbp_n_optim; row++) {
        const cbp_optim_info *info = cbp_optim_rows + row;
        const int choices = 1 << (info->moments - info->always);
        int hypers = 1;
        for (const char *c = info->hyper; *c; c++) hypers += *c == ',';
        for (int at = 0; at < N_SIZES * choices && !s->status; at++, release(s)) {
            const ptrdiff_t n = sizes[at % N_SIZES];
            void *m[3] = {NULL, NULL, NULL};
            for (int j = 0; j < info->moments; j++)
                if (j < info->always || (at / N_SIZES) >> (j - info->always) & 1) m[j] = numbers(s, n, 0, 1e-3, 0);
            for (int step = 0; step <= hypers && !s->status; step++) {
                double h[16];
                void *w = numbers(s, n, -1, 1, RARE);
                const void *g = numbers(s, n, -1, 1, step ? 0 : 9);
                if (s->status) break;
                cbp_rng_uniform_f64(KEY, s->drawn, 16, h);
                s->drawn += 16;
                if (step > 0) h[step - 1] = 0;
                s->k->optim(row, n, w, g, m[0], m[1], m[2], h);
                put(s, n, w);
                for (int j = 0; j < 3; j++)
                    if (m[j]) put(s, n, m[j]);
            }
        }
    }
}

/* ---- reductions and softmax ---- */

static void reduce(state *s)
{
    static const ptrdiff_t shapes[][3] = {          /* (B,K,N): tails, more than one block, more than one group */
        {1, 1, 1}, {5, 7, 1}, {17, 24, 1}, {33, 25, 3}, {3, 67, 2}, {18, 49, 1}, {4, 1000, 1}, {2, 1025, 5},
        {1, 4100, 1}, {1, 300, 70}, {2, 1100, 33}, {1, 67, 1000}, {3, 5, 300}};
    for (size_t at = 0; at < 3 * sizeof shapes / sizeof *shapes && !s->status; at++, release(s)) {
        const ptrdiff_t B = shapes[at / 3][0], K = shapes[at / 3][1], N = shapes[at / 3][2];
        static const int special_at[] = {0, RARE, 3};
        const void *x = numbers(s, B * K * N, -4, 4, special_at[at % 3]);
        void *y = room(s, B * K * N);
        int64_t *place = hold(s, (size_t)(B * N) * sizeof *place);
        if (s->status) break;
        s->k->sum_last(B * N, K, x, y);
        put(s, B * N, y);
        s->k->max_last(B * N, K, x, y);
        put(s, B * N, y);
        s->k->argmax_last(B * N, K, x, place);
        put_i64(s, B * N, place);
        s->k->sum_lead(B, K, N, x, y);
        put(s, B * N, y);
        s->k->max_lead(B, K, N, x, y);
        put(s, B * N, y);
    }
}

static void softmax(state *s)
{
    static const ptrdiff_t shapes[][2] = {{1, 1}, {5, 2}, {17, 10}, {16, 48}, {3, 49}, {4, 100}, {67, 7}, {2, 1030}};
    for (size_t at = 0; at < 2 * sizeof shapes / sizeof *shapes && !s->status; at++, release(s)) {
        const ptrdiff_t B = shapes[at / 2][0], C = shapes[at / 2][1];
        const void *x = numbers(s, B * C, -6, 6, at % 2 ? 61 : 0), *g = numbers(s, B, -1, 1, 3);
        void *y = room(s, B * C), *loss = room(s, B);
        int64_t *t = below(s, B, C);
        if (s->status) break;
        s->k->softmax(B, C, x, y);
        put(s, B * C, y);
        s->k->log_softmax(B, C, x, y);
        put(s, B * C, y);
        s->k->logsumexp(B, C, x, loss);
        put(s, B, loss);
        const int64_t ignore = at % 2 ? t[B / 2] : -1;
        put_bits(s, s->k->ce_fwd(B, C, x, t, ignore, loss, NULL, NULL, 0, NULL), 8);
        put(s, B, loss);
        put_bits(s, s->k->ce_fwd(B, C, x, t, ignore, loss, y, NULL, 0, NULL), 8);
        put(s, B * C, y);
        s->k->ce_vjp(B, C, y, t, ignore, g, y);
        put(s, B * C, y);
        put_bits(s, s->k->ce_fwd(B, C, x, t, ignore, loss, NULL, g, 1, y), 8);
        put(s, B * C, y);
        t[B - 1] = C;
        put_bits(s, s->k->ce_fwd(B, C, x, t, -1, loss, y, NULL, 0, NULL), 8);
    }
}

/* ---- products ---- */

static void gemm(state *s)
{
    static const ptrdiff_t shapes[][3] = {          /* M, N, K; the last is shared by three threads, TN in groups */
        {1, 1, 1}, {1, 10, 30}, {2, 3, 7}, {5, 30, 64}, {7, 1, 70}, {8, 2, 33}, {13, 17, 19}, {16, 16, 16},
        {31, 100, 5}, {67, 70, 66}, {70, 9, 67}, {3, 33, 1}, {6, 12, 130}, {1, 70, 67}, {64, 48, 40}, {4, 100, 2},
        {40, 1, 10}, {130, 6, 21}, {10, 30, 700}, {1, 200, 300}, {2, 300, 20}, {9, 5, 0},
        {11, 1, 390}, {5, 12, 257}, {128, 120, 800}};
    for (size_t at = 0; at < 6 * sizeof shapes / sizeof *shapes && !s->status; at++, release(s)) {
        const ptrdiff_t M = shapes[at / 6][0], N = shapes[at / 6][1], K = shapes[at / 6][2];
        const cbp_layout layout = (cbp_layout)(at % 3);
        const int add = at / 3 % 2;
        const ptrdiff_t pad = add ? 3 : 0;          /* rows that are a part of wider ones */
        const ptrdiff_t lda = (layout == CBP_TN ? M : K) + pad, ldb = (layout == CBP_NT ? K : N) + pad, ldc = N + pad;
        const void *a = numbers(s, lda * (layout == CBP_TN ? K : M), -1, 1, 0);
        const void *b = numbers(s, ldb * (layout == CBP_NT ? N : K), -1, 1, 0), *bias = numbers(s, N, -1, 1, 0);
        void *c = numbers(s, M * ldc, -1, 1, 0), *colsum = numbers(s, N, -1, 1, 0);
        void *scratch = scratch_of(s, s->k->gemm_scratch(layout, M, N, K));
        if (s->status) break;
        const int tn = layout == CBP_TN;
        s->k->gemm(layout, M, N, K, a, lda, b, ldb, tn || add ? NULL : bias, c, ldc, add, tn ? colsum : NULL, scratch);
        note_threads(s);
        put(s, M * ldc, c);
        put(s, N, colsum);
    }
}

static void batches(state *s)
{
    enum { BATCH = 5, M = 6, N = 3, K = 17 };
    for (int at = 0; at < 9 && !s->status; at++, release(s)) {
        const cbp_layout layout = (cbp_layout)(at % 3);
        const ptrdiff_t a_step = at / 3 == 1 ? 0 : M * K, b_step = at / 3 == 2 ? 0 : K * N;
        const void *a = numbers(s, BATCH * M * K, -1, 1, 0), *b = numbers(s, BATCH * K * N, -1, 1, 0);
        void *c = room(s, BATCH * M * N), *scratch = scratch_of(s, s->k->gemm_scratch(layout, M, N, K));
        if (s->status) break;
        s->k->gemm_batch(layout, BATCH, M, N, K, a, layout == CBP_TN ? M : K, a_step, b, layout == CBP_NT ? K : N, b_step,
                         c, N, M * N, scratch);
        put(s, BATCH * M * N, c);
    }
}

/* Each row as the activation of a small layer, and layers of some shapes without one. */
static void dense(state *s)
{
    static const ptrdiff_t shapes[][3] = {{5, 9, 7}, {1, 30, 10}, {67, 17, 2}, {66, 5, 33}, {300, 12, 20}};
    const int plain = (int)(sizeof shapes / sizeof *shapes);
    for (int at = 0; at < cbp_n_unary + plain && !s->status; at++, release(s)) {
        const int act = at < cbp_n_unary ? at : -1;
        const ptrdiff_t *shape = shapes[at < cbp_n_unary ? 0 : at - cbp_n_unary];
        const ptrdiff_t B = shape[0], I = shape[1], O = shape[2];
        const void *x = numbers(s, B * I, -1, 1, 0), *w = numbers(s, I * O, -1, 1, 0), *bias = numbers(s, O, -1, 1, 0);
        const void *g = numbers(s, B * O, -1, 1, 0);
        void *z = room(s, B * O), *y = room(s, B * O), *gz = room(s, B * O), *dx = room(s, B * I);
        void *dw = numbers(s, I * O, -1, 1, 0), *db = numbers(s, O, -1, 1, 0);
        void *scratch = scratch_of(s, s->k->dense_scratch(B, I, O));
        if (s->status) break;
        s->k->dense_fwd(B, I, O, x, w, bias, act, params, z, y, scratch);
        put(s, B * O, z);
        put(s, B * O, y);
        const void *kept = act < 0 ? NULL : kept_of(cbp_unary_rows + act, z, y);
        for (int add = 1; add >= 0; add--) {
            const int prev = add ? act : -1;           /* as if x had come from the same activation */
            s->k->dense_bwd(B, I, O, x, w, kept, g, act, params, gz, dx, dw, db, add, prev, params, x, scratch);
            put(s, B * I, dx);
            put(s, I * O, dw);
            put(s, O, db);
        }
    }
}

/* ---- integers, and sums along an axis ---- */

/* n integers of all sizes, with the smallest and largest, 0 and -1 among them where those are the operands of a division */
static int64_t *integers(state *s, ptrdiff_t n)
{
    static const int64_t edges[] = {0, -1, 1, INT64_MIN, INT64_MAX, -7};
    int64_t *x = below(s, n, INT64_MAX);
    for (ptrdiff_t i = 0; i < n && x; i++)
        x[i] = i % 3 == 2 ? edges[i / 3 % 6] : (x[i] >> (i * 7 % 60)) * (i % 2 ? -1 : 1);
    return x;
}

static void integer(state *s)
{
    s->drawn = s->dtype;                   /* other integers beside each float dtype */
    for (int at = 0; at < 4 * CBP_N_INTEGER && !s->status; at++, release(s)) {
        const ptrdiff_t n = 61, sa = at & 1, sb = at >> 1 & 1;
        const int64_t *a = integers(s, n), *b = cbp_integer_rows[at / 4].refuses ? below(s, n, 70) : integers(s, n);
        int64_t *y = hold(s, (size_t)n * sizeof *y), one;
        if (s->status) break;
        cbp_integer(at / 4, n, a, sa, b, sb, y);
        put_i64(s, n, y);
        cbp_reduce_i64(0, 1, n, 1, y, &one);
        put_i64(s, 1, &one);
        cbp_argmax_i64(1, n, y, &one);
        put_i64(s, 1, &one);
    }
}

static void cumsum(state *s)
{
    for (int at = 0; at < 4 && !s->status; at++, release(s)) {
        const ptrdiff_t B = 3, K = 37, N = at & 1 ? 5 : 1, n = B * K * N;
        void *x = numbers(s, n, -4, 4, RARE);
        if (s->status) break;
        cbp_cumsum(s->dtype, at >> 1, B, K, N, x, x);
        put(s, n, x);
    }
}

/* ---- the whole ---- */

#define NAME(section) #section,
#define RUN(section) section,
const char *const cbp_selftest_names[CBP_SELFTEST_SECTIONS] = {CBP_SELFTEST(NAME)};
static void (*const sections[CBP_SELFTEST_SECTIONS])(state *) = {CBP_SELFTEST(RUN)};

cbp_status cbp_selftest(const char *target, int threads, int64_t flip_at, int flip_bit, cbp_selftest_report *report)
{
    const int threads_before = cbp_get_num_threads();
    state s = {.flip_at = (uint64_t)flip_at, .flip_bit = flip_bit};
    memset(report, 0, sizeof *report);
    for (int i = 0; i < 2 * CBP_SELFTEST_SECTIONS && !s.status; i++) {
        const uint64_t before = s.count;
        s.dtype = i < CBP_SELFTEST_SECTIONS ? CBP_F32 : CBP_F64;
        s.k = cbp_table(target, s.dtype);
        if (!s.k) return CBP_OUT_OF_RANGE;
        report->fma = s.k->fma;
        s.hash = s.drawn = 0;
        cbp_set_num_threads(threads);
        sections[i % CBP_SELFTEST_SECTIONS](&s);
        release(&s);
        report->section[i] = s.hash;
        report->results[i] = s.count - before;
        report->total = mix(report->total, s.hash);
    }
    report->shared_by = s.shared_by;
    cbp_set_num_threads(threads_before);
    return s.status;
}
