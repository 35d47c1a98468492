/* tiles.c: finds instructions that can run block of rows by block of rows (tile.h), by the letters of op.def.
 *
 * A tile starts at an instruction that works row by row and takes in all later ones over the same number of rows that
 * need nothing which comes after the tile; what does not need the tile moves in front of it.  Whether, and how it is cut,
 * follows from shapes alone; the number of threads says only who runs what.
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "tile.h"

enum {
    LINE = 64,
    BLOCK_BYTES = 384 << 10,           /* of a block's rows: the rest of a 1 MB L2 is for weights and panels */
    LEAST_ROWS = 64,
    AN_ELEMENT = 16                    /* multiply-adds that an element of an output is worth */
};
/* Work, in multiply-adds, that is worth a thread; a tile of less than two of them that has no product is not made. */
static const double WORTH = 2e6;

enum { BEFORE, MEMBER, AFTER };

typedef struct {
    cbp_program *p;
    uint8_t *turn;                     /* by instruction */
    uint8_t *where;                    /* by root: made before, in or after the tile */
    int32_t *reg, *last;               /* by value: its register; by root: the last step that reads it */
    ptrdiff_t rows;
    int32_t start, end, n_steps, n_args, products;
    double cost;
} search;

static char letter(const char *rows, int32_t k, int is_out)
{
    const char *gt = strchr(rows, '>'), *from = is_out ? gt + 1 : rows, *end = is_out ? rows + strlen(rows) : gt;
    return k < end - from ? from[k] : end[-1];
}

static const cbp_value *value_of(const cbp_program *p, int32_t v) { return v < 0 ? NULL : &p->values[v]; }

/* What a block of rows has of operand k of x (inputs, then outputs), or -1 if it can't be cut so. */
static int part_of(const cbp_program *p, const cbp_instr *x, int32_t k, ptrdiff_t rows)
{
    const cbp_value *v = value_of(p, p->args[x->in + k]), *y = value_of(p, cbp_out(p, x)[0]);
    const char c = letter(cbp_op_infos[x->op.kind].rows, k < x->n_in ? k : k - x->n_in, k >= x->n_in);
    const int fits = v->ndim > 0 && v->shape[0] == rows;
    switch (c) {
    case 'r': return fits ? CBP_REG_ROWS : -1;
    case '+': return v->size <= CBP_ONE_GROUP_ABOVE ? CBP_REG_SUM : -1;
    case '-': return v->size <= CBP_ONE_GROUP_ABOVE ? CBP_REG_WHOLE : -1;
    default: return !y ? -1 : fits && v->ndim == y->ndim ? CBP_REG_ROWS : v->size < y->size || v->size == 1 ? CBP_REG_WHOLE : -1;
    }
}

/* Whether x writes state, or the memory of an older value: what reads that must stay in front of it. */
static int changes(const cbp_program *p, const cbp_instr *x)
{
    int found = x->writes;
    for (int32_t k = 0; k < x->n_out; k++) found |= cbp_out(p, x)[k] >= 0 && p->values[cbp_out(p, x)[k]].of >= 0;
    return found;
}

/* The rows that x can be cut into, 0 if it can't. */
static ptrdiff_t rows_of(const cbp_program *p, const cbp_instr *x)
{
    const char *rows = cbp_op_infos[x->op.kind].rows;
    ptrdiff_t n = 0;
    int deepest = 0;
    if (!rows[0] || changes(p, x)) return 0;
    for (int32_t k = 0; k < x->n_in + x->n_out; k++) {
        const cbp_value *v = value_of(p, p->args[x->in + k]);
        if (!v || letter(rows, k < x->n_in ? k : k - x->n_in, k >= x->n_in) != 'r') continue;
        if (v->ndim == 0) return 0;
        n = v->shape[0];
        if (k < x->n_in && v->ndim > deepest) deepest = v->ndim;
    }
    if (rows[0] == 'r' && deepest != 2) return 0;        /* sums over rows go by all leading axes; one row has no axis 0 */
    for (int32_t k = 0; n && k < x->n_in + x->n_out; k++)
        if (p->args[x->in + k] >= 0 && part_of(p, x, k, n) < 0) return 0;
    return n;
}

/* ---- which ---- */

static int reads(const search *s, const cbp_instr *x, int where)
{
    for (int32_t k = 0; k < x->n_in; k++) {
        const int32_t v = cbp_in(s->p, x)[k];
        if (v >= 0 && s->where[cbp_root(s->p, v)] == where) return 1;
    }
    return 0;
}

