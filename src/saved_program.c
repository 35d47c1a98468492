/* saved_program.c: the programs of a file at a batch size.  The format: saved.h. */
#include "saved_words.h"

#include "integer.h"
#include "loop.h"
#include "rows.h"

typedef struct {
    cbp_reader r;
    cbp_program *p;
    int64_t batch;
    int data;
    uint8_t *taken;                    /* by array: a state of the program is it */
    int64_t *at;                       /* by value: where it is described, -1 once it is an input or result */
    int32_t n_values;
    int depth;                         /* of bodies inside bodies, 0: the program itself */
} loader;

/* Element i of a constant that counts; where it leaves the integers it goes on at their other end. */
static void count(cbp_array *a, uint64_t c, uint64_t d)
{
    for (ptrdiff_t i = 0; i < a->size; i++, c += d)
        switch (a->dtype) {
        case CBP_F32: ((float *)a->data)[i] = (float)(int64_t)c; break;
        case CBP_F64: ((double *)a->data)[i] = (double)(int64_t)c; break;
        default: ((int64_t *)a->data)[i] = (int64_t)c;
        }
}

/* All elements of a constant that has no array. */
static void fill(cbp_array *a, int64_t form, int64_t x, int64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    if (form) v = form == 1 ? (double)x : 1 / (double)x;
    for (ptrdiff_t i = 0; i < a->size; i++)
        switch (a->dtype) {
        case CBP_F32: ((float *)a->data)[i] = (float)v; break;
        case CBP_F64: ((double *)a->data)[i] = v; break;
        case CBP_I64: ((int64_t *)a->data)[i] = form ? x : bits; break;
        default: ((uint8_t *)a->data)[i] = bits != 0;
        }
}

/* The array of a constant that has none in the file, where data are wanted. */
static cbp_array *read_form(loader *l, const cbp_array *like)
{
    cbp_reader *r = &l->r;
    const int64_t form = next_in(r, 0, like->dtype == CBP_BOOL ? 0 : 3, "a constant is of no known form");
    int64_t c = 0, d = 0;
    if (r->end - r->at >= 2)
        c = (int64_t)word_at(r->s->words + 8 * r->at), d = (int64_t)word_at(r->s->words + 8 * (r->at + 1));
    const int64_t x = next_number(r, form == 1 || form == 2 ? l->batch : 0);
    if (form == 2 && like->dtype == CBP_I64 && !r->wrong) r->wrong = "a constant is of no known form";
    if (!l->data || r->wrong) return NULL;
    cbp_array *a = cbp_array_new((cbp_dtype)like->dtype, like->ndim, like->shape);
    if (!a) r->wrong = "";
    else if (form == 3) count(a, (uint64_t)c, (uint64_t)d);
    else fill(a, form, x, c);
    return a;
}

static void read_value(loader *l, int32_t v)
{
    cbp_reader *r = &l->r;
    const cbp_saved *s = r->s;
    ptrdiff_t shape[CBP_MAX_DIMS];
    cbp_array like, *own = NULL, *held = NULL;
    l->at[v] = r->at;
    const cbp_place place = (cbp_place)next_in(r, 0, CBP_STATE, "a value is of no known place");
    const int dtype = (int)next_in(r, 0, CBP_N_DTYPES - 1, "a value has no known dtype");
    const int ndim = (int)next_in(r, 0, CBP_MAX_DIMS, "a value has too many axes");
    for (int i = 0; i < ndim; i++) {
        const int64_t length = next_number(r, l->batch);
        if ((length < 0 || length > PTRDIFF_MAX / 64) && !r->wrong) r->wrong = "a value has no valid shape";
        shape[i] = (ptrdiff_t)length;
    }
    const int32_t of = (int32_t)next_in(r, -1, v - 1, "a value is a part of one that comes later");
    const int32_t array = (int32_t)next_in(r, -1, s->n_arrays - 1, "a value has an array that is not there");
    if (r->wrong) return;
    cbp_op_set_shape(&like, dtype, ndim, shape);
    if (place == CBP_STATE && of >= 0) held = l->p->values[of].held;
    else if (array >= 0) {
        held = s->arrays[array].array;
        if ((place != CBP_STATE && place != CBP_CONST) || s->arrays[array].state != (place == CBP_STATE)
            || (place == CBP_STATE && l->taken[array]++)) r->wrong = "a value has the array of another";
    } else if (place == CBP_CONST) held = own = read_form(l, &like);
    if (!r->wrong && cbp_program_value(l->p, place, &like, held, of) < 0) r->wrong = "";
    cbp_array_drop(own);
}

/* Which of its table's rows an operation means. */
static int32_t row_of(cbp_reader *r, int kind, int64_t number)
{
    if (kind == CBP_OP_compare_i64 || kind == CBP_OP_logic || number < 0) return (int32_t)number;
    const cbp_saved_symbol *y = number < r->s->n_symbols ? &r->s->symbols[number] : NULL;
    const int binary = kind == CBP_OP_binary || kind == CBP_OP_binary_vjp;
    const int32_t row = !y ? -1 : kind == CBP_OP_optim ? y->optim : kind == CBP_OP_integer ? y->integer
        : binary ? y->binary : y->unary;
    if (row < 0) r->wrong = "an operation names a row that this version does not know";
    return row;
}

