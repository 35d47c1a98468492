/* move.h: data that moves without arithmetic, and indices.  Compiled once, for every dtype.
 *
 * item is the size of an element in bytes: 1, 4 or 8.  Shapes are in elements, strides in bytes and of any sign or 0.
 * Outputs never overlap inputs unless said so.
 * Everything here may be called with sizes of 0, allocates nothing and cannot fail, except cbp_check_index.
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

/* to[i] = index[i], negatives counted from the end: -size .. size - 1 allowed.  to may be index.
 * CBP_OUT_OF_RANGE: *bad is the first bad place, and nothing was written. */
cbp_status cbp_check_index(ptrdiff_t n, const int64_t *index, int64_t size, int64_t *to, ptrdiff_t *bad);

/* y[i] = x[index[i]], rows of row_bytes; indices checked before. */
void cbp_take(ptrdiff_t n, ptrdiff_t row_bytes, const void *x, const int64_t *index, void *y);
/* forward: y[i] = x[index[i]], rows of N   so:  dx[index[i]] += g[i], in the order of i. */
void cbp_scatter_add_f32(ptrdiff_t n, ptrdiff_t N, const float *g, const int64_t *index, float *dx);
void cbp_scatter_add_f64(ptrdiff_t n, ptrdiff_t N, const double *g, const int64_t *index, double *dx);

/* y (n,C) = 1 at (i, index[i]), else 0; an index outside [0, C) leaves its row 0. */
void cbp_one_hot_f32(ptrdiff_t n, ptrdiff_t C, const int64_t *index, float *y);
void cbp_one_hot_f64(ptrdiff_t n, ptrdiff_t C, const int64_t *index, double *y);

#endif
