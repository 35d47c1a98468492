/* pool.c: a small pool of POSIX threads.
 *
 * Created by the first region that wants it; one broadcast wakes it for a region; workers sleep on a condition variable
 * in between and never spin.  A worker that wakes too late finds the region closed and sleeps on: nobody waits for it.
 * One submitter at a time: nested calls and other threads find `busy` set and run their tasks themselves.
 * A forked child has no workers: its atfork handler forgets them, its first region makes new ones.
 * Workers block every signal, so the host's handlers run in the host's threads.  Exit needs no farewell: they sleep.
 *
 * NOTE: on Windows everything runs on the caller's thread (unrun).
 */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE                    /* sched_getaffinity, pthread_attr_setstacksize */
#endif
#include "pool.h"

#include <stdatomic.h>

#ifdef _WIN32

void cbp_parallel(void (*task)(void *ctx, ptrdiff_t i), void *ctx, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) task(ctx, i);
}
void cbp_set_num_threads(int n) { (void)n; }
void cbp_pool_alone(int yes) { (void)yes; }
int cbp_get_num_threads(void) { return 1; }
int cbp_pool_workers_used(void) { return 1; }
void *cbp_worker_scratch(void) { return NULL; }

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREADS = 256, STACK = CBP_WORKER_SCRATCH + (1 << 20), SPINS = 200 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    pthread_t worker[MAX_THREADS];
    int workers, stop;
    unsigned region;               /* counts regions: what a sleeping worker waits to see change */
    int open;                      /* workers may still join the current region */
    _Atomic int joined;            /* workers inside it */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};

static struct {
    void (*task)(void *ctx, ptrdiff_t i);
    void *ctx;
    ptrdiff_t n;
    _Atomic ptrdiff_t next;
    _Atomic int used;
    unsigned fp_mode;
} job;

static atomic_flag busy = ATOMIC_FLAG_INIT;
static _Atomic int num_threads;        /* 0: not decided yet */
static _Atomic int most_used = 1;
static _Thread_local void *own_scratch;
static _Thread_local int alone;

/* ---- the floating-point mode of the caller holds in its workers: equal bits for any number of threads ---- */

#if defined(__SSE2__)
#include <xmmintrin.h>
static unsigned fp_mode(void) { return _mm_getcsr() & ~0x3fu; }        /* without the sticky flags */
static void set_fp_mode(unsigned mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
static unsigned fp_mode(void)
{
    uint64_t mode;
    __asm__("mrs %0, fpcr" : "=r"(mode));
    return (unsigned)mode;
}
static void set_fp_mode(unsigned mode) { __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)mode)); }
#else
static unsigned fp_mode(void) { return 0; }
static void set_fp_mode(unsigned mode) { (void)mode; }
#endif

/* ---- regions ---- */

static void run_tasks(void)
{
    ptrdiff_t i = atomic_fetch_add(&job.next, 1);
    if (i < job.n) atomic_fetch_add(&job.used, 1);
    for (; i < job.n; i = atomic_fetch_add(&job.next, 1)) job.task(job.ctx, i);
}

static void *work(void *unused)
{
    (void)unused;
    _Alignas(64) char scratch[CBP_WORKER_SCRATCH];
    own_scratch = scratch;
    pthread_mutex_lock(&pool.lock);
    unsigned seen = pool.region - (unsigned)pool.open;     /* a region that is open now is ours to join */
    while (!pool.stop) {
        if (pool.region == seen || !pool.open) {
            seen = pool.region;
            pthread_cond_wait(&pool.wake, &pool.lock);
            continue;
        }
        seen = pool.region;
        atomic_fetch_add(&pool.joined, 1);
        pthread_mutex_unlock(&pool.lock);
        set_fp_mode(job.fp_mode);
        run_tasks();
        pthread_mutex_lock(&pool.lock);
        if (atomic_fetch_sub(&pool.joined, 1) == 1 && !pool.open) pthread_cond_signal(&pool.idle);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* In a forked child: nobody else is left, and whatever they held is held for ever.  Start from nothing. */
static void forget_workers(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_cond_init(&pool.idle, NULL);
    pool.workers = pool.stop = pool.open = 0;
    atomic_store(&pool.joined, 0);
    atomic_flag_clear(&busy);
}

static void stop_workers(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stop = 1;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < pool.workers; i++) pthread_join(pool.worker[i], NULL);
    pool.workers = pool.stop = 0;
}

/* Only the submitter gets here.  Fewer workers than wanted is not an error: the tasks get done. */
static void set_workers(int wanted)
{
    static int registered;
    if (!registered) registered = pthread_atfork(NULL, NULL, forget_workers) == 0;
    if (pool.workers == wanted || !registered) return;
    if (pool.workers > wanted) stop_workers();
    sigset_t all, old;
    pthread_attr_t attr;
    sigfillset(&all);
    if (pthread_attr_init(&attr)) return;
    pthread_attr_setstacksize(&attr, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool.workers < wanted && pthread_create(&pool.worker[pool.workers], &attr, work, NULL) == 0) pool.workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
}

static void wait_for_workers(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.open = 0;
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < SPINS && atomic_load(&pool.joined); i++) {
#ifdef __SSE2__
        _mm_pause();
#endif
    }
    if (!atomic_load(&pool.joined)) return;
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&pool.joined)) pthread_cond_wait(&pool.idle, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

void cbp_parallel(void (*task)(void *ctx, ptrdiff_t i), void *ctx, ptrdiff_t n)
{
    const int threads = n > 1 ? cbp_get_num_threads() : 1;
    if (threads < 2 || atomic_flag_test_and_set(&busy)) {
        for (ptrdiff_t i = 0; i < n; i++) task(ctx, i);
        return;
    }
    set_workers(threads - 1);
    job.task = task;
    job.ctx = ctx;
    job.n = n;
    job.fp_mode = fp_mode();
    atomic_store(&job.next, 0);
    atomic_store(&job.used, 0);
    pthread_mutex_lock(&pool.lock);
    pool.region++;
    pool.open = 1;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    run_tasks();
    wait_for_workers();
    const int used = atomic_load(&job.used);               /* the only writer but for readers that reset it */
    if (used > atomic_load(&most_used)) atomic_store(&most_used, used);
    atomic_flag_clear(&busy);
}

int cbp_pool_workers_used(void) { return atomic_exchange(&most_used, 1); }
void *cbp_worker_scratch(void) { return own_scratch; }
void cbp_pool_alone(int yes) { alone = yes; }

/* ---- how many ---- */

static int from_environment(const char *name)
{
    const char *text = getenv(name);
    long n = text ? strtol(text, NULL, 10) : 0;            /* OMP_NUM_THREADS may be a list: its first number */
    return n < 1 ? 0 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static int from_machine(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");    /* "max 100000" or "quota period" */
    long quota, period;
    if (file) {
        if (fscanf(file, "%ld %ld", &quota, &period) == 2 && period > 0 && quota > 0 && quota / period < n)
            n = quota / period;
        fclose(file);
    }
#endif
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

void cbp_set_num_threads(int n)
{
    atomic_store(&num_threads, n < 1 ? 0 : n > MAX_THREADS ? MAX_THREADS : n);
}

int cbp_get_num_threads(void)
{
    if (alone) return 1;
    int n = atomic_load(&num_threads);
    if (n) return n;
    n = from_environment("CYBACKPROP_NUM_THREADS");
    if (!n) n = from_environment("OMP_NUM_THREADS");
    if (!n) n = from_machine();
    int undecided = 0;
    return atomic_compare_exchange_strong(&num_threads, &undecided, n) ? n : undecided;
}

#endif
