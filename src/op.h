/* op.h: structured operations on arrays as data.  The kinds are the rows of op.def.
 *
 * An operation reads the arrays in[0..n_in) (NULL where an optional one is missing) and writes out[0..n_out) (NULL where
 * one is not wanted).  Shapes are checked by `shape`, indices and labels when it runs.
 */
#ifndef CBP_OP_H
#define CBP_OP_H

#include "chain.h"
#include "store.h"

enum {
    CBP_OP_ATTRS = 1 + 3 * CBP_MAX_DIMS,
    CBP_OP_FEW = 16                    /* inputs, or outputs, of an operation that asks for scratch */
};

typedef enum {
#define CBP_OP(name, ...) CBP_OP_##name,
#include "op.def"
    CBP_N_OPS
} cbp_op_kind;

typedef struct cbp_op {
    int32_t kind;
    int32_t row;                       /* of unary.def, binary.def, optim.def; the activation of a dense layer, -1: none */
    int32_t prev;                      /* dense_vjp: the activation that x came from, -1: none */
    int32_t flags;                     /* see op.def */
    int32_t dtype;                     /* of the first output, where the inputs do not say it */
    double p[2], q[2];                 /* parameters of the row, of prev */
    int64_t a[CBP_OP_ATTRS];           /* shapes, axes, steps, bounds */
    struct cbp_chain *chain;           /* chain: its links */
    struct cbp_tile *tile;             /* tile: its steps */
    struct cbp_loop *loop;             /* scan, while_loop, cond: the programs they run (loop.h); the program holds it */
} cbp_op;

typedef struct {
    const char *name, *doc, *rows;
    /* dtype and shape of each wanted output, from what is known of the inputs */
    cbp_status (*shape)(const cbp_op *op, cbp_array *const *in, int n_in, cbp_array *const *out);
    cbp_status (*run)(const cbp_op *op, cbp_array *const *in, int n_in, cbp_array *const *out, void *scratch);
    size_t (*scratch)(const cbp_op *op, cbp_array *const *in, int n_in, cbp_array *const *out);    /* NULL: none */
    int n_out;                     /* 0: written in place, or as many as the operation has */
} cbp_op_info;
extern const cbp_op_info cbp_op_infos[CBP_N_OPS];

void cbp_op_set_shape(cbp_array *y, int dtype, int ndim, const ptrdiff_t *shape);

#endif
