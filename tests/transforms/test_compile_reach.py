"""What code names no path to is compared too: class attributes, what loops and `getattr` reach, methods that are
replaced, context variables."""

import collections
import contextvars
import threading
import types
import warnings

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn

X = np.array([0.5, -1.5, 2.0], "float32")
VARIABLE = contextvars.ContextVar("VARIABLE", default=2.0)
LOCAL = threading.local()
LOCAL.k = 2.0


class Meta(type):
    knob = 2.0


class Base(metaclass=Meta):
    scale = 2.0
    inner = types.SimpleNamespace(k=2.0)

    def go(self, x):
        return x * self.k

    def deeper(self, x):
        return x * 2

    def __call__(self, x):
        return x * self.k

    @staticmethod
    def static(x):
        return x * 2

    @classmethod
    def of_class(cls, x):
        return x * cls.scale


class Layer(Base):
    def __init__(self, k):
        self.k = k

    def deeper(self, x):
        return super().deeper(x) + 1

    @property
    def twice(self):
        return self.k * 2


class Other(Layer):
    scale = 9.0


class Slots:
    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k


class Forwarding:
    def __init__(self):
        self.__dict__["hidden"] = {"k": 2.0}

    def __getattr__(self, name):
        return self.__dict__["hidden"][name]


class Net(nn.Module):
    factor = 2.0

    def forward(self, x):
        return x * 2.0


class Counting:
    def __init__(self):
        self.calls, self.step, self.k, self.log = 0, 0, 2.0, []

    def use(self):
        self.calls += 1
        self.log.append(self.calls)


ONE, LAYERS = Layer(1.0), [Layer(1.0), Layer(2.0)]
TABLE = {"a": types.SimpleNamespace(a=2.0), "b": types.SimpleNamespace(a=3.0)}
SLOTS, QUEUE, FIXED = [Slots(1.0), Slots(2.0)], collections.deque([Layer(1.0)]), frozenset([Layer(1.0)])
NESTED = [[Layer(1.0)], {"q": (Layer(2.0),)}]
CHAIN = types.SimpleNamespace(k=1.0, next=types.SimpleNamespace(k=2.0, next=types.SimpleNamespace(k=3.0, next=None)))
ARRAYS = [types.SimpleNamespace(w=X.copy())]
FORWARDING, NETS = Forwarding(), [Net()]
INDEX, NAME = 1, "k"


def loop(x):
    for layer in LAYERS:
        x = x * layer.k
    return x


def loop_class(x):
    for layer in LAYERS:
        x = x * layer.scale
    return x


def loop_calls(x):
    for layer in LAYERS:
        x = layer(x)
    return x


def unpacked(x):
    a, b = LAYERS
    return x * a.k * b.k


def nested(x):
    for layer in [*NESTED[0], *NESTED[1]["q"]]:
        x = x * layer.k
    return x


def chain(x):
    node = CHAIN
    while node is not None:
        x, node = x * node.k, node.next
    return x


def matched(x):
    match ONE:
        case Layer(k=k):
            return x * k


def helper(x, k=2.0, *, m=3.0):
    return x * k * m


def plain(x):
    return x * 2


def other(x):
    return x * 5


CODE = plain.__code__


def at(holder, name, value, back=...):
    """A change of an attribute, and how it is undone: it is set to what it was, or deleted where it was not there."""
    old = vars(holder).get(name) if hasattr(holder, "__dict__") else getattr(holder, name)

    def undo():
        if old is None:
            delattr(holder, name)
        else:
            setattr(holder, name, old)

    return (lambda: setattr(holder, name, value)), undo


