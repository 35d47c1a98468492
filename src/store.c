/* store.c: arrays and their memory.  Compiled once.
 *
 * Blocks come from free lists with four size classes an octave, because a training step asks for the same few
 * sizes again and again.  Lists are bounded, so memory that is no longer used goes back.
 * With CBP_NO_POOL (the sanitizer build) every block is its own malloc, so that an overrun cannot hide.
 */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200112L
#endif
#include "store.h"

#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <malloc.h>
#endif

enum { ALIGN = 64, HEAD = 128, INLINE_BYTES = 1024, FIRST_LOG = 7, N_CLASSES = 4 * 19, NO_CLASS = 255 };
_Static_assert(sizeof(cbp_array) <= HEAD, "the descriptor has outgrown its place");

#ifdef CBP_NO_POOL
enum { POOLED = 0 };
#else
enum { POOLED = 1 };
#endif

typedef struct block { struct block *next; } block;
static struct { block *first; size_t cached; } lists[N_CLASSES];
static size_t in_use;

static void *os_alloc(size_t bytes)
{
#ifdef _WIN32
    return _aligned_malloc(bytes, ALIGN);
#else
    void *p;
    return posix_memalign(&p, ALIGN, bytes) ? NULL : p;
#endif
}

static void os_free(void *p)
{
#ifdef _WIN32
    _aligned_free(p);
#else
    free(p);
#endif
}

static size_t class_bytes(int c) { return ((size_t)4 + (size_t)(c & 3)) << (FIRST_LOG - 2 + (c >> 2)); }

static int class_of(size_t bytes)
{
    if (bytes <= class_bytes(0))
        return 0;
    const int log = 63 - __builtin_clzll((unsigned long long)(bytes - 1));    /* 2^log < bytes <= 2^(log+1) */
    const int c = 4 * (log - FIRST_LOG) + (int)(((bytes - 1) >> (log - 2)) & 3) + 1;
    return c < N_CLASSES ? c : NO_CLASS;
}

/* How much a free list may hold: enough for the live set of a small step, little beside the data of a large one. */
static size_t cache_limit(size_t bytes) { return bytes >= ((size_t)4 << 20) ? 2 * bytes : (size_t)8 << 20 >> (bytes < 4096 ? 3 : 0); }

static void *block_alloc(size_t bytes, uint8_t *size_class)
{
    *size_class = NO_CLASS;
    const int c = POOLED ? class_of(bytes) : NO_CLASS;
    if (c != NO_CLASS) {
        *size_class = (uint8_t)c;
        block *b = lists[c].first;
        bytes = class_bytes(c);
        if (b) {
            lists[c].first = b->next;
            lists[c].cached -= bytes;
            return b;
        }
    }
    return os_alloc(bytes);
}

static void block_free(void *p, uint8_t size_class)
{
    if (size_class != NO_CLASS) {
        const size_t bytes = class_bytes(size_class);
        if (lists[size_class].cached + bytes <= cache_limit(bytes)) {
            block *b = p;
            b->next = lists[size_class].first;
            lists[size_class].first = b;
            lists[size_class].cached += bytes;
            return;
        }
    }
    os_free(p);
}

size_t cbp_itemsize(cbp_dtype dtype) { return dtype == CBP_BOOL ? 1 : dtype == CBP_F32 ? 4 : 8; }
size_t cbp_bytes_in_use(void) { return in_use; }

static size_t bytes_of(const cbp_array *a) { return (size_t)a->size * cbp_itemsize((cbp_dtype)a->dtype); }

cbp_array *cbp_array_new(cbp_dtype dtype, int ndim, const ptrdiff_t *shape)
{
    ptrdiff_t size = 1;
    for (int i = 0; i < ndim; i++)
        if (__builtin_mul_overflow(size, shape[i], &size))
            return NULL;
    if (size > PTRDIFF_MAX / 8 - 4 * HEAD)
        return NULL;
    const size_t bytes = (size_t)size * cbp_itemsize(dtype);
    const int inlined = bytes <= INLINE_BYTES;
    uint8_t head_class, data_class = NO_CLASS;
    cbp_array *a = block_alloc(HEAD + (inlined ? bytes : 0), &head_class);
    if (!a)
        return NULL;
    a->data = inlined ? (char *)a + HEAD : block_alloc(bytes, &data_class);
    if (!a->data) {
        block_free(a, head_class);
        return NULL;
    }
    a->refs = 1;
    a->version = 0;
    a->base = NULL;
    a->size = size;
    a->pins = a->busy = 0;
    a->dtype = (uint8_t)dtype;
    a->ndim = (uint8_t)ndim;
    a->is_view = 0;
    a->mutable = 0;
    a->recorded = a->wanted = a->weak = 0;
    a->head_class = head_class;
    a->data_class = data_class;
    for (int i = 0; i < ndim; i++)
        a->shape[i] = shape[i];
    in_use += bytes;
    return a;
}

cbp_array *cbp_array_view(cbp_array *base, int ndim, const ptrdiff_t *shape)
{
    uint8_t head_class;
    cbp_array *a = block_alloc(HEAD, &head_class);
    if (!a)
        return NULL;
    *a = *base;
    a->refs = 1;
    a->base = cbp_array_hold(base);
    a->pins = a->busy = 0;
    a->is_view = 1;
    a->recorded = a->wanted = 0;
    a->ndim = (uint8_t)ndim;
    a->head_class = head_class;
    a->data_class = NO_CLASS;
    for (int i = 0; i < ndim; i++)
        a->shape[i] = shape[i];
    base->pins++;
    return a;
}

static int owns_block(const cbp_array *a) { return !a->base && a->data != (const char *)a + HEAD; }

void cbp_array_free(cbp_array *a)
{
    while (a) {                                    /* a view of a view of ...: a loop, not recursion */
        cbp_array *base = a->base;
        if (owns_block(a))
            block_free(a->data, a->data_class);
        if (!base)
            in_use -= bytes_of(a);
        else if (a->is_view)
            base->pins--;
        block_free(a, a->head_class);
        a = base && --base->refs == 0 ? base : NULL;
    }
}

int cbp_array_adopt(cbp_array *a, cbp_array *store, ptrdiff_t offset)
{
    if (a->base || a->pins > 0)
        return 0;
    char *place = (char *)store->data + offset;
    memcpy(place, a->data, bytes_of(a));
    if (owns_block(a))
        block_free(a->data, a->data_class);
    in_use -= bytes_of(a);
    a->data = place;
    a->base = cbp_array_hold(store);
    return 1;
}
