/* fuzz.c: files of programs that somebody has damaged, or made to do harm; built with sanitizers.
 *
 *     fuzz FILE BATCH ROUNDS
 *
 * A bit of every byte is turned over and the file is cut at every length: the checksum must tell.  Every integer that
 * describes a program is replaced by values that readers trip over, and ROUNDS times several of them change at once: that
 * is what an attacker does, who puts the right checksum to it, so these files are loaded without one; they are refused
 * or run.  Status 0 unless a sanitizer stops it, or a damaged file passes for whole.
 */
#include "bound.h"
#include "loop.h"
#include "rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST = 1 << 20,                    /* bytes a program may take: zeros that a file asks for are no harm */
    PATIENCE = 200                     /* how often a run's loops may ask whether to go on: nor are steps */
};
static char message[CBP_MESSAGE];
static unsigned char *whole, *file;
static size_t size;
static int64_t batch;
static long tried, loaded, ran, passed;    /* files; of those, loaded, for whole; runs */

static int asked;
static int weary(void) { return ++asked > PATIENCE; }

static void limit(const cbp_program *p)
{
    for (int32_t i = 0; i < 2 * p->n_loops; i++) {
        p->loops[i / 2]->poll = weary;
        if (p->loops[i / 2]->program[i % 2]) limit(p->loops[i / 2]->program[i % 2]);
    }
}

static void run_all(cbp_module *m, int64_t at)
{
    static double zeros[MOST / sizeof(double)];
    cbp_bound *b;
    for (int i = 0; i < cbp_module_programs(m); i++) {
        if (cbp_module_bind(m, cbp_module_program(m, i), at, MOST, &b, message) != CBP_OK) continue;
        int fits = b->p->slab + b->p->scratch < 64 * (size_t)MOST;
        for (int k = 0; k < cbp_bound_inputs(b); k++) {
            fits &= cbp_bound_input(b, k).bytes <= sizeof zeros;
            cbp_bound_read(b, cbp_bound_input(b, k).name, zeros);
        }
        limit(b->p);
        for (int turn = 0; turn < 2 && fits; turn++) asked = 0, ran += cbp_bound_run(b, message) == CBP_OK;
        cbp_bound_close(b);
    }
}

/* The file as it is now, `bytes` of it.  accident: its checksum must tell.  attack: somebody has put it right. */
static void try(size_t bytes, int accident, int attack)
{
    cbp_module *m;
    unsigned char *copy = malloc(bytes ? bytes : 1);       /* its end is where the sanitizer looks */
    if (!copy) exit(1);
    memcpy(copy, file, bytes);
    tried++;
    if (accident) {
        if (cbp_module_load(copy, bytes, &m, message) == CBP_OK) passed++;
        cbp_module_close(m);
    }
    if (attack && cbp_module_load_as(copy, bytes, 0, &m, message) == CBP_OK) {
        run_all(m, batch);
        if (loaded++ % 4 == 0) run_all(m, 1);
    }
    if (attack) cbp_module_close(m);
    free(copy);
}

static int64_t get(size_t at)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | file[at + (size_t)i];
    return (int64_t)v;
}
static void put(size_t at, int64_t v)
{
    for (int i = 0; i < 8; i++) file[at + (size_t)i] = (unsigned char)((uint64_t)v >> 8 * i);
}

static const int64_t awkward[] = {0, 1, 2, 4, 9, -1, -2, 64, 1 << 16, (int64_t)INT32_MAX + 1, (int64_t)1 << 60, INT64_MAX,
                                  INT64_MIN};
enum { AWKWARD = sizeof awkward / sizeof *awkward };

static int64_t other(int64_t v, int k)
{
    return k < AWKWARD ? awkward[k] : k == AWKWARD ? (int64_t)((uint64_t)v + 1) : (int64_t)((uint64_t)v - 1);
}

static void bytes_and_words(size_t data, size_t words)
{
    for (size_t i = 0; i < size; i++) {
        file[i] ^= (unsigned char)(1 << i % 8);
        try(size, 1, i < 8 || (i >= data && i < data + 8 * words));
        file[i] = whole[i];
    }
    for (size_t w = 0; w < words; w++) {
        const int64_t before = get(data + 8 * w);
        for (int k = 0; k < AWKWARD + 2; k++) {
            put(data + 8 * w, other(before, k));
            try(size, 0, 1);
        }
        put(data + 8 * w, before);
    }
}

static void several(size_t data, size_t words, long rounds)
{
    for (long round = 0; round < rounds; round++) {
        int64_t r[16];
        cbp_rng_below(3, (uint64_t)round * 16, 16, 1 << 30, r);
        for (int k = 0; k < 1 + (int)(r[15] % 4); k++) {
            const size_t at = data + 8 * ((size_t)r[2 * k] % words), from = data + 8 * ((size_t)r[2 * k + 1] % words);
            put(at, r[2 * k + 1] % 2 ? get(from) : other(get(at), (int)(r[2 * k + 1] / 2 % (AWKWARD + 2))));
        }
        try(size, 0, 1);
        memcpy(file, whole, size);
    }
}

int main(int n, char **arguments)
{
    FILE *f = n == 4 ? fopen(arguments[1], "rb") : NULL;
    if (!f) return printf("usage: fuzz FILE BATCH ROUNDS\n"), 2;
    fseek(f, 0, SEEK_END);
    size = (size_t)ftell(f);
    rewind(f);
    whole = malloc(size), file = malloc(size);
    if (!whole || !file || fread(whole, 1, size, f) != size) return 2;
    fclose(f);
    memcpy(file, whole, size);
    batch = atoll(arguments[2]);
    const size_t data = 8 + (size_t)get(0), words = (size_t)get(data + 16);
    try(size, 0, 1);
    const int sound = loaded == 1 && ran > 0;
    bytes_and_words(data, words);
    for (size_t bytes = 0; bytes < size; bytes++) try(bytes, 1, 1);
    several(data, words, atol(arguments[3]));
    printf("%ld files, %ld loaded without a checksum, %ld runs, %ld passed for whole\n", tried, loaded, ran, passed);
    free(whole), free(file);
    return !sound || passed;
}
