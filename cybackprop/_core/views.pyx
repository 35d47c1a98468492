"""Products, dense layers and activations over NumPy arrays or any other buffers, no tape.

Arrays are float32 or float64, C-contiguous, and never cast; outputs are new arrays unless `out` gives them.
A call costs half a microsecond more than its kernel, one that makes its outputs another half.
"""
import sys

import numpy as np

from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)

from cybackprop._core.engine cimport WORTH_RELEASING, Tensor, kernels_of, scratch_of, unary_place, wrap
from cybackprop._core.kernels cimport *

from cybackprop._core.engine import unary_rows
from cybackprop.errors import DTypeError, ShapeError


# ---- what a call holds: buffers, until it ends, and room for its kernel

cdef enum: MOST_ARRAYS = 8

ctypedef struct held:
    Py_buffer views[MOST_ARRAYS]
    int count
    int dtype                            # the first array's; all others must have it

cdef bint LITTLE = sys.byteorder == "little"
DTYPES = np.dtype(np.float32), np.dtype(np.float64)


cdef Py_buffer *take(held *all, str op, str name, x, int ndim, bint write=False) except NULL:
    """The buffer of an array with ndim axes (0: any number); `release` gives it back."""
    cdef Py_buffer *v = &all.views[all.count]
    cdef const char *format
    cdef int dtype
    try:
        PyObject_GetBuffer(x, v, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if write else 0))
    except TypeError:
        raise TypeError(f"{op}: {name} must be an array, not {type(x).__name__}") from None
    except (ValueError, BufferError) as error:           # strided, or read-only where it is written
        raise ValueError(f"{op}: {name}: {error}") from None
    all.count += 1
    format = v.format
    if format[0] == c"@" or format[0] == c"=" or (format[0] == c"<" and LITTLE):
        format += 1
    dtype = -1 if format[1] else CBP_F32 if format[0] == c"f" else CBP_F64 if format[0] == c"d" else -1
    if dtype < 0:
        raise DTypeError(f"{op}: {name} must be float32 or float64, its items are {v.format.decode()!r}; "
                         f"nothing is cast here")
    if all.count > 1 and dtype != all.dtype:
        raise DTypeError(f"{op}: the dtypes of the arrays must match, {name} is {DTYPES[dtype]} "
                         f"and the first {DTYPES[all.dtype]}; nothing is cast here")
    all.dtype = dtype
    if ndim and v.ndim != ndim:
        raise ShapeError(f"{op}: {name} {shape_of(v)} must have {ndim} ax{'i' if ndim == 1 else 'e'}s")
    return v


cdef void release(held *all) noexcept:
    cdef int i
    for i in range(all.count):
        PyBuffer_Release(&all.views[i])


cdef tuple shape_of(const Py_buffer *v):
    cdef int i
    return tuple([v.shape[i] for i in range(v.ndim)])


cdef Py_buffer *take_sized(held *all, str op, str name, x, Py_ssize_t rows, Py_ssize_t columns,
                           bint write=False) except NULL:
    """The buffer of an array of shape (rows, columns); (columns,) where rows is negative."""
    cdef Py_buffer *v = take(all, op, name, x, 1 if rows < 0 else 2, write)
    if v.shape[v.ndim - 1] != columns or (rows >= 0 and v.shape[0] != rows):
        raise ShapeError(f"{op}: {name} {shape_of(v)} must be "
                         + (f"({rows}, {columns})" if rows >= 0 else f"({columns},)"))
    return v


cdef int apart(held *all, str op, int inputs) except -1:
    """ValueError if an array beyond the first `inputs` shares memory with another: products read while they write."""
    cdef Py_buffer *v
    cdef Py_buffer *w
    cdef int i, j
    for i in range(inputs, all.count):
        v = &all.views[i]
        for j in range(i):
            w = &all.views[j]
            if <char *>v.buf < <char *>w.buf + w.len and <char *>w.buf < <char *>v.buf + v.len:
                raise ValueError(f"{op}: an output shares memory with another array of the call")
    return 0


cdef inline Tensor room(size_t nbytes):
    """Room for a kernel from the engine's pool, as long as the Tensor lives."""
    return wrap(scratch_of(nbytes))


# ---- activations by name

