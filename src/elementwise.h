/* elementwise.h: the loops that elementwise.c makes of the tables, for map.c.  Internal.
 *
 * n is a multiple of CBP_WHOLE elements (of CBP_WHOLE_BYTES where bytes are read or written), all operands are dense.
 */
#ifndef CBP_ELEMENTWISE_H
#define CBP_ELEMENTWISE_H

#include "cbp.h"

enum {
    CBP_WHOLE_BYTES = 64, CBP_WHOLE = CBP_WHOLE_BYTES / sizeof(T),
    CBP_BLOCK = 256                /* elements: a few lines of L1, and calls of a row cost little beside it */
};

typedef struct {
    void (*fwd)(ptrdiff_t n, const T *x, T *y, const double *p);
    void (*vjp)(ptrdiff_t n, const T *kept, const T *g, T *dx, const double *p);
} cbp_unary_loops;

typedef struct {
    void (*fwd)(ptrdiff_t n, const T *a, const T *b, void *y);
    void (*side[2])(ptrdiff_t n, const T *a, const T *b, const T *y, const T *g, T *dx);   /* NULL: a comparison */
} cbp_binary_loops;

extern const cbp_unary_loops CBP_SYM(cbp_unary_loops)[];
extern const cbp_binary_loops CBP_SYM(cbp_binary_loops)[];
void CBP_SYM(cbp_select_loop)(ptrdiff_t n, const uint8_t *c, const T *a, const T *b, T *y);

#endif
