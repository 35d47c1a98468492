"""What a function can name outside is compared before each replay: a change is seen in the next call, and what did not
change is not recorded again."""

import collections
import functools
import gc
import sys
import types

import numpy as np
import pytest
from notes import notes, unseen

import cybackprop as cb
from cybackprop import nn

FACTOR = 2.0
SETTINGS = {"scale": 3.0, "deep": {"list": [1.0, 2.0]}, "name": "relu"}
TABLE = [1.0, [4.0, 5.0]]
ARRAY = np.array([1.0, 2.0, 3.0], "float32")
TENSOR = cb.tensor([1.0, 2.0, 3.0])
NOTHING = None
X = np.array([0.5, -1.5, 2.0], "float32")
Pair = collections.namedtuple("Pair", "first second")


class Thing:
    """A user's object."""

    kind = 1.5
    __slots__ = ("__dict__", "slot")

    def __init__(self, factor):
        self.factor, self.slot, self.parts = factor, 1.0, {"a": [1.0]}

    def method(self, x):
        return x * self.factor + self.kind

    def __call__(self, x):
        return x * self.slot * self.parts["a"][0]


THING = Thing(2.0)
SPACE = types.SimpleNamespace(k=1.0, inner=Thing(3.0))


def helper(x):
    return x * FACTOR


def closure(k):
    def inner(x):
        return x * k

    def put(value):
        nonlocal k
        k = value

    return inner, put


def nested(k):
    def middle():
        def inner(x):
            return x * k["deep"]
        return inner
    return middle()


def put(name, value):
    """A change of a global."""
    return lambda: globals().__setitem__(name, value)


def of(holder, name, value):
    """A change of an attribute."""
    return lambda: setattr(holder, name, value)


def item(holder, key, value):
    """A change of an item."""
    return lambda: holder.__setitem__(key, value)


INNER, PUT = closure(2.0)
FIRST, PUT_FIRST = closure(2.0)
SECOND, PUT_SECOND = closure(2.0)
DEEP = {"deep": 2.0}
ONE = cb.Parameter([1.0, 2.0, 3.0])
MODEL = nn.Sequential(nn.Dense(3, 9, rng=0), nn.Dropout(0.2, rng=1), nn.Activation("leaky_relu", negative_slope=0.1))
LOOP = [lambda x, i=i: x * (i + 1) for i in range(3)]
DEFAULTS = {"k": 2.0}


def with_default(x, k=FACTOR, settings=DEFAULTS):    # the mutable default is what is tested
    return x * k * settings["k"]


