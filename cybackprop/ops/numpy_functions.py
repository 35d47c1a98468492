"""NumPy's functions and ndarray's methods with NumPy's own parameters, on the ops that compute them.

A function of this table answers ``np.name(t, ...)`` where an argument is a Tensor; `numpy_protocol` asks for it.  One
that is a method too answers ``t.name(...)``, and takes the place of the method with the op's own parameters.  It
returns NotImplemented for what no op computes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, as_operands, tensor
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops import indexing, movement, selection
from cybackprop.ops.movement import as_tensor, normal_axis
from cybackprop.ops.registry import public_functions

numpy_functions: dict[str, Callable[..., Any]] = {}      # NumPy's name -> function with NumPy's parameters


def numpy_function(f):
    """Let f answer the NumPy function of that name."""
    numpy_functions[f.__name__] = f
    return f


def tensor_method(f):
    """Give Tensor f as a method, with ndarray's parameters."""
    engine.attach_method(f.__name__, f)
    return f


def refuse_out(name, out):
    """Results are not written into arrays."""
    if out is None:
        return
    if isinstance(out, bool):
        raise TypeError(f"{name}: out={out} is no array; keepdims is passed by name, {name}(..., keepdims={out})")
    raise TypeError(f"{name}: out= would write in place, of which neither a gradient nor a compiled function knows; "
                    f"take the result, y = {name}(...)")


def operand(name, a, dtype, out=None):
    """A tensor in the dtype that is asked for, which NumPy computes in too."""
    refuse_out(name, out)
    if isinstance(dtype, int):           # 0, 1, False or True that was meant for a later parameter
        raise TypeError(f"{name}: dtype={dtype} is no dtype; after axis come dtype and out, as in NumPy: pass "
                        "keepdims and ddof by name")
    return as_tensor(a) if dtype is None else selection.astype(a, dtype)


# ---- reductions

def _sum_like(name, op):
    def function(a, axis=None, dtype=None, out=None, keepdims=False):
        if dtype is not None or out is not None:
            a = operand(name, a, dtype, out)
        return op(a, axis=axis, keepdims=keepdims)
    return function


def _max_like(name, op):
    def function(a, axis=None, out=None, keepdims=False):
        refuse_out(name, out)
        return op(a, axis=axis, keepdims=keepdims)
    return function


def _argmax_like(name, op):
    def function(a, axis: int | None = None, out=None, *, keepdims=False):
        refuse_out(name, out)
        return op(a, axis=axis, keepdims=keepdims)
    return function


def _var_like(name, op):
    def function(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
        return op(operand(name, a, dtype, out), axis=axis, ddof=ddof, keepdims=keepdims)
    return function


def _cumsum_like(name, op):
    def function(a, axis=None, dtype=None, out=None):
        a = operand(name, a, dtype, out)
        return op(ravel(a), axis=0) if axis is None else op(a, axis=axis)
    return function


REDUCTIONS = {_sum_like: ("sum", "mean", "prod"), _max_like: ("max", "min", "any", "all"),
              _argmax_like: ("argmax", "argmin"), _var_like: ("var", "std"), _cumsum_like: ("cumsum", "cumprod")}


def _add_reductions():
    for make, names in REDUCTIONS.items():
        for name in names:
            if name in public_functions:
                f = make(name, public_functions[name])
                f.__name__ = f.__qualname__ = name
                f.__doc__ = f"`cybackprop.{name}` with NumPy's parameters; see `{name}`."
                tensor_method(numpy_function(f))
    for alias, name in (("amax", "max"), ("amin", "min")):
        numpy_functions[alias] = numpy_functions[name]


_add_reductions()


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


def _at_least(ndim, arrays):
    tensors = as_operands("vstack" if ndim == 2 else "hstack", *arrays)
    return [movement.reshape(t, (1,) * (ndim - t.ndim) + t.shape) if t.ndim < ndim else t for t in tensors]


@numpy_function
def vstack(tup, *, dtype=None):
    """Tensors one below the other."""
    return movement.concatenate(_at_least(2, _joined("vstack", tup, dtype, None)), 0)


@numpy_function
def hstack(tup, *, dtype=None):
    """Tensors side by side."""
    tensors = _at_least(1, _joined("hstack", tup, dtype, None))
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


# ---- arithmetic

@tensor_method
@numpy_function
def clip(a, min=None, max=None, out=None, *, a_min=None, a_max=None):
    """Within two bounds.

    Parameters
    ----------
    min, max : number or array-like, optional
        No bound by default.  NumPy's older names for them are a_min and a_max.
    """
    refuse_out("clip", out)
    low, high = a_min if min is None else min, a_max if max is None else max
    if all(bound is None or isinstance(bound, (int, float, np.integer, np.floating)) for bound in (low, high)):
        return public_functions["clip"](a, -np.inf if low is None else low, np.inf if high is None else high)
    a = a if low is None else public_functions["maximum"](a, low)
    return a if high is None else public_functions["minimum"](a, high)


@tensor_method
@numpy_function
def dot(a, b, out=None):
    """Product by NumPy's rules for `numpy.dot`: of matrices, rows and single numbers.

    Raises
    ------
    ShapeError
        Both have several matrices, or the inner lengths differ.
    """
    refuse_out("dot", out)
    a, b = as_operands("dot", a, b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if a.ndim > 1 and b.ndim > 2:
        raise ShapeError(f"dot: shapes {a.shape} and {b.shape} would give every matrix with every other; use matmul")
    return a @ b


# ---- copies and dtypes

@tensor_method
@numpy_function
def copy(a, order="K", subok=False):
    """Values that stay what they are: a copy of a State's, and the tensor itself, which never changes."""
    return engine.own_value(as_tensor(a))


@tensor_method
def astype(a, dtype, order="K", casting="unsafe", subok=True, copy=True):
    """The values in another dtype; see `astype`.

    Raises
    ------
    DTypeError
        `casting`, of NumPy's, does not allow it.
    """
    if casting != "unsafe" and not np.can_cast(a.dtype, dtype, casting):
        raise DTypeError(f"astype: casting={casting!r} does not allow {a.dtype} to become {np.dtype(dtype)}")
    return selection.astype(a, dtype)


def _astype(x, dtype, *, copy=True):
    return selection.astype(x, dtype)


numpy_functions["astype"] = _astype


# ---- what NumPy makes of shape and dtype alone

def stand_in(t):
    """An ndarray with the shape and dtype of a tensor, and none of its values."""
    return np.broadcast_to(np.zeros((), t.dtype), t.shape) if isinstance(t, Tensor) else t


def _add_alike():
    def alike(name):
        def function(a, dtype=None, order="K", subok=True, shape=None):
            return tensor(getattr(np, name)(stand_in(a), dtype=dtype, shape=shape))
        return function

    for name, source in (("zeros_like", "zeros_like"), ("ones_like", "ones_like"), ("empty_like", "zeros_like")):
        numpy_functions[name] = alike(source)


_add_alike()


@numpy_function
def full_like(a, fill_value, dtype=None, order="K", subok=True, shape=None):
    """One number in the shape and dtype of a tensor."""
    like = numpy_functions["zeros_like"](a, dtype, shape=shape)
    if isinstance(fill_value, Tensor):
        return movement.broadcast_to(selection.astype(fill_value, like.dtype), like.shape)
    return tensor(np.full(like.shape, fill_value, like.dtype))
