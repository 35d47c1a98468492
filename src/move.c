/* move.c: see move.h. */
#include "move.h"

#include <string.h>

/* ---- strided copies ---- */

/* One axis of a copy: its length and the step on either side, in bytes. */
typedef struct { ptrdiff_t n, to, from; } axis;

static ptrdiff_t size_of(ptrdiff_t stride) { return stride < 0 ? -stride : stride; }
static ptrdiff_t min(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* A plane, outer by inner.  memcpy of a constant size is one move and allows any alignment. */
#define PLANE(size) \
static void plane_##size(axis outer, axis inner, char *to, const char *from) \
{ \
    for (ptrdiff_t i = 0; i < outer.n; i++) \
        for (ptrdiff_t j = 0; j < inner.n; j++) \
            memcpy(to + i * outer.to + j * inner.to, from + i * outer.from + j * inner.from, size); \
}
PLANE(1) PLANE(4) PLANE(8)

static void plane_tile(axis outer, axis inner, ptrdiff_t item, char *to, const char *from)
{
    if (item == 1) plane_1(outer, inner, to, from);
    else if (item == 4) plane_4(outer, inner, to, from);
    else plane_8(outer, inner, to, from);
}

/* Dense rows go by memcpy.  Else one side strides: square tiles let both sides use whole cache lines. */
static void plane(axis outer, axis inner, ptrdiff_t item, char *to, const char *from)
{
    enum { TILE = 32, MEMCPY_PAYS = 64 };
    if (inner.to == item && inner.from == item && inner.n * item >= MEMCPY_PAYS) {
        for (ptrdiff_t i = 0; i < outer.n; i++) memcpy(to + i * outer.to, from + i * outer.from, (size_t)(inner.n * item));
        return;
    }
    const int crosswise = size_of(outer.to) < size_of(inner.to) || size_of(outer.from) < size_of(inner.from);
    const ptrdiff_t step_i = crosswise ? TILE : outer.n, step_j = crosswise ? TILE : inner.n;
    for (ptrdiff_t i = 0; i < outer.n; i += step_i)
        for (ptrdiff_t j = 0; j < inner.n; j += step_j)
            plane_tile((axis){min(outer.n - i, step_i), outer.to, outer.from},
                       (axis){min(inner.n - j, step_j), inner.to, inner.from}, item,
                       to + i * outer.to + j * inner.to, from + i * outer.from + j * inner.from);
}

/* Drops axes of length 1 and joins neighbours that are one axis on both sides.  Returns how many are left. */
static int coalesce(int n, axis *a)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (a[i].n == 1) continue;
        axis *last = a + kept - 1;
        if (kept && last->to == a[i].to * a[i].n && last->from == a[i].from * a[i].n)
            *last = (axis){last->n * a[i].n, a[i].to, a[i].from};
        else a[kept++] = a[i];
    }
    return kept;
}

/* The plane's outer axis: of all but the last, the one along which the strided side moves least (in order: the one before
 * the last, if none moves less). */
static void choose_outer(int n, axis *a)
{
    int best = n - 2;
    for (int i = n - 3; i >= 0; i--)
        if (size_of(a[i].from) + size_of(a[i].to) < size_of(a[best].from) + size_of(a[best].to)) best = i;
    const axis chosen = a[best];
    memmove(a + best, a + best + 1, sizeof(axis) * (size_t)(n - 2 - best));
    a[n - 2] = chosen;
}

static void copy(int n, axis *a, ptrdiff_t item, char *to, const char *from)
{
    ptrdiff_t at[CBP_MAX_DIMS] = {0};
    for (int i = 0; i < n; i++)
        if (a[i].n == 0) return;
    n = coalesce(n, a);
    if (n > 2) choose_outer(n, a);
    const axis one = {1, 0, 0}, inner = n > 0 ? a[n - 1] : one, outer = n > 1 ? a[n - 2] : one;
    for (;;) {
        plane(outer, inner, item, to, from);
        int i = n - 3;
        for (; i >= 0; i--) {                       /* the next plane: an odometer over the other axes */
            to += a[i].to, from += a[i].from;
            if (++at[i] < a[i].n) break;
            to -= a[i].to * a[i].n, from -= a[i].from * a[i].n;
            at[i] = 0;
        }
        if (i < 0) return;
    }
}

void cbp_copy_strided(int n_dims, const ptrdiff_t *shape, const ptrdiff_t *strides, ptrdiff_t item,
                      const void *src, void *dst)
{
    axis a[CBP_MAX_DIMS];
    ptrdiff_t dense = item;
    for (int i = n_dims - 1; i >= 0; dense *= shape[i--]) a[i] = (axis){shape[i], dense, strides[i]};
    copy(n_dims, a, item, dst, src);
}

void cbp_scatter_strided(int n_dims, const ptrdiff_t *shape, const ptrdiff_t *strides, ptrdiff_t item,
                         const void *src, void *dst)
{
    axis a[CBP_MAX_DIMS];
    ptrdiff_t dense = item;
    for (int i = n_dims - 1; i >= 0; dense *= shape[i--]) a[i] = (axis){shape[i], strides[i], dense};
    copy(n_dims, a, item, dst, src);
}

/* ---- rows by index ---- */

cbp_status cbp_check_index(ptrdiff_t n, const int64_t *index, int64_t size, int64_t *to, ptrdiff_t *bad)
{
    for (ptrdiff_t i = 0; i < n; i++)
        if (index[i] < -size || index[i] >= size) {
            *bad = i;
            return CBP_OUT_OF_RANGE;
        }
    for (ptrdiff_t i = 0; i < n; i++) to[i] = index[i] + (index[i] < 0 ? size : 0);
    return CBP_OK;
}

void cbp_take(ptrdiff_t n, ptrdiff_t row_bytes, const void *x_, const int64_t *index, void *y_)
{
    const char *x = x_;
    char *y = y_;
    if (row_bytes == 0) return;
    if (row_bytes == 4)
        for (ptrdiff_t i = 0; i < n; i++) memcpy(y + i * 4, x + index[i] * 4, 4);
    else if (row_bytes == 8)
        for (ptrdiff_t i = 0; i < n; i++) memcpy(y + i * 8, x + index[i] * 8, 8);
    else
        for (ptrdiff_t i = 0; i < n; i++) memcpy(y + i * row_bytes, x + index[i] * row_bytes, (size_t)row_bytes);
}

#define INDEXED(suffix, T) \
void cbp_scatter_add_##suffix(ptrdiff_t n, ptrdiff_t N, const T *restrict g, const int64_t *index, T *restrict dx) \
{ \
    for (ptrdiff_t i = 0; i < n; i++) \
        for (ptrdiff_t j = 0; j < N; j++) dx[index[i] * N + j] += g[i * N + j]; \
} \
void cbp_one_hot_##suffix(ptrdiff_t n, ptrdiff_t C, const int64_t *index, T *y) \
{ \
    for (ptrdiff_t i = 0; i < n * C; i++) y[i] = 0; \
    for (ptrdiff_t i = 0; i < n; i++) \
        if (index[i] >= 0 && index[i] < C) y[i * C + index[i]] = 1; \
}
INDEXED(f32, float)
INDEXED(f64, double)

/* ---- int64 and bool ---- */

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
