# Random numbers as tensors: a pure function of a stream's key and offset, see rng.h.  A stream is a State, the bits of
# both as int64; only a draw that succeeds moves its offset.

cdef Tensor drawn(int kind, State stream, shape, int dtype, double p=0, int64_t bound=0):
    cdef cbp_op op
    cdef Tensor out
    if stream.a.dtype != CBP_I64 or stream.a.size != 2:
        raise ValueError(f"a stream is key and offset, int64, not {stream.dtype} of shape {stream.shape}")
    clear(&op, kind)
    give_shape(&op, shape, dtype)
    op.p[0] = p
    op.a[9] = bound
    out = wrap(run_one(&op, stream.a))
    clear(&op, CBP_OP_advance)
    op.a[0] = out.a.size
    run_in_place(&op, &stream.a, 1, &stream.a, 1, ("a random draw", None, 0))
    return out


def raw_random(State stream, str kind, shape, dtype):
    """The next numbers of a stream: kind "uniform" in [0, 1) or "normal"."""
    cdef int code = dtype_code(dtype)
    if code > CBP_F64:
        raise DTypeError(f"random {kind} numbers are float32 or float64, not {DTYPES[code]}")
    return drawn(CBP_OP_uniform if kind == "uniform" else CBP_OP_normal, stream, shape, code)


def raw_mask(State stream, shape, double p):
    """True with probability 1 - p."""
    return drawn(CBP_OP_mask, stream, shape, CBP_BOOL, p)


def raw_integers(State stream, shape, int64_t bound):
    """Integers in [0, bound)."""
    if bound < 1:
        raise ValueError(f"integers: the bound is {bound}, it must be at least 1")
    return drawn(CBP_OP_below, stream, shape, CBP_I64, 0, bound)


def raw_permutation(State stream, Py_ssize_t n):
    """0 .. n - 1 in random order; takes n places of the stream."""
    if n < 0:
        raise ValueError(f"permutation: n is {n}, it must not be negative")
    return drawn(CBP_OP_permutation, stream, n, CBP_I64)
