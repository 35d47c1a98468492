"""compile: arguments and results of every kind, branches, paths, batches.

The oracle is the function itself: of the same arguments, or, where it does with them what only tensors do, of tensors.
"""

import collections
import contextlib
import copy
import functools
import gc
import sys
import warnings
import weakref

import numpy as np
import pytest
from notes import notes
from samples import same_bits

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.transforms.history import MOST_WASTED

Pair = collections.namedtuple("Pair", "first second")
F = np.random.default_rng(3)
ROWS = F.normal(size=(4, 3)).astype("float32")


def flat(tree):
    """The leaves of a nest, with what holds them."""
    if isinstance(tree, dict):
        return [("dict", *tree), *(x for v in tree.values() for x in flat(v))]
    if isinstance(tree, (list, tuple)):
        return [type(tree), *(x for v in tree for x in flat(v))]
    return [(np.asarray(tree).tobytes(), tree.shape, tree.dtype) if isinstance(tree, cb.Tensor) else tree]


def agree(f, calls, programs):
    """A compiled function gives what the function gives, call by call, and makes that many programs."""
    compiled = cb.compile(f)
    for args, kwargs in calls:
        assert flat(compiled(*args, **kwargs)) == flat(f(*args, **kwargs))
    assert len(compiled.programs) == programs
    return compiled


def draws(n, *shape, dtype="float32"):
    return [F.normal(size=shape).astype(dtype) for _ in range(n)]


