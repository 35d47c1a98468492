# NumPy's broadcasting as a walk over runs of elements in which each operand is dense or constant.

cdef int broadcast_shape(str op, const cbp_array *a, const cbp_array *b, Py_ssize_t *shape) except -1:
    """The common shape; returns its number of axes."""
    cdef int axis, n = cbp_broadcast_shape(a, b, shape, &axis)
    if n < 0:
        raise ShapeError(f"{op}: shapes {array_shape(a)} and {array_shape(b)} do not broadcast: axis {axis} has "
                         f"lengths {a.shape[a.ndim + axis]} and {b.shape[b.ndim + axis]}")
    return n


# a loop over runs: code says which op; strides 0 or 1
ctypedef void (*run_loop)(int code, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                          void *y) noexcept nogil


cdef cbp_array *broadcast_run(str op, cbp_array *a, cbp_array *b, int out_dtype, run_loop run, int code) except NULL:
    cdef cbp_array *out
    cdef Py_ssize_t shape[8]
    cdef cbp_walk w
    cdef char *y
    cdef Py_ssize_t step
    out = new_array(out_dtype, broadcast_shape(op, a, b, shape), shape)
    cbp_walk_start(&w, out, a, b)
    y = <char *>out.data
    step = w.inner * cbp_itemsize(<cbp_dtype>out_dtype)
    while w.left > 0:
        run(code, w.inner, w.p[0], w.s[0], w.p[1], w.s[1], y)
        y += step
        cbp_walk_next(&w)
    return out