CASES = {
    "class attribute": (lambda x: x * Layer.scale, *at(Base, "scale", 5.0)),
    "class attribute, by the base": (lambda x: x * ONE.scale, *at(Base, "scale", 5.0)),
    "shadowed in a class": (lambda x: x * Other.inner.k + Layer.scale, *at(Layer, "scale", 5.0)),
    "shadowed in an object": (lambda x: x * ONE.scale, *at(ONE, "scale", 5.0)),
    "of the metaclass": (lambda x: x * Base.knob, *at(Meta, "knob", 5.0)),
    "object in a class": (lambda x: x * ONE.inner.k, *at(Base.inner, "k", 5.0)),
    "another class": (lambda x: x * ONE.scale, at(ONE, "__class__", Other)[0],
                      lambda: setattr(ONE, "__class__", Layer)),
    "in a class's dict": (lambda x: x * vars(Base)["scale"], *at(Base, "scale", 5.0)),
    "loop": (loop, *at(LAYERS[1], "k", 5.0)),
    "loop, class attribute": (loop_class, *at(Base, "scale", 5.0)),
    "loop, shadowed": (loop_class, *at(LAYERS[1], "scale", 5.0)),
    "loop over slots": (lambda x: sum((x * s.k for s in SLOTS), x), *at(SLOTS[1], "k", 5.0)),
    "loop over a deque": (lambda x: sum((x * s.k for s in QUEUE), x), *at(QUEUE[0], "k", 5.0)),
    "loop over a set": (lambda x: sum((x * s.k for s in FIXED), x), *at([*FIXED][0], "k", 5.0)),
    "loop over modules": (lambda x: sum((n(x) * n.factor for n in NETS), x), *at(Net, "factor", 5.0)),
    "comprehension": (lambda x: sum([x * layer.k for layer in LAYERS], x), *at(LAYERS[0], "k", 5.0)),
    "keys": (lambda x: sum((x * TABLE[k].a for k in TABLE), x), *at(TABLE["b"], "a", 5.0)),
    "values": (lambda x: sum((x * v.a for v in TABLE.values()), x), *at(TABLE["b"], "a", 5.0)),
    "items": (lambda x: sum((x * v.a for _, v in TABLE.items()), x), *at(TABLE["b"], "a", 5.0)),
    "unpacking": (unpacked, *at(LAYERS[1], "k", 5.0)),
    "dynamic subscript": (lambda x: x * LAYERS[INDEX].k, *at(LAYERS[1], "k", 5.0)),
    "containers in containers": (nested, *at(NESTED[1]["q"][0], "k", 5.0)),
    "a chain of objects": (chain, *at(CHAIN.next.next, "k", 5.0)),
    "match": (matched, *at(ONE, "k", 5.0)),
    "an array": (lambda x: sum((x * cb.tensor(a.w) for a in ARRAYS), x), *at(ARRAYS[0], "w", X * 2)),
    "getattr": (lambda x: x * getattr(ONE, "k"), *at(ONE, "k", 5.0)),                # noqa: B009
    "getattr, a class attribute": (lambda x: x * getattr(ONE, "scale"), *at(Base, "scale", 5.0)),        # noqa: B009
    "getattr by a global": (lambda x: x * getattr(ONE, NAME), *at(ONE, "k", 5.0)),
    "getattr, a default": (lambda x: x * getattr(ONE, "absent", 1.0), *at(ONE, "absent", 5.0)),
    "hasattr": (lambda x: x * (5 if hasattr(ONE, "absent") else 1), *at(ONE, "absent", 5.0)),
    "vars": (lambda x: x * vars(ONE)["k"], *at(ONE, "k", 5.0)),
    "vars, a new one": (lambda x: x * sum(vars(ONE).values()), *at(ONE, "more", 5.0)),
    "__dict__": (lambda x: x * ONE.__dict__["k"], *at(ONE, "k", 5.0)),
    "__getattr__": (lambda x: x * FORWARDING.k, lambda: FORWARDING.hidden.update(k=5.0),
                    lambda: FORWARDING.hidden.update(k=2.0)),
    "method of a class": (lambda x: ONE.go(x), *at(Base, "go", lambda self, x: x * 11)),
    "method, shadowed in a class": (lambda x: ONE.go(x), *at(Layer, "go", lambda self, x: x * 11)),
    "method of an object": (lambda x: ONE.go(x), *at(ONE, "go", lambda x: x * 11)),
    "method in a loop": (lambda x: sum((s.go(x) for s in LAYERS), x), *at(Base, "go", lambda self, x: x * 11)),
    "method of super": (lambda x: ONE.deeper(x), *at(Base, "deeper", lambda self, x: x * 11)),
    "special method": (loop_calls, *at(Base, "__call__", lambda self, x: x * 11)),
    "property": (lambda x: x * ONE.twice, *at(Layer, "twice", property(lambda self: 11.0))),
    "static method": (lambda x: Base.static(x), *at(Base, "static", staticmethod(lambda x: x * 11))),
    "class method": (lambda x: Base.of_class(x), *at(Base, "of_class", classmethod(lambda cls, x: x * 11))),
    "forward": (lambda x: NETS[0](x), *at(Net, "forward", lambda self, x: x * 11)),
    "defaults": (lambda x: helper(x), lambda: setattr(helper, "__defaults__", (5.0,)),
                 lambda: setattr(helper, "__defaults__", OLD_DEFAULTS)),
    "keyword defaults": (lambda x: helper(x), lambda: setattr(helper, "__kwdefaults__", {"m": 5.0}),
                         lambda: setattr(helper, "__kwdefaults__", OLD_KEYWORDS)),
    "a keyword default": (lambda x: helper(x), lambda: helper.__kwdefaults__.update(m=5.0),
                          lambda: helper.__kwdefaults__.update(m=3.0)),
    "code": (lambda x: plain(x), lambda: setattr(plain, "__code__", other.__code__),
             lambda: setattr(plain, "__code__", CODE)),
    "context variable": (lambda x: x * VARIABLE.get(), lambda: TOKENS.append(VARIABLE.set(5.0)),
                         lambda: VARIABLE.reset(TOKENS.pop())),
}
OLD_DEFAULTS, OLD_KEYWORDS, TOKENS = helper.__defaults__, helper.__kwdefaults__, []


