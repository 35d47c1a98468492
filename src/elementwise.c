/* elementwise.c: the loops of unary.def and binary.def, for one instruction set and one dtype.
 *
 * A formula is expanded here and vectorised by the compiler; `make check` proves that from the compiler's report.
 * Loops may run in place: the only overlap allowed is the same address, hence IVDEP.
 */
#include "cbp.h"
#include "vmath.h"

#if defined(__clang__)
#define IVDEP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define IVDEP _Pragma("GCC ivdep")
#else
#define IVDEP
#endif

/* a function, not a macro: both branches are evaluated, so that a loop of it is a blend */
static inline T where(int c, T a, T b) { return c ? a : b; }

/* 0 where either is exactly 0: the slope of strong_mul with respect to its second argument */
static inline T cbp_zero_mul(T a, T b) { return (a == 0) | (b == 0) ? 0 : a * b; }

/* strong_mul(g, df) as the design has it: a df that is where(k, a, b) selects between products; a literal 0 gives 0,
 * a literal 1 gives g.  CBP_IS_where turns a leading `where` into a probe that shifts the argument list by one. */
#define LITERAL(text, digit) (sizeof(#text) == 2 && (#text)[0] == digit)
#define PRODUCT(d) (LITERAL(d, '0') ? (T)0 : LITERAL(d, '1') ? g : cbp_strong_mul(g, d))
#define SECOND_(a, b, ...) b
#define SECOND(...) SECOND_(__VA_ARGS__)
#define CBP_IS_where(k, a, b) ~, where((k), APPLY_INNER(a), APPLY_INNER(b))
#define CBP_INNER_where(k, a, b) ~, where((k), PRODUCT(a), PRODUCT(b))
#define APPLY_INNER(d) SECOND(CBP_INNER_##d, PRODUCT(d), ~)
#define APPLY(d) SECOND(CBP_IS_##d, PRODUCT(d), ~)

#define NONE
#define P1(n0, d0) const T n0 = K(p[0]);
#define P2(n0, d0, n1, d1) const T n0 = K(p[0]), n1 = K(p[1]);

/* sin and cos of large arguments are right only in their slow, scalar form (vmath_trig.h).  A block with such an element
 * takes it throughout: the same text, with the names standing for the slow functions, the same bits elsewhere. */
enum { BLOCK = 256 };                     /* elements: a few lines of L1, and calls of a row cost little beside it */
#define IS_TRIG(text) (__builtin_strstr(text, "cbp_sin(") != NULL || __builtin_strstr(text, "cbp_cos(") != NULL)
#define SLOW_TRIG T (*const cbp_sin)(T) = cbp_sin_large, (*const cbp_cos)(T) = cbp_cos_large; (void)cbp_sin, (void)cbp_cos;

static int any_rare(ptrdiff_t n, const T *x)
{
    int rare = 0;
    for (ptrdiff_t i = 0; i < n; i++) rare |= CBP_RARE_sin(x[i]);
    return rare;
}

/* for i in [0, n): BODY, block by block where the text has a rare path */
#define EACH(text, x_, BODY)                                                                                    \
    const ptrdiff_t step = IS_TRIG(text) ? BLOCK : n;                                                           \
    for (ptrdiff_t k = 0; k < n; k += step) {                                                                   \
        const ptrdiff_t end = n - k < step ? n : k + step;                                                      \
        if (IS_TRIG(text) && any_rare(end - k, x_ + k)) {                                                       \
            SLOW_TRIG for (ptrdiff_t i = k; i < end; i++) { BODY }                                              \
        } else {                                                                                                \
            IVDEP for (ptrdiff_t i = k; i < end; i++) { BODY }                                                  \
        }                                                                                                       \
    }

/* ---- one argument ---- */

/* `keeps` brings exactly one name into the scope of df */
#define KEEP_X const T x = k_[i];
#define KEEP_Y const T y = k_[i];
#define KEEP_N