static cbp_loop *read_loop(loader *l, int kind, int32_t n_in);

static void read_instr(loader *l)
{
    cbp_reader *r = &l->r;
    cbp_op op;
    memset(&op, 0, sizeof op);
    op.prev = -1;
    const int64_t symbol = next_in(r, 0, r->s->n_symbols - 1, "an operation has no name");
    const int64_t row = next_in(r, -1, r->s->n_symbols + CBP_GE, "an operation names no row");
    op.flags = (int32_t)next_in(r, 0, 3, "an operation has flags that mean nothing");
    op.dtype = (int32_t)next_in(r, 0, CBP_N_DTYPES - 1, "an operation has no known dtype");
    const int32_t n_in = next_count(r, 1), n_out = next_count(r, 1);
    if (r->wrong || n_in + (int64_t)n_out > r->end - r->at) {
        if (!r->wrong) r->wrong = "a count is larger than the file";
        return;
    }
    op.kind = r->s->symbols[symbol].kind;
    if (op.kind < 0) r->wrong = "an operation is one that this version does not know";
    else op.row = row_of(r, op.kind, row);
    int32_t *args = room(r, n_in + n_out, sizeof *args);
    for (int32_t k = 0; k < n_in + n_out && args; k++)
        args[k] = (int32_t)next_in(r, -1, l->n_values - 1, "an operation names a value that is not there");
    for (int k = 0; k < 2; k++) op.p[k] = next_double(r);
    const int32_t n = (int32_t)next_in(r, 0, CBP_OP_ATTRS, "an operation has too many attributes");
    for (int32_t k = 0; k < n; k++) op.a[k] = next_number(r, l->batch);
    if (!r->wrong && cbp_runs_programs(op.kind)) op.loop = read_loop(l, op.kind, n_in);
    if (!r->wrong && cbp_program_instr(l->p, &op, args, n_in, args + n_in, n_out, -1)) r->wrong = "";
    cbp_loop_drop(op.loop);
    free(args);
}

/* Values and instructions, from where r stands. */
static void read_program(loader *l)
{
    cbp_reader *r = &l->r;
    l->n_values = next_count(r, 5);
    if (!l->taken) l->taken = room(r, r->s->n_arrays, 1);
    l->at = room(r, l->n_values, sizeof *l->at);
    l->p = cbp_program_new();
    if (!l->p) r->wrong = "";
    for (int32_t v = 0; v < l->n_values && !r->wrong; v++) read_value(l, v);
    const int32_t n = next_count(r, 9);
    for (int32_t i = 0; i < n && !r->wrong; i++) read_instr(l);
}

/* Whether a value is an input, or a result; what a body finds in a State is an input of it. */
static int is_port(const loader *l, int32_t v, int place)
{
    const cbp_value *x = &l->p->values[v];
    return x->place == place || (place == CBP_INPUT && l->depth && x->place == CBP_STATE && x->of < 0);
}

/* The number of a value of that kind, each once; low: -1 if there may be none.  *at: where it is described, or NULL. */
static int32_t next_port(loader *l, int place, int32_t low, int64_t *at)
{
    cbp_reader *r = &l->r;
    const int32_t v = (int32_t)next_in(r, low, l->n_values - 1, "an input or result is not there");
    if (r->wrong || v < 0) return v;
    if (!is_port(l, v, place) || l->at[v] < 0) r->wrong = "an input or result is something else";
    if (at) *at = l->at[v];
    l->at[v] = -1;
    return v;
}

static void all_ports(loader *l)
{
    for (int32_t v = 0; !l->r.wrong && v < l->n_values; v++)
        if (l->at[v] >= 0 && (is_port(l, v, CBP_INPUT) || is_port(l, v, CBP_OUTPUT)))
            l->r.wrong = "an input or result has no name";
}

/* What a scan, a while_loop or a cond of n_in inputs runs. */
static cbp_loop *read_loop(loader *l, int kind, int32_t n_in)
{
    cbp_reader *r = &l->r;
    const int32_t n_carry = (int32_t)next_in(r, 0, n_in, "a loop has more carries than inputs");
    const int32_t n_x = (int32_t)next_in(r, 0, n_in - n_carry, "a loop has more slices than inputs");
    const int32_t n_out = next_count(r, 1);
    if (l->depth == CBP_SAVED_DEPTH && !r->wrong) r->wrong = "loops are nested too deep";
    cbp_loop *loop = r->wrong ? NULL : cbp_loop_new(NULL, NULL, n_in, n_out, n_carry, n_x);
    if (!loop && !r->wrong) r->wrong = "";
    for (int i = 0; i < (kind == CBP_OP_scan ? 1 : 2) && !r->wrong; i++) {
        loader body = {*r, NULL, l->batch, l->data, l->taken, NULL, 0, l->depth + 1};
        read_program(&body);
        loop->program[i] = body.p;
        for (int32_t k = 0; k < n_in; k++) loop->in[i][k] = next_port(&body, CBP_INPUT, -1, NULL);
        for (int32_t k = 0; k < (i && n_carry ? 1 : n_out); k++) loop->out[i][k] = next_port(&body, CBP_OUTPUT, 0, NULL);
        all_ports(&body);
        free(body.at);
        *r = body.r;
    }
    return loop;
}

