"""x[key] by NumPy's rules."""

import operator

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, apply, tensor
from cybackprop.errors import DTypeError
from cybackprop.ops.indexing import pick, slice_row
from cybackprop.ops.movement import reshape

PLAIN = frozenset(map(type, (0, slice(0), None, Ellipsis)))


def getitem(x, key):
    """x[key]: integers, slices, None, Ellipsis, integer arrays and boolean masks, as in NumPy; copies."""
    key = key if isinstance(key, tuple) else (key,)
    if all(type(k) in PLAIN for k in key):
        return basic(x, key)
    items = [item for k in key for item in parts(k)]
    if not any(isinstance(k, Chosen) for k in items):
        return basic(x, items)
    items, axes = whole(x, items)
    if all(isinstance(k, Chosen) and not k.new for k in items):
        common_shape(x, [k.index for k in items])
        return pick(x, tuple([k.index for k in items]), "index")
    return advanced(x, items, axes)


engine.attach_operator("getitem", getitem)


class Chosen:                            # no NamedTuple: a program would guard the code that makes one
    """A part of a key that is an array of integers, for one axis.

    Parameters
    ----------
    index : Tensor
    mask : tuple of int, optional
        The shape of the mask that it is the first part of.
    new : bool
        Whether the axis is none of x's, but one of length 1.
    """

    __slots__ = ("index", "mask", "new")

    def __init__(self, index, mask=None, new=False):
        self.index, self.mask, self.new = index, mask, new


# ---- from a key to items: None, Ellipsis, slices, ints, Chosen

def parts(k):
    """An element of a key as items."""
    if k is None or k is Ellipsis or isinstance(k, slice):
        return [k]
    if isinstance(k, (bool, np.bool_)):
        return masked(np.asarray(k))
    listed = isinstance(k, (Tensor, np.ndarray, list, tuple))
    if not listed and hasattr(type(k), "__index__"):
        return [operator.index(k)]
    a = k if isinstance(k, (Tensor, np.ndarray)) else np.asarray(k)
    if a.dtype.kind == "b":
        return masked(a)
    if a.dtype.kind in "iu" or (a is not k and not a.size):
        return [Chosen(a if isinstance(a, Tensor) else tensor(a, "int64"))]
    if listed or a.ndim:
        raise DTypeError(f"index: arrays of {a.dtype} can't index; use int64 or bool")
    raise IndexError(f"index: {k!r} can't index; use integers, slices, None, Ellipsis, or arrays of int64 or bool")


def masked(mask):
    """A mask as items, the places where it holds."""
    if isinstance(mask, Tensor):
        engine.mask_read(mask)
    mask = np.asarray(mask)
    if mask.ndim == 0:                   # an axis of length 1, taken or not
        return [Chosen(tensor(np.zeros(int(mask), np.int64)), new=True)]
    return [Chosen(tensor(i, "int64"), None if k else mask.shape) for k, i in enumerate(np.nonzero(mask))]


def of_axis(k):
    """Whether an item is of an axis of x; an Ellipsis is of any number."""
    return k is not None and k is not Ellipsis and not (isinstance(k, Chosen) and k.new)


def whole(x, items):
    """The items with what an Ellipsis stands for, and the axis of each, None where it has none.

    The Ellipsis stays before that: arrays at its sides do not stand together, whatever it stands for.
    """
    named = count(x, items)
    out, axes, axis = [], [], 0
    for k in items:
        each = [k, *[slice(None)] * (x.ndim - named)] if k is Ellipsis else [k]
        if isinstance(k, Chosen) and k.mask is not None and k.mask != x.shape[axis:axis + len(k.mask)]:
            raise IndexError(f"index: a mask of shape {k.mask} does not fit shape {x.shape} from axis {axis} on")
        for item in each:
            out.append(item)
            axes.append(axis if of_axis(item) else None)
            axis += of_axis(item)
    return out, axes


def count(x, items):
    """Of how many axes the items are, without an Ellipsis; IndexError if they do not fit x."""
    named = sum(map(of_axis, items))
    if sum(k is Ellipsis for k in items) > 1:
        raise IndexError("index: only one Ellipsis (...) is possible")
    if named > x.ndim:
        raise IndexError(f"index: {named} indices for a tensor of shape {x.shape}")
    return named


def inside(k, axis, shape):
    """An integer counted from the start of its axis, or an IndexError."""
    n = shape[axis]
    if not -n <= k < n:
        raise IndexError(f"index: {k} is outside axis {axis} of length {n} (shape {shape})")
    return k % n


# ---- from items to a result

def advanced(x, items, axes):
    """x[items] with arrays, as which integers count: one common shape, where they stand together there, else first.

    Slices before the last of them are taken first, and counted through; those behind it are taken at the end.
    """
    chosen = [i for i, k in enumerate(items) if isinstance(k, (Chosen, int))]
    n = chosen[-1] + 1
    index = {i: tensor(np.array(inside(items[i], axes[i], x.shape))) if isinstance(items[i], int) else items[i].index
             for i in chosen}
    block = len(common_shape(x, index.values()))
    through = [i for i in range(n) if i not in index and items[i] is not Ellipsis]
    if n - chosen[0] == len(chosen):
        for place, i in enumerate(through):
            index[i] = len(through) - 1 - place + block
    else:
        index = {i: reshape(t, t.shape + (1,) * len(through)) for i, t in index.items()}
        for place, i in enumerate(through):
            index[i] = len(through) - 1 - place
    order = sorted(index)
    front = basic(x, [items[i] if i in through else slice(None) if of_axis(items[i]) else None for i in order])
    y = pick(front, tuple(index[i] for i in order), "index", tuple(axes[i] for i in order), x.shape)
    return basic(y, [slice(None)] * (block + len(through)) + [k for k in items[n:] if k is not Ellipsis])


def common_shape(x, indices):
    """The shape to which index tensors broadcast."""
    shapes = [t.shape for t in indices]
    if all(s == shapes[0] for s in shapes):
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(f"index: arrays of shapes {', '.join(map(str, shapes))} do not broadcast "
                         f"(shape {x.shape})") from None


def basic(x, items):
    """x[items] without arrays: one strided copy, then the axes that appear or go."""
    named = count(x, items)
    if Ellipsis not in [k if k is Ellipsis else None for k in items]:
        items = (*items, Ellipsis)
    starts, steps, lengths, shape = [], [], [], []
    for k in items:
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
            starts.append(inside(k, axis, x.shape)), steps.append(1), lengths.append(1)
    if tuple(lengths) != x.shape or any(s != 1 for s in steps):
        x = apply(slice_row, (x,), {"starts": tuple(starts), "steps": tuple(steps), "lengths": tuple(lengths)})
    return reshape(x, tuple(shape))
