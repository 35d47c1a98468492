"""NumPy's functions and ndarray's methods with NumPy's own parameters: reductions, arithmetic, copies.

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
from cybackprop.ops import selection
from cybackprop.ops.movement import as_tensor, broadcast_to, reshape
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
        return op(reshape(a, -1), axis=0) if axis is None else op(a, axis=axis)
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
    engine.shape_read()
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
        return broadcast_to(selection.astype(fill_value, like.dtype), like.shape)
    return tensor(np.full(like.shape, fill_value, like.dtype))
