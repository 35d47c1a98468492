/* cbp.h: what every kernel shares: types, status codes, the kernel table, the legend of letters.
 *
 * Axis letters, here and nowhere else:  B batch   I in   O out   C classes   K reduced   N elements
 * Data letters:  x, w, y as in the maths;  g the incoming cotangent;  dx, dw, db cotangents;  tx a tangent.
 *
 * Nothing in src/ includes Python.h, prints, exits, or allocates inside a kernel.
 *
 * Each kernel source is compiled once for every pair (instruction set, dtype). The build passes
 *     CBP_TARGET = base | avx2 | avx512        and        CBP_BITS = 32 | 64
 * and the text below turns them into T (the element type) and CBP_SYM(name) (the symbol of this pair).
 * Sources compiled once (dispatch.c, store.c, pool.c, ...) get neither.
 */
#ifndef CBP_H
#define CBP_H

#include <stddef.h>
#include <stdint.h>

typedef enum { CBP_F32, CBP_F64, CBP_I64, CBP_BOOL, CBP_N_DTYPES } cbp_dtype;
typedef enum { CBP_OK, CBP_NOMEM, CBP_OUT_OF_RANGE, CBP_GUARD, CBP_STOPPED, CBP_BAD_FILE } cbp_status;

enum { CBP_MAX_DIMS = 8, CBP_LANES = 16, CBP_LANE_BLOCK = 1024 };

/* ---- products ---- */

/* NN: c = a b, a (M,K), b (K,N).   NT: c = a b^T, b (N,K).   TN: c = a^T b, a (K,M). */
typedef enum { CBP_NN, CBP_NT, CBP_TN } cbp_layout;

struct cbp_chain;

