"""What a call changes itself, and tensors that come from nowhere.

The oracle is the plain function in a world of its own, call by call.
"""

import collections
import functools
import random
import sys
import threading
import types
import warnings

import numpy as np
import pytest
from notes import notes, secret
from samples import same_bits

import cybackprop as cb
from cybackprop import nn, optim

X = cb.tensor([1.0, -2.0, 3.0])


class Plain:
    def __init__(self, k=2.0):
        self.k = k


TICKS = 0


def worlds():
    """name: what makes a function and says what of the world it has changed, and the name in the warning."""
    rows = {}

    def row(label):
        def add(make):
            rows[make.__name__.replace("_", " ")] = make, label
        return add

    @row("`a.n`")
    def a_counter_attribute():
        a = Plain()
        a.n = 0

        def f(x):
            a.n += 1
            return x * a.n
        return f, lambda: a.n

    @row("`n`")
    def a_counter_in_a_cell():
        n = 0

        def f(x):
            nonlocal n
            n += 1
            return x * n
        return f, lambda: n

    @row("`TICKS`")
    def a_counter_in_a_global():
        global TICKS
        TICKS = 0

        def f(x):
            global TICKS
            TICKS += 1
            return x * TICKS
        return f, lambda: TICKS

    @row("`A`")
    def a_counter_in_a_class():
        class A:
            n = 0

        def f(x):
            A.n += 1
            return x * A.n
        return f, lambda: A.n

    @row("`log`")
    def a_list_that_grows():
        log = []

        def f(x):
            log.append(1.0)
            return x * len(log)
        return f, lambda: log

    @row("`log`")
    def a_list_that_nothing_reads():
        log = []

        def f(x):
            log.append(1.0)
            return x * 2
        return f, lambda: log

    @row("`table`")
    def a_dict():
        table = {}

        def f(x):
            table[len(table)] = 1
            return x * 2
        return f, lambda: table

    @row("`last`")
    def a_deque():
        last = collections.deque(maxlen=2)

        def f(x):
            last.append(len(last))
            return x * sum(last)
        return f, lambda: last

    @row("the state of random")
    def pythons_generator():
        random.seed(3)
        return lambda x: x * random.random(), random.getstate

    @row("the state of")
    def a_generator_of_pythons():
        draw = random.Random(3)
        return lambda x: x * draw.gauss(0, 1), draw.getstate

    @row("the state of")
    def numpys_generator():
        draw = np.random.default_rng(3)
        return lambda x: x * draw.normal(), lambda: str(draw.bit_generator.state)

    @row("the state of")
    def numpys_old_generator():
        np.random.seed(3)
        return lambda x: x * np.random.rand(), lambda: str(np.random.get_state())

    @row("`a`")
    def an_array_that_numpy_writes():
        a = np.zeros(3, "float32")

        def f(x):
            np.add(a, 1, out=a)
            return x + a
        return f, lambda: a.tolist()

    @row("`a`")
    def a_large_array_that_numpy_writes():
        a = np.zeros(100_000, "float32")

        def f(x):
            y = x * cb.sum(cb.tensor(a))
            a[-1] += 1
            return y
        return f, lambda: a.tolist()

    @row("`a.late`")
    def an_attribute_that_comes_and_goes():
        a = Plain()

        def f(x):
            if hasattr(a, "late"):
                del a.late
                return x * 2
            a.late = 1
            return x * 3
        return f, lambda: vars(a)

    @row("`a.last`")
    def the_last_result():
        a = Plain()
        a.last = cb.zeros(3)

        def f(x):
            a.last = a.last + x
            return a.last * 1
        return f, lambda: a.last.tolist()

    return rows


WORLDS = worlds()