# name: (function, what makes the arguments of a call of a number), one program for all of them
ARGUMENTS = {
    "arrays": (lambda x, y: cb.add(x, y), lambda i: (draws(2, 3), {})),
    "tensors": (lambda x, y: x + y, lambda i: ([cb.tensor(a) for a in draws(2, 3)], {})),
    "named": (lambda x, *, y: cb.sub(x, y), lambda i: (draws(1, 3), {"y": draws(1, 3)[0]})),
    "in another order": (lambda x, y, z: cb.tensor(x) - y * 2 + z, lambda i: (draws(1, 3), dict(
        zip("yz" if i % 2 else "zy", map(cb.tensor, draws(2, 3)), strict=True)))),
    "a dict": (lambda d: cb.sub(d["a"], d["b"]), lambda i: ([dict(zip("ab", draws(2, 3), strict=True))], {})),
    "a tuple": (lambda t: cb.sub(t[0], t[1]), lambda i: ([tuple(draws(2, 3))], {})),
    "a named tuple": (lambda t: cb.sub(t.first, t.second), lambda i: ([Pair(*draws(2, 3))], {})),
    "a nest": (lambda t: cb.sub(t[0]["x"][1], t[1].second[0]),
               lambda i: ([[{"x": draws(2, 3)}, Pair(None, tuple(draws(1, 3)))]], {})),
    "an empty nest": (lambda t, x: cb.tensor(x) * (1 + len(t)), lambda i: ([[], draws(1, 3)[0]], {})),
    "a list of numbers": (lambda x: cb.tensor(x) * 2, lambda i: ([[1.5, 2.0, -1.0]], {})),
    "a shape": (lambda x, shape: cb.tensor(x).reshape(shape), lambda i: ([*draws(1, 6), (2, 3)], {})),
    "one array twice": (lambda x, y: cb.tensor(x) - cb.tensor(y) * 2, lambda i: (2 * draws(1, 3), {})),
    "one tensor twice": (lambda x, y: x - y * 2, lambda i: (2 * [cb.tensor(draws(1, 3)[0])], {})),
    "in two dtypes": (lambda x: (cb.tensor(x, "float64") * 2, cb.tensor(x) * 2), lambda i: (draws(1, 3), {})),
    "not all are used": (lambda x, y: cb.tensor(x) * 2, lambda i: (draws(2, 3), {})),
    "a constant result": (lambda x: cb.ones(3) * 2, lambda i: (draws(1, 3), {})),
    "an argument returned": (lambda x: x, lambda i: ([cb.tensor(draws(1, 3)[0])], {})),
    "ten": (lambda *xs: functools.reduce(cb.sub, xs), lambda i: (draws(10, 3), {})),
    "None and text": (lambda x, n, t: getattr(cb, t)(x) if n is None else x,
                      lambda i: ([*draws(1, 3), None, "exp"], {})),
    "a function": (lambda f, x: f(cb.tensor(x)), lambda i: ([cb.tanh, *draws(1, 3)], {})),
    "a result twice": (lambda x: 2 * [cb.tensor(x) * 2], lambda i: (draws(1, 3), {})),
    "results in a nest": (lambda x: {"a": cb.tensor(x) * 2, "b": Pair(cb.exp(x), [1, "two", (cb.sum(x),)])},
                          lambda i: (draws(1, 3), {})),
    "views as results": (lambda x: [cb.tensor(x).reshape(3, 1), cb.tensor(x), cb.exp(x).reshape(1, 3)],
                         lambda i: (draws(1, 3), {})),
    "no result": (lambda x: None, lambda i: (draws(1, 3), {})),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_and_results(name):
    f, make = ARGUMENTS[name]
    agree(f, [make(i) for i in range(4)], 1)


BESIDE = {"mul": lambda x, t: x * t, "rmul": lambda x, t: t * x, "sub": lambda x, t: x - t, "less": lambda x, t: x < t,
          "matmul": lambda x, t: x @ t, "pow": lambda x, t: x ** t, "function": lambda x, t: cb.maximum(x, t),
          "State": lambda x, t: cb.State(0.0 * t).assign(x), "targets": lambda x, t: cb.nn.mse(t, x),
          "probabilities": lambda x, t: cb.nn.cross_entropy(t, x), "gradient": lambda x, t: cb.grad(cb.sum)(x) + t,
          "zeros_like": lambda x, t: cb.zeros_like(x) + cb.ones_like(x) * t, "stack": lambda x, t: cb.stack([x, t]),
          "scan": lambda x, t: cb.scan(lambda c, row: (c * 0.5 + row, None), t[0], x)[0]}


@pytest.mark.parametrize("name", BESIDE)
def test_an_array_beside_a_tensor(name):
    agree(BESIDE[name], [((a, cb.tensor(b)), {}) for a, b in [draws(2, 3, 3) for _ in range(3)]], 1)


@pytest.mark.parametrize("values", [(1.0, 2.0, 1.0), (0.0, -0.0), (1, True, 1.0), ("sum", "mean"), (None, 0),
                                    (float("nan"), 0.0), (np.int32(1), np.int64(1)), ((1, 12), [1, 12]),
                                    (b"a", "a"), (np.bool_(True), True, 1),
                                    ((2, 6), (4, 3), (2, 6)), ([1.5], [2.5]), ({"a": 1.0}, {"b": 1.0})],
                         ids=repr)
def test_a_number_counts_by_its_value(values):
    def f(x, k):
        if isinstance(k, (int, float, np.generic)):
            return cb.tensor(x) * k, type(k).__name__
        return cb.tensor(x).reshape(k) if len(k or ()) == 2 and isinstance(k, tuple) else cb.tensor(x), repr(k)

    calls = [((ROWS, k), {}) for k in values for _ in range(3)]
    compiled = cb.compile(f)
    for args, _ in calls:
        (a, kind), (b, wanted) = compiled(*args), f(*args)
        assert same_bits(a, b) and kind == wanted
    assert len(compiled.programs) == len({(type(v), repr(v)) for v in values})


ARRAYS = {
    "contiguous": lambda: F.normal(size=(4, 3)).astype("float32"),
    "float64": lambda: F.normal(size=(4, 3)),
    "strided": lambda: F.normal(size=(4, 6)).astype("float32")[:, ::2],
    "reversed": lambda: F.normal(size=(4, 3)).astype("float32")[::-1],
    "Fortran": lambda: np.asfortranarray(F.normal(size=(4, 3)).astype("float32")),
    "big-endian": lambda: F.normal(size=(4, 3)).astype(">f4"),
    "float16": lambda: F.normal(size=(4, 3)).astype("float16"),
    "int32": lambda: F.integers(-5, 5, (4, 3)).astype("int32"),
    "int64": lambda: F.integers(-5, 5, (4, 3)),
    "uint8": lambda: F.integers(0, 5, (4, 3)).astype("uint8"),
    "bool": lambda: F.normal(size=(4, 3)) > 0,
    "unaligned": lambda: np.frombuffer(b"x" + F.normal(size=(4, 3)).astype("float32").tobytes(), "float32", offset=1)
    .reshape(4, 3),
    "read-only": lambda: np.frombuffer(F.normal(size=(4, 3)).astype("float32").tobytes(), "float32").reshape(4, 3),
    "broadcast": lambda: np.broadcast_to(F.normal(size=3).astype("float32"), (4, 3)),
    "empty": lambda: np.zeros((0, 3), "float32"),
    "no axes": lambda: np.array(F.normal(), "float32"),
    "one": lambda: F.normal(size=(1, 1)).astype("float32"),
    "nine axes": lambda: F.normal(size=9 * (1,)).astype("float32").reshape(8 * (1,)),
    "a subclass": lambda: F.normal(size=(4, 3)).astype("float32").view(type("Sub", (np.ndarray,), {})),
    "a record array": lambda: np.rec.array(F.normal(size=(4, 3)).astype("float32")),
    "NaN": lambda: np.full((4, 3), np.nan, "float32"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_kind(name):
    def f(x):
        parts = [cb.tensor(x, "float32") * 2, cb.tensor(x, "float64") + 1]
        return [*parts, cb.tensor(x), cb.ones((3,)) * x if cb.tensor(x).dtype.kind == "f" else None]

    agree(f, [((ARRAYS[name](),), {}) for _ in range(4)], 1)


@pytest.mark.parametrize("eager", [False, True])
def test_integers_of_which_there_are_no_tensors(eager):
    compiled = cb.compile(lambda x: x * 2)
    with cb.eager() if eager else contextlib.nullcontext(), pytest.raises(TypeError, match="of uint64 data"):
        compiled(np.ones(3, "uint64"))


@pytest.mark.parametrize("name", ARRAYS)
def test_the_callers_array_is_not_kept_nor_shared(name):
    compiled = cb.compile(lambda x: (cb.tensor(x, "float64"), cb.tensor(x, "float64") * 1))
    for _ in range(4):
        x = ARRAYS[name]()
        holder = weakref.ref(x)
        before, refs = np.array(x), sys.getrefcount(x)
        y = compiled(x)
        assert sys.getrefcount(x) == refs and not any(np.shares_memory(x, t.numpy()) for t in y)
        if x.flags.writeable:
            x[...] = 0                   # what the caller does to it later does not matter
        assert all(same_bits(t, cb.tensor(before, "float64")) for t in y)
        del x
        assert holder() is None


def test_results_are_the_callers_own():
    compiled = cb.compile(lambda x: cb.tensor(x) * 2)
    results = [(x, compiled(x)) for x in draws(6, 3)]
    assert all(same_bits(y, x * 2) for x, y in results)


def test_a_result_may_be_the_next_argument():
    def f(x):
        return cb.tanh(x) * 1.5

    compiled, a, b = cb.compile(f), cb.tensor(ROWS), cb.tensor(ROWS)
    for _ in range(6):
        a, b = compiled(a), f(b)
        assert same_bits(a, b)


OTHER = cb.tensor([5.0, 7.0, 11.0])
COINCIDENCES = {
    "product": lambda a, b: a * b, "result": lambda a, b: a, "second result": lambda a, b: (b, a),
    "gradient": lambda a, b: cb.grad(lambda p, q: cb.sum(p * p * q))(a, b),
    "scan": lambda a, b: cb.scan(lambda c, _: ((c[0] * c[1], c[0] + c[1]), None), (a, b), length=3)[0],
    "a global": lambda a, b: a * OTHER + b,
}


@pytest.mark.parametrize("kind", ["tensor", "array"])
@pytest.mark.parametrize("name", COINCIDENCES)
def test_one_array_in_two_roles_is_another_program(name, kind):
    """f(x, x) must not stand for f(x, y), nor for f(x, x) what was recorded of f(x, y)."""
    f = COINCIDENCES[name]
    x, y = cb.tensor([1.0, 2.0, 3.0]), cb.tensor([2.0, 3.0, 5.0])
    pairs = [(x, x), (x, y), (y, x), (OTHER, x), (x, OTHER), (y, y)]
    if kind == "array":
        as_array = {id(t): t.numpy().copy() for t in (x, y)} | {id(OTHER): OTHER}
        pairs = [(as_array[id(a)], as_array[id(b)]) for a, b in pairs]
        wrapped = f
        f = lambda a, b: wrapped(cb.tensor(a), cb.tensor(b))              # noqa: E731
    for order in (pairs, pairs[::-1], pairs[1:] + pairs[:1]):
        compiled = cb.compile(f)
        for _ in range(2):
            for a, b in order:
                for _ in range(3):
                    got, wanted = compiled(a, b), f(a, b)
                    for g, w in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, wanted)), strict=True):
                        assert same_bits(g, w)