/* Whether x reads nothing that only comes after the tile, and of what the tile makes its own rows alone. */
static int joins(const search *s, const cbp_instr *x)
{
    if (reads(s, x, AFTER) || rows_of(s->p, x) != s->rows) return 0;
    for (int32_t k = 0; k < x->n_in; k++) {
        const int32_t v = cbp_in(s->p, x)[k];
        if (v >= 0 && s->where[cbp_root(s->p, v)] == MEMBER && part_of(s->p, x, k, s->rows) != CBP_REG_ROWS) return 0;
    }
    return 1;
}

static void take(search *s, const cbp_instr *x)
{
    const cbp_program *p = s->p;
    s->n_steps++;
    s->n_args += x->n_in + x->n_out;
    for (int32_t k = 0; k < x->n_out; k++) {
        const cbp_value *y = value_of(p, cbp_out(p, x)[k]);
        if (!y) continue;
        double links = x->op.chain ? (double)x->op.chain->n_links : 1;
        s->cost += AN_ELEMENT * links * (double)y->size;
        if (x->op.kind == CBP_OP_dense && k == 0) s->cost += (double)y->size * (double)p->values[cbp_in(p, x)[0]].shape[1];
        if (x->op.kind == CBP_OP_dense_vjp && (k == 1 || k == 2)) s->cost += (double)s->rows * (double)x->op.a[0] * (double)x->op.a[1];
    }
    s->products += x->op.kind == CBP_OP_dense || x->op.kind == CBP_OP_dense_vjp;
}

/* Instructions from `start` on, up to the first that writes in place; how many there are to look at. */
static void choose(search *s, int32_t start)
{
    const cbp_program *p = s->p;
    s->start = start, s->n_steps = s->n_args = s->products = 0, s->cost = 0;
    s->rows = rows_of(p, &p->instrs[start]);
    memset(s->where, BEFORE, (size_t)p->n_values + 1);
    for (s->end = start; s->end < p->n_instrs && !changes(p, &p->instrs[s->end]); s->end++) {
        const cbp_instr *x = &p->instrs[s->end];
        if (x->segment != p->instrs[start].segment) break;
        const int turn = joins(s, x) ? MEMBER : reads(s, x, AFTER) || reads(s, x, MEMBER) ? AFTER : BEFORE;
        s->turn[s->end] = (uint8_t)turn;
        if (turn == MEMBER) take(s, x);
        for (int32_t k = 0; k < x->n_out; k++) {
            const int32_t v = cbp_out(p, x)[k];
            if (v < 0) continue;
            const int sum = turn == MEMBER && part_of(p, x, x->n_in + k, s->rows) == CBP_REG_SUM;
            s->where[cbp_root(p, v)] = (uint8_t)(sum ? AFTER : turn);      /* a sum is there when all groups are */
        }
    }
}

static int worth_it(const search *s)
{
    return s->cost >= 2 * WORTH || (s->products && s->n_steps > 1);
}

/* ---- writing one tile ---- */

typedef struct { cbp_tile *t; int32_t *list, n_in, n_out; } writer;

/* The root of v lives in the tile alone. */
static int is_local(const search *s, int32_t v)
{
    const int32_t root = cbp_root(s->p, v);
    return s->where[root] == MEMBER && s->p->values[root].place == CBP_TEMP && s->last[root] >= 0;
}

/* last: the last step that reads a root, -1 where others read it as well. */
static void find_last(search *s)
{
    const cbp_program *p = s->p;
    for (int32_t v = 0; v < p->n_values; v++) s->last[v] = 0;
    for (int32_t i = s->start, step = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        const int member = i < s->end && s->turn[i] == MEMBER;
        for (int32_t k = 0; k < x->n_in + x->n_out; k++) {
            const int32_t v = p->args[x->in + k];
            int32_t *last = v < 0 ? NULL : &s->last[cbp_root(p, v)];
            if (last && *last >= 0) *last = member ? step : -1;
            if (last && member && part_of(p, x, k, s->rows) != CBP_REG_ROWS) *last = -1;
        }
        step += member;
    }
}

static int32_t register_of(search *s, writer *w, const cbp_instr *x, int32_t k)
{
    const cbp_program *p = s->p;
    const int32_t v = p->args[x->in + k];
    if (v < 0) return -1;
    if (s->reg[v] >= 0) return s->reg[v];
    const cbp_value *y = &p->values[v];
    const int part = part_of(p, x, k, s->rows), local = is_local(s, v);
    cbp_tile_reg *r = &w->t->regs[w->t->n_regs];
    *r = (cbp_tile_reg){.kind = (uint8_t)(local ? CBP_REG_LOCAL : part), .dtype = y->dtype, .ndim = y->ndim, .operand = -1};
    for (int i = 0; i < y->ndim; i++) r->shape[i] = y->shape[i];
    r->row = part == CBP_REG_ROWS ? y->size / s->rows : y->size;
    if (!local) {                          /* outputs are numbered backwards until all inputs are known */
        const int made = k >= x->n_in;
        r->operand = made ? -2 - w->n_out : w->n_in;
        w->list[made ? s->n_args - 1 - w->n_out : w->n_in] = v;
        *(made ? &w->n_out : &w->n_in) += 1;
    }
    if (r->kind == CBP_REG_SUM) r->offset = (ptrdiff_t)w->t->sums, w->t->sums += (size_t)(y->size * 8 + LINE - 1) / LINE * LINE;
    return s->reg[v] = w->t->n_regs++;
}

