"""What compile refuses while recording, what its audits find out, and errors inside compiled functions."""

import gc
import operator
import queue
import re
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest
from samples import same_bits

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.transforms.compiling import MOST_UNSURE

X = np.array([1.0, -2.0, 3.0], "float32")
KEPT = []
CONSTANT = cb.tensor([1.0, 2.0, 3.0])
WEIGHT = cb.Parameter([1.0, 2.0, 3.0])
HERE = re.escape(__file__)


class Holder:
    """Somewhere to keep a tensor."""

    tensor = None


HOLDER = Holder()


def keep_in_closure():
    kept = []

    def f(x):
        kept.append(cb.tensor(x) * 2)
        return cb.sum(x)

    return f


def keep_a_view(x):
    y = cb.exp(x)
    KEPT.append(y.reshape(3, 1))
    return cb.sum(y)


def keep_in_an_attribute(x):
    HOLDER.tensor = cb.tensor(x) * 2
    return cb.sum(x)


REFUSED = {
    "item": (lambda x: cb.tensor(x) * cb.sum(x).item(), "item"),
    "float": (lambda x: cb.tensor(x) * float(cb.sum(x)), "item"),
    "int": (lambda x: cb.tensor(x) * int(cb.sum(x)), "item"),
    "tolist": (lambda x: cb.tensor(cb.exp(x).tolist()), "numpy"),
    "numpy": (lambda x: cb.tensor(cb.exp(x).numpy()), "numpy"),
    "np.asarray": (lambda x: cb.tensor(np.asarray(cb.exp(x))), "numpy"),
    "a buffer": (lambda x: memoryview(cb.exp(x)), "numpy"),
    "index": (lambda x: [1, 2, 3][cb.argmax(x)], "item"),
    "range": (lambda x: sum(range(cb.argmax(x)), cb.tensor(x)), "item"),
    "a view of an argument": (lambda x: cb.tensor(x[1:]), "view"),
    "a transposed argument": (lambda x: cb.tensor(x.T), "view"),
    "a reshaped argument": (lambda x: cb.tensor(x.reshape(3, 1)) * 2, "view"),
    "a mask made of an argument": (lambda x: cb.tensor(x)[cb.tensor(x) > 0], "a mask would select as many"),
    "kept in a list": (lambda x: (KEPT.append(cb.tensor(x) * 2), cb.sum(x))[1], "kept outside: mul"),
    "kept in a closure": (keep_in_closure(), "kept outside: mul"),
    "kept in an attribute": (keep_in_an_attribute, "kept outside: mul"),
    "a view kept": (keep_a_view, "kept outside: exp"),
    "a view kept of what was there": (lambda x: (KEPT.append(CONSTANT.reshape(3, 1)), cb.sum(x))[1], "kept outside"),
    "kept beside a history": (lambda x: (KEPT.append(cb.exp(x)), cb.sum(WEIGHT * KEPT[-1]))[1], "kept outside: exp"),
    "a part of a history kept": (lambda x: (KEPT.append(WEIGHT * x), cb.sum(cb.exp(KEPT[-1])))[1], "kept outside: mul"),
    "an array returned": (lambda x: x * 2, "NumPy array"),
    "an argument returned": (lambda x: x, "NumPy array"),
    "a NumPy number returned": (lambda x: [x.sum()], "NumPy array"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_and_leave_all_as_it_was(name):
    f, what = REFUSED[name]
    count = cb.State(0.0)

    def counted(x):
        count.assign(count + 1)
        return f(x)

    compiled = cb.compile(counted)
    for n in (1, 2):
        with pytest.raises(cb.TapeError, match=what):
            compiled(X)
        assert not engine.is_recording() and count.item() == n            # the eager run has happened
        assert cb.sum(X).item() == 2.0 and compiled.programs == []
        KEPT.clear()
        HOLDER.tensor = None
    assert cb.compile(lambda x: cb.tensor(x) * 2)(X).tolist() == [2.0, -4.0, 6.0]


def test_what_is_kept_outside_is_named_by_its_line():
    with pytest.raises(cb.TapeError, match=HERE + r":\d+"):
        cb.compile(REFUSED["kept in an attribute"][0])(X)


def test_a_view_of_a_state_that_numpy_has():
    """It is read before a run, so what is read after a write must be read from the State itself."""
    state = cb.State(np.ones(3))
    view, part = np.asarray(state), np.asarray(state)[::-1][1:]

    def late(which):
        def f(x):
            state.assign(state + x)
            return cb.sum(cb.tensor(which))
        return f

    for which in (view, part):
        with pytest.raises(cb.TapeError, match="read the State itself"):
            cb.compile(late(which))(1.0)

    def early(x):
        y = cb.sum(cb.tensor(view)) * 1
        state.assign(state + x)
        return y

    compiled, twin = cb.compile(early), cb.State(state)
    for _ in range(4):
        assert compiled(1.0).item() == cb.sum(twin).item()
        twin.assign(twin + 1)


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("when", [1, 2, 3])
def test_what_a_function_raises_goes_through(when, error):
    state, calls = cb.State(0.0), []

    def f(x):
        calls.append(1)
        state.assign(state + 1)
        if len(calls) == when:
            raise error
        return cb.tensor(x) * state

    compiled = cb.compile(f)
    for n in range(1, 6):
        if n == when and when < 3:
            with pytest.raises(type(error)):
                compiled(X)
            assert not engine.is_recording()
        else:
            assert same_bits(compiled(X), X * np.float32(n))
        assert state.item() == n         # the eager run's writes stay, as without compile


# ---- audits

class Counter:
    """Counts its own calls."""

    def __init__(self):
        self.n = 0

    def step(self):
        self.n += 1
        return self.n


COUNTER, STREAM, CLOCK = Counter(), np.random.default_rng(1), []

HIDDEN = {
    "np.random": lambda x: cb.tensor(x) + STREAM.normal(),
    "np.random, an array": lambda x: cb.tensor(x) + STREAM.normal(size=3),
    "time": lambda x: cb.tensor(x) * (time.perf_counter_ns() % 1000003),
    "a counter of its own": lambda x: cb.tensor(x) * COUNTER.step(),
    "how often it ran": lambda x: sum((cb.tensor(x) for _ in range(COUNTER.step())), cb.zeros(3)),
    "which operation": lambda x: (cb.exp, cb.tanh)[COUNTER.step() % 2](x),
    "which parameter": lambda x: cb.clip(x, 0.0, COUNTER.step() / 10),
    "a list that grows": lambda x: cb.tensor(x) * (CLOCK.append(1), len(CLOCK))[1],
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_no_guard_sees_is_found_by_the_second_call(name):
    compiled = cb.compile(HIDDEN[name])
    compiled(X)
    with pytest.raises(cb.AuditError, match=HERE + rf":{HIDDEN[name].__code__.co_firstlineno}\b"):
        compiled(X + 1)
    assert compiled.programs == [] and not engine.is_recording()


def test_every_third_call_is_audited():
    late, get = types.SimpleNamespace(k=2.0), operator.attrgetter("k")

    def f(x):
        return cb.tensor(x) * get(late)  # no guard: the name is nowhere in the code

    compiled = cb.compile(f, audit=3)
    for n in range(1, 10):
        if n == 5:
            late.k = 3.0            # seen by the audit of call 6
        if n == 6:
            with pytest.raises(cb.AuditError, match="another constant in mul"):
                compiled(X)
        else:
            assert compiled(X)[0].item() == (2.0 if n < 6 else 3.0)


def test_an_audit_happens_once_and_its_writes_too():
    state, calls = cb.State(0.0), []

    def f(x):
        calls.append(1)
        state.assign(state + cb.sum(x))
        return cb.tensor(x) * state

    compiled = cb.compile(f, audit=4)
    for n in range(1, 13):
        assert same_bits(compiled(X), X * np.float32(2 * n))
        assert state.item() == 2 * n and state.version == n
    assert len(calls) == 5               # recorded, then 2, 4, 8, 12


def test_nan_is_no_fault():
    compiled = cb.compile(lambda x: cb.sum(cb.log(x) - cb.sqrt(-cb.tensor(x))) / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.isnan(compiled(X).item()) for _ in range(4))


def test_audits_may_be_asked_for_in_a_decorator():
    @cb.compile(audit=2)
    def f(x):
        """Twice."""
        return cb.tensor(x) * 2

    assert f.audit_every == 2 and f.__doc__ == "Twice." and f.__name__ == "f"
    with pytest.raises(TypeError, match="a function is needed"):
        cb.compile(3)
    for audit in (-1, 0.5, "all"):
        with pytest.raises(ValueError, match="from one audit to the next"):
            cb.compile(f, audit=audit)


# ---- errors in a replay

LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, 0.25, 0.125]], "float32")
WRONG = {
    "label": (lambda x, i: cb.nn.cross_entropy(x, i), ValueError, "target 3 in row 1"),
    "label, swept": (lambda x, i: cb.grad(lambda x: cb.nn.cross_entropy(x, i))(x), ValueError, "target 3 in row 1"),
    "take": (lambda x, i: cb.take(x, i, axis=1), IndexError, "index 3 at place 1"),
    "one_hot": (lambda x, i: cb.one_hot(i, 3) * x, IndexError, "index 3"),
    "gather": (lambda x, i: cb.gather(x, i[:, None]), IndexError, "index 3 at place 1"),
    "pairs": (lambda x, i: x[np.arange(2), i], IndexError, "index 3 at place 1"),
    "one": (lambda x, i: x[0, i[1]], IndexError, "index 3 is outside"),
}


