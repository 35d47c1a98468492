/* plan.c: from the recorded order of a program to the one that runs: what is dead goes, what writes state comes last,
 * what must be undone if an instruction refuses gets a shadow; then every value gets its place (slab.c).
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

int cbp_plant_fault, cbp_no_tiles;

/* Drop the instructions that `keep` has no mark for. */
static void compact(cbp_program *p, const uint8_t *keep)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_instrs; i++)
        if (keep[i]) p->instrs[n++] = p->instrs[i];
    p->n_instrs = n;
}

/* Every use of value v becomes one of to[v]; several renamings in a row are followed. */
static void rename_all(cbp_program *p, int32_t *to)
{
    for (int32_t v = 0; v < p->n_values; v++)
        while (to[v] != to[to[v]]) to[v] = to[to[v]];
    for (int32_t i = 0; i < p->n_args; i++)
        if (p->args[i] >= 0) p->args[i] = to[p->args[i]];
    for (int32_t v = 0; v < p->n_values; v++)
        if (p->values[v].of >= 0) p->values[v].of = to[p->values[v].of];
}

/* ---- what nobody needs ---- */

cbp_status cbp_drop_dead(cbp_program *p)
{
    uint8_t *needed = calloc((size_t)p->n_values + 1, 1), *keep = calloc((size_t)p->n_instrs + 1, 1);
    if (!needed || !keep) return free(needed), free(keep), CBP_NOMEM;
    for (int32_t i = p->n_instrs - 1; i >= 0; i--) {
        const cbp_instr *x = &p->instrs[i];
        int wanted = x->writes || x->op.kind == CBP_OP_guard || (x->op.kind == CBP_OP_while_loop && x->op.flags);
        for (int32_t k = 0; k < x->n_out; k++) {
            const int32_t o = cbp_out(p, x)[k];
            if (o < 0) continue;
            if (needed[o] || p->values[o].place == CBP_OUTPUT) wanted = 1;
            else if (cbp_optional(&x->op, k) && p->values[o].place == CBP_TEMP) cbp_out(p, x)[k] = -1;
        }
        keep[i] = (uint8_t)wanted;
        for (int32_t k = 0; wanted && k < x->n_in; k++)
            for (int32_t v = cbp_in(p, x)[k]; v >= 0; v = p->values[v].of) needed[v] = 1;
    }
    compact(p, keep);
    return free(needed), free(keep), CBP_OK;
}

/* Which outputs a kernel leaves out when asked to. */
int cbp_optional(const cbp_op *op, int k)
{
    if (op->kind == CBP_OP_dense || op->kind == CBP_OP_ce) return k > 0;
    if (op->loop) return 1;
    return op->kind == CBP_OP_dense_vjp && (k > 0 || op->row < 0);
}

/* ---- copies that nobody can tell from the original ---- */

/* By value: the segment that makes it, -1 where none does or where it is seen in another shape. */
static void find_segments(const cbp_program *p, int32_t *segment)
{
    for (int32_t v = 0; v < p->n_values; v++) segment[v] = -1;
    for (int32_t i = p->n_instrs - 1; i >= 0; i--)
        for (int32_t k = 0; k < p->instrs[i].n_out; k++)
            if (cbp_out(p, &p->instrs[i])[k] >= 0) segment[cbp_out(p, &p->instrs[i])[k]] = p->instrs[i].segment;
    for (int32_t v = 0; v < p->n_values; v++)
        if (p->values[v].of >= 0) segment[p->values[v].of] = -1;
}

/* A result that is made for it alone is written straight into the caller's memory; made in the copy's segment, so that
 * this memory is there. */
static int made_for_it(const cbp_program *p, const cbp_instr *copy, int32_t v, const int32_t *segment)
{
    return p->values[v].place == CBP_TEMP && p->values[v].of < 0 && segment[v] == copy->segment;
}

/* Marks the values that are written over, as States of bodies are. */
static void mark_lost(const cbp_program *p, uint8_t *lost)
{
    for (int32_t i = 0; i < p->n_instrs; i++)
        for (int32_t k = 0; k < p->instrs[i].n_out; k++) {
            const int32_t o = cbp_out(p, &p->instrs[i])[k];
            if (o >= 0 && p->values[o].of >= 0) lost[p->values[o].of] = 1;
        }
}