def bits(f):
    return f(X).numpy().tobytes()


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_seen(name):
    f, change, undo = CASES[name]

    def tensors(x):
        return f(cb.tensor(x))

    compiled, before = cb.compile(tensors), bits(tensors)
    assert [bits(compiled) for _ in range(3)] == 3 * [before]
    assert [p.calls for p in compiled.programs] == [3]
    change()
    try:
        changed = bits(tensors)
        assert changed != before
        assert [bits(compiled) for _ in range(3)] == 3 * [changed]
    finally:
        undo()
    assert bits(compiled) == before
    assert len(compiled.programs) == (1 if name == "an array" else 2)        # an array is read anew


def test_what_is_named_and_read_is_no_reason_for_another_program():
    """Each of these functions, called ten times, is one program."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, (f, *_) in CASES.items():
            compiled = cb.compile(lambda x, f=f: f(cb.tensor(x)))
            for _ in range(10):
                bits(compiled)
            assert len(compiled.programs) == 1, name


def test_objects_in_an_argument():
    compiled, layers = cb.compile(lambda x, layers: sum((x * s.k for s in layers), x)), [Layer(1.0), Layer(2.0)]
    for k in (2.0, 2.0, 2.0, 5.0, 5.0, 5.0):
        layers[1].k = k
        assert compiled(cb.tensor(X), layers).numpy()[0] == X[0] * (2 + k)


def in_thread(f):
    results = []
    thread = threading.Thread(target=lambda: results.append(f()))
    thread.start()
    thread.join()
    return results[0]


def test_every_thread_has_its_own():
    def shown(value):
        VARIABLE.set(value)
        LOCAL.k = value
        return [compiled(cb.tensor(X)).numpy()[0] for compiled in (variable, local)]

    variable, local = cb.compile(lambda x: x * VARIABLE.get()), cb.compile(lambda x: x * LOCAL.k)
    for value in (3.0, 3.0, 3.0, 4.0, 4.0, 3.0):
        assert in_thread(lambda value=value: shown(value)) == 2 * [X[0] * value]


def test_what_no_code_mentions_is_no_place():
    things = [Counting(), Counting()]
    compiled = cb.compile(lambda x: sum((x * thing.k for thing in things), x))
    for n in range(12):
        things[1].unread = n
        assert compiled(cb.tensor(X)).numpy()[0] == X[0] * 5
    assert len(compiled.programs) == 1


def test_what_the_run_changes_is_named_once():
    things = [Counting(), Counting()]

    def f(x):
        for thing in things:
            thing.use()
            x = x * thing.k
        return x

    compiled = cb.compile(f)
    text = r"`things\[0\]\.calls`.*`things\[1\]\.calls`.*make it a cb.State"
    with pytest.warns(RuntimeWarning, match=text) as caught:
        for n in range(12):
            assert compiled(cb.tensor(X)).numpy()[0] == X[0] * 4
            assert [thing.calls for thing in things] == 2 * [n + 1] == [len(thing.log) for thing in things]
    assert compiled.programs == [] and len(caught) == 1


def test_each_of_thousands_of_objects_is_compared():
    things = [[Layer(1.0) for _ in range(50)] for _ in range(100)]
    compiled = cb.compile(lambda x: x * sum(s.k for row in things for s in row))
    for i, j in ((0, 0), (99, 49), (50, 3)):
        for _ in range(3):
            assert compiled(cb.tensor([1.0])).item() == sum(s.k for row in things for s in row)
        things[i][j].k += 1.0
    assert compiled(cb.tensor([1.0])).item() == 5003 and len(compiled.programs) == 4