@pytest.mark.parametrize("writes", ["first", "last"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_and_indices_raise_as_they_do_eagerly(name, writes):
    f, error, message = WRONG[name]
    w, count = cb.Parameter([1.0, 2.0, 3.0]), cb.State(0.0)

    def step(x, i):
        if writes == "first":
            count.assign(count + 1)
            w.assign(w * 0.5)
        y = cb.sum(f(cb.tensor(x) * 2, cb.tensor(i)))
        if writes == "last":
            count.assign(count + 1)
            w.assign(w * 0.5)
        return y

    compiled = cb.compile(step)
    good, bad = np.array([0, 2]), np.array([1, 3])
    for n in range(6):
        assert same_bits(compiled(LOGITS, good), cb.sum(f(cb.tensor(LOGITS * 2), cb.tensor(good))))
        assert count.item() == n + 1
    values, versions = w.numpy().copy(), (w.version, count.version)
    with pytest.raises(error, match=message):
        compiled(LOGITS, bad)
    if writes == "last":                 # as an eager run leaves them
        assert same_bits(w, values) and (w.version, count.version) == versions
    else:
        assert same_bits(w, values * 0.5) and count.item() == 7
    assert not engine.is_recording()
    assert same_bits(compiled(LOGITS, good), cb.sum(f(cb.tensor(LOGITS * 2), cb.tensor(good))))
    gc.collect()
    assert len(compiled.programs) == 1


# ---- audits that another thread comes into

def elsewhere(action):
    """Run something in another thread, to its end."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


RUNS, MEANWHILE = [], queue.SimpleQueue()        # the second: what no guard looks into


class Shared:
    """A compiled function that reads and writes a State; runs are noted, what is in MEANWHILE happens elsewhere."""

    def __init__(self):
        self.state = cb.State([1.0, 2.0])
        self.f = cb.compile(self.plain)

    def plain(self, x):
        RUNS.append(None)
        y = x * self.state
        if not MEANWHILE.empty():
            elsewhere(MEANWHILE.get())
        self.state.assign(self.state + 1.0)
        return y + self.state


@pytest.fixture
def shared():
    RUNS.clear()
    return Shared()


def test_a_state_written_by_another_thread_leaves_the_audit_for_the_next_call(shared):
    x = cb.tensor([10.0, 100.0])
    assert shared.f(x).tolist() == [12.0, 203.0] and len(RUNS) == 1
    MEANWHILE.put(lambda: shared.state.assign([0.0, 0.0]))
    assert shared.f(x).tolist() == [21.0, 301.0] and len(RUNS) == 2            # what the run did, whatever came between
    assert shared.f(x).tolist() == [12.0, 102.0] and len(RUNS) == 3            # the audit
    assert shared.f(x).tolist() == [23.0, 203.0] and len(RUNS) == 3
    assert len(shared.f.programs) == 1


def test_after_some_such_audits_a_program_runs_without(shared):
    x = cb.tensor([10.0, 100.0])
    shared.f(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(MOST_UNSURE):
            MEANWHILE.put(lambda k=k: shared.state.assign([-k, -k]))
            shared.f(x)
            assert len(RUNS) == k + 2 and bool(caught) == (k + 1 == MOST_UNSURE)
    shared.f(x)
    assert len(RUNS) == MOST_UNSURE + 1 and len(shared.f.programs) == 1
    assert caught[0].category is RuntimeWarning and caught[0].filename == __file__
    assert "Shared.plain during 8 audits" in str(caught[0].message)


@pytest.mark.parametrize("also", [False, True], ids=["alone", "while another State is written elsewhere"])
def test_what_is_no_other_threads_doing_is_a_difference_still(shared, also):
    x, other = cb.tensor([10.0, 100.0]), cb.State(0.0)
    engine.plant_fault(1)
    try:
        shared.f(x)
    finally:
        engine.plant_fault(0)
    if also:
        MEANWHILE.put(lambda: other.assign(1.0))
    with pytest.raises(cb.AuditError, match="replays with other bits"):
        shared.f(x)
    assert other.item() == also and MEANWHILE.empty()


def test_threads_with_one_random_stream_audit_and_go_on():
    """Each draws while the others are audited; what they get depends on their turns, an error it is not."""
    generator, errors = cb.Generator(0), []

    def work():
        f = cb.compile(lambda x: cb.dropout(x, 0.5, rng=generator) * 2)
        try:
            for _ in range(30):
                f(cb.ones(50))
        except cb.AuditError as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            threads = [threading.Thread(target=work) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
    finally:
        sys.setswitchinterval(before)
    assert errors == []