# name: (the function of x, [the change, how it is undone], programs afterwards)
CASES = {
    "global": (lambda x: x * FACTOR, put("FACTOR", 5.0), put("FACTOR", 2.0)),
    "another type of one value": (lambda x: x * (2 if isinstance(COUNT, int) else 3), put("COUNT", 1.0),
                                  put("COUNT", 1)),
    "another type in a list": (lambda x: x * (2 if FLAGS[0] is True else 3), item(FLAGS := [True], 0, 1),
                               item(FLAGS, 0, True)),
    "sign of zero": (lambda x: x * ZERO, put("ZERO", -0.0), put("ZERO", 0.0)),
    "sign of zero in a list": (lambda x: x * ZEROS[0], item(ZEROS := [0.0], 0, -0.0), item(ZEROS, 0, 0.0)),
    "global of a helper": (lambda x: helper(x) + 1, put("FACTOR", 5.0), put("FACTOR", 2.0)),
    "global None": (lambda x: x if NOTHING is None else x * NOTHING, put("NOTHING", 3.0), put("NOTHING", None)),
    "another function": (lambda x: FUNCTION(x), put("FUNCTION", cb.exp), put("FUNCTION", cb.tanh)),
    "dict": (lambda x: x * SETTINGS["scale"], item(SETTINGS, "scale", 7.0), item(SETTINGS, "scale", 3.0)),
    "dict, deep": (lambda x: x * SETTINGS["deep"]["list"][1], item(SETTINGS["deep"]["list"], 1, 7.0),
                   item(SETTINGS["deep"]["list"], 1, 2.0)),
    "dict, a name": (lambda x: getattr(cb, SETTINGS["name"])(x), item(SETTINGS, "name", "tanh"),
                     item(SETTINGS, "name", "relu")),
    "dict, get": (lambda x: x * SETTINGS.get("more", 1.0), item(SETTINGS, "more", 2.0), lambda: SETTINGS.pop("more")),
    "list": (lambda x: sum((x * t for t in TABLE[1]), x), item(TABLE[1], 0, 9.0), item(TABLE[1], 0, 4.0)),
    "list grows": (lambda x: x * len(TABLE), lambda: TABLE.append(1.0), lambda: TABLE.pop()),
    "attribute": (lambda x: x * THING.factor, of(THING, "factor", 5.0), of(THING, "factor", 2.0)),
    "attribute of a class": (lambda x: THING.method(x), of(Thing, "kind", 5.0), of(Thing, "kind", 1.5)),
    "slot": (lambda x: THING(x), of(THING, "slot", 5.0), of(THING, "slot", 1.0)),
    "an item in an attribute": (lambda x: THING(x), item(THING.parts["a"], 0, 5.0), item(THING.parts["a"], 0, 1.0)),
    "a method itself": (THING.method, of(THING, "factor", 5.0), of(THING, "factor", 2.0)),
    "an object itself": (THING, of(THING, "slot", 5.0), of(THING, "slot", 1.0)),
    "attribute of an attribute": (lambda x: x * SPACE.inner.factor, of(SPACE.inner, "factor", 5.0),
                                  of(SPACE.inner, "factor", 3.0)),
    "a part replaced": (lambda x: SPACE.inner(x), of(SPACE, "inner", cb.tanh), of(SPACE, "inner", SPACE.inner)),
    "closure": (INNER, lambda: PUT(5.0), lambda: PUT(2.0)),
    "closure inside": (lambda x: INNER(x) + 1, lambda: PUT(5.0), lambda: PUT(2.0)),
    "second closure of one kind": (lambda x: FIRST(x) + SECOND(x), lambda: PUT_SECOND(5.0), lambda: PUT_SECOND(2.0)),
    "nested closures": (nested(DEEP), item(DEEP, "deep", 5.0), item(DEEP, "deep", 2.0)),
    "partial": (functools.partial(lambda k, x: x * k["deep"], DEEP), item(DEEP, "deep", 5.0), item(DEEP, "deep", 2.0)),
    "default": (with_default, item(DEFAULTS, "k", 5.0), item(DEFAULTS, "k", 2.0)),
    "a list of functions": (lambda x: sum((f(x) for f in LOOP), x), item(LOOP, 1, cb.tanh), item(LOOP, 1, LOOP[1])),
    "module": (lambda x: MODEL(x), of(MODEL.layers[2], "options", {"negative_slope": 0.3}),
               of(MODEL.layers[2], "options", {"negative_slope": 0.1})),
    "a layer replaced": (lambda x: MODEL(x), item(MODEL.layers, 2, nn.Activation("tanh")),
                         item(MODEL.layers, 2, MODEL.layers[2])),
    "eval": (lambda x: MODEL(x), lambda: MODEL.eval(), lambda: MODEL.train()),
    "requires_grad": (lambda x: cb.sum(ONE * x), of(ONE, "requires_grad", False), of(ONE, "requires_grad", True)),
}
ZERO, COUNT = 0.0, 1
FUNCTION = cb.tanh


def call(f):
    """The bits of a call and whether it has a history; the model's dropout starts anew."""
    MODEL.layers[1].rng.state = 1, 2
    y = f(X)
    return y.numpy().tobytes(), y.requires_grad


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_seen(name):
    f, change, undo = CASES[name]

    def tensors(x):
        return f(cb.tensor(x))

    compiled, before = cb.compile(tensors), call(tensors)
    assert [call(compiled) for _ in range(3)] == 3 * [before]
    assert [p.calls for p in compiled.programs] == [3]
    try:
        change()
        changed = call(tensors)
        assert changed != before
        assert [call(compiled) for _ in range(3)] == 3 * [changed]
    finally:
        undo()
    assert call(compiled) == before
    assert len(compiled.programs) == 2   # the first program has served again


