/* op_shape.h: shapes and dtypes of what each kind of op.def makes.  Included by op.c alone. */

typedef const cbp_op *OP;
#define SHAPE(name) \
    static cbp_status op_shape_##name(OP op, cbp_array *const *in, int n_in, cbp_array *const *out)
#define UNUSED (void)op, (void)in, (void)n_in, (void)out

static void like(cbp_array *y, const cbp_array *x) { cbp_op_set_shape(y, x->dtype, x->ndim, x->shape); }

SHAPE(none) { UNUSED; return CBP_OK; }
SHAPE(loop) { UNUSED; return cbp_loop_shape(op, out); }
SHAPE(same) { UNUSED; like(out[0], in[0]); return CBP_OK; }
SHAPE(like_g) { UNUSED; like(out[0], in[1]); return CBP_OK; }
SHAPE(like_y) { UNUSED; like(out[0], in[3]); return CBP_OK; }
SHAPE(count) { UNUSED; cbp_op_set_shape(out[0], op->dtype, 0, NULL); return CBP_OK; }
SHAPE(cast) { UNUSED; cbp_op_set_shape(out[0], op->dtype, in[0]->ndim, in[0]->shape); return CBP_OK; }

/* NumPy's rule; op->dtype is that of the result */
SHAPE(broadcast)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    int bad;
    UNUSED;
    const int ndim = cbp_broadcast_shape(in[0], in[1], shape, &bad);
    if (ndim < 0) return CBP_OUT_OF_RANGE;
    cbp_op_set_shape(out[0], op->dtype, ndim, shape);
    return CBP_OK;
}

/* c, a, b: the first that is more than one number says it */
SHAPE(where)
{
    UNUSED;
    const cbp_array *x = in[0]->size != 1 ? in[0] : in[1]->size != 1 ? in[1] : in[2];
    cbp_op_set_shape(out[0], in[1]->dtype, x->ndim, x->shape);
    return CBP_OK;
}

/* a[0] axes, then their lengths */
SHAPE(given)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    UNUSED;
    for (int i = 0; i < op->a[0]; i++) shape[i] = (ptrdiff_t)op->a[1 + i];
    cbp_op_set_shape(out[0], op->dtype, (int)op->a[0], shape);
    return CBP_OK;
}

/* a[0]: bit i is set where axis i is summed; flag 2: it stays, with length 1 */
SHAPE(reduce)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    int n = 0;
    UNUSED;
    for (int i = 0; i < in[0]->ndim; i++) {
        const int reduced = (int)(op->a[0] >> i & 1);
        if (!reduced || op->flags & 2) shape[n++] = reduced ? 1 : in[0]->shape[i];
    }
    cbp_op_set_shape(out[0], in[0]->dtype, n, shape);
    return CBP_OK;
}

SHAPE(argmax) { UNUSED; cbp_op_set_shape(out[0], CBP_I64, in[0]->ndim - 1, in[0]->shape); return CBP_OK; }
SHAPE(rows) { UNUSED; cbp_op_set_shape(out[0], in[0]->dtype, in[0]->ndim - 1, in[0]->shape); return CBP_OK; }

SHAPE(transpose)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    UNUSED;
    for (int i = 0; i < in[0]->ndim; i++) shape[i] = in[0]->shape[op->a[i]];
    cbp_op_set_shape(out[0], in[0]->dtype, in[0]->ndim, shape);
    return CBP_OK;
}

SHAPE(concatenate)
{
    const int axis = (int)op->a[0];
    UNUSED;
    like(out[0], in[0]);
    for (int i = 1; i < n_in; i++) out[0]->shape[axis] += in[i]->shape[axis];
    cbp_op_set_shape(out[0], in[0]->dtype, in[0]->ndim, out[0]->shape);
    return CBP_OK;
}

/* Index k of check_index, which counts where it is missing: `counted` has its shape then. */
static const cbp_array *index_of(OP op, cbp_array *const *in, int k, cbp_array *counted)
{
    ptrdiff_t shape[CBP_MAX_DIMS] = {(ptrdiff_t)op->a[k], 1, 1, 1, 1, 1, 1, 1};
    if (in[k]) return in[k];
    cbp_op_set_shape(counted, CBP_I64, 1 + (int)op->a[CBP_MAX_DIMS + k], shape);
    return counted;
}

