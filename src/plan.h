/* plan.h: the passes over a program before it runs.  Internal to plan.c and its helpers. */
#ifndef CBP_PLAN_H
#define CBP_PLAN_H

#include "program.h"

int cbp_optional(const cbp_op *op, int k);
cbp_status cbp_drop_dead(cbp_program *p);
cbp_status cbp_drop_copies(cbp_program *p);
/* fuse.c: instructions that become one without changing a bit. */
cbp_status cbp_fuse(cbp_program *p);
/* chains.c: runs of elementwise instructions. */
cbp_status cbp_make_chains(cbp_program *p);
/* tiles.c: runs of instructions over the rows of a batch. */
cbp_status cbp_make_tiles(cbp_program *p);
/* constants.c: what can be computed now. */
cbp_status cbp_fold_constants(cbp_program *p);
/* slab.c: places of all values; apart: none shares memory with another. */
cbp_status cbp_place_values(cbp_program *p, int apart);

enum { CBP_LINE = 64 };
/* Of a value in the slab: whole lines. */
static inline size_t cbp_value_bytes(const cbp_value *v)
{
    return ((size_t)v->size * cbp_itemsize((cbp_dtype)v->dtype) + CBP_LINE - 1) / CBP_LINE * CBP_LINE;
}

#endif