/* Whether a copy can be told from its original because one of them is written over. */
static int parts(const cbp_program *p, const uint8_t *lost, int32_t from, int32_t to)
{
    while (from >= 0 && !lost[from]) from = p->values[from].of;
    return from >= 0 || lost[to];
}

cbp_status cbp_drop_copies(cbp_program *p)
{
    uint8_t *keep = malloc((size_t)p->n_instrs + 1), *lost = calloc((size_t)p->n_values + 1, 1);
    int32_t *now = malloc(2 * ((size_t)p->n_values + 1) * sizeof *now), *segment = now + p->n_values + 1;
    if (!keep || !lost || !now) return free(keep), free(lost), free(now), CBP_NOMEM;
    mark_lost(p, lost);
    for (int32_t v = 0; v < p->n_values; v++) now[v] = v;
    for (int turn = 0; turn < 2; turn++) {
        find_segments(p, segment);
        for (int32_t i = 0; i < p->n_instrs; i++) {
            const cbp_instr *x = &p->instrs[i];
            keep[i] = 1;
            if (x->op.kind != CBP_OP_copy || x->n_out != 1 || x->op.flags) continue;
            const int32_t from = cbp_in(p, x)[0], to = cbp_out(p, x)[0];
            const int inner = p->values[to].place == CBP_TEMP && p->values[cbp_root(p, from)].place != CBP_STATE
                && !parts(p, lost, from, to);
            if (turn == 0 && inner) keep[i] = 0, now[to] = from;
            if (turn == 1 && p->values[to].place == CBP_OUTPUT && now[from] == from && made_for_it(p, x, from, segment))
                keep[i] = 0, now[from] = to;
        }
        rename_all(p, now);
        compact(p, keep);
    }
    return free(keep), free(lost), free(now), CBP_OK;
}

/* ---- state is written last ---- */

/* Whether an instruction of the second turn has read or written the memory that v is a later state of. */
static int follows(const cbp_program *p, const uint8_t *touched, int32_t v)
{
    return v >= 0 && p->values[v].of >= 0 && touched[cbp_root(p, v)];
}

/* Instructions that do not depend on a write go before those that do; both keep their order, segment by segment. */
static cbp_status writes_last(cbp_program *p)
{
    const size_t n_values = (size_t)p->n_values + 1;
    uint8_t *later = calloc(2 * n_values, 1), *second = calloc((size_t)p->n_instrs + 1, 1);
    cbp_instr *sorted = malloc(((size_t)p->n_instrs + 1) * sizeof *sorted);
    if (!later || !second || !sorted) return free(later), free(second), free(sorted), CBP_NOMEM;
    uint8_t *touched = later + n_values;               /* by root */
    int32_t n = 0, segments = 0;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        second[i] = x->writes;
        for (int32_t k = 0; k < x->n_in; k++)
            for (int32_t v = cbp_in(p, x)[k]; v >= 0; v = p->values[v].of) second[i] |= later[v];
        for (int32_t k = 0; k < x->n_out; k++) second[i] |= (uint8_t)follows(p, touched, cbp_out(p, x)[k]);
        for (int32_t k = 0; second[i] && k < x->n_out; k++)
            if (cbp_out(p, x)[k] >= 0) later[cbp_out(p, x)[k]] = 1;
        for (int32_t k = 0; second[i] && k < x->n_in + x->n_out; k++)
            if (p->args[x->in + k] >= 0) touched[cbp_root(p, p->args[x->in + k])] = 1;
        if (x->segment >= segments) segments = x->segment + 1;
    }
    for (int32_t s = 0; s < segments; s++)
        for (int turn = 0; turn < 2; turn++)
            for (int32_t i = 0; i < p->n_instrs; i++)
                if (p->instrs[i].segment == s && second[i] == turn) sorted[n++] = p->instrs[i];
    if (n) memcpy(p->instrs, sorted, (size_t)n * sizeof *sorted);
    return free(later), free(second), free(sorted), CBP_OK;
}

