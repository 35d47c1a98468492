/* sweep.h: what the parts of the tool share. */
#ifndef SWEEP_H
#define SWEEP_H

#include <stdint.h>

#include "dispatch.h"
#include "oracle.h"
#include "rows.h"

enum { MAX_TARGETS = 3, BLOCK = 4096 };

/* What a walk found out about one function on one instruction set. */
typedef struct {
    double ulp;                     /* the worst error, in units of the dtype's spacing at the exact value ... */
    double at[2];                   /* ... and where */
    long special, sign;             /* NaN or not where the other is not; zeros of the wrong sign */
    double special_at;
    uint64_t count;
} outcome;

typedef struct { int n; const char *name[MAX_TARGETS]; const cbp_kernels *table[MAX_TARGETS]; } targets;

typedef struct { const char *kind; const cbp_unary_info *row; int place, slope; } job;      /* a unary row */

int sweep_threads(void);
void merge(outcome *into, const outcome *from);
void parameters(const cbp_unary_info *row, int bits, double p[2]);

/* all32.c: every float32 there is (or each stride-th);  sample.c: float64, and the rows of two arguments */
void walk_all32(const targets *t, const job *j, uint64_t stride, outcome *out);
void walk_f64(const targets *t, const job *j, uint64_t points, outcome *out);
void walk_binary(const targets *t, int place, int bits, uint64_t points, outcome *out);

#endif
