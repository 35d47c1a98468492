# Elementwise ops over NumPy arrays or any other buffers, without a tape.

cdef elementwise_over(str name, bint backward, x, g, parameters, out):
    """y = f(x), or dx = g f'(x)."""
    cdef Py_buffer *xs
    cdef Py_buffer *gs = NULL
    cdef Py_buffer *y
    cdef Py_ssize_t n
    cdef double p[2]
    cdef int place
    cdef const cbp_kernels *k
    cdef held_buffers all
    all.count = 0
    place = facts_of_activation(name, parameters, p)[0]
    try:
        xs = take_buffer(&all, name, "kept" if backward else "x", x, 0)
        if backward:
            gs = take_buffer(&all, name, "g", g, 0)
            same_size(name, "kept", gs, xs)
        result = np.empty(buffer_shape(xs), DTYPES[all.dtype]) if out is None else out
        y = take_buffer(&all, name, "out", result, 0, True)
        n = same_size(name, "out", xs, y)
        k = kernels_of(all.dtype)
        with nogil:
            if backward:
                k.unary_vjp(place, n, xs.buf, gs.buf, y.buf, p, 0)
            else:
                k.unary(place, n, xs.buf, y.buf, p)
        return result
    finally:
        release_buffers(&all)


def activation_forward(str name, x, *, parameters=None, out=None):
    """f(x) for an elementwise op of the table.

    Parameters
    ----------
    name : str
    x : array, any shape
    parameters : sequence of float, optional
        The op's scalars; its defaults otherwise.
    out : array, optional
        It may be x itself.

    Returns
    -------
    array

    Examples
    --------
    >>> import numpy as np
    >>> from cybackprop import kernels
    >>> kernels.activation_forward("relu", np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return elementwise_over(name, False, x, None, parameters, out)


def activation_backward(str name, kept, g, *, parameters=None, out=None):
    """g f'(kept): exactly 0 where g is.

    Parameters
    ----------
    name : str
    kept : array, any shape
        x or f(x), as the table says: ``cybackprop.kernels.keeps(name)`` is "X", "Y", or "N" for neither.
    g : array, any shape
    parameters : sequence of float, optional
    out : array, optional
        It may be g itself.

    Returns
    -------
    array
    """
    return elementwise_over(name, True, kept, g, parameters, out)


def keeps(str name):
    """What an elementwise op's slope reads: "X" its input, "Y" its output, "N" neither."""
    unary_place(name)
    return unary_rows[name].facts["keeps"]
