# Kernels over NumPy arrays or any other buffers, without a tape: what `cybackprop.kernels` shows.
#
# Arrays are float32 or float64, C-contiguous, and never cast; outputs are new arrays unless `out` gives them.  A call
# costs half a microsecond more than its kernel, one that makes its outputs another half.

def matmul(a, b, *, str layout="NN", bias=None, out=None, bint add=False):
    """A matrix product, either factor transposed, with a bias or added to what is there.

    Parameters
    ----------
    a, b : array
        Two axes each, one dtype.
    layout : str
        "NN": a @ b.  "NT": a @ b.T.  "TN": a.T @ b.  These are a layer's forward, its dx and its dw.
    bias : array, shape (N,), optional
        Added to each row of the product; "NN" and "NT" only.
    out : array, shape (M, N), optional
        Where the result goes; it shares no memory with the others.
    add : bool
        out + product instead of the product alone: out must be given.

    Returns
    -------
    array, shape (M, N)
        out, or a new array.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        The message holds both shapes.

    Notes
    -----
    An element is a chain of fused multiply-adds in the order of k, from its bias or 0: the bits depend neither on
    threads nor on the other rows.  "TN" sums rows in groups, a few long dot products take_buffer several chains: ADR 1.

    Examples
    --------
    >>> import numpy as np
    >>> from cybackprop import kernels
    >>> x, g = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0], [10.0]])
    >>> kernels.matmul(x, g, layout="TN").tolist()
    [[31.0], [42.0]]
    >>> y = np.zeros((2, 1))
    >>> kernels.matmul(x, g, bias=np.array([0.5]), out=y) is y, y.tolist()
    (True, [[21.5], [43.5]])
    """
    return product_over(a, b, layout, bias, out, add, False)


def matmul_ref(a, b, *, str layout="NN", bias=None, out=None, bint add=False):
    """`matmul` by the plain loops that are the oracle of the kernels: the same bits, slowly.

    Parameters
    ----------
    a, b : array
    layout : str
    bias, out : array, optional
    add : bool

    Returns
    -------
    array, shape (M, N)
    """
    return product_over(a, b, layout, bias, out, add, True)


cdef product_over(a, b, str layout, bias, out, bint add, bint slowly):
    cdef cbp_layout kind = CBP_NN if layout == "NN" else CBP_NT if layout == "NT" else CBP_TN
    cdef Py_ssize_t M, N, K, KB
    cdef Py_buffer *x
    cdef Py_buffer *y
    cdef Py_buffer *c
    cdef const void *start = NULL
    cdef const cbp_kernels *k
    cdef Tensor scratch
    cdef held_buffers all
    cdef int inputs
    all.count = 0
    if kind == CBP_TN and layout != "TN":
        raise ValueError(f"matmul: there is no layout {layout!r}; there are 'NN', 'NT' and 'TN'")
    if add and out is None:
        raise ValueError("matmul: add=True adds to out, and no out is given")
    if bias is not None and kind == CBP_TN:
        raise ValueError("matmul: layout 'TN' takes no bias")
    try:
        x = take_buffer(&all, "matmul", "a", a, 2)
        y = take_buffer(&all, "matmul", "b", b, 2)
        M, K = x.shape[kind == CBP_TN], x.shape[kind != CBP_TN]
        N, KB = y.shape[kind != CBP_NT], y.shape[kind == CBP_NT]
        if K != KB:
            raise ShapeError(f"matmul: a {buffer_shape(x)} does not fit b {buffer_shape(y)} in layout {layout!r}: "
                             f"the inner lengths {K} and {KB} differ")
        if bias is not None:
            start = take_sized_buffer(&all, "matmul", "bias", bias, -1, N).buf
        inputs = all.count
        result = np.empty((M, N), DTYPES[all.dtype]) if out is None else out
        c = take_sized_buffer(&all, "matmul", "out", result, M, N, True)
        if M == 0 or N == 0:
            return result
        buffers_apart(&all, "matmul", inputs)
        k = kernels_of(all.dtype)
        scratch = room_of(k.gemm_scratch(kind, M, N, K))
        if slowly:
            k.gemm_ref(kind, M, N, K, x.buf, x.shape[1], y.buf, y.shape[1], start, c.buf, N, add, NULL, NULL)
        elif <double>M * N * K > WORTH_RELEASING:
            with nogil:
                k.gemm(kind, M, N, K, x.buf, x.shape[1], y.buf, y.shape[1], start, c.buf, N, add, NULL, scratch.a.data)
        else:
            k.gemm(kind, M, N, K, x.buf, x.shape[1], y.buf, y.shape[1], start, c.buf, N, add, NULL, scratch.a.data)
        return result
    finally:
        release_buffers(&all)


