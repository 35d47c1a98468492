/* plain.h: plain loops for one dtype, T; kernels.c includes it twice.  Letters as in cbp.h. */

static T *OF(random)(ptrdiff_t n)
{
    T *x = get((size_t)n * sizeof(T));
    OF(cbp_rng_normal)(11, drawn, n, x);
    drawn += (uint64_t)n;
    return x;
}
static T *OF(copy)(ptrdiff_t n, const T *x) { return memcpy(get((size_t)n * sizeof(T)), x, (size_t)n * sizeof(T)); }

/* equal to the bit, any NaN for any other */
static int OF(equal)(ptrdiff_t n, const T *a, const T *b)
{
    for (ptrdiff_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof(T)) != 0 && !(a[i] != a[i] && b[i] != b[i])) return 0;
    return 1;
}
static int OF(near)(double got, double wanted, double ulps)
{
    const double tolerance = ulps * EPS * fmax(fabs(wanted), 1e-30);
    return got == wanted || (isnan(got) && isnan(wanted)) || fabs(got - wanted) <= tolerance;
}
static T OF(tree)(ptrdiff_t n, T *s)
{
    for (ptrdiff_t d = 1; d < n; d *= 2)
        for (ptrdiff_t i = 0; i + d < n; i += 2 * d) s[i] += s[i + d];
    return n ? s[0] : 0;
}

/* ---- elementwise: an element alone is what it is in its row, with any strides; added slopes are rounded first ---- */

static void OF(unary)(const cbp_kernels *k, int row, ptrdiff_t n)
{
    static const double p[2] = {0.25, 0.75};
    const cbp_unary_info *info = cbp_unary_rows + row;
    T *x = OF(random)(n), *g = OF(random)(n), *y = get((size_t)n * sizeof(T)), *d = get((size_t)n * sizeof(T));
    T *sum = OF(random)(n), *before = OF(copy)(n, sum), one;
    for (ptrdiff_t i = 0; i < n; i++) x[i] = (T)(info->low + (info->high - info->low) * (1 / (1 + exp(-(double)x[i]))));
    x[n / 2] = (T)INFINITY, x[n / 3] = 0;
    k->unary(row, n, x, y, p);
    const T *kept = *info->keeps == 'X' ? x : *info->keeps == 'Y' ? y : NULL;
    k->unary_vjp(row, n, kept, g, d, p, 0);
    k->unary_vjp(row, n, kept, g, sum, p, 1);
    for (ptrdiff_t i = 0; i < n; i++) {
        k->unary(row, 1, x + i, &one, p);
        CHECK(OF(equal)(1, y + i, &one), "%s alone at %td of %td", info->name, i, n);
        k->unary_vjp(row, 1, kept ? kept + i : NULL, g + i, &one, p, 0);
        CHECK(OF(equal)(1, d + i, &one), "slope of %s alone at %td of %td", info->name, i, n);
        one = before[i] + d[i];
        CHECK(OF(equal)(1, sum + i, &one), "slope of %s added at %td of %td", info->name, i, n);
    }
    free(x), free(g), free(y), free(d), free(sum), free(before);
}

static void OF(binary)(const cbp_kernels *k, int row, ptrdiff_t n, int sa, int sb)
{
    const cbp_binary_info *info = cbp_binary_rows + row;
    T *a = OF(random)(n), *b = OF(random)(n), *g = OF(random)(n), *y = get((size_t)n * sizeof(T)), one;
    T *d = get((size_t)n * sizeof(T)), *sum = OF(random)(n), *before = OF(copy)(n, sum);
    const uint8_t *bytes = (uint8_t *)y;
    uint8_t byte;
    b[n / 2] = a[n / 2], a[n / 3] = 0;
    k->binary(row, n, a, sa, b, sb, y);
    for (ptrdiff_t i = 0; i < n; i++) {
        k->binary(row, 1, a + i * sa, 1, b + i * sb, 1, info->compares ? (void *)&byte : (void *)&one);
        CHECK(info->compares ? bytes[i] == byte : OF(equal)(1, y + i, &one), "%s alone at %td of %td", info->name, i,
              n);
    }
    for (int side = 0; side < 2 && !info->compares; side++) {
        k->binary_vjp(row, side, n, a, sa, b, sb, y, g, d, 0);
        memcpy(sum, before, (size_t)n * sizeof(T));
        k->binary_vjp(row, side, n, a, sa, b, sb, y, g, sum, 1);
        for (ptrdiff_t i = 0; i < n; i++) {
            k->binary_vjp(row, side, 1, a + i * sa, 1, b + i * sb, 1, y + i, g + i, &one, 0);
            CHECK(OF(equal)(1, d + i, &one), "slope %d of %s alone at %td of %td", side, info->name, i, n);
            one = before[i] + d[i];
            CHECK(OF(equal)(1, sum + i, &one), "slope %d of %s added at %td of %td", side, info->name, i, n);
        }
    }
    free(a), free(b), free(g), free(y), free(d), free(sum), free(before);
}

