/* fuse.c: instructions that become one, with the bits they had apart.
 *
 *     dense, unary                       -> dense with that activation
 *     dense_vjp, slope of what x was     -> dense_vjp with prev (the next layer's slope in the product's epilogue)
 *     ce ... ce_vjp                      -> ce that gives the gradient in the same pass
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    cbp_program *p;
    int32_t *made;                     /* by value: the instruction that makes it, -1: none */
    int32_t *uses;                     /* by value: how many operands it is, results and aliases counted */
    int32_t *user;                     /* by value: the last instruction that reads it */
    uint8_t *gone;                     /* by instruction */
} fusion;

static void count_uses(fusion *f)
{
    cbp_program *p = f->p;
    for (int32_t v = 0; v < p->n_values; v++) f->made[v] = f->user[v] = -1, f->uses[v] = p->values[v].place != CBP_TEMP;
    for (int32_t v = 0; v < p->n_values; v++)
        if (p->values[v].of >= 0) f->uses[p->values[v].of] += 2;          /* seen in another shape: let it be */
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        for (int32_t k = 0; k < x->n_out; k++)
            if (cbp_out(p, x)[k] >= 0) f->made[cbp_out(p, x)[k]] = i;
        for (int32_t k = 0; k < x->n_in; k++)
            if (cbp_in(p, x)[k] >= 0) f->uses[cbp_in(p, x)[k]]++, f->user[cbp_in(p, x)[k]] = i;
    }
}

/* Give instruction i operands of its own, `n_in` inputs of which the old ones come first. */
static cbp_status widen(cbp_program *p, int32_t i, int32_t n_in)
{
    const cbp_instr old = p->instrs[i];
    int32_t in[CBP_OP_FEW], out[CBP_OP_FEW];
    for (int32_t k = 0; k < n_in; k++) in[k] = k < old.n_in ? cbp_in(p, &old)[k] : -1;
    for (int32_t k = 0; k < old.n_out; k++) out[k] = cbp_out(p, &old)[k];
    if (cbp_program_instr(p, &old.op, in, n_in, out, old.n_out, old.line)) return CBP_NOMEM;
    p->instrs[i].in = p->instrs[p->n_instrs - 1].in;
    p->instrs[i].out = p->instrs[p->n_instrs - 1].out;
    p->instrs[i].n_in = n_in;
    p->n_instrs--;
    return CBP_OK;
}

/* y = x w + b, a = f(y)   ->   a = f(x w + b), and y beside it where somebody reads it */
static void activation(fusion *f, int32_t j)
{
    cbp_program *p = f->p;
    const cbp_instr *act = &p->instrs[j];
    const int32_t y = cbp_in(p, act)[0], i = f->made[y];
    if (i < 0 || p->values[y].place != CBP_TEMP) return;
    cbp_instr *x = &p->instrs[i];
    if (x->op.kind != CBP_OP_dense || x->op.row >= 0 || x->segment != act->segment || cbp_out(p, x)[0] != y) return;
    x->op.row = act->op.row;
    memcpy(x->op.p, act->op.p, sizeof x->op.p);
    cbp_out(p, x)[0] = cbp_out(p, act)[0];
    cbp_out(p, x)[1] = f->uses[y] > 1 ? y : -1;
    f->made[cbp_out(p, x)[0]] = i;
    f->gone[j] = 1;
}

/* forward: x = f(kept), y = x w   so: gx = (g w^T) f'(kept), in the epilogue of the product */
static cbp_status previous(fusion *f, int32_t i)
{
    cbp_program *p = f->p;
    cbp_instr *x = &p->instrs[i];
    const int32_t dx = cbp_out(p, x)[1];
    if (x->op.prev >= 0 || dx < 0 || p->values[dx].place != CBP_TEMP || f->uses[dx] != 1) return CBP_OK;
    const int32_t j = f->user[dx];
    cbp_instr *next = &p->instrs[j];
    const int slope = next->op.kind == CBP_OP_unary_vjp && next->n_in == 2 && cbp_in(p, next)[1] == dx;
    const int layer = next->op.kind == CBP_OP_dense_vjp && next->op.row >= 0 && cbp_in(p, next)[3] == dx;
    if ((!slope && !layer) || next->segment != x->segment) return CBP_OK;
    const int32_t kept = cbp_in(p, next)[slope ? 0 : 2];
    if (kept >= 0 && f->made[cbp_root(p, kept)] >= i) return CBP_OK;
    if (widen(p, i, 5) != CBP_OK) return CBP_NOMEM;
    x = &p->instrs[i], next = &p->instrs[j];
    x->op.prev = next->op.row;
    memcpy(x->op.q, next->op.p, sizeof x->op.q);
    cbp_in(p, x)[4] = kept;
    if (slope) {
        cbp_out(p, x)[1] = cbp_out(p, next)[0];
        f->made[cbp_out(p, next)[0]] = i;
        f->gone[j] = 1;
    } else {
        next->op.row = -1;
        cbp_in(p, next)[2] = cbp_out(p, next)[0] = -1;
    }
    return CBP_OK;
}

