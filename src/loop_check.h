/* loop_check.h: whether what a scan, a while_loop or a cond is given fits the programs that it runs, as loop.c trusts it
 * does.  Part of op_check.h.  The programs themselves are checked by check.c, as all are.
 */

static int is_like(int dtype, int ndim, const ptrdiff_t *shape, const cbp_value *v)
{
    return dtype == v->dtype && ndim == v->ndim && !memcmp(shape, v->shape, v->ndim * sizeof *shape);
}
static int is_value(const cbp_array *x, const cbp_value *v) { return is_like(x->dtype, x->ndim, x->shape, v); }
static int is_stack(const cbp_array *x, const cbp_value *v, int64_t n)
{
    return x->ndim > 0 && x->shape[0] == n && is_like(x->dtype, x->ndim - 1, x->shape + 1, v);
}
static const cbp_value *result_of(const cbp_loop *l, int i, int32_t k) { return &l->program[i]->values[l->out[i][k]]; }

/* The inputs: one that is not read may be anything, a carry that is missing is zeros. */
static const char *inputs_fit(OP op, cbp_array *const *in, int n_in)
{
    const cbp_loop *l = op->loop;
    NEED(n_in == l->n_in && l->n_carry <= l->n_out, WRONG_COUNT);
    NEED(op->a[0] >= 0, WRONG_ATTRIBUTE);
    for (int32_t k = 0; k < l->n_carry; k++) NEED(!in[k] || is_value(in[k], result_of(l, 0, k)), WRONG_SHAPE);
    for (int i = 0; i < 2 && l->program[i]; i++)
        for (int32_t k = 0; k < n_in; k++) {
            if (l->in[i][k] < 0) continue;
            const cbp_value *v = &l->program[i]->values[l->in[i][k]], *carry = k < l->n_carry ? result_of(l, 0, k) : NULL;
            NEED(carry || in[k], WRONG_COUNT);
            NEED(carry ? is_like(carry->dtype, carry->ndim, carry->shape, v) :
                 k < l->n_carry + l->n_x ? is_stack(in[k], v, op->a[0]) : is_value(in[k], v), WRONG_SHAPE);
        }
    return NULL;
}

CHECK(scan)
{
    const cbp_loop *l = op->loop;
    const char *wrong = inputs_fit(op, in, n_in);
    NEED(!wrong, wrong);
    NEED(n_out == l->n_out + l->n_carry, WRONG_COUNT);
    for (int32_t k = 0; k < n_out; k++) {
        const cbp_value *v = result_of(l, 0, k < l->n_out ? k : k - l->n_out);
        NEED(!out[k] || (k < l->n_carry ? is_value(out[k], v) : is_stack(out[k], v, op->a[0])), WRONG_SHAPE);
    }
    return NULL;
}

CHECK(while_loop)
{
    const cbp_loop *l = op->loop;
    NEED(l->n_carry > 0 && l->n_x == 0 && l->n_out == l->n_carry && n_out == l->n_out + 1, WRONG_COUNT);
    const cbp_value *truth = result_of(l, 1, 0);
    const cbp_array *steps = out[l->n_out];
    NEED(truth->dtype == CBP_BOOL && truth->size == 1, WRONG_SHAPE);
    NEED(!steps || (steps->dtype == CBP_I64 && steps->ndim == 0), WRONG_SHAPE);
    for (int32_t k = 0; k < l->n_out; k++) NEED(!out[k] || is_value(out[k], result_of(l, 0, k)), WRONG_SHAPE);
    return inputs_fit(op, in, n_in);
}

CHECK(cond)
{
    const cbp_loop *l = op->loop;
    NEED(l->n_carry == 0 && l->n_x == 0 && n_in > 0 && in[0] && n_out == l->n_out, WRONG_COUNT);
    NEED(in[0]->dtype == CBP_BOOL && in[0]->size == 1, WRONG_SHAPE);
    for (int32_t k = 0; k < n_out; k++) {
        const cbp_value *v = result_of(l, 0, k);
        NEED(is_like(v->dtype, v->ndim, v->shape, result_of(l, 1, k)), WRONG_SHAPE);
        NEED(!out[k] || is_value(out[k], v), WRONG_SHAPE);
    }
    return inputs_fit(op, in, n_in);
}