def looped(a):
    both = [a, a]
    return lambda x: sum(cb.sum(cb.tensor(v) * cb.tensor(x)) for v in both)


class Holder:
    def __init__(self, a):
        self.a = a

    def step(self, x):
        return cb.tensor(self.a) * cb.tensor(x)


HOLDING = {                              # functions that find an array outside
    "attribute": lambda a, h: lambda x: cb.tensor(h.a) * cb.tensor(x),
    "getattr": lambda a, h: lambda x: cb.tensor(getattr(h, "a")) * cb.tensor(x),                   # noqa: B009
    "item": lambda a, h: lambda x, d={"k": [a]}: cb.tensor(d["k"][0]) * cb.tensor(x),
    "loop": lambda a, h: looped(a),
    "method": lambda a, h: h.step,
    "default": lambda a, h: lambda x, a=a: cb.tensor(a) * cb.tensor(x),
    "partial": lambda a, h: functools.partial(lambda b, x: cb.tensor(b) * cb.tensor(x), a),
    "cell": lambda a, h: lambda x: cb.tensor(a) * cb.tensor(x),
}


@pytest.mark.parametrize("kind", [np.asarray, cb.tensor])
@pytest.mark.parametrize("name", HOLDING)
def test_an_argument_that_lies_outside_too(name, kind):
    """What a place outside holds is the argument only in calls with that very tensor; an array is made one anew."""
    arrays = [kind(a) for a in draws(3, 4)]
    f = HOLDING[name](arrays[0], Holder(arrays[0]))
    compiled = cb.compile(f)
    for k in (0, 0, 1, 2, 0, 1):
        assert same_bits(compiled(arrays[k]), f(arrays[k]))
    assert len(compiled.programs) == (2 if kind is cb.tensor else 1)


