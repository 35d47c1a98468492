"""What NumPy's functions do with a Tensor: our op where there is one, else NumPy's own result, else an error.

NumPy calls `__array_ufunc__` and `__array_function__` where an argument is a Tensor.  A function without an op of ours
sees the values, as ``t.numpy()`` gives them (a recording ends there), unless an argument takes a gradient: a result in
floats would have none.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, as_operands
from cybackprop.ops import numpy_movement  # noqa: F401  # adds to numpy_functions
from cybackprop.ops.movement import reshape
from cybackprop.ops.numpy_functions import numpy_functions, stand_in
from cybackprop.ops.registry import public_functions

# ---- ufuncs

# NumPy's name -> ours where they differ, with underscores that of an operator; other ufuncs have the name of the op
NAMES = {"add": "__add__", "subtract": "__sub__", "multiply": "__mul__", "divide": "__truediv__", "power": "__pow__",
         "negative": "__neg__", "positive": "__pos__", "conjugate": "__pos__", "absolute": "__abs__",
         "fabs": "__abs__", "bitwise_and": "__and__", "bitwise_or": "__or__", "bitwise_xor": "__xor__",
         "invert": "__invert__", "floor_divide": "__floordiv__", "remainder": "__mod__", "left_shift": "__lshift__",
         "right_shift": "__rshift__", "arctan2": "atan2"}
# method of ufuncs -> {ufunc: the function that does it}
FOLDS = {"reduce": {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all",
                    "logical_or": "any"},
         "accumulate": {"add": "cumsum", "multiply": "cumprod"}}

operations: dict[Any, Callable[..., Any]] = {}           # our functions for ufuncs, once they were called


def _operator(name):
    """The operator of Tensors as a function; None where they have none."""
    forward, reflected = getattr(Tensor, name, None), getattr(Tensor, f"__r{name[2:]}", None)
    if forward is None or reflected is None:
        return forward
    return lambda a, b: forward(a, b) if isinstance(a, Tensor) else reflected(b, a)


def _is_numpys(ufunc):
    """Whether it is NumPy's; another library's may mean something else by the same name."""
    return getattr(np, ufunc.__name__, None) is ufunc


def _operation(ufunc):
    """Our function for a ufunc, or None."""
    if ufunc not in operations and _is_numpys(ufunc):
        ours = NAMES.get(ufunc.__name__, ufunc.__name__)
        found = _operator(ours) if ours.startswith("__") else public_functions.get(ours)
        if found is None:                # it may come later
            return None
        operations[ufunc] = found
    return operations.get(ufunc)


def array_ufunc(self, ufunc: Any, method: Any, *inputs, **kwargs) -> Any:
    """What NumPy asks for when a ufunc, or an operator of ndarray, meets a Tensor."""
    if not kwargs and method == "__call__" and ufunc in operations:
        return operations[ufunc](*inputs)
    name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    if method == "at" or any(out is not None for out in kwargs.pop("out", ())):
        raise TypeError(_writes(name, method))
    ours = _operation(ufunc)
    if ours is not None and method == "__call__":
        return _called(name, ours, inputs, kwargs, ())
    if ours is not None and method == "outer":
        a, b = as_operands(name, *inputs)
        return _called(name, ours, (reshape(a, a.shape + (1,) * b.ndim), b), kwargs, ())
    if method in FOLDS and _is_numpys(ufunc):
        fold = numpy_functions.get(FOLDS[method].get(ufunc.__name__, ""))
        if fold is not None:
            return _called(name, fold, inputs, {"axis": 0, **kwargs})
    return _from_values(name, getattr(ufunc, method), inputs, kwargs)


def _writes(name, method):
    if method == "at":
        return f"{name}: it writes in place, and the values of tensors never change; compute a new one (cb.where, +)"
    return (f"{name}: out=, or an in-place operator (array += tensor), would write a tensor's values where neither a "
            "gradient nor a compiled function finds them, or into a tensor, whose values never change; write "
            "y = array + tensor, State.assign for a state, or take tensor.numpy() outside of compiled functions")


def _called(name, f, args, kwargs, known=None):
    """f(*args, **kwargs), or an error that says which of NumPy's parameters it does not have."""
    if known is None:
        known = f.__code__.co_varnames[:f.__code__.co_argcount + f.__code__.co_kwonlyargcount]
    given = {}
    for key, value in kwargs.items():
        if value is np._NoValue or (key not in known and (value is None or _is_default(key, value))):
            continue
        if key not in known:
            raise TypeError(f"{name}: {key}= is not there for tensors; {ADVICE.get(key, 'leave it out')}, or use "
                            "NumPy on t.numpy() outside of compiled functions")
        given[key] = value
    return f(*args, **given)


# parameters that say what would happen without them
DEFAULTS = {"where": True, "casting": "same_kind", "order": "K", "subok": True}
ADVICE = {"where": "choose with cb.where", "dtype": "use astype on the operands", "casting": "use astype",
          "initial": "combine it with the result afterwards"}


def _is_default(key, value):
    return isinstance(value, (bool, str)) and value == DEFAULTS.get(key)


# ---- other functions

# these ask for shape and dtype only
FACTS = frozenset(("shape", "ndim", "size", "result_type", "can_cast", "common_type", "iscomplexobj", "isrealobj"))
# these write into their first argument
WRITERS = frozenset(("copyto", "put", "place", "putmask", "put_along_axis", "fill_diagonal"))


