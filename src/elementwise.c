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

/* strong_mul(g, df) as the design has it: a df that is where(k, a, b) selects between products; a literal 0 gives 0,
 * a literal 1 gives g.  CBP_IS_where turns a leading `where` into a probe that shifts the argument list by one. */
#define LITERAL(text, digit) (sizeof(#text) == 2 && (#text)[0] == digit)
#define PRODUCT(d) (LITERAL(d, '0') ? (T)0 : LITERAL(d, '1') ? g : cbp_strong_mul(g, d))
#define SECOND_(a, b, ...) b
#define SECOND(...) SECOND_(__VA_ARGS__)
#define CBP_IS_where(k, a, b) ~, ((k) ? APPLY_INNER(a) : APPLY_INNER(b))
#define CBP_INNER_where(k, a, b) ~, ((k) ? PRODUCT(a) : PRODUCT(b))
#define APPLY_INNER(d) SECOND(CBP_INNER_##d, PRODUCT(d), ~)
#define APPLY(d) SECOND(CBP_IS_##d, PRODUCT(d), ~)

#define NONE
#define P1(n0, d0) const T n0 = K(p[0]);
#define P2(n0, d0, n1, d1) const T n0 = K(p[0]), n1 = K(p[1]);

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
        IVDEP for (ptrdiff_t i = 0; i < n; i++) { const T x = x_[i]; y_[i] = (f); }                             \
    }                                                                                                           \
    static void vjp_##name(ptrdiff_t n, const void *k_v, const void *g_v, void *d_v, const double *p, int add)  \
    {                                                                                                           \
        const T *k_ = k_v, *g_ = g_v;                                                                           \
        T *d_ = d_v;                                                                                            \
        (void)p, (void)k_;                                                                                      \
        params                                                                                                  \
        if (add) {                                                                                              \
            IVDEP for (ptrdiff_t i = 0; i < n; i++) { KEEP_##keeps const T g = g_[i]; d_[i] = d_[i] + APPLY(df); } \
        } else {                                                                                                \
            IVDEP for (ptrdiff_t i = 0; i < n; i++) { KEEP_##keeps const T g = g_[i]; d_[i] = APPLY(df); }      \
        }                                                                                                       \
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

/* `keeps` again: av and bv are the operands of element i, a and b exist only where the row says so */
#define LOAD_N
#define LOAD_A const T a = av;
#define LOAD_B const T b = bv;
#define LOAD_Y const T y = y_[i];
#define LOAD_AB LOAD_A LOAD_B
#define LOAD_BY LOAD_B LOAD_Y
#define LOAD_ABY LOAD_A LOAD_B LOAD_Y

#define LOOP(...) IVDEP for (ptrdiff_t i = 0; i < n; i++) { __VA_ARGS__ }
#define AV_EACH const T av = a_[i];
#define BV_EACH const T bv = b_[i];
#define AV_ONCE const T av = n > 0 ? *a_ : 0;      /* read before the loop, so that the result may overwrite it */
#define BV_ONCE const T bv = n > 0 ? *b_ : 0;
#define UNUSED_AB (void)av, (void)bv;
#define EACH(...)                                                                 \
    if (sa && sb) { LOOP(AV_EACH BV_EACH UNUSED_AB __VA_ARGS__) }                 \
    else if (sb) { AV_ONCE LOOP(BV_EACH UNUSED_AB __VA_ARGS__) }                  \
    else if (sa) { BV_ONCE LOOP(AV_EACH UNUSED_AB __VA_ARGS__) }                  \
    else { AV_ONCE BV_ONCE LOOP(UNUSED_AB __VA_ARGS__) }

#define FORWARD(name, f, OUT)                                                                                   \
    static void fwd_##name(ptrdiff_t n, const void *a_v, ptrdiff_t sa, const void *b_v, ptrdiff_t sb, void *y_v) \
    {                                                                                                           \
        const T *a_ = a_v, *b_ = b_v;                                                                           \
        OUT *y_ = y_v;                                                                                          \
        EACH(LOAD_AB y_[i] = (OUT)(f);)                                                                         \
    }
#define SIDE(fname, keeps, SLOPE)                                                                               \
    static void fname(ptrdiff_t n, const void *a_v, ptrdiff_t sa, const void *b_v, ptrdiff_t sb,                \
                      const void *y_v, const void *g_v, void *d_v, int add)                                     \
    {                                                                                                           \
        const T *a_ = a_v, *b_ = b_v, *y_ = y_v, *g_ = g_v;                                                     \
        T *d_ = d_v;                                                                                            \
        (void)y_;                                                                                               \
        if (add) { EACH(LOAD_##keeps const T g = g_[i]; d_[i] = d_[i] + SLOPE;) }                               \
        else { EACH(LOAD_##keeps const T g = g_[i]; d_[i] = SLOPE;) }                                           \
    }

#define CBP_BINARY(name, f, ka, da, kb, db, ...) FORWARD(name, f, T) SIDE(da_##name, ka, APPLY(da)) SIDE(db_##name, kb, APPLY(db))
#define CBP_STRONG(name, f, ka, da, kb, db, ...) \
    FORWARD(name, f, T) SIDE(da_##name, ka, APPLY(da)) SIDE(db_##name, kb, cbp_strong_mul(db, g))
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

/* ---- selection ---- */

/* y[i] = c[i] ? a[i] : b[i].  Dense operands and scalar branches are the cases worth a vector loop. */
void CBP_SYM(cbp_where)(ptrdiff_t n, const uint8_t *c, ptrdiff_t sc, const void *a_v, ptrdiff_t sa,
                        const void *b_v, ptrdiff_t sb, void *y_v)
{
    const T *a_ = a_v, *b_ = b_v;
    T *y_ = y_v;
    if (sc) {
        EACH(y_[i] = c[i] ? av : bv;)
    } else {
        EACH(y_[i] = *c ? av : bv;)
    }
}
