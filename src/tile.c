/* tile.c: see tile.h.  How tiles are found: tiles.c. */
#include "tile.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "program.h"

enum { LINE = 64 };

static size_t lines(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

cbp_tile *cbp_tile_new(int32_t n_steps, int32_t n_regs, int32_t n_args)
{
    cbp_tile *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->regs = calloc((size_t)n_regs + 1, sizeof *t->regs);
    t->steps = calloc((size_t)n_steps + 1, sizeof *t->steps);
    t->args = calloc((size_t)n_args + 1, sizeof *t->args);
    if (t->regs && t->steps && t->args) return t;
    cbp_tile_free(t);
    return NULL;
}

void cbp_tile_free(cbp_tile *t)
{
    if (!t) return;
    for (int32_t i = 0; i < t->n_steps; i++) free(t->steps[i].op.chain);
    free(t->regs), free(t->steps), free(t->args), free(t);
}

/* ---- what a thread has for itself ---- */

typedef struct {
    cbp_array *arrays;                 /* by register */
    cbp_array **args;
    cbp_op *ops;                       /* the steps', told which rows they have */
    char *slab, *scratch;
} slot;

static size_t head_bytes(const cbp_tile *t)
{
    return lines((size_t)t->n_regs * sizeof(cbp_array) + (size_t)t->n_args * sizeof(void *) + (size_t)t->n_steps * sizeof(cbp_op));
}
static size_t slot_bytes(const cbp_tile *t) { return head_bytes(t) + lines(t->slab) + lines(t->scratch); }

size_t cbp_tile_scratch(const cbp_tile *t)
{
    return (size_t)t->n_slots * slot_bytes(t) + (size_t)cbp_tile_units(t) * t->sums;
}

typedef struct {
    const cbp_tile *t;
    cbp_array *const *in, *const *out;
    char *sums, *slots;
    _Atomic ptrdiff_t next;            /* the group that nobody has taken yet */
    _Atomic int status;
} work;

static cbp_array *operand(const work *w, const cbp_tile_reg *r)
{
    return r->operand < w->t->n_in ? w->in[r->operand] : w->out[r->operand - w->t->n_in];
}

static slot slot_of(const work *w, ptrdiff_t i)
{
    const cbp_tile *t = w->t;
    char *at = w->slots + (size_t)i * slot_bytes(t);
    slot s = {.arrays = (cbp_array *)at, .slab = at + head_bytes(t), .scratch = at + head_bytes(t) + lines(t->slab)};
    s.ops = (cbp_op *)(s.arrays + t->n_regs);
    s.args = (cbp_array **)(s.ops + t->n_steps);
    memset(s.arrays, 0, (size_t)t->n_regs * sizeof *s.arrays);
    for (int32_t r = 0; r < t->n_regs; r++) {
        const cbp_tile_reg *x = &t->regs[r];
        cbp_op_set_shape(&s.arrays[r], x->dtype, x->ndim, x->shape);
        if (x->kind == CBP_REG_LOCAL) s.arrays[r].data = s.slab + x->offset;
    }
    for (int32_t k = 0; k < t->n_args; k++) {
        const int32_t r = t->args[k];
        s.args[k] = r < 0 ? NULL : t->regs[r].kind == CBP_REG_WHOLE ? operand(w, &t->regs[r]) : &s.arrays[r];
    }
    for (int32_t k = 0; k < t->n_steps; k++) s.ops[k] = t->steps[k].op;
    return s;
}

/* Point the registers at rows [from, from + n) of group `unit`. */
static void look_at(const work *w, const slot *s, ptrdiff_t unit, ptrdiff_t from, ptrdiff_t n)
{
    if (cbp_plant_fault == 4 && from) from--;
    for (int32_t r = 0; r < w->t->n_regs; r++) {
        const cbp_tile_reg *x = &w->t->regs[r];
        cbp_array *a = &s->arrays[r];
        if (x->kind == CBP_REG_SUM) a->data = w->sums + (size_t)unit * w->t->sums + x->offset;
        if (x->kind == CBP_REG_ROWS)
            a->data = (char *)operand(w, x)->data + (size_t)(from * x->row) * cbp_itemsize((cbp_dtype)x->dtype);
        if (x->kind == CBP_REG_ROWS || x->kind == CBP_REG_LOCAL) a->shape[0] = n, a->size = n * x->row;
    }
}

static cbp_status run_unit(const work *w, const slot *s, ptrdiff_t unit)
{
    const cbp_tile *t = w->t;
    const ptrdiff_t begin = unit * t->unit, end = begin + t->unit < t->rows ? begin + t->unit : t->rows;
    for (ptrdiff_t from = begin; from < end; from += t->block) {
        look_at(w, s, unit, from, end - from < t->block ? end - from : t->block);
        for (int32_t k = 0; k < t->n_steps; k++) {
            const cbp_tile_step *x = &t->steps[k];
            if (x->op.kind == CBP_OP_dense_vjp) s->ops[k].a[2] = from - begin, s->ops[k].a[3] = end - begin;
            const cbp_status status = cbp_op_infos[x->op.kind].run(&s->ops[k], s->args + x->in, x->n_in, s->args + x->out,
                                                                   s->scratch);
            if (status != CBP_OK) return status;
        }
    }
    return CBP_OK;
}

static void run_slot(void *ctx, ptrdiff_t i)
{
    work *w = ctx;
    const slot s = slot_of(w, i);
    const ptrdiff_t units = cbp_tile_units(w->t);
    for (ptrdiff_t u = atomic_fetch_add(&w->next, 1); u < units; u = atomic_fetch_add(&w->next, 1)) {
        const cbp_status status = run_unit(w, &s, u);
        if (status == CBP_OK) continue;
        w->status = status;
        return;
    }
}

/* ---- the tree over the groups ---- */

#define ADD(T) do { T *to = to_; const T *from = from_; for (ptrdiff_t i = 0; i < n; i++) to[i] += from[i]; } while (0)
static void add(int dtype, ptrdiff_t n, void *to_, const void *from_)
{
    if (dtype == CBP_F32) ADD(float);
    else ADD(double);
}

static void add_groups(const work *w)
{
    const cbp_tile *t = w->t;
    const ptrdiff_t units = cbp_tile_units(t);
    for (int32_t r = 0; r < t->n_regs; r++) {
        const cbp_tile_reg *x = &t->regs[r];
        if (x->kind != CBP_REG_SUM) continue;
        char *first = w->sums + x->offset;
        for (ptrdiff_t d = 1; d < units; d *= 2)
            for (ptrdiff_t i = 0; i + d < units; i += 2 * d)
                add(x->dtype, x->row, first + (size_t)i * t->sums, first + (size_t)(i + d) * t->sums);
        memcpy(operand(w, x)->data, first, (size_t)x->row * cbp_itemsize((cbp_dtype)x->dtype));
    }
}

cbp_status cbp_tile_run(const cbp_tile *t, cbp_array *const *in, cbp_array *const *out, void *scratch)
{
    work w = {.t = t, .in = in, .out = out, .sums = scratch, .status = CBP_OK};
    const int threads = t->n_slots < 2 ? 1 : cbp_get_num_threads();
    w.slots = w.sums + (size_t)cbp_tile_units(t) * t->sums;
    cbp_parallel(run_slot, &w, threads < t->n_slots ? threads : t->n_slots);
    if (w.status != CBP_OK) return (cbp_status)w.status;
    add_groups(&w);
    return CBP_OK;
}
