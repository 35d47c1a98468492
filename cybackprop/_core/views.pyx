"""Dense layers and activations over typed memoryviews: NumPy arrays or any buffers, no tape.

Arrays are float32 or float64, C-contiguous, and never cast; outputs are new arrays unless `out` gives one.
A call costs about a microsecond more than its kernel.
"""
import numpy as np

from cybackprop._core.engine cimport kernels_of, unary_place
from cybackprop._core.kernels cimport *
from cybackprop.errors import ShapeError

from cybackprop._core.engine import unary_rows

from cython cimport floating


cdef void *scratch_for(size_t nbytes, list keep):
    """64-byte aligned room that lives as long as `keep`."""
    if nbytes == 0:
        return NULL
    cdef unsigned char[::1] room = np.empty(nbytes + 64, np.uint8)
    keep.append(room)
    return <void *>((<size_t>&room[0] + 63) & ~<size_t>63)


cdef inline const void *start(const floating[:, ::1] x) noexcept nogil:
    return NULL if x.shape[0] == 0 or x.shape[1] == 0 else <const void *>&x[0, 0]


cdef int parameters_of(str activation, parameters, double *p) except -2:
    """Place and scalar parameters of an activation; -1 for None."""
    cdef int i, place
    if activation is None:
        return -1
    place = unary_place(activation)
    defaults = [value for _, value in unary_rows[activation].parameters]
    for i, value in enumerate(parameters if parameters else defaults):
        if i < 2:
            p[i] = value
    return place


def dense_forward(const floating[:, ::1] x, const floating[:, ::1] weight, const floating[::1] bias=None, *,
                  str activation=None, parameters=None, out=None):
    """f(x @ weight + bias).

    Parameters
    ----------
    x : array, shape (B, I)
    weight : array, shape (I, O)
    bias : array, shape (O,), optional
    activation : str, optional
        Name of an elementwise op; `parameters` are its scalars.
    out : array, shape (B, O), optional

    Returns
    -------
    (y, kept)
        kept is what `dense_backward` wants: y, or x @ weight + bias where the activation's slope reads its input.

    Raises
    ------
    ShapeError, ValueError
        The message holds both shapes; an unknown activation is named.

    Examples
    --------
    >>> import numpy as np
    >>> from cybackprop import kernels
    >>> y, kept = kernels.dense_forward(np.ones((2, 3)), np.ones((3, 1)), np.array([-5.0]), activation="relu")
    >>> y.tolist()
    [[0.0], [0.0]]
    """
    cdef Py_ssize_t B = x.shape[0], I = weight.shape[0], O = weight.shape[1]
    cdef double p[2]
    cdef int place = parameters_of(activation, parameters, p)
    cdef const cbp_kernels *k = kernels_of(CBP_F32 if floating is float else CBP_F64)
    cdef floating[:, ::1] y, z
    cdef const void *b = NULL
    if x.shape[1] != I:
        raise ShapeError(f"dense_forward: x ({B}, {x.shape[1]}) does not fit weight ({I}, {O})")
    if bias is not None:
        if bias.shape[0] != O:
            raise ShapeError(f"dense_forward: bias ({bias.shape[0]},) does not fit weight ({I}, {O})")
        b = NULL if O == 0 else <const void *>&bias[0]
    dtype = np.float32 if floating is float else np.float64
    result = np.empty((B, O), dtype) if out is None else out
    y = result
    if y.shape[0] != B or y.shape[1] != O:
        raise ShapeError(f"dense_forward: out ({y.shape[0]}, {y.shape[1]}) must be ({B}, {O})")
    keeps_x = activation is not None and unary_rows[activation].facts["keeps"] == "X"
    kept = np.empty((B, O), dtype) if keeps_x else result
    z = kept
    keep = []
    cdef void *scratch = scratch_for(k.dense_scratch(B, I, O), keep)
    if B and O:
        with nogil:
            k.dense_fwd(B, I, O, start(x), start(weight), b, place, p, NULL if &z[0, 0] == &y[0, 0] else &z[0, 0],
                        &y[0, 0], scratch)
    return result, kept


