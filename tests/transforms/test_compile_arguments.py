"""Arguments of compiled functions: what is a tensor inside, what counts by its value, what is taken apart.

The oracle is the plain function of tensors, and NumPy's promotion for dtypes.
"""

import array
import collections
import contextlib
import dataclasses
import enum
import functools

import numpy as np
import pytest
from notes import notes
from samples import same_bits

import cybackprop as cb

F = np.random.default_rng(31)
X = cb.tensor([1.0, -2.0, 3.0])
Pair = collections.namedtuple("Pair", "first second")


class Arrayed:
    """Not an array, but knows how to become one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype or self.values.dtype)


class Exchanged:
    """Of another package, which hands out memory by the protocol."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


def draw(dtype="float32"):
    return F.normal(size=3).astype(dtype)


ARRAYS = {                               # what makes one, what NumPy has of it
    "ndarray": (draw, np.asarray),
    "float64": (lambda: draw("float64"), np.asarray),
    "bool": (lambda: draw() > 0, np.asarray),
    "uint8": (lambda: F.integers(0, 9, 3).astype("uint8"), np.asarray),
    "np.float32": (lambda: draw()[0], np.asarray),
    "np.float64": (lambda: draw("float64")[0], np.asarray),
    "np.float16": (lambda: draw("float16")[0], np.asarray),
    "memoryview": (lambda: memoryview(draw()), np.asarray),
    "array.array": (lambda: array.array("d", draw()), np.asarray),
    "bytearray": (lambda: bytearray(b"abc"), np.asarray),
    "__array__": (lambda: Arrayed(draw()), lambda x: x.values),
    "__dlpack__": (lambda: Exchanged(draw()), lambda x: x.values),
}
NESTS = {
    "alone": (lambda x: x, lambda t: t), "in a list": (lambda x: [x], lambda t: t[0]),
    "in a tuple in a dict": (lambda x: {"a": (1, x)}, lambda t: t["a"][1]),
    "in a named tuple": (lambda x: Pair(None, x), lambda t: t.second),
}


def expected(x):
    """NumPy's 2 x, in the dtype that a tensor has."""
    y = x * 2
    return np.asarray(y, "int64" if y.dtype.kind in "biu" else "float64" if y.itemsize == 8 else "float32")


@pytest.mark.parametrize("how", ["compiled", "eager", "given up"])
@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_tensors_inside(kind, nest, how):
    (make, numpy), (wrap, find) = ARRAYS[kind], NESTS[nest]
    note, seen = notes()

    def f(tree):
        note(type(find(tree)))
        return find(tree) * 2

    compiled = cb.compile(f)
    if how == "given up":
        with pytest.warns(RuntimeWarning, match="as told"):
            compiled.history.give_up("as told")
    with cb.eager() if how == "eager" else contextlib.nullcontext():
        for _ in range(5):
            x = make()
            y = compiled(wrap(x))
            assert isinstance(y, cb.Tensor) and same_bits(y, expected(numpy(x)))
    assert set(seen) == {cb.Tensor} and len(seen) == (3 if how == "compiled" else 5)
    assert len(compiled.programs) == (1 if how == "compiled" else 0)


class Colour(enum.Enum):
    RED, BLUE = 1, 2


@dataclasses.dataclass(frozen=True)
class Options:
    width: int
    name: str = "a"


NAN = float("nan")
STATIC = [                               # each by its value and type: these are all different
    0, 1, 2, True, False, 0.0, -0.0, 1.0, NAN, -1.0, 1j, None, ..., "1", b"1", "a", Colour.RED, Colour.BLUE,
    np.int64(1), np.int32(1), np.bool_(True), slice(1), slice(1, None), slice(0, 1), slice(1.0), slice(True), range(1),
    range(2), (1,), [1], (True,), (1.0,), (-0.0,), (0.0,), (1, 2), Pair(1, 2), {"a": 1}, {"a": True}, {"b": 1},
    Options(1), Options(2), Options(1, "b"), Options(True), (Options(1),), [],
]


