# Random numbers as tensors: a pure function of (key, offset), see rng.h.

cdef Tensor drawn(int kind, uint64_t key, uint64_t offset, shape, int dtype, double p=0, int64_t bound=0):
    cdef cbp_op op
    clear(&op, kind)
    give_shape(&op, shape, dtype)
    op.p[0] = p
    op.a[9] = <int64_t>key
    op.a[10] = <int64_t>offset
    op.a[11] = bound
    return wrap(run_one(&op, NULL))


def raw_random(str kind, uint64_t key, uint64_t offset, shape, dtype):
    """Numbers offset, offset + 1, ... of the stream `key`: kind "uniform" in [0, 1) or "normal"."""
    cdef int code = dtype_code(dtype)
    if code > CBP_F64:
        raise DTypeError(f"random {kind} numbers are float32 or float64, not {DTYPES[code]}")
    return drawn(CBP_OP_uniform if kind == "uniform" else CBP_OP_normal, key, offset, shape, code)


def raw_mask(uint64_t key, uint64_t offset, shape, double p):
    """True with probability 1 - p."""
    return drawn(CBP_OP_mask, key, offset, shape, CBP_BOOL, p)


def raw_integers(uint64_t key, uint64_t offset, shape, int64_t bound):
    """Integers in [0, bound)."""
    if bound < 1:
        raise ValueError(f"integers: the bound is {bound}, it must be at least 1")
    return drawn(CBP_OP_below, key, offset, shape, CBP_I64, 0, bound)


def raw_permutation(uint64_t key, uint64_t offset, Py_ssize_t n):
    """0 .. n - 1 in random order; takes n places of the stream."""
    if n < 0:
        raise ValueError(f"permutation: n is {n}, it must not be negative")
    return drawn(CBP_OP_permutation, key, offset, n, CBP_I64)
