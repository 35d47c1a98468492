/* pool.h: the threads of the kernels.  See pool.c. */
#ifndef CBP_POOL_H
#define CBP_POOL_H

#include <stddef.h>

/* Runs task(ctx, i) for every i in [0, n), each once, on the pool and the caller; returns when all are done.
 * Who runs what is not fixed, so tasks must write apart.  A nested call, or one made while another thread is
 * submitting, runs inline. */
void cbp_parallel(void (*task)(void *ctx, ptrdiff_t i), void *ctx, ptrdiff_t n);

/* The two symbols that a module built with -fvisibility=hidden exports: threadpoolctl calls them by name. */
#ifdef __GNUC__
#define CBP_EXPORT __attribute__((visibility("default")))
#else
#define CBP_EXPORT
#endif
CBP_EXPORT void cbp_set_num_threads(int n);   /* n < 1: back to the default */
CBP_EXPORT int cbp_get_num_threads(void);
/* From now on the calling thread does its work itself, as if there were one thread: for whoever runs many things side by
 * side.  0 ends it. */
void cbp_pool_alone(int yes);

/* The length of the parts in which n elements are shared out: multiples of unit, each worth a thread (at least `worth`
 * elements), one a thread; all n in one part where there is nothing to share. */
static inline ptrdiff_t cbp_part(ptrdiff_t n, ptrdiff_t worth, ptrdiff_t unit)
{
    const ptrdiff_t most = n / worth, threads = most < 2 ? 1 : cbp_get_num_threads(), parts = most < threads ? most : threads;
    return threads < 2 ? n : ((n + parts - 1) / parts + unit - 1) / unit * unit;
}

/* The most threads (the caller included) that ran tasks of one parallel region since the last call of this: for tests. */
int cbp_pool_workers_used(void);

/* The running pool worker's own CBP_WORKER_SCRATCH bytes, 64-byte aligned; NULL on any other thread. */
enum { CBP_WORKER_SCRATCH = 1 << 20 };
void *cbp_worker_scratch(void);

#endif
