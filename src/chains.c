/* chains.c: finds elementwise instructions that can run as one chain.
 *
 * An instruction joins the newest chain of its dtype and size whose place, that of its first member, comes after
 * everything it reads that no member makes.  Sums of slopes become links of their own; a number spread over an array is
 * read as a number.  What nobody outside reads stays in scratch.
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "rows.h"

enum { SCRATCH = 64 << 10, FEW = 64, MANY = 256, MOST_LINKS = 4096 };

typedef struct {
    int32_t place, members, newest;    /* the instruction it runs at; how many have joined, and the last of them */
    uint8_t dtype;
    ptrdiff_t size;
} group;

typedef struct {
    cbp_program *p;
    int32_t *of, *next;                /* by instruction: its group, and the next that has joined that; -1: none */
    int32_t *made, *last;              /* by value (its root): the instruction that makes it, the last that reads it */
    int32_t *number;                   /* by value: the one number that it is in every element, -1 */
    int32_t *reg;                      /* by value: its register in the chain that is being written */
    group *groups;
    int32_t n_groups, add;             /* add: the row of that name */
} search;

static int is_link(const search *s, const cbp_instr *x)
{
    const cbp_program *p = s->p;
    const int kind = x->op.kind;
    if (kind != CBP_OP_unary && kind != CBP_OP_unary_vjp && kind != CBP_OP_binary && kind != CBP_OP_binary_vjp) return 0;
    const cbp_value *y = &p->values[cbp_out(p, x)[0]];
    if (y->dtype > CBP_F64 || y->size == 0) return 0;
    for (int32_t k = 0; k < x->n_in; k++) {
        const int32_t v = cbp_in(p, x)[k];
        if (v < 0) continue;
        if (p->values[v].dtype != y->dtype || (p->values[v].size != y->size && p->values[v].size != 1)) return 0;
    }
    return 1;
}

/* The value that has the elements of v: a number that was spread, or the same memory before it was reshaped. */
static int32_t as_number(const search *s, int32_t v)
{
    for (;;) {
        if (s->p->values[v].place == CBP_TEMP && s->p->values[v].of >= 0) v = s->p->values[v].of;
        else if (s->number[v] >= 0) v = s->number[v];
        else return v;
    }
}

/* Whether what x reads is there when group g runs. */
static int may_join(const search *s, const cbp_instr *x, int32_t g)
{
    const cbp_program *p = s->p;
    const cbp_value *y = &p->values[cbp_out(p, x)[0]];
    if (s->groups[g].dtype != y->dtype || s->groups[g].size != y->size) return 0;
    if (p->instrs[s->groups[g].place].segment != x->segment || s->groups[g].members >= MOST_LINKS) return 0;
    for (int32_t k = 0; k < x->n_in; k++) {
        if (cbp_in(p, x)[k] < 0) continue;
        const int32_t m = s->made[cbp_root(p, as_number(s, cbp_in(p, x)[k]))];
        if (m >= s->groups[g].place && s->of[m] != g) return 0;
    }
    return 1;
}

static void find(search *s)
{
    cbp_program *p = s->p;
    for (int32_t v = 0; v < p->n_values; v++) s->made[v] = s->last[v] = s->number[v] = -1;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        s->of[i] = s->next[i] = -1;
        if (x->op.kind == CBP_OP_broadcast_to && p->values[cbp_in(p, x)[0]].size == 1)
            s->number[cbp_out(p, x)[0]] = cbp_in(p, x)[0];
        if (is_link(s, x)) {
            for (int32_t g = s->n_groups - 1; g >= 0 && g > s->n_groups - 8 && s->of[i] < 0; g--)
                if (may_join(s, x, g)) s->of[i] = g;
            if (s->of[i] < 0) {
                const cbp_value *y = &p->values[cbp_out(p, x)[0]];
                s->groups[s->n_groups] = (group){i, 0, i, y->dtype, y->size};
                s->of[i] = s->n_groups++;
            }
            group *mine = &s->groups[s->of[i]];
            if (mine->members++) mine->newest = s->next[mine->newest] = i;
        }
        for (int32_t k = 0; k < x->n_out; k++)
            if (cbp_out(p, x)[k] >= 0) s->made[cbp_root(p, cbp_out(p, x)[k])] = i;
    }
}

/* ---- writing one chain ---- */

