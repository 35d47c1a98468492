/* rows.h: what the tables say, as text: read by the Python side, the docs and `explain`.  Compiled once (rows.c). */
#ifndef CBP_ROWS_H
#define CBP_ROWS_H

typedef struct {
    const char *name, *keeps, *params, *f, *df;
    double low, high;              /* where tests and benchmarks draw x from */
    const char *kinks;
    int is_public;
} cbp_unary_info;

typedef struct {
    const char *name, *f, *keeps_a, *da, *keeps_b, *db;
    double a_low, a_high, b_low, b_high;
    int ties, strong, compares;
} cbp_binary_info;

typedef struct {
    const char *name, *options;    /* in the order of the operation's inputs, separated by ", " */
    const char *hyper;             /* hyper-parameters in the order of the kernel's h[], likewise */
    const char *moment_names;
    int moments, always;           /* how many moments the rule knows, and how many of them it always has */
    int n_options;
} cbp_optim_info;

extern const cbp_unary_info cbp_unary_rows[];
extern const cbp_binary_info cbp_binary_rows[];
extern const cbp_optim_info cbp_optim_rows[];
extern const int cbp_n_unary, cbp_n_binary, cbp_n_optim;

#endif
