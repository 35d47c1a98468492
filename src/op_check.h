/* op_check.h: whether an operation that comes from a file is one of its kind.  Included by check.c alone.
 *
 * Each kind of op.def has a function here: NULL, or what is wrong in a few words.  It sees the operation, dtypes and
 * shapes of its inputs and outputs (whose sizes are known to fit), NULL where one is missing; data are not there.  What
 * it lets through, op_shape.h and op_run.h can be given.  That the outputs have the shapes that op_shape.h says, and that
 * an index was checked, is check.c's business.  A kind that no file holds has NULL in the place of the function.
 */

typedef const cbp_op *OP;

#define CHECK(name) \
    static const char *op_check_##name(OP op, cbp_array *const *in, int n_in, cbp_array *const *out, int n_out)
#define SILENT (void)op, (void)in, (void)n_in, (void)out, (void)n_out
#define NEED(what, reason) do { if (!(what)) return reason; } while (0)

static const char WRONG_COUNT[] = "has other numbers of inputs and outputs";
static const char WRONG_DTYPE[] = "has operands of other dtypes";
static const char WRONG_SHAPE[] = "has operands that do not fit", WRONG_ROW[] = "names no row of its table";
static const char WRONG_ATTRIBUTE[] = "has an attribute that makes no sense";

/* in[0..n_in) and out[0..n_out), all of them there */
static int takes(cbp_array *const *in, int n_in, int wanted_in, cbp_array *const *out, int n_out, int wanted_out)
{
    if (n_in != wanted_in || n_out != wanted_out) return 0;
    for (int k = 0; k < n_in; k++)
        if (!in[k]) return 0;
    for (int k = 0; k < n_out; k++)
        if (!out[k]) return 0;
    return 1;
}
#define TAKES(i, o) NEED(takes(in, n_in, i, out, n_out, o), WRONG_COUNT)

static int is_float(const cbp_array *x) { return x->dtype <= CBP_F64; }
static int alike(const cbp_array *x, const cbp_array *y) { return x->dtype == y->dtype && cbp_same_shape(x, y); }
/* missing, or as many elements, however they are arranged */
static int as_many(const cbp_array *x, const cbp_array *y)
{
    return !x || (x->dtype == y->dtype && x->size == y->size);
}
static ptrdiff_t rows_of(const cbp_array *x)
{
    ptrdiff_t n = 1;
    for (int i = 0; i < x->ndim - 1; i++) n *= x->shape[i];
    return n;
}
static ptrdiff_t axis_of(const cbp_array *x, int from_end) { return x->shape[x->ndim - from_end]; }

/* The shape in the attributes is that of y. */
static int gives(OP op, const cbp_array *y)
{
    if (op->a[0] != y->ndim || op->dtype != y->dtype) return 0;
    for (int i = 0; i < y->ndim; i++)
        if (op->a[1 + i] != y->shape[i]) return 0;
    return 1;
}
static int broadcasts_to(const cbp_array *x, const cbp_array *y)
{
    ptrdiff_t shape[CBP_MAX_DIMS];
    int bad;
    if (cbp_broadcast_shape(x, y, shape, &bad) != y->ndim) return 0;
    for (int i = 0; i < y->ndim; i++)
        if (shape[i] != y->shape[i]) return 0;
    return 1;
}

/* ---- rows ---- */

CHECK(unary)
{
    TAKES(1, 1);
    NEED(op->row >= 0 && op->row < cbp_n_unary, WRONG_ROW);
    return is_float(in[0]) ? NULL : WRONG_DTYPE;
}

CHECK(unary_vjp)
{
    NEED((n_in == 2 || n_in == 3) && n_out == 1 && out[0] && in[1] && (n_in == 2 || in[2]), WRONG_COUNT);
    NEED(op->row >= 0 && op->row < cbp_n_unary, WRONG_ROW);
    NEED(in[0] || cbp_unary_rows[op->row].keeps[0] == 'N', WRONG_COUNT);
    NEED(is_float(in[1]), WRONG_DTYPE);
    return as_many(in[0], in[1]) && (n_in == 2 || as_many(in[2], in[1])) ? NULL : WRONG_SHAPE;
}

CHECK(binary)
{
    TAKES(2, 1);
    NEED(op->row >= 0 && op->row < cbp_n_binary, WRONG_ROW);
    NEED(is_float(in[0]) && in[0]->dtype == in[1]->dtype, WRONG_DTYPE);
    return op->dtype == (cbp_binary_rows[op->row].compares ? CBP_BOOL : in[0]->dtype) ? NULL : WRONG_DTYPE;
}