def same_again(value):
    """The same value, another object where there can be one."""
    if isinstance(value, float):
        return float(str(value))
    if isinstance(value, (slice, range)):
        return eval(repr(value))
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value)
    if isinstance(value, str):
        return "".join(list(value))
    return type(value)(value) if type(value) in (list, tuple, dict, bytes, np.int64, np.int32, np.bool_) else value


def test_statics_count_by_value_and_type():
    def f(x, k):
        return x * 2, type(k).__name__, repr(k)

    compiled = cb.compile(f)
    for round_ in range(2):
        for number, value in enumerate(STATIC):
            for _ in range(3):
                k = same_again(value)
                y, *text = compiled(X, k)
                assert same_bits(y, X.numpy() * 2) and text == [type(value).__name__, repr(value)]
            assert len(compiled.programs) == (len(STATIC) if round_ else number + 1), value


def scaled(k):
    return lambda x: x * k


def with_default(k):
    return lambda x, k=k: x * k


class Scaler:
    def __init__(self, k):
        self.k = k

    def method(self, x):
        return x * self.k


SCALERS = {k: Scaler(k) for k in (2.0, 3.0)}
MADE_ANEW = {                            # functions made at each call: (what makes one, programs for k = 2 and then 3)
    "lambda": (lambda k: (lambda x: x * 2 + 1), 1),
    "closure": (scaled, 2),
    "closure in a closure": (lambda k: scaled(k), 2),
    "default": (with_default, 2),
    "partial": (lambda k: functools.partial(lambda k, x: x * k, k), 2),
    "partial, by keyword": (lambda k: functools.partial(lambda x, k: x * k, k=k), 2),
    "partial of a closure": (lambda k: functools.partial(scaled(k)), 2),
    "method": (lambda k: SCALERS[k].method, 2),
    "in a tuple": (lambda k: (scaled(k), 1)[0], 2),
    "operation": (lambda k: cb.tanh, 1),
}


@pytest.mark.parametrize("name", MADE_ANEW)
def test_functions_made_at_each_call(name):
    make, programs = MADE_ANEW[name]
    compiled = cb.compile(lambda x, f: f(x))
    for k in (2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0, 3.0):
        assert same_bits(compiled(X, make(k)), make(k)(X))
    assert len(compiled.programs) == programs


def test_a_function_made_inside_and_one_that_a_place_holds():
    """Replaced by one of the same code and cells they are no change."""
    holder = Scaler(None)
    compiled = cb.compile(lambda x: holder.k(x))
    for k in (2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0):
        holder.k = scaled(k)
        assert same_bits(compiled(X), X.numpy() * np.float32(k))
    assert len(compiled.programs) == 2


class Thing:
    def __init__(self, k):
        self.k = k


def test_other_objects_count_by_identity_and_their_attributes_are_places():
    compiled, a, b = cb.compile(lambda x, thing: x * thing.k), Thing(2.0), Thing(2.0)
    for thing, k in ((a, 2.0), (a, 2.0), (b, 2.0), (b, 7.0), (a, 2.0), (a, 3.0), (a, 3.0), (b, 7.0)):
        thing.k = k
        for _ in range(2):
            assert same_bits(compiled(X, thing), X.numpy() * np.float32(k))
    assert len(compiled.programs) == 4


@dataclasses.dataclass
class Batch:
    rows: np.ndarray
    scale: float = 2.0
    more: object = None


def test_dataclasses_are_trees():
    note, seen = notes()

    def f(batch):
        note((type(batch), type(batch.rows), type(batch.more.rows)))
        return batch.rows * batch.scale + batch.more.rows

    compiled = cb.compile(f)
    for scale in (2.0, 2.0, 2.0, 3.0, 3.0):
        x, y = draw(), draw()
        assert same_bits(compiled(Batch(x, scale, Batch(y))), x * np.float32(scale) + y)
    assert len(compiled.programs) == 2 and set(seen) == {(Batch, cb.Tensor, cb.Tensor)}


def test_a_container_without_arrays_is_handed_over_itself():
    note, seen = notes()
    compiled, table = cb.compile(lambda x, t: (note(t), x * t["k"][0])[1]), {"k": [2.0]}
    for _ in range(3):
        compiled(X, table)
    assert len(seen) == 2 and all(t is table for t in seen)


