/* loop.c: see loop.h. */
#include "loop.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64, SMALL = 64 << 10, SELDOM = 16 };

cbp_loop *cbp_loop_new(cbp_program *a, cbp_program *b, int32_t n_in, int32_t n_out, int32_t n_carry, int32_t n_x)
{
    cbp_loop *l = calloc(1, sizeof *l + 2 * (size_t)(n_in + n_out + 1) * sizeof(int32_t));
    if (!l) return cbp_program_free(a), cbp_program_free(b), NULL;
    *l = (cbp_loop){1, {a, b}, n_in, n_out, n_carry, n_x, {NULL, NULL}, {NULL, NULL}, NULL};
    l->in[0] = (int32_t *)(l + 1), l->in[1] = l->in[0] + n_in;
    l->out[0] = l->in[1] + n_in, l->out[1] = l->out[0] + n_out;
    return l;
}

cbp_loop *cbp_loop_hold(cbp_loop *l) { l->refs++; return l; }

void cbp_loop_drop(cbp_loop *l)
{
    if (!l || --l->refs) return;
    cbp_program_free(l->program[0]), cbp_program_free(l->program[1]);
    free(l);
}

/* ---- bodies ---- */

/* A copy of value `from` in `to` before all else; it stays although nothing seems to tell the two apart. */
static int copy_first(cbp_program *p, int32_t from, int32_t to)
{
    cbp_op op;
    memset(&op, 0, sizeof op);
    op.kind = CBP_OP_copy, op.row = op.prev = -1, op.flags = 1;
    if (cbp_program_instr(p, &op, &from, 1, &to, 1, -1)) return -1;
    const cbp_instr copy = p->instrs[p->n_instrs - 1];
    memmove(p->instrs + 1, p->instrs, (size_t)(p->n_instrs - 1) * sizeof copy);
    p->instrs[0] = copy;
    return 0;
}

static cbp_status detach(cbp_program *p, int32_t state)
{
    cbp_array like;
    cbp_op_set_shape(&like, p->values[state].dtype, p->values[state].ndim, p->values[state].shape);
    const int32_t twin = cbp_program_value(p, CBP_TEMP, &like, NULL, -1);
    if (twin < 0) return CBP_NOMEM;
    int written = 0;
    for (int32_t v = 0; v < twin; v++) {               /* versions first: their root is still to be found */
        cbp_value *x = &p->values[v];
        if (v == state || x->place != CBP_STATE || cbp_root(p, v) != state) continue;
        cbp_array_drop(x->held);
        x->held = NULL, x->made = CBP_STATE, written = 1;
    }
    for (int32_t v = 0; v < twin; v++) {
        cbp_value *x = &p->values[v];
        if (v == state || x->made != CBP_STATE) continue;
        x->place = CBP_TEMP, x->made = -1;
        if (x->of == state) x->of = twin;
    }
    cbp_array_drop(p->values[state].held);
    p->values[state].held = NULL, p->values[state].place = CBP_INPUT;
    return written && copy_first(p, state, twin) ? CBP_NOMEM : CBP_OK;
}

cbp_status cbp_body_detach(cbp_program *p)
{
    const int32_t n = p->n_values;
    cbp_status status = CBP_OK;
    for (int32_t v = 0; v < n && status == CBP_OK; v++)
        if (p->values[v].place == CBP_STATE && p->values[v].of < 0) status = detach(p, v);
    for (int32_t i = 0; i < p->n_instrs; i++) p->instrs[i].writes = 0;
    return status;
}

/* ---- frames ---- */

static size_t bytes_of(const cbp_array *a) { return (size_t)a->size * cbp_itemsize((cbp_dtype)a->dtype); }
static size_t lines(size_t bytes) { return (bytes + LINE) / LINE * LINE; }
static int32_t n_results(const cbp_loop *l, int i) { return i && l->n_carry ? 1 : l->n_out; }

static int take_frames(cbp_loop_frame *f)
{
    const cbp_loop *l = f->loop;
    cbp_array **at = (cbp_array **)(f + 1);
    for (int i = 0; i < 2; i++) {
        f->in[i] = at, at += l->n_in;
        f->out[i] = at, at += l->n_out + 1;
        if (!l->program[i]) continue;
        f->frame[i] = cbp_frame_new(l->program[i], 0);
        if (!f->frame[i]) return 0;
        for (int32_t k = 0; k < l->n_in; k++) f->in[i][k] = l->in[i][k] < 0 ? NULL : cbp_frame_array(f->frame[i], l->in[i][k]);
        for (int32_t k = 0; k < n_results(l, i); k++) f->out[i][k] = cbp_frame_array(f->frame[i], l->out[i][k]);
    }
    f->room = (char **)at;
    f->now = f->room + 2 * (l->n_out + 1), f->next = f->now + l->n_carry;
    return 1;
}