/* An operand of the walk over g: dense or one number, or broadcast; not both ways in one walk. */
static int walks(const cbp_array *x, const cbp_array *g, int dense)
{
    if (!x || x->size == 1) return 1;
    return dense ? x->size == g->size : broadcasts_to(x, g);
}

CHECK(binary_vjp)
{
    NEED((n_in == 4 || n_in == 5) && n_out == 1 && out[0] && in[3] && (n_in == 4 || in[4]), WRONG_COUNT);
    NEED(op->row >= 0 && op->row < cbp_n_binary && !cbp_binary_rows[op->row].compares, WRONG_ROW);
    const char *keeps = op->flags & 1 ? cbp_binary_rows[op->row].keeps_b : cbp_binary_rows[op->row].keeps_a;
    const cbp_array *g = in[3];
    NEED(is_float(g), WRONG_DTYPE);
    for (int k = 0; k < 3; k++) {
        NEED(in[k] || !strchr(keeps, "ABY"[k]), WRONG_COUNT);
        NEED(!in[k] || in[k]->dtype == g->dtype, WRONG_DTYPE);
    }
    NEED((walks(in[0], g, 1) && walks(in[1], g, 1)) || (walks(in[0], g, 0) && walks(in[1], g, 0)), WRONG_SHAPE);
    return as_many(in[2], g) && (n_in == 4 || as_many(in[4], g)) ? NULL : WRONG_SHAPE;
}

/* ---- what only moves, counts or fills ---- */

CHECK(copy) { SILENT; TAKES(1, 1); return NULL; }
CHECK(reshape) { TAKES(1, 1); return gives(op, out[0]) && as_many(in[0], out[0]) ? NULL : WRONG_SHAPE; }

CHECK(fill)
{
    TAKES(0, 1);
    const double v = op->p[0], low = out[0]->dtype == CBP_BOOL ? 0 : -0x1p62, high = low == 0 ? 1 : 0x1p62;
    NEED(gives(op, out[0]), WRONG_SHAPE);
    return is_float(out[0]) || (v >= low && v <= high) ? NULL : WRONG_ATTRIBUTE;
}

CHECK(count) { TAKES(1, 1); return in[0]->dtype == CBP_I64 && op->dtype <= CBP_F64 ? NULL : WRONG_DTYPE; }

CHECK(where)
{
    SILENT;
    TAKES(3, 1);
    NEED(in[0]->dtype == CBP_BOOL && in[1]->dtype == in[2]->dtype, WRONG_DTYPE);
    for (int k = 0; k < 3; k++) NEED(in[k]->size == 1 || in[k]->size == out[0]->size, WRONG_SHAPE);
    return NULL;
}

static const char *pair_of(OP op, cbp_array *const *in, int dtype, int rows)
{
    NEED(op->row >= 0 && op->row < rows, WRONG_ROW);
    return in[0]->dtype == dtype && in[1]->dtype == dtype && op->dtype == CBP_BOOL ? NULL : WRONG_DTYPE;
}
CHECK(compare_i64) { TAKES(2, 1); return pair_of(op, in, CBP_I64, CBP_GE + 1); }
CHECK(integer)
{
    TAKES(2, 1);
    NEED(op->row >= 0 && op->row < CBP_N_INTEGER, WRONG_ROW);
    return in[0]->dtype == CBP_I64 && in[1]->dtype == CBP_I64 && op->dtype == CBP_I64 ? NULL : WRONG_DTYPE;
}
CHECK(logic) { TAKES(2, 1); return pair_of(op, in, CBP_BOOL, CBP_XOR + 1); }
CHECK(logic_not) { SILENT; TAKES(1, 1); return in[0]->dtype == CBP_BOOL ? NULL : WRONG_DTYPE; }
CHECK(cast) { TAKES(1, 1); return op->dtype >= 0 && op->dtype < CBP_N_DTYPES ? NULL : WRONG_DTYPE; }

/* ---- sums and maxima ---- */

CHECK(reduce)
{
    TAKES(1, 1);
    NEED(op->a[0] >= 0 && op->a[0] < (int64_t)1 << in[0]->ndim, WRONG_ATTRIBUTE);
    for (int i = 0; i < in[0]->ndim && op->flags & 1; i++)          /* nothing has no maximum */
        NEED(!(op->a[0] >> i & 1) || in[0]->shape[i] > 0, WRONG_SHAPE);
    return NULL;
}

CHECK(cumsum)
{
    TAKES(1, 1);
    NEED(in[0]->dtype != CBP_BOOL, WRONG_DTYPE);
    return op->a[0] >= 0 && op->a[0] < in[0]->ndim ? NULL : WRONG_ATTRIBUTE;
}