static int32_t first_write(const cbp_program *p)
{
    int32_t i = 0;
    while (i < p->n_instrs && !p->instrs[i].writes) i++;
    return i;
}

static int32_t end_of_run(const cbp_program *p)
{
    int32_t i = 0;
    while (i < p->n_instrs && p->instrs[i].segment == 0) i++;
    return i;
}

/* Append the copy of one value into another; 0, or -1 without memory. */
static int append_copy(cbp_program *p, int32_t from, int32_t to)
{
    cbp_op op;
    memset(&op, 0, sizeof op);
    op.kind = CBP_OP_copy, op.row = op.prev = -1;
    return cbp_program_instr(p, &op, &from, 1, &to, 1, -1);
}

/* The marked states get values in the slab, which their versions are of from now on, and a last version: for each two
 * instructions are appended, the copy there and the copy back of the newest, that with the highest number. */
static cbp_status append_shadows(cbp_program *p, const uint8_t *marked, int32_t *root, int32_t *last, int32_t n)
{
    for (int32_t w = 0; w < n; w++) root[w] = cbp_root(p, w), last[w] = -1;
    for (int32_t w = 0; w < n; w++)
        if (marked[root[w]] && root[w] != w && p->values[w].place == CBP_STATE) last[root[w]] = w;
        else root[w] = -1;
    for (int32_t v = 0; v < n; v++) {
        if (!marked[v]) continue;
        const cbp_value *x = &p->values[v];
        cbp_array like;
        cbp_op_set_shape(&like, x->dtype, x->ndim, x->shape);
        const int32_t twin = cbp_program_value(p, CBP_TEMP, &like, NULL, -1);
        const int32_t back = twin < 0 ? -1 : cbp_program_value(p, CBP_STATE, &like, p->values[v].held, v);
        if (back < 0 || append_copy(p, v, twin) || append_copy(p, last[v], back)) return CBP_NOMEM;
        last[v] = twin;
    }
    for (int32_t w = 0; w < n; w++) {
        cbp_value *x = &p->values[w];
        if (root[w] < 0) continue;
        cbp_array_drop(x->held);
        x->held = NULL, x->place = CBP_TEMP;
        if (x->of == root[w]) x->of = last[root[w]];
    }
    return CBP_OK;
}

/* Marked states are written in the slab from instruction `at` on; their places get the values at the end. */
static cbp_status shadow(cbp_program *p, const uint8_t *marked, int32_t at)
{
    const int32_t n = p->n_values, m = p->n_instrs, end = end_of_run(p);
    int32_t *root = malloc(2 * ((size_t)n + 1) * sizeof *root), k = 0;
    cbp_status status = root ? append_shadows(p, marked, root, root + n + 1, n) : CBP_NOMEM;
    free(root);
    const int32_t copies = p->n_instrs - m;
    if (status != CBP_OK || copies == 0) return status;            /* `at` may be in a sweep then */
    cbp_instr *sorted = malloc(((size_t)p->n_instrs + 1) * sizeof *sorted);
    if (!sorted) return CBP_NOMEM;
    for (int32_t i = 0; i < at; i++) sorted[k++] = p->instrs[i];
    for (int32_t i = copies - 2; i >= 0; i -= 2) sorted[k++] = p->instrs[m + i];
    for (int32_t i = at; i < end; i++) sorted[k++] = p->instrs[i];
    for (int32_t i = 1; i < copies; i += 2) sorted[k++] = p->instrs[m + i];
    for (int32_t i = end; i < m; i++) sorted[k++] = p->instrs[i];
    memcpy(p->instrs, sorted, (size_t)k * sizeof *sorted);
    return free(sorted), CBP_OK;
}

static void mark_writes(cbp_program *p)
{
    for (int32_t i = 0; i < p->n_instrs; i++) {
        cbp_instr *x = &p->instrs[i];
        x->writes = 0;
        for (int32_t k = 0; k < x->n_out; k++)
            if (cbp_out(p, x)[k] >= 0 && p->values[cbp_out(p, x)[k]].place == CBP_STATE) x->writes = 1;
    }
}

/* Small states that the run goes on to read, such as the place in a random stream, are moved on in the slab: the write
 * that reading waits for would otherwise stand early in the program. */