static void OF(where)(const cbp_kernels *k, ptrdiff_t n, int strides)
{
    const int sc = strides & 1, sa = strides >> 1 & 1, sb = strides >> 2;
    T *a = OF(random)(n), *b = OF(random)(n), *y = get((size_t)n * sizeof(T));
    uint8_t *c = get((size_t)n);
    cbp_rng_mask(11, drawn, n, 0.5, c);
    k->where(n, c, sc, a, sa, b, sb, y);
    for (ptrdiff_t i = 0; i < n; i++)
        CHECK(OF(equal)(1, y + i, c[i * sc] ? a + i * sa : b + i * sb), "where at %td of %td", i, n);
    free(a), free(b), free(c), free(y);
}

/* The C library's functions, in double; for float64 its own errors are in the tolerance. */
static void OF(functions)(const cbp_kernels *k)
{
    static const struct { const char *name; double (*f)(double); } known[] = {
        {"exp", exp}, {"expm1", expm1}, {"log", log}, {"log1p", log1p}, {"sqrt", sqrt}, {"sin", sin}, {"cos", cos},
        {"tanh", tanh}, {"erf", erf}};
    enum { N = 500 };
    for (size_t f = 0; f < sizeof known / sizeof *known; f++) {
        const int row = row_called(known[f].name);
        T x[N], y[N];
        OF(cbp_rng_uniform)(11, drawn, N, x);
        for (int i = 0; i < N; i++)
            x[i] = (T)(cbp_unary_rows[row].low + (cbp_unary_rows[row].high - cbp_unary_rows[row].low) * (double)x[i]);
        k->unary(row, N, x, y, NULL);
        for (int i = 0; i < N; i++)
            CHECK(OF(near)((double)y[i], known[f].f((double)x[i]), 5), "%s(%.17g) = %.17g", known[f].name, (double)x[i],
                  (double)y[i]);
    }
}

/* ---- reductions, in their documented order ---- */

static T OF(sum_last)(ptrdiff_t K, const T *x)
{
    T *block = get((size_t)(K / CBP_LANE_BLOCK + 1) * sizeof(T));
    ptrdiff_t blocks = 0;
    for (ptrdiff_t from = 0; from < K; from += CBP_LANE_BLOCK) {
        T s[CBP_LANES] = {0};
        for (ptrdiff_t i = from; i < least(K, from + CBP_LANE_BLOCK); i++) s[(i - from) % CBP_LANES] += x[i];
        for (int d = CBP_LANES / 2; d > 0; d /= 2)
            for (int l = 0; l < d; l++) s[l] += s[l + d];
        block[blocks++] = s[0];
    }
    T sum = OF(tree)(blocks, block);
    free(block);
    return sum;
}
static T OF(sum_lead)(ptrdiff_t K, ptrdiff_t N, const T *x)
{
    const ptrdiff_t size = cbp_group_rows(K), groups = cbp_groups(K);
    T *s = get((size_t)groups * sizeof(T));
    for (ptrdiff_t group = 0; group < groups; group++) {
        s[group] = 0;
        for (ptrdiff_t i = group * size; i < least(K, (group + 1) * size); i++) s[group] += x[i * N];
    }
    T sum = OF(tree)(groups, s);
    free(s);
    return sum;
}
/* NaN wins, a zero is +0; *place: the first NaN, else the first largest */
static T OF(max)(ptrdiff_t K, ptrdiff_t step, const T *x, int64_t *place)
{
    *place = 0;
    for (ptrdiff_t i = 1; i < K; i++) {
        const T m = x[*place * step], v = x[i * step];
        if (m == m && (v > m || v != v)) *place = i;
    }
    return x[*place * step] + 0;
}

