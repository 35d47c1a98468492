/* op_row.h: rows of unary.def and binary.def as operations, and what only moves or counts.  Included by op.c alone. */

RUN(unary)
{
    QUIET;
    KERNELS(in[0])->unary(op->row, in[0]->size, in[0]->data, out[0]->data, op->p);
    return CBP_OK;
}

/* What a kernel adds to lies in the output already; elsewhere it is brought there. */
static int added(cbp_array *const *in, int n_in, int i, const cbp_array *out)
{
    if (n_in <= i) return 0;
    if (in[i]->data != out->data) memcpy(out->data, in[i]->data, bytes_of(out));
    return 1;
}

RUN(unary_vjp)
{
    QUIET;
    const int add = added(in, n_in, 2, out[0]);
    KERNELS(in[1])->unary_vjp(op->row, in[1]->size, data_of(in[0]), in[1]->data, out[0]->data, op->p, add);
    return CBP_OK;
}

RUN(binary)
{
    QUIET;
    const cbp_array *a = in[0], *b = in[1];
    if (cbp_same_shape(a, b)) KERNELS(a)->binary(op->row, a->size, a->data, 1, b->data, 1, out[0]->data);
    else cbp_walk_all(KERNELS(a)->binary, op->row, a, b, out[0]);
    return CBP_OK;
}

RUN(binary_vjp)
{
    QUIET;
    const int add = added(in, n_in, 4, out[0]);
    cbp_walk_binary_vjp(op->row, op->flags & 1, in[0], in[1], in[2], in[3], out[0], add);
    return CBP_OK;
}

RUN(copy)
{
    QUIET;
    if (in[0]->data != out[0]->data) memcpy(out[0]->data, in[0]->data, bytes_of(in[0]));
    return CBP_OK;
}
RUN(reshape) { return op_run_copy(op, in, n_in, out, scratch); }

#define FILL(Type) do { Type *y = out[0]->data; for (ptrdiff_t i = 0; i < out[0]->size; i++) y[i] = (Type)op->p[0]; } while (0)
RUN(fill)
{
    QUIET;
    switch (out[0]->dtype) {
    case CBP_F32: FILL(float); break;
    case CBP_F64: FILL(double); break;
    case CBP_I64: FILL(int64_t); break;
    default: FILL(uint8_t);
    }
    return CBP_OK;
}

RUN(count)
{
    QUIET;
    const int64_t *t = in[0]->data;
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < in[0]->size; i++) n += t[i] != op->a[0];
    if (out[0]->dtype == CBP_F32) *(float *)out[0]->data = (float)n;
    else *(double *)out[0]->data = (double)n;
    return CBP_OK;
}

RUN(guard)
{
    QUIET;
    const void *x = in[0]->data;
    double v = 0;
    switch (in[0]->dtype) {
    case CBP_F32: v = *(const float *)x; break;
    case CBP_F64: v = *(const double *)x; break;
    case CBP_I64: v = (double)*(const int64_t *)x; break;
    default: v = *(const uint8_t *)x;
    }
    if (op->flags & 1) return (v != 0) == (op->p[0] != 0) ? CBP_OK : CBP_GUARD;
    return v == op->p[0] || (v != v && op->p[0] != op->p[0]) ? CBP_OK : CBP_GUARD;
}

static size_t pointers_of(const cbp_chain *c)
{
    return ((size_t)(c->n_in + c->n_out) * sizeof(void *) + (size_t)c->n_in + 63) / 64 * 64;
}

static size_t op_scratch_chain(OP op, cbp_array *const *in, int n_in, cbp_array *const *out)
{
    (void)in, (void)n_in, (void)out;
    return pointers_of(op->chain) + cbp_chain_scratch(op->chain, cbp_itemsize((cbp_dtype)op->dtype));
}

RUN(chain)
{
    const cbp_chain *c = op->chain;
    const ptrdiff_t n = out[0]->size;
    const void **from = scratch;
    void **to = (void **)scratch + c->n_in;
    uint8_t *single = (uint8_t *)(to + c->n_out);
    for (int k = 0; k < n_in; k++) from[k] = in[k]->data, single[k] = in[k]->size == 1 && n != 1;
    for (int k = 0; k < c->n_out; k++) to[k] = out[k]->data;
    cbp_active[op->dtype]->chain(c, n, from, single, to, (char *)scratch + pointers_of(c));
    return CBP_OK;
}

static size_t op_scratch_tile(OP op, cbp_array *const *in, int n_in, cbp_array *const *out)
{
    (void)in, (void)n_in, (void)out;
    return cbp_tile_scratch(op->tile);
}

RUN(tile) { QUIET; return cbp_tile_run(op->tile, in, out, scratch); }

/* ---- programs that run inside one ---- */

RUN(scan) { QUIET; return cbp_loop_run(op, in, out, scratch); }
RUN(while_loop) { QUIET; return cbp_loop_run(op, in, out, scratch); }
RUN(cond) { QUIET; return cbp_loop_run(op, in, out, scratch); }
