/* module.h: programs recorded in Python and saved, loaded and run without it.
 *
 *     cbp_select(NULL);                                            the best kernels of this CPU (dispatch.h), once
 *     cbp_module *m;
 *     if (cbp_module_open("step.safetensors", &m, message)) ...    message says why not
 *     cbp_bound *step;
 *     cbp_module_bind(m, "train", 64, 0, &step, message);          at batch size 64: plans, allocates
 *     cbp_bound_read(step, "batch/x", x);                          its inputs lie here, C-contiguous, of the dtype and
 *     cbp_bound_read(step, "batch/y", y);                          shape that cbp_bound_input says
 *     while (more) fill(x, y), cbp_bound_run(step, message);       allocates nothing
 *     const float *loss = cbp_bound_result(step, 0).data;
 *     cbp_module_close(m);
 *
 * The programs of a module share its states: parameters, moments, counts of steps, learning rates, random streams.  A run
 * that refuses (a label out of range, another branch than the recorded one) has changed nothing.  The bits are those of
 * Python.  One thread at a time may use a module, but for runs that write no state (cbp_bound_writes): these may go on
 * side by side, each on a handle of its own.  Kernels share their work among the threads of pool.h.
 *
 * Status: CBP_OK; CBP_NOMEM; CBP_BAD_FILE; CBP_OUT_OF_RANGE, a name or size that the module does not have, or data that
 * an operation refuses; CBP_GUARD, another branch.  message: CBP_MESSAGE bytes, or NULL.
 */
#ifndef CBP_MODULE_H
#define CBP_MODULE_H

#include "check.h"

typedef struct cbp_module cbp_module;
typedef struct cbp_bound cbp_bound;    /* a program at a batch size, with its memory; its module's */

typedef struct {
    const char *name;                  /* NULL: there is no such thing */
    cbp_dtype dtype;
    int ndim;
    ptrdiff_t shape[CBP_MAX_DIMS];
    size_t bytes;
    void *data;
} cbp_slot;

cbp_status cbp_module_open(const char *path, cbp_module **m, char *message);
cbp_status cbp_module_load(const void *file, size_t bytes, cbp_module **m, char *message);     /* the file is copied */
void cbp_module_close(cbp_module *m);
/* The file with the states as they are now: cbp_module_bytes bytes, which the caller writes where it likes. */
size_t cbp_module_bytes(const cbp_module *m);
void cbp_module_write(const cbp_module *m, void *file);

int cbp_module_programs(const cbp_module *m);
const char *cbp_module_program(const cbp_module *m, int i);
/* By number, or by name.  data may be read and written between runs. */
int cbp_module_states(const cbp_module *m);
cbp_slot cbp_module_state(const cbp_module *m, int i);
cbp_slot cbp_module_state_called(const cbp_module *m, const char *name);

/* batch: at least 1; what a program that was saved with fixed shapes is given does not matter.  most: bytes that all its
 * values together may take, 0: any.  The handle is good until it is closed, or its module. */
cbp_status cbp_module_bind(cbp_module *m, const char *program, int64_t batch, size_t most, cbp_bound **b, char *message);
void cbp_bound_close(cbp_bound *b);
int cbp_bound_writes(const cbp_bound *b);                   /* whether a run changes states */
int cbp_bound_inputs(const cbp_bound *b);
cbp_slot cbp_bound_input(const cbp_bound *b, int i);
int cbp_bound_results(const cbp_bound *b);
/* data: of the last run; it stays until the next. */
cbp_slot cbp_bound_result(const cbp_bound *b, int i);
/* From where an input is read from now on, aligned as its dtype is. */
cbp_status cbp_bound_read(cbp_bound *b, const char *input, const void *data);
cbp_status cbp_bound_run(cbp_bound *b, char *message);

#endif
