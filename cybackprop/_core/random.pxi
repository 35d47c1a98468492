# Random numbers as tensors: a pure function of (key, offset), see rng.h.

def raw_random(str kind, uint64_t key, uint64_t offset, shape, dtype):
    """Numbers offset, offset + 1, ... of the stream `key`: kind "uniform" in [0, 1) or "normal"."""
    cdef Py_ssize_t dims[8]
    cdef int n = shape_of(shape, dims), code = dtype_code(dtype)
    if code > CBP_F64:
        raise DTypeError(f"random {kind} numbers are float32 or float64, not {DTYPES[code]}")
    cdef Tensor y = wrap(new_array(code, n, dims))
    if kind == "uniform":
        if code == CBP_F32:
            cbp_rng_uniform_f32(key, offset, y.a.size, <float *>y.a.data)
        else:
            cbp_rng_uniform_f64(key, offset, y.a.size, <double *>y.a.data)
    elif code == CBP_F32:
        cbp_rng_normal_f32(key, offset, y.a.size, <float *>y.a.data)
    else:
        cbp_rng_normal_f64(key, offset, y.a.size, <double *>y.a.data)
    return y


def raw_mask(uint64_t key, uint64_t offset, shape, double p):
    """True with probability 1 - p."""
    cdef Py_ssize_t dims[8]
    cdef int n = shape_of(shape, dims)
    cdef Tensor y = wrap(new_array(CBP_BOOL, n, dims))
    cbp_rng_mask(key, offset, y.a.size, p, <uint8_t *>y.a.data)
    return y


def raw_integers(uint64_t key, uint64_t offset, shape, int64_t bound):
    """Integers in [0, bound)."""
    cdef Py_ssize_t dims[8]
    cdef int n = shape_of(shape, dims)
    if bound < 1:
        raise ValueError(f"integers: the bound is {bound}, it must be at least 1")
    cdef Tensor y = wrap(new_array(CBP_I64, n, dims))
    cbp_rng_below(key, offset, y.a.size, bound, <int64_t *>y.a.data)
    return y


def raw_permutation(uint64_t key, uint64_t offset, Py_ssize_t n):
    """0 .. n - 1 in random order; takes n places of the stream."""
    if n < 0:
        raise ValueError(f"permutation: n is {n}, it must not be negative")
    cdef Tensor y = wrap(new_array(CBP_I64, 1, &n))
    cbp_rng_permutation(key, offset, n, <int64_t *>y.a.data)
    return y
