/* slab.c: how long each value of a program is needed, and its place in the slab: the lowest gap that is large enough, or
 * that of an operand which nobody reads later.
 */
#include "plan.h"

#include <stdlib.h>

static void lifetimes(cbp_program *p)
{
    for (int32_t v = 0; v < p->n_values; v++) p->values[v].made = p->values[v].used = -1;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        for (int32_t k = 0; k < x->n_in + x->n_out; k++) {
            if (p->args[x->in + k] < 0) continue;
            cbp_value *v = &p->values[cbp_root(p, p->args[x->in + k])];
            if (v->made < 0) v->made = i;
            v->used = x->segment && v->made < p->forward ? p->n_instrs : i;    /* a sweep may run again */
        }
    }
}

/* Whether instruction i may write its first output over an operand of the same shape that nobody reads later. */
static int elementwise(const cbp_op *op)
{
    return op->kind == CBP_OP_unary || op->kind == CBP_OP_unary_vjp || op->kind == CBP_OP_binary
        || op->kind == CBP_OP_binary_vjp || op->kind == CBP_OP_copy;
}

static int32_t replaced(const cbp_program *p, int32_t i, int32_t out)
{
    const cbp_instr *x = &p->instrs[i];
    const cbp_value *y = &p->values[out];
    if (!elementwise(&x->op)) return -1;
    const int adds = (x->op.kind == CBP_OP_unary_vjp && x->n_in > 2) || (x->op.kind == CBP_OP_binary_vjp && x->n_in > 4);
    for (int32_t k = x->n_in - 1; k >= (adds ? x->n_in - 1 : 0); k--) {      /* what is added to is there before g is read */
        const int32_t v = cbp_in(p, x)[k];
        if (v < 0) continue;
        const cbp_value *a = &p->values[v], *root = &p->values[cbp_root(p, v)];
        const int free_now = root->used == i || (cbp_plant_fault == 3 && y->dtype <= CBP_F64);
        int same = root->place == CBP_TEMP && free_now && a->dtype == y->dtype && a->ndim == y->ndim;
        for (int d = 0; same && d < y->ndim; d++) same = a->shape[d] == y->shape[d];
        if (same) return cbp_root(p, v);
    }
    return -1;
}

typedef struct { ptrdiff_t at, end; int32_t value; } block;
typedef struct { block *list; int32_t n; size_t top; } slab;

static void take(slab *s, ptrdiff_t at, ptrdiff_t bytes, int32_t value)
{
    int32_t i = s->n++;
    for (; i > 0 && s->list[i - 1].at > at; i--) s->list[i] = s->list[i - 1];
    s->list[i] = (block){at, at + bytes, value};
    if ((size_t)(at + bytes) > s->top) s->top = (size_t)(at + bytes);
}

/* The lowest gap that is large enough. */
static ptrdiff_t gap(const slab *s, ptrdiff_t bytes)
{
    ptrdiff_t at = 0;
    for (int32_t i = 0; i < s->n; i++) {
        if (s->list[i].at - at >= bytes) return at;
        if (s->list[i].end > at) at = s->list[i].end;
    }
    return at;
}

/* A value that is still needed though instruction i does not touch it: where y goes if that fault is planted.  -1: none.
 * Floats alone: a wrong index would crash. */
static int32_t victim(const cbp_program *p, const slab *s, int32_t i, const cbp_value *y)
{
    for (int32_t b = 0; b < s->n && y->dtype <= CBP_F64; b++) {
        const cbp_value *v = &p->values[s->list[b].value];
        const int fits = s->list[b].end - s->list[b].at >= (ptrdiff_t)cbp_value_bytes(y);
        if (fits && v->used > i && v->made < i && v->dtype <= CBP_F64) return s->list[b].value;
    }
    return -1;
}

static void release(const cbp_program *p, slab *s, int32_t now)
{
    int32_t n = 0;
    for (int32_t i = 0; i < s->n; i++)
        if (p->values[s->list[i].value].used > now) s->list[n++] = s->list[i];
    s->n = n;
}

cbp_status cbp_place_values(cbp_program *p, int apart)
{
    lifetimes(p);
    slab s = {malloc(((size_t)p->n_values + 1) * sizeof(block)), 0, 0};
    if (!s.list) return CBP_NOMEM;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        for (int32_t k = 0; k < x->n_out; k++) {
            if (cbp_out(p, x)[k] < 0) continue;
            const int32_t v = cbp_root(p, cbp_out(p, x)[k]);
            cbp_value *y = &p->values[v];
            if (y->place != CBP_TEMP || y->made != i) continue;
            int32_t old = k == 0 && !apart ? replaced(p, i, v) : -1;
            if (cbp_plant_fault == 1 && !apart && old < 0) old = victim(p, &s, i, y);
            const ptrdiff_t bytes = (ptrdiff_t)cbp_value_bytes(y);
            y->offset = old >= 0 ? p->values[old].offset : apart ? (ptrdiff_t)s.top : gap(&s, bytes);
            take(&s, y->offset, bytes, v);
        }
        if (!apart) release(p, &s, i);
    }
    p->slab = s.top;
    free(s.list);
    return CBP_OK;
}
