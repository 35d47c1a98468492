/* program.c: programs as lists, frames, and the replay loop.  See program.h. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200112L
#endif
#include "program.h"

#include "integer.h"
#include "loop.h"
#include "tile.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

cbp_program *cbp_program_new(void) { return calloc(1, sizeof(cbp_program)); }

void cbp_program_free(cbp_program *p)
{
    if (!p) return;
    for (int32_t i = 0; i < p->n_values; i++) cbp_array_drop(p->values[i].held);
    free(p->values), p->values = NULL, p->n_values = 0;
    if (p->origin) {
        cbp_program *origin = p->origin;
        free(p), p = origin;
    }
    if (p->twins-- > 0) return;
    for (int32_t i = 0; i < p->n_instrs; i++) free(p->instrs[i].op.chain), cbp_tile_free(p->instrs[i].op.tile);
    for (int32_t i = 0; i < p->n_loops; i++) cbp_loop_drop(p->loops[i]);
    free(p->instrs), free(p->args), free(p->loops), free(p);
}

/* Room for `more` elements after the n that are there. */
static int grow(void *list, int32_t n, int32_t more, int32_t *room, size_t item)
{
    if (n + more <= *room) return 0;
    const int32_t wanted = 2 * *room > n + more ? 2 * *room : n + more + 16;
    void *bigger = realloc(*(void **)list, (size_t)wanted * item);
    if (!bigger) return -1;
    memcpy(list, &bigger, sizeof bigger);
    *room = wanted;
    return 0;
}

int32_t cbp_program_value(cbp_program *p, cbp_place place, const cbp_array *like, cbp_array *held, int32_t of)
{
    if (grow(&p->values, p->n_values, 1, &p->room_values, sizeof *p->values)) return -1;
    cbp_value *v = &p->values[p->n_values];
    memset(v, 0, sizeof *v);
    v->place = (uint8_t)place;
    v->dtype = like->dtype, v->ndim = like->ndim, v->size = like->size;
    for (int i = 0; i < like->ndim; i++) v->shape[i] = like->shape[i];
    v->of = of, v->made = v->used = -1;
    v->held = held ? cbp_array_hold(held) : NULL;
    return p->n_values++;
}

int cbp_program_instr(cbp_program *p, const cbp_op *op, const int32_t *in, int n_in, const int32_t *out, int n_out,
                      int32_t line)
{
    if (grow(&p->instrs, p->n_instrs, 1, &p->room_instrs, sizeof *p->instrs)) return -1;
    if (grow(&p->args, p->n_args, n_in + n_out, &p->room_args, sizeof *p->args)) return -1;
    if (op->loop) {
        if (grow(&p->loops, p->n_loops, 1, &p->room_loops, sizeof *p->loops)) return -1;
        p->loops[p->n_loops++] = cbp_loop_hold(op->loop);
    }
    cbp_instr *i = &p->instrs[p->n_instrs++];
    *i = (cbp_instr){*op, p->n_args, n_in, p->n_args + n_in, n_out, line, 0, 0};
    for (int k = 0; k < n_in; k++) p->args[i->in + k] = in[k];
    for (int k = 0; k < n_out; k++) {
        p->args[i->out + k] = out[k];
        if (out[k] >= 0 && p->values[out[k]].place == CBP_STATE) i->writes = 1;
    }
    p->n_args += n_in + n_out;
    return 0;
}

static void *twin(const void *list, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    if (copy && bytes) memcpy(copy, list, bytes);
    return copy;
}

cbp_program *cbp_program_clone(const cbp_program *p)
{
    cbp_program *q = twin(p, sizeof *p);
    if (!q) return NULL;
    q->room_values = q->n_values, q->room_instrs = q->n_instrs, q->room_args = q->n_args, q->room_loops = q->n_loops;
    q->values = twin(p->values, (size_t)p->n_values * sizeof *p->values);
    q->instrs = twin(p->instrs, (size_t)p->n_instrs * sizeof *p->instrs);
    q->args = twin(p->args, (size_t)p->n_args * sizeof *p->args);
    q->loops = twin(p->loops, (size_t)p->n_loops * sizeof *p->loops);
    if (!q->values || !q->instrs || !q->args || !q->loops) {
        free(q->values), free(q->instrs), free(q->args), free(q->loops), free(q);
        return NULL;
    }
    for (int32_t i = 0; i < q->n_loops; i++) cbp_loop_hold(q->loops[i]);
    for (int32_t i = 0; i < q->n_values; i++)
        if (q->values[i].held) cbp_array_hold(q->values[i].held);
    return q;
}

cbp_program *cbp_program_twin(cbp_program *p)
{
    cbp_program *q = twin(p, sizeof *p);
    if (!q) return NULL;
    q->values = twin(p->values, (size_t)p->n_values * sizeof *p->values);
    if (!q->values) {
        free(q);
        return NULL;
    }
    q->origin = p->origin ? p->origin : p, q->twins = 0;
    q->origin->twins++;
    for (int32_t i = 0; i < q->n_values; i++) {
        cbp_value *v = &q->values[i];
        v->held = v->held && v->place != CBP_STATE ? cbp_array_hold(v->held) : NULL;
    }
    return q;
}

int cbp_can_refuse(const cbp_op *op)
{
    return op->kind == CBP_OP_guard || op->kind == CBP_OP_check_index || op->kind == CBP_OP_one_hot || op->kind == CBP_OP_ce
        || (op->kind == CBP_OP_integer && cbp_integer_rows[op->row].refuses) || op->loop;
}

