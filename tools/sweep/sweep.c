/* sweep.c: measures the accuracy that docs/accuracy.md promises.  Run by `make sweep`.
 *
 *   sweep                       every row and slope over all 2^32 float32 inputs; float64, pow and atan2 sampled
 *   sweep ONLY=tanh,gelu        these rows (and their slopes) alone
 *   sweep WHAT=value,slope      value, slope (all float32), value64, slope64, binary: these walks alone
 *   sweep STRIDE=9973           each 9973rd float32 only, for a quick look
 *   sweep POINTS=1000000        so many points where inputs are sampled (4,000,000)
 *   sweep --markdown            the table of docs/accuracy.md from what was recorded
 *
 * Each finished walk prints a line an instruction set and replaces its lines in build/sweep/results.tsv (unless those
 * saw more inputs), so that a run can be done in pieces.  Exit status 1: a bound is broken. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sweep.h"

/* The bounds, once: ulp of values in float32, in float64, and in float64 without FMA.  Rows that are not named here
 * have the last line's; slopes, also those that are rows for second derivatives, have none: they are reported. */
static const struct { const char *name; double f32, f64, f64_base; } bounds[] = {
    {"exp", 2, 2, 4}, {"expm1", 2, 2, 4}, {"log", 2, 2, 4}, {"log1p", 2, 2, 4}, {"tanh", 2, 2, 4}, {"sigmoid", 2, 2, 4},
    {"softplus", 2, 2, 4}, {"erf", 2, 2, 4}, {"gelu", 2, 2, 4}, {"silu", 2, 2, 4}, {"mish", 2, 2, 4}, {"sin", 2, 2, 4},
    {"cos", 2, 2, 4}, {NULL, 4, 4, 4},
};

static double bound(const char *name, int bits, int fma)
{
    int i = 0;
    while (bounds[i].name && strcmp(bounds[i].name, name) != 0) i++;
    return bits == 32 ? bounds[i].f32 : fma ? bounds[i].f64 : bounds[i].f64_base;
}

static int is_sampled(const char *binary) { return strcmp(binary, "pow") == 0 || strcmp(binary, "atan2") == 0; }

int sweep_threads(void)
{
    const char *n = getenv("SWEEP_THREADS");
    long cores = n ? atol(n) : sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > 64 ? 64 : (int)cores;
}

void merge(outcome *into, const outcome *from)
{
    if (from->ulp > into->ulp) into->ulp = from->ulp, memcpy(into->at, from->at, sizeof into->at);
    if (from->special + from->sign) into->special_at = from->special_at;
    into->special += from->special;
    into->sign += from->sign;
    into->count += from->count;
}

void parameters(const cbp_unary_info *row, int bits, double p[2])
{
    const char *s = row->params;
    for (int i = 0; i < 2; i++) {
        s = s ? strchr(s, '=') : NULL;
        p[i] = s ? strtod(++s, NULL) : 0;
        if (bits == 32) p[i] = (double)(float)p[i];
    }
}

/* ---- the record: lines of  walk row target count ulp at special ---- */

static const char *record = "build/sweep/results.tsv";

static void remember(const char *what, const char *name, const targets *t, const outcome *out)
{
    char line[512], key[128], *old = NULL;
    size_t used = 0;
    FILE *f = fopen(record, "r");
    const size_t n = (size_t)snprintf(key, sizeof key, "%s\t%s\t", what, name);
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) == 0) {
            if (strtoull(strchr(line + n, '\t'), NULL, 10) > out[0].count) { fclose(f); free(old); return; }
            continue;
        }
        old = realloc(old, used + strlen(line) + 1);
        strcpy(old + used, line);
        used += strlen(line);
    }
    if (f) fclose(f);
    f = fopen(record, "w");
    if (!f) { perror(record); exit(2); }
    if (used) fputs(old, f);
    free(old);
    for (int k = 0; k < t->n; k++)
        fprintf(f, "%s%s\t%llu\t%.4g\t%.9g\t%ld\n", key, t->name[k], (unsigned long long)out[k].count, out[k].ulp,
                out[k].at[0], out[k].special + out[k].sign);
    fclose(f);
}

static const char *grouped(uint64_t n)
{
    static char s[32];
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    int at = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) s[at++] = ',';
        s[at++] = digits[i];
    }
    s[at] = 0;
    return s;
}

/* Prints what was found; whether a bound is broken. */
static int report(const char *what, const char *name, const targets *t, const outcome *out, int bits, int bounded)
{
    int broken = 0;
    for (int k = 0; k < t->n; k++) {
        const outcome *o = &out[k];
        const double most = bound(name, bits, t->table[k]->fma);
        printf("%-8s %-15s %-6s %14s inputs, worst %10.4g ulp at %a = %.9g", what, name, t->name[k], grouped(o->count),
               o->ulp, o->at[0], o->at[0]);
        if (strncmp(what, "binary", 6) == 0) printf(", %a = %.9g", o->at[1], o->at[1]);
        if (o->special) printf(", %ld NaN or not, as %a", o->special, o->special_at);
        if (o->sign) printf(", %ld zeros of the wrong sign, as %a", o->sign, o->special_at);
        if (bounded && (o->ulp > most || o->special || o->sign)) {
            printf("  <-- more than %g", most);
            broken = 1;
        }
        printf("\n");
    }
    fflush(stdout);
    return broken;
}