/* Rooms for what no caller's memory is there for, zeros at first. */
static int take_rooms(cbp_loop_frame *f)
{
    const cbp_loop *l = f->loop;
    size_t total = LINE;
    for (int32_t k = 0; k < l->n_out; k++) total += 2 * lines(bytes_of(f->out[0][k]));
    char *at = f->memory = cbp_aligned(total);
    if (!at) return 0;
    memset(at, 0, total);
    for (int32_t k = 0; k < l->n_out; k++)
        for (int turn = 0; turn < 2; turn++) f->room[2 * k + turn] = at, at += lines(bytes_of(f->out[0][k]));
    if (l->n_carry && l->program[1]) f->out[1][0]->data = at;
    return 1;
}

cbp_loop_frame *cbp_loop_frame_new(const cbp_loop *l)
{
    const size_t pointers = 2 * (size_t)(l->n_in + l->n_out + 1) + 2 * (size_t)(l->n_out + 1) + 2 * (size_t)l->n_carry;
    cbp_loop_frame *f = calloc(1, sizeof *f + pointers * sizeof(void *));
    if (!f) return NULL;
    f->loop = l;
    if (take_frames(f) && take_rooms(f)) return f;
    cbp_loop_frame_free(f);
    return NULL;
}

void cbp_loop_frame_free(cbp_loop_frame *f)
{
    if (!f) return;
    cbp_frame_free(f->frame[0]), cbp_frame_free(f->frame[1]);
    cbp_aligned_free(f->memory);
    free(f);
}

/* ---- runs ---- */

/* Point the inputs from number `first` on at the caller's memory, for the whole run. */
static void share(cbp_loop_frame *f, int32_t first, cbp_array *const *in)
{
    for (int i = 0; i < 2; i++)
        for (int32_t k = first; k < f->loop->n_in && f->loop->program[i]; k++)
            if (f->in[i][k]) f->in[i][k]->data = in[k]->data;
}

/* Where the carries lie at first; one that is missing is zeros. */
static void begin(cbp_loop_frame *f, cbp_array *const *in)
{
    f->at = 0;
    for (int32_t k = 0; k < f->loop->n_carry; k++) {
        f->now[k] = in[k] ? in[k]->data : f->room[2 * k + 1];
        if (!in[k]) memset(f->now[k], 0, bytes_of(f->out[0][k]));
    }
}

static void give_carries(cbp_loop_frame *f, int i)
{
    for (int32_t k = 0; k < f->loop->n_carry; k++)
        if (f->in[i][k]) f->in[i][k]->data = f->now[k];
}

/* One step of the body: from the carries at `now` to those at `next`, which are `now` afterwards. */
static cbp_status step(cbp_loop_frame *f)
{
    char **then = f->next;
    give_carries(f, 0);
    for (int32_t k = 0; k < f->loop->n_carry; k++) f->out[0][k]->data = then[k];
    const cbp_status status = cbp_frame_run(f->frame[0], 0, f->loop->program[0]->n_instrs);
    if (status != CBP_OK) return status;
    f->next = f->now, f->now = then;
    f->at++;
    const int64_t seldom = f->loop->program[0]->slab < SMALL ? SELDOM : 1;
    return f->loop->poll && f->at % seldom == 0 && f->loop->poll() ? CBP_STOPPED : CBP_OK;
}

/* The carries at `now` become the outputs, unless they were written there. */
static void finish(cbp_loop_frame *f, cbp_array *const *out)
{
    for (int32_t k = 0; k < f->loop->n_carry; k++)
        if (out[k] && out[k]->data != f->now[k]) memcpy(out[k]->data, f->now[k], bytes_of(out[k]));
}

static char *row_of(const cbp_array *stack, size_t bytes, int64_t row) { return (char *)stack->data + (size_t)row * bytes; }

