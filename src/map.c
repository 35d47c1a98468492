/* map.c: elementwise rows over arrays of any length: what all rows share, once for every loop of elementwise.c.
 *
 * Full vectors go straight to the row's loop.  The last few elements are padded to a whole vector, operands that are
 * one number are spread over a block, a result that is added to what is there waits in a block, and long arrays are
 * shared out among threads.  An element's bits depend on none of this.
 */
#include "elementwise.h"
#include "pool.h"
#include "simd.h"

#include <string.h>

/* Elements below which another thread is not worth waking (20 to 40 us on a busy machine). */
#ifndef CBP_ELEMENTS_A_THREAD
#define CBP_ELEMENTS_A_THREAD 131072
#endif

enum { OPERANDS = 4 };                 /* of one row at most; which is which, the thunks below say */

typedef struct {                       /* the row, and what its loop needs besides operands */
    const void *row;                   /* cbp_unary_loops or cbp_binary_loops */
    const double *p;
    int side;
} row_call;

typedef void (*thunk)(row_call f, ptrdiff_t n, const void *const *in, void *out);

typedef struct {                       /* what the operands and the output are */
    int operands, bytes;               /* bytes, bit j: operand j is not T but bytes */
    ptrdiff_t item, whole;             /* bytes of an element of out; elements that the loop wants a multiple of */
} kind;

/* ---- every operand dense ---- */

CBP_INLINE ptrdiff_t item_of(kind k, int j) { return k.bytes >> j & 1 ? 1 : (ptrdiff_t)sizeof(T); }

/* to[0..whole) = n < whole elements of x, then zeros */
CBP_INLINE void pad(kind k, int j, ptrdiff_t n, const void *x, T *to)
{
    if (k.bytes >> j & 1) {
        memset(to, 0, CBP_WHOLE_BYTES);
        memcpy(to, x, (size_t)n);
    } else {
        v_pad(to, k.whole, x, n);
    }
}

/* out = result, or out + result */
CBP_INLINE void put(kind k, ptrdiff_t n, void *out, const T *result, int add)
{
    if (k.item == 1) {
        memcpy(out, result, (size_t)n);
        return;
    }
    T *y = out;
    ptrdiff_t i = 0;
    for (; i + VL <= n; i += VL) v_store(y + i, add ? v_add(v_load(y + i), v_load(result + i)) : v_load(result + i));
    if (i == n) return;                /* NOTE: the next kernel would wait for a masked store of a whole vector */
    const VM m = v_mask(n - i);
    v_store_m(y + i, m, add ? v_add(v_load_m(y + i, m), v_load(result + i)) : v_load(result + i));
}

CBP_INLINE void run_dense(thunk loop, row_call f, kind k, ptrdiff_t n, const void *const *in, void *out, int add)
{
    const ptrdiff_t rest = n & (k.whole - 1), full = n - rest;
    const void *at[OPERANDS];
    if (full && !add) loop(f, full, in, out);
    for (ptrdiff_t i = 0, m; add && i < full; i += m) {
        T result[CBP_BLOCK];
        m = full - i < CBP_BLOCK ? full - i : CBP_BLOCK;
        for (int j = 0; j < k.operands; j++) at[j] = in[j] ? (const char *)in[j] + i * item_of(k, j) : NULL;
        loop(f, m, at, result);
        put(k, m, (T *)out + i, result, 1);
    }
    if (rest) {
        T room[OPERANDS][CBP_WHOLE_BYTES], result[CBP_WHOLE_BYTES];
        for (int j = 0; j < k.operands; j++) {
            at[j] = in[j] ? room[j] : NULL;
            if (in[j]) pad(k, j, rest, (const char *)in[j] + full * item_of(k, j), room[j]);
        }
        loop(f, k.whole, at, result);
        put(k, rest, (char *)out + full * k.item, result, add);
    }
}

/* ---- one number for all, and threads ---- */

typedef struct {
    thunk loop;
    row_call f;
    kind k;
    ptrdiff_t n, part;
    const void *const *in;
    void *out;
    int single, add;                   /* single, bit j: operand j is one number for all */
} call;

static void run(const call *c, ptrdiff_t from, ptrdiff_t n)
{
    const ptrdiff_t step = c->single && n > CBP_BLOCK ? CBP_BLOCK : n;
    T room[OPERANDS][CBP_BLOCK];
    const void *at[OPERANDS];
    for (int j = 0; j < c->k.operands; j++) {
        const void *x = c->in[j];
        at[j] = !x ? NULL : c->single >> j & 1 ? (const void *)room[j] : (const char *)x + from * item_of(c->k, j);
        if (at[j] != room[j]) continue;
        if (c->k.bytes >> j & 1) memset(room[j], *(const uint8_t *)x, (size_t)step);
        else for (ptrdiff_t i = 0; i < step; i++) room[j][i] = *(const T *)x;
    }
    char *out = (char *)c->out + from * c->k.item;
    for (ptrdiff_t m; n > 0; n -= m, out += m * c->k.item) {
        m = n < step ? n : step;
        run_dense(c->loop, c->f, c->k, m, at, out, c->add);
        for (int j = 0; j < c->k.operands; j++)
            if (at[j] && at[j] != room[j]) at[j] = (const char *)at[j] + m * item_of(c->k, j);
    }
}

