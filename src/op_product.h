/* op_product.h: products, dense layers, softmax and its loss.  Included by op.c alone. */

/* All axes but the last `tail` as one. */
static ptrdiff_t leading(const cbp_array *x, int tail)
{
    ptrdiff_t n = 1;
    for (int i = 0; i < x->ndim - tail; i++) n *= x->shape[i];
    return n;
}

/* Sizes and number of the products behind a matmul; one right-hand side for all is one product of all rows. */
typedef struct { cbp_layout layout; ptrdiff_t M, N, K, batch, a_count, b_count; } product;
static product product_of(OP op, const cbp_array *a, const cbp_array *b, const cbp_array *c)
{
    const int ta = op->flags & 1, tb = op->flags >> 1 & 1;
    product p = {ta ? CBP_TN : tb ? CBP_NT : CBP_NN, c->shape[c->ndim - 2], c->shape[c->ndim - 1],
                 a->shape[a->ndim - (ta ? 2 : 1)], leading(c, 2), leading(a, 2), leading(b, 2)};
    if (b->ndim == 2 && !ta) p.M *= p.batch, p.batch = p.a_count = 1;
    return p;
}

static size_t op_scratch_matmul(OP op, cbp_array *const *in, int n_in, cbp_array *const *out)
{
    (void)n_in;
    const product p = product_of(op, in[0], in[1], out[0]);
    return KERNELS(in[0])->gemm_scratch(p.layout, p.M, p.N, p.K);
}

/* Which matrix of x belongs to matrix j of y, where the axes before the last two broadcast. */
static ptrdiff_t matrix_of(const cbp_array *x, const cbp_array *y, ptrdiff_t j)
{
    ptrdiff_t at = 0, step = 1;
    for (int i = y->ndim - 3, k = x->ndim - 3; k >= 0; j /= y->shape[i--], step *= x->shape[k--])
        if (x->shape[k] != 1) at += j % y->shape[i] * step;
    return at;
}

RUN(matmul)
{
    QUIET;
    const cbp_array *a = in[0], *b = in[1], *c = out[0];
    const cbp_kernels *k = KERNELS(a);
    const product p = product_of(op, a, b, c);
    const ptrdiff_t lda = p.layout == CBP_TN ? p.M : p.K, ldb = p.layout == CBP_NT ? p.K : p.N, item = item_of(a);
    const ptrdiff_t MK = p.M * p.K, KN = p.K * p.N, MN = p.M * p.N;
    if (!c->size) return CBP_OK;
    if ((p.a_count == 1 || p.a_count == p.batch) && (p.b_count == 1 || p.b_count == p.batch)) {
        k->gemm_batch(p.layout, p.batch, p.M, p.N, p.K, a->data, lda, p.a_count == 1 ? 0 : MK, b->data, ldb,
                      p.b_count == 1 ? 0 : KN, c->data, p.N, MN, scratch);
        return CBP_OK;
    }
    for (ptrdiff_t j = 0; j < p.batch; j++)
        k->gemm(p.layout, p.M, p.N, p.K, (const char *)a->data + matrix_of(a, c, j) * MK * item, lda,
                (const char *)b->data + matrix_of(b, c, j) * KN * item, ldb, NULL, (char *)c->data + j * MN * item, p.N, 0,
                NULL, scratch);
    return CBP_OK;
}

static size_t op_scratch_dense(OP op, cbp_array *const *in, int n_in, cbp_array *const *out)
{
    (void)n_in, (void)out;
    const cbp_array *wide = op->kind == CBP_OP_dense ? in[0] : in[3];
    const ptrdiff_t I = op->kind == CBP_OP_dense ? in[1]->shape[0] : (ptrdiff_t)op->a[0];
    const ptrdiff_t O = op->kind == CBP_OP_dense ? in[1]->shape[1] : (ptrdiff_t)op->a[1];
    return KERNELS(wide)->dense_scratch(leading(wide, 1), I, O);
}

RUN(dense)
{
    QUIET;
    KERNELS(in[0])->dense_fwd(leading(in[0], 1), in[1]->shape[0], in[1]->shape[1], in[0]->data, in[1]->data,
                              n_in > 2 ? data_of(in[2]) : NULL, op->row, op->p, data_of(out[1]), out[0]->data, scratch);
    return CBP_OK;
}

RUN(dense_vjp)
{
    QUIET;
    const cbp_array *g = in[3];
    const ptrdiff_t B = leading(g, 1), I = (ptrdiff_t)op->a[0], O = (ptrdiff_t)op->a[1], group = (ptrdiff_t)op->a[3];
    void *dw = data_of(out[2]), *db = data_of(out[3]);
    KERNELS(g)->dense_bwd(B, I, O, data_of(in[0]), data_of(in[1]), data_of(in[2]), g->data, op->row, op->p, data_of(out[0]),
                          data_of(out[1]), group ? NULL : dw, group ? NULL : db, 0, op->prev, op->q,
                          n_in > 4 ? data_of(in[4]) : NULL, scratch);
    if (group && (dw || db))
        KERNELS(g)->gemm_part(I, O, B, data_of(in[0]), op->row >= 0 ? out[0]->data : g->data, dw, db, (ptrdiff_t)op->a[2], group,
                              scratch);
    return CBP_OK;
}

/* ---- over the last axis */

static ptrdiff_t last_of(const cbp_array *x) { return x->shape[x->ndim - 1]; }

RUN(softmax) { QUIET; KERNELS(in[0])->softmax(leading(in[0], 1), last_of(in[0]), in[0]->data, out[0]->data); return CBP_OK; }
RUN(log_softmax)
{
    QUIET;
    KERNELS(in[0])->log_softmax(leading(in[0], 1), last_of(in[0]), in[0]->data, out[0]->data);
    return CBP_OK;
}
RUN(logsumexp) { QUIET; KERNELS(in[0])->logsumexp(out[0]->size, last_of(in[0]), in[0]->data, out[0]->data); return CBP_OK; }
RUN(argmax)
{
    QUIET;
    const ptrdiff_t B = out[0]->size, K = last_of(in[0]);
    if (in[0]->dtype == CBP_I64) cbp_argmax_i64(B, K, in[0]->data, out[0]->data);
    else if (in[0]->dtype == CBP_BOOL) cbp_argmax_bool(B, K, in[0]->data, out[0]->data);
    else KERNELS(in[0])->argmax_last(B, K, in[0]->data, out[0]->data);
    return CBP_OK;
}

RUN(ce)
{
    QUIET;
    const cbp_array *x = in[0], *g = n_in > 2 ? in[2] : NULL;
    return KERNELS(x)->ce_fwd(x->shape[0], x->shape[1], x->data, in[1]->data, op->a[0], out[0]->data, data_of(out[1]),
                              data_of(g), g && g->size != 1, data_of(out[2]));
}

RUN(ce_vjp)
{
    QUIET;
    const cbp_array *p = in[0];
    KERNELS(p)->ce_vjp(p->shape[0], p->shape[1], p->data, in[1]->data, op->a[0], in[2]->data, out[0]->data);
    return CBP_OK;
}
