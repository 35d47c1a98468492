/* op.c: the kinds of op.def as functions over arrays.  Compiled once; the arithmetic is that of the kernels in use. */
#include "op.h"

#include <string.h>

#include "cumsum.h"
#include "dispatch.h"
#include "integer.h"
#include "loop.h"
#include "move.h"
#include "rng.h"
#include "rows.h"
#include "tile.h"
#include "walk.h"

void cbp_op_set_shape(cbp_array *y, int dtype, int ndim, const ptrdiff_t *shape)
{
    y->dtype = (uint8_t)dtype;
    y->ndim = (uint8_t)ndim;
    size_t size = 1;                   /* of a shape beyond all memory it may wrap: whoever allocates looks again */
    for (int i = 0; i < ndim; i++) size *= (size_t)(y->shape[i] = shape[i]);
    y->size = (ptrdiff_t)size;
}

#include "op_shape.h"
#include "op_run.h"
#include "op_row.h"
#include "op_move.h"
#include "op_product.h"
#include "op_update.h"

#define op_scratch_none NULL
const cbp_op_info cbp_op_infos[CBP_N_OPS] = {
#define CBP_OP(name, shape, scratch, n_out, rows, doc) \
    {#name, doc, rows, op_shape_##shape, op_run_##name, op_scratch_##scratch, n_out},
#include "op.def"
};
