/* dense.c: y = act(x w + bias) and its backward.  Shapes and letters: cbp.h.  The products: gemm.c.
 *
 * The activation runs on finished rows of the product while they are in L1; the bias starts the accumulators.
 */
#include "gemm.h"
#include "pool.h"

#include <string.h>

#define ELEMENTWISE(name) extern __typeof__(*((cbp_kernels *)0)->name) CBP_SYM(cbp_##name);
ELEMENTWISE(unary)
ELEMENTWISE(unary_vjp)

void CBP_SYM(cbp_gemm)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                       const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                       void *colsum, void *scratch);
size_t CBP_SYM(cbp_gemm_scratch)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K);

typedef struct {
    int act;
    const double *p;
    const T *z;
    T *y;
    ptrdiff_t O;
} activation;

static void activate(void *ctx, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t o0, ptrdiff_t o1)
{
    const activation *f = ctx;
    if (o1 - o0 == f->O) {
        CBP_SYM(cbp_unary)(f->act, (b1 - b0) * f->O, f->z + b0 * f->O, f->y + b0 * f->O, f->p);
        return;
    }
    for (ptrdiff_t b = b0; b < b1; b++) CBP_SYM(cbp_unary)(f->act, o1 - o0, f->z + b * f->O + o0, f->y + b * f->O + o0, f->p);
}

void CBP_SYM(cbp_dense_fwd)(ptrdiff_t B, ptrdiff_t I, ptrdiff_t O, const void *x, const void *w, const void *bias,
                            int act, const double *p, void *z, void *y, void *scratch)
{
    T *product = z ? z : y;
    activation f = {.act = act, .p = p, .z = product, .y = y, .O = O};
    cbp_product xw = {.M = B, .N = O, .K = I, .p = x, .p_row = I, .p_k = 1, .q = w, .q_ld = O, .bias = bias,
                      .dots = cbp_dots(CBP_NN, O, I), .c = product, .c_ld = O};
    if (act >= 0) {
        xw.done = activate;
        xw.ctx = &f;
    }
    CBP_SYM(cbp_product_run)(&xw, scratch);
    if (act < 0 && z && B > 0 && O > 0) memcpy(y, z, (size_t)(B * O) * sizeof(T));
}

/* out = strong_mul(g, act'(kept)), all (B,N) */
typedef struct {
    int act;
    const double *p;
    const T *kept, *g;
    T *out;
    ptrdiff_t N;
} slopes;

static void slope_block(void *ctx, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t n0, ptrdiff_t n1)
{
    const slopes *f = ctx;
    const ptrdiff_t whole = n1 - n0 == f->N, rows = whole ? 1 : b1 - b0, n = whole ? (b1 - b0) * f->N : n1 - n0;
    for (ptrdiff_t r = 0, at = b0 * f->N + n0; r < rows; r++, at += f->N)
        CBP_SYM(cbp_unary_vjp)(f->act, n, f->kept ? f->kept + at : NULL, f->g + at, f->out + at, f->p, 0);
}

/* act < 0: gz is g; it is copied only where the caller gives another buffer for it. */
static const T *gradient_of_z(ptrdiff_t n, const void *kept, const void *g, int act, const double *p, void *gz)
{
    if (act >= 0) {
        CBP_SYM(cbp_unary_vjp)(act, n, kept, g, gz, p, 0);
        return gz;
    }
    if (gz && gz != g && n > 0) memcpy(gz, g, (size_t)n * sizeof(T));
    return g;
}

void CBP_SYM(cbp_dense_bwd)(ptrdiff_t B, ptrdiff_t I, ptrdiff_t O, const void *x, const void *w, const void *kept,
                            const void *g, int act, const double *p, void *gz, void *dx, void *dw, void *db, int add,
                            int prev, const double *prev_p, const void *prev_kept, void *scratch)
{
    const T *s = gradient_of_z(B * O, kept, g, act, p, gz);
    /* forward: z[b,o] += x[b,i] * w[i,o]   so:  dw = x^T gz, dx = gz w^T;   z[b,o] += bias[o]   so:  db = sum_B gz */
    if (dw || db) CBP_SYM(cbp_gemm)(CBP_TN, dw ? I : 0, O, B, x, I, s, O, NULL, dw, O, add, db, scratch);
    if (!dx) return;
    slopes f = {.act = prev, .p = prev_p, .kept = prev_kept, .g = dx, .out = dx, .N = I};
    cbp_product gw = {.M = B, .N = I, .K = O, .p = s, .p_row = O, .p_k = 1, .q = w, .q_ld = O, .q_by_column = 1,
                      .dots = cbp_dots(CBP_NT, I, O), .c = dx, .c_ld = I};
    if (prev >= 0) {
        gw.done = slope_block;
        gw.ctx = &f;
    }
    CBP_SYM(cbp_product_run)(&gw, scratch);
}

size_t CBP_SYM(cbp_dense_scratch)(ptrdiff_t B, ptrdiff_t I, ptrdiff_t O)
{
    size_t most = CBP_SYM(cbp_gemm_scratch)(CBP_NN, B, O, I);
    size_t dw = CBP_SYM(cbp_gemm_scratch)(CBP_TN, I, O, B), dx = CBP_SYM(cbp_gemm_scratch)(CBP_NT, B, I, O);
    most = dw > most ? dw : most;
    return dx > most ? dx : most;
}
