"""Pickles and copies of compiled functions, and of objects whose methods are compiled: nothing of a recording shows."""

import copy
import dataclasses
import gc
import json
import pickle
import subprocess
import sys
import types
import weakref

import pytest

import cybackprop as cb
from cybackprop import nn

X = cb.tensor([1.0, 2.0])


class Plain:
    def __init__(self, factor=2.0):
        self.factor = factor

    @cb.compile
    def scaled(self, x):
        return x * self.factor

    @cb.compile
    def shifted(self, x):
        return x + self.factor


class Compared(Plain):
    def __eq__(self, other):
        return vars(self) == vars(other)


class Space(types.SimpleNamespace):
    """Equal where its attributes are."""

    def __init__(self, factor=2.0):
        super().__init__(factor=factor)

    scaled, shifted = Plain.scaled, Plain.shifted


@dataclasses.dataclass
class Data:
    factor: float = 2.0

    scaled, shifted = Plain.scaled, Plain.shifted


class Layer(nn.Module):
    def __init__(self, factor=2.0):
        self.factor = factor

    scaled, shifted = Plain.scaled, Plain.shifted


CLASSES = (Plain, Compared, Space, Data, Layer)
CLASS = pytest.mark.parametrize("cls", CLASSES)
CLONES = {"pickle": lambda x: pickle.loads(pickle.dumps(x)), "deepcopy": copy.deepcopy, "copy": copy.copy}
CLONE = pytest.mark.parametrize("clone", CLONES.values(), ids=CLONES)


def used(thing):
    """It, after three calls of each method: recorded, audited, replayed."""
    for _ in range(3):
        assert thing.scaled(X).tolist() == [thing.factor, 2 * thing.factor]
        assert thing.shifted(X).tolist() == [1 + thing.factor, 2 + thing.factor]
    assert len(thing.scaled.programs) == len(thing.shifted.programs) == 1
    return thing


@CLASS
def test_attributes_are_those_that_people_gave(cls):
    thing = used(cls())
    assert vars(thing) == {"factor": 2.0} and json.dumps(vars(thing)) == '{"factor": 2.0}'
    assert set(dir(thing)) - set(dir(cls)) <= {"factor"}


@pytest.mark.parametrize("cls", [Compared, Space, Data])
def test_equality_and_repr_do_not_change_by_a_call(cls):
    thing, new = used(cls()), cls()
    assert thing == new and new == thing and thing != cls(3.0)
    if cls is not Compared:
        assert repr(thing) == repr(new)
    if cls is Data:
        assert dataclasses.asdict(thing) == {"factor": 2.0} and dataclasses.replace(thing, factor=4.0) == cls(4.0)


@CLASS
@CLONE
def test_each_copy_records_for_itself(cls, clone):
    thing = used(cls())
    program = thing.scaled.programs[0]
    twin = clone(thing)
    assert type(twin) is cls and vars(twin) == {"factor": 2.0}
    assert twin.scaled is not thing.scaled and twin.scaled.programs == []
    twin.factor = 5.0
    used(twin)
    assert thing.factor == 2.0 and thing.scaled.programs == [program]
    assert program not in twin.scaled.programs
    used(thing)
    assert thing.scaled.programs == [program] and vars(twin) == {"factor": 5.0}


@CLASS
def test_a_pickle_has_no_trace_of_a_call(cls):
    assert pickle.dumps(used(cls())) == pickle.dumps(cls())


@CLASS
def test_what_has_been_called_is_freed(cls):
    """Nothing but its owner holds it; its programs go with it."""
    thing = used(cls())
    ref, program = weakref.ref(thing), weakref.ref(thing.scaled)
    del thing
    gc.collect()
    assert ref() is None and program() is None


@CLASS
def test_a_method_stays_the_same_object(cls):
    """Else each call would record anew."""
    thing = cls()
    assert thing.scaled is thing.scaled and thing.scaled is not cls().scaled


# ---- a compiled function as an attribute

