/* table.c: the kernel table of one instruction set and dtype.  Compiled with the kernels it lists. */
#include "cbp.h"

/* every function in the table has the type that the table gives it */
#define CBP_KERNELS(X) \
    X(unary) X(unary_vjp) X(binary) X(binary_vjp) X(where) X(chain) X(optim) X(sum_last) X(sum_lead) X(max_last) X(max_lead) X(argmax_last) \
    X(softmax) X(log_softmax) X(logsumexp) X(ce_fwd) X(ce_vjp) \
    X(gemm) X(gemm_ref) X(gemm_scratch) X(gemm_batch) X(gemm_part) X(dense_fwd) X(dense_bwd) X(dense_scratch)
#define DECLARE(name) extern __typeof__(*((cbp_kernels *)0)->name) CBP_SYM(cbp_##name);
CBP_KERNELS(DECLARE)

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define ENTRY(name) .name = CBP_SYM(cbp_##name),
extern const cbp_kernels CBP_SYM(cbp_kernels);
const cbp_kernels CBP_SYM(cbp_kernels) = {
    .target = TEXT(CBP_TARGET), .bits = CBP_BITS, .fma = CBP_HAS_FMA,
    CBP_KERNELS(ENTRY)
};