def dense_forward(x, weight, bias=None, *, str activation=None, parameters=None, out=None):
    """f(x @ weight + bias).

    Parameters
    ----------
    x : array, shape (B, I)
    weight : array, shape (I, O)
    bias : array, shape (O,), optional
    activation : str, optional
        Name of an elementwise op; `parameters` are its scalars.
    parameters : sequence of float, optional
    out : array, shape (B, O), optional

    Returns
    -------
    (y, kept)
        kept is what `dense_backward` wants: y, or x @ weight + bias where the activation's slope reads its input.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        The message holds both shapes; an unknown activation is named.

    Examples
    --------
    >>> import numpy as np
    >>> from cybackprop import kernels
    >>> y, kept = kernels.dense_forward(np.ones((2, 3)), np.ones((3, 1)), np.array([-5.0]), activation="relu")
    >>> y.tolist()
    [[0.0], [0.0]]
    """
    cdef Py_ssize_t B, I, O
    cdef Py_buffer *xs
    cdef Py_buffer *w
    cdef Py_buffer *y
    cdef void *z = NULL
    cdef const void *start = NULL
    cdef const cbp_kernels *k
    cdef Tensor scratch
    cdef double p[2]
    cdef int place = -1, inputs
    cdef bint keeps_x = False
    cdef held_buffers all
    all.count = 0
    if activation is not None:
        place, keeps_x, _ = facts_of_activation(activation, parameters, p)
    try:
        xs = take_buffer(&all, "dense_forward", "x", x, 2)
        w = take_buffer(&all, "dense_forward", "weight", weight, 2)
        B, I, O = xs.shape[0], xs.shape[1], w.shape[1]
        if w.shape[0] != I:
            raise ShapeError(f"dense_forward: x {buffer_shape(xs)} does not fit weight {buffer_shape(w)}")
        if bias is not None:
            start = take_sized_buffer(&all, "dense_forward", "bias", bias, -1, O).buf
        inputs = all.count
        result = np.empty((B, O), DTYPES[all.dtype]) if out is None else out
        y = take_sized_buffer(&all, "dense_forward", "out", result, B, O, True)
        kept = result
        if keeps_x:
            kept = np.empty((B, O), DTYPES[all.dtype])
            z = take_buffer(&all, "dense_forward", "kept", kept, 2, True).buf
        if B == 0 or O == 0:
            return result, kept
        buffers_apart(&all, "dense_forward", inputs)
        k = kernels_of(all.dtype)
        scratch = room_of(k.dense_scratch(B, I, O))
        if <double>B * I * O > WORTH_RELEASING:
            with nogil:
                k.dense_fwd(B, I, O, xs.buf, w.buf, start, place, p, z, y.buf, scratch.a.data)
        else:
            k.dense_fwd(B, I, O, xs.buf, w.buf, start, place, p, z, y.buf, scratch.a.data)
        return result, kept
    finally:
        release_buffers(&all)


