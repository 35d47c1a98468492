/* walk.c: see walk.h. */
#include "walk.h"

#include "dispatch.h"

void cbp_walk_strides(const cbp_array *out, const cbp_array *x, ptrdiff_t *stride)
{
    ptrdiff_t step = 1;
    for (int i = 0; i < out->ndim; i++) {
        const int axis = out->ndim - 1 - i;
        stride[axis] = 0;
        if (!x || i >= x->ndim) continue;
        const ptrdiff_t length = x->shape[x->ndim - 1 - i];
        if (length != 1) stride[axis] = step;
        step *= length;
    }
}

/* Neighbouring axes through which both operands walk as one become one; returns how many are left, outermost first. */
static int merge(cbp_walk *w, const cbp_array *out, ptrdiff_t stride[2][CBP_MAX_DIMS])
{
    int n = 0;
    for (int axis = 0; axis < out->ndim; axis++) {
        if (out->shape[axis] == 1) continue;
        int merges = n > 0;
        for (int k = 0; k < 2; k++)
            if (n > 0 && w->step[k][n - 1] != stride[k][axis] * out->shape[axis]) merges = 0;
        if (merges) w->length[n - 1] *= out->shape[axis];
        else w->length[n++] = out->shape[axis];
        for (int k = 0; k < 2; k++) w->step[k][n - 1] = stride[k][axis];
    }
    return n;
}

void cbp_walk_start(cbp_walk *w, const cbp_array *out, const cbp_array *a, const cbp_array *b)
{
    const cbp_array *x[2] = {a, b};
    int plain = 1;
    w->inner = out->size;
    w->left = out->size > 0;
    w->outer = 0;
    for (int k = 0; k < 2; k++) {
        w->p[k] = x[k] ? x[k]->data : NULL;
        w->s[k] = x[k] && x[k]->size != 1;
        if (w->s[k] && x[k]->size != out->size) plain = 0;
    }
    if (plain) return;                       /* each operand is as large as the result, or one number */
    ptrdiff_t stride[2][CBP_MAX_DIMS];
    for (int k = 0; k < 2; k++) cbp_walk_strides(out, x[k], stride[k]);
    const int n = merge(w, out, stride);
    w->outer = n - 1;
    w->inner = w->length[n - 1];
    w->left = out->size ? out->size / w->inner : 0;
    for (int k = 0; k < 2; k++) {
        w->s[k] = w->step[k][n - 1];
        for (int i = 0; i < w->outer; i++)
            w->step[k][i] *= x[k] ? (ptrdiff_t)cbp_itemsize((cbp_dtype)x[k]->dtype) : 0;
    }
    for (int i = 0; i < w->outer; i++) w->index[i] = 0;
}

void cbp_walk_next(cbp_walk *w)
{
    w->left--;
    for (int i = w->outer - 1; i >= 0; i--) {
        w->index[i]++;
        for (int k = 0; k < 2; k++)
            if (w->p[k]) w->p[k] += w->step[k][i];
        if (w->index[i] < w->length[i]) return;
        for (int k = 0; k < 2; k++)
            if (w->p[k]) w->p[k] -= w->step[k][i] * w->length[i];
        w->index[i] = 0;
    }
}

void cbp_walk_all(cbp_run_loop loop, int row, const cbp_array *a, const cbp_array *b, cbp_array *y)
{
    cbp_walk w;
    char *at = y->data;
    cbp_walk_start(&w, y, a, b);
    const ptrdiff_t step = w.inner * (ptrdiff_t)cbp_itemsize((cbp_dtype)y->dtype);
    for (; w.left > 0; at += step, cbp_walk_next(&w)) loop(row, w.inner, w.p[0], w.s[0], w.p[1], w.s[1], at);
}

void cbp_walk_binary_vjp(int row, int side, const cbp_array *a, const cbp_array *b, const cbp_array *y, const cbp_array *g,
                         cbp_array *d, int add)
{
    const cbp_kernels *k = cbp_active[g->dtype];
    const char *ys = y ? y->data : NULL, *gs = g->data;
    char *ds = d->data;
    cbp_walk w;
    cbp_walk_start(&w, g, a, b);
    const ptrdiff_t step = w.inner * (ptrdiff_t)cbp_itemsize((cbp_dtype)g->dtype);
    for (; w.left > 0; gs += step, ds += step, cbp_walk_next(&w)) {
        k->binary_vjp(row, side, w.inner, w.p[0], w.s[0], w.p[1], w.s[1], ys, gs, ds, add);
        if (ys) ys += step;
    }
}

int cbp_broadcast_shape(const cbp_array *a, const cbp_array *b, ptrdiff_t *shape, int *bad)
{
    const int n = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 0; i < n; i++) {
        const ptrdiff_t la = i < a->ndim ? a->shape[a->ndim - 1 - i] : 1, lb = i < b->ndim ? b->shape[b->ndim - 1 - i] : 1;
        if (la != lb && la != 1 && lb != 1) {
            *bad = -1 - i;
            return -1;
        }
        shape[n - 1 - i] = la == 1 ? lb : la;
    }
    return n;
}
