/* op_move.h: movement, indices, what int64 and bool need.  Included by op.c alone. */

static ptrdiff_t item_of(const cbp_array *x) { return (ptrdiff_t)cbp_itemsize((cbp_dtype)x->dtype); }

static void byte_strides(const cbp_array *x, ptrdiff_t *strides)
{
    ptrdiff_t step = item_of(x);
    for (int i = x->ndim - 1; i >= 0; step *= x->shape[i--]) strides[i] = step;
}

RUN(transpose)
{
    ptrdiff_t own[CBP_MAX_DIMS], moved[CBP_MAX_DIMS];
    QUIET;
    byte_strides(in[0], own);
    for (int i = 0; i < in[0]->ndim; i++) moved[i] = own[op->a[i]];
    cbp_copy_strided(in[0]->ndim, out[0]->shape, moved, item_of(in[0]), in[0]->data, out[0]->data);
    return CBP_OK;
}

RUN(broadcast_to)
{
    const cbp_array *x = in[0], *y = out[0];
    ptrdiff_t own[CBP_MAX_DIMS], strides[CBP_MAX_DIMS];
    const int extra = y->ndim - x->ndim;
    QUIET;
    byte_strides(x, own);
    for (int i = 0; i < y->ndim; i++) strides[i] = i < extra || x->shape[i - extra] == 1 ? 0 : own[i - extra];
    cbp_copy_strided(y->ndim, y->shape, strides, item_of(x), x->data, y->data);
    return CBP_OK;
}

/* The view of a larger array that starts and steps describe: strides, and where it begins. */
static char *view_of(OP op, const cbp_array *large, ptrdiff_t *strides)
{
    char *at = large->data;
    byte_strides(large, strides);
    for (int i = 0; i < large->ndim; i++) {
        at += op->a[1 + CBP_MAX_DIMS + i] * strides[i];
        strides[i] *= (ptrdiff_t)op->a[1 + 2 * CBP_MAX_DIMS + i];
    }
    return at;
}

RUN(slice)
{
    ptrdiff_t strides[CBP_MAX_DIMS];
    QUIET;
    const char *from = view_of(op, in[0], strides);
    if (out[0]->size) cbp_copy_strided(out[0]->ndim, out[0]->shape, strides, item_of(in[0]), from, out[0]->data);
    return CBP_OK;
}

RUN(unslice)
{
    ptrdiff_t strides[CBP_MAX_DIMS];
    QUIET;
    memset(out[0]->data, 0, bytes_of(out[0]));
    char *to = view_of(op, out[0], strides);
    if (in[0]->size) cbp_scatter_strided(in[0]->ndim, in[0]->shape, strides, item_of(in[0]), in[0]->data, to);
    return CBP_OK;
}

RUN(concatenate)
{
    const cbp_array *y = out[0];
    size_t outer = 1;
    QUIET;
    for (int i = 0; i < op->a[0]; i++) outer *= (size_t)y->shape[i];
    if (!y->size) return CBP_OK;
    const size_t row = bytes_of(y) / outer;
    char *at = y->data;
    for (int j = 0; j < n_in; j++) {
        const size_t part = bytes_of(in[j]) / outer;
        for (size_t o = 0; o < outer; o++) memcpy(at + o * row, (const char *)in[j]->data + o * part, part);
        at += part;
    }
    return CBP_OK;
}

RUN(check_index)
{
    ptrdiff_t strides[CBP_MAX_DIMS];
    cbp_array counted;
    QUIET;
    for (int k = 0; k < n_in; k++)
        if (in[k] && in[k]->size == 0) return CBP_OK;
    for (int k = 0; k < n_in; k++)
        if (in[k] && cbp_first_outside(in[k]->size, in[k]->data, op->a[k]) < in[k]->size) return CBP_OUT_OF_RANGE;
    memset(out[0]->data, 0, bytes_of(out[0]));
    for (int k = 0; k < n_in; k++) {
        cbp_walk_strides(out[0], index_of(op, in, k, &counted), strides);
        cbp_add_axis(out[0]->ndim, out[0]->shape, strides, data_of(in[k]), op->a[k], out[0]->data);
    }
    return CBP_OK;
}

