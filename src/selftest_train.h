/* selftest_train.h: twenty steps of training: three layers, dropout after the first two, cross-entropy, Adam.  Part of
 * selftest.c, and the one place of it that names ops. */
#ifndef CBP_SELFTEST_TRAIN_H
#define CBP_SELFTEST_TRAIN_H

#include "selftest_state.h"

#define CBP_UNARY(name, ...) UNARY_##name,
#define CBP_HELPER CBP_UNARY
#define CBP_BINARY(name, ...) BINARY_##name,
#define CBP_STRONG CBP_BINARY
#define CBP_COMPARE CBP_BINARY
#define CBP_OPTIM(name, ...) OPTIM_##name,
enum {
#include "unary.def"
};
enum {
#include "binary.def"
};
enum {
#include "optim.def"
};

enum { LAYERS = 3, BATCH = 128, STEPS = 20 };     /* the first layer's products are large enough for three threads */
static const ptrdiff_t width[LAYERS + 1] = {200, 480, 40, 10};
static const int act_of[LAYERS] = {UNARY_tanh, UNARY_gelu, -1};      /* one keeps y, one z */

/* What a layer holds: w with its bias below it (in + 1, out), likewise its gradient and moments. */
typedef struct { void *w, *dw, *m1, *m2, *z, *y, *gz, *dropped, *dx; uint8_t *keep; } layer;

static void *after(const state *s, void *x, ptrdiff_t n) { return (char *)x + n * (s->dtype == CBP_F32 ? 4 : 8); }

/* y = keep ? x / (1 - p) : 0, forward and backward */
static void drop(const state *s, ptrdiff_t n, const uint8_t *keep, const void *x, const void *scale, void *y)
{
    static const double zero = 0;
    s->k->binary(BINARY_mul, n, x, 1, scale, 0, y);
    s->k->where(n, keep, 1, y, 1, &zero, 0, y);
}

static void train(state *s, int threads)
{
    layer layers[LAYERS], *last = layers + LAYERS - 1;
    const ptrdiff_t classes = width[LAYERS];
    double h[] = {1, 0.01, 0.9, 0.999, 1e-8, 1, 1, 1e-4}, power1 = 1, power2 = 1;    /* as in optim.def */
    cbp_set_num_threads(threads);
    void *scale = room(s, 1), *mean = room(s, BATCH), *x = room(s, BATCH * width[0]), *p = room(s, BATCH * classes);
    void *loss = room(s, BATCH);
    int64_t *t = below(s, BATCH, classes);
    size_t most = 0;
    for (int i = 0; i < LAYERS; i++) {
        const ptrdiff_t in = width[i], out = width[i + 1], n = (in + 1) * out;
        const double bound = 1 / sqrt((double)in);
        const size_t bytes = s->k->dense_scratch(BATCH, in, out);
        most = bytes > most ? bytes : most;
        layers[i] = (layer){.w = numbers(s, n, -bound, bound, 0), .dw = room(s, n), .m1 = numbers(s, n, 0, 0, 0),
                            .m2 = numbers(s, n, 0, 0, 0), .z = room(s, BATCH * out), .y = room(s, BATCH * out),
                            .gz = room(s, BATCH * out), .dropped = room(s, BATCH * out), .dx = room(s, BATCH * in),
                            .keep = hold(s, (size_t)(BATCH * out))};
    }
    void *scratch = scratch_of(s, most);
    if (s->status) return;
    set(s, scale, 0, 1.25);
    for (int b = 0; b < BATCH; b++) set(s, mean, b, 1. / BATCH);
    for (int step = 0; step < STEPS; step++) {
        if (s->dtype == CBP_F32) cbp_rng_normal_f32(KEY, s->drawn, BATCH * width[0], x);
        else cbp_rng_normal_f64(KEY, s->drawn, BATCH * width[0], x);
        s->drawn += (uint64_t)(BATCH * width[0]);
        const void *input = x;
        for (int i = 0; i < LAYERS; input = layers[i++].dropped) {
            layer *l = layers + i;
            const ptrdiff_t in = width[i], out = width[i + 1], n = BATCH * out;
            s->k->dense_fwd(BATCH, in, out, input, l->w, after(s, l->w, in * out), act_of[i], NULL, l->z, l->y,
                            scratch);
            note_threads(s);
            if (l == last) break;
            cbp_rng_mask(KEY, s->drawn, n, 0.2, l->keep);
            s->drawn += (uint64_t)n;
            drop(s, n, l->keep, l->y, scale, l->dropped);
        }
        s->k->ce_fwd(BATCH, classes, last->y, t, -1, loss, p, NULL, 0, NULL);
        put(s, BATCH, loss);
        power1 *= h[2], power2 *= h[3];
        h[5] = 1 - power1, h[6] = 1 - power2;
        s->k->ce_vjp(BATCH, classes, p, t, -1, mean, p);
        const void *g = p;
        for (int i = LAYERS - 1; i >= 0; i--) {
            layer *l = layers + i;
            const ptrdiff_t in = width[i], out = width[i + 1];
            const void *kept = act_of[i] < 0 ? NULL : kept_of(cbp_unary_rows + act_of[i], l->z, l->y);
            s->k->dense_bwd(BATCH, in, out, i ? layers[i - 1].dropped : x, l->w, kept, g, act_of[i], NULL, l->gz,
                            i ? l->dx : NULL, l->dw, after(s, l->dw, in * out), 0, -1, NULL, NULL, scratch);
            note_threads(s);
            s->k->optim(OPTIM_adam, (in + 1) * out, l->w, l->dw, l->m1, l->m2, NULL, h);
            if (i) drop(s, BATCH * in, layers[i - 1].keep, l->dx, scale, l->dx);
            g = l->dx;
        }
    }
    for (int i = 0; i < LAYERS; i++) {
        put(s, (width[i] + 1) * width[i + 1], layers[i].w);
        put(s, (width[i] + 1) * width[i + 1], layers[i].m2);
    }
}
static void train_1(state *s) { train(s, 1); }
static void train_3(state *s) { train(s, 3); }

#endif
