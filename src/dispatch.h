/* dispatch.h: which kernel tables this process uses. */
#ifndef CBP_DISPATCH_H
#define CBP_DISPATCH_H
#include "cbp.h"

/* The tables in use, indexed by CBP_F32 and CBP_F64.  Set once at import, before any kernel runs. */
extern const cbp_kernels *cbp_active[2];

/* The names of the instruction sets that were built, best last; the i-th, or NULL past the end. */
const char *cbp_target_name(int i);
int cbp_target_runs(int i);               /* can this CPU run it? Asks cpuid and the system, never tries. */

/* Use the named set (NULL or "": the best that runs).  CBP_OUT_OF_RANGE if it is unknown or can't run here. */
cbp_status cbp_select(const char *name);
/* The table of a named set for tests that compare sets, or NULL if it can't run here. */
const cbp_kernels *cbp_table(const char *name, cbp_dtype dtype);

#endif