CHECK(sum_to)
{
    TAKES(1, 1);
    NEED(op->dtype == in[0]->dtype, WRONG_DTYPE);
    return gives(op, out[0]) && broadcasts_to(out[0], in[0]) ? NULL : WRONG_SHAPE;
}

static int has_last(const cbp_array *x) { return x->ndim > 0 && axis_of(x, 1) > 0; }
static const char *over_last(cbp_array *const *in)
{
    NEED(is_float(in[0]), WRONG_DTYPE);
    return has_last(in[0]) ? NULL : WRONG_SHAPE;
}
CHECK(argmax) { SILENT; TAKES(1, 1); return has_last(in[0]) ? NULL : WRONG_SHAPE; }
CHECK(softmax) { SILENT; TAKES(1, 1); return over_last(in); }
CHECK(log_softmax) { SILENT; TAKES(1, 1); return over_last(in); }
CHECK(logsumexp) { SILENT; TAKES(1, 1); return over_last(in); }

/* ---- movement ---- */

CHECK(transpose)
{
    TAKES(1, 1);
    int seen = 0;
    for (int i = 0; i < in[0]->ndim; i++) {
        NEED(op->a[i] >= 0 && op->a[i] < in[0]->ndim, WRONG_ATTRIBUTE);
        seen |= 1 << op->a[i];
    }
    return seen == (1 << in[0]->ndim) - 1 ? NULL : WRONG_ATTRIBUTE;
}

CHECK(broadcast_to)
{
    TAKES(1, 1);
    return gives(op, out[0]) && in[0]->dtype == out[0]->dtype && broadcasts_to(in[0], out[0]) ? NULL : WRONG_SHAPE;
}

/* `part` lies in `whole` at the starts and steps of the attributes. */
static const char *lies_in(OP op, const cbp_array *part, const cbp_array *whole)
{
    NEED(part->ndim == whole->ndim && part->dtype == whole->dtype, WRONG_SHAPE);
    for (int i = 0; i < whole->ndim; i++) {
        const int64_t n = part->shape[i], length = whole->shape[i];
        const int64_t start = op->a[1 + CBP_MAX_DIMS + i], step = op->a[1 + 2 * CBP_MAX_DIMS + i];
        int64_t end;
        NEED(start >= 0 && start <= length && step >= -length - 1 && step <= length + 1 && step != 0, WRONG_ATTRIBUTE);
        if (n == 0) continue;
        NEED(!__builtin_mul_overflow(n - 1, step, &end) && !__builtin_add_overflow(end, start, &end), WRONG_ATTRIBUTE);
        NEED(start < length && end >= 0 && end < length, WRONG_ATTRIBUTE);
    }
    return NULL;
}
CHECK(slice) { TAKES(1, 1); NEED(gives(op, out[0]), WRONG_SHAPE); return lies_in(op, out[0], in[0]); }
CHECK(unslice) { TAKES(1, 1); NEED(gives(op, out[0]), WRONG_SHAPE); return lies_in(op, in[0], out[0]); }

CHECK(concatenate)
{
    NEED(n_in > 0 && takes(in, n_in, n_in, out, n_out, 1), WRONG_COUNT);
    const cbp_array *y = out[0];
    ptrdiff_t total = 0;
    NEED(op->a[0] >= 0 && op->a[0] < y->ndim, WRONG_ATTRIBUTE);
    for (int k = 0; k < n_in; k++) {
        NEED(in[k]->ndim == y->ndim && in[k]->dtype == y->dtype, WRONG_SHAPE);
        for (int i = 0; i < y->ndim; i++) NEED(i == op->a[0] || in[k]->shape[i] == y->shape[i], WRONG_SHAPE);
        NEED(!__builtin_add_overflow(total, in[k]->shape[op->a[0]], &total), WRONG_SHAPE);
    }
    return total == y->shape[op->a[0]] ? NULL : WRONG_SHAPE;
}

/* ---- indices ---- */

/* How many places there are in n axes; -1: more than can be counted, or an axis of negative length. */
static int64_t places_in(const int64_t *lengths, int64_t n)
{
    int64_t places = 1;
    for (int64_t i = 0; i < n; i++)
        if (lengths[i] < 0 || __builtin_mul_overflow(places, lengths[i], &places)) return -1;
    return places;
}