typedef struct cbp_kernels {
    const char *target;                 /* "base", "avx2", "avx512" */
    int bits, fma;

    /* Elementwise rows, by their place in unary.def and binary.def.
     * p: the row's scalar parameters, in the order of the table.  Operand strides sa, sb are 1, or 0 for one number.
     * Outputs may be an operand (the same address).  add: dx = dx + the rounded product.
     *
     * y[i] = f(x[i]) */
    void (*unary)(int row, ptrdiff_t n, const void *x, void *y, const double *p);
    /* forward: y = f(x)   so:  dx[i] = strong_mul(g[i], df(kept[i])).  kept is x or y, as the row says (not read when it
     * keeps nothing).  The tangent is the same product, so this is the JVP too. */
    void (*unary_vjp)(int row, ptrdiff_t n, const void *kept, const void *g, void *dx, const double *p, int add);
    /* y[i] = f(a[i], b[i]).  Comparisons write one byte an element. */
    void (*binary)(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y);
    /* forward: y = f(a, b)   so:  dx[i] = strong_mul(g[i], d(a, b, y)) for one side (0: a, 1: b). */
    void (*binary_vjp)(int row, int side, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb,
                       const void *y, const void *g, void *dx, int add);

    /* Rows one after the other, block by block.  in, out: n elements each; single[k]: input k is one number.
     * scratch: cbp_chain_scratch bytes. */
    void (*chain)(const struct cbp_chain *c, ptrdiff_t n, const void *const *in, const uint8_t *single, void *const *out,
                  void *scratch);

    /* One update of n parameters in one pass over w, g and up to three moments (NULL where the row has none).
     * h: the hyper-parameters, in the order of the row in optim.def. */
    void (*optim)(int row, ptrdiff_t n, void *w, const void *g, void *m1, void *m2, void *m3, const double *h);

    /* y[i] = c[i*sc] ? a[i*sa] : b[i*sb];  c bytes, strides 0 or 1 */
    void (*where)(ptrdiff_t n, const uint8_t *c, ptrdiff_t sc, const void *a, ptrdiff_t sa,
                  const void *b, ptrdiff_t sb, void *y);

    /* reduce.c.  The order of every sum is fixed by its shape: ADR "The same bits". */
    void (*sum_last)(ptrdiff_t B, ptrdiff_t K, const void *x, void *y);                /* (B,K) -> (B) */
    void (*sum_lead)(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const void *x, void *y);   /* (B,K,N) -> (B,N) */
    void (*max_last)(ptrdiff_t B, ptrdiff_t K, const void *x, void *y);
    void (*max_lead)(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const void *x, void *y);
    void (*argmax_last)(ptrdiff_t B, ptrdiff_t K, const void *x, int64_t *y);

    /* softmax.c, all over the last axis of (B,C) */
    void (*softmax)(ptrdiff_t B, ptrdiff_t C, const void *x, void *y);
    void (*log_softmax)(ptrdiff_t B, ptrdiff_t C, const void *x, void *y);
    void (*logsumexp)(ptrdiff_t B, ptrdiff_t C, const void *x, void *y);
    /* loss[b] = logsumexp(x[b]) - x[b, t[b]], p = softmax(x); t[b] == ignore gives loss 0 and is skipped.
     * CBP_OUT_OF_RANGE if any other t[b] is outside [0, C): nothing was written then.
     * p may be NULL.  dx (may be NULL): what ce_vjp makes of p and g[b * sg], sg 0 or 1, in the same pass. */
    cbp_status (*ce_fwd)(ptrdiff_t B, ptrdiff_t C, const void *x, const int64_t *t, int64_t ignore,
                         void *loss, void *p, const void *g, ptrdiff_t sg, void *dx);
    /* forward: loss[b] = -log p[b, t[b]]   so:  dx[b,c] = g[b] * (p[b,c] - (c == t[b])), strong zero in g[b] */
    void (*ce_vjp)(ptrdiff_t B, ptrdiff_t C, const void *p, const int64_t *t, int64_t ignore,
                   const void *g, void *dx);

    /* gemm.c.  c (M,N) = (bias ? bias[n] : 0) + product, each element one FMA chain in k order, or a few (cbp_dots); TN
     * over K rows in groups (cbp_groups) and a fixed tree.  add: c = c + product, the product finished first.
     * colsum (TN only, may be NULL): (N) sums over the K rows of b in the same groups; add applies to it too.
     * lda, ldb, ldc: row strides in elements.  scratch: gemm_scratch(...) bytes, 64-byte aligned. */
    void (*gemm)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                 const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                 void *colsum, void *scratch);
    void (*gemm_ref)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, ptrdiff_t lda,
                     const void *b, ptrdiff_t ldb, const void *bias, void *c, ptrdiff_t ldc, int add,
                     void *colsum, void *scratch);
    size_t (*gemm_scratch)(cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K);
    /* c[i] = a[i] b[i] for i in [0, batch), each with the bits of gemm; matrices lie a_step, b_step, c_step elements apart,
     * 0 for one that all share (not c).  scratch: that of one product. */
    void (*gemm_batch)(cbp_layout layout, ptrdiff_t batch, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a,
                       ptrdiff_t lda, ptrdiff_t a_step, const void *b, ptrdiff_t ldb, ptrdiff_t b_step, void *c,
                       ptrdiff_t ldc, ptrdiff_t c_step, void *scratch);

    /* TN over rows [at, at + K) of a group of `of`: c and colsum (either may be NULL) are what the rows before them gave,
     * at > 0, or undefined, and become the group's sums with its last row.  scratch: gemm_scratch bytes. */
    void (*gemm_part)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const void *a, const void *b, void *c, void *colsum,
                      ptrdiff_t at, ptrdiff_t of, void *scratch);

    /* dense.c.  y = act(x w + bias); act < 0: none.  z (may be NULL) gets x w + bias, needed where act keeps X. */
    void (*dense_fwd)(ptrdiff_t B, ptrdiff_t I, ptrdiff_t O, const void *x, const void *w, const void *bias,
                      int act, const double *p, void *z, void *y, void *scratch);
    /* forward: y = act(x w + bias)   so: gz = strong_mul(g, act'(kept)), dx = gz w^T, dw = x^T gz, db = sum_B gz.
     * dx, dw, db may be NULL; add applies to dw and db.  kept: y or z as act says.  gz (B,O) is written.
     * x = prev(...) of the layer before, where prev >= 0: dx is that layer's gz, strong_mul(dx, prev'(prev_kept)), slope
     * and product in one pass; prev_p its parameters, prev_kept (B,I) what it kept. */
    void (*dense_bwd)(ptrdiff_t B, ptrdiff_t I, ptrdiff_t O, const void *x, const void *w, const void *kept,
                      const void *g, int act, const double *p, void *gz, void *dx, void *dw, void *db, int add,
                      int prev, const double *prev_p, const void *prev_kept, void *scratch);
    size_t (*dense_scratch)(ptrdiff_t B, ptrdiff_t I, ptrdiff_t O);
} cbp_kernels;

