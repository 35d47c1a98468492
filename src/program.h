/* program.h: a recorded run as data, and its replay.  Knows operations (op.h), arrays (store.h), and no Python.
 *
 * Values are written once: what writes in place makes a new value in the place of an old one.  Life of a program:
 *
 *     record    cbp_program_value and cbp_program_instr, in the order in which things happened
 *     build     cbp_program_build (plan.c): order, fusion, lifetimes; afterwards the program never changes
 *     run       a cbp_frame is one execution's memory.  Frames of one program may run at the same time when it writes
 *               no state; whoever runs one that does holds its locks.
 */
#ifndef CBP_PROGRAM_H
#define CBP_PROGRAM_H

#include "op.h"

typedef enum {
    CBP_TEMP,                          /* in the slab */
    CBP_INPUT,                         /* the caller's memory, read */
    CBP_OUTPUT,                        /* the caller's memory, written */
    CBP_CONST,                         /* an array that never changes */
    CBP_STATE                          /* an array that lives between runs: a Parameter, a moment, a counter */
} cbp_place;

typedef struct {
    uint8_t place, dtype, ndim;
    uint8_t result;                    /* the caller wants it after the run */
    int32_t of;                        /* the value whose memory this is, in another shape or as it was before; -1: none */
    int32_t made, used;                /* the instructions that make it and that read it last, -1: none (build) */
    cbp_array *held;                   /* CBP_CONST, CBP_STATE: the array, counted */
    ptrdiff_t shape[CBP_MAX_DIMS];
    ptrdiff_t size, offset;            /* offset: in the slab (build) */
} cbp_value;

typedef struct {
    cbp_op op;
    int32_t in, n_in, out, n_out;      /* places in args */
    int32_t line;                      /* the caller's note: where this came from */
    int32_t segment;                   /* 0: the run itself, 1, 2, ...: reverse sweeps, which may come later */
    uint8_t writes;                    /* changes state */
} cbp_instr;

typedef struct cbp_program {
    cbp_value *values;
    cbp_instr *instrs;
    int32_t *args;                     /* value numbers, -1: none */
    int32_t n_values, n_instrs, n_args, room_values, room_instrs, room_args;
    struct cbp_loop **loops;           /* all that instructions refer to, counted */
    int32_t n_loops, room_loops;
    int32_t split;                     /* instructions before the first that writes state (build) */
    int32_t forward;                   /* instructions of segment 0 (build) */
    size_t slab, scratch;              /* bytes (build) */
    struct cbp_program *origin;        /* whose instructions a twin runs; NULL: its own */
    int64_t twins;                     /* others that run these instructions: they stay until the last is gone */
} cbp_program;

/* One execution: descriptors of all values, the slab, and the instructions with their operands found. */
typedef struct {
    const cbp_op_info *info;
    const cbp_op *op;
    cbp_array **in, **out;
    int32_t n_in, n_out;
    void *scratch;                     /* the frame's, or a loop's own frame */
} cbp_step;

typedef struct cbp_frame {
    const cbp_program *program;
    cbp_array *arrays;                 /* by value number; CBP_STATE and CBP_CONST are the held ones, not these */
    cbp_array **operands;              /* all steps' in and out */
    cbp_step *steps;
    int32_t *moved;                    /* values that follow another's memory: (value, root) pairs */
    int32_t n_steps, n_moved, at;      /* at: the step that a run stopped at */
    void *slab, *scratch, *states;     /* states: copies of its own, NULL: the program's */
} cbp_frame;

cbp_program *cbp_program_new(void);
void cbp_program_free(cbp_program *p);
/* Number of a new value, or -1 without memory.  held is counted. */
int32_t cbp_program_value(cbp_program *p, cbp_place place, const cbp_array *like, cbp_array *held, int32_t of);
/* 0, or -1 without memory.  in, out: value numbers, -1 for a missing one */
int cbp_program_instr(cbp_program *p, const cbp_op *op, const int32_t *in, int n_in, const int32_t *out, int n_out,
                      int32_t line);
cbp_program *cbp_program_clone(const cbp_program *p);
/* A built program's instructions with values of its own, the states missing (held is NULL): set them, counted.  NULL
 * without memory. */
cbp_program *cbp_program_twin(cbp_program *p);
/* plan.c.  plain: the instructions stay as they were recorded and no two values share memory, so that each can be looked
 * at afterwards. */
cbp_status cbp_program_build(cbp_program *p, int plain);
/* For tests of audits, plans are wrong while it is not 0.  1: lifetimes that overlap share memory, 2: slopes do not add,
 * 3: operands that are still needed are written over, 4: blocks of a tile are of other rows. */
extern int cbp_plant_fault;
extern int cbp_no_tiles;               /* for measuring what they gain */

/* private_state: works on copies of the states, as they are now. */
cbp_frame *cbp_frame_new(const cbp_program *p, int private_state);
void cbp_frame_free(cbp_frame *f);
/* The array of a value: set data of inputs and outputs before a run. */
cbp_array *cbp_frame_array(cbp_frame *f, int32_t value);
/* Runs instructions [from, to).  CBP_OK, or what an instruction refused with (f->at says which). */
cbp_status cbp_frame_run(cbp_frame *f, int32_t from, int32_t to);

void *cbp_aligned(size_t bytes);       /* a line of memory at least, on a line */
void cbp_aligned_free(void *p);
/* Whether an instruction may refuse at run time: a guard, an index or label to check. */
int cbp_can_refuse(const cbp_op *op);
static inline int32_t *cbp_in(const cbp_program *p, const cbp_instr *i) { return p->args + i->in; }
static inline int32_t *cbp_out(const cbp_program *p, const cbp_instr *i) { return p->args + i->out; }
static inline int32_t cbp_root(const cbp_program *p, int32_t v) { while (p->values[v].of >= 0) v = p->values[v].of; return v; }

#endif