def dense_backward(const floating[:, ::1] x, const floating[:, ::1] weight, const floating[:, ::1] kept,
                   const floating[:, ::1] g, *, str activation=None, parameters=None, bint need_x=True,
                   str previous=None, previous_parameters=None, const floating[:, ::1] previous_kept=None):
    """Cotangents of a dense layer: gz = g f'(kept), dx = gz weight^T, dw = x^T gz, db = sum of gz's rows.

    With `previous`, the activation that x came from, dx is times its slope, in the same pass: the gz of the layer before.

    Parameters
    ----------
    x : array, shape (B, I)
    weight : array, shape (I, O)
    kept : array, shape (B, O)
        From `dense_forward`.
    g : array, shape (B, O)
        Cotangent of the layer's output.
    need_x : bool
        False leaves dx out, a third of the work: the first layer of a network needs none.
    previous : str, optional
        Name of the elementwise op that x came from; `previous_parameters` are its scalars.
    previous_kept : array, shape (B, I), optional
        What the forward of that layer kept.

    Returns
    -------
    (dx, dw, db)
    """
    cdef Py_ssize_t B = x.shape[0], I = weight.shape[0], O = weight.shape[1]
    cdef double p[2]
    cdef double q[2]
    cdef int place = parameters_of(activation, parameters, p), before = parameters_of(previous, previous_parameters, q)
    cdef const cbp_kernels *k = kernels_of(CBP_F32 if floating is float else CBP_F64)
    cdef const void *before_kept = NULL
    if x.shape[1] != I:
        raise ShapeError(f"dense_backward: x ({B}, {x.shape[1]}) does not fit weight ({I}, {O})")
    for name, rows, columns in (("kept", kept.shape[0], kept.shape[1]), ("g", g.shape[0], g.shape[1])):
        if rows != B or columns != O:
            raise ShapeError(f"dense_backward: {name} ({rows}, {columns}) must be ({B}, {O})")
    if previous is not None:
        if previous_kept is None or previous_kept.shape[0] != B or previous_kept.shape[1] != I:
            raise ShapeError(f"dense_backward: previous_kept must be ({B}, {I}), as x is")
        before_kept = start(previous_kept)
    dtype = np.float32 if floating is float else np.float64
    dx_, dw_, db_ = np.zeros((B, I), dtype), np.zeros((I, O), dtype), np.zeros((1, O), dtype)
    gz_ = np.empty((B, O), dtype)
    cdef floating[:, ::1] dx = dx_, dw = dw_, db = db_, gz = gz_
    keep = []
    cdef void *scratch = scratch_for(k.dense_scratch(B, I, O), keep)
    cdef void *dxp = <void *>start(dx) if need_x else NULL
    with nogil:
        k.dense_bwd(B, I, O, start(x), start(weight), start(kept), start(g), place, p, <void *>start(gz), dxp,
                    <void *>start(dw), <void *>start(db), 0, before, q, before_kept, scratch)
    return dx_ if need_x else None, dw_, db_[0]


def activation_forward(str name, const floating[:, ::1] x, *, parameters=None, out=None):
    """f(x) for an elementwise op of the table; out may be x itself."""
    cdef double p[2]
    cdef int place = parameters_of(name, parameters, p)
    result = np.empty((x.shape[0], x.shape[1]), np.float32 if floating is float else np.float64) if out is None else out
    cdef floating[:, ::1] y = result
    if y.shape[0] != x.shape[0] or y.shape[1] != x.shape[1]:
        raise ShapeError(f"{name}: out ({y.shape[0]}, {y.shape[1]}) must be ({x.shape[0]}, {x.shape[1]})")
    with nogil:
        kernels_of(CBP_F32 if floating is float else CBP_F64).unary(
            place, x.shape[0] * x.shape[1], start(x), <void *>start(y), p)
    return result


def activation_backward(str name, const floating[:, ::1] kept, const floating[:, ::1] g, *, parameters=None, out=None):
    """g f'(kept): exactly 0 where g is.  kept is x or f(x), as the table says; out may be g itself.

    ``cybackprop.kernels.keeps(name)`` tells which: "X", "Y", or "N" for neither.
    """
    cdef double p[2]
    cdef int place = parameters_of(name, parameters, p)
    result = np.empty((g.shape[0], g.shape[1]), np.float32 if floating is float else np.float64) if out is None else out
    cdef floating[:, ::1] dx = result
    for what, rows, columns in (("kept", kept.shape[0], kept.shape[1]), ("out", dx.shape[0], dx.shape[1])):
        if rows != g.shape[0] or columns != g.shape[1]:
            raise ShapeError(f"{name}: {what} ({rows}, {columns}) must be ({g.shape[0]}, {g.shape[1]})")
    with nogil:
        kernels_of(CBP_F32 if floating is float else CBP_F64).unary_vjp(
            place, g.shape[0] * g.shape[1], start(kept), start(g), <void *>start(dx), p, 0)
    return result


def keeps(str name):
    """What an elementwise op's slope reads: "X" its input, "Y" its output, "N" neither."""
    unary_place(name)
    return unary_rows[name].facts["keeps"]