/* ---- frames ---- */

void *cbp_aligned(size_t bytes)
{
#ifdef _WIN32
    return _aligned_malloc(bytes ? bytes : LINE, LINE);
#else
    void *p;
    return posix_memalign(&p, LINE, bytes ? bytes : LINE) ? NULL : p;
#endif
}

void cbp_aligned_free(void *p)
{
#ifdef _WIN32
    _aligned_free(p);
#else
    free(p);
#endif
}

/* The value whose descriptor shows v: what is only an older or newer state of one memory needs none of its own. */
static int32_t shown_by(const cbp_program *p, int32_t value)
{
    for (;;) {
        const cbp_value *v = &p->values[value], *w = &p->values[v->of < 0 ? value : v->of];
        if (v->of < 0 || v->ndim != w->ndim || v->dtype != w->dtype) return value;
        if (memcmp(v->shape, w->shape, v->ndim * sizeof *v->shape)) return value;
        value = v->of;
    }
}

cbp_array *cbp_frame_array(cbp_frame *f, int32_t value)
{
    value = shown_by(f->program, value);
    const cbp_value *v = &f->program->values[value];
    return v->held && !(f->states && v->place == CBP_STATE) ? v->held : &f->arrays[value];
}

static size_t bytes_of(const cbp_value *v) { return (size_t)v->size * cbp_itemsize((cbp_dtype)v->dtype); }

/* Whose memory a value's array shows: decided when the frame is made, or by the caller's memory at each run. */
static void place_values(cbp_frame *f)
{
    const cbp_program *p = f->program;
    char *state = f->states;
    for (int32_t i = 0; i < p->n_values; i++) {
        const cbp_value *v = &p->values[i];
        const int32_t root = cbp_root(p, i);
        cbp_array *a = &f->arrays[i];
        cbp_op_set_shape(a, v->dtype, v->ndim, v->shape);
        a->refs = 1;
        if (p->values[root].place == CBP_TEMP) a->data = (char *)f->slab + p->values[root].offset;
        else if (root != i) {
            if (shown_by(p, i) == i) f->moved[2 * f->n_moved] = i, f->moved[2 * f->n_moved++ + 1] = root;
        } else if (v->place == CBP_STATE && state) {
            memcpy(a->data = state, v->held->data, bytes_of(v));
            state += (bytes_of(v) + LINE - 1) / LINE * LINE;
        }
    }
}

static size_t state_bytes(const cbp_program *p)
{
    size_t total = LINE;
    for (int32_t i = 0; i < p->n_values; i++)
        if (p->values[i].place == CBP_STATE && p->values[i].of < 0) total += (bytes_of(&p->values[i]) + LINE - 1) / LINE * LINE;
    return total;
}

cbp_frame *cbp_frame_new(const cbp_program *p, int private_state)
{
    cbp_frame *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->program = p;
    f->arrays = calloc((size_t)p->n_values + 1, sizeof *f->arrays);
    f->operands = calloc((size_t)p->n_args + 1, sizeof *f->operands);
    f->steps = calloc((size_t)p->n_instrs + 1, sizeof *f->steps);
    f->moved = calloc(2 * (size_t)p->n_values + 1, sizeof *f->moved);
    f->slab = cbp_aligned(p->slab);
    f->scratch = cbp_aligned(p->scratch);
    f->states = private_state ? cbp_aligned(state_bytes(p)) : NULL;
    if ((private_state && !f->states) || !f->arrays || !f->operands || !f->steps || !f->moved || !f->slab || !f->scratch) {
        cbp_frame_free(f);
        return NULL;
    }
    memset(f->slab, 0, p->slab);               /* what lies between values is read by whole vectors: no NaN, no subnormals */
    place_values(f);
    for (int32_t i = 0; i < p->n_args; i++) f->operands[i] = p->args[i] < 0 ? NULL : cbp_frame_array(f, p->args[i]);
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        f->steps[i] = (cbp_step){&cbp_op_infos[x->op.kind], &x->op, f->operands + x->in, f->operands + x->out, x->n_in,
                                 x->n_out, x->op.loop ? cbp_loop_frame_new(x->op.loop) : f->scratch};
        f->n_steps++;
        if (!f->steps[i].scratch) return cbp_frame_free(f), NULL;
    }
    return f;
}

void cbp_frame_free(cbp_frame *f)
{
    if (!f) return;
    for (int32_t i = 0; i < f->n_steps; i++)           /* the program may be gone already */
        if (f->steps[i].scratch != f->scratch) cbp_loop_frame_free(f->steps[i].scratch);
    free(f->arrays), free(f->operands), free(f->steps), free(f->moved);
    cbp_aligned_free(f->slab), cbp_aligned_free(f->scratch), cbp_aligned_free(f->states);
    free(f);
}

cbp_status cbp_frame_run(cbp_frame *f, int32_t from, int32_t to)
{
    for (int32_t i = 0; i < f->n_moved; i++)
        f->arrays[f->moved[2 * i]].data = cbp_frame_array(f, f->moved[2 * i + 1])->data;
    for (int32_t i = from; i < to; i++) {
        const cbp_step *s = &f->steps[i];
        const cbp_status status = s->info->run(s->op, s->in, s->n_in, s->out, s->scratch);
        if (status != CBP_OK) {
            f->at = i;
            return status;
        }
    }
    f->at = to;
    return CBP_OK;
}
