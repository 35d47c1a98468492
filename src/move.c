/* move.c: see move.h. */
#include "move.h"

#include <string.h>

/* ---- strided copies ---- */

/* One axis of a copy: its length and the step on either side, in bytes. */
typedef struct { ptrdiff_t n, to, from; } axis;

static ptrdiff_t size_of(ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

/* Elements as integers that may lie at any address.
 *   plane  outer by inner, anyhow; a broadcast row is one load and a fill
 *   turn   TILE by TILE from rows along a to rows along b, by way of a buffer: so each side moves whole cache lines, also
 *          where the lines of a column fall into one cache set (power-of-two strides) */
enum { TILE = 16 };
#define TYPED(size, bits) \
typedef uint##bits##_t u##size __attribute__((may_alias, aligned(1))); \
static void plane_##size(axis outer, axis inner, char *to, const char *from) \
{ \
    for (ptrdiff_t i = 0; i < outer.n; i++, to += outer.to, from += outer.from) { \
        if (inner.to == size && inner.from == 0) { \
            const u##size v = *(const u##size *)from; \
            for (ptrdiff_t j = 0; j < inner.n; j++) ((u##size *)to)[j] = v; \
        } else if (inner.to == size) \
            for (ptrdiff_t j = 0; j < inner.n; j++) ((u##size *)to)[j] = *(const u##size *)(from + j * inner.from); \
        else \
            for (ptrdiff_t j = 0; j < inner.n; j++) \
                *(u##size *)(to + j * inner.to) = *(const u##size *)(from + j * inner.from); \
    } \
} \
static void turn_##size(axis a, axis b, char *to, const char *from) \
{ \
    u##size buffer[TILE][TILE]; \
    for (int j = 0; j < TILE; j++) \
        for (int i = 0; i < TILE; i++) buffer[j][i] = ((const u##size *)(from + j * b.from))[i]; \
    for (int i = 0; i < TILE; i++) \
        for (int j = 0; j < TILE; j++) ((u##size *)(to + i * a.to))[j] = buffer[j][i]; \
}
TYPED(1, 8) TYPED(4, 32) TYPED(8, 64)

static void (*const plane_of[])(axis, axis, char *, const char *) = {[1] = plane_1, [4] = plane_4, [8] = plane_8};
static void (*const turn_of[])(axis, axis, char *, const char *) = {[1] = turn_1, [4] = turn_4, [8] = turn_8};

/* A transpose: from is dense along a, to along b. */
static void turn(axis a, axis b, ptrdiff_t item, char *to, const char *from)
{
    const ptrdiff_t whole_a = a.n / TILE * TILE, whole_b = b.n / TILE * TILE;
    for (ptrdiff_t i = 0; i < whole_a; i += TILE)
        for (ptrdiff_t j = 0; j < whole_b; j += TILE)
            turn_of[item](a, b, to + i * a.to + j * item, from + i * item + j * b.from);
    const axis side = {b.n - whole_b, b.to, b.from}, below = {a.n - whole_a, a.to, a.from};
    plane_of[item](a, side, to + whole_b * b.to, from + whole_b * b.from);
    plane_of[item](below, (axis){whole_b, b.to, b.from}, to + whole_a * a.to, from + whole_a * a.from);
}

static void plane(axis outer, axis inner, ptrdiff_t item, char *to, const char *from)
{
    enum { MEMCPY_PAYS = 64 };
    if (inner.to == item && inner.from == item && inner.n * item >= MEMCPY_PAYS)
        for (ptrdiff_t i = 0; i < outer.n; i++) memcpy(to + i * outer.to, from + i * outer.from, (size_t)(inner.n * item));
    else if (outer.from == item && inner.to == item) turn(outer, inner, item, to, from);
    else if (inner.from == item && outer.to == item) turn(inner, outer, item, to, from);
    else plane_of[item](outer, inner, to, from);
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

/* The plane's outer axis: of all but the last, the one along which the strided side moves least; the one before the last
 * if none moves less. */
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

ptrdiff_t cbp_first_outside(ptrdiff_t n, const int64_t *index, int64_t size)
{
    int outside = 0;
    ptrdiff_t i = 0;
    for (; i < n; i++) outside |= (index[i] < -size) | (index[i] >= size);     /* no way out of it: it runs in vectors */
    if (!outside) return n;
    for (i = 0; index[i] >= -size && index[i] < size; i++) { }
    return i;
}

/* cbp_add_axis along one axis, from an offset on */
static void add_run(ptrdiff_t n, const int64_t *index, ptrdiff_t offset, ptrdiff_t stride, int64_t length, int64_t *to)
{
    if (!index) {
        for (ptrdiff_t i = 0; i < n; i++) to[i] = to[i] * length + offset + i * stride;
        return;
    }
    index += offset;
    if (stride == 1) for (ptrdiff_t i = 0; i < n; i++) to[i] = to[i] * length + index[i] + (index[i] < 0 ? length : 0);
    else for (ptrdiff_t i = 0; i < n; i++) to[i] = to[i] * length + index[i * stride] + (index[i * stride] < 0 ? length : 0);
}

void cbp_add_axis(int n_dims, const ptrdiff_t *shape, const ptrdiff_t *strides, const int64_t *index, int64_t length,
                  int64_t *to)
{
    ptrdiff_t at[CBP_MAX_DIMS] = {0}, offset = 0;
    const ptrdiff_t n = n_dims ? shape[n_dims - 1] : 1, stride = n_dims ? strides[n_dims - 1] : 0;
    for (int i = 0; i < n_dims; i++)
        if (shape[i] == 0) return;
    for (;; to += n) {
        add_run(n, index, offset, stride, length, to);
        int i = n_dims - 2;
        for (; i >= 0; i--) {
            offset += strides[i];
            if (++at[i] < shape[i]) break;
            offset -= strides[i] * shape[i];
            at[i] = 0;
        }
        if (i < 0) return;
    }
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
