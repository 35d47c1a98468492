"""Elements by their places: the rows behind it, take, gather, one_hot.  x[key]: ops/keys.py."""

import math

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import StructuredRow, Tensor, apply
from cybackprop.errors import ShapeError
from cybackprop.ops.movement import as_tensor, normal_axis, require_integers
from cybackprop.ops.registry import linear, public

slice_row = linear("slice", "(...) -> (...)",
                lambda x, starts, steps, lengths: engine.raw_slice(x, starts, steps, lengths),
                lambda record, g: (apply(_unslice, (g,), {
                    "starts": record.attrs["starts"], "steps": record.attrs["steps"],
                    "shape": record.input_shape(0)}),))
_unslice: StructuredRow = linear(
    "unslice", "(...) -> (...)", lambda x, starts, steps, shape: engine.raw_unslice(x, starts, steps, shape),
    lambda record, g: (apply(slice_row, (g,), {
        "starts": record.attrs["starts"], "steps": record.attrs["steps"], "lengths": record.input_shape(0)}),))

# what lies behind the first axes, at places in these, and back: what was taken twice adds up, in the places' order
_take = linear("take", "(N..., ...), (places) -> (places, ...)",
               lambda x, places, axes: engine.raw_take(x, places, axes),
               lambda record, g: (apply(_put_add, (g,), {**record.attrs, "shape": record.input_shape(0)}),))
_put_add: StructuredRow = linear(
    "put_add", "(places, ...), (places) -> (N..., ...)",
    lambda g, places, axes, shape: engine.raw_put_add(g, places, axes, shape),
    lambda record, g: (apply(_take, (g,), {k: record.attrs[k] for k in ("places", "axes")}),))


def pick(x, index, op, axes=None, shape=None):
    """Elements of the first axes of x: what `engine.raw_places` says of index, axes and shape."""
    n = len(index)
    ndim = max(i.ndim if isinstance(i, Tensor) else 1 + i for i in index) + x.ndim - n
    if ndim > 8:
        raise ShapeError(f"{op}: the result would have {ndim} axes, at most 8 are possible")
    places = engine.raw_places(index, x.shape[:n], op, axes or tuple(range(n)), shape or x.shape)
    return apply(_take, (x,), {"places": places, "axes": n})


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

    Notes
    -----
    Here as in ``x[indices]`` an index tensor is data: a compiled function, a loop or a saved program reads it anew in
    each run.  Gradients of elements that are taken several times add up, in the order of the indices.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.take(cb.tensor([1.0, 2.0, 3.0]), [2, 2, 0])
    Tensor([3., 3., 1.], dtype=float32)
    """
    x, index = as_tensor(x), require_integers(indices, "take")
    axis = normal_axis(axis, x.ndim, "take")
    return pick(x, (*range(index.ndim + axis - 1, index.ndim - 1, -1), index), "take")


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

    Raises
    ------
    IndexError
        An index outside the axis; the first one is named.
    ShapeError
        The shapes differ outside the axis.

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
    return pick(x, tuple(index if i == axis else x.ndim - 1 - i for i in range(x.ndim)), "gather")


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