/* ---- the groups of rows that every sum over axis 0 is cut into; bounds depend on the row count alone ---- */

static inline ptrdiff_t cbp_group_rows(ptrdiff_t rows)
{
    ptrdiff_t size = (rows / 16 + 63) / 64 * 64;      /* about sixteen groups to share among threads ... */
    return size < 256 ? 256 : size > 1024 ? 1024 : size;   /* ... none too small to pay, none too long to trust */
}
static inline ptrdiff_t cbp_groups(ptrdiff_t rows)
{
    ptrdiff_t size = cbp_group_rows(rows);
    return rows <= 0 ? 1 : (rows + size - 1) / size;
}
/* The tree over group sums s[0..G): for d = 1, 2, 4, ...: s[i] += s[i + d] for i = 0, 2d, 4d, ... while i + d < G.
 * (Done as a binary counter it needs log2(G) + 1 buffers: same additions, same order.)
 * A weight gradient of more than this many elements is summed as one group; its output tiles are shared out instead. */
enum { CBP_ONE_GROUP_ABOVE = 16384 };

/* ---- what a source compiled per (target, dtype) sees ---- */

#ifdef CBP_TARGET
#define CBP_PASTE3_(a, b, c) a##_##b##_##c
#define CBP_PASTE3(a, b, c) CBP_PASTE3_(a, b, c)
#if CBP_BITS == 32
typedef float T;
#define CBP_SYM(name) CBP_PASTE3(name, f32, CBP_TARGET)
#define CBP_MATH(name) __builtin_##name##f
#else
typedef double T;
#define CBP_SYM(name) CBP_PASTE3(name, f64, CBP_TARGET)
#define CBP_MATH(name) __builtin_##name
#endif

static inline T K(double c) { return (T)c; }    /* a constant of the row's dtype */

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define CBP_HAS_FMA 1
static inline T cbp_fma(T a, T b, T c) { return CBP_MATH(fma)(a, b, c); }
#else
#define CBP_HAS_FMA 0
static inline T cbp_fma(T a, T b, T c) { return a * b + c; }
#endif

/* Products that are a few dot products of long rows, K >= 256: NT of at most 12 columns, NN of one.  There chain l of an
 * element takes k = l, l + CBP_CHAINS, ...; chain 0 starts from the bias, the others from +0; they are added in order. */
enum { CBP_DOTS_K = 256, CBP_DOTS_N = 12, CBP_CHAINS = 16 / sizeof(T) };
static inline int cbp_dots(cbp_layout layout, ptrdiff_t N, ptrdiff_t K)
{
    return K >= CBP_DOTS_K && (layout == CBP_NT ? N <= CBP_DOTS_N : layout == CBP_NN && N == 1);
}

/* 0 where g is exactly 0, else g * d: a dead branch stays dead beside inf and NaN. */
static inline T cbp_strong_mul(T g, T d) { return g == 0 ? 0 : g * d; }
#endif

#endif