def test_a_number_that_is_an_argument_too_is_guarded():
    factor = 3

    def f(x, n):
        return x * n * factor

    compiled, x = cb.compile(f), cb.tensor([1.0, 2.0])
    for factor in (3, 3, 3, 4, 3):
        assert compiled(x, 3).tolist() == [3.0 * factor, 6.0 * factor]


def test_an_argument_that_shows_a_state():
    def make():
        w = cb.Parameter(np.ones(100))

        def f(x):
            w.assign(w + 1)
            return (w * cb.tensor(x)).detach()

        return f, w

    (f, mine), (g, twin) = make(), make()
    compiled = cb.compile(f)
    for i in range(8):                   # a call has the values that were there when it began
        assert same_bits(compiled(mine.numpy()[::-1]) if i % 3 else compiled(np.ones(100)),
                         g(cb.tensor(twin.numpy()[::-1])) if i % 3 else g(np.ones(100)))
    with cb.eager():
        assert same_bits(compiled(mine.numpy()[::-1]), g(cb.tensor(twin.numpy()[::-1])))


def test_gradients_that_somebody_keeps_stay_as_they_are():
    w = cb.Parameter(np.ones(3))

    @cb.compile
    def step(x):
        w.grad = None
        cb.sum(w * x * w).backward()

    kept = []
    for i in range(9):
        step(cb.tensor(np.full(3, 1.0 + i)))
        kept.append((w.grad if i % 3 == 0 else w.grad.numpy() if i % 3 == 1 else w.grad.detach(), 2.0 + 2 * i))
    assert all(same_bits(g, np.full(3, wanted)) for g, wanted in kept)


