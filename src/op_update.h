/* op_update.h: a step of a row of optim.def for a list of parameters.  Included by op.c alone. */

/* x^t by repeated squaring: one rounding a product, so the same bits everywhere; libm's pow does not promise that.
 * The relative error is at most about t units of 2^-53, and 1 - x^t then has one of at most 2^-53 / (1 - x). */
static double cbp_power(double x, int64_t t)
{
    double y = 1;
    for (uint64_t n = (uint64_t)t;; x *= x) {
        const double factor[] = {1, x};            /* no branch: the bits of a count are hard to guess */
        y *= factor[n & 1];
        if (!(n >>= 1)) return y;
    }
}

enum { MOST_NUMBERS = 16 };                    /* options or hyper-parameters of a row */
#define NAMES(...) __VA_ARGS__
#define CBP_OPTIM(name, moments, always, names, options, hyper, values, ...) \
static void name##_values(const double *given, int decays, int64_t t, double *h) \
{ \
    struct { double NAMES options; } o; \
    memcpy(&o, given, sizeof o); \
    if (!decays) o.weight_decay = 0; \
    (void)t; \
    const double all[] = {NAMES values}; \
    _Static_assert(sizeof all == sizeof(struct { double NAMES hyper; }), "a value for each hyper-parameter"); \
    _Static_assert(sizeof all <= MOST_NUMBERS * sizeof *all && sizeof o <= MOST_NUMBERS * sizeof *all, "room"); \
    memcpy(h, all, sizeof all); \
} \
static int name##_decays(const double *given) \
{ \
    struct { double NAMES options; } o; \
    memcpy(&o, given, sizeof o); \
    return o.weight_decay != 0; \
}
#include "optim.def"

#define CBP_OPTIM(name, ...) name##_values,
static void (*const update_values[])(const double *options, int decays, int64_t t, double *h) = {
#include "optim.def"
};
#define CBP_OPTIM(name, ...) name##_decays,
static int (*const update_decays[])(const double *options) = {
#include "optim.def"
};

RUN(optim)
{
    const int options = cbp_optim_rows[op->row].n_options;
    double o[MOST_NUMBERS], h[MOST_NUMBERS];
    QUIET;
    for (int i = 0; i < options; i++) o[i] = *(const double *)in[i]->data;
    const int64_t decaying = update_decays[op->row](o) ? op->a[0] : INT64_MAX;    /* nothing decays: no difference */
    int64_t known = 0;                             /* the step that h is for: members mostly share it */
    for (int i = options; i < n_in; i += 6, out += 5) {
        const cbp_array *w = in[i], *g = in[i + 1];
        const int64_t t = *(int64_t *)out[1]->data = (int64_t)(*(const uint64_t *)in[i + 2]->data + 1);
        const int64_t member = (i - options) / 6;
        if (t != known || member == decaying) update_values[op->row](o, member < decaying, known = t, h);
        KERNELS(w)->optim(op->row, w->size, out[0]->data, g->data, data_of(out[2]), data_of(out[3]), data_of(out[4]), h);
    }
    return CBP_OK;
}