# name: (place, whether the slope reads the input, defaults of the parameters)
cdef dict activations = {row.name: (row.place, row.facts["keeps"] == "X", tuple([d for _, d in row.parameters]))
                         for row in unary_rows.values()}


cdef tuple facts_of(str name, parameters, double *p):
    """Facts of an activation, its scalar parameters in p."""
    cdef int i
    cdef tuple facts = activations.get(name)
    if facts is None:
        unary_place(name)                # says which there are
    for i, value in enumerate(parameters or facts[2]):
        if i < 2:
            p[i] = value
    return facts


# ---- the functions

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
    threads nor on the other rows.  "TN" sums rows in groups, a few long dot products take several chains: ADR 1.

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
    return product(a, b, layout, bias, out, add, False)


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
    return product(a, b, layout, bias, out, add, True)


cdef product(a, b, str layout, bias, out, bint add, bint slowly):
    cdef cbp_layout kind = CBP_NN if layout == "NN" else CBP_NT if layout == "NT" else CBP_TN
    cdef Py_ssize_t M, N, K, KB
    cdef Py_buffer *x
    cdef Py_buffer *y
    cdef Py_buffer *c
    cdef const void *start = NULL
    cdef const cbp_kernels *k
    cdef Tensor scratch
    cdef held all
    cdef int inputs
    all.count = 0
    if kind == CBP_TN and layout != "TN":
        raise ValueError(f"matmul: there is no layout {layout!r}; there are 'NN', 'NT' and 'TN'")
    if add and out is None:
        raise ValueError("matmul: add=True adds to out, and no out is given")
    if bias is not None and kind == CBP_TN:
        raise ValueError("matmul: layout 'TN' takes no bias")
    try:
        x = take(&all, "matmul", "a", a, 2)
        y = take(&all, "matmul", "b", b, 2)
        M, K = x.shape[kind == CBP_TN], x.shape[kind != CBP_TN]
        N, KB = y.shape[kind != CBP_NT], y.shape[kind == CBP_NT]
        if K != KB:
            raise ShapeError(f"matmul: a {shape_of(x)} does not fit b {shape_of(y)} in layout {layout!r}: "
                             f"the inner lengths {K} and {KB} differ")
        if bias is not None:
            start = take_sized(&all, "matmul", "bias", bias, -1, N).buf
        inputs = all.count
        result = np.empty((M, N), DTYPES[all.dtype]) if out is None else out
        c = take_sized(&all, "matmul", "out", result, M, N, True)
        if M == 0 or N == 0:
            return result
        apart(&all, "matmul", inputs)
        k = kernels_of(all.dtype)
        scratch = room(k.gemm_scratch(kind, M, N, K))
        if slowly:
            k.gemm_ref(kind, M, N, K, x.buf, x.shape[1], y.buf, y.shape[1], start, c.buf, N, add, NULL, NULL)
        elif <double>M * N * K > WORTH_RELEASING:
            with nogil:
                k.gemm(kind, M, N, K, x.buf, x.shape[1], y.buf, y.shape[1], start, c.buf, N, add, NULL, scratch.a.data)
        else:
            k.gemm(kind, M, N, K, x.buf, x.shape[1], y.buf, y.shape[1], start, c.buf, N, add, NULL, scratch.a.data)
        return result
    finally:
        release(&all)


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
    cdef held all
    all.count = 0
    if activation is not None:
        place, keeps_x, _ = facts_of(activation, parameters, p)
    try:
        xs = take(&all, "dense_forward", "x", x, 2)
        w = take(&all, "dense_forward", "weight", weight, 2)
        B, I, O = xs.shape[0], xs.shape[1], w.shape[1]
        if w.shape[0] != I:
            raise ShapeError(f"dense_forward: x {shape_of(xs)} does not fit weight {shape_of(w)}")
        if bias is not None:
            start = take_sized(&all, "dense_forward", "bias", bias, -1, O).buf
        inputs = all.count
        result = np.empty((B, O), DTYPES[all.dtype]) if out is None else out
        y = take_sized(&all, "dense_forward", "out", result, B, O, True)
        kept = result
        if keeps_x:
            kept = np.empty((B, O), DTYPES[all.dtype])
            z = take(&all, "dense_forward", "kept", kept, 2, True).buf
        if B == 0 or O == 0:
            return result, kept
        apart(&all, "dense_forward", inputs)
        k = kernels_of(all.dtype)
        scratch = room(k.dense_scratch(B, I, O))
        if <double>B * I * O > WORTH_RELEASING:
            with nogil:
                k.dense_fwd(B, I, O, xs.buf, w.buf, start, place, p, z, y.buf, scratch.a.data)
        else:
            k.dense_fwd(B, I, O, xs.buf, w.buf, start, place, p, z, y.buf, scratch.a.data)
        return result, kept
    finally:
        release(&all)


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
    cdef held all
    all.count = 0
    dx_, dw_, db_ = (None, None, None) if out is None else out
    if add and (dw_ is None or db_ is None):
        raise ValueError("dense_backward: add=True adds to dw and db, which out must give")
    if activation is not None:
        place = facts_of(activation, parameters, p)[0]
    if previous is not None:
        before = facts_of(previous, previous_parameters, q)[0]
        if need_x and previous_kept is None and unary_rows[previous].facts["keeps"] != "N":
            raise ValueError(f"dense_backward: the slope of {previous} needs previous_kept")
    try:
        xs = take(&all, "dense_backward", "x", x, 2)
        w = take(&all, "dense_backward", "weight", weight, 2)
        B, I, O = xs.shape[0], xs.shape[1], w.shape[1]
        if w.shape[0] != I:
            raise ShapeError(f"dense_backward: x {shape_of(xs)} does not fit weight {shape_of(w)}")
        ks = take_sized(&all, "dense_backward", "kept", kept, B, O)
        gs = take_sized(&all, "dense_backward", "g", g, B, O)
        if previous_kept is not None:
            before_kept = take_sized(&all, "dense_backward", "previous_kept", previous_kept, B, I).buf
        inputs = all.count
        dtype = DTYPES[all.dtype]
        dw_ = np.empty((I, O), dtype) if dw_ is None else dw_
        db_ = np.empty(O, dtype) if db_ is None else db_
        dw = take_sized(&all, "dense_backward", "dw", dw_, I, O, True).buf
        db = take_sized(&all, "dense_backward", "db", db_, -1, O, True).buf
        if need_x:
            dx_ = np.empty((B, I), dtype) if dx_ is None else dx_
            dx = take_sized(&all, "dense_backward", "dx", dx_, B, I, True).buf
        apart(&all, "dense_backward", inputs)
        k = kernels_of(all.dtype)
        scratch = room(k.dense_scratch(B, I, O))
        if place >= 0:
            gz_ = room(gs.len)
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
        release(&all)


