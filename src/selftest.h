/* selftest.h: one number for everything the kernels of an instruction set compute.  Compiled once.
 *
 * The hash is of results as integers, in a fixed order, so neither byte order nor threads enter; every NaN counts as
 * one, since a NaN's bits are not promised.  Each step of it is a bijection: one changed bit always changes the hash.
 * Inputs are our own random numbers over each row's sample range, with special values among them.
 * Two hashes exist: one for targets with FMA, one for those without.
 */
#ifndef CBP_SELFTEST_H
#define CBP_SELFTEST_H

#include "cbp.h"

/* in the order in which they run; each is a function of selftest.c */
#define CBP_SELFTEST(X) \
    X(unary) X(binary) X(where) X(optim) X(reduce) X(softmax) X(gemm) X(batches) X(dense) X(train_1) X(train_3) \
    X(integer) X(cumsum)
#define CBP_SELFTEST_ONE(name) + 1
enum { CBP_SELFTEST_SECTIONS = 0 CBP_SELFTEST(CBP_SELFTEST_ONE) };
extern const char *const cbp_selftest_names[CBP_SELFTEST_SECTIONS];

typedef struct {
    uint64_t total;
    uint64_t section[2 * CBP_SELFTEST_SECTIONS];   /* those of float32, then those of float64 */
    uint64_t results[2 * CBP_SELFTEST_SECTIONS];   /* how many numbers went into it */
    int shared_by;                                 /* the most threads that were seen to share a product */
    int fma;                                       /* whether the target has FMA: which hash to expect */
} cbp_selftest_report;

/* target: NULL or "" is the best.
 * threads: for all sections but those named train, which have their own.  It is set for the process meanwhile.
 * flip_at: the place in the stream of all results where bit flip_bit (modulo the result's width) is flipped, -1: none.
 * CBP_OUT_OF_RANGE: the target is unknown or can't run here.  CBP_NOMEM: memory ran out (about 5 MB are used). */
cbp_status cbp_selftest(const char *target, int threads, int64_t flip_at, int flip_bit, cbp_selftest_report *report);

#endif
