/* chain.h: elementwise rows one after the other, block by block, so that what lies between them never leaves the cache.
 *
 * A link is one row; its operands and its result are registers: first the inputs of the chain, then its outputs, then
 * slots, blocks of scratch.  An element has the bits it has when the rows run alone.
 */
#ifndef CBP_CHAIN_H
#define CBP_CHAIN_H

#include <stddef.h>
#include <stdint.h>

typedef enum { CBP_LINK_UNARY, CBP_LINK_UNARY_VJP, CBP_LINK_BINARY, CBP_LINK_SIDE_A, CBP_LINK_SIDE_B } cbp_link_kind;

typedef struct {
    int16_t kind, row;
    int32_t in[4], out;            /* registers, -1: not read; in the order of the loops in elementwise.h */
    double p[2];
} cbp_link;

typedef struct cbp_chain {
    int32_t n_links, n_in, n_out, n_slots;
    ptrdiff_t block;               /* elements of a block */
    cbp_link links[];
} cbp_chain;

/* Bytes of scratch for pointers and blocks. */
static inline size_t cbp_chain_scratch(const cbp_chain *c, size_t item)
{
    const size_t registers = (size_t)(c->n_in + c->n_out + c->n_slots);
    return (registers * sizeof(void *) + 63) / 64 * 64 + registers * (size_t)c->block * item;
}

#endif
