"""Sums, maxima and what is made of them.  The order of every addition is fixed by shapes alone (ADR 1)."""

import builtins
import math

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import StructuredRow, apply
from cybackprop.errors import ShapeError
from cybackprop.ops.elementwise import functions
from cybackprop.ops.movement import as_tensor, broadcast_to, move_last, normal_axis, reshape
from cybackprop.ops.registry import linear, public, structured
from cybackprop.ops.selection import invert, logical_not, where


def normal_axes(axis, ndim, op):
    """Axes as a sorted tuple; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normal_axis(a, ndim, op) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: axis {axis} names an axis twice")
    return tuple(sorted(axes))


def _integers(x):
    """A tensor that can be summed: bools become int64."""
    x = as_tensor(x)
    return engine.raw_cast(x, np.int64) if x.dtype == np.bool_ else x


def _turned(x):
    """x in the opposite order: the largest is the smallest."""
    return -x if x.dtype.kind == "f" else invert(x)


def kept_shape(shape, axes):
    """The shape with the reduced axes at length 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def spread(g, record):
    """A cotangent of the reduced shape over the input's shape."""
    shape = record.input_shape(0)
    return broadcast_to(reshape(g, kept_shape(shape, record.attrs["axes"])), shape)


_sum: StructuredRow = structured(
    "sum", "(..., K) -> (...)", lambda x, axes, keepdims: engine.raw_sum(x, axes, keepdims),
    lambda record, g: (spread(g, record),), lambda record, tangents: apply(_sum, tangents, record.attrs))


@public(method=True)
def sum(x, axis=None, keepdims=False):
    """Sum over axes (all by default); of bools how many are true.

    Parameters
    ----------
    x : Tensor or array-like
    axis : int or tuple of int, optional
    keepdims : bool
        Leave the reduced axes with length 1.

    Returns
    -------
    Tensor, dtype of x; int64 for bools

    Notes
    -----
    Integers wrap.  The error does not grow with the number of terms: at most 1,024 additions in a row, then a tree.
    """
    x = _integers(x)
    return apply(_sum, (x,), {"axes": normal_axes(axis, x.ndim, "sum"), "keepdims": keepdims})


@public(method=True)
def mean(x, axis=None, keepdims=False):
    """Mean over axes (all by default); NaN of nothing; float32 of int64 and bool.  See `sum`."""
    x = engine.floats_of(as_tensor(x))
    axes = normal_axes(axis, x.ndim, "mean")
    return sum(x, axes, keepdims) / float(math.prod(x.shape[a] for a in axes))


@public(method=True)
def var(x, axis=None, ddof=0, keepdims=False):
    """Variance over axes: squared distances from the mean, summed, divided by N - ddof (not below 0).  See `mean`."""
    x = engine.floats_of(as_tensor(x))
    axes = normal_axes(axis, x.ndim, "var")
    d = x - mean(x, axes, keepdims=True)
    return sum(d * d, axes, keepdims) / float(builtins.max(math.prod(x.shape[a] for a in axes) - ddof, 0))


@public(method=True)
def std(x, axis=None, ddof=0, keepdims=False):
    """Standard deviation over axes: the root of `var`.

    Notes
    -----
    Its derivative at equal values, where there is none, is 0.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.std(cb.tensor([1.0, 3.0])).item()
    1.0
    """
    v = var(x, normal_axes(axis, as_tensor(x).ndim, "std"), ddof, keepdims)
    return where(v == 0, 0, functions["sqrt"](v))


def _max_share(record):
    """Where the maxima are, and how many share each: the derivative at ties is equal shares."""
    x, axes = record.input(0).detach(), record.attrs["axes"]
    peak = x == reshape(record.output().detach(), kept_shape(x.shape, axes))
    return peak, sum(engine.raw_cast(peak, x.dtype), axes, keepdims=True)


def _max_vjp(record, g):
    # forward: y = max over axes of x   so: dx = g / (number of maxima) at each maximum, 0 elsewhere
    peak, count = _max_share(record)
    shape = record.input_shape(0)
    share = reshape(g, count.shape) / count
    return (where(peak, broadcast_to(share, shape), 0),)


def _max_jvp(record, tangents):
    peak, count = _max_share(record)
    t = sum(where(peak, tangents[0], 0), record.attrs["axes"], keepdims=True) / count
    return reshape(t, record.output().shape)


