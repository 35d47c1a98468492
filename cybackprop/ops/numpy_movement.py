"""NumPy's functions and ndarray's methods with NumPy's own parameters: what moves, joins and chooses elements."""

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import as_operands
from cybackprop.errors import ShapeError
from cybackprop.ops import indexing, movement, selection
from cybackprop.ops.movement import as_tensor, normal_axis
from cybackprop.ops.numpy_functions import numpy_function, numpy_functions, refuse_out, tensor_method

# ---- shapes

def _require_order(name, order):
    if order not in ("C", "F", "A", "K"):
        raise ValueError(f"{name}: order is 'C', 'F', 'A' or 'K', not {order!r}")
    return order == "F"


@tensor_method
def reshape(a, *shape, order="C", copy=None):
    """The same elements in another shape; see `reshape`.

    Parameters
    ----------
    *shape : int or sequence of int
    order : str
        "F" counts the first axis fastest.
    copy : bool, optional
        Memory of its own, which only matters for a State's.
    """
    if order != "C" and _require_order("reshape", order):
        backwards = movement.reshape(movement.transpose(as_tensor(a)), movement.wanted_shape(shape)[::-1])
        out = movement.transpose(backwards)
    else:
        out = movement.reshape(a, *shape)
    return engine.own_value(out) if copy else out


def _reshape(a, shape=None, order="C", *, newshape=None, copy=None):
    return reshape(a, newshape if shape is None else shape, order=order, copy=copy)


def _transpose(a, axes=None):
    return movement.transpose(a, axes)


def _broadcast_to(array, shape, subok=False):
    return movement.broadcast_to(array, shape)


# their methods take lengths or axes one by one, or have no counterpart at ndarray
numpy_functions |= {"reshape": _reshape, "transpose": _transpose, "broadcast_to": _broadcast_to}


@tensor_method
@numpy_function
def ravel(a, order="C"):
    """All elements along one axis; shares memory."""
    a = as_tensor(a)
    return movement.reshape(movement.transpose(a) if _require_order("ravel", order) else a, -1)


@tensor_method
def flatten(a, order="C"):
    """All elements along one axis."""
    return engine.own_value(ravel(a, order))


def _axes(axis, ndim, name):
    axes = tuple(normal_axis(a, ndim, name) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: {axis} names an axis twice")
    return axes


@tensor_method
@numpy_function
def squeeze(a, axis=None):
    """Without the axes of length 1, or without some of them.

    Parameters
    ----------
    axis : int or tuple of int, optional

    Raises
    ------
    ShapeError
        An axis that is named has another length.
    """
    a = as_tensor(a)
    axes = _axes(axis, a.ndim, "squeeze") if axis is not None else tuple(i for i, n in enumerate(a.shape) if n == 1)
    if any(a.shape[i] != 1 for i in axes):
        raise ShapeError(f"squeeze: axis {axis} of shape {a.shape} has another length than 1")
    return movement.reshape(a, tuple(n for i, n in enumerate(a.shape) if i not in axes))


@numpy_function
def expand_dims(a, axis):
    """With new axes of length 1 at places of the result."""
    a = as_tensor(a)
    ndim = a.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1)
    axes, lengths = _axes(axis, ndim, "expand_dims"), iter(a.shape)
    return movement.reshape(a, tuple(1 if i in axes else next(lengths) for i in range(ndim)))


@tensor_method
@numpy_function
def swapaxes(a, axis1, axis2):
    """With two axes in each other's place; copies.

    Parameters
    ----------
    axis1, axis2 : int
    """
    a = as_tensor(a)
    i, k = normal_axis(axis1, a.ndim, "swapaxes"), normal_axis(axis2, a.ndim, "swapaxes")
    order = list(range(a.ndim))
    order[i], order[k] = k, i
    return movement.transpose(a, order)


@numpy_function
def moveaxis(a, source, destination):
    """With axes at other places, the rest in their order; copies."""
    a = as_tensor(a)
    sources, goals = _axes(source, a.ndim, "moveaxis"), _axes(destination, a.ndim, "moveaxis")
    if len(sources) != len(goals):
        raise ShapeError(f"moveaxis: {len(sources)} axes can't go to {len(goals)} places")
    order = [i for i in range(a.ndim) if i not in sources]
    for goal, i in sorted(zip(goals, sources, strict=True)):
        order.insert(goal, i)
    return movement.transpose(a, order)


# ---- joining and choosing

def _joined(name, arrays, dtype, out):
    refuse_out(name, out)
    return [selection.astype(a, dtype) for a in arrays] if dtype is not None else list(arrays)


@numpy_function
def concatenate(arrays, axis=0, out=None, *, dtype=None):
    """Tensors joined along an axis; flattened without one."""
    arrays = _joined("concatenate", arrays, dtype, out)
    return movement.concatenate([ravel(a) for a in arrays], 0) if axis is None else \
        movement.concatenate(arrays, axis)


@numpy_function
def stack(arrays, axis=0, out=None, *, dtype=None):
    """Tensors joined along a new axis."""
    return movement.stack(_joined("stack", arrays, dtype, out), axis)


def _with_axes(a, ndim):
    a = as_tensor(a)
    return movement.reshape(a, (1,) * (ndim - a.ndim) + a.shape) if a.ndim < ndim else a


@numpy_function
def atleast_1d(*arys):
    """Single numbers with an axis of their own, other tensors as they are."""
    return _with_axes(arys[0], 1) if len(arys) == 1 else tuple(_with_axes(a, 1) for a in arys)


@numpy_function
def atleast_2d(*arys):
    """Tensors with less than two axes as one row, others as they are."""
    return _with_axes(arys[0], 2) if len(arys) == 1 else tuple(_with_axes(a, 2) for a in arys)


@numpy_function
def vstack(tup, *, dtype=None):
    """Tensors one below the other."""
    tensors = as_operands("vstack", *_joined("vstack", tup, dtype, None))
    return movement.concatenate([_with_axes(t, 2) for t in tensors], 0)


@numpy_function
def hstack(tup, *, dtype=None):
    """Tensors side by side."""
    tensors = [_with_axes(t, 1) for t in as_operands("hstack", *_joined("hstack", tup, dtype, None))]
    return movement.concatenate(tensors, 0 if tensors[0].ndim == 1 else 1)


@numpy_function
def where(condition, *branches):
    """Elements of one branch where the condition holds, of the other elsewhere."""
    if len(branches) != 2:               # where(condition) alone: how many there are only the values say
        return NotImplemented
    condition = as_tensor(condition)
    return selection.where(condition if condition.dtype == np.bool_ else condition != 0, *branches)


@tensor_method
@numpy_function
def take(a, indices, axis=None, out=None, mode="raise"):
    """Slices along an axis at integer places, elements of the flattened tensor without one; see `take`."""
    refuse_out("take", out)
    if mode != "raise":
        raise TypeError(f"take: mode={mode!r} is not there for tensors; bring the indices into range first (% n, clip)")
    return indexing.take(ravel(a), indices, 0) if axis is None else indexing.take(a, indices, axis)


@numpy_function
def take_along_axis(arr, indices, axis=-1):
    """Elements along an axis, `gather`."""
    return indexing.gather(ravel(arr), indices, 0) if axis is None else indexing.gather(arr, indices, axis)
