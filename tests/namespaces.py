"""Two modules of one source: in one the function is compiled, in the other it runs eagerly.  Nothing else differs."""

import collections
import contextvars
import functools
import random
import threading
import types
import warnings
import weakref

import numpy as np

import cybackprop as cb
from cybackprop._core.engine import Compiled

ROOTS = ("KEPT", "COUNTER", "LOG", "CACHE", "GEN", "RNG", "DICE", "SUM", "IDX", "MASK", "WEIGHT", "SELF", "RAW",
         "CELLS", "Base", "Obj", "X0", "X1", "X2", "X3", "X4", "p0", "p1", "p2")
STATIC = (bool, int, float, complex, str, bytes, type(None), type(...), np.generic, range, slice, np.dtype)


class Namespace:
    """A module of its own; `call` and `change` are what a test does."""

    def __init__(self, source, eager):
        self.names = vars(types.ModuleType("random_function"))
        self.eager = eager
        exec(source, self.names)

    def call(self, arguments):
        """(result or error's type, texts of warnings)."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                args = eval(f"({arguments},)", self.names)
                if self.eager:
                    with cb.eager():
                        result = self.names["f"](*args)
                else:
                    result = self.names["f"](*args)
            except Exception as error:   # AuditError too: what that call did stands
                result = getattr(error, "result", type(error))
                if isinstance(error, cb.AuditError):
                    warnings.warn(f"AuditError: {error}", RuntimeWarning, stacklevel=1)
        return result, [str(w.message) for w in seen if issubclass(w.category, RuntimeWarning)]

    def change(self, statement):
        """The type of its error, or None."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(statement, self.names)
        except Exception as error:
            return type(error).__name__

    def everything(self):
        """All that the function can reach."""
        seen = {}
        return [(name, contents(self.names[name], seen)) for name in ROOTS if name in self.names]

    def programs(self):
        """{program: its calls}."""
        return {id(p): (p, p.calls) for p in self.names["f"].programs}


def contents(x, seen=None):
    """What a thing consists of, as tuples: dtypes, bits, and which parts are one object."""
    seen = {} if seen is None else seen
    if isinstance(x, STATIC):
        return type(x).__name__, repr(x)
    if id(x) in seen:
        return "again", seen[id(x)][0]
    seen[id(x)] = len(seen), x           # which stays alive meanwhile
    if isinstance(x, cb.Tensor):
        value = x.detach().numpy()
        return type(x).__name__, str(value.dtype), value.shape, value.tobytes(), x.requires_grad, contents(x.grad, seen)
    if isinstance(x, np.ndarray):
        return "array", str(x.dtype), x.shape, x.tobytes()
    return (type(x).__name__, *(contents(part, seen) for part in parts(x)))


def parts(x):
    """What a thing is compared by."""
    kind = next((kind for kind in PARTS if isinstance(x, kind)), None)
    found = [] if kind is None else list(PARTS[kind](x))
    if isinstance(x, (set, frozenset)):
        found.sort(key=repr)
    own = getattr(x, "__dict__", {}) if not isinstance(x, (type, types.ModuleType, threading.local, Compiled)) else {}
    slots = [getattr(x, name, None) for name in getattr(type(x), "__slots__", ())]
    return [*found, *(part for item in own.items() for part in item), *slots]


def named(own):
    return [part for name, value in own.items() if not name.startswith("_") for part in (name, value)]


def cells(f):
    return [value for cell in f.__closure__ or () for value in PARTS[types.CellType](cell)]


PARTS = {
    types.CellType: lambda x: [x.cell_contents] if x != types.CellType() else [],
    types.FunctionType: lambda f: [f.__qualname__, f.__defaults__, f.__kwdefaults__, *cells(f)],
    types.MethodType: lambda m: [m.__func__, m.__self__],
    functools.partial: lambda p: [p.func, p.args, p.keywords],
    dict: lambda x: [part for item in x.items() for part in item],
    collections.ChainMap: lambda x: x.maps, types.MappingProxyType: lambda x: list(x.items()),
    (list, tuple, set, frozenset, collections.deque): list,
    type: lambda x: [x.__name__, *(named(vars(x)) if x.__module__ == "random_function" else [])],
    types.ModuleType: lambda x: named(vars(x)), threading.local: lambda x: named(vars(x)),
    contextvars.ContextVar: lambda x: [x.get()], weakref.ref: lambda x: [x()], property: lambda x: [x.fget],
    (staticmethod, classmethod): lambda x: [x.__func__], Compiled: lambda x: [x.function],
    random.Random: lambda x: [x.getstate()], np.random.Generator: lambda x: [repr(x.bit_generator.state)],
    types.BuiltinFunctionType: lambda x: [x.__name__],
}


def difference(function, counts):
    """What differs between compiled and eager before any warning, as text; None: nothing.

    counts: a Counter of calls that return, of those that were replays, of functions, of those that warned.
    """
    ours, theirs = Namespace(function.source, False), Namespace(function.source, True)
    counts["functions"] += 1
    warned = False
    for number, action in enumerate(function.actions):
        if isinstance(action, str):
            mine, other = ours.change(action), theirs.change(action)
        else:
            before = ours.programs()
            mine, texts = ours.call(function.calls[action])
            other, _ = theirs.call(function.calls[action])
            counts["calls"] += not isinstance(other, type)
            counts["replays"] += any(p.calls == before.get(i, (p, 0))[1] + 1 and p.calls & (p.calls - 1)
                                     for i, (p, _) in ours.programs().items())
            counts["warned"] += bool(texts) and not warned
            warned |= bool(texts)
        found = [("result", contents(mine), contents(other))]
        both = zip(ours.everything(), theirs.everything(), strict=True)
        found += [(name, now, then) for (name, now), (_, then) in both]
        for name, now, then in found:
            if now != then and not warned:
                return f"action {number}, {name}: {now} instead of {then}"
    return None