static cbp_status shadow_small(cbp_program *p)
{
    const int32_t n = p->n_values;
    uint8_t *read = calloc((size_t)n + 1, 1);
    if (!read) return CBP_NOMEM;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        for (int32_t k = 0; k < x->n_in; k++) {
            const int32_t v = cbp_in(p, x)[k];
            if (v < 0 || p->values[v].place != CBP_STATE || p->values[v].of < 0) continue;
            if (cbp_value_bytes(&p->values[v]) <= CBP_LINE) read[cbp_root(p, v)] = 1;
        }
    }
    const cbp_status status = shadow(p, read, 0);
    free(read);
    mark_writes(p);
    return status;
}

/* A state that is written before the last instruction that may refuse is written in the slab. */
static cbp_status protect(cbp_program *p)
{
    const int32_t start = first_write(p);
    int32_t last = -1;
    for (int32_t i = start; i < p->n_instrs; i++)
        if (cbp_can_refuse(&p->instrs[i].op)) last = i;
    const int32_t n = p->n_values;
    uint8_t *written = calloc((size_t)n + 1, 1);
    if (!written) return CBP_NOMEM;
    for (int32_t i = start; i < last; i++)
        for (int32_t k = 0; k < p->instrs[i].n_out; k++) {
            const int32_t o = cbp_out(p, &p->instrs[i])[k];
            if (o >= 0 && p->values[o].place == CBP_STATE) written[cbp_root(p, o)] = 1;
        }
    const cbp_status status = shadow(p, written, start);
    free(written);
    mark_writes(p);
    return status;
}

/* ---- the build ---- */

/* The most scratch that an instruction asks for. */
static void scratch(cbp_program *p)
{
    cbp_array arrays[2 * CBP_OP_FEW], *ins[CBP_OP_FEW], *outs[CBP_OP_FEW];
    p->scratch = 0;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        const cbp_op_info *info = &cbp_op_infos[x->op.kind];
        if (!info->scratch) continue;
        for (int32_t k = 0; !x->op.chain && !x->op.tile && k < x->n_in + x->n_out; k++) {
            const int32_t v = p->args[x->in + k];
            cbp_array *a = v < 0 ? NULL : &arrays[k];
            if (a) cbp_op_set_shape(a, p->values[v].dtype, p->values[v].ndim, p->values[v].shape);
            *(k < x->n_in ? &ins[k] : &outs[k - x->n_in]) = a;
        }
        const size_t room = info->scratch(&x->op, ins, x->n_in, outs);
        if (room > p->scratch) p->scratch = room;
    }
}

/* Forget what the slopes add to.  Outputs follow inputs: passes go through both as one list. */
static void forget_additions(cbp_program *p)
{
    for (int32_t i = 0; i < p->n_instrs; i++) {
        cbp_instr *x = &p->instrs[i];
        const int32_t n = x->op.kind == CBP_OP_unary_vjp ? 2 : x->op.kind == CBP_OP_binary_vjp ? 4 : x->n_in;
        if (x->n_in <= n) continue;
        x->n_in = n;
        p->args[x->in + n] = p->args[x->out];
        x->out = x->in + n;
    }
}

cbp_status cbp_program_build(cbp_program *p, int plain)
{
    cbp_status status = plain ? CBP_OK : cbp_drop_dead(p);
    if (cbp_plant_fault == 2 && !plain) forget_additions(p);
    if (status == CBP_OK && !plain) status = cbp_drop_copies(p);
    if (status == CBP_OK && !plain) status = cbp_fold_constants(p);
    if (status == CBP_OK && !plain) status = cbp_fuse(p);
    if (status == CBP_OK) status = shadow_small(p);
    if (status == CBP_OK) status = writes_last(p);
    if (status == CBP_OK) status = protect(p);
    if (status == CBP_OK && !plain) status = cbp_make_chains(p);
    if (status == CBP_OK && !plain && !cbp_no_tiles) status = cbp_make_tiles(p);
    if (status != CBP_OK) return status;
    p->split = first_write(p);
    p->forward = end_of_run(p);
    scratch(p);
    return cbp_place_values(p, plain);
}
