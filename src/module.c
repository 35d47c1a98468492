/* module.c: see module.h.  What a file may hold: saved.h. */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bound.h"

/* ---- modules ---- */

cbp_status cbp_module_load(const void *file, size_t bytes, cbp_module **m, char *message)
{
    return cbp_module_load_as(file, bytes, 1, m, message);
}

cbp_status cbp_module_load_as(const void *file, size_t bytes, int checked, cbp_module **m, char *message)
{
    *m = calloc(1, sizeof **m);
    if (!*m) return cbp_say(message, CBP_NOMEM, "no memory");
    const cbp_status status = cbp_saved_open(&(*m)->saved, file, bytes, checked, message);
    if (status != CBP_OK) cbp_module_close(*m), *m = NULL;
    return status;
}

cbp_status cbp_module_open(const char *path, cbp_module **m, char *message)
{
    FILE *file = fopen(path, "rb");
    long size = -1;
    void *bytes = NULL;
    cbp_status status;
    *m = NULL;
    if (file && !fseek(file, 0, SEEK_END) && (size = ftell(file)) >= 0) bytes = malloc((size_t)size + 1);
    if (!file || size < 0) status = cbp_say(message, CBP_OUT_OF_RANGE, "%s can't be read", path);
    else if (!bytes) status = cbp_say(message, CBP_NOMEM, "no memory");
    else if (fseek(file, 0, SEEK_SET) || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        status = cbp_say(message, CBP_OUT_OF_RANGE, "%s can't be read", path);
    else status = cbp_module_load(bytes, (size_t)size, m, message);
    free(bytes);
    if (file) fclose(file);
    return status;
}

void cbp_module_close(cbp_module *m)
{
    if (!m) return;
    while (m->bound) cbp_bound_close(m->bound);
    cbp_saved_close(&m->saved);
    free(m);
}

size_t cbp_module_bytes(const cbp_module *m) { return m->saved.size; }
void cbp_module_write(const cbp_module *m, void *file) { cbp_saved_write(&m->saved, file); }

int cbp_module_programs(const cbp_module *m) { return m->saved.n_programs; }
const char *cbp_module_program(const cbp_module *m, int i)
{
    return i >= 0 && i < m->saved.n_programs ? m->saved.programs[i].name : NULL;
}

static cbp_slot slot_of(const char *name, const cbp_array *a)
{
    cbp_slot s = {name, (cbp_dtype)a->dtype, a->ndim, {0}, (size_t)a->size * cbp_itemsize((cbp_dtype)a->dtype), a->data};
    for (int i = 0; i < a->ndim; i++) s.shape[i] = a->shape[i];
    return s;
}

/* Number i of the arrays that are states, or the one of that name. */
static cbp_slot state(const cbp_module *m, int i, const char *name)
{
    const cbp_saved *s = &m->saved;
    for (int32_t k = 0, n = 0; k < s->n_arrays; k++) {
        if (!s->arrays[k].state) continue;
        if (name ? !strcmp(s->arrays[k].name, name) : n == i) return slot_of(s->arrays[k].name, s->arrays[k].array);
        n++;
    }
    return (cbp_slot){.name = NULL};
}

int cbp_module_states(const cbp_module *m)
{
    int n = 0;
    for (int32_t k = 0; k < m->saved.n_arrays; k++) n += m->saved.arrays[k].state;
    return n;
}
cbp_slot cbp_module_state(const cbp_module *m, int i) { return state(m, i, NULL); }
cbp_slot cbp_module_state_called(const cbp_module *m, const char *name) { return state(m, -1, name); }

/* ---- programs at a batch size ---- */

void cbp_bound_close(cbp_bound *b)
{
    if (!b) return;
    cbp_bound **at = &b->module->bound;
    while (*at != b) at = &(*at)->next;
    *at = b->next;
    cbp_frame_free(b->frame);
    cbp_program_free(b->p);
    for (int32_t k = 0; k < b->entry->n_results && b->results; k++) cbp_array_drop(b->results[k]);
    free(b->results);
    free(b);
}

/* Memory of its own for each result, and the frame. */
static cbp_status allocate(cbp_bound *b)
{
    const cbp_saved_program *e = b->entry;
    b->frame = cbp_frame_new(b->p, 0);
    b->results = calloc((size_t)e->n_results + 1, sizeof *b->results);
    if (!b->frame || !b->results) return CBP_NOMEM;
    for (int32_t k = 0; k < e->n_results; k++) {
        const cbp_value *v = &b->p->values[e->results[k].value];
        b->results[k] = cbp_array_new((cbp_dtype)v->dtype, v->ndim, v->shape);
        if (!b->results[k]) return CBP_NOMEM;
        cbp_frame_array(b->frame, e->results[k].value)->data = b->results[k]->data;
    }
    return CBP_OK;
}

static const cbp_saved_program *entry_called(const cbp_module *m, const char *name)
{
    for (int32_t i = 0; i < m->saved.n_programs; i++)
        if (!strcmp(m->saved.programs[i].name, name)) return &m->saved.programs[i];
    return NULL;
}

cbp_status cbp_module_bind(cbp_module *m, const char *program, int64_t batch, size_t most, cbp_bound **b, char *message)
{
    const cbp_saved_program *e = entry_called(m, program);
    *b = NULL;
    if (!e) return cbp_say(message, CBP_OUT_OF_RANGE, "there is no program %s", program);
    cbp_bound *made = calloc(1, sizeof *made);
    if (!made) return cbp_say(message, CBP_NOMEM, "no memory");
    made->module = m, made->entry = e;
    cbp_status status = cbp_saved_bind(&m->saved, e, batch, most, &made->p, message);
    if (status == CBP_OK && allocate(made) != CBP_OK) status = cbp_say(message, CBP_NOMEM, "no memory");
    made->next = m->bound, m->bound = made;
    if (status == CBP_OK) *b = made;
    else cbp_bound_close(made);
    return status;
}

static cbp_slot port(const cbp_bound *b, const cbp_saved_port *ports, int n, int i)
{
    if (i < 0 || i >= n) return (cbp_slot){.name = NULL};
    return slot_of(ports[i].name, cbp_frame_array(b->frame, ports[i].value));
}

int cbp_bound_writes(const cbp_bound *b) { return b->p->split < b->p->n_instrs; }
int cbp_bound_inputs(const cbp_bound *b) { return b->entry->n_inputs; }
cbp_slot cbp_bound_input(const cbp_bound *b, int i) { return port(b, b->entry->inputs, b->entry->n_inputs, i); }
int cbp_bound_results(const cbp_bound *b) { return b->entry->n_results; }
cbp_slot cbp_bound_result(const cbp_bound *b, int i) { return port(b, b->entry->results, b->entry->n_results, i); }

cbp_status cbp_bound_read(cbp_bound *b, const char *input, const void *data)
{
    for (int32_t i = 0; i < b->entry->n_inputs; i++)
        if (!strcmp(b->entry->inputs[i].name, input)) {
            cbp_frame_array(b->frame, b->entry->inputs[i].value)->data = (void *)data;
            return CBP_OK;
        }
    return CBP_OUT_OF_RANGE;
}

cbp_status cbp_bound_run(cbp_bound *b, char *message)
{
    const cbp_program *p = b->p;
    for (int32_t i = 0; i < b->entry->n_inputs; i++) {
        const int32_t v = b->entry->inputs[i].value;
        if (cbp_frame_array(b->frame, v)->data || !p->values[v].size || p->values[v].used < 0) continue;
        return cbp_say(message, CBP_OUT_OF_RANGE, "%s: nobody has said where %s lies", b->entry->name,
                       b->entry->inputs[i].name);
    }
    const cbp_status status = cbp_frame_run(b->frame, 0, p->n_instrs);
    if (status == CBP_OK) return CBP_OK;
    const cbp_op *op = &p->instrs[b->frame->at].op;
    return cbp_say(message, status, "%s: operation %d, %s, refuses: %s", b->entry->name, (int)b->frame->at,
                   cbp_op_infos[op->kind].name,
                   status == CBP_GUARD ? "this run takes another branch than the recorded one"
                   : op->kind == CBP_OP_while_loop ? "a label or index, or its condition still holds after the last step" : "a label or index");
}