SHAPE(places)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    cbp_array counted;
    int bad;
    UNUSED;
    cbp_op_set_shape(out[0], CBP_I64, 0, NULL);
    for (int k = 0; k < n_in; k++) {
        const int ndim = cbp_broadcast_shape(out[0], index_of(op, in, k, &counted), shape, &bad);
        if (ndim < 0) return CBP_OUT_OF_RANGE;
        cbp_op_set_shape(out[0], CBP_I64, ndim, shape);
    }
    return CBP_OK;
}

/* x, places -> the places' shape, then that of a row of x, behind the axes that they count over */
SHAPE(take)
{
    ptrdiff_t shape[2 * CBP_MAX_DIMS];
    const int n = in[1]->ndim, axes = 1 + (int)op->a[0], ndim = n + in[0]->ndim - axes;
    UNUSED;
    if (ndim > CBP_MAX_DIMS) return CBP_OUT_OF_RANGE;
    for (int i = 0; i < ndim; i++) shape[i] = i < n ? in[1]->shape[i] : in[0]->shape[i - n + axes];
    cbp_op_set_shape(out[0], in[0]->dtype, ndim, shape);
    return CBP_OK;
}

SHAPE(one_hot)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    UNUSED;
    for (int i = 0; i < in[0]->ndim; i++) shape[i] = in[0]->shape[i];
    shape[in[0]->ndim] = (ptrdiff_t)op->a[0];
    cbp_op_set_shape(out[0], op->dtype, in[0]->ndim + 1, shape);
    return CBP_OK;
}

/* the axes before the last two broadcast; flags 1, 2: a, b transposed */
SHAPE(matmul)
{
    cbp_array a = *in[0], b = *in[1];
    ptrdiff_t shape[CBP_MAX_DIMS];
    int bad;
    UNUSED;
    const ptrdiff_t M = a.shape[a.ndim - (op->flags & 1 ? 1 : 2)], K = a.shape[a.ndim - (op->flags & 1 ? 2 : 1)];
    const ptrdiff_t N = b.shape[b.ndim - (op->flags & 2 ? 2 : 1)], K2 = b.shape[b.ndim - (op->flags & 2 ? 1 : 2)];
    a.ndim -= 2, b.ndim -= 2;
    const int ndim = cbp_broadcast_shape(&a, &b, shape, &bad);
    if (ndim < 0 || ndim + 2 > CBP_MAX_DIMS || K != K2) return CBP_OUT_OF_RANGE;
    shape[ndim] = M, shape[ndim + 1] = N;
    cbp_op_set_shape(out[0], in[0]->dtype, ndim + 2, shape);
    return CBP_OK;
}

/* x (..., I), w (I, O), bias (O) -> y (..., O), z like y */
SHAPE(dense)
{
    UNUSED;
    for (int i = 0; i < 2; i++) {
        if (!out[i]) continue;
        like(out[i], in[0]);
        out[i]->shape[in[0]->ndim - 1] = in[1]->shape[1];
        cbp_op_set_shape(out[i], in[0]->dtype, in[0]->ndim, out[i]->shape);
    }
    return in[0]->shape[in[0]->ndim - 1] == in[1]->shape[0] ? CBP_OK : CBP_OUT_OF_RANGE;
}

/* x, w, kept, g, prev_kept -> gz like g, dx (..., I), dw (I, O), db (O).  x and w may be missing where nothing reads them:
 * a[0], a[1] are I and O. */
SHAPE(dense_vjp)
{
    const cbp_array *g = in[3];
    UNUSED;
    ptrdiff_t shape[CBP_MAX_DIMS] = {0}, w[2] = {(ptrdiff_t)op->a[0], (ptrdiff_t)op->a[1]};
    if (out[0]) like(out[0], g);
    for (int i = 0; i < g->ndim; i++) shape[i] = g->shape[i];
    shape[g->ndim - 1] = w[0];
    if (out[1]) cbp_op_set_shape(out[1], g->dtype, g->ndim, shape);
    if (out[2]) cbp_op_set_shape(out[2], g->dtype, 2, w);
    if (out[3]) cbp_op_set_shape(out[3], g->dtype, 1, w + 1);
    return CBP_OK;
}

/* x (B, C), target (B), g (1) or (B) -> loss (B), p, dx like x */
SHAPE(ce)
{
    UNUSED;
    cbp_op_set_shape(out[0], in[0]->dtype, 1, in[0]->shape);
    for (int i = 1; i < 3; i++)
        if (out[i]) like(out[i], in[0]);
    return in[1]->size == in[0]->shape[0] ? CBP_OK : CBP_OUT_OF_RANGE;
}
