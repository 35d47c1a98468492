"""Ordinary code whose surroundings change between calls: a compiled function does what it does eagerly."""

import abc
import argparse
import ast
import collections
import enum
import functools
import importlib
import operator
import sys
import threading
import types
import typing
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import train

X = np.array([0.5, -1.5, 2.0], "float32")
SCALE = 2.0
MODULE = types.ModuleType("attacked")
exec("""
store = {'scale': 2.0}
def __getattr__(name):
    if name != 'scale':
        raise AttributeError(name)
    return store[name]
""", MODULE.__dict__)
sys.modules["attacked"] = MODULE


def tensor(n):
    return cb.tensor([n, 1.0, 2.0])


def set_scale(value):
    global SCALE
    SCALE = value


VECTORIZED = np.frompyfunc(lambda v: SCALE, 1, 1)


class Plain:
    """A place for attributes."""

    rate = 3.0

    def caught(self):
        try:
            return self.late
        except:  # noqa: E722  (what is tested)
            return 1.0

    def of_global(self):
        return SCALE


class Fallback:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 2.0


class Stack(collections.UserList):
    """Its length is read by the library's code."""


class Space(argparse.Namespace):
    def total(self):
        return sum(value for _, value in self._get_kwargs())


class Visitor(ast.NodeVisitor):
    def visit_Name(self, node):
        return SCALE


class Made:
    def __new__(cls, x):
        made = object.__new__(cls)
        made.value = x * SCALE
        return made


class Kind(enum.Enum):
    LEAKY = 1

    def __call__(self, x):
        return x * SCALE


class Degrees(float):
    """A number with an attribute."""


@dataclass
class Config:
    k: float
    factor: typing.ClassVar[float] = 2.0

    def scaled(self):
        return self.k * self.factor * SCALE


class Pair(typing.NamedTuple):
    x: object

    def scaled(self):
        return self.x * SCALE


class Batch(dict):
    factor = 2.0

    def scaled(self):
        return self["x"] * self.factor


class Slow(Plain):
    rate = 2.0


class Fast(Plain):
    rate = 7.0


def thing(**attributes):
    made = Plain()
    vars(made).update(attributes)
    return made


def with_attribute(k):
    def g(x):
        return x
    g.k = k
    return g


def own_attribute():
    f = cb.compile(lambda x: x * f.k)
    f.k = 2.0
    return f, lambda: setattr(f, "k", 7.0)


def replaced(make):
    """Something with tensors or arrays in it is replaced by another of its kind."""
    def case():
        at = thing(held=make(2.0))
        return lambda x: x * next(iter(at.held.values() if isinstance(at.held, dict) else at.held)), lambda: setattr(
            at, "held", make(7.0))
    return case


def moved(make, change, read):
    """A container is changed in place."""
    def case():
        held = make()
        return lambda x: x * read(held), lambda: change(held)
    return case


def changed(f, *args):
    """A global number is changed."""
    def case():
        set_scale(2.0)
        return f, lambda: set_scale(7.0), *args
    return case


def attribute(make, name, f, *args):
    """An attribute is set."""
    def case():
        at = make()
        if isinstance(at, type):
            setattr(at, name, 2.0)
        return (lambda x, *more: f(x, at, *more)), lambda: setattr(at, name, 7.0), *args
    return case


def views():
    held = {"w": tensor(2.0)}
    view = types.MappingProxyType(held)
    return lambda x: x * view["w"], lambda: held.update(w=tensor(7.0))


def ordered():
    held = collections.OrderedDict(a=2.0, b=3.0)
    return lambda x: functools.reduce(lambda y, k: y * k + 1, held.values(), x), lambda: held.move_to_end("a")


def ordered_argument():
    held = collections.OrderedDict(a=X, b=X + 1)

    def f(_, given):
        return functools.reduce(lambda y, v: y * 2 + v, given.values()), list(given)
    return f, lambda: held.move_to_end("a"), held


def cleared():
    held = [2.0]
    rate = functools.lru_cache(lambda: held[0])

    def change():
        held[0] = 7.0
        rate.cache_clear()
    return lambda x: x * rate(), change


def dead():
    held = [thing(k=2.0)]
    ref = weakref.ref(held[0])
    return lambda x: x * (7.0 if ref() is None else ref().k), held.clear


