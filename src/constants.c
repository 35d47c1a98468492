/* constants.c: instructions that read nothing but constants run once, when the program is built. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 64 << 10 };                  /* bytes of a result worth keeping */

static int foldable(const cbp_program *p, const cbp_instr *x)
{
    if (x->writes || cbp_can_refuse(&x->op) || x->n_in == 0 || x->n_out != 1 || x->n_in > CBP_OP_FEW) return 0;
    const cbp_value *y = &p->values[cbp_out(p, x)[0]];
    if (y->place != CBP_TEMP || (size_t)y->size * cbp_itemsize((cbp_dtype)y->dtype) > MOST) return 0;
    for (int32_t k = 0; k < x->n_in; k++) {
        const int32_t v = cbp_in(p, x)[k];
        if (v >= 0 && p->values[cbp_root(p, v)].place != CBP_CONST) return 0;
    }
    return 1;
}

/* The array of a constant, seen in the shape of value v. */
static void see(const cbp_program *p, int32_t v, cbp_array *a)
{
    cbp_op_set_shape(a, p->values[v].dtype, p->values[v].ndim, p->values[v].shape);
    a->data = p->values[cbp_root(p, v)].held->data;
}

static cbp_status fold(cbp_program *p, const cbp_instr *x)
{
    const cbp_op_info *info = &cbp_op_infos[x->op.kind];
    cbp_value *y = &p->values[cbp_out(p, x)[0]];
    cbp_array arrays[CBP_OP_FEW], *in[CBP_OP_FEW], *out = cbp_array_new((cbp_dtype)y->dtype, y->ndim, y->shape);
    if (!out) return CBP_NOMEM;
    for (int32_t k = 0; k < x->n_in; k++) {
        in[k] = cbp_in(p, x)[k] < 0 ? NULL : &arrays[k];
        if (in[k]) see(p, cbp_in(p, x)[k], in[k]);
    }
    const size_t room = info->scratch ? info->scratch(&x->op, in, x->n_in, &out) : 0;
    void *scratch = room ? cbp_aligned(room) : NULL;
    if (room && !scratch) return cbp_array_drop(out), CBP_NOMEM;
    info->run(&x->op, in, x->n_in, &out, scratch);
    cbp_aligned_free(scratch);
    y->place = CBP_CONST;
    y->held = out;
    return CBP_OK;
}

cbp_status cbp_fold_constants(cbp_program *p)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr x = p->instrs[i];
        if (!foldable(p, &x)) p->instrs[n++] = x;
        else if (fold(p, &x) != CBP_OK) return CBP_NOMEM;
    }
    p->n_instrs = n;
    return CBP_OK;
}
