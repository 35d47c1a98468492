"""where, logic on bools, bits of integers, casts."""

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, apply, as_operands
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.movement import as_tensor, broadcast_to, sum_to
from cybackprop.ops.registry import public, structured


def _where_vjp(record, g):
    # forward: y = c ? a : b   so: da = c ? g : 0, db = c ? 0 : g, whatever the other branch holds
    c = record.input(0)
    da = sum_to(where(c, g, 0), record.input_shape(1)) if record.needs(1) else None
    db = sum_to(where(c, 0, g), record.input_shape(2)) if record.needs(2) else None
    return None, da, db


def _where_jvp(record, tangents):
    _, ta, tb = tangents
    c = record.input(0)
    t = where(c, 0 if ta is None else ta, 0 if tb is None else tb)
    return broadcast_to(t, record.attrs["shape"])


_where = structured("where", "(...), (...), (...) -> (...)", lambda c, a, b, shape: engine.raw_where(c, a, b),
                    _where_vjp, _where_jvp, inputs="c a b", keeps="c")


@public
def where(condition, a, b):
    """Elements of a where the condition holds, of b elsewhere.

    A branch that was not taken gets a gradient of exactly 0, even beside inf or NaN.

    Parameters
    ----------
    condition : bool Tensor or array-like
    a, b : Tensor or array-like, one dtype
        Broadcast with the condition.

    Returns
    -------
    Tensor

    Raises
    ------
    DTypeError
        The condition is not bool, or a and b differ in dtype.
    ShapeError
        The shapes do not broadcast.

    Examples
    --------
    >>> import cybackprop as cb
    >>> x = cb.tensor([-1.0, 4.0])
    >>> cb.where(x > 0, cb.sqrt(x), 0)
    Tensor([0., 2.], dtype=float32)
    """
    c = as_tensor(condition)
    if c.dtype != np.bool_:
        raise DTypeError(f"where: the condition is {c.dtype}, not bool; compare first (x > 0)")
    if engine.is_weak(c) and not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = engine.weak_tensor(a)        # as NumPy has it: what is made of weak tensors alone is weak
    a, b = as_operands("where", a, b)
    try:
        shape = np.broadcast_shapes(c.shape, a.shape, b.shape)
    except ValueError:
        raise ShapeError(f"where: shapes {c.shape}, {a.shape} and {b.shape} do not broadcast") from None
    one = np.prod(shape) == 1            # otherwise the kernel takes single elements as they are
    operands = tuple(t if t.shape == shape or (t.size == 1 and not one) else broadcast_to(t, shape) for t in (c, a, b))
    return apply(_where, operands, {"shape": shape})


def _logic(name):
    def function(a, b):
        return engine.raw_logic(name, as_tensor(a), as_tensor(b))

    function.__name__ = function.__qualname__ = "logical_" + name
    function.__doc__ = f"Elementwise {name} of two bool tensors."
    return public(function)


logical_and, logical_or, logical_xor = map(_logic, ("and", "or", "xor"))


@public
def logical_not(x):
    """Elementwise not of a bool tensor."""
    return engine.raw_not(as_tensor(x))


def _bitwise(name):
    def function(a, b):
        return engine.raw_bitwise(name, a, b)

    function.__name__ = function.__qualname__ = "bitwise_" + name
    function.__doc__ = f"""Elementwise {name} of the bits of two int64 tensors, or of two bool tensors; bool beside
    int64 becomes int64.

    Raises
    ------
    DTypeError
        An operand is float32 or float64.
    """
    return public(function, operator=name)


bitwise_and, bitwise_or, bitwise_xor = map(_bitwise, ("and", "or", "xor"))


@public(operator="invert")
def invert(x):
    """Elementwise not of the bits of an int64 tensor (-x - 1), or of a bool tensor.

    Examples
    --------
    >>> import cybackprop as cb
    >>> (~cb.tensor([0, 5])).tolist()
    [-1, -6]
    """
    x = as_tensor(x)
    if x.dtype.kind == "f":
        raise DTypeError(f"invert works on int64 and bool, not on {x.dtype}")
    return engine.raw_not(x) if x.dtype == np.bool_ else bitwise_xor(x, -1)


def _astype_vjp(record, g):
    return (cast(g, record.attrs["source"], record.attrs["source_weak"]),)


def _astype_jvp(record, tangents):
    return cast(tangents[0], record.attrs["dtype"], record.attrs["weak"])


def _astype_forward(x, dtype, weak, source, source_weak):
    return engine.with_weakness(engine.raw_cast(x, dtype), weak)


_astype = structured("astype", "(...) -> (...)", _astype_forward, _astype_vjp, _astype_jvp)


def cast(x, dtype, weak):
    """The values in a NumPy dtype, as a weak tensor or a strong one."""
    if dtype == x.dtype:
        return engine.with_weakness(x, weak)
    if dtype.kind != "f":
        return engine.with_weakness(engine.raw_cast(x, dtype), weak)
    return apply(_astype, (x,), {"dtype": dtype, "weak": weak, "source": x.dtype, "source_weak": engine.is_weak(x)})


engine.attach_operator("cast", cast)     # what a weak tensor goes through where it meets a strong one


@public(method=True)
def astype(x, dtype):
    """The values in another dtype; gradients pass between float32 and float64.

    Examples
    --------
    >>> import cybackprop as cb
    >>> (cb.tensor([1.0, 2.0]) > 1.5).astype("float32").mean().item()
    0.5
    """
    return cast(as_tensor(x), np.dtype(dtype), False)