cdef Py_ssize_t same_size(str op, str name, const Py_buffer *x, const Py_buffer *y) except -1:
    """How many items both have; ShapeError if their shapes differ."""
    cdef int i
    if x.ndim != y.ndim or any([x.shape[i] != y.shape[i] for i in range(x.ndim)]):
        raise ShapeError(f"{op}: {name} {shape_of(y)} must be {shape_of(x)}")
    return x.len // x.itemsize


cdef elementwise(str name, bint backward, x, g, parameters, out):
    """y = f(x), or dx = g f'(x)."""
    cdef Py_buffer *xs
    cdef Py_buffer *gs = NULL
    cdef Py_buffer *y
    cdef Py_ssize_t n
    cdef double p[2]
    cdef int place
    cdef const cbp_kernels *k
    cdef held all
    all.count = 0
    place = facts_of(name, parameters, p)[0]
    try:
        xs = take(&all, name, "kept" if backward else "x", x, 0)
        if backward:
            gs = take(&all, name, "g", g, 0)
            same_size(name, "kept", gs, xs)
        result = np.empty(shape_of(xs), DTYPES[all.dtype]) if out is None else out
        y = take(&all, name, "out", result, 0, True)
        n = same_size(name, "out", xs, y)
        k = kernels_of(all.dtype)
        with nogil:
            if backward:
                k.unary_vjp(place, n, xs.buf, gs.buf, y.buf, p, 0)
            else:
                k.unary(place, n, xs.buf, y.buf, p)
        return result
    finally:
        release(&all)


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
    return elementwise(name, False, x, None, parameters, out)


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
    return elementwise(name, True, kept, g, parameters, out)


def keeps(str name):
    """What an elementwise op's slope reads: "X" its input, "Y" its output, "N" neither."""
    unary_place(name)
    return unary_rows[name].facts["keeps"]
