/* integer.c: see integer.h. */
#include "integer.h"

/* ---- rows of integer.def ---- */

#define U(x) ((uint64_t)(x))

static inline int64_t negated(int64_t a) { return (int64_t)(0 - U(a)); }

static inline int64_t floor_divide(int64_t a, int64_t b)
{
    if (b == 0) return 0;
    if (b == -1) return negated(a);                     /* the one quotient that would overflow is among these */
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static inline int64_t remainder_of(int64_t a, int64_t b)
{
    if (b == 0 || b == -1) return 0;
    const int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* by squaring; b >= 0 */
static inline int64_t power(int64_t a, int64_t b)
{
    uint64_t y = 1, square = U(a);
    for (; b > 0; b >>= 1, square *= square)
        if (b & 1) y *= square;
    return (int64_t)y;
}

typedef void loop(ptrdiff_t n, const int64_t *a, ptrdiff_t sa, const int64_t *b, ptrdiff_t sb, int64_t *y);

#define CBP_INTEGER(name, f, bools, refused) \
    static void loop_##name(ptrdiff_t n, const int64_t *a_, ptrdiff_t sa, const int64_t *b_, ptrdiff_t sb, int64_t *y) \
    { \
        const int64_t a0 = *a_, b0 = *b_; \
        if (sa && sb) for (ptrdiff_t i = 0; i < n; i++) { const int64_t a = a_[i], b = b_[i]; y[i] = f; } \
        else if (sa) for (ptrdiff_t i = 0; i < n; i++) { const int64_t a = a_[i], b = b0; y[i] = f; } \
        else if (sb) for (ptrdiff_t i = 0; i < n; i++) { const int64_t a = a0, b = b_[i]; y[i] = f; } \
        else for (ptrdiff_t i = 0; i < n; i++) { const int64_t a = a0, b = b0; y[i] = f; } \
    } \
    static int refuses_##name(int64_t b) { (void)b; return refused; }
#include "integer.def"

static loop *const loops[CBP_N_INTEGER] = {
#define CBP_INTEGER(name, f, bools, refused) loop_##name,
#include "integer.def"
};
static int (*const refuses[CBP_N_INTEGER])(int64_t) = {
#define CBP_INTEGER(name, f, bools, refused) refuses_##name,
#include "integer.def"
};
const cbp_integer_info cbp_integer_rows[CBP_N_INTEGER] = {
#define CBP_INTEGER(name, f, bools, refused) {#name, #refused, sizeof(#refused) != sizeof "0", CBP_##bools},
#include "integer.def"
};

void cbp_integer(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y)
{
    if (n > 0) loops[row](n, a, sa, b, sb, y);
}

ptrdiff_t cbp_integer_refused(int row, ptrdiff_t n, const int64_t *b)
{
    for (ptrdiff_t i = 0; i < n && cbp_integer_rows[row].refuses; i++)
        if (refuses[row](b[i])) return i;
    return -1;
}

/* ---- comparisons and logic ---- */

/* One loop an operator and kind of strides, so that each has a plain body. */
#define PAIRS(op) do { \
    if (sa == 1 && sb == 1) for (ptrdiff_t i = 0; i < n; i++) y[i] = (uint8_t)(A(a[i]) op A(b[i])); \
    else if (sa == 1) for (ptrdiff_t i = 0; i < n; i++) y[i] = (uint8_t)(A(a[i]) op b0); \
    else if (sb == 1) for (ptrdiff_t i = 0; i < n; i++) y[i] = (uint8_t)(a0 op A(b[i])); \
    else for (ptrdiff_t i = 0; i < n; i++) y[i] = (uint8_t)(a0 op b0); \
    return; } while (0)

#define A(v) (v)
void cbp_compare_i64(cbp_compare_op op, ptrdiff_t n, const int64_t *a, ptrdiff_t sa,
                     const int64_t *b, ptrdiff_t sb, uint8_t *y)
{
    if (n == 0) return;
    const int64_t a0 = *a, b0 = *b;
    switch (op) {
    case CBP_EQ: PAIRS(==);
    case CBP_NE: PAIRS(!=);
    case CBP_LT: PAIRS(<);
    case CBP_LE: PAIRS(<=);
    case CBP_GT: PAIRS(>);
    case CBP_GE: PAIRS(>=);
    }
}
#undef A

#define A(v) ((v) != 0)
void cbp_logic(cbp_logic_op op, ptrdiff_t n, const uint8_t *a, ptrdiff_t sa, const uint8_t *b, ptrdiff_t sb, uint8_t *y)
{
    if (n == 0) return;
    const int a0 = A(*a), b0 = A(*b);
    switch (op) {
    case CBP_AND: PAIRS(&);
    case CBP_OR: PAIRS(|);
    case CBP_XOR: PAIRS(^);
    }
}

void cbp_logic_not(ptrdiff_t n, const uint8_t *a, uint8_t *y)
{
    for (ptrdiff_t i = 0; i < n; i++) y[i] = !a[i];
}

/* ---- sums and maxima: integers have no order to keep ---- */

#define REDUCE(name, Type, START, STEP) \
static void name(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const Type *x, Type *y) \
{ \
    for (ptrdiff_t b = 0; b < B; b++, y += N) { \
        for (ptrdiff_t j = 0; j < N; j++) y[j] = START; \
        for (ptrdiff_t k = 0; k < K; k++, x += N) \
            for (ptrdiff_t j = 0; j < N; j++) { const Type s = y[j], v = x[j]; y[j] = STEP; } \
    } \
}
REDUCE(sum_i64, int64_t, 0, (int64_t)(U(s) + U(v)))
REDUCE(max_i64, int64_t, INT64_MIN, v > s ? v : s)
REDUCE(any_bool, uint8_t, 0, (uint8_t)(s | (v != 0)))

void cbp_reduce_i64(int maximum, ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const int64_t *x, int64_t *y)
{
    (maximum ? max_i64 : sum_i64)(B, K, N, x, y);
}

void cbp_reduce_bool(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const uint8_t *x, uint8_t *y) { any_bool(B, K, N, x, y); }

void cbp_argmax_i64(ptrdiff_t B, ptrdiff_t K, const int64_t *x, int64_t *y)
{
    for (ptrdiff_t b = 0; b < B; b++, x += K) {
        y[b] = 0;
        for (ptrdiff_t k = 1; k < K; k++)
            if (x[k] > x[y[b]]) y[b] = k;
    }
}

void cbp_argmax_bool(ptrdiff_t B, ptrdiff_t K, const uint8_t *x, int64_t *y)
{
    for (ptrdiff_t b = 0; b < B; b++, x += K) {
        y[b] = 0;
        while (y[b] < K && !x[y[b]]) y[b]++;
        if (y[b] == K) y[b] = 0;
    }
}
