/* loop.h: operations that run programs of their own: a body step after step (scan), while a condition holds
 * (while_loop), one of two branches (cond).
 *
 * Inputs of the operation: carries, slices, then what stays the same.  Results of a body: the next carries, then what
 * each step leaves.  A scan's outputs are the last carries, the stacks of what the steps left, and, where wanted, the
 * stacks of the carries before each step; a while_loop's the last carries and how many steps there were, int64; a cond's
 * the results of the branch.  All memory is there before the first step.
 */
#ifndef CBP_LOOP_H
#define CBP_LOOP_H

#include "program.h"

typedef struct cbp_loop {
    int64_t refs;
    cbp_program *program[2];           /* body and condition (NULL for a scan), or the branches if true and if false */
    int32_t n_in, n_out;               /* inputs of the operation, results of a body or branch */
    int32_t n_carry, n_x;              /* the first n_carry inputs are carries, the next n_x slices */
    int32_t *in[2];                    /* by input: the value of program i that it is, -1: not read there */
    int32_t *out[2];                   /* by result: its value in program i.  A condition has one, its truth */
    int (*poll)(void);                 /* asked now and then: not 0 stops.  NULL: nobody asks */
} cbp_loop;

static inline int cbp_runs_programs(int kind)
{
    return kind == CBP_OP_scan || kind == CBP_OP_while_loop || kind == CBP_OP_cond;
}

/* What a body may be made of, before it is built: states become inputs, and what it writes there it writes in the slab,
 * so that the last version of a state is a value like any other. */
cbp_status cbp_body_detach(cbp_program *p);

/* Takes over the programs, which are built before the first frame is made; in and out are to be filled.  NULL without
 * memory, the programs freed. */
cbp_loop *cbp_loop_new(cbp_program *a, cbp_program *b, int32_t n_in, int32_t n_out, int32_t n_carry, int32_t n_x);
cbp_loop *cbp_loop_hold(cbp_loop *l);
void cbp_loop_drop(cbp_loop *l);

/* One run's memory, frames of the programs among it. */
typedef struct cbp_loop_frame {
    const cbp_loop *loop;
    cbp_frame *frame[2];
    cbp_array **in[2], **out[2];       /* by input, by result: the array that the frame reads or writes, NULL: none */
    char **room;                       /* two for each result, so that a step reads one and writes the other */
    char **now, **next;                /* by carry: where it lies, where this step puts it */
    int64_t at;                        /* the step that a run stopped at: `now` has its carries */
    void *memory;
} cbp_loop_frame;

cbp_loop_frame *cbp_loop_frame_new(const cbp_loop *l);
void cbp_loop_frame_free(cbp_loop_frame *f);
/* scan, while_loop or cond.  CBP_OK, what an instruction of a body refused with, or CBP_STOPPED. */
cbp_status cbp_loop_run(const cbp_op *op, cbp_array *const *in, cbp_array *const *out, cbp_loop_frame *f);
/* Shapes and dtypes of the outputs that are wanted. */
cbp_status cbp_loop_shape(const cbp_op *op, cbp_array *const *out);

#endif