CHECK(check_index)
{
    NEED(n_in > 0 && n_in <= CBP_MAX_DIMS && n_out == 1 && out[0], WRONG_COUNT);
    for (int k = 0; k < n_in; k++) {
        const int64_t behind = op->a[CBP_MAX_DIMS + k];
        NEED(!in[k] || in[k]->dtype == CBP_I64, WRONG_DTYPE);
        NEED(in[k] || (behind >= 0 && behind < out[0]->ndim), WRONG_ATTRIBUTE);
    }
    return places_in(op->a, n_in) >= 0 ? NULL : WRONG_ATTRIBUTE;
}

CHECK(take)
{
    TAKES(2, 1);
    NEED(in[1]->dtype == CBP_I64, WRONG_DTYPE);
    return op->a[0] >= 0 && op->a[0] < in[0]->ndim ? NULL : WRONG_SHAPE;
}

CHECK(put_add)
{
    TAKES(2, 1);
    const cbp_array *g = in[0], *index = in[1], *y = out[0];
    NEED(is_float(g) && g->dtype == y->dtype && index->dtype == CBP_I64, WRONG_DTYPE);
    NEED(gives(op, y) && op->a[1 + CBP_MAX_DIMS] >= 0 && op->a[1 + CBP_MAX_DIMS] < y->ndim, WRONG_SHAPE);
    const int axes = 1 + (int)op->a[1 + CBP_MAX_DIMS];
    NEED(g->ndim == index->ndim + y->ndim - axes, WRONG_SHAPE);
    for (int i = 0; i < g->ndim; i++)
        NEED(g->shape[i] == (i < index->ndim ? index->shape[i] : y->shape[i - index->ndim + axes]), WRONG_SHAPE);
    return NULL;
}

CHECK(one_hot)
{
    TAKES(1, 1);
    NEED(in[0]->dtype == CBP_I64 && op->dtype >= 0 && op->dtype <= CBP_F64, WRONG_DTYPE);
    return in[0]->ndim < CBP_MAX_DIMS && op->a[0] >= 0 ? NULL : WRONG_SHAPE;
}

/* ---- products, and the loss of classes ---- */

CHECK(matmul)
{
    TAKES(2, 1);
    NEED(is_float(in[0]) && in[0]->dtype == in[1]->dtype, WRONG_DTYPE);
    NEED(op->flags < 3, WRONG_ATTRIBUTE);                           /* there is no product of two transposed */
    return in[0]->ndim >= 2 && in[1]->ndim >= 2 ? NULL : WRONG_SHAPE;
}

CHECK(dense)
{
    NEED(n_in == 3 && n_out == 2 && in[0] && in[1] && out[0], WRONG_COUNT);
    const cbp_array *x = in[0], *w = in[1], *bias = in[2];
    NEED(op->row >= -1 && op->row < cbp_n_unary, WRONG_ROW);
    NEED(op->row >= 0 || !out[1], WRONG_COUNT);
    NEED(is_float(x) && w->dtype == x->dtype && (!bias || bias->dtype == x->dtype), WRONG_DTYPE);
    NEED(x->ndim > 0 && w->ndim == 2, WRONG_SHAPE);
    return !bias || (bias->ndim == 1 && bias->size == w->shape[1]) ? NULL : WRONG_SHAPE;
}

CHECK(dense_vjp)
{
    NEED(n_in == 4 && n_out == 4 && in[3] && (in[0] || !out[2]) && (in[1] || !out[1]), WRONG_COUNT);
    const cbp_array *x = in[0], *w = in[1], *kept = in[2], *g = in[3];
    NEED(op->row >= -1 && op->row < cbp_n_unary && op->prev == -1, WRONG_ROW);
    NEED(op->row < 0 ? !out[0] : out[0] && (kept || cbp_unary_rows[op->row].keeps[0] == 'N'), WRONG_COUNT);
    NEED(is_float(g) && (!x || x->dtype == g->dtype) && (!w || w->dtype == g->dtype), WRONG_DTYPE);
    NEED(g->ndim > 0 && as_many(kept, g) && axis_of(g, 1) == op->a[1], WRONG_SHAPE);
    NEED(!w || (w->ndim == 2 && w->shape[0] == op->a[0] && w->shape[1] == op->a[1]), WRONG_SHAPE);
    NEED((x || w || op->a[0] == 0) && op->a[2] == 0 && op->a[3] == 0, WRONG_ATTRIBUTE);
    if (!x) return NULL;
    NEED(x->ndim > 0 && axis_of(x, 1) == op->a[0], WRONG_SHAPE);
    return rows_of(x) == rows_of(g) ? NULL : WRONG_SHAPE;
}

