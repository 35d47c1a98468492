"""Ops that move elements and change none: each is linear, and its cotangent is another of them."""

import math
import operator

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import StructuredRow, Tensor, apply, as_tensor, tensor
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.registry import linear, public, structured


def normal_axis(axis, ndim, op):
    """An axis in [0, ndim); negative ones count from the end."""
    i = operator.index(axis)
    if not -ndim <= i < ndim:
        raise ShapeError(f"{op}: axis {axis} is outside a tensor with {ndim} axes")
    return i % ndim


# ---- reshape

_reshape: StructuredRow = linear(
    "reshape", "(...) -> (...)", lambda x, shape: engine.raw_reshape(x, shape),
    lambda record, g: (apply(_reshape, (g,), {"shape": record.input_shape(0)}),))


def wanted_shape(shape):
    """Lengths that were given one by one, or as one sequence."""
    return tuple(map(operator.index, shape[0] if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape))


@public(method=True)
def reshape(x, *shape):
    """The same elements in another shape; shares memory.

    Parameters
    ----------
    x : Tensor or array-like
    *shape : int, or one sequence of int
        One length may be -1: what is left.

    Raises
    ------
    ShapeError
        The number of elements would change.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.arange(6).reshape(2, -1).shape
    (2, 3)
    """
    x = as_tensor(x)
    wanted = wanted_shape(shape)
    known = math.prod(n for n in wanted if n != -1)
    lengths = wanted
    if wanted.count(-1) == 1 and known > 0 and x.size % known == 0:
        lengths = tuple(x.size // known if n == -1 else n for n in wanted)
    if min(lengths, default=0) < 0 or math.prod(lengths) != x.size:
        raise ShapeError(f"reshape: {x.shape} has {x.size} elements and can't become {wanted}")
    return x if lengths == x.shape else apply(_reshape, (x,), {"shape": lengths})


# ---- transpose

_transpose = linear("transpose", "(...) -> (...)", lambda x, axes: engine.raw_transpose(x, axes),
                    lambda record, g: (transpose(g, inverse(record.attrs["axes"])),))


def inverse(axes):
    """The permutation that undoes another."""
    back = [0] * len(axes)
    for i, axis in enumerate(axes):
        back[axis] = i
    return tuple(back)


@public(method=True)
def transpose(x, *axes):
    """The axes in another order (reversed by default); copies.

    Raises
    ------
    ShapeError
        The axes are not a permutation of the tensor's.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.zeros((2, 3, 4)).transpose(1, 0, 2).shape
    (3, 2, 4)
    """
    x = as_tensor(x)
    if len(axes) == 1 and not hasattr(axes[0], "__index__"):
        axes = axes[0]
    order = tuple(range(x.ndim))[::-1] if axes is None or not len(axes) else \
        tuple(normal_axis(a, x.ndim, "transpose") for a in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"transpose: axes {tuple(axes)} are not a permutation of those of shape {x.shape}")
    return x if order == tuple(range(x.ndim)) else apply(_transpose, (x,), {"axes": order})


engine.attach_method("T", property(transpose))


def move_last(x, axis):
    """Put one axis last; returns the tensor and the axes that put it back."""
    order = tuple(i for i in range(x.ndim) if i != axis) + (axis,)
    return transpose(x, order), inverse(order)


# ---- broadcasting and its adjoint

_broadcast = linear("broadcast_to", "(...) -> (...)", lambda x, shape: engine.raw_broadcast_to(x, shape),
                    lambda record, g: (sum_to(g, record.input_shape(0)),))
_sum_to = linear("sum_to", "(...) -> (...)", lambda x, shape: engine.raw_sum_to(x, shape),
                 lambda record, g: (broadcast_to(g, record.input_shape(0)),))


@public(method=True)
def broadcast_to(x, shape):
    """Repeat along new axes and axes of length 1, as `numpy.broadcast_to`; copies.

    Raises
    ------
    ShapeError
        x's shape does not broadcast to the new one.
    """
    x = as_tensor(x)
    shape = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(map(operator.index, shape))
    return x if shape == x.shape else apply(_broadcast, (x,), {"shape": shape})


def sum_to(x, shape):
    """Sum over the axes that broadcasting from `shape` added or stretched."""
    return x if shape == x.shape else apply(_sum_to, (x,), {"shape": shape})


# ---- concatenate and stack

def _concatenate_vjp(record, g):
    out, start, axis = [], 0, record.attrs["axis"]
    for i, length in enumerate(record.attrs["lengths"]):
        key = (slice(None),) * axis + (slice(start, start + length),)
        out.append(g[key] if record.needs(i) else None)
        start += length
    return tuple(out)


def _concatenate_jvp(record, tangents):
    shapes = record.attrs["shapes"]
    dtype = next(t.dtype for t in tangents if t is not None)
    full = tuple(engine.weaken(tensor(np.zeros(s, dtype))) if t is None else t
                 for t, s in zip(tangents, shapes, strict=True))
    return apply(_concatenate, full, record.attrs)


_concatenate = structured("concatenate", "(...), ... -> (...)",
                          lambda *x, axis, lengths, shapes: engine.raw_concatenate(x, axis),
                          _concatenate_vjp, _concatenate_jvp)


@public
def concatenate(tensors, axis=0):
    """Join tensors along an existing axis.

    Parameters
    ----------
    tensors : sequence of Tensor or array-like, one dtype
        Equal shapes but for `axis`.
    axis : int

    Raises
    ------
    ShapeError
        Nothing to join, or shapes that differ elsewhere.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.concatenate([cb.zeros((2, 3)), cb.ones((1, 3))]).shape
    (3, 3)
    """
    tensors = tuple(tensors)
    if not tensors:
        raise ShapeError("concatenate: no tensors were given")
    tensors = engine.as_operands("concatenate", *tensors)
    first = tensors[0]
    if first.ndim == 0:
        raise ShapeError("concatenate: tensors without axes can't be joined; use stack")
    axis = normal_axis(axis, first.ndim, "concatenate")
    for t in tensors:
        if t.ndim != first.ndim or t.shape[:axis] + t.shape[axis + 1:] != first.shape[:axis] + first.shape[axis + 1:]:
            raise ShapeError(f"concatenate: shapes {first.shape} and {t.shape} differ outside axis {axis}")
    return apply(_concatenate, tensors, {"axis": axis, "lengths": tuple(t.shape[axis] for t in tensors),
                                         "shapes": tuple(t.shape for t in tensors)})


@public
def stack(tensors, axis=0):
    """Join tensors of one shape along a new axis; see `concatenate`.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.stack([cb.zeros(3), cb.ones(3)], axis=1).shape
    (3, 2)
    """
    tensors = tuple(tensors)
    if not tensors:
        raise ShapeError("stack: no tensors were given")
    tensors = engine.as_operands("stack", *tensors)
    shape = tensors[0].shape
    for t in tensors:
        if t.shape != shape:
            raise ShapeError(f"stack: shapes {shape} and {t.shape} differ")
    axis = normal_axis(axis, len(shape) + 1, "stack")
    return concatenate([reshape(t, shape[:axis] + (1,) + shape[axis:]) for t in tensors], axis)


def require_integers(index, op):
    """Indices as an int64 tensor."""
    t = tensor(index, "int64") if not isinstance(index, Tensor) and np.size(index) == 0 else as_tensor(index)
    if t.dtype != "int64":
        raise DTypeError(f"{op}: indices are integers, not {t.dtype}")
    return t
