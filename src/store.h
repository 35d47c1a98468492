/* store.h: arrays (counted descriptors of C-contiguous memory), their pool, and flat stores of parameters.
 *
 * Counts are plain integers: whoever touches them holds the GIL, or owns the array alone.
 */
#ifndef CBP_STORE_H
#define CBP_STORE_H
#include "cbp.h"

typedef struct cbp_array {
    int64_t refs;
    int64_t version;                 /* how often the values were written in place; aliases share the descriptor */
    void *data;
    struct cbp_array *base;          /* whose memory this is (counted): a viewed array or a store; NULL: its own */
    ptrdiff_t size;                  /* elements */
    int32_t pins;                    /* views and exports that hold the address: while > 0 the data may not move */
    int32_t busy;                    /* runs without the GIL that read it, or -1: one that writes it */
    uint8_t dtype, ndim, is_view;    /* is_view: base is an array seen in another shape, not a store */
    uint8_t mutable;                 /* a Parameter's: whoever must not see it change copies */
    uint8_t recorded;                /* references that a recording has: 0 or 1 */
    uint8_t head_class, data_class;  /* size classes of the two blocks; small data lies in the head's block */
    uint8_t wanted;                  /* used inside turns.c, else 0 */
    uint8_t weak;                    /* its dtype gives way to that of what it meets, as an ndarray's does */
    ptrdiff_t shape[CBP_MAX_DIMS];
} cbp_array;

/* A new array with refs 1 and undefined values; NULL if memory is short or the size overflows. */
cbp_array *cbp_array_new(cbp_dtype dtype, int ndim, const ptrdiff_t *shape);
/* Another shape of the same memory (size must agree); the base is pinned while it lives. */
cbp_array *cbp_array_view(cbp_array *base, int ndim, const ptrdiff_t *shape);
void cbp_array_free(cbp_array *a);   /* call when refs reaches 0 */

static inline cbp_array *cbp_array_hold(cbp_array *a) { a->refs++; return a; }
static inline void cbp_array_drop(cbp_array *a) { if (a && --a->refs == 0) cbp_array_free(a); }
/* in-place writes through any shape of the memory count at its root */
/* Whose memory it is; of NULL NULL. */
static inline cbp_array *cbp_array_root(cbp_array *a) { while (a && a->is_view) a = a->base; return a; }
static inline int64_t cbp_array_version(const cbp_array *a) { while (a->is_view) a = a->base; return a->version; }

/* Move an array's values into a store at a byte offset: the descriptor stays, its data moves, the store is held.
 * 0 if a pin forbids it (then nothing changed), 1 if done. */
int cbp_array_adopt(cbp_array *a, cbp_array *store, ptrdiff_t offset);

size_t cbp_itemsize(cbp_dtype dtype);
size_t cbp_bytes_in_use(void);       /* held by live arrays, for tests of leaks */

#endif