static cbp_saved_port *read_ports(loader *l, int32_t *n, int place)
{
    cbp_reader *r = &l->r;
    *n = next_count(r, 3);
    cbp_saved_port *ports = room(r, *n, sizeof *ports);
    const char **names = room(r, *n, sizeof *names);
    for (int32_t i = 0; i < *n && !r->wrong; i++) {
        names[i] = ports[i].name = next_text(r);
        ports[i].value = next_port(l, place, 0, &ports[i].at);
    }
    if (!r->wrong) cbp_saved_unique(r, names, *n);
    free(names);
    return ports;
}

cbp_status cbp_saved_read_entry(cbp_reader *r, cbp_saved_program *e, char *message)
{
    size_t bytes;
    e->name = next_text(r);
    e->batch = next_in(r, 0, INT64_MAX, "a program has no valid batch size");
    e->at = r->at;
    loader l = {*r, NULL, e->batch, 0, NULL, NULL, 0, 0};
    read_program(&l);
    e->inputs = read_ports(&l, &e->n_inputs, CBP_INPUT);
    e->results = read_ports(&l, &e->n_results, CBP_OUTPUT);
    all_ports(&l);
    cbp_status status = verdict(&l.r, message);
    if (status == CBP_OK) status = cbp_program_check(l.p, &bytes, message);
    cbp_program_free(l.p);
    free(l.taken), free(l.at);
    *r = l.r;
    return status;
}

/* Not built.  data: constants without an array get one.  The file is sound, so that what is wrong is the size. */
static cbp_status at_batch(const cbp_saved *s, const cbp_saved_program *e, int64_t batch, int data, cbp_program **p,
                           size_t *bytes, char *message)
{
    char why[CBP_MESSAGE];
    loader l = {{s, e->at, s->n_words, NULL}, NULL, batch, data, NULL, NULL, 0, 0};
    read_program(&l);
    cbp_status status = verdict(&l.r, why);
    if (status == CBP_OK) status = cbp_program_check(l.p, bytes, why);
    free(l.taken), free(l.at);
    *p = l.p;
    if (status != CBP_BAD_FILE) return status == CBP_OK ? CBP_OK : cbp_say(message, status, "%s", why);
    return cbp_say(message, CBP_OUT_OF_RANGE, "%s can't run at batch size %lld: %s", e->name, (long long)batch, why);
}

/* What loops run is built before the program that runs them. */
static cbp_status build(cbp_program *p, char *message)
{
    cbp_status status = CBP_OK;
    for (int32_t i = 0; i < 2 * p->n_loops && status == CBP_OK; i++) {
        cbp_program *body = p->loops[i / 2]->program[i % 2];
        if (body && cbp_body_detach(body) != CBP_OK) return cbp_say(message, CBP_NOMEM, "no memory");
        if (body) status = build(body, message);
    }
    if (status != CBP_OK) return status;
    if (cbp_program_build(p, 0) != CBP_OK) return cbp_say(message, CBP_NOMEM, "no memory");
    return cbp_program_check_plan(p, message);
}

static cbp_status bind(const cbp_saved *s, const cbp_saved_program *e, int64_t batch, size_t most, cbp_program **p,
                       char *message)
{
    size_t bytes;
    if (!e->batch) batch = 0;
    else if (batch < 1) return cbp_say(message, CBP_OUT_OF_RANGE, "%s: the batch size must be at least 1", e->name);
    cbp_status status = at_batch(s, e, batch, 0, p, &bytes, message);
    if (status != CBP_OK) return status;
    if (most && bytes > most)
        return cbp_say(message, CBP_NOMEM, "%s at batch size %lld: its values take %zu bytes, %zu are allowed", e->name,
                       (long long)batch, bytes, most);
    cbp_program_free(*p);
    status = at_batch(s, e, batch, 1, p, &bytes, message);
    return status == CBP_OK ? build(*p, message) : status;
}

cbp_status cbp_saved_bind(const cbp_saved *s, const cbp_saved_program *e, int64_t batch, size_t most, cbp_program **p,
                          char *message)
{
    *p = NULL;
    const cbp_status status = bind(s, e, batch, most, p, message);
    if (status != CBP_OK) cbp_program_free(*p), *p = NULL;
    return status;
}

int cbp_saved_shape(const cbp_saved *s, const cbp_saved_port *port, cbp_dtype *dtype, int64_t *c, int64_t *d)
{
    cbp_reader r = {s, port->at + 1, s->n_words, NULL};
    *dtype = (cbp_dtype)next(&r);
    const int ndim = (int)next(&r);
    for (int i = 0; i < ndim; i++) c[i] = next(&r), d[i] = next(&r);
    return ndim;
}
