/* program.c: a saved program without Python.
 *
 *     program run FILE NAME BATCH STEPS INPUTS OUTPUT
 *         STEPS runs of program NAME.  INPUTS has the bytes of its inputs, run by run, in their order; OUTPUT gets those
 *         of its results, run by run, then of all states of the module, then the whole file with these states.
 *     program hash FILE NAME BATCH STEPS HASH_WITH_FMA HASH_WITHOUT
 *         The same on random inputs, on every instruction set of this CPU: one number for all bits, to be compared.
 *
 * It also runs under an emulator (make cross).  Status 0: all went well, and the hashes are those.
 */
#include "dispatch.h"
#include "module.h"
#include "rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char message[CBP_MESSAGE];

static int fail(const char *what)
{
    printf("%s: %s\n", what, message);
    return 1;
}

static void *get(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) printf("no memory\n"), exit(1);
    return p;
}

/* ---- run ---- */

static int steps_from(cbp_bound *b, int steps, FILE *in, FILE *out)
{
    for (int i = 0; i < cbp_bound_inputs(b); i++)
        cbp_bound_read(b, cbp_bound_input(b, i).name, get(cbp_bound_input(b, i).bytes));
    for (int step = 0; step < steps; step++) {
        for (int i = 0; i < cbp_bound_inputs(b); i++) {
            const cbp_slot s = cbp_bound_input(b, i);
            if (fread(s.data, 1, s.bytes, in) != s.bytes) return snprintf(message, sizeof message, "too short"), fail("inputs");
        }
        if (cbp_bound_run(b, message) != CBP_OK) return fail("run");
        for (int i = 0; i < cbp_bound_results(b); i++)
            fwrite(cbp_bound_result(b, i).data, 1, cbp_bound_result(b, i).bytes, out);
    }
    for (int i = 0; i < cbp_bound_inputs(b); i++) free(cbp_bound_input(b, i).data);
    return 0;
}

static int run(char **a)
{
    cbp_module *m;
    cbp_bound *b;
    FILE *in = fopen(a[4], "rb"), *out = fopen(a[5], "wb");
    if (!in || !out) return fail("files");
    if (cbp_module_open(a[0], &m, message) != CBP_OK) return fail("open");
    if (cbp_module_bind(m, a[1], atoll(a[2]), 0, &b, message) != CBP_OK) return fail("bind");
    if (steps_from(b, atoi(a[3]), in, out)) return 1;
    for (int i = 0; i < cbp_module_states(m); i++)
        fwrite(cbp_module_state(m, i).data, 1, cbp_module_state(m, i).bytes, out);
    void *file = get(cbp_module_bytes(m));
    cbp_module_write(m, file);
    fwrite(file, 1, cbp_module_bytes(m), out);
    free(file);
    cbp_module_close(m);
    fclose(in);
    return fclose(out) != 0;
}

/* ---- hash ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

/* Of the elements as integers, so that byte order does not enter. */
static uint64_t mix_slot(uint64_t h, cbp_slot s)
{
    const size_t item = cbp_itemsize(s.dtype);
    for (size_t i = 0; i < s.bytes / item; i++) {
        uint32_t v32;
        uint64_t v64;
        const char *at = (const char *)s.data + i * item;
        memcpy(&v32, at, item < 4 ? 1 : 4), memcpy(&v64, at, item < 8 ? 1 : 8);
        h = mix(h, item == 8 ? v64 : item == 4 ? v32 : *(const uint8_t *)at);
    }
    return h;
}

static void draw(cbp_slot s, uint64_t at)
{
    const ptrdiff_t n = (ptrdiff_t)(s.bytes / cbp_itemsize(s.dtype));
    switch (s.dtype) {
    case CBP_F32: cbp_rng_normal_f32(7, at, n, s.data); break;
    case CBP_F64: cbp_rng_normal_f64(7, at, n, s.data); break;
    case CBP_I64: cbp_rng_below(7, at, n, 2, s.data); break;
    default: cbp_rng_mask(7, at, n, 0.5, s.data);
    }
}

static int hash_of(const char *path, const char *name, int64_t batch, int steps, uint64_t *h)
{
    cbp_module *m;
    cbp_bound *b;
    if (cbp_module_open(path, &m, message) != CBP_OK) return fail("open");
    if (cbp_module_bind(m, name, batch, 0, &b, message) != CBP_OK) return fail("bind");
    void **inputs = get((size_t)cbp_bound_inputs(b) * sizeof *inputs);
    for (int i = 0; i < cbp_bound_inputs(b); i++) {
        inputs[i] = get(cbp_bound_input(b, i).bytes);
        cbp_bound_read(b, cbp_bound_input(b, i).name, inputs[i]);
    }
    for (int step = 0; step < steps; step++) {
        for (int i = 0; i < cbp_bound_inputs(b); i++) draw(cbp_bound_input(b, i), (uint64_t)(step * 1000000 + i * 100000));
        if (cbp_bound_run(b, message) != CBP_OK) return fail("run");
        for (int i = 0; i < cbp_bound_results(b); i++) *h = mix_slot(*h, cbp_bound_result(b, i));
    }
    for (int i = 0; i < cbp_module_states(m); i++) *h = mix_slot(*h, cbp_module_state(m, i));
    for (int i = 0; i < cbp_bound_inputs(b); i++) free(inputs[i]);
    free(inputs);
    cbp_module_close(m);
    return 0;
}

static int hashes(char **a)
{
    int failed = 0;
    for (int i = 0; cbp_target_name(i); i++) {
        uint64_t h = 0;
        char found[32];
        if (!cbp_target_runs(i)) continue;
        cbp_select(cbp_target_name(i));
        if (hash_of(a[0], a[1], atoll(a[2]), atoi(a[3]), &h)) return 1;
        const char *wanted = cbp_active[0]->fma ? a[4] : a[5];
        snprintf(found, sizeof found, "%016llx", (unsigned long long)h);
        const int same = !strcmp(found, wanted);
        printf("%-7s %s  program      %s%s\n", cbp_target_name(i), found, same ? "ok" : "DIFFERENT: expected ", same ? "" : wanted);
        failed |= !same;
    }
    return failed;
}

int main(int n, char **arguments)
{
    if (n == 8 && !strcmp(arguments[1], "run")) return cbp_select(NULL), run(arguments + 2);
    if (n == 8 && !strcmp(arguments[1], "hash")) return hashes(arguments + 2);
    printf("usage: program run FILE NAME BATCH STEPS INPUTS OUTPUT\n"
           "       program hash FILE NAME BATCH STEPS HASH_WITH_FMA HASH_WITHOUT\n");
    return 2;
}