static void write_steps(search *s, writer *w)
{
    cbp_program *p = s->p;
    cbp_tile *t = w->t;
    for (int32_t v = 0; v < p->n_values; v++) s->reg[v] = -1;
    for (int32_t i = s->start; i < s->end; i++) {
        cbp_instr *x = &p->instrs[i];
        if (s->turn[i] != MEMBER) continue;
        t->steps[t->n_steps++] = (cbp_tile_step){x->op, t->n_args, x->n_in, t->n_args + x->n_in, x->n_out, x->line};
        for (int32_t k = 0; k < x->n_in + x->n_out; k++) t->args[t->n_args++] = register_of(s, w, x, k);
        x->op.chain = NULL;                /* it is the tile's now */
    }
    t->n_in = w->n_in;
    for (int32_t r = 0; r < t->n_regs; r++)
        if (t->regs[r].operand < -1) t->regs[r].operand = w->n_in - 2 - t->regs[r].operand;
    for (int32_t k = 0; k < w->n_out; k++) {
        const int32_t v = w->list[s->n_args - 1 - k];
        w->list[s->n_args + w->n_in + k] = v;
    }
}

/* ---- how it is cut ---- */

static ptrdiff_t row_bytes(const cbp_tile_reg *r) { return r->row * (ptrdiff_t)cbp_itemsize((cbp_dtype)r->dtype); }

static void cut(const search *s, cbp_tile *t)
{
    ptrdiff_t bytes = 1;
    for (int32_t r = 0; r < t->n_regs; r++)
        if (t->regs[r].kind == CBP_REG_ROWS || t->regs[r].kind == CBP_REG_LOCAL) bytes += row_bytes(&t->regs[r]);
    t->rows = s->rows;
    t->unit = cbp_group_rows(s->rows);
    const ptrdiff_t fit = BLOCK_BYTES / bytes / LEAST_ROWS * LEAST_ROWS;
    if (!t->sums && fit > t->unit) t->unit = fit;          /* nothing says where: fewer, longer units */
    t->block = fit < LEAST_ROWS ? LEAST_ROWS : fit < t->unit ? fit : t->unit;
    const ptrdiff_t units = cbp_tile_units(t), threads = cbp_get_num_threads(), most = (ptrdiff_t)(s->cost / WORTH);
    t->n_slots = (int32_t)(threads < units ? threads : units);
    if (t->n_slots > most) t->n_slots = most < 1 ? 1 : (int32_t)most;
}

/* Places of local rows in the slab of a block: the lowest gap, as long as steps need them. */
static cbp_status place_locals(const search *s, cbp_tile *t, const int32_t *value_of_reg)
{
    typedef struct { ptrdiff_t at, end; int32_t last; } room;
    room *list = malloc(((size_t)t->n_regs + 1) * sizeof *list);
    int32_t *root_reg = malloc(((size_t)s->p->n_values + 1) * sizeof *root_reg), n = 0;
    if (!list || !root_reg) return free(list), free(root_reg), CBP_NOMEM;
    for (int32_t v = 0; v < s->p->n_values; v++) root_reg[v] = -1;
    for (int32_t i = 0; i < t->n_steps; i++) {
        const cbp_tile_step *x = &t->steps[i];
        for (int32_t k = 0; k < x->n_in + x->n_out; k++) {
            const int32_t r = t->args[x->in + k];
            if (r < 0 || t->regs[r].kind != CBP_REG_LOCAL) continue;
            const int32_t root = cbp_root(s->p, value_of_reg[r]);
            if (root_reg[root] < 0) {
                const ptrdiff_t bytes = (t->block * row_bytes(&t->regs[r]) + LINE - 1) / LINE * LINE;
                ptrdiff_t at = 0;
                int32_t j = 0;
                for (; j < n && list[j].at - at < bytes; j++) at = list[j].end > at ? list[j].end : at;
                for (j = n++; j > 0 && list[j - 1].at > at; j--) list[j] = list[j - 1];
                list[j] = (room){at, at + bytes, s->last[root]};
                if ((size_t)(at + bytes) > t->slab) t->slab = (size_t)(at + bytes);
                t->regs[r].offset = at;
                root_reg[root] = r;
            }
            t->regs[r].offset = t->regs[root_reg[root]].offset;
        }
        int32_t kept = 0;
        for (int32_t j = 0; j < n; j++)
            if (list[j].last > i) list[kept++] = list[j];
        n = kept;
    }
    return free(list), free(root_reg), CBP_OK;
}