/* Marks values that are read where another group, or none, runs. */
static void find_outside(const search *s, uint8_t *outside)
{
    const cbp_program *p = s->p;
    for (int32_t v = 0; v < p->n_values; v++) outside[v] = p->values[v].place != CBP_TEMP || p->values[v].of >= 0;
    for (int32_t i = 0; i < p->n_instrs; i++)
        for (int32_t k = 0; k < p->instrs[i].n_in; k++) {
            const int32_t v = cbp_in(p, &p->instrs[i])[k];
            for (int32_t w = v < 0 || s->of[i] < 0 ? v : as_number(s, v); w >= 0; w = p->values[w].of) {
                const int32_t m = s->made[cbp_root(p, w)];
                if (m < 0 || s->of[m] < 0 || s->of[m] != s->of[i] || p->values[w].of >= 0) outside[w] = 1;
            }
        }
}

typedef struct {
    cbp_chain *c;
    int32_t *list;                     /* values of the inputs, then of the outputs */
    int32_t *free_slots, n_free;
} writer;

static int32_t slot(writer *w) { return w->n_free ? w->free_slots[--w->n_free] : w->c->n_slots++; }

/* Numbers for inputs and outputs of group g; slots come as links are written. */
static void number_registers(search *s, int32_t g, const uint8_t *outside, writer *w)
{
    const cbp_program *p = s->p;
    cbp_chain *c = w->c;
    for (int32_t i = s->groups[g].place; i >= 0; i = s->next[i]) {
        for (int32_t k = 0; k < p->instrs[i].n_in; k++) {
            if (cbp_in(p, &p->instrs[i])[k] < 0) continue;
            const int32_t v = as_number(s, cbp_in(p, &p->instrs[i])[k]), m = s->made[cbp_root(p, v)];
            s->last[v] = i;
            if ((m < 0 || s->of[m] != g || p->values[v].of >= 0) && s->reg[v] < 0) s->reg[v] = c->n_in, w->list[c->n_in++] = v;
        }
    }
    for (int32_t i = s->groups[g].place; i >= 0; i = s->next[i]) {
        const int32_t v = cbp_out(p, &p->instrs[i])[0];
        if (outside[v]) s->reg[v] = c->n_in + c->n_out, w->list[c->n_in + c->n_out++] = v;
    }
}

/* The slots of what instruction i reads last are free again. */
static void release(search *s, int32_t i, writer *w)
{
    const cbp_program *p = s->p;
    const int32_t fixed = w->c->n_in + w->c->n_out;
    for (int32_t k = 0; k < p->instrs[i].n_in; k++) {
        if (cbp_in(p, &p->instrs[i])[k] < 0) continue;
        const int32_t v = as_number(s, cbp_in(p, &p->instrs[i])[k]);
        if (s->last[v] == i && s->reg[v] >= fixed) w->free_slots[w->n_free++] = s->reg[v] - fixed, s->last[v] = -1;
    }
}

static int kind_of(const cbp_op *op)
{
    switch (op->kind) {
    case CBP_OP_unary: return CBP_LINK_UNARY;
    case CBP_OP_unary_vjp: return CBP_LINK_UNARY_VJP;
    case CBP_OP_binary: return CBP_LINK_BINARY;
    default: return op->flags & 1 ? CBP_LINK_SIDE_B : CBP_LINK_SIDE_A;
    }
}

static void write_links(search *s, int32_t g, writer *w)
{
    const cbp_program *p = s->p;
    cbp_chain *c = w->c;
    const int32_t fixed = c->n_in + c->n_out;
    for (int32_t i = s->groups[g].place; i >= 0; i = s->next[i]) {
        const cbp_instr *x = &p->instrs[i];
        const int operands = x->op.kind == CBP_OP_unary ? 1 : x->op.kind == CBP_OP_binary_vjp ? 4 : 2, adds = x->n_in > operands;
        const int32_t y = cbp_out(p, x)[0];
        cbp_link l = {(int16_t)kind_of(&x->op), (int16_t)x->op.row, {-1, -1, -1, -1}, -1, {x->op.p[0], x->op.p[1]}};
        for (int32_t k = 0; k < operands; k++)
            if (cbp_in(p, x)[k] >= 0) l.in[k] = s->reg[as_number(s, cbp_in(p, x)[k])];
        if (!adds) release(s, i, w);
        if (s->reg[y] < 0) s->reg[y] = fixed + slot(w);
        l.out = s->reg[y];
        c->links[c->n_links++] = l;
        if (adds) {                        /* what was there comes first, as in the kernels */
            const int32_t before = s->reg[as_number(s, cbp_in(p, x)[operands])];
            c->links[c->n_links++] = (cbp_link){CBP_LINK_BINARY, (int16_t)s->add, {before, l.out, -1, -1}, l.out, {0, 0}};
            release(s, i, w);
        }
    }
}