def array_function(self, function, types, args, kwargs) -> Any:
    """What NumPy asks for when one of its other functions meets a Tensor."""
    if not all(issubclass(t, (Tensor, np.ndarray)) for t in types):
        return NotImplemented            # another library's arrays may know more
    where = (function.__module__ or "numpy").replace("numpy", "np", 1)
    short = function.__name__ if where == "np" else ""
    name = f"{where}.{function.__name__}"
    if short in FACTS:
        return function(*_replaced(args, stand_in), **_replaced(kwargs, stand_in))
    if short in WRITERS and isinstance((*args, *kwargs.values())[0], Tensor):
        raise TypeError(f"{name}: it writes in place, and the values of tensors never change; make a new tensor with "
                        "cb.where, write a State with assign")
    if short in numpy_functions:
        result = _called(name, numpy_functions[short], args, kwargs)
        if result is not NotImplemented:
            return result
    elif short in public_functions:
        raise TypeError(f"{name}: use cb.{short}, whose parameters are not NumPy's")
    return _from_values(name, function, args, kwargs, short in WRITERS or kwargs.get("out") is not None)


def _replaced(x, replace):
    """x with replace(t) in place of each tensor, also inside lists, tuples and dicts."""
    if isinstance(x, Tensor):
        return replace(x)
    if isinstance(x, (list, tuple)):
        return [_replaced(part, replace) for part in x] if isinstance(x, list) else \
            tuple(_replaced(part, replace) for part in x)
    return {key: _replaced(part, replace) for key, part in x.items()} if isinstance(x, dict) else x


def _from_values(name, call, args, kwargs, writes=False):
    """NumPy's own result on the values, also one that it writes into an array."""
    found = []

    def values(t):
        found.append(t)
        return t.numpy()

    args, kwargs = _replaced(args, values), _replaced(kwargs, values)
    if not found:
        raise TypeError(f"{name}: it gets tensors one by one or in lists, tuples and dicts, and not as like=; "
                        "cb.tensor, cb.zeros and their like make tensors")
    linked = engine.is_grad_enabled() and any(t.requires_grad for t in found)
    result = None if linked and writes else call(*args, **kwargs)
    if linked and (writes or _takes_gradients(result)):
        raise TypeError(f"{name}: there is no such op, and NumPy's result would have no gradient; {_instead(name)}, or "
                        f"take the values on purpose: t.detach()")
    return result


def _takes_gradients(result):
    """Whether a result may hold floats; indices, truths, text and files have no derivative that could be lost."""
    if isinstance(result, (list, tuple)):
        return any(map(_takes_gradients, result))
    if isinstance(result, (np.ndarray, np.generic)):
        return result.dtype.kind not in "biuSUmM"
    return not (result is None or isinstance(result, (bool, int, str, bytes, np.dtype, type)))


# ---- what to write instead

FORMULAS = {"isnan": "x != x", "log2": f"cb.log(x) * {1 / math.log(2)!r}", "log10": f"cb.log(x) * {1 / math.log(10)!r}",
            "exp2": f"cb.exp(x * {math.log(2)!r})", "ceil": "-cb.floor(-x)", "tan": "cb.sin(x) / cb.cos(x)",
            "sinh": "(cb.exp(x) - cb.exp(-x)) / 2", "cosh": "(cb.exp(x) + cb.exp(-x)) / 2",
            "hypot": "cb.sqrt(a * a + b * b)", "norm": "cb.sqrt(cb.sum(x * x))", "outer": "a[:, None] * b",
            "diff": "x[1:] - x[:-1]", "flip": "x[::-1]", "expit": "cb.sigmoid(x)", "ptp": "cb.max(x) - cb.min(x)",
            "einsum": "transposes and @", "inner": "a @ b", "nonzero": "cb.where(condition, a, b)"}


def _instead(name):
    """What of ours comes close."""
    import difflib

    short = name.removesuffix(".reduce").removesuffix(".accumulate").rpartition(".")[2]
    if short in FORMULAS and short not in public_functions:
        return f"write {FORMULAS[short]}"
    close = difflib.get_close_matches(short, public_functions, cutoff=0.7)
    return "the closest ops are " + ", ".join(f"cb.{c}" for c in close) if close else "compose it of ops"


# ---- methods that only ndarray has

IN_PLACE = frozenset(("byteswap", "fill", "itemset", "partition", "put", "resize", "setfield", "setflags", "sort"))


class OnlyNumpys:
    """In the place of a method or attribute that ndarray has and Tensor has not: an AttributeError that says so."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        way = "the values of tensors never change: make new ones with cb.where or cb.full, write a State with assign" \
            if self.name in IN_PLACE else f"{_instead(self.name)}"
        raise AttributeError(f"a tensor has no {self.name}, which is ndarray's; {way}, or use t.numpy().{self.name} "
                             "outside of compiled functions (np.array(t) is a copy that can be written)")


def _directory(self) -> list[str]:
    return sorted(name for name in object.__dir__(self) if not isinstance(vars(Tensor).get(name), OnlyNumpys))


engine.attach_method("__array_ufunc__", array_ufunc)
engine.attach_method("__array_function__", array_function)
engine.attach_method("__dir__", _directory)
for _name in set(dir(np.ndarray)) - set(dir(Tensor)):
    if not _name.startswith("_"):
        engine.attach_method(_name, OnlyNumpys(_name))