_max = structured("max", "(..., K) -> (...)", lambda x, axes, keepdims: engine.raw_max(x, axes, keepdims),
                  _max_vjp, _max_jvp, keeps="x; y")


@public(method=True)
def max(x, axis=None, keepdims=False):
    """Maximum over axes (all by default); NaN wins; elements that tie share the gradient equally.  See `sum`.

    Raises
    ------
    ShapeError
        An axis is empty.
    """
    x = as_tensor(x)
    return apply(_max, (x,), {"axes": normal_axes(axis, x.ndim, "max"), "keepdims": keepdims})


@public(method=True)
def min(x, axis=None, keepdims=False):
    """Minimum over axes; see `max`."""
    x = as_tensor(x)
    for a in normal_axes(axis, x.ndim, "min"):
        if x.shape[a] == 0:
            raise ShapeError(f"min: axis {a} of shape {x.shape} is empty and has no minimum")
    return _turned(max(_turned(x), axis, keepdims))


@public(method=True)
def argmax(x, axis: int | None = None, keepdims=False):
    """Place of the first maximum along an axis (of the flattened tensor by default), int64; the first NaN wins."""
    x = as_tensor(x)
    if axis is None:
        out = engine.raw_argmax_last(reshape(x, -1))
        return reshape(out, (1,) * x.ndim) if keepdims else out
    axis = normal_axis(axis, x.ndim, "argmax")
    out = engine.raw_argmax_last(move_last(x.detach(), axis)[0])
    return reshape(out, kept_shape(x.shape, (axis,))) if keepdims else out


@public(method=True)
def argmin(x, axis: int | None = None, keepdims=False):
    """Place of the first minimum; see `argmax`.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.argmin(cb.tensor([3, 1, 1])).item()
    1
    """
    x = as_tensor(x)
    if x.size == 0 and axis is None:
        raise ShapeError(f"argmin: shape {x.shape} is empty and has no minimum")
    if axis is not None and x.shape[normal_axis(axis, x.ndim, "argmin")] == 0:
        raise ShapeError(f"argmin: axis {axis} of shape {x.shape} is empty and has no minimum")
    return argmax(_turned(x.detach()), axis, keepdims)


# ---- whether any, whether all

def _truth(x):
    x = as_tensor(x).detach()
    return x if x.dtype == np.bool_ else x != 0


@public(method=True)
def any(x, axis=None, keepdims=False):
    """Whether any element is true over axes (all by default), bool; numbers are true unless 0, NaN too.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.any(cb.tensor([[0, 1], [0, 0]]), axis=1).tolist()
    [True, False]
    """
    x = _truth(x)
    return engine.raw_sum(x, normal_axes(axis, x.ndim, "any"), keepdims)


@public(method=True)
def all(x, axis=None, keepdims=False):
    """Whether all elements are true over axes (all by default), bool; see `any`.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.all(cb.tensor([[0, 1], [1, 1]]), axis=1).tolist()
    [False, True]
    """
    x = logical_not(_truth(x))
    return logical_not(engine.raw_sum(x, normal_axes(axis, x.ndim, "all"), keepdims))


# ---- sums along the way

_cumsum: StructuredRow = linear(
    "cumsum", "(..., K) -> (..., K)", lambda x, axis, backwards: engine.raw_cumsum(x, axis, backwards),
    # forward: y_k = x_0 + ... + x_k   so: dx_k = g_k + ... + g_last
    lambda record, g: (apply(_cumsum, (g,), {**record.attrs, "backwards": not record.attrs["backwards"]}),))


@public(method=True)
def cumsum(x, axis: int | None = None):
    """Sums of the elements up to each place along an axis (of the flattened tensor by default).

    Parameters
    ----------
    x : Tensor or array-like
    axis : int, optional

    Returns
    -------
    Tensor, shape of x, or (N,) without axis; dtype of x, int64 for bools

    Notes
    -----
    One chain of additions from the first element on, as in NumPy: in contrast to `sum` the error grows with the number
    of terms.  Integers wrap.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.cumsum(cb.tensor([1, 2, 3])).tolist()
    [1, 3, 6]
    """
    x = _integers(x)
    if axis is None:
        return apply(_cumsum, (reshape(x, -1),), {"axis": 0, "backwards": False})
    return apply(_cumsum, (x,), {"axis": normal_axis(axis, x.ndim, "cumsum"), "backwards": False})