/* Registers are numbered anew for each chain. */
static void forget_registers(search *s, int32_t g)
{
    const cbp_program *p = s->p;
    for (int32_t i = s->groups[g].place; i >= 0; i = s->next[i])
        for (int32_t k = 0; k < p->instrs[i].n_in + p->instrs[i].n_out; k++) {
            const int32_t v = p->args[p->instrs[i].in + k];
            if (v < 0) continue;
            s->reg[v] = s->last[v] = -1;
            if (k < p->instrs[i].n_in) s->reg[as_number(s, v)] = s->last[as_number(s, v)] = -1;
        }
}

static cbp_status write_chain(search *s, int32_t g, const uint8_t *outside)
{
    cbp_program *p = s->p;
    const int32_t members = s->groups[g].members, place = s->groups[g].place;
    cbp_chain *c = calloc(1, sizeof *c + 2 * (size_t)members * sizeof(cbp_link));
    writer w = {c, malloc(6 * (size_t)members * sizeof(int32_t)), malloc(6 * (size_t)members * sizeof(int32_t)), 0};
    cbp_status status = CBP_NOMEM;
    if (c && w.list && w.free_slots) {
        number_registers(s, g, outside, &w);
        write_links(s, g, &w);
        forget_registers(s, g);
        const ptrdiff_t registers = c->n_in + c->n_out + c->n_slots, fit = SCRATCH / 4 / registers / FEW * FEW;
        c->block = fit < FEW ? FEW : fit > MANY ? MANY : fit;
        if (s->groups[g].size < c->block) c->block = (s->groups[g].size + 15) / 16 * 16;
        cbp_op op;
        memset(&op, 0, sizeof op);
        op.kind = CBP_OP_chain, op.row = op.prev = -1, op.dtype = s->groups[g].dtype, op.chain = c;
        if (!cbp_program_instr(p, &op, w.list, c->n_in, w.list + c->n_in, c->n_out, p->instrs[place].line)) {
            const int32_t segment = p->instrs[place].segment;
            p->instrs[place] = p->instrs[--p->n_instrs];
            p->instrs[place].segment = segment;
            s->of[place] = -1;
            status = CBP_OK;
        }
    }
    free(w.list), free(w.free_slots);
    if (status != CBP_OK) free(c);
    return status;
}

static cbp_status write_all(search *s, uint8_t *outside)
{
    cbp_program *p = s->p;
    cbp_status status = CBP_OK;
    find_outside(s, outside);
    for (int32_t v = 0; v < p->n_values; v++) s->reg[v] = s->last[v] = -1;
    for (int32_t g = 0; g < s->n_groups && status == CBP_OK; g++) {
        if (s->groups[g].members < 2) {
            s->of[s->groups[g].place] = -1;
            continue;
        }
        status = write_chain(s, g, outside);
    }
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_instrs && status == CBP_OK; i++)
        if (s->of[i] < 0) p->instrs[n++] = p->instrs[i];
    if (status == CBP_OK) p->n_instrs = n;
    return status;
}

cbp_status cbp_make_chains(cbp_program *p)
{
    const size_t n = (size_t)p->n_values + 1, m = (size_t)p->n_instrs + 1;
    search s = {p, malloc(m * sizeof(int32_t)), malloc(m * sizeof(int32_t)), malloc(n * sizeof(int32_t)), malloc(n * sizeof(int32_t)),
                malloc(n * sizeof(int32_t)), malloc(n * sizeof(int32_t)), malloc(m * sizeof(group)), 0, 0};
    uint8_t *outside = malloc(n);
    cbp_status status = CBP_NOMEM;
    while (strcmp(cbp_binary_rows[s.add].name, "add")) s.add++;
    if (s.of && s.next && s.made && s.last && s.number && s.reg && s.groups && outside) {
        find(&s);
        status = write_all(&s, outside);
    }
    free(s.of), free(s.next), free(s.made), free(s.last), free(s.number), free(s.reg), free(s.groups), free(outside);
    return status == CBP_OK ? cbp_drop_dead(p) : status;
}
