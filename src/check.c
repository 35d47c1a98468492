/* check.c: see check.h.
 *
 * A recorder's program has these habits, on which the passes of plan.c rely: a value has one maker, which comes before
 * all that read it; a view has as many elements as what it shows; each write of a state makes a new value of the one
 * that was there last, and only that is read from then on; results are copies that nobody reads.  That no two states
 * share an array is the reader's business (saved_program.c).
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "integer.h"
#include "loop.h"
#include "move.h"
#include "rows.h"
#include "walk.h"

#include "op_check.h"

static const char *(*const op_checks[CBP_N_OPS])(const cbp_op *, cbp_array *const *, int, cbp_array *const *, int) = {
#define CBP_OP(name, ...) op_check_##name,
#include "op.def"
};
int cbp_savable(int kind) { return op_checks[kind] != NULL; }

cbp_status cbp_say(char *message, cbp_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (message) vsnprintf(message, CBP_MESSAGE, format, arguments);
    va_end(arguments);
    return status;
}

typedef struct {
    const cbp_program *p;
    int body;                          /* run by a loop, which brings the memory of its states */
    size_t *bytes;
    cbp_array *arrays;                 /* by value: dtype and shape */
    uint8_t *made;                     /* by value: it can be read now */
    int32_t *now;                      /* by state (its root): the value it holds now */
    int64_t *below;                    /* by value: indices in it are in [0, below); 0: who knows */
    cbp_array **operands;              /* of one instruction */
    char *message;
} check;

/* ---- values ---- */

static const char *shape_of(const cbp_value *v, size_t *bytes)
{
    ptrdiff_t size = 1;
    if (v->place > CBP_STATE || v->dtype >= CBP_N_DTYPES || v->ndim > CBP_MAX_DIMS) return "is of no known kind";
    for (int i = 0; i < v->ndim; i++) {
        if (v->shape[i] < 0 || v->shape[i] > PTRDIFF_MAX / 64) return "has an impossible shape";
        if (__builtin_mul_overflow(size, v->shape[i] ? v->shape[i] : 1, &size) || size > PTRDIFF_MAX / 64)
            return "is larger than any memory";
    }
    if (__builtin_add_overflow(*bytes, (size_t)v->size * cbp_itemsize((cbp_dtype)v->dtype) + 64, bytes)
        || *bytes > PTRDIFF_MAX / 4) return "is larger than any memory";
    return NULL;
}

/* Whose memory or whose later state a value is. */
static const char *origin_of(const cbp_program *p, int body, int32_t number)
{
    const cbp_value *v = &p->values[number], *from = v->of < 0 ? NULL : &p->values[v->of];
    if (v->of >= number || v->of < -1) return "is a part of one that comes later";
    if (v->place == CBP_STATE && (v->held != NULL) == body) return "is a state without an array, or of a body with one";
    if (!from) return NULL;
    if (v->dtype != from->dtype || v->size != from->size) return "does not fit what it is a part of";
    if (v->place == CBP_TEMP) return p->values[cbp_root(p, v->of)].place == CBP_OUTPUT ? "is a part of a result" : NULL;
    if (v->place != CBP_STATE || from->place != CBP_STATE || v->held != from->held) return "is a part of another kind";
    for (int i = 0; i < v->ndim; i++)
        if (v->ndim != from->ndim || v->shape[i] != from->shape[i]) return "has another shape than its state";
    return NULL;
}

static const char *array_of(const cbp_value *v)
{
    const cbp_array *a = v->held;
    if (!a || v->of >= 0) return NULL;
    if (a->dtype != v->dtype || a->ndim != v->ndim) return "does not fit its array";
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != v->shape[i]) return "does not fit its array";
    return NULL;
}

static cbp_status check_values(check *c)
{
    const cbp_program *p = c->p;
    *c->bytes = 0;
    for (int32_t v = 0; v < p->n_values; v++) {
        const char *wrong = shape_of(&p->values[v], c->bytes);
        if (!wrong) wrong = origin_of(p, c->body, v);
        if (!wrong) wrong = array_of(&p->values[v]);
        if (wrong) return cbp_say(c->message, CBP_BAD_FILE, "value %d %s", (int)v, wrong);
        cbp_op_set_shape(&c->arrays[v], p->values[v].dtype, p->values[v].ndim, p->values[v].shape);
        c->made[v] = p->values[v].of < 0 && p->values[v].place != CBP_TEMP && p->values[v].place != CBP_OUTPUT;
        c->now[v] = v;
        c->below[v] = 0;
    }
    return CBP_OK;
}

/* ---- instructions ---- */

/* Whether a value can be read: of a state, what it holds now. */
static int readable(const check *c, int32_t v)
{
    const cbp_value *values = c->p->values;
    while (values[v].place == CBP_TEMP && values[v].of >= 0) v = values[v].of;
    return values[v].place == CBP_STATE ? c->now[cbp_root(c->p, v)] == v : values[v].place != CBP_OUTPUT && c->made[v];
}

