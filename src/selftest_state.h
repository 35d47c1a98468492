/* selftest_state.h: what the sections of selftest.c share: the hash, memory, inputs.  Part of selftest.c. */
#ifndef CBP_SELFTEST_STATE_H
#define CBP_SELFTEST_STATE_H

#include "dispatch.h"
#include "pool.h"
#include "rng.h"
#include "rows.h"
#include "selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const cbp_kernels *k;
    cbp_dtype dtype;
    uint64_t hash, count;                 /* of this section; results so far, of all sections */
    uint64_t flip_at, drawn;              /* drawn: random numbers of this section */
    int flip_bit, shared_by, n_held;
    void *held[64];                       /* freed when the section, or a case of it, is over */
    cbp_status status;
} state;

/* ---- results ---- */

static uint64_t mix(uint64_t hash, uint64_t v)
{
    hash = (hash ^ v) * 0x9E3779B97F4A7C15u;          /* odd: a bijection, as is the shift */
    return hash ^ hash >> 29;
}
static void put_bits(state *s, uint64_t v, int bits)
{
    if (s->count++ == s->flip_at) v ^= (uint64_t)1 << s->flip_bit % bits;
    s->hash = mix(s->hash, v);
}
static void put(state *s, ptrdiff_t n, const void *x)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        if (s->dtype == CBP_F32) {
            uint32_t v;
            memcpy(&v, (const char *)x + 4 * i, 4);
            put_bits(s, (v & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC00000 : v, 32);
        } else {
            uint64_t v;
            memcpy(&v, (const char *)x + 8 * i, 8);
            put_bits(s, (v & INT64_MAX) > 0x7FF0000000000000 ? 0x7FF8000000000000 : v, 64);
        }
    }
}
static void put_bytes(state *s, ptrdiff_t n, const uint8_t *x)
{
    for (ptrdiff_t i = 0; i < n; i++) put_bits(s, x[i], 8);
}
static void put_i64(state *s, ptrdiff_t n, const int64_t *x)
{
    for (ptrdiff_t i = 0; i < n; i++) put_bits(s, (uint64_t)x[i], 64);
}

/* ---- memory and inputs ---- */

enum { KEY = 7 };                         /* of the random numbers */

/* NULL sets the status, which the caller looks at when it has asked for all it wants. */
static void *hold(state *s, size_t bytes)
{
    void *p = s->n_held < 64 ? malloc(bytes ? bytes : 1) : NULL;
    if (p) s->held[s->n_held++] = p;
    else s->status = CBP_NOMEM;
    return p;
}
static void *room(state *s, ptrdiff_t n) { return hold(s, (size_t)n * (s->dtype == CBP_F32 ? 4 : 8)); }
static void *scratch_of(state *s, size_t bytes)
{
    char *p = hold(s, bytes + 64);
    return p ? p + (64 - (uintptr_t)p % 64) : NULL;
}
static void release(state *s)
{
    while (s->n_held) free(s->held[--s->n_held]);
}

static void set(state *s, void *x, ptrdiff_t i, double v)
{
    if (s->dtype == CBP_F32) ((float *)x)[i] = (float)v;
    else ((double *)x)[i] = v;
}
static double special(const state *s, ptrdiff_t i)
{
    const int f32 = s->dtype == CBP_F32;
    const double tiny = f32 ? 0x1p-149 : 0x1p-1074, small = f32 ? 0x1.8p-127 : 0x1.8p-1023;      /* subnormal */
    const double most = f32 ? 0x1.FFFFFEp127 : 0x1.FFFFFFFFFFFFFp1023;
    const double values[] = {0, (double)NAN, (double)-INFINITY, -0., (double)INFINITY, tiny, -most, -small, 1e5, -1,
                             most / 3, 1, -3e9, -tiny, most, 90, -750, 3e-9, 0.5, -100, small};
    return values[i % (ptrdiff_t)(sizeof values / sizeof *values)];
}
/* Uniform in [low, high), every `every`-th one special (0: none). */
static void *numbers(state *s, ptrdiff_t n, double low, double high, int every)
{
    enum { AT_ONCE = 64 };
    double u[AT_ONCE];
    void *x = room(s, n);
    for (ptrdiff_t i = 0; x && i < n; i++, s->drawn++) {
        if (i % AT_ONCE == 0) cbp_rng_uniform_f64(KEY, s->drawn, AT_ONCE, u);
        set(s, x, i, every && i % every == every - 1 ? special(s, i / every) : low + (high - low) * u[i % AT_ONCE]);
    }
    return x;
}
static void *mask(state *s, ptrdiff_t n, double p)
{
    uint8_t *x = hold(s, (size_t)n);
    if (x) cbp_rng_mask(KEY, s->drawn, n, p, x);
    s->drawn += (uint64_t)n;
    return x;
}
static int64_t *below(state *s, ptrdiff_t n, ptrdiff_t bound)
{
    int64_t *x = hold(s, (size_t)n * sizeof *x);
    if (x) cbp_rng_below(KEY, s->drawn, n, bound, x);
    s->drawn += (uint64_t)n;
    return x;
}

/* What the slope of a row reads. */
static const void *kept_of(const cbp_unary_info *row, const void *x, const void *y)
{
    return *row->keeps == 'X' ? x : *row->keeps == 'Y' ? y : NULL;
}

static void note_threads(state *s)
{
    const int used = cbp_pool_workers_used();
    if (used > s->shared_by) s->shared_by = used;
}

#endif
