/* chain.c: runs the links of a chain over blocks.  See chain.h. */
#include "chain.h"

#include <string.h>

#include "elementwise.h"
#include "simd.h"

static void run_links(const cbp_chain *c, ptrdiff_t n, T *const *r)
{
    for (const cbp_link *l = c->links, *end = l + c->n_links; l < end; l++) {
        const T *a = l->in[0] < 0 ? NULL : r[l->in[0]], *b = l->in[1] < 0 ? NULL : r[l->in[1]];
        switch (l->kind) {
        case CBP_LINK_UNARY: CBP_SYM(cbp_unary_loops)[l->row].fwd(n, a, r[l->out], l->p); break;
        case CBP_LINK_UNARY_VJP: CBP_SYM(cbp_unary_loops)[l->row].vjp(n, a, b, r[l->out], l->p); break;
        case CBP_LINK_BINARY: CBP_SYM(cbp_binary_loops)[l->row].fwd(n, a, b, r[l->out]); break;
        default:
            CBP_SYM(cbp_binary_loops)[l->row].side[l->kind - CBP_LINK_SIDE_A](n, a, b, l->in[2] < 0 ? NULL : r[l->in[2]],
                                                                              r[l->in[3]], r[l->out]);
        }
    }
}

/* in, out: all elements each, single[k]: input k is one number for all.  scratch: cbp_chain_scratch bytes. */
void CBP_SYM(cbp_chain)(const cbp_chain *c, ptrdiff_t all, const void *const *in, const uint8_t *single, void *const *out,
                        void *scratch)
{
    const int32_t total = c->n_in + c->n_out + c->n_slots;
    T **r = scratch, *room = (T *)((char *)scratch + ((size_t)total * sizeof(void *) + 63) / 64 * 64);
    for (int32_t k = 0; k < total; k++) r[k] = room + k * c->block;
    for (int32_t k = 0; k < c->n_in; k++) {
        if (!single[k]) continue;
        const T x = *(const T *)in[k];
        for (ptrdiff_t i = 0; i < c->block && i < all + CBP_WHOLE; i++) r[k][i] = x;
    }
    for (ptrdiff_t at = 0; at < all; at += c->block) {
        const ptrdiff_t n = all - at < c->block ? all - at : c->block, whole = (n + CBP_WHOLE - 1) & -(ptrdiff_t)CBP_WHOLE;
        for (int32_t k = 0; k < c->n_in; k++) {
            if (single[k]) continue;
            if (n == whole) r[k] = (T *)in[k] + at;
            else v_pad(r[k] = room + k * c->block, whole, (const T *)in[k] + at, n);
        }
        for (int32_t k = 0; k < c->n_out; k++)
            r[c->n_in + k] = n == whole ? (T *)out[k] + at : room + (c->n_in + k) * c->block;
        run_links(c, whole, r);
        for (int32_t k = 0; n != whole && k < c->n_out; k++)
            memcpy((T *)out[k] + at, r[c->n_in + k], (size_t)n * sizeof(T));
    }
}