static int writes_in_place(int kind) { return kind == CBP_OP_copy || kind == CBP_OP_advance || kind == CBP_OP_optim; }

/* Output k of an instruction, which makes it: what it may be. */
static const char *make(check *c, const cbp_instr *x, int32_t k)
{
    const int32_t v = cbp_out(c->p, x)[k];
    const cbp_value *y = &c->p->values[v];
    if (y->place == CBP_STATE && y->of >= 0) {
        const int32_t root = cbp_root(c->p, v);
        if (!writes_in_place(x->op.kind) || c->now[root] != y->of) return "writes a state as only updates do";
        c->now[root] = v;
        return NULL;
    }
    if (c->made[v] || y->of >= 0) return "makes a value that is there";
    if (y->place != CBP_TEMP && (y->place != CBP_OUTPUT || x->op.kind != CBP_OP_copy)) return "makes what it can't";
    c->made[v] = 1;
    return NULL;
}

/* What writes in place reads what it writes: the kernels take them for one. */
static const char *in_place(const check *c, const cbp_instr *x)
{
    const int options = x->op.kind == CBP_OP_optim ? cbp_optim_rows[x->op.row].n_options : 0;
    static const int input_of[] = {0, 2, 3, 4, 5};
    if (x->op.kind != CBP_OP_optim && x->op.kind != CBP_OP_advance) return NULL;
    for (int32_t k = 0; k < x->n_out; k++) {
        const int32_t out = cbp_out(c->p, x)[k], in = cbp_in(c->p, x)[options + 6 * (k / 5) + input_of[k % 5]];
        const cbp_value *y = out < 0 ? NULL : &c->p->values[out];
        if (y && (y->place != CBP_STATE || y->of != in)) return "writes another state than it reads";
    }
    return NULL;
}

/* Indices that the kernels trust: an instruction has checked them, or they are constants. */
static const char *check_index(const check *c, const cbp_instr *x)
{
    if (x->op.kind != CBP_OP_take && x->op.kind != CBP_OP_put_add) return NULL;
    const int32_t root = cbp_root(c->p, cbp_in(c->p, x)[1]);
    const cbp_value *index = &c->p->values[root];
    const int put = x->op.kind == CBP_OP_put_add;
    const cbp_array *counted = c->operands[put ? x->n_in : 0];
    int64_t rows = 1;
    for (int64_t k = 0; k <= x->op.a[put ? 1 + CBP_MAX_DIMS : 0]; k++) rows *= counted->shape[k];
    if (index->place == CBP_CONST && index->held) {
        const int64_t *i = index->held->data;
        for (ptrdiff_t k = 0; k < index->size; k++)
            if (i[k] < 0 || i[k] >= rows) return "has an index outside its rows";
        return NULL;
    }
    return index->size == 0 || (c->below[root] > 0 && c->below[root] <= rows) ? NULL : "has an index that nothing has checked";
}

static const char *check_shapes(check *c, const cbp_instr *x, const cbp_op_info *info)
{
    cbp_array made[CBP_OP_FEW], *out[CBP_OP_FEW];
    if (!info->n_out) return NULL;
    for (int32_t k = 0; k < x->n_out; k++) out[k] = cbp_out(c->p, x)[k] < 0 ? NULL : &made[k];
    if (info->shape(&x->op, c->operands, x->n_in, out) != CBP_OK) return "has operands that do not fit";
    for (int32_t k = 0; k < x->n_out; k++) {
        const cbp_array *said = c->operands[x->n_in + k];
        if (out[k] && (made[k].dtype != said->dtype || made[k].ndim != said->ndim
                       || memcmp(made[k].shape, said->shape, said->ndim * sizeof *said->shape)))
            return "makes values of other shapes than the file says";
    }
    return NULL;
}

static const char *check_instr(check *c, const cbp_instr *x)
{
    if (x->op.kind < 0 || x->op.kind >= CBP_N_OPS || x->op.flags < 0 || x->op.flags > 3) return "is of no known kind";
    const cbp_op_info *info = &cbp_op_infos[x->op.kind];
    if (!op_checks[x->op.kind]) return "is of a kind that no file holds";
    if (info->n_out && x->n_out != info->n_out) return "has another number of outputs";
    for (int32_t k = 0; k < x->n_in + x->n_out; k++) {
        const int32_t v = c->p->args[x->in + k];
        if (v < -1 || v >= c->p->n_values) return "names a value that is not there";
        if (k < x->n_in && v >= 0 && !readable(c, v)) return "reads a value that is not there yet";
        c->operands[k] = v < 0 ? NULL : &c->arrays[v];
    }
    const char *wrong = op_checks[x->op.kind](&x->op, c->operands, x->n_in, c->operands + x->n_in, x->n_out);
    if (!wrong) wrong = check_shapes(c, x, info);
    if (!wrong) wrong = check_index(c, x);
    if (!wrong) wrong = in_place(c, x);
    for (int32_t k = 0; k < x->n_out && !wrong; k++)
        if (cbp_out(c->p, x)[k] >= 0) wrong = make(c, x, k);
    if (!wrong && x->op.kind == CBP_OP_check_index) c->below[cbp_out(c->p, x)[0]] = places_in(x->op.a, x->n_in);
    return wrong;
}