#define CBP_UNARY(name, keeps, params, f, df, low, high, kinks)                                                 \
    static void fwd_##name(ptrdiff_t n, const void *x_v, void *y_v, const double *p)                            \
    {                                                                                                           \
        const T *x_ = x_v;                                                                                      \
        T *y_ = y_v;                                                                                            \
        (void)p;                                                                                                \
        params                                                                                                  \
        EACH(#f, x_, const T x = x_[i]; y_[i] = (f);)                                                           \
    }                                                                                                           \
    static void vjp_##name(ptrdiff_t n, const void *k_v, const void *g_v, void *d_v, const double *p)           \
    {                                                                                                           \
        const T *k_ = k_v, *g_ = g_v;                                                                           \
        T *d_ = d_v;                                                                                            \
        (void)p, (void)k_;                                                                                      \
        params                                                                                                  \
        EACH(#df, k_, KEEP_##keeps const T g = g_[i]; d_[i] = APPLY(df);)                                       \
    }
#define CBP_HELPER CBP_UNARY
#include "unary.def"
#undef CBP_UNARY
#define CBP_UNARY(name, ...) fwd_##name,
const cbp_unary_fwd CBP_SYM(cbp_unary_fwd_table)[] = {
#include "unary.def"
};
#undef CBP_UNARY
#define CBP_UNARY(name, ...) vjp_##name,
const cbp_unary_vjp CBP_SYM(cbp_unary_vjp_table)[] = {
#include "unary.def"
};

/* ---- two arguments ---- */

/* `keeps` again: a, b and y exist only where the row says so */
#define LOAD_N
#define LOAD_A const T a = a_[i];
#define LOAD_B const T b = b_[i];
#define LOAD_Y const T y = y_[i];
#define LOAD_AB LOAD_A LOAD_B
#define LOAD_BY LOAD_B LOAD_Y
#define LOAD_ABY LOAD_A LOAD_B LOAD_Y

#define FORWARD(name, f, OUT)                                                                                   \
    static void fwd_##name(ptrdiff_t n, const void *a_v, const void *b_v, void *y_v)                            \
    {                                                                                                           \
        const T *a_ = a_v, *b_ = b_v;                                                                           \
        OUT *y_ = y_v;                                                                                          \
        IVDEP for (ptrdiff_t i = 0; i < n; i++) { LOAD_AB y_[i] = (OUT)(f); }                          \
    }
/* operands that the slope does not read are never loaded: their pointers may be NULL */
#define SIDE(fname, keeps, SLOPE)                                                                               \
    static void fname(ptrdiff_t n, const void *a_v, const void *b_v, const void *y_v, const void *g_v, void *d_v) \
    {                                                                                                           \
        const T *a_ = a_v, *b_ = b_v, *y_ = y_v, *g_ = g_v;                                                     \
        T *d_ = d_v;                                                                                            \
        (void)a_, (void)b_, (void)y_;                                                                           \
        IVDEP for (ptrdiff_t i = 0; i < n; i++) { LOAD_##keeps const T g = g_[i]; d_[i] = SLOPE; }              \
    }

#define CBP_BINARY(name, f, ka, da, kb, db, ...) FORWARD(name, f, T) SIDE(da_##name, ka, APPLY(da)) SIDE(db_##name, kb, APPLY(db))
#define CBP_STRONG(name, f, ka, da, kb, db, ...) \
    FORWARD(name, f, T) SIDE(da_##name, ka, APPLY(da)) SIDE(db_##name, kb, cbp_zero_mul(db, g))
#define CBP_COMPARE(name, f) FORWARD(name, f, uint8_t)
#include "binary.def"
#undef CBP_BINARY
#undef CBP_STRONG
#undef CBP_COMPARE

#define CBP_STRONG CBP_BINARY
#define CBP_BINARY(name, ...) fwd_##name,
#define CBP_COMPARE(name, f) fwd_##name,
const cbp_binary_fwd CBP_SYM(cbp_binary_fwd_table)[] = {
#include "binary.def"
};
#undef CBP_BINARY
#undef CBP_COMPARE
#define CBP_BINARY(name, ...) da_##name,
#define CBP_COMPARE(name, f) NULL,
const cbp_binary_vjp CBP_SYM(cbp_binary_da_table)[] = {
#include "binary.def"
};
#undef CBP_BINARY
#define CBP_BINARY(name, ...) db_##name,
const cbp_binary_vjp CBP_SYM(cbp_binary_db_table)[] = {
#include "binary.def"
};

/* ---- what the rows share: added slopes, operands that are one number ---- */

static ptrdiff_t block_of(ptrdiff_t left) { return left < BLOCK ? left : BLOCK; }

static void add_to(ptrdiff_t n, T *restrict d, const T *restrict slope)
{
    for (ptrdiff_t i = 0; i < n; i++) d[i] = d[i] + slope[i];
}

/* dx = dx + strong_mul(g, df(kept)): the product is rounded before it is added, as if it had been stored. */
void CBP_SYM(cbp_unary_vjp_add)(int row, ptrdiff_t n, const void *kept, const void *g, void *dx, const double *p)
{
    T slope[BLOCK];
    for (ptrdiff_t i = 0; i < n; i += BLOCK) {
        const ptrdiff_t m = block_of(n - i);
        CBP_SYM(cbp_unary_vjp_table)[row](m, kept ? (const T *)kept + i : NULL, (const T *)g + i, slope, p);
        add_to(m, (T *)dx + i, slope);
    }
}

/* An operand of stride 0 is spread over a block once, so that every row needs one loop only. */
typedef struct { T room[BLOCK]; const T *at; ptrdiff_t step; } operand;

static void spread(operand *o, ptrdiff_t n, const void *x, ptrdiff_t stride)
{
    o->at = x;
    o->step = stride ? BLOCK : 0;
    if (x && !stride && n > 0) {
        for (ptrdiff_t i = 0; i < block_of(n); i++) o->room[i] = *(const T *)x;
        o->at = o->room;
    }
}

#undef CBP_BINARY
#undef CBP_COMPARE
enum { N_WITH_VALUES =                    /* rows that write T; comparisons come after them and write bytes */
#define CBP_BINARY(...) 1 +
#define CBP_COMPARE(...)
#include "binary.def"
0 };
#undef CBP_BINARY
#undef CBP_COMPARE

void CBP_SYM(cbp_binary_map)(int row, ptrdiff_t n, const void *a_v, ptrdiff_t sa, const void *b_v, ptrdiff_t sb, void *y)
{
    const ptrdiff_t item = row < N_WITH_VALUES ? (ptrdiff_t)sizeof(T) : 1;
    operand a, b;
    spread(&a, n, a_v, sa);
    spread(&b, n, b_v, sb);
    for (ptrdiff_t i = 0; i < n; i += BLOCK, a.at += a.step, b.at += b.step)
        CBP_SYM(cbp_binary_fwd_table)[row](block_of(n - i), a.at, b.at, (char *)y + i * item);
}

void CBP_SYM(cbp_binary_vjp)(int row, int side, ptrdiff_t n, const void *a_v, ptrdiff_t sa, const void *b_v,
                             ptrdiff_t sb, const void *y, const void *g, void *dx, int add)
{
    const cbp_binary_vjp kernel = (side ? CBP_SYM(cbp_binary_db_table) : CBP_SYM(cbp_binary_da_table))[row];
    operand a, b;
    T slope[BLOCK];
    spread(&a, n, a_v, sa);
    spread(&b, n, b_v, sb);
    for (ptrdiff_t i = 0; i < n; i += BLOCK) {
        const ptrdiff_t m = block_of(n - i);
        T *d = (T *)dx + i;
        kernel(m, a.at, b.at, y ? (const T *)y + i : NULL, (const T *)g + i, add ? slope : d);
        if (add) add_to(m, d, slope);
        if (a.at) a.at += a.step;         /* no arithmetic on NULL */
        if (b.at) b.at += b.step;
    }
}

/* ---- selection ---- */

/* y[i] = c[i] ? a[i] : b[i].  Everything dense, or one number, is the case worth a vector loop. */
void CBP_SYM(cbp_where)(ptrdiff_t n, const uint8_t *c, ptrdiff_t sc, const void *a_v, ptrdiff_t sa,
                        const void *b_v, ptrdiff_t sb, void *y_v)
{
    T *y_ = y_v;
    operand a, b;
    spread(&a, n, a_v, sa);
    spread(&b, n, b_v, sb);
    for (ptrdiff_t k = 0; k < n; k += BLOCK, a.at += a.step, b.at += b.step) {
        const T *a_ = a.at, *b_ = b.at;
        const ptrdiff_t m = block_of(n - k);
        if (sc) {
            IVDEP for (ptrdiff_t i = 0; i < m; i++) y_[k + i] = c[k + i] ? a_[i] : b_[i];
        } else {
            IVDEP for (ptrdiff_t i = 0; i < m; i++) y_[k + i] = *c ? a_[i] : b_[i];
        }
    }
}
