"""Indexing: x[key] by NumPy's rules, take, gather, one_hot."""

import math

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import StructuredRow, Tensor, apply
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.movement import as_tensor, normal_axis, require_integers, reshape, transpose
from cybackprop.ops.registry import linear, public

_slice = linear("slice", "(...) -> (...)",
                lambda x, starts, steps, lengths: engine.raw_slice(x, starts, steps, lengths),
                lambda record, g: (apply(_unslice, (g,), {
                    "starts": record.attrs["starts"], "steps": record.attrs["steps"],
                    "shape": record.input_shape(0)}),))
_unslice: StructuredRow = linear(
    "unslice", "(...) -> (...)", lambda x, starts, steps, shape: engine.raw_unslice(x, starts, steps, shape),
    lambda record, g: (apply(_slice, (g,), {
        "starts": record.attrs["starts"], "steps": record.attrs["steps"], "lengths": record.input_shape(0)}),))

# rows of the first axis at int64 places, and back: rows that were taken twice add up, in the order of the places
_take = linear("take", "(N, ...), (index) -> (index, ...)", lambda x, index: engine.raw_take(x, index),
               lambda record, g: (apply(_put_add, (g,), {
                   "index": record.attrs["index"], "shape": record.input_shape(0)}),))
_put_add: StructuredRow = linear(
    "put_add", "(index, ...), (index) -> (N, ...)", lambda g, index, shape: engine.raw_put_add(g, index, shape),
    lambda record, g: (apply(_take, (g,), {"index": record.attrs["index"]}),))


def getitem(x, key):
    """x[key]: integers, slices, None, Ellipsis, integer arrays and boolean masks, as in NumPy; copies."""
    if not isinstance(key, tuple):
        key = (key,)
    if all(k is None or k is Ellipsis or isinstance(k, slice) or is_integer(k) for k in key):
        return basic(x, key)
    arrays = tuple(_array(k) if isinstance(k, (Tensor, list)) else k for k in key)
    for k in arrays:
        if isinstance(k, np.ndarray) and k.dtype.kind not in "iub" and k.size:
            raise DTypeError(f"index: arrays of {k.dtype} can't index; use int64 or bool")
    try:                                 # NumPy itself says which elements are meant
        places = np.arange(x.size).reshape(x.shape)[arrays]
    except IndexError as error:
        raise IndexError(f"index: {error} (shape {x.shape})") from None
    return apply(_take, (reshape(x, -1),), {"index": as_tensor(np.asarray(places))})


def _array(k):
    k = np.asarray(k)
    return k if k.size or k.dtype.kind in "iub" else k.astype(np.int64)


def is_integer(k):
    return (isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_))) or (
        isinstance(k, Tensor) and k.ndim == 0 and k.dtype == np.int64)


def basic(x, key):
    """x[key] without arrays: one strided copy, then the axes that appear or go."""
    named = sum(k is not None and k is not Ellipsis for k in key)
    if sum(k is Ellipsis for k in key) > 1:
        raise IndexError("index: only one Ellipsis (...) is possible")
    if named > x.ndim:
        raise IndexError(f"index: {named} indices for a tensor of shape {x.shape}")
    if Ellipsis not in [k if k is Ellipsis else None for k in key]:
        key = (*key, Ellipsis)
    starts, steps, lengths, shape = [], [], [], []
    for k in key:
        axis = len(starts)
        if k is None:
            shape.append(1)
        elif k is Ellipsis:
            for n in x.shape[axis:axis + x.ndim - named]:
                starts.append(0), steps.append(1), lengths.append(n), shape.append(n)
        elif isinstance(k, slice):
            start, stop, step = k.indices(x.shape[axis])
            n = len(range(start, stop, step))
            starts.append(start if n else 0), steps.append(step if n > 1 else 1), lengths.append(n), shape.append(n)
        else:
            n = x.shape[axis]
            if not -n <= int(k) < n:
                raise IndexError(f"index: {int(k)} is outside axis {axis} of length {n} (shape {x.shape})")
            starts.append(int(k) % n), steps.append(1), lengths.append(1)
    if tuple(lengths) != x.shape or any(s != 1 for s in steps):
        x = apply(_slice, (x,), {"starts": tuple(starts), "steps": tuple(steps), "lengths": tuple(lengths)})
    return reshape(x, tuple(shape))


engine.attach_operator("getitem", getitem)


@public
def take(x, indices, axis=0):
    """Slices of x along an axis at integer places (negative ones count from the end).

    Parameters
    ----------
    x : Tensor
    indices : int array-like or int64 Tensor, any shape
    axis : int

    Returns
    -------
    Tensor, shape x.shape[:axis] + indices.shape + x.shape[axis + 1:]

    Raises
    ------
    IndexError
        An index outside the axis; the first one is named.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.take(cb.tensor([1.0, 2.0, 3.0]), [2, 2, 0])
    Tensor([3., 3., 1.], dtype=float32)
    """
    x, index = as_tensor(x), require_integers(indices, "take")
    axis = normal_axis(axis, x.ndim, "take")
    index = engine.checked_index(index, x.shape[axis], "take")
    front = transpose(x, (axis, *(i for i in range(x.ndim) if i != axis)))
    out = apply(_take, (front,), {"index": index})
    k = index.ndim
    return transpose(out, (*range(k, k + axis), *range(k), *range(k + axis, out.ndim)))


@public
def gather(x, index, axis=-1):
    """Elements x[..., index[...], ...] along an axis, as `numpy.take_along_axis`.

    Parameters
    ----------
    x : Tensor
    index : int array-like or int64 Tensor
        As many axes as x; lengths other than along `axis` equal x's.
    axis : int

    Returns
    -------
    Tensor, shape of index

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.gather(cb.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1], [0]])
    Tensor([[2.],
            [3.]], dtype=float32)
    """
    x, index = as_tensor(x), require_integers(index, "gather")
    axis = normal_axis(axis, x.ndim, "gather")
    if index.ndim != x.ndim or any(index.shape[i] != x.shape[i] for i in range(x.ndim) if i != axis):
        raise ShapeError(f"gather: index {index.shape} does not fit x {x.shape} outside axis {axis}")
    index = engine.checked_index(index, x.shape[axis], "gather")
    places = np.take_along_axis(np.arange(x.size).reshape(x.shape), index.numpy(), axis)
    return apply(_take, (reshape(x, -1),), {"index": as_tensor(places)})


@public
def one_hot(index, num_classes, dtype="float32"):
    """Rows of zeros with a one at each index.

    Parameters
    ----------
    index : int array-like or int64 Tensor, any shape
    num_classes : int

    Returns
    -------
    Tensor, shape index.shape + (num_classes,)

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.one_hot([2, 0], 3)
    Tensor([[0., 0., 1.],
            [1., 0., 0.]], dtype=float32)
    """
    index = require_integers(index, "one_hot")
    if math.prod(index.shape) == 0:
        return as_tensor(np.zeros((*index.shape, num_classes), dtype))
    return engine.raw_one_hot(index, num_classes, dtype)