class Holder:
    """Compiles a method of its own, and a function of the module."""

    def __init__(self):
        self.factor = 2.0
        self.fast, self.function = cb.compile(self.slow), cb.compile(double, audit=7, reuse_results=True)

    def slow(self, x):
        return x * self.factor


def double(x):
    return x * 2


@pytest.mark.parametrize("clone", [CLONES["pickle"], CLONES["deepcopy"]], ids=["pickle", "deepcopy"])
def test_a_compiled_method_in_an_attribute_is_the_copy_s(clone):
    thing = Holder()
    for _ in range(3):
        thing.fast(X), thing.function(X)
    twin = clone(thing)
    assert twin.fast.programs == [] and twin.fast.function.__self__ is twin
    twin.factor = 5.0
    assert [twin.fast(X).tolist() for _ in range(3)] == 3 * [[5.0, 10.0]]
    assert [thing.fast(X).tolist() for _ in range(3)] == 3 * [[2.0, 4.0]]
    assert twin.function.programs == [] and twin.function.function is double


# ---- functions

@cb.compile
def tripled(x):
    return x * 3


doubled = cb.compile(double, audit=7, reuse_results=True)          # a name of its own beside the function's


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
@pytest.mark.parametrize("f", [tripled, doubled, cb.compile(lambda x: x * 3)], ids=["decorated", "wrapped", "lambda"])
def test_a_copy_of_a_function_has_recorded_nothing(f, clone):
    for _ in range(3):
        f(X)
    programs = list(f.programs)
    twin = clone(f)
    assert type(twin) is type(f) and twin is not f and twin.programs == [] and twin.function is f.function
    assert (twin.audit_every, twin.reuse_results) == (f.audit_every, f.reuse_results)
    assert (twin.__name__, twin.__doc__, twin.__wrapped__) == (f.__name__, f.__doc__, f.__wrapped__)
    assert [twin(X).tolist() for _ in range(3)] == 3 * [f(X).tolist()]
    assert f.programs == programs and len(twin.programs) == 1 and twin.programs[0] not in programs


def test_a_decorated_function_is_pickled_by_its_name():
    """As any function is: here it is the same one again."""
    tripled(X)
    assert pickle.loads(pickle.dumps(tripled)) is tripled


def test_a_wrapped_function_is_pickled_with_its_options():
    doubled(X)
    twin = pickle.loads(pickle.dumps(doubled))
    assert twin is not doubled and twin.programs == [] and twin.function is double
    assert (twin.audit_every, twin.reuse_results) == (7, True) and twin(X).tolist() == [2.0, 4.0]


def test_what_has_no_name_in_a_module_is_refused():
    for f in (cb.compile(lambda x: x), cb.compile(lambda x: x * 2, audit=3)):
        f(X)
        with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
            pickle.dumps(f)


MODULE = """
import cybackprop as cb

@cb.compile
def tripled(x):
    return x * 3

def double(x):
    return x * 2

doubled = cb.compile(double, audit=7)

class Plain:
    factor = 4.0

    @cb.compile
    def scaled(self, x):
        return x * self.factor
"""
SCRIPT = """
import pickle, sys
import cybackprop as cb
things = pickle.load(sys.stdin.buffer)
assert "module_of_a_pickle" in sys.modules
tripled, doubled, plain = things
assert tripled.programs == doubled.programs == plain.scaled.programs == [] and doubled.audit_every == 7
for _ in range(3):
    print([f(cb.tensor([1.0])).item() for f in (tripled, doubled, plain.scaled)])
"""


def test_in_a_fresh_process(tmp_path, monkeypatch):
    (tmp_path / "module_of_a_pickle.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    import module_of_a_pickle as m
    things = m.tripled, m.doubled, m.Plain()
    for _ in range(3):
        [f(X) for f in (m.tripled, m.doubled, things[2].scaled)]
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=pickle.dumps(things), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\n") == 3 * ["[3.0, 2.0, 4.0]"] + [""]
    del sys.modules["module_of_a_pickle"]