def model_class(base=object, slots=None):
    """A class with a compiled method."""
    def start(self, k):
        if base is not object:
            base.__init__(self)
        self.w = cb.Parameter([k])

    @cb.compile
    def step(self, x):
        return (self.w * x).sum()

    return type("Model", (base,), {"__init__": start, "step": step, "__eq__": lambda self, other: True,
                                   "__hash__": None, **({} if slots is None else {"__slots__": slots})})


@pytest.mark.parametrize("base", [object, cb.nn.Module])
def test_each_instance_has_programs_of_its_own(base):
    model = model_class(base)
    many, x = [model(float(k)) for k in range(10)], cb.tensor([2.0])
    for _ in range(3):
        for k, m in enumerate(many):
            loss = m.step(x)
            loss.backward()
            assert loss.item() == 2 * k and m.w.grad.item() == 2
            m.w.grad = None
    assert [len(m.step.programs) for m in many] == 10 * [1] and not model.step.programs
    refs = [weakref.ref(m) for m in many]
    del many, m, loss
    gc.collect()
    assert [r() for r in refs] == 10 * [None]


def test_a_copy_of_an_instance_has_programs_of_its_own():
    m, x = model_class()(3.0), cb.tensor([2.0])
    for _ in range(3):
        m.step(x)
    for other in (copy.copy(m), copy.deepcopy(m)):
        other.w = cb.Parameter([5.0])
        assert [other.step(x).item() for _ in range(3)] == 3 * [10.0] and m.step(x).item() == 6.0
        assert other.step.programs != m.step.programs and len(m.step.programs) == 1


@pytest.mark.parametrize("slots", [("w",), ("w", "__weakref__")])
def test_instances_with_slots(slots):
    model, x = model_class(slots=slots), cb.tensor([2.0])
    a, b = model(3.0), model(4.0)
    assert [(a.step(x).item(), b.step(x).item()) for _ in range(3)] == 3 * [(6.0, 8.0)]


def test_a_compiled_method_makes_no_other_program_out_of_date():
    model, x = model_class(cb.nn.Module)(3.0), cb.tensor([2.0])
    other = cb.compile(lambda x: model.w * x)
    for _ in range(2):
        other(x), model.step(x)
        engine.structure_changed()
    assert len(other.programs) == 1


def test_a_method():
    class Model:
        def __init__(self, k):
            self.k, self.w = k, cb.Parameter([k])

        @cb.compile
        def step(self, x):
            return (self.w * x * self.k).detach()

    a, b, x = Model(2.0), Model(3.0), cb.tensor([1.0])
    for _ in range(4):
        assert a.step(x).item() == 4 and b.step(x).item() == 9
    assert len(Model.step.programs) == 0 and len(a.step.programs) == len(b.step.programs) == 1
    a.k, b.w = 5.0, cb.Parameter([7.0])
    assert [(a.step(x).item(), b.step(x).item()) for _ in range(3)] == 3 * [(10, 21)]