def dense_backward(x, weight, kept, g, *, str activation=None, parameters=None, bint need_x=True, out=None,
                   bint add=False, str previous=None, previous_parameters=None, previous_kept=None):
    """Cotangents of a dense layer: gz = g f'(kept), dx = gz weight^T, dw = x^T gz, db = sum of gz's rows.

    With `previous`, the activation that x came from, dx is times its slope, in the same pass: the gz of the layer
    before.

    Parameters
    ----------
    x : array, shape (B, I)
    weight : array, shape (I, O)
    kept : array, shape (B, O)
        From `dense_forward`.
    g : array, shape (B, O)
        Cotangent of the layer's output.
    activation : str, optional
        As in `dense_forward`.
    parameters : sequence of float, optional
    need_x : bool
        False leaves dx out, a third of the work: the first layer of a network needs none.
    out : sequence of array, optional
        (dx, dw, db), where the results go; a None among them becomes a new array.
    add : bool
        dw and db are added to what out holds; dx is written anew.
    previous : str, optional
        Name of the elementwise op that x came from; `previous_parameters` are its scalars.
    previous_kept : array, shape (B, I), optional
        What the forward of that layer kept; not needed where its slope reads nothing.

    Returns
    -------
    (dx, dw, db)
        dx is None where it is not needed.

    Examples
    --------
    >>> import numpy as np
    >>> from cybackprop import kernels
    >>> x, w = np.array([[1.0, -2.0]]), np.array([[3.0], [4.0]])
    >>> y, kept = kernels.dense_forward(x, w, activation="leaky_relu")
    >>> dx, dw, db = kernels.dense_backward(x, w, kept, np.ones((1, 1)), activation="leaky_relu")
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[0.03, 0.04]], [[0.01], [-0.02]], [0.01])
    """
    cdef Py_ssize_t B, I, O
    cdef Py_buffer *xs
    cdef Py_buffer *w
    cdef Py_buffer *ks
    cdef Py_buffer *gs
    cdef void *dx = NULL
    cdef void *dw
    cdef void *db
    cdef Tensor gz_ = None
    cdef void *gz = NULL
    cdef const void *before_kept = NULL
    cdef const cbp_kernels *k
    cdef Tensor scratch
    cdef double p[2]
    cdef double q[2]
    cdef int place = -1, before = -1, inputs
    cdef held_buffers all
    all.count = 0
    dx_, dw_, db_ = (None, None, None) if out is None else out
    if add and (dw_ is None or db_ is None):
        raise ValueError("dense_backward: add=True adds to dw and db, which out must give")
    if activation is not None:
        place = facts_of_activation(activation, parameters, p)[0]
    if previous is not None:
        before = facts_of_activation(previous, previous_parameters, q)[0]
        if need_x and previous_kept is None and unary_rows[previous].facts["keeps"] != "N":
            raise ValueError(f"dense_backward: the slope of {previous} needs previous_kept")
    try:
        xs = take_buffer(&all, "dense_backward", "x", x, 2)
        w = take_buffer(&all, "dense_backward", "weight", weight, 2)
        B, I, O = xs.shape[0], xs.shape[1], w.shape[1]
        if w.shape[0] != I:
            raise ShapeError(f"dense_backward: x {buffer_shape(xs)} does not fit weight {buffer_shape(w)}")
        ks = take_sized_buffer(&all, "dense_backward", "kept", kept, B, O)
        gs = take_sized_buffer(&all, "dense_backward", "g", g, B, O)
        if previous_kept is not None:
            before_kept = take_sized_buffer(&all, "dense_backward", "previous_kept", previous_kept, B, I).buf
        inputs = all.count
        dtype = DTYPES[all.dtype]
        dw_ = np.empty((I, O), dtype) if dw_ is None else dw_
        db_ = np.empty(O, dtype) if db_ is None else db_
        dw = take_sized_buffer(&all, "dense_backward", "dw", dw_, I, O, True).buf
        db = take_sized_buffer(&all, "dense_backward", "db", db_, -1, O, True).buf
        if need_x:
            dx_ = np.empty((B, I), dtype) if dx_ is None else dx_
            dx = take_sized_buffer(&all, "dense_backward", "dx", dx_, B, I, True).buf
        buffers_apart(&all, "dense_backward", inputs)
        k = kernels_of(all.dtype)
        scratch = room_of(k.dense_scratch(B, I, O))
        if place >= 0:
            gz_ = room_of(gs.len)
            gz = gz_.a.data
        if <double>B * I * O > WORTH_RELEASING:
            with nogil:
                k.dense_bwd(B, I, O, xs.buf, w.buf, ks.buf, gs.buf, place, p, gz, dx, dw, db, add, before, q,
                            before_kept, scratch.a.data)
        else:
            k.dense_bwd(B, I, O, xs.buf, w.buf, ks.buf, gs.buf, place, p, gz, dx, dw, db, add, before, q, before_kept,
                        scratch.a.data)
        return dx_ if need_x else None, dw_, db_
    finally:
        release_buffers(&all)
