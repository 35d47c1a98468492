/* optim.c: the rows of optim.def as loops: one pass over w, g and the moments.
 *
 * w and moments (n) are updated, g (n) is read; the buffers don't overlap.
 * Each hyper-parameter is cast to T once; quantities of several are computed in double, then cast.
 * As in elementwise.c, a loop takes whole vectors only; the last few elements are padded.
 */
#include "elementwise.h"
#include "pool.h"
#include "simd.h"
#include "vmath.h"

#include <string.h>

#define TINY 1e-30
enum { BUFFERS = 5 };

/* Parameters below which another thread is not worth waking: they take about 0.4 ns each. */
#ifndef CBP_UPDATES_A_THREAD
#define CBP_UPDATES_A_THREAD 65536
#endif

/* x, but 0 for what would only slow the arithmetic down; NaN stays */
static inline T cbp_flush(T x) { return cbp_abs(x) < K(TINY) ? 0 : x; }
/* x * x, likewise.  A vector computes the product in every lane, and a subnormal one is slow, so the factor is selected, not
 * the product; one of the two, since gcc folds the product of two equal selections back into a selection of products. */
static inline T cbp_square(T x) { return x * (cbp_abs(x) < K(1e-15) ? 0 : x); }

/* CAST_ALL(a, b, ...): const T a = h.a, b = h.b, ... */
#define CAST(name) __attribute__((unused)) const T name = (T)h.name;
#define CAST_1(a) CAST(a)
#define CAST_2(a, ...) CAST(a) CAST_1(__VA_ARGS__)
#define CAST_3(a, ...) CAST(a) CAST_2(__VA_ARGS__)
#define CAST_4(a, ...) CAST(a) CAST_3(__VA_ARGS__)
#define CAST_5(a, ...) CAST(a) CAST_4(__VA_ARGS__)
#define CAST_6(a, ...) CAST(a) CAST_5(__VA_ARGS__)
#define CAST_7(a, ...) CAST(a) CAST_6(__VA_ARGS__)
#define CAST_8(a, ...) CAST(a) CAST_7(__VA_ARGS__)
#define CAST_9(a, ...) CAST(a) CAST_8(__VA_ARGS__)
#define NINTH(a, b, c, d, e, f, g, h, i, name, ...) name
#define CAST_ALL(...) \
    NINTH(__VA_ARGS__, CAST_9, CAST_8, CAST_7, CAST_6, CAST_5, CAST_4, CAST_3, CAST_2, CAST_1, )(__VA_ARGS__)
#define NAMES(...) __VA_ARGS__

/* has1 .. has3 are constants wherever the loop is expanded, so each combination of moments is a plain loop of its own. */
#define CBP_OPTIM(name, moments, always, names, options, hyper, values, once, ...) \
static inline __attribute__((always_inline)) void \
name##_loop(ptrdiff_t n, T *restrict W, const T *restrict G, T *restrict M1, T *restrict M2, T *restrict M3, \
            const double *hyper_, const int has1, const int has2, const int has3) \
{ \
    struct { double NAMES hyper; } h; \
    memcpy(&h, hyper_, sizeof h); \
    CAST_ALL hyper \
    once; \
    const ptrdiff_t whole = n & -(ptrdiff_t)CBP_WHOLE; \
    for (ptrdiff_t i = 0; i < whole; i++) { \
        T w = W[i], g = G[i], m1 = has1 ? M1[i] : 0, m2 = has2 ? M2[i] : 0, m3 = has3 ? M3[i] : 0; \
        __VA_ARGS__; \
        W[i] = w; \
        if (has1) M1[i] = m1; \
        if (has2) M2[i] = m2; \
        if (has3) M3[i] = m3; \
    } \
} \
static void name##_whole(ptrdiff_t n, T *const *b, const double *h) \
{ \
    T *w = b[0], *g = b[1], *m1 = b[2], *m2 = b[3], *m3 = b[4]; \
    const int on1 = moments >= 1 && (always >= 1 || m1), on2 = moments >= 2 && (always >= 2 || m2), \
              on3 = moments >= 3 && (always >= 3 || m3); \
    if (on1 && on2 && on3) name##_loop(n, w, g, m1, m2, m3, h, 1, 1, 1); \
    else if (on1 && on2) name##_loop(n, w, g, m1, m2, m3, h, 1, 1, 0); \
    else if (on1 && on3) name##_loop(n, w, g, m1, m2, m3, h, 1, 0, 1); \
    else if (on1) name##_loop(n, w, g, m1, m2, m3, h, 1, 0, 0); \
    else if (!on2 && !on3) name##_loop(n, w, g, m1, m2, m3, h, 0, 0, 0); \
}
#include "optim.def"

typedef void (*whole_loop)(ptrdiff_t n, T *const *buffers, const double *h);
#define CBP_OPTIM(name, ...) name##_whole,
static const whole_loop loops[] = {
#include "optim.def"
};

typedef struct {
    whole_loop loop;
    T *buffer[BUFFERS];
    const double *h;
    ptrdiff_t n, part;
} update;

static void run(const update *u, ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t whole = (to - from) & -(ptrdiff_t)CBP_WHOLE, rest = to - from - whole;
    T *at[BUFFERS], *in[BUFFERS] = {NULL}, padded[BUFFERS][CBP_WHOLE];
    for (int j = 0; j < BUFFERS; j++) at[j] = u->buffer[j] ? u->buffer[j] + from : NULL;
    u->loop(whole, at, u->h);
    if (!rest) return;
    for (int j = 0; j < BUFFERS; j++) {
        if (!at[j]) continue;
        in[j] = padded[j];
        v_pad(in[j], CBP_WHOLE, at[j] + whole, rest);
    }
    u->loop(CBP_WHOLE, in, u->h);
    for (int j = 0; j < BUFFERS; j++)
        if (at[j] && j != 1) memcpy(at[j] + whole, in[j], (size_t)rest * sizeof(T));        /* 1: g is only read */
}

static void run_part(void *ctx, ptrdiff_t i)
{
    const update *u = ctx;
    const ptrdiff_t from = i * u->part, end = from + u->part;
    run(u, from, end < u->n ? end : u->n);
}

void CBP_SYM(cbp_optim)(int row, ptrdiff_t n, void *w, const void *g, void *m1, void *m2, void *m3, const double *h)
{
    update u = {.loop = loops[row], .buffer = {w, (T *)g, m1, m2, m3}, .h = h, .n = n};
    if (n == 0) return;
    u.part = cbp_part(n, CBP_UPDATES_A_THREAD, CBP_WHOLE);
    cbp_parallel(run_part, &u, (n + u.part - 1) / u.part);
}