# ---- branches

@pytest.mark.parametrize("where", ["before", "after"])
def test_a_branch_leaves_nothing_of_a_refused_replay(where):
    def make():
        count, total = cb.State(0.0), cb.State([0.0, 0.0, 0.0])
        w = cb.Parameter([1.0, 2.0, 3.0])

        def f(x):
            count.assign(count + 1)
            if where == "after":
                total.assign(total + x)
            loss = cb.sum(w * x)
            w.grad = None
            loss.backward()
            if (total if where == "after" else cb.tensor(x)).sum() > 1:
                total.assign(total * 0.5)
                w.assign(w - 0.1 * w.grad)
                return loss * 2
            total.assign(total - x)
            return loss

        return f, (count, total, w)

    f, mine = make()
    g, twins = make()
    compiled = cb.compile(f)
    taken = []
    for sign in (1, 1, 1, -1, 1, -1, -1, -1, 1, -1, 1):
        x = cb.tensor(np.abs(ROWS[0]) * sign * 2)
        assert same_bits(compiled(x).detach(), g(x).detach())
        assert all(same_bits(a, b) for a, b in zip(mine, twins, strict=True))
        assert same_bits(mine[2].grad, twins[2].grad)
        taken.append(len(compiled.programs))
    assert taken[-1] == 2 and [p.calls > 3 for p in compiled.programs] == [True, True]


def test_a_branch_that_depends_on_what_was_just_written():
    def make():
        level = cb.State(0.0)

        def f(x):
            level.assign(level + cb.sum(x))
            if level > 2:
                level.assign(level * 0)
                return x * 10
            return x * 1

        return f, level

    (f, mine), (g, twin) = make(), make()
    compiled = cb.compile(f)
    for _ in range(12):
        x = cb.tensor([0.5, 0.3])
        assert same_bits(compiled(x), g(x)) and same_bits(mine, twin)
    assert len(compiled.programs) == 2


def test_paths_that_are_never_taken_again_run_eagerly():
    calls = cb.State(0.0)

    def f(x, k):
        calls.assign(calls + 1)
        for i in range(k):
            if x > i:
                continue
            return x * i
        return x - 100

    compiled = cb.compile(f)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in [*range(12), *range(12)]:
            assert compiled(cb.tensor(n - 0.5), 20).item() == (n - 0.5) * n
    assert [w.category for w in seen] == [RuntimeWarning]
    assert f"its last {MOST_WASTED} recordings were replayed once at most" in str(seen[0].message)
    assert "another branch on a tensor's value (7 times)" in str(seen[0].message)
    assert len(compiled.programs) == MOST_WASTED and calls.item() == 24


def test_more_than_eight_paths_are_programs_where_they_are_taken_again():
    def f(x):
        for i in range(20):
            if x < i:
                return x * i
        return x

    compiled = cb.compile(f)
    for n in range(12):
        for _ in range(4):
            assert compiled(cb.tensor(n - 0.5)).item() == (n - 0.5) * n
    assert len(compiled.programs) == 12


def test_each_batch_size_is_recorded_once():
    note, seen = notes()

    def f(x):
        note(x.shape)
        return cb.tensor(x) * 2

    compiled = cb.compile(f)
    for _ in range(5):
        for batch in (8, 8, 8, 3):       # the last batch of an epoch is ragged
            x = F.normal(size=(batch, 2)).astype("float32")
            assert same_bits(compiled(x), x * 2)
    assert sorted(p.calls for p in compiled.programs) == [5, 15]
    assert collections.Counter(seen) == {(8, 2): 4, (3, 2): 3}           # recorded; calls 2, 4, 8 and 2, 4


# ---- arrays outside