@pytest.mark.parametrize("name", WORLDS)
def test_what_every_call_changes_makes_it_eager_and_is_named(name):
    make, label = WORLDS[name]
    f, world = make()
    wanted = [(np.array(f(X)), str(world())) for _ in range(6)]
    f, world = make()
    compiled = cb.compile(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for y, state in wanted:
            assert same_bits(compiled(X), y) and str(world()) == state
    assert [w.category for w in caught] == [RuntimeWarning] and caught[0].filename == __file__
    text = str(caught[0].message)
    assert label in text and "changed by the call" in text and "cb.State" in text and compiled.programs == []
    strict = cb.compile(make()[0], strict=True)
    with pytest.raises(cb.TapeError, match="changed by the call"):
        strict(X)


def set_ups():
    rows = {}

    def row(make):
        rows[make.__name__.replace("_", " ")] = make

    @row
    def a_cache_by_hand():
        cache = {}

        def f(x):
            if "k" not in cache:
                cache["k"] = 2.0
            return x * cache["k"]
        return f

    @row
    def lazy_attributes():
        a = Plain(None)

        def f(x):
            if a.k is None:
                a.k = cb.tensor([2.0, 2.0, 2.0])
            return x * a.k
        return f

    @row
    def a_cached_property():
        class A:
            @functools.cached_property
            def k(self):
                return 2.0
        a = A()
        return lambda x: x * a.k

    @row
    def a_cached_function():
        @functools.lru_cache
        def k(n):
            return n + 1.0
        return lambda x: x * k(1)

    @row
    def a_module_that_is_imported():
        sys.modules.pop("colorsys", None)

        def f(x):
            import colorsys
            return x * (1.0 + colorsys.rgb_to_hsv(1, 1, 1)[2])
        return f

    @row
    def parameters_made_at_first():
        class Lazy(nn.Module):
            def __init__(self):
                self.w = None

            def forward(self, x):
                if self.w is None:
                    self.w = cb.Parameter([2.0, 2.0, 2.0])
                return x * self.w
        model = Lazy()
        return lambda x: model(x).detach()

    return rows


SET_UPS = set_ups()


@pytest.mark.parametrize("name", SET_UPS)
def test_set_up_is_forgiven(name):
    """The first call changes something, the second is recorded; nothing is told."""
    note, seen = notes()
    f = SET_UPS[name]()
    compiled = cb.compile(lambda x: (note(None), f(x))[1])
    for _ in range(6):
        assert same_bits(compiled(X), X.numpy() * np.float32(2))
    assert [p.calls for p in compiled.programs] == [5] and len(seen) == 1 + 3       # recorded again; calls 2, 4


def test_set_up_for_each_of_several_arguments_is_forgiven():
    cache = {}

    def f(x, k):
        if k not in cache:
            cache[k] = k * 2.0
        return x * cache[k]

    compiled = cb.compile(f)
    for k in (1, 2, 3, 1, 2, 3):
        for _ in range(4):
            assert compiled(X, k)[0].item() == 2 * k
    assert compiled.history.given_up is None


def test_an_attribute_that_only_the_call_sets():
    """It is there afterwards, whatever it was before."""
    a = Plain()

    def f(x):
        a.late = 2.0
        return x * a.k

    compiled = cb.compile(f)
    with pytest.warns(RuntimeWarning, match="`a.late` was changed by the call"):
        for n in range(5):
            assert same_bits(compiled(X), X.numpy() * np.float32(2)) and a.late == 2.0
            a.late = float(n)


def test_what_belongs_to_the_package_may_move():
    """States, generators, optimizers and schedules change at each call, in programs too."""
    def make():
        w, count, noise = cb.Parameter([1.0, 2.0, 3.0]), cb.State(0.0), cb.Generator(0)
        opt = optim.Adam([w], lr=0.1)
        schedule = optim.CosineLR(opt, 20)

        def step(x):
            count.assign(count + 1)
            opt.zero_grad()
            loss = cb.sum((w * x + noise.normal(3)) ** 2)
            loss.backward()
            opt.step()
            schedule.step()
            return loss.detach() * count
        return step, w

    (f, mine), (g, twin) = make(), make()
    compiled = cb.compile(f)
    for _ in range(12):
        assert same_bits(compiled(X), g(X)) and same_bits(mine, twin)
    assert [p.calls for p in compiled.programs] == [12]


# ---- tensors from nowhere

REGISTRY = types.SimpleNamespace(made=None)


def from_another_thread():
    made = []
    thread = threading.Thread(target=lambda: made.append(cb.tensor([2.0, 2.0, 2.0]) * 1))
    thread.start()
    thread.join()
    return made[0]


NOWHERE = {
    "another thread": lambda: secret(from_another_thread),
    "a registry": lambda: secret(lambda: REGISTRY.made),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_a_tensor_from_nowhere_ends_the_recording(name):
    REGISTRY.made = cb.tensor([2.0, 2.0, 2.0])
    get = NOWHERE[name]()
    compiled = cb.compile(lambda x: x * get())
    text = r"a tensor of shape \(3,\) is used at .*test_compile_changes.py:\d+"
    with pytest.warns(RuntimeWarning, match=text) as caught:
        for _ in range(3):
            assert same_bits(compiled(X), X.numpy() * np.float32(2))
    assert len(caught) == 1 and compiled.programs == []


# ---- who records

def test_a_function_that_calls_itself_and_one_that_another_thread_records():
    """While one records, others run eagerly and do not wait."""
    note, seen = notes()
    inside, go_on = threading.Event(), threading.Event()
    main = threading.main_thread()
    is_main = secret(lambda: threading.current_thread() is main)
    wait = secret(lambda: threading.current_thread() is main or (inside.set(), go_on.wait(20)))

    def f(x):
        note(is_main())
        wait()
        return x * 2

    compiled = cb.compile(f)
    thread = threading.Thread(target=lambda: compiled(X))
    thread.start()
    assert inside.wait(20)
    assert same_bits(compiled(X), X.numpy() * 2) and compiled.programs == []
    go_on.set()
    thread.join()
    assert len(compiled.programs) == 1 and seen == [False, True]

    @cb.compile
    def countdown(x, n):
        return x if n == 0 else countdown(x + 1, n - 1)

    assert [countdown(X, 3)[0].item() for _ in range(4)] == 4 * [4.0]