CHECK(ce)
{
    NEED(n_in == 3 && n_out == 3 && in[0] && in[1] && out[0] && (in[2] || !out[2]), WRONG_COUNT);
    const cbp_array *x = in[0], *t = in[1], *g = in[2];
    SILENT;
    NEED(is_float(x) && t->dtype == CBP_I64 && (!g || g->dtype == x->dtype), WRONG_DTYPE);
    NEED(x->ndim == 2 && x->shape[1] > 0 && t->ndim == 1, WRONG_SHAPE);
    return !g || (g->ndim == 1 && (g->size == 1 || g->size == x->shape[0])) ? NULL : WRONG_SHAPE;
}

CHECK(ce_vjp)
{
    SILENT;
    TAKES(3, 1);
    const cbp_array *p = in[0], *t = in[1], *g = in[2];
    NEED(is_float(p) && t->dtype == CBP_I64 && g->dtype == p->dtype, WRONG_DTYPE);
    return p->ndim == 2 && p->shape[1] > 0 && t->size == p->shape[0] && g->size == p->shape[0] ? NULL : WRONG_SHAPE;
}

/* ---- random numbers ---- */

static const char *draws(OP op, const cbp_array *stream, const cbp_array *y, int integers)
{
    NEED(stream->dtype == CBP_I64 && (integers ? y->dtype == CBP_I64 : is_float(y)), WRONG_DTYPE);
    return stream->size == 2 && gives(op, y) ? NULL : WRONG_SHAPE;
}
CHECK(uniform) { TAKES(1, 1); return draws(op, in[0], out[0], 0); }
CHECK(normal) { TAKES(1, 1); return draws(op, in[0], out[0], 0); }
CHECK(permutation) { TAKES(1, 1); NEED(out[0]->ndim == 1, WRONG_SHAPE); return draws(op, in[0], out[0], 1); }
CHECK(below) { TAKES(1, 1); NEED(op->a[1 + CBP_MAX_DIMS] > 0, WRONG_ATTRIBUTE); return draws(op, in[0], out[0], 1); }

CHECK(mask)
{
    TAKES(1, 1);
    NEED(op->p[0] >= 0 && op->p[0] <= 1, WRONG_ATTRIBUTE);
    NEED(in[0]->dtype == CBP_I64 && out[0]->dtype == CBP_BOOL, WRONG_DTYPE);
    return in[0]->size == 2 && gives(op, out[0]) ? NULL : WRONG_SHAPE;
}

CHECK(advance)
{
    SILENT;
    TAKES(1, 1);
    return in[0]->dtype == CBP_I64 && in[0]->size == 2 && alike(out[0], in[0]) ? NULL : WRONG_SHAPE;
}

/* ---- what changes or refuses ---- */

/* w, g, t, m1, m2, m3 -> w, t, m1, m2, m3 */
static const char *member_of(const cbp_optim_info *row, cbp_array *const *in, cbp_array *const *out)
{
    const cbp_array *w = in[0], *g = in[1], *t = in[2];
    NEED(w && g && t && out[0] && out[1], WRONG_COUNT);
    NEED(is_float(w) && t->dtype == CBP_I64, WRONG_DTYPE);
    NEED(alike(g, w) && alike(out[0], w) && t->size == 1 && alike(out[1], t), WRONG_SHAPE);
    for (int k = 0; k < 3; k++) {
        const cbp_array *m = in[3 + k], *new_m = out[2 + k];
        NEED(!m == !new_m && (k < row->moments || !m) && (k >= row->always || m), WRONG_COUNT);
        NEED(!m || (alike(m, w) && alike(new_m, w)), WRONG_SHAPE);
    }
    return NULL;
}

CHECK(optim)
{
    NEED(op->row >= 0 && op->row < cbp_n_optim, WRONG_ROW);
    const cbp_optim_info *row = &cbp_optim_rows[op->row];
    const int members = n_out / 5;
    NEED(members > 0 && n_out == 5 * members && n_in == row->n_options + 6 * members, WRONG_COUNT);
    for (int i = 0; i < row->n_options; i++) NEED(in[i] && in[i]->dtype == CBP_F64 && in[i]->size == 1, WRONG_SHAPE);
    for (int k = 0; k < members; k++) {
        const char *wrong = member_of(row, in + row->n_options + 6 * k, out + 5 * k);
        if (wrong) return wrong;
    }
    return NULL;
}

#include "loop_check.h"

#define op_check_chain NULL                                         /* made when a program is built */
#define op_check_tile NULL
CHECK(guard) { SILENT; TAKES(1, 0); return in[0]->size == 1 ? NULL : WRONG_SHAPE; }