def test_arrays_outside_are_read_anew():
    holder = {"array": ROWS.copy(), "tensor": cb.tensor(ROWS), "list": [ROWS.copy(), cb.tensor(ROWS)]}

    def f(x):
        y = cb.tensor(x) * holder["array"] + holder["tensor"]
        for part in holder["list"]:
            y = y * part
        return y

    compiled = cb.compile(f)
    for i in range(8):
        if i > 2:
            holder["array"][0] = i       # in place
            holder["list"][0][1] = i
        if i > 4:
            holder["array"], holder["tensor"] = draws(1, 4, 3)[0], cb.tensor(draws(1, 4, 3)[0])
            holder["list"][:] = [draws(1, 4, 3)[0], cb.tensor(draws(1, 4, 3)[0])]
        assert same_bits(compiled(ROWS), f(ROWS))
    assert len(compiled.programs) == 1
    holder["list"] = [draws(1, 4, 3)[0], cb.tensor(draws(1, 4, 3)[0])]
    assert same_bits(compiled(ROWS), f(ROWS))


WHOLE, MATRIX = cb.tensor(ROWS), cb.Parameter(ROWS)
VIEWS = {                                # made before the recording: (the view, how it changes before the third call)
    "a row": (lambda: WHOLE[1], None),
    "of a tensor": (lambda: WHOLE.reshape(-1)[:3].reshape(3), None),
    "another shape": (lambda: WHOLE.reshape(2, 2, 3), None),
    "of a view": (lambda: WHOLE.reshape(12).reshape(4, 3), None),
    "of a Parameter": (lambda: MATRIX.reshape(2, 2, 3), lambda: MATRIX.assign(MATRIX * 2)),
    "of a Parameter, detached": (lambda: MATRIX.detach().reshape(4, 3), lambda: MATRIX.assign(MATRIX * 2)),
}


@pytest.mark.parametrize("within", ["", "scan", "cond"])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_from_outside(name, within):
    make, change = VIEWS[name]
    view = make()

    def plain(x):
        return cb.sum(x * view)

    def f(x):
        if within == "scan":
            return cb.scan(lambda c, _: (c + cb.sum(view) * plain(x), None), cb.sum(x), length=3)[0]
        return cb.cond(cb.sum(x) > 0, plain, lambda x: -plain(x), x) if within == "cond" else plain(x)

    compiled = cb.compile(f)
    for i in range(5):
        x = cb.tensor(draws(1, 4, 3)[0] if view.ndim == 2 else draws(1, 3)[0])
        if i == 2 and change is not None:
            change()
        assert same_bits(compiled(x).detach(), f(x).detach())
    assert len(compiled.programs) == 1


def test_a_view_of_an_argument_that_is_found_outside():
    holder = [None]
    f = lambda x: x - holder[0] * 2      # noqa: E731
    compiled = cb.compile(f)
    for other in (False, False, False, True, True):
        x = cb.tensor(draws(1, 4, 3)[0])
        holder[0] = (cb.tensor(draws(1, 4, 3)[0]) if other else x).reshape(2, 2, 3)
        y = x.reshape(2, 2, 3).detach()
        assert same_bits(compiled(y), f(y))
    assert len(compiled.programs) == 1


def test_an_array_outside_of_another_shape_is_another_program():
    holder = [np.ones(3, "float32")]
    compiled = cb.compile(lambda x: cb.tensor(x) * holder[0])
    for other in (np.ones(3, "float32"), np.ones((4, 1), "float32"), np.ones(3), np.ones(3, "float32")):
        for _ in range(3):
            holder[0] = other * 3
            assert same_bits(compiled(ROWS), cb.tensor(ROWS) * holder[0])
    assert len(compiled.programs) == 3


def test_an_array_that_numpy_reads_is_another_program_when_it_is_replaced():
    holder = {"scale": np.array([1.0, 2.0])}
    compiled = cb.compile(lambda x: cb.tensor(x) * float(holder["scale"].sum()))
    for scale in ([1.0, 2.0], [3.0, 4.0]):
        holder["scale"] = np.array(scale)
        for _ in range(3):
            assert same_bits(compiled(ROWS), cb.tensor(ROWS) * sum(scale))