static cbp_status check_program(const cbp_program *p, int body, size_t *bytes, char *message);

/* What a loop runs; the results of a step lie in two rooms in turn. */
static cbp_status check_bodies(check *c, const cbp_loop *l)
{
    for (int i = 0; i < 2 && l->program[i]; i++) {
        size_t bytes;
        const cbp_status status = check_program(l->program[i], 1, &bytes, c->message);
        if (status != CBP_OK) return status;
        for (int32_t k = 0; k < l->n_out && i == 0; k++) {
            const cbp_value *v = &l->program[0]->values[l->out[0][k]];
            bytes += (size_t)v->size * cbp_itemsize((cbp_dtype)v->dtype);
        }
        if (__builtin_add_overflow(*c->bytes, bytes, c->bytes) || *c->bytes > PTRDIFF_MAX / 4)
            return cbp_say(c->message, CBP_BAD_FILE, "what a loop runs is larger than any memory");
    }
    return CBP_OK;
}

static cbp_status check_instrs(check *c)
{
    const cbp_program *p = c->p;
    cbp_status status = CBP_OK;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        const cbp_instr *x = &p->instrs[i];
        const char *wrong = check_instr(c, x), *name = x->op.kind < 0 || x->op.kind >= CBP_N_OPS ? "?" :
            cbp_op_infos[x->op.kind].name;
        if (wrong) return cbp_say(c->message, CBP_BAD_FILE, "operation %d, %s, %s", (int)i, name, wrong);
        if (x->op.loop) status = check_bodies(c, x->op.loop);
        if (status != CBP_OK) return status;
    }
    for (int32_t v = 0; v < p->n_values; v++) {
        if (p->values[v].place == CBP_OUTPUT && !c->made[v])
            return cbp_say(c->message, CBP_BAD_FILE, "value %d is a result that nothing makes", (int)v);
        if (p->values[v].place == CBP_STATE && p->values[v].of >= 0 && c->now[cbp_root(p, v)] < v)
            return cbp_say(c->message, CBP_BAD_FILE, "value %d is a state that nothing writes", (int)v);
    }
    return CBP_OK;
}

static cbp_status check_program(const cbp_program *p, int body, size_t *bytes, char *message)
{
    const size_t n = (size_t)p->n_values + 1;
    check c = {p, body, bytes, calloc(n, sizeof(cbp_array)), malloc(n), malloc(n * sizeof(int32_t)), malloc(n * sizeof(int64_t)),
               malloc(((size_t)p->n_args + 1) * sizeof(cbp_array *)), message};
    cbp_status status = CBP_NOMEM;
    if (c.arrays && c.made && c.now && c.below && c.operands) {
        status = check_values(&c);
        if (status == CBP_OK) status = check_instrs(&c);
    }
    free(c.arrays), free(c.made), free(c.now), free(c.below), free(c.operands);
    return status;
}

cbp_status cbp_program_check(const cbp_program *p, size_t *bytes, char *message)
{
    return check_program(p, 0, bytes, message);
}

/* ---- what the passes made of it ---- */

static int in_slab(const cbp_program *p, const cbp_value *v)
{
    const size_t bytes = (size_t)v->size * cbp_itemsize((cbp_dtype)v->dtype);
    return v->offset >= 0 && bytes <= p->slab && (size_t)v->offset <= p->slab - bytes;
}

cbp_status cbp_program_check_plan(const cbp_program *p, char *message)
{
    uint8_t *made = calloc((size_t)p->n_values + 1, 1);
    int32_t bad = -1;
    if (!made) return cbp_say(message, CBP_NOMEM, "no memory");
    for (int32_t i = 0; i < p->n_instrs && bad < 0; i++) {
        const cbp_instr *x = &p->instrs[i];
        for (int32_t k = 0; k < x->n_in + x->n_out; k++) {
            if (p->args[x->in + k] < 0) continue;
            const int32_t root = cbp_root(p, p->args[x->in + k]);
            const int place = p->values[root].place;
            if (place != CBP_TEMP && place != CBP_OUTPUT) continue;
            if (k >= x->n_in) made[root] = 1;
            if (!made[root] || (place == CBP_TEMP && !in_slab(p, &p->values[root]))) bad = i;
        }
    }
    free(made);
    if (bad < 0) return CBP_OK;
    return cbp_say(message, CBP_BAD_FILE, "the plan of the program does not hold at operation %d", (int)bad);
}