RUN(take)
{
    QUIET;
    const ptrdiff_t n = in[1]->size;
    if (out[0]->size) cbp_take(n, (ptrdiff_t)bytes_of(out[0]) / n, in[0]->data, in[1]->data, out[0]->data);
    return CBP_OK;
}

RUN(put_add)
{
    QUIET;
    const cbp_array *g = in[0];
    memset(out[0]->data, 0, bytes_of(out[0]));
    if (!g->size) return CBP_OK;
    const ptrdiff_t n = in[1]->size, N = g->size / n;
    if (g->dtype == CBP_F32) cbp_scatter_add_f32(n, N, g->data, in[1]->data, out[0]->data);
    else cbp_scatter_add_f64(n, N, g->data, in[1]->data, out[0]->data);
    return CBP_OK;
}

RUN(one_hot)
{
    QUIET;
    for (ptrdiff_t i = 0; i < in[0]->size; i++)
        if (((const int64_t *)in[0]->data)[i] < 0 || ((const int64_t *)in[0]->data)[i] >= op->a[0]) return CBP_OUT_OF_RANGE;
    if (out[0]->dtype == CBP_F32) cbp_one_hot_f32(in[0]->size, (ptrdiff_t)op->a[0], in[0]->data, out[0]->data);
    else cbp_one_hot_f64(in[0]->size, (ptrdiff_t)op->a[0], in[0]->data, out[0]->data);
    return CBP_OK;
}

/* C's conversions where they are defined; out of int64's range is its smallest value, NaN too, as NumPy has it on x86 */
#define CAST(From, To, EXPR) do { \
        const From *x = in[0]->data; \
        To *y = out[0]->data; \
        for (ptrdiff_t i = 0; i < in[0]->size; i++) { const From v = x[i]; y[i] = (To)(EXPR); } \
        return CBP_OK; \
    } while (0)
#define TO_ALL(From, TO_I64) \
    switch (out[0]->dtype) { \
    case CBP_F32: CAST(From, float, v); \
    case CBP_F64: CAST(From, double, v); \
    case CBP_I64: CAST(From, int64_t, TO_I64); \
    default: CAST(From, uint8_t, v != 0); \
    }
#define WHOLE_NUMBER ((double)v >= -0x1p63 && (double)v < 0x1p63 ? (int64_t)v : INT64_MIN)
RUN(cast)
{
    QUIET;
    switch (in[0]->dtype) {
    case CBP_F32: TO_ALL(float, WHOLE_NUMBER)
    case CBP_F64: TO_ALL(double, WHOLE_NUMBER)
    case CBP_I64: TO_ALL(int64_t, v)
    default: TO_ALL(uint8_t, v != 0)
    }
}

/* ---- random numbers: a stream is an int64 array with the bits of key and offset ---- */

#define STREAM ((const uint64_t *)in[0]->data)[0], ((const uint64_t *)in[0]->data)[1], out[0]->size
RUN(uniform)
{
    QUIET;
    if (out[0]->dtype == CBP_F32) cbp_rng_uniform_f32(STREAM, out[0]->data);
    else cbp_rng_uniform_f64(STREAM, out[0]->data);
    return CBP_OK;
}
RUN(normal)
{
    QUIET;
    if (out[0]->dtype == CBP_F32) cbp_rng_normal_f32(STREAM, out[0]->data);
    else cbp_rng_normal_f64(STREAM, out[0]->data);
    return CBP_OK;
}
RUN(mask) { QUIET; cbp_rng_mask(STREAM, op->p[0], out[0]->data); return CBP_OK; }
RUN(below) { QUIET; cbp_rng_below(STREAM, op->a[1 + CBP_MAX_DIMS], out[0]->data); return CBP_OK; }
RUN(permutation) { QUIET; cbp_rng_permutation(STREAM, out[0]->data); return CBP_OK; }
RUN(advance) { QUIET; ((uint64_t *)out[0]->data)[1] += (uint64_t)op->a[0]; return CBP_OK; }
