/* tile.h: instructions that run block of rows by block of rows, so that what lies between them stays in the cache, groups
 * of rows being shared out among threads: one fork and join for all of them.
 *
 * Rows are cut where sums over rows are cut (cbp_group_rows), each group's sums are finished by themselves and added by the
 * tree of cbp.h: the bits are those of the instructions one after the other.  A group may be cut again into blocks; chains
 * then go on where the block before left them.
 */
#ifndef CBP_TILE_H
#define CBP_TILE_H

#include "op.h"

typedef enum {
    CBP_REG_WHOLE,                     /* the same for all rows */
    CBP_REG_ROWS,                      /* a block of an operand's rows */
    CBP_REG_SUM,                       /* an output that is a sum over all rows: one a group until the end */
    CBP_REG_LOCAL                      /* rows that nobody else reads: they live as long as their block */
} cbp_tile_kind;

typedef struct {
    uint8_t kind, dtype, ndim;
    int32_t operand;                   /* of the tile: number of the input, or n_in + number of the output */
    ptrdiff_t row;                     /* elements of one row; of the sum */
    ptrdiff_t offset;                  /* LOCAL: bytes in the slab; SUM: in the sums of a group */
    ptrdiff_t shape[CBP_MAX_DIMS];
} cbp_tile_reg;

typedef struct { cbp_op op; int32_t in, n_in, out, n_out, line; } cbp_tile_step;      /* in, out: places in args */

typedef struct cbp_tile {
    int32_t n_in, n_steps, n_regs, n_args, n_slots;        /* slots: the most threads */
    ptrdiff_t rows, unit, block;       /* rows in all, of a group (what a thread takes), of a block */
    size_t slab, scratch, sums;        /* bytes: of a block's local rows, for a step, of one group's sums */
    cbp_tile_reg *regs;
    cbp_tile_step *steps;
    int32_t *args;                     /* registers, -1: none */
} cbp_tile;

cbp_tile *cbp_tile_new(int32_t n_steps, int32_t n_regs, int32_t n_args);
void cbp_tile_free(cbp_tile *t);
static inline ptrdiff_t cbp_tile_units(const cbp_tile *t) { return (t->rows + t->unit - 1) / t->unit; }
/* Bytes of a step's operands that depend on the block. */
size_t cbp_tile_scratch(const cbp_tile *t);
cbp_status cbp_tile_run(const cbp_tile *t, cbp_array *const *in, cbp_array *const *out, void *scratch);

#endif
