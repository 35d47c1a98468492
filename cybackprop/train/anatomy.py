"""Anatomy: all that a training step can reach, in a fixed order, so that two of one kind can be laid side by side.

Two anatomies of equal `kind` have things of one type, number for number, in the same places: what is in the one at some
number is in the other at that number too.  What is data, the values of states, is not compared, and an optimizer's
numbers are such; what is no data is equal: numbers, strings, classes, code, flags.  What can't be looked into must be
the same object.
"""

import functools
import types
from collections.abc import Callable

import numpy as np

from cybackprop._core.engine import Parameter, State, Tensor
from cybackprop.nn.containers import ModuleDict, ModuleList
from cybackprop.ops.random import Generator
from cybackprop.optim.group import Group
from cybackprop.optim.optimizer import Optimizer

MOST_BYTES = 4096                        # arrays up to here may be equal, larger ones must be the same
MOST_FACTS = 50_000                      # beyond, who looks takes as long as who records
# of an optimizer: what `_optimizer` looks at otherwise, and what follows from the rest
OWN = {"defaults", "_groups", "steps", "moments", "numbers", "moment_names", "always", "_arranged", "_calls",
       "_watched", "_on"}


def in_library(name):
    """Whether a module is this package or NumPy."""
    return isinstance(name, str) and name.partition(".")[0] in ("cybackprop", "numpy")


class Anatomy:
    """What is reached from some roots.

    Attributes
    ----------
    kind : tuple
        Equal for those that may have each other's programs; compares ids of what both share, so it is for a while only.
    things : list
        Everything that can be referred to, once each.
    foreign : bool
        Whether there is anything in it that this package did not bring.

    Raises
    ------
    LookupError
        There is too much.
    """

    __slots__ = ("foreign", "kind", "things")

    def __init__(self, roots, opaque=()):
        self.things, self.foreign = [], False
        kind, things, number = [], self.things, {}
        todo = list(reversed(roots))
        while todo:
            x = todo.pop()
            what = type(x)
            if what in PLAIN:
                kind += (what, x)
            elif what is float:          # -0.0 is another number than 0.0, and a NaN is one
                kind += (what, x.hex())
            elif id(x) in number:
                kind += ("again", number[id(x)])
            else:
                number[id(x)] = len(things)
                things.append(x)
                if what in opaque:
                    things.append(vars(x))               # where a program has a place
                    kind.append(what)
                    continue
                facts, parts = (LOOKS.get(what) or _look_at(what))(self, x)
                kind += (what, facts, len(parts))
                todo += parts[::-1]
                if len(kind) + len(todo) > MOST_FACTS:
                    raise LookupError("too much can be reached")
        self.kind = tuple(kind)

    def _function(self, f):
        self.foreign |= not in_library(f.__globals__.get("__name__"))
        return ((id(f.__code__), id(f.__globals__)),
                [f.__defaults__, f.__kwdefaults__, *(f.__closure__ or ()), *([vars(f)] if vars(f) else ())])

    def _cell(self, cell):
        try:
            return None, [cell.cell_contents]
        except ValueError:
            return "empty", []

    def _method(self, method):
        return None, [method.__func__, method.__self__]

    def _partial(self, p):
        return None, [p.func, p.args, p.keywords]

    def _list(self, items):
        return None, list(items)

    def _dict(self, items):
        if all(type(k) is str for k in items):
            return tuple(items), list(items.values())
        return None, [*items, *items.values()]

    def _state(self, t):
        return (t.dtype, t.shape, t.requires_grad, t.grad is None), list(t.hooks)

    def _array(self, a):
        if a.nbytes > MOST_BYTES or getattr(a, "record", None) is not None or a.dtype.hasobject:
            return id(a), []
        return (a.dtype, a.shape, np.asarray(a).tobytes()), []

    def _number(self, x):
        return x.tobytes() if isinstance(x, np.generic) else repr(x), []

    def _generator(self, g):
        return None, [g.cell]

    def _instance(self, x):
        self.foreign |= not in_library(type(x).__module__)
        self.things.append(vars(x))      # where its numbers are guarded
        return self._dict(vars(x))

    def _optimizer(self, o):
        self.foreign |= not in_library(type(o).__module__)
        self.things.append(vars(o))
        members = o.parameters()
        self.things += [o.steps[id(p)] for p in members]
        moments = [m for p in members for m in o.moments[id(p)]]
        self.things += [m for m in moments if m is not None]     # their shapes are seen to where programs hold them
        rest = {k: v for k, v in vars(o).items() if k not in OWN}
        return (*rest, *(m is None for m in moments)), [*rest.values(), o.param_groups]

    def _group(self, g):
        self.things += g._cells.values()
        return (*g._cells, None, *g), list(g._others.values())

    def _same(self, x):
        self.foreign |= not (isinstance(x, KNOWN) and in_library(getattr(x, "__module__", None) or "numpy"))
        return id(x), []


PLAIN = {bool, int, str, bytes, type(None), type(...)}
KNOWN = (type, types.BuiltinFunctionType, types.ModuleType, np.ufunc, np.dtype)
LOOKS: dict[type, Callable[..., tuple]] = {
    types.FunctionType: Anatomy._function, types.CellType: Anatomy._cell, types.MethodType: Anatomy._method,
    functools.partial: Anatomy._partial, State: Anatomy._state, Parameter: Anatomy._state, Tensor: Anatomy._array,
    np.ndarray: Anatomy._array, complex: Anatomy._number, Generator: Anatomy._generator, Group: Anatomy._group,
    list: Anatomy._list, tuple: Anatomy._list, ModuleList: Anatomy._list, dict: Anatomy._dict,
    ModuleDict: Anatomy._dict}


class _Plain:
    pass


@functools.lru_cache(256)
def _look_at(what):
    """How things of a type are looked at that is not in LOOKS."""
    if issubclass(what, np.generic):
        return Anatomy._number
    if any("__slots__" in vars(c) for c in what.__mro__) or what.__basicsize__ != _Plain.__basicsize__:
        return Anatomy._same             # there is more to it than its attributes
    return Anatomy._optimizer if issubclass(what, Optimizer) else Anatomy._instance
