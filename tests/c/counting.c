/* Counts what a process asks memory for: preloaded, it stands before the allocator of glibc.  Built by test_replays.py. */
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static long calls;

long allocations(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }

static void one_more(void) { __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST); }

void *malloc(size_t n) { return one_more(), __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return one_more(), __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return one_more(), __libc_realloc(p, n); }
void *memalign(size_t align, size_t n) { return one_more(), __libc_memalign(align, n); }
void *aligned_alloc(size_t align, size_t n) { return one_more(), __libc_memalign(align, n); }

int posix_memalign(void **p, size_t align, size_t n)
{
    one_more();
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

void *mmap(void *at, size_t n, int protection, int flags, int file, off_t offset)
{
    one_more();
    return (void *)syscall(SYS_mmap, at, n, protection, flags, file, offset);
}
