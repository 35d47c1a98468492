/* sample.c: float64, and the rows of two arguments: points of every exponent, and where kernels change their ways. */
#include <math.h>
#include <quadmath.h>
#include <stdio.h>
#include <string.h>

#include "sweep.h"

/* zeros of slopes and curvatures, edges of reductions, thresholds; a quarter of the points lie close to one of these */
static const double hard[] = {
    0, 1, -1, 0.5, 2, M_SQRT2, M_SQRT1_2, M_SQRT2 - 1, M_PI_4, M_PI_2, M_PI, M_LN2, M_LN2 / 2, 1.5 * M_LN2, 0.84, 0.99,
    -0.7517915246935645, -1.2784645427610738, -1.192402, -0.7524614, 2.39936, 709.78271289338397, -708.39641853226408,
    -745.13321910194122, 354.89, 22, 36.7368, -37.5, -38.48, 6, 5.9, 26.5, 27.2, 0x1p20, 0x1.921fb54442d18p20,
    6381956970095103.0 * 0x1p797, 0x1.6ac5b262ca1ffp849, 0x1p-54, 0x1p-60, 0x1p125, 1e16, 1e300,
};
enum { N_HARD = sizeof hard / sizeof hard[0] };

static uint64_t state;
static uint64_t draw(void)                                  /* splitmix64 (Steele, Lea and Flood 2014) */
{
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
static double unit(void) { return (double)(int64_t)draw() * 0x1p-63; }      /* in [-1, 1] */
static double any_bits(void) { uint64_t b = draw(); double x; memcpy(&x, &b, sizeof x); return x; }

static double point(void)
{
    const uint64_t r = draw();
    switch (r % 8) {
    case 0: return any_bits();
    case 1: return unit() * 1.5;
    case 2: return unit() * 12;
    case 3: return unit() * 45;
    case 4: return unit() * 760;
    case 5: return ldexp(unit(), -(int)(r >> 8 & 63));
    case 6: {                                               /* a multiple of pi/2 or of log(2)/2, give or take an ulp */
        const double x = (double)(r >> 16 & 0x3ffff) * (r & 256 ? M_PI_2 : M_LN2 / 2) * (r & 512 ? 1 : -1);
        return x * (1 + (double)((int)(r >> 40 & 7) - 3) * 0x1p-52);
    }
    default: return (r & 256 ? 1 : -1) * (hard[(r >> 10) % N_HARD] + ldexp(unit(), -(int)(r >> 32 & 63)));
    }
}

/* as all32.c measures, in the spacing of 24 or 53 bits */
static double distance(double got, quad exact, int bits)
{
    const int digits = bits == 32 ? 24 : 53, low = bits == 32 ? -126 : -1022, high = -low + 1;
    int e;
    if (isnan(got) || isnanq(exact)) return isnan(got) && isnanq(exact) ? 0 : NAN;
    quad far = fabsq(exact), top = ldexpq(1, high + 1), above = top * (quad)1.000001;
    far = far > above ? above : far;
    exact = copysignq(far, exact);
    top = far > top ? far : top;
    quad value = isinf(got) ? (got > 0 ? top : -top) : (quad)got;
    frexpq(far, &e);
    e = far == 0 || e - 1 < low ? low : e - 1 > high ? high : e - 1;
    return (double)ldexpq(fabsq(value - exact), digits - 1 - e);
}

static void judge(double got, quad exact, int bits, double a, double b, int check_zero, outcome *o)
{
    const double ulp = distance(got, exact, bits);
    o->count++;
    if (isnan(ulp)) o->special++, o->special_at = a;
    if (check_zero && got == 0 && !signbit(got) != !signbitq(exact)) o->sign++, o->special_at = a;
    if (ulp > o->ulp) o->ulp = ulp, o->at[0] = a, o->at[1] = b;
}

void walk_f64(const targets *t, const job *j, uint64_t points, outcome *out)
{
    static const double special[] = {0, -0.0, INFINITY, -INFINITY, NAN, 5e-324, -5e-324, 0x1p-1022, 1.7976931348623157e308};
    enum { N_SPECIAL = sizeof special / sizeof special[0] };
    double x[BLOCK], y[BLOCK], d[MAX_TARGETS][BLOCK], one[BLOCK], p[2];
    const rows_128 *o = &oracles_128[j->place];
    state = 1;
    parameters(j->row, 64, p);
    for (int i = 0; i < BLOCK; i++) one[i] = 1;
    for (uint64_t at = 0; at < points; at += BLOCK) {
        if (at % (BLOCK * 64) == 0) fprintf(stderr, "\r%3d%%", (int)(at * 100 / points));
        for (int i = 0; i < BLOCK; i++) x[i] = at == 0 && i < N_SPECIAL ? special[i] : point();
        for (int k = 0; k < t->n; k++) {
            const char keeps = j->row->keeps[0];
            t->table[k]->unary(j->place, BLOCK, x, j->slope ? y : d[k], p);
            if (j->slope) t->table[k]->unary_vjp(j->place, BLOCK, keeps == 'Y' ? y : x, one, d[k], p, 0);
        }
        for (int i = 0; i < BLOCK; i++) {
            quad exact, size;
            if (j->slope && isnan(x[i])) continue;
            (j->slope ? o->df : o->f)(1, x + i, &exact, &size, p);
            for (int k = 0; k < t->n; k++) judge(d[k][i], exact, 64, x[i], 0, !j->slope, &out[k]);
        }
    }
    fprintf(stderr, "\r    \r");
}

/* Two arguments that mean something together: for pow also those whose result is near 1 or near the thresholds. */
static void pair(double *a, double *b)
{
    static const double whole[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 2, -2, 3, -3, 0.5, -0.5, 2.5, 0x1p24, 0x1p53,
                                   0x1p53 - 1, 0x1.fffffep127, 1e-45, -1e-45, 5e-324, 0x1p100, -1e-10};
    enum { N = sizeof whole / sizeof whole[0] };
    const uint64_t r = draw();
    switch (r % 6) {
    case 0: *a = point(), *b = point(); return;
    case 1: *a = fabs(point()), *b = unit() * 4; return;
    case 2: *a = fabs(unit()) * 10, *b = unit() * 100; return;
    case 3: *a = 1 + ldexp(unit(), -1 - (int)(r >> 8 & 31)), *b = unit() * (r & 65536 ? 89 : 745) / fabs(log(*a)); return;
    case 4: *a = unit(), *b = unit(); return;
    default: *a = whole[(r >> 8) % N], *b = r & 128 ? whole[(r >> 16) % N] : point(); return;
    }
}

void walk_binary(const targets *t, int place, int bits, uint64_t points, outcome *out)
{
    const int is_pow = strcmp(cbp_binary_rows[place].name, "pow") == 0;
    double a[BLOCK], b[BLOCK], y[BLOCK];
    float a32[BLOCK], b32[BLOCK], y32[BLOCK];
    static quad exact[BLOCK];
    state = 2;
    for (uint64_t at = 0; at < points; at += BLOCK) {
        if (at % (BLOCK * 64) == 0) fprintf(stderr, "\r%3d%%", (int)(at * 100 / points));
        for (int i = 0; i < BLOCK; i++) {
            pair(a + i, b + i);
            if (bits == 32) a[i] = (double)(a32[i] = (float)a[i]), b[i] = (double)(b32[i] = (float)b[i]);
            exact[i] = is_pow ? oracle_pow(a[i], b[i]) : oracle_atan2(a[i], b[i]);
        }
        for (int k = 0; k < t->n; k++) {
            if (bits == 32) t->table[k]->binary(place, BLOCK, a32, 1, b32, 1, y32);
            else t->table[k]->binary(place, BLOCK, a, 1, b, 1, y);
            for (int i = 0; i < BLOCK; i++)
                judge(bits == 32 ? (double)y32[i] : y[i], exact[i], bits, a[i], b[i], 1, &out[k]);
        }
    }
    fprintf(stderr, "\r    \r");
}