def test_a_closure_that_the_collector_has_set_aside_is_compared():
    compiled = cb.compile(lambda x: INNER(cb.tensor(x)) + 1)
    gc.freeze()
    try:
        before = call(compiled)
        PUT(5.0)
        assert call(compiled) != before
        assert gc.get_freeze_count()
    finally:
        PUT(2.0)
        gc.unfreeze()


# ---- the collector, and who else hooks into the interpreter, are left alone

def test_nothing_of_the_interpreter_is_taken():
    """Neither callbacks nor hooks nor the frozen heap, while recording or afterwards."""
    def state():
        return list(gc.callbacks), gc.isenabled(), gc.get_threshold(), sys.getprofile(), sys.gettrace()

    def seen_inside(x):
        note((state(), gc.get_freeze_count()))
        return x * 2

    note, seen = notes()
    before, compiled = state(), cb.compile(seen_inside)
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        for _ in range(4):
            compiled(cb.tensor(X))
            assert gc.get_freeze_count() > frozen / 2            # some die meanwhile
        assert [hooks for hooks, _ in seen] == 3 * [before] and state() == before
        assert all(count > frozen / 2 for _, count in seen)
    finally:
        gc.unfreeze()


def test_a_profile_function_of_the_users_stays():
    def profile(frame, event, arg):
        pass

    compiled, before = cb.compile(lambda x: helper(x) + 1), sys.getprofile()
    sys.setprofile(profile)
    try:
        for _ in range(3):
            assert call(compiled) == call(lambda x: helper(cb.tensor(x)) + 1)
            assert sys.getprofile() is profile
    finally:
        sys.setprofile(before)
    assert len(compiled.programs) == 1


TICKS, SEEN = 0, []


def tick(phase, info):
    """As callbacks of profilers and property-based tests do: measure how long a collection takes."""
    global TICKS
    if phase == "start":
        TICKS += 1
    else:
        SEEN.append(TICKS)


class Doomed:
    """Garbage that only a collection finds; its end reads a number that changes."""

    def __init__(self):
        self.me = self

    def __del__(self):
        SEEN.append(TICKS)


@pytest.mark.parametrize("callbacks", [[tick], []], ids=["a callback", "a finalizer"])
def test_what_runs_in_a_collection_is_no_place(callbacks):
    gc.collect()
    SEEN.clear()

    def f(x):
        Doomed()
        gc.collect()
        return x * 2

    g = cb.compile(f)
    before = gc.callbacks[:]
    gc.callbacks[:] = [*before, *callbacks]
    try:
        for n in range(4):
            tick("start", None)
            assert g(cb.tensor([n / 2])).tolist() == [n]
    finally:
        gc.callbacks[:] = before
    assert len(g.programs) == 1 and len(SEEN) >= 3 * (1 + len(callbacks))        # a recording and two audits


def test_what_a_callback_changes_is_seen_where_the_function_names_it():
    def f(x):
        collect(None)
        return x * TICKS

    collect, g = unseen(lambda _: gc.collect()), cb.compile(f)
    before = gc.callbacks[:]
    gc.callbacks.append(tick)
    try:
        with pytest.warns(RuntimeWarning, match="`TICKS` was changed by the call"):
            for _ in range(4):
                assert g(cb.tensor([1.0])).item() == TICKS
    finally:
        gc.callbacks[:] = before


def test_what_runs_after_a_collection_is_compared():
    def f(x):
        gc.collect()
        return x * LATER["now"]

    g = cb.compile(f)
    for value in (2.0, 3.0):
        LATER["now"] = value
        for _ in range(3):
            assert g(cb.tensor([1.0])).tolist() == [value]
    assert len(g.programs) == 2


LATER = {}