def dict_replaced():
    at = thing(k=2.0)
    return lambda x: x * at.k, lambda: setattr(at, "__dict__", {"k": 7.0})


def class_replaced():
    at = Plain()
    return (lambda x, a: x * a.rate), lambda: setattr(at, "__class__", Fast), at


def module_case(f):
    def case():
        MODULE.store["scale"] = MODULE.number = 2.0

        def change():
            MODULE.store["scale"] = MODULE.number = 7.0
        return f, change
    return case


def registered():
    class Interface(abc.ABC):  # noqa: B024
        pass

    class Thing:
        pass
    at = Thing()
    return lambda x: x * (7.0 if isinstance(at, Interface) else 2.0), lambda: Interface.register(Thing)


def history():
    at = train.History()
    at.mine = [2.0]
    return lambda x: x * at.mine[-1], lambda: at.mine.append(7.0)


# name -> () -> (function, change, further arguments ...)
SCENARIOS = {
    "list of tensors replaced": replaced(lambda n: [tensor(n)]),
    "dict of tensors replaced": replaced(lambda n: {"w": tensor(n)}),
    "list of arrays replaced": replaced(lambda n: [X * n]),
    "deque of tensors moves on": moved(lambda: collections.deque([tensor(2.0), tensor(7.0)]), lambda d: d.rotate(1),
                                       lambda d: d[0]),
    "tensor under a key that is a tuple": moved(
        lambda: {("a", 1): tensor(2.0)}, lambda d: d.update({("a", 1): tensor(7.0)}), lambda d: d["a", 1]),
    "view of a dict": views,
    "order of an OrderedDict": ordered,
    "an OrderedDict as an argument": ordered_argument,
    "method of a dataclass argument": changed(lambda x, c: x * c.scaled(), Config(1.0)),
    "method of a namedtuple argument": changed(lambda x, p: p.scaled(), Pair(X)),
    "method of an enum's member": changed(lambda x, kind: kind(x), Kind.LEAKY),
    "class attribute of a dict argument": attribute(lambda: Batch, "factor", lambda x, _, b: b.scaled(), Batch(x=X)),
    "length of a UserList": moved(lambda: Stack([1]), lambda s: s.append(1), len),
    "base class that lists attributes": attribute(lambda: Space(a=2.0), "a", lambda x, at: x * at.total()),
    "base class that finds methods": changed(lambda x: x * Visitor().visit(ast.parse("a", mode="eval").body)),
    "__new__ reads a global": changed(lambda x: Made(x).value),
    "attribute instead of __getattr__": attribute(Fallback, "k", lambda x, at: x * at.k),
    "attribute appears, bare except": attribute(Plain, "late", lambda x, at: x * at.caught()),
    "attribute appears, its name known before": attribute(
        Plain, "late", lambda x, at: x * at.caught() * thing(late=3.0).late),
    "eval of a global": changed(lambda x: x * eval("SCALE")),
    "__getattr__ of a module": module_case(lambda x: x * MODULE.scale),
    "import_module": module_case(lambda x: x * importlib.import_module("attacked").number),
    "__dict__ of a module": module_case(lambda x: x * MODULE.__dict__["number"]),
    "__dict__ of a class": attribute(lambda: Slow, "rate", lambda x, at: x * at.__dict__["rate"]),
    "methodcaller": changed(lambda x: x * operator.methodcaller("of_global")(Plain())),
    "__dict__ is replaced": dict_replaced,
    "__class__ of an argument": class_replaced,
    "attribute of a number": attribute(lambda: Degrees(1.0), "k", lambda x, at: x * at * getattr(at, "k", 2.0)),
    "memoryview": moved(lambda: np.full(1, 2.0, "f4"), lambda a: a.fill(7.0), lambda a, m={}: m.setdefault(
        id(a), memoryview(a))[0]),
    "attribute of a Parameter": attribute(lambda: type("Own", (cb.nn.Parameter,), {"k": 2.0})(tensor(2.0)), "k",
                                          lambda x, at: x * at * at.k),
    "frompyfunc": changed(lambda x: x * float(VECTORIZED(1.0))),
    "cleared cache": cleared,
    "dead weak reference": dead,
    "registered class": registered,
    "an object of this package": history,
    "format": attribute(lambda: thing(k=2.0), "k", lambda x, at: x * float("{0.k}".format(at))),  # noqa: UP030, UP032
}


