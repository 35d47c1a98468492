/* elementwise.c: the loops of unary.def and binary.def, for one instruction set and one dtype.
 *
 * A formula is expanded here and vectorised by the compiler; `make check` proves that from the compiler's report.
 * A loop takes whole vectors only, so it holds no scalar copy of its formula; map.c pads what is left over.
 * Loops may run in place: the only overlap allowed is the same address, hence IVDEP.
 */
#include "elementwise.h"
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

/* What a loop counts with: the compiler sees that no rest is left. */
#define WHOLE(n, of) ((n) & -(ptrdiff_t)(of))

/* sin and cos of large arguments are right only in their slow, scalar form (vmath_trig.h).  A block with such an element
 * takes it throughout: the same text, with the names standing for the slow functions, the same bits elsewhere. */
#define IS_TRIG(text) (__builtin_strstr(text, "cbp_sin(") != NULL || __builtin_strstr(text, "cbp_cos(") != NULL)
#define SLOW_TRIG T (*const cbp_sin)(T) = cbp_sin_large, (*const cbp_cos)(T) = cbp_cos_large; (void)cbp_sin, (void)cbp_cos;

static int any_rare(ptrdiff_t n, const T *x)
{
    int rare = 0;
    for (ptrdiff_t i = 0; i < WHOLE(n, CBP_WHOLE); i++) rare |= CBP_RARE_sin(x[i]);
    return rare;
}

/* for i in [0, n): BODY, block by block where the text has a rare path */
#define EACH(text, x_, BODY)                                                                                    \
    const ptrdiff_t step = IS_TRIG(text) ? CBP_BLOCK : n;                                                       \
    for (ptrdiff_t k = 0; k < n; k += step) {                                                                   \
        const ptrdiff_t m = WHOLE(n - k < step ? n - k : step, CBP_WHOLE);                                      \
        if (IS_TRIG(text) && any_rare(m, x_ + k)) {                                                             \
            SLOW_TRIG for (ptrdiff_t i = k; i < k + m; i++) { BODY }                                            \
        } else {                                                                                                \
            IVDEP for (ptrdiff_t j = 0; j < m; j++) { const ptrdiff_t i = k + j; BODY }                         \
        }                                                                                                       \
    }

/* The same for quotients: of large ones, and of infinities, the remainder takes long division (vmath_mod.h). */
#define IS_QUOTIENT(text) (__builtin_strstr(text, "cbp_floor_divide(") != NULL || __builtin_strstr(text, "cbp_remainder(") != NULL)
#define SLOW_QUOTIENT \
    T (*const cbp_floor_divide)(T, T) = cbp_floor_divide_large, (*const cbp_remainder)(T, T) = cbp_remainder_large; \
    (void)cbp_floor_divide, (void)cbp_remainder;

static int any_rare_quotient(ptrdiff_t n, const T *a, const T *b)
{
    int rare = 0;
    for (ptrdiff_t i = 0; i < WHOLE(n, CBP_WHOLE); i++) rare |= CBP_RARE_quotient(a[i], b[i]);
    return rare;
}

#define EACH_PAIR(text, whole, BODY)                                                                            \
    const ptrdiff_t step = IS_QUOTIENT(text) ? CBP_BLOCK : n;                                                   \
    for (ptrdiff_t k = 0; k < n; k += step) {                                                                   \
        const ptrdiff_t m = WHOLE(n - k < step ? n - k : step, whole);                                          \
        if (IS_QUOTIENT(text) && any_rare_quotient(m, a_ + k, b_ + k)) {                                        \
            SLOW_QUOTIENT for (ptrdiff_t i = k; i < k + m; i++) { BODY }                                        \
        } else {                                                                                                \
            IVDEP for (ptrdiff_t j = 0; j < m; j++) { const ptrdiff_t i = k + j; BODY }                         \
        }                                                                                                       \
    }

/* ---- one argument ---- */

/* `keeps` brings exactly one name into the scope of df */
#define KEEP_X const T x = k_[i];
#define KEEP_Y const T y = k_[i];
#define KEEP_N

#define CBP_UNARY(name, keeps, params, f, df, low, high, kinks)                                                 \
    static void fwd_##name(ptrdiff_t n, const T *x_, T *y_, const double *p)                                    \
    {                                                                                                           \
        (void)p;                                                                                                \
        params                                                                                                  \
        EACH(#f, x_, const T x = x_[i]; y_[i] = (f);)                                                           \
    }                                                                                                           \
    static void vjp_##name(ptrdiff_t n, const T *k_, const T *g_, T *d_, const double *p)                       \
    {                                                                                                           \
        (void)p, (void)k_;                                                                                      \
        params                                                                                                  \
        EACH(#df, k_, KEEP_##keeps const T g = g_[i]; d_[i] = APPLY(df);)                                       \
    }
#define CBP_HELPER CBP_UNARY
#include "unary.def"
#undef CBP_UNARY

#define CBP_UNARY(name, ...) {fwd_##name, vjp_##name},
const cbp_unary_loops CBP_SYM(cbp_unary_loops)[] = {
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

#define FORWARD(name, f, OUT, whole)                                                                            \
    static void fwd_##name(ptrdiff_t n, const T *a_, const T *b_, void *y_v)                                    \
    {                                                                                                           \
        OUT *y_ = y_v;                                                                                          \
        EACH_PAIR(#f, whole, LOAD_AB y_[i] = (OUT)(f);)                                                         \
    }
/* operands that the slope does not read are never loaded: their pointers may be NULL */
#define SIDE(fname, text, keeps, SLOPE)                                                                         \
    static void fname(ptrdiff_t n, const T *a_, const T *b_, const T *y_, const T *g_, T *d_)                   \
    {                                                                                                           \
        (void)a_, (void)b_, (void)y_;                                                                           \
        EACH_PAIR(text, CBP_WHOLE, LOAD_##keeps const T g = g_[i]; d_[i] = SLOPE;)                              \
    }

#define CBP_BINARY(name, f, ka, da, kb, db, ...) \
    FORWARD(name, f, T, CBP_WHOLE) SIDE(da_##name, #da, ka, APPLY(da)) SIDE(db_##name, #db, kb, APPLY(db))
#define CBP_STRONG(name, f, ka, da, kb, db, ...) \
    FORWARD(name, f, T, CBP_WHOLE) SIDE(da_##name, #da, ka, APPLY(da)) SIDE(db_##name, #db, kb, cbp_zero_mul(db, g))
#define CBP_COMPARE(name, f) FORWARD(name, f, uint8_t, CBP_WHOLE_BYTES)
#include "binary.def"
#undef CBP_BINARY
#undef CBP_STRONG
#undef CBP_COMPARE

#define CBP_STRONG CBP_BINARY
#define CBP_BINARY(name, ...) {fwd_##name, {da_##name, db_##name}},
#define CBP_COMPARE(name, f) {fwd_##name, {NULL, NULL}},
const cbp_binary_loops CBP_SYM(cbp_binary_loops)[] = {
#include "binary.def"
};

/* y[i] = c[i] ? a[i] : b[i] */
void CBP_SYM(cbp_select_loop)(ptrdiff_t n, const uint8_t *c_, const T *a_, const T *b_, T *y_)
{
    IVDEP for (ptrdiff_t i = 0; i < WHOLE(n, CBP_WHOLE_BYTES); i++) y_[i] = c_[i] ? a_[i] : b_[i];
}