/* ---- the table of docs/accuracy.md ---- */

/* One recorded walk, the worst of base, or of the sets with FMA; a star where float32 inputs were sampled. */
static void cell(const char *what, const char *name, int base)
{
    char line[512], w[32], r[64], t[32];
    double worst = -1, ulp;
    unsigned long long count;
    int sampled = 0;
    FILE *f = fopen(record, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%31s %63s %31s %llu %lf", w, r, t, &count, &ulp) == 5 && strcmp(w, what) == 0 &&
            strcmp(r, name) == 0 && (strcmp(t, "base") == 0) == base) {
            worst = ulp > worst ? ulp : worst;
            sampled = (strcmp(w, "value") == 0 || strcmp(w, "slope") == 0) && count >> 32 == 0;
        }
    if (f) fclose(f);
    if (worst < 0) printf(" |");
    else if (worst < 999.5) printf(" %.*f%s |", worst < 9.995 ? 2 : 0, worst, sampled ? "\\*" : "");
    else printf(" %.1e%s |", worst, sampled ? "\\*" : "");
}

static void markdown_row(const char *name, const char *const *what, int n)
{
    printf("| `%s` |", name);
    for (int w = 0; w < n; w++)
        for (int base = 0; base < 2; base++) cell(what[w], name, base);
    printf("\n");
}

static void markdown(void)
{
    static const char *const unary[] = {"value", "slope", "value64", "slope64"}, *const binary[] = {"binary32", "binary64"};
    printf("| row | f32 value | base | f32 slope | base | f64 value | base | f64 slope | base |\n");
    printf("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for (int i = 0; i < cbp_n_unary; i++) markdown_row(cbp_unary_rows[i].name, unary, 4);
    printf("\n| row of two arguments | f32 value | base | f64 value | base |\n|---|--:|--:|--:|--:|\n");
    for (int i = 0; i < cbp_n_binary; i++)
        if (is_sampled(cbp_binary_rows[i].name)) markdown_row(cbp_binary_rows[i].name, binary, 2);
}

/* ---- what to do ---- */

/* is `word` in the list "a,b,c"?  No list means yes. */
static int wanted(const char *list, const char *word)
{
    const size_t n = strlen(word);
    if (!list || !*list) return 1;
    for (const char *s = list; s; s = strchr(s, ','), s = s ? s + 1 : NULL)
        if (strncmp(s, word, n) == 0 && (s[n] == ',' || s[n] == 0)) return 1;
    return 0;
}

static const char *setting(int argc, char **argv, const char *name)
{
    const size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=') return argv[i] + n + 1;
    return NULL;
}

int main(int argc, char **argv)
{
    static const char *const walks[] = {"value", "slope", "value64", "slope64"};
    if (argc > 1 && strcmp(argv[1], "--markdown") == 0) { markdown(); return 0; }
    const char *only = setting(argc, argv, "ONLY"), *what = setting(argc, argv, "WHAT");
    const uint64_t stride = strtoull(setting(argc, argv, "STRIDE") ? setting(argc, argv, "STRIDE") : "1", NULL, 0);
    const uint64_t points = strtoull(setting(argc, argv, "POINTS") ? setting(argc, argv, "POINTS") : "4000000", NULL, 0);
    targets t[2] = {{0}, {0}};
    int broken = 0;
    for (int bits = 0; bits < 2; bits++)
        for (int i = 0; cbp_target_name(i); i++)
            if (cbp_target_runs(i)) {
                t[bits].name[t[bits].n] = cbp_target_name(i);
                t[bits].table[t[bits].n++] = cbp_table(cbp_target_name(i), bits ? CBP_F64 : CBP_F32);
            }
    for (int w = 0; w < 4; w++)
        for (int i = 0; i < cbp_n_unary && wanted(what, walks[w]); i++) {
            const job j = {walks[w], &cbp_unary_rows[i], i, w & 1};
            outcome out[MAX_TARGETS] = {0};
            if (!oracles_64[i].name || strcmp(oracles_64[i].name, j.row->name) != 0) {
                fprintf(stderr, "the rows of oracle.c are not those of unary.def: %s\n", j.row->name);
                return 2;
            }
            if (!wanted(only, j.row->name)) continue;
            if (w < 2) walk_all32(&t[0], &j, stride, out);
            else walk_f64(&t[1], &j, points, out);
            broken |= report(walks[w], j.row->name, &t[w >> 1], out, w < 2 ? 32 : 64, !j.slope && j.row->is_public);
            remember(walks[w], j.row->name, &t[w >> 1], out);
        }
    for (int i = 0; i < cbp_n_binary && wanted(what, "binary"); i++)
        for (int bits = 32; bits <= 64; bits += 32) {
            const char *name = cbp_binary_rows[i].name;
            outcome out[MAX_TARGETS] = {0};
            if (!is_sampled(name) || !wanted(only, name)) continue;
            walk_binary(&t[bits == 64], i, bits, points, out);
            broken |= report(bits == 32 ? "binary32" : "binary64", name, &t[bits == 64], out, bits, 1);
            remember(bits == 32 ? "binary32" : "binary64", name, &t[bits == 64], out);
        }
    return broken;
}