def run(compile, name):
    f, change, *args = SCENARIOS[name]()
    f = compile(f)
    out = [shown(f(X, *args)) for _ in range(5)]
    change()
    return out + [shown(f(X, *args)) for _ in range(2)]


def shown(tree):
    if isinstance(tree, (list, tuple)):
        return [shown(x) for x in tree]
    return repr(tree.numpy()) if isinstance(tree, cb.Tensor) else tree


def eagerly(f):
    f = cb.compile(f)

    def call(*args):
        with cb.eager():
            return f(*args)
    return call


@pytest.mark.filterwarnings("ignore:compile")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_change_is_seen(name):
    expected = run(eagerly, name)
    assert expected[4] != expected[5]
    assert run(cb.compile, name) == expected


def test_an_attribute_of_the_compiled_function():
    f, change = own_attribute()
    assert [f(X).numpy()[0] for _ in range(5)] == 5 * [1.0]
    change()
    assert f(X).numpy()[0] == 3.5


def test_functions_of_one_code_with_other_attributes():
    f = cb.compile(lambda x, g: g(x) * g.k)
    assert [f(X, with_attribute(k)).numpy()[0] for k in (2.0, 2.0, 2.0, 2.0, 2.0, 7.0)] == 5 * [1.0] + [3.5]


def test_keys_count_by_type():
    f = cb.compile(lambda x, d: functools.reduce(operator.mul, d, x))
    whole = np.arange(3)
    assert [f(whole, {key: 0}).dtype.name for key in (1, 1, 1, 1.0, 1)] == ["int64", "int64", "int64", f(
        whole, {1.0: 0}).dtype.name, "int64"]
    assert len(f.programs) == 2


def test_keywords_in_any_order():
    f = cb.compile(lambda x, z, a: x - z * 2 + a * 3)
    for _ in range(3):
        assert (f(X, z=X + 1, a=X + 2).numpy() == X - (X + 1) * 2 + (X + 2) * 3).all()


def test_each_thread_has_its_tensor():
    local = threading.local()
    f = cb.compile(lambda x: x * local.w)
    found = []

    def go(n):
        local.w = tensor(n)
        found.extend(f(X).numpy()[0] for _ in range(5))

    for n in (2.0, 7.0):
        thread = threading.Thread(target=go, args=(n,))
        thread.start()
        thread.join()
    assert found == 5 * [1.0] + 5 * [3.5]


def test_containers_keep_what_their_class_adds():
    class Rows(list):
        def __init__(self, name, *parts):
            super().__init__(parts)
            self.name = name

    f = cb.compile(lambda rows: rows[0] * len(rows.name))
    assert [f(Rows("ab", X)).numpy()[0] for _ in range(3)] == 3 * [1.0]


@pytest.mark.parametrize("make", [lambda: np.array(["2020-01-01"], "M8[D]"), lambda: np.array(["a", "b"])])
def test_arrays_that_are_no_tensors(make):
    things = make()
    f = cb.compile(lambda x, d: x * len(d))
    assert [f(X, things).numpy()[0] for _ in range(4)] == 4 * [len(things) / 2] and len(f.programs) == 1


def test_decorators_in_either_order():
    class Both:
        k = 2.0

        @cb.compile
        @staticmethod
        def static(x):
            return x * 2

        @cb.compile
        @classmethod
        def of_class(cls, x):
            return x * cls.k

    assert Both.static(X).numpy()[0] == Both().static(X).numpy()[0] == Both().of_class(X).numpy()[0] == 1.0


def test_an_eager_call_that_changes_a_list_of_arrays_says_so():
    f = cb.compile(lambda parts: parts.append(parts[0] * 2) or parts[-1])
    with cb.eager(), pytest.warns(RuntimeWarning, match="changes a container among its arguments"):
        assert f([X]).numpy()[0] == 1.0


@pytest.mark.filterwarnings("ignore:compile")
def test_a_long_chain_of_objects_ends_the_walk():
    first = None
    for _ in range(30000):
        first = thing(next=first, k=2.0)
    assert cb.compile(lambda x: x * first.next.k)(X).numpy()[0] == 1.0
    while first is not None:
        first = first.next


def test_a_list_of_the_callers_is_returned_itself():
    held = [1.0]
    f = cb.compile(lambda x: (x * 2, held))
    assert all(f(X)[1] is held for _ in range(4)) and len(f.programs) == 1
