/* kernels.c: the kernels against plain loops, on every instruction set that this CPU runs, and the selftest's hash.
 *
 *     kernels HASH_WITH_FMA HASH_WITHOUT
 *
 * No Python: it also runs under an emulator (make cross).  Status 1 and a line for each thing that differs.
 * Plain loops follow the order of docs/adr/0001-same-bits.md and must agree to the bit; softmax, functions and update
 * rules are computed in double by the C library, within a tolerance.
 */
#include "dispatch.h"
#include "pool.h"
#include "rng.h"
#include "rows.h"
#include "selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures, checks;
static uint64_t drawn;

/* what: printf's format and its arguments */
#define CHECK(ok, ...) do { \
        checks++; \
        if (!(ok)) { \
            if (failures++ < 20) printf("%s, float%d: ", k->target, k->bits), printf(__VA_ARGS__), printf("\n"); \
        } \
    } while (0)

static void *get(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) printf("no memory\n"), exit(1);
    return p;
}
static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static int row_called(const char *name)
{
    for (int row = 0; row < cbp_n_unary; row++)
        if (strcmp(cbp_unary_rows[row].name, name) == 0) return row;
    printf("no row %s\n", name);
    exit(1);
}

/* ---- update rules, one parameter in double, from the formulas of torch's documentation ---- */

static void hyper_of(const cbp_optim_info *info, double *h)
{
    static const struct { const char *name; double value; } known[] = {
        {"scale", 0.5}, {"lr", 0.01}, {"momentum", 0.9}, {"dampening", 0.2}, {"nesterov", 1}, {"weight_decay", 0.1},
        {"first", 0}, {"alpha", 0.99}, {"eps", 1e-3}, {"beta1", 0.9}, {"beta2", 0.99}, {"bc1", 0.19}, {"bc2", 0.0199}};
    char text[200], *place = text;
    strncpy(text, info->hyper, sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (char *name = text; place; h++, name = place + 2) {
        place = strchr(name, ',');
        if (place) *place = 0;
        *h = NAN;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(known[i].name, name) == 0) *h = known[i].value;
    }
}

/* Returns the new w; m[0..2] are the moments in use, as bits of `moments` say. */
static double update(const char *name, int moments, const double *h, double w, double g, double *m)
{
    g *= h[0];
    if (strcmp(name, "sgd") == 0) {
        g += h[5] * w;
        if (moments & 1) m[0] = h[2] * m[0] + (1 - h[3]) * g, g += h[2] * m[0];
        return w - h[1] * g;
    }
    if (strcmp(name, "rmsprop") == 0) {
        g += h[5] * w;
        m[0] = h[2] * m[0] + (1 - h[2]) * g * g;
        double v = m[0];
        if (moments & 2) m[1] = h[2] * m[1] + (1 - h[2]) * g, v -= m[1] * m[1];
        g /= sqrt(v > 0 ? v : 0) + h[3];
        if (moments & 4) g = m[2] = h[4] * m[2] + g;
        return w - h[1] * g;
    }
    if (strcmp(name, "adagrad") == 0) {
        g += h[3] * w;
        m[0] += g * g;
        return w - h[1] * g / (sqrt(m[0]) + h[2]);
    }
    if (strcmp(name, "adam") == 0) g += h[7] * w;
    else if (strcmp(name, "adamw") == 0) w -= h[1] * h[7] * w;
    else return NAN;
    m[0] = h[2] * m[0] + (1 - h[2]) * g;
    m[1] = h[3] * m[1] + (1 - h[3]) * g * g;
    if (moments & 4) m[2] = fmax(m[2], m[1]);
    return w - h[1] / h[5] * m[0] / (sqrt((moments & 4 ? m[2] : m[1]) / h[6]) + h[4]);
}

#define T float
#define OF(name) name##_f32
#define EPS 0x1p-23
#include "plain.h"

#define T double
#define OF(name) name##_f64
#define EPS 0x1p-52
#include "plain.h"

static void selftest(const char *target, const char *with_fma, const char *without)
{
    const cbp_kernels *k = cbp_table(target, CBP_F32);
    const char *wanted = k->fma ? with_fma : without;
    cbp_selftest_report report;
    char hash[32];
    int tries = 0;                       /* on a busy machine the caller may have done all before another thread wakes */
    do CHECK(cbp_selftest(target, 3, -1, 0, &report) == CBP_OK, "selftest failed");
    while (report.shared_by < 2 && ++tries < 20);
    CHECK(report.shared_by > 1, "no product was shared by threads");
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)report.total);
    const int same = strcmp(hash, wanted) == 0;
    checks++, failures += !same;
    printf("%-7s %s  %-11s  %s%s\n", target, hash, k->fma ? "with FMA" : "without FMA",
           same ? "ok" : "DIFFERENT: expected ", same ? "" : wanted);
    for (int i = 0; i < 2 * CBP_SELFTEST_SECTIONS && !same; i++)
        printf("    %s/%s %016llx\n", cbp_selftest_names[i % CBP_SELFTEST_SECTIONS],
               i < CBP_SELFTEST_SECTIONS ? "f32" : "f64", (unsigned long long)report.section[i]);
}

int main(int n, char **arguments)
{
    if (n != 3) return printf("usage: kernels HASH_WITH_FMA HASH_WITHOUT\n"), 2;
    for (int i = 0; cbp_target_name(i); i++) {
        const char *target = cbp_target_name(i);
        if (!cbp_target_runs(i)) {
            printf("%s: not on this CPU\n", target);
            continue;
        }
        cbp_set_num_threads(3);
        every_kernel_f32(cbp_table(target, CBP_F32));
        every_kernel_f64(cbp_table(target, CBP_F64));
        selftest(target, arguments[1], arguments[2]);
    }
    printf("%d checks, %d failed\n", checks, failures);
    return failures > 0;
}
