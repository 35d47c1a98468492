/* op_run.h: how each kind of op.def runs on one thread's arrays.  Included by op.c alone. */

#define RUN(name) \
    static cbp_status op_run_##name(OP op, cbp_array *const *in, int n_in, cbp_array *const *out, void *scratch)
#define QUIET (void)op, (void)in, (void)n_in, (void)out, (void)scratch
#define KERNELS(x) (cbp_active[(x)->dtype])

static size_t bytes_of(const cbp_array *x) { return (size_t)x->size * cbp_itemsize((cbp_dtype)x->dtype); }
static void *data_of(const cbp_array *x) { return x ? x->data : NULL; }

/* ---- integers, bools, selection ---- */

static void compare_loop(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y)
{
    cbp_compare_i64((cbp_compare_op)row, n, a, sa, b, sb, y);
}
static void logic_loop(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y)
{
    cbp_logic((cbp_logic_op)row, n, a, sa, b, sb, y);
}
RUN(integer)
{
    QUIET;
    if (cbp_integer_refused(op->row, in[1]->size, in[1]->data) >= 0) return CBP_OUT_OF_RANGE;
    cbp_walk_all(cbp_integer, op->row, in[0], in[1], out[0]);
    return CBP_OK;
}
RUN(compare_i64) { QUIET; cbp_walk_all(compare_loop, op->row, in[0], in[1], out[0]); return CBP_OK; }
RUN(logic) { QUIET; cbp_walk_all(logic_loop, op->row, in[0], in[1], out[0]); return CBP_OK; }
RUN(logic_not) { QUIET; cbp_logic_not(in[0]->size, in[0]->data, out[0]->data); return CBP_OK; }

/* 8 bytes, 4 or 1 are moved whatever they mean */
RUN(where)
{
    QUIET;
    const cbp_array *c = in[0], *a = in[1], *b = in[2];
    const ptrdiff_t sc = c->size != 1, sa = a->size != 1, sb = b->size != 1;
    if (a->dtype == CBP_BOOL) {
        const uint8_t *cs = c->data, *as = a->data, *bs = b->data;
        for (ptrdiff_t i = 0; i < out[0]->size; i++) ((uint8_t *)out[0]->data)[i] = cs[i * sc] ? as[i * sa] : bs[i * sb];
    } else {
        cbp_active[a->dtype == CBP_F32 ? CBP_F32 : CBP_F64]->where(out[0]->size, c->data, sc, a->data, sa, b->data, sb,
                                                                   out[0]->data);
    }
    return CBP_OK;
}

/* ---- sums and maxima ---- */

/* Axes are reduced from the last backwards, neighbouring ones as one; the first axis always by itself, so that a row gives
 * the same bits alone and in its batch.  The group of marked axes that ends at or before `last`: 0 if there is none. */
static int group_of(int64_t marked, int *first, int *last)
{
    while (*last >= 0 && !(marked >> *last & 1)) --*last;
    *first = *last;
    while (*first > 1 && marked >> (*first - 1) & 1) --*first;
    return *last >= 0;
}

/* Elements before, in and after axes [first, last] of a shape. */
static void cut(int ndim, const ptrdiff_t *shape, int first, int last, ptrdiff_t *outer, ptrdiff_t *n, ptrdiff_t *inner)
{
    *outer = *n = *inner = 1;
    for (int i = 0; i < ndim; i++) *(i < first ? outer : i <= last ? n : inner) *= shape[i];
}

/* The middle axis of (outer, n, inner) elements of a dtype; last: by the kernels over the last axis, inner is 1. */
static void reduce_axis(int dtype, int maximum, int last, ptrdiff_t outer, ptrdiff_t n, ptrdiff_t inner, const void *x, void *y)
{
    const cbp_kernels *k = dtype <= CBP_F64 ? cbp_active[dtype] : NULL;
    if (dtype == CBP_I64) cbp_reduce_i64(maximum, outer, n, inner, x, y);
    else if (dtype == CBP_BOOL) cbp_reduce_bool(outer, n, inner, x, y);
    else if (last) (maximum ? k->max_last : k->sum_last)(outer, n, x, y);
    else (maximum ? k->max_lead : k->sum_lead)(outer, n, inner, x, y);
}

/* The marked axes of x, which keep length 1, to y.  room: twice the first result. */
static void reduce_axes(const cbp_array *x, int64_t marked, int maximum, void *y, char *room)
{
    const void *now = x->data;
    ptrdiff_t shape[CBP_MAX_DIMS], outer, n, inner;
    size_t half = 0;                       /* bytes of the first result: where the other half of the room starts */
    int first, last = x->ndim - 1, turn = 0;
    for (int i = 0; i < x->ndim; i++) shape[i] = x->shape[i];
    if (!group_of(marked, &first, &last)) memcpy(y, x->data, bytes_of(x));
    else if (x->size == 1) {                       /* the loss of one row, say: a second axis would change no bit more */
        reduce_axis(x->dtype, maximum, 1, 1, 1, 1, now, y);
        return;
    }
    while (last >= 0) {
        cut(x->ndim, shape, first, last, &outer, &n, &inner);
        const int at_front = first == 0, along_rows = !at_front && inner == 1;
        for (int i = first; i <= last; i++) shape[i] = 1;
        last = first - 1;
        const int more = group_of(marked, &first, &last);
        if (now == x->data) half = (size_t)(outer * inner) * cbp_itemsize((cbp_dtype)x->dtype);
        void *to = more ? room + (turn ? half : 0) : y;
        reduce_axis(x->dtype, maximum, along_rows, outer, n, inner, now, to);
        now = to;
        turn = !turn;
    }
}

static int64_t marked_of(OP op, cbp_array *const *in)
{
    const cbp_array *x = in[0];
    if (op->kind == CBP_OP_reduce) return op->a[0];
    int64_t marked = 0;
    for (int i = 0, extra = x->ndim - (int)op->a[0]; i < x->ndim; i++)
        if (i < extra || (op->a[1 + i - extra] == 1 && x->shape[i] != 1)) marked |= (int64_t)1 << i;
    return marked;
}

static size_t op_scratch_reduce(OP op, cbp_array *const *in, int n_in, cbp_array *const *out)
{
    const cbp_array *x = in[0];
    ptrdiff_t outer, n, inner;
    int first, last = x->ndim - 1;
    (void)n_in, (void)out;
    if (!group_of(marked_of(op, in), &first, &last)) return 0;
    cut(x->ndim, x->shape, first, last, &outer, &n, &inner);
    last = first - 1;
    if (!group_of(marked_of(op, in), &first, &last)) return 0;
    return 2 * (size_t)(outer * inner) * cbp_itemsize((cbp_dtype)x->dtype);
}

RUN(reduce)
{
    QUIET;
    reduce_axes(in[0], marked_of(op, in), op->flags & 1, out[0]->data, scratch);
    return CBP_OK;
}

RUN(cumsum)
{
    QUIET;
    ptrdiff_t outer, n, inner;
    const cbp_array *x = in[0];
    cut(x->ndim, x->shape, (int)op->a[0], (int)op->a[0], &outer, &n, &inner);
    if (x->size) cbp_cumsum((cbp_dtype)x->dtype, op->flags & 1, outer, n, inner, x->data, out[0]->data);
    return CBP_OK;
}

RUN(sum_to)
{
    QUIET;
    reduce_axes(in[0], marked_of(op, in), 0, out[0]->data, scratch);
    return CBP_OK;
}
