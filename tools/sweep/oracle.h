/* oracle.h: the exact values that kernels are measured against, in three precisions (oracle.c, compiled three times).
 *
 * Nothing here comes from src/vmath*.h or the formulas of the rows; exp, erfc and the like are the C library's. */
#ifndef ORACLE_H
#define ORACLE_H

typedef __float128 quad;

/* y[i] = f(x[i]) or its slope; where terms cancel, size[i] is what they are about as large as, else 0.
 * p: the row's parameters, rounded to the dtype of the row under test. */
typedef void oracle_64(long n, const double *x, double *y, double *size, const double *p);
typedef void oracle_80(long n, const double *x, long double *y, long double *size, const double *p);
typedef void oracle_128(long n, const double *x, quad *y, quad *size, const double *p);

/* value and slope of one row; f is NULL at the end of the table */
typedef struct { const char *name; oracle_64 *f, *df; } rows_64;
typedef struct { const char *name; oracle_80 *f, *df; } rows_80;
typedef struct { const char *name; oracle_128 *f, *df; } rows_128;
extern const rows_64 oracles_64[];
extern const rows_80 oracles_80[];
extern const rows_128 oracles_128[];

quad oracle_pow(double a, double b), oracle_atan2(double a, double b);

#endif
