"""Sums, maxima and what is made of them.  The order of every addition is fixed by shapes alone (ADR 1)."""

import math

from cybackprop._core import engine
from cybackprop._core.engine import StructuredRow, apply
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.movement import as_tensor, broadcast_to, move_last, normal_axis, reshape
from cybackprop.ops.registry import public, structured
from cybackprop.ops.selection import where


def normal_axes(axis, ndim, op):
    """Axes as a sorted tuple; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normal_axis(a, ndim, op) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: axis {axis} names an axis twice")
    return tuple(sorted(axes))


def _floats(x, op):
    """A tensor that can be summed, or an error in the name of the op that was called."""
    x = as_tensor(x)
    if x.dtype.kind != "f":
        raise DTypeError(f"{op} works on float32 and float64, not on {x.dtype}; use astype('float32') first")
    return x


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
    """Sum over axes (all by default).

    Parameters
    ----------
    x : Tensor or array-like, float32 or float64
    axis : int or tuple of int, optional
    keepdims : bool
        Leave the reduced axes with length 1.

    Returns
    -------
    Tensor

    Notes
    -----
    The error does not grow with the number of terms: at most 1,024 additions in a row, then a tree.
    """
    x = as_tensor(x)
    return apply(_sum, (x,), {"axes": normal_axes(axis, x.ndim, "sum"), "keepdims": keepdims})


@public(method=True)
def mean(x, axis=None, keepdims=False):
    """Mean over axes (all by default); NaN of nothing.  See `sum`."""
    x = _floats(x, "mean")
    axes = normal_axes(axis, x.ndim, "mean")
    return sum(x, axes, keepdims) / float(math.prod(x.shape[a] for a in axes))


@public(method=True)
def var(x, axis=None, ddof=0, keepdims=False):
    """Variance over axes: the mean square distance from the mean, divided by N - ddof.  See `sum`."""
    x = _floats(x, "var")
    axes = normal_axes(axis, x.ndim, "var")
    d = x - mean(x, axes, keepdims=True)
    return sum(d * d, axes, keepdims) / float(math.prod(x.shape[a] for a in axes) - ddof)


def _max_share(record):
    """Where the maxima are, and how many share each: the derivative at ties is equal shares."""
    x, axes = record.input(0).detach(), record.attrs["axes"]
    peak = x == reshape(record.output().detach(), kept_shape(x.shape, axes))
    return peak, sum(peak.astype(x.dtype), axes, keepdims=True)


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
    x = _floats(x, "min")
    for a in normal_axes(axis, x.ndim, "min"):
        if x.shape[a] == 0:
            raise ShapeError(f"min: axis {a} of shape {x.shape} is empty and has no minimum")
    return -max(-x, axis, keepdims)


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
