# NumPy's broadcasting with its errors; the walk itself is src/walk.c.

cdef int broadcast_shape(str op, const cbp_array *a, const cbp_array *b, Py_ssize_t *shape) except -1:
    """The common shape; returns its number of axes."""
    cdef int axis, n = cbp_broadcast_shape(a, b, shape, &axis)
    if n < 0:
        raise ShapeError(f"{op}: shapes {array_shape(a)} and {array_shape(b)} do not broadcast: axis {axis} has "
                         f"lengths {a.shape[a.ndim + axis]} and {b.shape[b.ndim + axis]}")
    return n


cdef cbp_array *broadcast_run(str op, cbp_array *a, cbp_array *b, int dtype, cbp_run_loop loop, int row) except NULL:
    cdef Py_ssize_t shape[8]
    cdef int n = broadcast_shape(op, a, b, shape)
    cdef cbp_array *out = new_array(dtype, n, shape)
    cbp_walk_all(loop, row, a, b, out)
    return out