/* The most scratch that a step asks for over a block. */
static void find_scratch(cbp_tile *t)
{
    for (int32_t i = 0; i < t->n_steps; i++) {
        const cbp_tile_step *x = &t->steps[i];
        cbp_array arrays[CBP_OP_FEW], *operands[CBP_OP_FEW];
        if (!cbp_op_infos[x->op.kind].scratch) continue;
        for (int32_t k = 0; !x->op.chain && k < x->n_in + x->n_out; k++) {
            const int32_t r = t->args[x->in + k];
            operands[k] = r < 0 ? NULL : &arrays[k];
            if (r < 0) continue;
            ptrdiff_t shape[CBP_MAX_DIMS];
            memcpy(shape, t->regs[r].shape, sizeof shape);
            if (t->regs[r].kind == CBP_REG_ROWS || t->regs[r].kind == CBP_REG_LOCAL) shape[0] = t->block;
            cbp_op_set_shape(&arrays[k], t->regs[r].dtype, t->regs[r].ndim, shape);
        }
        const size_t room = cbp_op_infos[x->op.kind].scratch(&x->op, operands, x->n_in, operands + x->n_in);
        if (room > t->scratch) t->scratch = room;
    }
}

/* The tile stands where its first member stood; what comes before it in front of it. */
static cbp_status replace(search *s, const writer *w, cbp_op *op)
{
    cbp_program *p = s->p;
    const int32_t line = p->instrs[s->start].line, segment = p->instrs[s->start].segment;
    cbp_instr *sorted = malloc((size_t)(s->end - s->start + 1) * sizeof *sorted);
    if (!sorted || cbp_program_instr(p, op, w->list, w->n_in, w->list + s->n_args + w->n_in, w->n_out, line))
        return free(sorted), CBP_NOMEM;
    cbp_instr tile = p->instrs[--p->n_instrs];
    int32_t n = 0;
    tile.segment = segment;
    for (int turn = BEFORE; turn <= AFTER; turn++) {
        if (turn == MEMBER) sorted[n++] = tile;
        for (int32_t i = s->start; turn != MEMBER && i < s->end; i++)
            if (s->turn[i] == turn) sorted[n++] = p->instrs[i];
    }
    memcpy(p->instrs + s->start, sorted, (size_t)n * sizeof *sorted);
    memmove(p->instrs + s->start + n, p->instrs + s->end, (size_t)(p->n_instrs - s->end) * sizeof *sorted);
    p->n_instrs -= s->end - s->start - n;
    return free(sorted), CBP_OK;
}

static cbp_status write_tile(search *s)
{
    writer w = {cbp_tile_new(s->n_steps, s->n_args, s->n_args), malloc(((size_t)s->n_args * 2 + 1) * sizeof(int32_t)), 0, 0};
    int32_t *value_of_reg = malloc(((size_t)s->n_args + 1) * sizeof *value_of_reg);
    cbp_status status = w.t && w.list && value_of_reg ? CBP_OK : CBP_NOMEM;
    if (status == CBP_OK) {
        find_last(s);
        write_steps(s, &w);
        for (int32_t v = 0; v < s->p->n_values; v++)
            if (s->reg[v] >= 0) value_of_reg[s->reg[v]] = v;
        cut(s, w.t);
        status = place_locals(s, w.t, value_of_reg);
        find_scratch(w.t);
    }
    if (status == CBP_OK) {
        cbp_op op;
        memset(&op, 0, sizeof op);
        op.kind = CBP_OP_tile, op.row = op.prev = -1, op.tile = w.t;
        status = replace(s, &w, &op);
    }
    free(w.list), free(value_of_reg);
    if (status != CBP_OK) cbp_tile_free(w.t);
    return status;
}

cbp_status cbp_make_tiles(cbp_program *p)
{
    const size_t n = (size_t)p->n_values + 1;
    search s = {.p = p, .turn = malloc((size_t)p->n_instrs + 1), .where = malloc(n), .reg = malloc(n * sizeof(int32_t)),
                .last = malloc(n * sizeof(int32_t))};
    cbp_status status = s.turn && s.where && s.reg && s.last ? CBP_OK : CBP_NOMEM;
    for (int32_t i = 0; status == CBP_OK && i < p->n_instrs; i++) {
        if (p->instrs[i].writes || cbp_groups(rows_of(p, &p->instrs[i])) < 2) continue;      /* looks no further ahead */
        choose(&s, i);
        if (worth_it(&s)) status = write_tile(&s);
    }
    free(s.turn), free(s.where), free(s.reg), free(s.last);
    return status;
}