static void OF(reduce)(const cbp_kernels *k, ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, int nan)
{
    T *x = OF(random)(B * K * N), *y = get((size_t)(B * N) * sizeof(T)), want;
    int64_t *at = get((size_t)(B * N) * sizeof *at), place;
    for (ptrdiff_t i = 0; i < B * K * N; i += 3) x[i] = i % 2 ? (T)-0. : 0;
    if (nan) x[B * K * N / 2] = (T)NAN;
    k->sum_lead(B, K, N, x, y);
    for (ptrdiff_t i = 0; i < B * N; i++) {
        want = OF(sum_lead)(K, N, x + i / N * K * N + i % N);
        CHECK(OF(equal)(1, y + i, &want), "sum_lead %tdx%tdx%td", B, K, N);
    }
    if (K > 0) k->max_lead(B, K, N, x, y);
    for (ptrdiff_t i = 0; i < B * N && K > 0; i++) {
        want = OF(max)(K, N, x + i / N * K * N + i % N, &place);
        CHECK(OF(equal)(1, y + i, &want), "max_lead %tdx%tdx%td", B, K, N);
    }
    k->sum_last(B * N, K, x, y);
    for (ptrdiff_t i = 0; i < B * N; i++) {
        want = OF(sum_last)(K, x + i * K);
        CHECK(OF(equal)(1, y + i, &want), "sum_last %tdx%td", B * N, K);
    }
    if (K > 0) k->max_last(B * N, K, x, y), k->argmax_last(B * N, K, x, at);
    for (ptrdiff_t i = 0; i < B * N && K > 0; i++) {
        want = OF(max)(K, 1, x + i * K, &place);
        CHECK(OF(equal)(1, y + i, &want), "max_last %tdx%td", B * N, K);
        CHECK(at[i] == place, "argmax_last %tdx%td", B * N, K);
    }
    free(x), free(y), free(at);
}

/* ---- softmax and its relatives, in double ---- */

static void OF(softmax)(const cbp_kernels *k, ptrdiff_t B, ptrdiff_t C)
{
    T *x = OF(random)(B * C), *p = get((size_t)(B * C) * sizeof(T)), *log_p = get((size_t)(B * C) * sizeof(T));
    T *sum = get((size_t)B * sizeof(T)), *loss = get((size_t)B * sizeof(T)), *g = OF(random)(B);
    T *pc = get((size_t)(B * C) * sizeof(T)), *dx = get((size_t)(B * C) * sizeof(T));
    int64_t *t = get((size_t)B * sizeof *t);
    cbp_rng_below(11, drawn, B, C, t);
    t[0] = -7;
    g[B / 2] = 0;
    k->softmax(B, C, x, p), k->log_softmax(B, C, x, log_p), k->logsumexp(B, C, x, sum);
    CHECK(k->ce_fwd(B, C, x, t, -7, loss, pc, NULL, 0, NULL) == CBP_OK, "targets refused");
    k->ce_vjp(B, C, pc, t, -7, g, dx);
    CHECK(OF(equal)(B * C, p, pc), "cross-entropy's softmax, %tdx%td", B, C);
    for (ptrdiff_t b = 0; b < B; b++) {
        double m = -INFINITY, total = 0;
        for (ptrdiff_t c = 0; c < C; c++) m = fmax(m, (double)x[b * C + c]);
        for (ptrdiff_t c = 0; c < C; c++) total += exp((double)x[b * C + c] - m);
        const double lse = m + log(total), size = fabs(m) + log(total) + 1;
        CHECK(fabs((double)sum[b] - lse) < 8 * EPS * size, "logsumexp %tdx%td", B, C);
        const double wanted = t[b] < 0 ? 0 : lse - (double)x[b * C + t[b]];
        CHECK(fabs((double)loss[b] - wanted) < 8 * EPS * (size + fabs(wanted)), "cross-entropy %tdx%td", B, C);
        for (ptrdiff_t c = 0; c < C; c++) {
            const double v = (double)x[b * C + c], q = (double)p[b * C + c];
            CHECK(fabs(q - exp(v - lse)) < 32 * EPS * exp(v - lse), "softmax %tdx%td", B, C);
            CHECK(fabs((double)log_p[b * C + c] - (v - lse)) < 8 * EPS * (size + fabs(v)), "log_softmax %tdx%td", B, C);
            const T one = t[b] < 0 ? 0 : g[b] * (p[b * C + c] - (T)(c == t[b])), got = dx[b * C + c];
            CHECK(one == got, "cross-entropy's slope %tdx%td", B, C);
        }
    }
    t[B - 1] = C;
    CHECK(k->ce_fwd(B, C, x, t, -7, loss, pc, NULL, 0, NULL) == CBP_OUT_OF_RANGE, "a target out of range was accepted");
    free(x), free(p), free(log_p), free(sum), free(loss), free(g), free(pc), free(dx), free(t);
}

/* ---- update rules: one parameter in double (kernels.c has them), the kernel's row by its name ---- */

