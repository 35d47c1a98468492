/* plan.h: the passes over a program before it runs.  Internal to plan.c and fuse.c. */
#ifndef CBP_PLAN_H
#define CBP_PLAN_H

#include "program.h"

int cbp_optional(const cbp_op *op, int k);
cbp_status cbp_drop_dead(cbp_program *p);
cbp_status cbp_drop_copies(cbp_program *p);
/* fuse.c: instructions that become one without changing a bit. */
cbp_status cbp_fuse(cbp_program *p);

#endif
