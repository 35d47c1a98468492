/* move.h: data that moves without arithmetic, and indices.  Compiled once, for every dtype.
 *
 * item is the size of an element in bytes: 1, 4 or 8.  Shapes are in elements, strides in bytes and of any sign or 0.
 * Outputs never overlap inputs unless said so.
 * Everything here may be called with sizes of 0, allocates nothing and cannot fail.
 */
#ifndef CBP_MOVE_H
#define CBP_MOVE_H

#include "cbp.h"

/* dst (C-contiguous, n_dims <= CBP_MAX_DIMS) = the view (src, strides): transpose, broadcast, slice, flip. */
void cbp_copy_strided(int n_dims, const ptrdiff_t *shape, const ptrdiff_t *strides, ptrdiff_t item,
                      const void *src, void *dst);
/* Its adjoint: the view (dst, strides) = src (C-contiguous).  dst's other elements stay; the view must not overlap itself. */
void cbp_scatter_strided(int n_dims, const ptrdiff_t *shape, const ptrdiff_t *strides, ptrdiff_t item,
                         const void *src, void *dst);

/* The first i whose index[i] is not one of -size .. size - 1, n if there is none. */
ptrdiff_t cbp_first_outside(ptrdiff_t n, const int64_t *index, int64_t size);
/* to (C-contiguous) = to * length + the view (index, strides), negatives counted from the end of the axis: one axis more
 * that its elements are places in.  Strides in elements.  index NULL: the view is the sum of strides itself. */
void cbp_add_axis(int n_dims, const ptrdiff_t *shape, const ptrdiff_t *strides, const int64_t *index, int64_t length,
                  int64_t *to);

/* y[i] = x[index[i]], rows of row_bytes; indices checked before. */
void cbp_take(ptrdiff_t n, ptrdiff_t row_bytes, const void *x, const int64_t *index, void *y);
/* forward: y[i] = x[index[i]], rows of N   so:  dx[index[i]] += g[i], in the order of i. */
void cbp_scatter_add_f32(ptrdiff_t n, ptrdiff_t N, const float *g, const int64_t *index, float *dx);
void cbp_scatter_add_f64(ptrdiff_t n, ptrdiff_t N, const double *g, const int64_t *index, double *dx);

/* y (n,C) = 1 at (i, index[i]), else 0; an index outside [0, C) leaves its row 0. */
void cbp_one_hot_f32(ptrdiff_t n, ptrdiff_t C, const int64_t *index, float *y);
void cbp_one_hot_f64(ptrdiff_t n, ptrdiff_t C, const int64_t *index, double *y);

#endif
