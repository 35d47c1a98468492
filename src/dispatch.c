/* dispatch.c: choose the kernel tables.  Compiled once.
 *
 * The build says which sets exist: CBP_WITH_X86 adds avx2 and avx512 to base.  On arm64 base is NEON.
 */
#include "dispatch.h"

#include <string.h>

#define PAIR(target) extern const cbp_kernels cbp_kernels_f32_##target, cbp_kernels_f64_##target;
PAIR(base)
#ifdef CBP_WITH_X86
PAIR(avx2)
PAIR(avx512)
#endif

static const struct {
    const char *name;
    const cbp_kernels *table[2];
} sets[] = {
#define SET(target) {#target, {&cbp_kernels_f32_##target, &cbp_kernels_f64_##target}},
    SET(base)
#ifdef CBP_WITH_X86
    SET(avx2)
    SET(avx512)
#endif
};
enum { N_SETS = sizeof sets / sizeof sets[0] };

const cbp_kernels *cbp_active[2] = {&cbp_kernels_f32_base, &cbp_kernels_f64_base};

const char *cbp_target_name(int i) { return i >= 0 && i < (int)N_SETS ? sets[i].name : NULL; }

int cbp_target_runs(int i)
{
    if (i < 0 || i >= (int)N_SETS)
        return 0;
#ifdef CBP_WITH_X86
    /* reads cpuid and xgetbv, so a system that does not save the wide registers counts as not having them */
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (strcmp(sets[i].name, "avx2") == 0)
        return avx2;
    if (strcmp(sets[i].name, "avx512") == 0)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
    return 1;
}

static int find(const char *name)
{
    for (int i = (int)N_SETS - 1; i >= 0; i--)
        if (cbp_target_runs(i) && (!name || !*name || strcmp(sets[i].name, name) == 0))
            return i;
    return -1;
}

cbp_status cbp_select(const char *name)
{
    const int i = find(name);
    if (i < 0)
        return CBP_OUT_OF_RANGE;
    cbp_active[CBP_F32] = sets[i].table[CBP_F32];
    cbp_active[CBP_F64] = sets[i].table[CBP_F64];
    return CBP_OK;
}

const cbp_kernels *cbp_table(const char *name, cbp_dtype dtype)
{
    const int i = find(name);
    return i < 0 || dtype > CBP_F64 ? NULL : sets[i].table[dtype];
}