def test_a_program_outlives_what_it_was_recorded_with():
    def make():
        w = cb.Parameter([2.0])
        return cb.compile(lambda x: w * x)

    compiled = make()
    x = cb.tensor([3.0])
    assert [compiled(x).item() for _ in range(4)] == 4 * [6.0]
    gone = weakref.ref(compiled)
    del compiled
    gc.collect()
    assert gone() is None


def test_a_long_chain_is_shown_by_its_ends(capsys):
    compiled = cb.compile(lambda x: cb.sqrt(cb.exp(cb.abs(cb.tanh(cb.sin(cb.cos(cb.tanh(cb.sin(cb.exp(x))))))))))
    compiled(ROWS)
    compiled.programs[0].explain()
    assert "chain of 9: exp sin tanh cos sin ... 3 more ... sqrt" in capsys.readouterr().out


@pytest.mark.parametrize("repeat", [0, -1])
def test_no_profile_of_no_runs(repeat):
    compiled = cb.compile(lambda x: cb.tensor(x) * 2)
    compiled(ROWS)
    for profile in (compiled.profile, compiled.programs[0].profile):
        with pytest.raises(ValueError, match=f"repeat is {repeat}"):
            profile(ROWS, repeat=repeat)


def test_a_compiled_function_explains_and_profiles_its_programs(capsys):
    compiled = cb.compile(lambda x: cb.tanh(cb.tensor(x)) + 1)
    compiled.explain()
    assert "nothing is recorded yet" in capsys.readouterr().out
    with pytest.raises(TypeError, match="profile: nothing is recorded yet"):
        compiled.profile(ROWS)
    compiled(ROWS), compiled(ROWS[:2])
    compiled.explain()
    assert capsys.readouterr().out.count("chain of 2: tanh add") == 2
    compiled.profile(ROWS, repeat=2)
    assert "us in 1 instructions, each the best of 2 runs" in capsys.readouterr().out
    with pytest.raises(TypeError, match="no program is for such arguments, but for: array 2x3; array 4x3"):
        compiled.profile(ROWS[:1])
    with pytest.raises(TypeError, match="but for: array 2x3"):
        compiled.programs[0].profile()


SHOWN = {
    "reshaped": lambda s: s.reshape(3, 2),
    "flat": lambda s: s.reshape(-1),
    "detached": lambda s: s.detach(),
    "a nest": lambda s: {"a": [s.reshape(6), s * 2], "b": s.detach()},
    "spread": lambda s: cb.broadcast_to(s.reshape(1, 2, 3), (1, 2, 3)),
}


@pytest.mark.parametrize("kind", [cb.State, cb.Parameter])
@pytest.mark.parametrize("name", SHOWN)
def test_results_do_not_show_the_memory_of_a_state(name, kind):
    """Recorded, audited and replayed alike: a later call writes the state, not what an earlier one returned."""
    state, twin = kind(np.arange(6.0).reshape(2, 3)), kind(np.arange(6.0).reshape(2, 3))

    def f(s, x):
        s.assign(s + x)
        return SHOWN[name](s)

    compiled, kept, wanted = cb.compile(lambda x: f(state, x)), [], []
    for k in range(5):
        kept.append(compiled(np.full((2, 3), k + 1.0)))
        wanted.append(flat(f(twin, np.full((2, 3), k + 1.0))))
        assert [flat(tree) for tree in kept] == wanted


def test_a_result_that_shows_a_parameter_has_its_history():
    w = cb.Parameter(np.ones((2, 3)))
    compiled = cb.compile(lambda x: (w.reshape(6), x * 2)[0])
    for _ in range(4):
        cb.sum(compiled(1.0) * 3).backward()
        assert w.grad.tolist() == [[3.0] * 3] * 2
        w.grad = None