static void OF(optim)(const cbp_kernels *k, int row, int moments)
{
    enum { N = 67 };
    const cbp_optim_info *info = cbp_optim_rows + row;
    T *m[3] = {NULL, NULL, NULL}, *w = OF(random)(N), *w_old = OF(copy)(N, w), *g = OF(random)(N), *m_old[3];
    double h[16];
    hyper_of(info, h);
    for (int j = 0; j < 3; j++) {
        m_old[j] = OF(random)(N);
        /* squares are not negative, and their mean is above the mean's square */
        for (int i = 0; i < N; i++)
            m_old[j][i] = (T)(j == 1 ? 0.5 / (1 + fabs((double)m_old[j][i])) : 4 + fabs((double)m_old[j][i]));
        if (moments >> j & 1) m[j] = OF(copy)(N, m_old[j]);
    }
    k->optim(row, N, w, g, m[0], m[1], m[2], h);
    for (int i = 0; i < N; i++) {
        double v[3] = {(double)m_old[0][i], (double)m_old[1][i], (double)m_old[2][i]};
        const double after = update(info->name, moments, h, (double)w_old[i], (double)g[i], v);
        CHECK(fabs((double)w[i] - after) < 16 * EPS * (1 + fabs(after)), "%s, moments %d: %.9g, not %.9g", info->name,
              moments, (double)w[i], after);
        for (int j = 0; j < 3; j++)
            CHECK(!m[j] || fabs((double)m[j][i] - v[j]) < 16 * EPS * (1 + fabs(v[j])), "moment %d of %s", j,
                  info->name);
    }
    for (int j = 0; j < 3; j++) free(m[j]), free(m_old[j]);
    free(w), free(w_old), free(g);
}

#include "plain_products.h"

static void OF(every_kernel)(const cbp_kernels *k)
{
    static const ptrdiff_t sizes[] = {1, 3, 16, 67, 300};
    for (int i = 0; i < 5; i++) {
        for (int row = 0; row < cbp_n_unary; row++) OF(unary)(k, row, sizes[i]);
        for (int row = 0; row < cbp_n_binary; row++)
            for (int sa = 0; sa < 4; sa++) OF(binary)(k, row, sizes[i], sa & 1, sa >> 1);
        for (int strides = 0; strides < 8; strides++) OF(where)(k, sizes[i], strides);
    }
    OF(functions)(k);
    static const ptrdiff_t reduced[][3] = {{1, 1, 1}, {5, 7, 1}, {17, 24, 1}, {33, 25, 3}, {18, 49, 2}, {4, 1000, 1},
                                           {2, 1025, 5}, {1, 4500, 1}, {1, 9000, 3}, {1, 300, 70},
                                           {2, 3, 300}, {3, 0, 2}};
    for (int i = 0; i < 24; i++) {
        const ptrdiff_t *shape = reduced[i / 2];
        OF(reduce)(k, shape[0], shape[1], shape[2], shape[1] && i % 2);
    }
    static const ptrdiff_t classes[][2] = {{1, 1}, {5, 2}, {17, 10}, {16, 48}, {3, 49}, {4, 100}, {2, 1030}};
    for (int i = 0; i < 7; i++) OF(softmax)(k, classes[i][0], classes[i][1]);
    static const ptrdiff_t some[] = {1, 2, 3, 5, 10, 17, 30, 33, 70, 100};
    for (int i = 0; i < 1000 * 3; i++)
        OF(gemm)(k, (cbp_layout)(i % 3), some[i / 3 % 10], some[i / 30 % 10], some[i / 300], i / 3 % 2, i % 5);
    static const ptrdiff_t large[][3] = {{130, 120, 520}, {20, 30, 1500}, {128, 130, 700}, {3, 700, 40}, {9, 5, 0},
                                         {11, 1, 390}, {5, 12, 257}, {40, 7, 1100}};
    for (int i = 0; i < 24; i++) {
        const ptrdiff_t *shape = large[i / 3];
        OF(gemm)(k, (cbp_layout)(i % 3), shape[0], shape[1], shape[2], i % 2, i % 4);
    }
    for (int act = -1; act < cbp_n_unary; act++) {
        OF(dense)(k, 5, 9, 7, act, act & 1);
        OF(dense)(k, 67, 12, 33, act, !(act & 1));
    }
    for (int row = 0; row < cbp_n_optim; row++)
        for (int choice = 0; choice < 1 << (cbp_optim_rows[row].moments - cbp_optim_rows[row].always); choice++)
            OF(optim)(k, row, choice << cbp_optim_rows[row].always | ((1 << cbp_optim_rows[row].always) - 1));
}

#undef T
#undef OF
#undef EPS