/* Whether value v, made in (from, to), needs nothing of instruction `from`; marks what it needs in between. */
static int independent(const fusion *f, int32_t v, int32_t from, int32_t to, uint8_t *cone)
{
    const cbp_program *p = f->p;
    int32_t left = 0;
    for (int32_t w = v; w >= 0; w = p->values[w].of)
        if (f->made[w] == from) return 0;
        else if (f->made[w] > from) left = 1, cone[f->made[w]] = 1;
    for (int32_t i = to - 1; left && i > from; i--) {
        if (!cone[i]) continue;
        if (p->instrs[i].writes || cbp_can_refuse(&p->instrs[i].op)) return 0;
        for (int32_t k = 0; k < p->instrs[i].n_in; k++)
            for (int32_t w = cbp_in(p, &p->instrs[i])[k]; w >= 0; w = p->values[w].of) {
                if (f->made[w] == from) return 0;
                if (f->made[w] > from) cone[f->made[w]] = 1;
            }
    }
    return 1;
}

/* Move the marked instructions of (from, to) in front of `from`. */
static void hoist(fusion *f, int32_t from, int32_t to, const uint8_t *cone, cbp_instr *room)
{
    cbp_program *p = f->p;
    int32_t n = 0;
    for (int turn = 1; turn >= 0; turn--)
        for (int32_t i = from; i < to; i++)
            if (cone[i] == turn) room[n++] = p->instrs[i];
    memcpy(p->instrs + from, room, (size_t)n * sizeof *room);
}

/* loss, p = ce(x, t) ... dx = ce_vjp(p, t, g)   ->   loss, dx = ce(x, t, g), g of one number for all rows where it is */
static cbp_status entropy(fusion *f, int32_t j, int *moved)
{
    cbp_program *p = f->p;
    const cbp_instr *vjp = &p->instrs[j];
    const int32_t prob = cbp_in(p, vjp)[0], target = cbp_in(p, vjp)[1], i = f->made[prob];
    if (i < 0 || p->instrs[i].op.kind != CBP_OP_ce || p->instrs[i].segment != vjp->segment) return CBP_OK;
    const cbp_instr *ce = &p->instrs[i];
    if (cbp_in(p, ce)[1] != target || ce->op.a[0] != vjp->op.a[0] || (ce->n_in > 2 && cbp_in(p, ce)[2] >= 0)) return CBP_OK;
    int32_t g = cbp_in(p, vjp)[2];
    if (f->made[g] >= 0 && p->instrs[f->made[g]].op.kind == CBP_OP_broadcast_to) {
        const int32_t one = cbp_in(p, &p->instrs[f->made[g]])[0];
        if (p->values[one].size == 1) g = one;
    }
    uint8_t *cone = calloc((size_t)p->n_instrs + 1, 1);
    cbp_instr *room = malloc(((size_t)p->n_instrs + 1) * sizeof *room);
    cbp_status status = !cone || !room ? CBP_NOMEM : CBP_OK;
    if (status == CBP_OK && independent(f, g, i, j, cone)) {
        status = widen(p, i, 3);
        if (status == CBP_OK) {
            cbp_in(p, &p->instrs[i])[2] = g;
            cbp_out(p, &p->instrs[i])[2] = cbp_out(p, &p->instrs[j])[0];
            f->gone[j] = 1;
            hoist(f, i, j, cone, room);
            *moved = 1;
        }
    }
    free(cone), free(room);
    return status;
}

static void compact(fusion *f)
{
    int32_t n = 0;
    for (int32_t i = 0; i < f->p->n_instrs; i++)
        if (!f->gone[i]) f->p->instrs[n++] = f->p->instrs[i];
    f->p->n_instrs = n;
    memset(f->gone, 0, (size_t)f->p->n_instrs);
}

static cbp_status fuse_all(fusion *f)
{
    cbp_program *p = f->p;
    cbp_status status = CBP_OK;
    for (int32_t i = 0; i < p->n_instrs; i++)
        if (p->instrs[i].op.kind == CBP_OP_unary) activation(f, i);
    compact(f);
    count_uses(f);
    for (int32_t i = 0; i < p->n_instrs && status == CBP_OK; i++)
        if (!f->gone[i] && p->instrs[i].op.kind == CBP_OP_dense_vjp) status = previous(f, i);
    compact(f);
    for (int32_t i = 0; i < p->n_instrs && status == CBP_OK; i++) {
        int moved = 0;
        if (p->instrs[i].op.kind != CBP_OP_ce_vjp) continue;
        count_uses(f);
        status = entropy(f, i, &moved);
        if (moved) compact(f), i--;
    }
    return status == CBP_OK ? cbp_drop_dead(p) : status;
}

cbp_status cbp_fuse(cbp_program *p)
{
    const size_t n = (size_t)p->n_values + 1;
    fusion f = {p, malloc(n * sizeof(int32_t)), malloc(n * sizeof(int32_t)), malloc(n * sizeof(int32_t)),
                calloc((size_t)p->n_instrs + 1, 1)};
    cbp_status status = CBP_NOMEM;
    if (f.made && f.uses && f.user && f.gone) {
        count_uses(&f);
        status = fuse_all(&f);
    }
    free(f.made), free(f.uses), free(f.user), free(f.gone);
    return status;
}