def test_what_the_call_does_to_containers_of_its_arguments():
    """One that is its caller's changes with the call, and would not with a replay; one of arrays does not even then."""
    def grows(x, log):
        log.append(len(log))
        return x * 2

    log, compiled = [], cb.compile(grows)
    with pytest.warns(RuntimeWarning, match="changes a container among its arguments.*return what is new") as caught:
        for n in range(3):
            assert same_bits(compiled(X, log), X.numpy() * 2) and log == list(range(n + 1))
        for _ in range(3):
            fresh = []
            assert same_bits(compiled(X, fresh), X.numpy() * 2) and fresh == [0]
    assert compiled.programs == [] and len(caught) == 1
    for how in (contextlib.nullcontext, cb.eager):
        compiled = cb.compile(grows)
        with how(), pytest.warns(RuntimeWarning, match="changes a container .*among its arguments.*return what is new"):
            for _ in range(3):
                assert same_bits(compiled(X, [draw()]), X.numpy() * 2)
        assert compiled.programs == []


WEAK, STRONG = cb.tensor([1.0, 2.0, 3.0]), cb.tensor(np.array([1.0, 2.0, 3.0]))
DTYPES = {                               # (function, arguments, dtype of the result)
    "float64 beside a float32 tensor": (lambda a: a * WEAK, ["float64"], "float32"),
    "float32 beside a float64 tensor": (lambda a: a * STRONG, ["float32"], "float64"),
    "uint8 beside a float32 tensor": (lambda a: a * WEAK, ["uint8"], "float32"),
    "bool beside a float64 tensor": (lambda a: a * STRONG, ["bool"], "float64"),
    "float64 alone": (lambda a: a * 2.5 + 1, ["float64"], "float64"),
    "float16 alone": (lambda a: a * 2, ["float16"], "float32"),
    "two arrays": (lambda a, b: a * b, ["float32", "float64"], "float64"),
    "made of weak ones, beside a tensor": (lambda a, b: (a * b + 1) * WEAK, ["float32", "float64"], "float32"),
    "an integer and a float": (lambda a, b: a * b, ["int64", "float32"], "float64"),
    "a scaled image": (lambda a: (a / 255) * WEAK, ["uint8"], "float32"),
    "one minus a flag": (lambda a: (1 - a) * WEAK, ["float64"], "float32"),
}


@pytest.mark.parametrize("name", DTYPES)
def test_arrays_are_weak_inside(name):
    f, dtypes, dtype = DTYPES[name]
    compiled, debugged = cb.compile(f), cb.compile(f)
    for _ in range(4):
        args = [np.abs(4 * F.normal(size=3)).astype(d) for d in dtypes]
        y = compiled(*args)
        with cb.eager():
            z = debugged(*args)
        assert y.dtype == dtype and same_bits(y, z)
    assert len(compiled.programs) == 1


def test_weakness_ends_at_the_return():
    """What comes out is of its own dtype, for whatever it meets then, recorded, audited and replayed alike."""
    compiled, x = cb.compile(lambda x: x * 2), draw("float64")
    found = set()
    for _ in range(4):
        y = compiled(x)
        with pytest.raises(TypeError, match="float64 meets float32"):
            y * WEAK
        found.add(str(y.dtype))
    assert found == {"float64"}


def test_numbers_are_leaves_for_derivatives():
    compiled = cb.compile(cb.grad(lambda k, x: cb.sum(x * k * k)))
    for k in (2.0, 2.0, 2.0, 3.0, 3.0):
        assert compiled(k, X).item() == 2 * k * 2.0
    assert len(compiled.programs) == 2


def test_decisions_on_arguments_are_branches():
    def f(x, done):
        y = x * (1 - done)
        return y * 10 if y.max() > 2 else y + 1

    compiled, debugged = cb.compile(f), cb.compile(f)
    for k in (1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 1.0, 5.0):
        x, done = np.array([k, 0.5, -k], "float32"), np.array([False, True, False])
        y = compiled(x, done)
        with cb.eager():
            assert same_bits(y, debugged(x, done))
        kept = x * (1 - done)
        assert same_bits(y, kept * 10 if k > 2 else kept + 1)
    assert len(compiled.programs) == 2