static void run_part(void *ctx, ptrdiff_t i)
{
    const call *c = ctx;
    const ptrdiff_t from = i * c->part;
    run(c, from, c->n - from < c->part ? c->n - from : c->part);
}

static void share(call c)
{
    if (c.n == 0) return;
    c.part = cbp_part(c.n, CBP_ELEMENTS_A_THREAD, CBP_BLOCK);
    cbp_parallel(run_part, &c, (c.n + c.part - 1) / c.part);
}

/* The common case is expanded in every entry, where thunk and kind are known: a record costs 250 ns, a general call 20. */
CBP_INLINE void start(thunk loop, row_call f, kind k, int single, ptrdiff_t n, const void *const *in, void *out,
                      int add)
{
    if ((!single || n == 1) && n < 2 * CBP_ELEMENTS_A_THREAD) {
        run_dense(loop, f, k, n, in, out, add);
        return;
    }
    share((call){loop, f, k, n, n, in, out, single, add});
}

/* ---- the entries of the kernel table ---- */

#define THUNK(name, loop_of_row) \
    CBP_INLINE void name(row_call f, ptrdiff_t n, const void *const *in, void *out) { (void)f, loop_of_row; }
THUNK(unary_fwd, ((const cbp_unary_loops *)f.row)->fwd(n, in[0], out, f.p))
THUNK(unary_vjp, ((const cbp_unary_loops *)f.row)->vjp(n, in[0], in[1], out, f.p))
THUNK(binary_fwd, ((const cbp_binary_loops *)f.row)->fwd(n, in[0], in[1], out))
THUNK(binary_vjp, ((const cbp_binary_loops *)f.row)->side[f.side](n, in[0], in[1], in[2], in[3], out))
THUNK(selection, CBP_SYM(cbp_select_loop)(n, in[2], in[0], in[1], out))

void CBP_SYM(cbp_unary)(int row, ptrdiff_t n, const void *x, void *y, const double *p)
{
    start(unary_fwd, (row_call){&CBP_SYM(cbp_unary_loops)[row], p, 0}, (kind){1, 0, sizeof(T), CBP_WHOLE}, 0, n,
          (const void *[]){x}, y, 0);
}

void CBP_SYM(cbp_unary_vjp)(int row, ptrdiff_t n, const void *kept, const void *g, void *dx, const double *p, int add)
{
    start(unary_vjp, (row_call){&CBP_SYM(cbp_unary_loops)[row], p, 0}, (kind){2, 0, sizeof(T), CBP_WHOLE}, 0, n,
          (const void *[]){kept, g}, dx, add);
}

void CBP_SYM(cbp_binary)(int row, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb, void *y)
{
    const cbp_binary_loops *loops = &CBP_SYM(cbp_binary_loops)[row];
    const row_call f = {loops, NULL, 0};
    const void *in[] = {a, b};
    const int single = (!sa) | (!sb) << 1;
    if (loops->side[0]) start(binary_fwd, f, (kind){2, 0, sizeof(T), CBP_WHOLE}, single, n, in, y, 0);
    else share((call){binary_fwd, f, {2, 0, 1, CBP_WHOLE_BYTES}, n, n, in, y, single, 0});
}

void CBP_SYM(cbp_binary_vjp)(int row, int side, ptrdiff_t n, const void *a, ptrdiff_t sa, const void *b, ptrdiff_t sb,
                             const void *y, const void *g, void *dx, int add)
{
    start(binary_vjp, (row_call){&CBP_SYM(cbp_binary_loops)[row], NULL, side}, (kind){4, 0, sizeof(T), CBP_WHOLE},
          (!sa) | (!sb) << 1, n, (const void *[]){a, b, y, g}, dx, add);
}

void CBP_SYM(cbp_where)(ptrdiff_t n, const uint8_t *c, ptrdiff_t sc, const void *a, ptrdiff_t sa, const void *b,
                        ptrdiff_t sb, void *y)
{
    start(selection, (row_call){NULL, NULL, 0}, (kind){3, 1 << 2, sizeof(T), CBP_WHOLE_BYTES},
          (!sa) | (!sb) << 1 | (!sc) << 2, n, (const void *[]){a, b, c}, y, 0);
}
