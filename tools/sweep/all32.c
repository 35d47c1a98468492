/* all32.c: one unary row, or its slope, over all float32 inputs: the oracle once, every instruction set beside it. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "sweep.h"

#define INLINE static inline __attribute__((always_inline))

typedef struct {
    float x[BLOCK], one[BLOCK], y[BLOCK], d[BLOCK];
    double wide[BLOCK], exact[BLOCK], size[BLOCK];
} room;

static double as_double(uint64_t b) { double x; memcpy(&x, &b, sizeof x); return x; }
static uint64_t as_bits(double x) { uint64_t b; memcpy(&b, &x, sizeof b); return b; }
static float as_float(uint32_t b) { float x; memcpy(&x, &b, sizeof x); return x; }

/* |got - exact| in float32 ulp as the bits of a double, whose order is the same; a NaN's, or the sign bit, where one is NaN
 * alone or a zero has the wrong sign: these order last.  Beyond the largest float, infinity stands for 2^128 or for an exact value that
 * is larger.  zeros: 1 where their sign counts, else 0. */
INLINE uint64_t error_bits(float got_, double exact, uint64_t zeros)
{
    double got = (double)got_, far = fabs(exact);
    far = far > 0x1.00001p128 ? 0x1.00001p128 : far;
    double top = far > 0x1p128 ? far : 0x1p128, value = fabs(got);
    value = value > 0x1p128 ? top : value;
    uint64_t e = as_bits(far) >> 52, differ = as_bits(got) >> 63 ^ as_bits(exact) >> 63;
    e = e < 1023 - 126 ? 1023 - 126 : e;
    e = e > 1023 + 127 ? 1023 + 127 : e;
    double error = fabs(copysign(value, got) - copysign(far, exact)) * as_double((2046 + 23 - e) << 52);
    uint64_t bits = as_bits(error);
    bits = got != got ? (exact != exact ? 0 : bits) : bits;
    bits |= value == 0 ? (differ & zeros) << 63 : 0;
    return bits;
}

static void judge(int n, const room *r, int slope, outcome *o)
{
    const uint64_t inf = as_bits(INFINITY), zeros = !slope;
    uint64_t most = 0, worst = as_bits(o->ulp);
    for (int i = 0; i < n; i++) {                    /* a vector loop; what exceeds is looked at again, one by one */
        const uint64_t e = error_bits(r->d[i], r->exact[i], zeros);
        most = e > most ? e : most;
    }
    o->count += (uint64_t)n;
    for (int i = 0; i < n && most > worst; i++) {
        const uint64_t e = error_bits(r->d[i], r->exact[i], zeros);
        if (e > inf && slope && r->x[i] != r->x[i]) continue;
        if (e > inf) {
            if (r->d[i] == 0) o->sign++;
            else o->special++;
            o->special_at = r->wide[i];
        } else if (e > as_bits(o->ulp)) {
            o->ulp = as_double(e), o->at[0] = r->wide[i];
        }
    }
}

typedef struct {
    const targets *t;
    const job *j;
    uint64_t stride, chunk;
    double p[2];
    _Atomic uint64_t next;
    pthread_mutex_t lock;
    outcome *out;
} walk;

static void exact_values(const walk *w, int n, room *r)
{
    const rows_64 *o = &oracles_64[w->j->place];
    (w->j->slope ? o->df : o->f)(n, r->wide, r->exact, r->size, w->p);
    for (int i = 0; i < n; i++) {
        if (!(fabs(r->exact[i]) < 0x1p-12 * r->size[i])) continue;
        const rows_80 *o80 = &oracles_80[w->j->place];      /* terms cancel: the 11 bits more of long double */
        long double y, size;
        (w->j->slope ? o80->df : o80->f)(1, r->wide + i, &y, &size, w->p);
        r->exact[i] = (double)y;
    }
}

static void one_block(const walk *w, int n, room *r, outcome *out)
{
    exact_values(w, n, r);
    for (int k = 0; k < w->t->n; k++) {
        const cbp_kernels *table = w->t->table[k];
        const int place = w->j->place;
        if (w->j->slope) {
            const char keeps = w->j->row->keeps[0];
            if (keeps == 'Y') table->unary(place, n, r->x, r->y, w->p);
            table->unary_vjp(place, n, keeps == 'Y' ? r->y : keeps == 'X' ? r->x : NULL, r->one, r->d, w->p, 0);
        } else {
            table->unary(place, n, r->x, r->d, w->p);
        }
        judge(n, r, w->j->slope, &out[k]);
    }
}

static void *work(void *v)
{
    walk *w = v;
    room r;
    outcome mine[MAX_TARGETS] = {0};
    for (int i = 0; i < BLOCK; i++) r.one[i] = 1;
    for (;;) {
        uint64_t start = atomic_fetch_add(&w->next, w->chunk), end = start + w->chunk;
        if (start >> 32) break;
        fprintf(stderr, "\r%3d%%", (int)(start * 100 >> 32));
        while (start < end) {
            const uint64_t left = (end - start + w->stride - 1) / w->stride;
            const int n = left < BLOCK ? (int)left : BLOCK;
            for (int i = 0; i < n; i++) {
                r.x[i] = as_float((uint32_t)start + (uint32_t)i * (uint32_t)w->stride);
                r.wide[i] = (double)r.x[i];
            }
            one_block(w, n, &r, mine);
            start += (uint64_t)n * w->stride;
        }
    }
    pthread_mutex_lock(&w->lock);
    for (int k = 0; k < w->t->n; k++) merge(&w->out[k], &mine[k]);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void walk_all32(const targets *t, const job *j, uint64_t stride, outcome *out)
{
    walk w = {.t = t, .j = j, .stride = stride, .chunk = stride << 22, .out = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[64];
    const int n = sweep_threads();
    if ((1ull << 32) % w.chunk) w.chunk = 1ull << 32;       /* an odd stride: one thread, one chunk */
    parameters(j->row, 32, w.p);
    for (int i = 1; i < n; i++) pthread_create(&threads[i], NULL, work, &w);
    work(&w);
    for (int i = 1; i < n; i++) pthread_join(threads[i], NULL);
    fprintf(stderr, "\r    \r");
}
