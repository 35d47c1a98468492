/* walk.h: NumPy's broadcasting as a walk over runs of elements in which each operand is dense or one number. */
#ifndef CBP_WALK_H
#define CBP_WALK_H

#include "store.h"

typedef struct {
    ptrdiff_t inner, left;                   /* elements a run, runs to go */
    const char *p[2];                        /* where each operand is; NULL: not read */
    ptrdiff_t s[2];                          /* its stride in a run: 0 or 1 */
    int outer;                               /* axes outside the run */
    ptrdiff_t length[CBP_MAX_DIMS], index[CBP_MAX_DIMS];
    ptrdiff_t step[2][CBP_MAX_DIMS];         /* bytes an operand moves along an outer axis */
} cbp_walk;

/* Element strides of x along the axes of out, to which it broadcasts: 0 where it is repeated; all 0 if x is NULL. */
void cbp_walk_strides(const cbp_array *out, const cbp_array *x, ptrdiff_t *stride);
/* Walk over out with one or two operands (NULL: not read) of one dtype that broadcast to it. */
void cbp_walk_start(cbp_walk *w, const cbp_array *out, const cbp_array *a, const cbp_array *b);
void cbp_walk_next(cbp_walk *w);

/* y = loop(a, b), run by run */
typedef void (*cbp_run_loop)(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y);
void cbp_walk_all(cbp_run_loop loop, int row, const cbp_array *a, const cbp_array *b, cbp_array *y);
/* d = strong_mul(g, the slope of a row of binary.def for one side), or d + that.  a, b (NULL: not read) broadcast to g;
 * y (NULL: not read) and d are as g. */
void cbp_walk_binary_vjp(int row, int side, const cbp_array *a, const cbp_array *b, const cbp_array *y, const cbp_array *g,
                         cbp_array *d, int add);

/* The common shape of two operands: its number of axes, or -1 and the axis, counted from the end, that forbids it. */
int cbp_broadcast_shape(const cbp_array *a, const cbp_array *b, ptrdiff_t *shape, int *bad);

static inline int cbp_same_shape(const cbp_array *a, const cbp_array *b)
{
    if (a->ndim != b->ndim || a->size != b->size) return 0;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i]) return 0;
    return 1;
}

#endif
