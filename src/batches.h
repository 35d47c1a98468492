/* batches.h: a program over the batches of an epoch: rows gathered by a permutation, replay, running loss.  No Python. */
#ifndef CBP_BATCHES_H
#define CBP_BATCHES_H

#include "program.h"

typedef struct {
    cbp_array *slot;                   /* the input that a batch is read from */
    const char *rows;                  /* all samples; the caller's */
    size_t bytes;                      /* of one */
    char *room;                        /* a batch of them */
} cbp_gather;

typedef struct {
    cbp_frame *frame;
    cbp_gather *gathers;
    int n_gathers;
    const int64_t *order;              /* sample numbers, batch after batch */
    ptrdiff_t batch;                   /* samples of a batch */
    const cbp_array *loss;             /* the program's first result, one number */
    int (*poll)(void *ctx);            /* asked between two batches: not 0 ends the loop */
    void *ctx;
    int patient;                       /* 1: asked every few batches will do: each is short */
    double sum;                        /* loss times samples, added up */
    int64_t done;                      /* batches */
} cbp_batches;

/* Runs the next n batches, or fewer where poll ends it (done says how many, one at least), or until an instruction
 * refuses (its status): then the batch that was under way has changed no state, and frame->at is that instruction. */
cbp_status cbp_batches_run(cbp_batches *b, int64_t n);

#endif
