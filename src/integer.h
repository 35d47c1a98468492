/* integer.h: int64 and bool arithmetic, and their sums and maxima.  Compiled once.
 *
 * Integers wrap: sums and products are those of the 64 bits.  A quotient is rounded down, a remainder has the sign of the
 * divisor; by 0 both are 0, and INT64_MIN by -1 wraps like everything else, so that nothing here raises a signal.
 * Bools are bytes; outputs are 0 or 1, inputs count as true unless 0.  Sums of bools are `or`, as a + b of two bools is.
 * Everything may be called with sizes of 0 and allocates nothing.
 */
#ifndef CBP_INTEGER_H
#define CBP_INTEGER_H

#include "cbp.h"

/* The rows of integer.def. */
typedef enum {
#define CBP_INTEGER(name, f, bools, refused) CBP_INTEGER_##name,
#include "integer.def"
    CBP_N_INTEGER
} cbp_integer_row;
typedef struct {
    const char *name, *refused;        /* the text of the table */
    int refuses, bools;                /* whether it refuses any operands; a cbp_logic_op, CBP_WIDEN or CBP_REFUSE */
} cbp_integer_info;
extern const cbp_integer_info cbp_integer_rows[CBP_N_INTEGER];

/* y[i] = f(a[i*sa], b[i*sb]), strides 0 or 1 element; y may be an operand whose stride is 1. */
void cbp_integer(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y);
/* The first of n second operands that the row refuses, -1 if none. */
ptrdiff_t cbp_integer_refused(int row, ptrdiff_t n, const int64_t *b);

/* The same for comparisons of int64 and for logic.  Logic may write over its inputs where their stride is 1. */
typedef enum { CBP_EQ, CBP_NE, CBP_LT, CBP_LE, CBP_GT, CBP_GE } cbp_compare_op;
typedef enum { CBP_AND, CBP_OR, CBP_XOR } cbp_logic_op;
enum { CBP_WIDEN = CBP_XOR + 1, CBP_REFUSE };             /* what else integer.def says of bools */
void cbp_compare_i64(cbp_compare_op op, ptrdiff_t n, const int64_t *a, ptrdiff_t sa,
                     const int64_t *b, ptrdiff_t sb, uint8_t *y);
void cbp_logic(cbp_logic_op op, ptrdiff_t n, const uint8_t *a, ptrdiff_t sa, const uint8_t *b, ptrdiff_t sb, uint8_t *y);
void cbp_logic_not(ptrdiff_t n, const uint8_t *a, uint8_t *y);

/* Sum or maximum of int64 or bool x (B,K,N) over K -> y (B,N); of no elements the sum is 0, the maximum the smallest. */
void cbp_reduce_i64(int maximum, ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const int64_t *x, int64_t *y);
void cbp_reduce_bool(ptrdiff_t B, ptrdiff_t K, ptrdiff_t N, const uint8_t *x, uint8_t *y);
/* Place of the first maximum of each row of x (B,K), K > 0. */
void cbp_argmax_i64(ptrdiff_t B, ptrdiff_t K, const int64_t *x, int64_t *y);
void cbp_argmax_bool(ptrdiff_t B, ptrdiff_t K, const uint8_t *x, int64_t *y);

#endif