/* a[0]: steps; flag 1: from the last slice to the first */
static cbp_status scan(const cbp_op *op, cbp_array *const *in, cbp_array *const *out, cbp_loop_frame *f)
{
    const cbp_loop *l = f->loop;
    const int64_t n = op->a[0], by = op->flags & 1 ? -1 : 1;
    cbp_array *const *stacks = out + l->n_out;
    share(f, l->n_carry + l->n_x, in);
    begin(f, in);
    int64_t row = by < 0 ? n - 1 : 0;
    for (int32_t k = 0; k < l->n_carry && n; k++)
        if (stacks[k]) {
            char *first = row_of(stacks[k], bytes_of(f->out[0][k]), row);
            f->now[k] = memcpy(first, f->now[k], bytes_of(f->out[0][k]));
        }
    for (int64_t t = 0; t < n; t++, row += by) {
        for (int32_t k = l->n_carry; k < l->n_carry + l->n_x; k++)
            if (f->in[0][k]) f->in[0][k]->data = row_of(in[k], bytes_of(f->in[0][k]), row);
        for (int32_t k = 0; k < l->n_carry; k++)
            f->next[k] = t == n - 1 && out[k] ? out[k]->data
                       : t < n - 1 && stacks[k] ? row_of(stacks[k], bytes_of(f->out[0][k]), row + by) : f->room[2 * k + (t & 1)];
        for (int32_t k = l->n_carry; k < l->n_out; k++)
            f->out[0][k]->data = out[k] ? row_of(out[k], bytes_of(f->out[0][k]), row) : f->room[2 * k];
        const cbp_status status = step(f);
        if (status != CBP_OK) return status;
    }
    finish(f, out);
    return CBP_OK;
}

/* flag 1: at most a[0] steps */
static cbp_status while_loop(const cbp_op *op, cbp_array *const *in, cbp_array *const *out, cbp_loop_frame *f)
{
    const cbp_loop *l = f->loop;
    share(f, l->n_carry, in);
    begin(f, in);
    for (;;) {
        give_carries(f, 1);
        cbp_status status = cbp_frame_run(f->frame[1], 0, l->program[1]->n_instrs);
        if (status != CBP_OK) return status;
        if (!*(const uint8_t *)f->out[1][0]->data) break;
        if (op->flags & 1 && f->at == op->a[0]) return CBP_OUT_OF_RANGE;
        for (int32_t k = 0; k < l->n_carry; k++) f->next[k] = f->room[2 * k + (f->at & 1)];
        status = step(f);
        if (status != CBP_OK) return status;
    }
    finish(f, out);
    if (out[l->n_carry]) *(int64_t *)out[l->n_carry]->data = f->at;
    return CBP_OK;
}

/* in[0]: which branch */
static cbp_status cond(cbp_array *const *in, cbp_array *const *out, cbp_loop_frame *f)
{
    const int i = *(const uint8_t *)in[0]->data ? 0 : 1;
    share(f, 0, in);
    for (int32_t k = 0; k < f->loop->n_out; k++) f->out[i][k]->data = out[k] ? out[k]->data : f->room[2 * k];
    return cbp_frame_run(f->frame[i], 0, f->loop->program[i]->n_instrs);
}

cbp_status cbp_loop_run(const cbp_op *op, cbp_array *const *in, cbp_array *const *out, cbp_loop_frame *f)
{
    return op->kind == CBP_OP_scan ? scan(op, in, out, f) : op->kind == CBP_OP_while_loop ? while_loop(op, in, out, f)
         : cond(in, out, f);
}

/* ---- shapes ---- */

static void like(cbp_array *y, const cbp_value *v) { cbp_op_set_shape(y, v->dtype, v->ndim, v->shape); }

static cbp_status stacked(cbp_array *y, const cbp_value *v, int64_t n)
{
    ptrdiff_t shape[CBP_MAX_DIMS] = {(ptrdiff_t)n};
    if (v->ndim == CBP_MAX_DIMS) return CBP_OUT_OF_RANGE;
    for (int i = 0; i < v->ndim; i++) shape[i + 1] = v->shape[i];
    cbp_op_set_shape(y, v->dtype, v->ndim + 1, shape);
    return CBP_OK;
}

cbp_status cbp_loop_shape(const cbp_op *op, cbp_array *const *out)
{
    const cbp_loop *l = op->loop;
    const cbp_value *values = l->program[0]->values;
    const int32_t n_carry = l->n_carry, n_stacks = op->kind == CBP_OP_scan ? n_carry : 0;
    cbp_status status = CBP_OK;
    for (int32_t k = 0; k < l->n_out; k++) {
        const cbp_value *v = &values[l->out[0][k]];
        if (out[k] && (op->kind != CBP_OP_scan || k < n_carry)) like(out[k], v);
        else if (out[k] && status == CBP_OK) status = stacked(out[k], v, op->a[0]);
    }
    for (int32_t k = 0; k < n_stacks && status == CBP_OK; k++)
        if (out[l->n_out + k]) status = stacked(out[l->n_out + k], &values[l->out[0][k]], op->a[0]);
    if (op->kind == CBP_OP_while_loop && out[n_carry]) cbp_op_set_shape(out[n_carry], CBP_I64, 0, NULL);
    return status;
}
