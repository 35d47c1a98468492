"""What ends a recording, what audits find out, and errors inside compiled functions."""

import gc
import queue
import re
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from notes import notes, unseen
from samples import same_bits

import cybackprop as cb
from cybackprop import optim
from cybackprop._core import engine
from cybackprop.transforms.compiling import MOST_UNSURE

X = np.array([1.0, -2.0, 3.0], "float32")
KEPT, OUT_OF_SIGHT = [], []
keep = unseen(OUT_OF_SIGHT.append)
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
        kept.append(x * 2)
        return cb.sum(x)

    return f


def keep_a_view(x):
    y = cb.exp(x)
    KEPT.append(y.reshape(3, 1))
    return cb.sum(y)


def keep_in_an_attribute(x):
    HOLDER.tensor = cb.tensor(x) * 2
    return cb.sum(x)


ENDED = {                                # name: (function, what the warning says, its cure)
    "item": (lambda x: x * cb.sum(x).item(), "`item` reads the value of a tensor", "compute with tensors"),
    "item of an argument": (lambda x: x[0].item() * x, "`item` reads", "compute with tensors"),
    "float": (lambda x: x * float(cb.sum(x)), "`item` reads", "return the tensor and read it outside"),
    "int": (lambda x: x * int(cb.sum(x)), "`item` reads", "compute"),
    "tolist": (lambda x: cb.tensor(cb.exp(x).tolist()), "`numpy` reads", "compute"),
    "tolist of an argument": (lambda x: cb.tensor(x.tolist()), "`numpy` reads the value of `x`", "compute"),
    "numpy": (lambda x: cb.tensor(cb.exp(x).numpy()), "`numpy` reads", "compute"),
    "np.asarray": (lambda x: cb.tensor(np.asarray(cb.exp(x))), "`numpy` reads", "compute"),
    "a buffer": (lambda x: memoryview(cb.exp(x)), "`numpy` reads", "compute"),
    "index": (lambda x: [1, 2, 3][cb.argmax(x)], "`item` reads", "compute"),
    "range": (lambda x: sum(range(cb.argmax(x)), cb.tensor(x)), "`item` reads", "compute"),
    "a mask of data": (lambda x: x[x > 0], "`x[mask]` reads", "cb.where(mask, x, 0)"),
    "kept in a list": (lambda x: (KEPT.append(x * 2), cb.sum(x))[1], "`KEPT` was changed", "make it a cb.State"),
    "kept in a closure": (keep_in_closure(), "`kept` was changed", "cb.State"),
    "kept in an attribute": (keep_in_an_attribute, "`HOLDER.tensor` was changed", "cb.State"),
    "a view kept": (keep_a_view, "`KEPT` was changed", "return it"),
    "a view kept of what was there": (lambda x: (KEPT.append(CONSTANT.reshape(3, 1)), cb.sum(x))[1],
     "`KEPT` was changed", "State"),
    "kept beside a history": (lambda x: (KEPT.append(cb.exp(x)), cb.sum(WEIGHT * KEPT[-1]))[1],
     "`KEPT` was changed", "State"),
    "a part of a history kept": (lambda x: (KEPT.append(WEIGHT * x), cb.sum(cb.exp(KEPT[-1])))[1],
     "`KEPT` was changed", "State"),
    "kept where nothing is seen": (lambda x: (keep(x * 2), cb.sum(x))[1], "kept outside: mul", "a cb.State"),
    "a view kept where nothing is seen": (lambda x: (keep(cb.exp(x)[:, None]), cb.sum(x))[1],
     "kept outside: exp", "State"),
}


def forget():
    KEPT.clear(), OUT_OF_SIGHT.clear()
    HOLDER.tensor = None


def counting(f, count):
    """f(x), and a State that counts calls."""
    def counted(x):
        count.assign(count + 1)
        return f(x)

    return counted


@pytest.mark.parametrize("name", ENDED)
def test_a_recording_that_cannot_be_used_has_been_the_call(name):
    f, what, cure = ENDED[name]
    count = cb.State(0.0)
    compiled = cb.compile(counting(f, count))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in (1, 2, 3):
            result = np.asarray(compiled(X))
            forget()
            assert same_bits(result, np.asarray(f(cb.tensor(X)))) and count.item() == n
            assert not engine.is_recording() and compiled.programs == []
            forget()
    assert [w.category for w in caught] == [RuntimeWarning] and caught[0].filename == __file__
    text = str(caught[0].message)
    assert what in text and cure in text and ("was changed" in what or re.search(HERE + r":\d+", text))
    assert cb.compile(lambda x: cb.tensor(x) * 2)(X).tolist() == [2.0, -4.0, 6.0]


@pytest.mark.parametrize("name", ENDED)
def test_strict_raises_and_puts_states_back(name):
    f, what, cure = ENDED[name]
    count, w, noise = cb.State(0.0), cb.Parameter([1.0, 2.0, 3.0]), cb.Generator(0)
    opt = optim.Adam([w], lr=0.1)

    def step(x):
        cb.sum(w * x * noise.uniform(3)).backward()
        opt.step()
        return f(x)

    before = noise.state
    w.grad = cb.ones(3)
    compiled = cb.compile(counting(step, count), strict=True)
    for _ in range(2):
        with pytest.raises(cb.TapeError) as error:
            compiled(X)
        assert what in str(error.value) and cure in str(error.value)
        forget()
        assert count.item() == 0.0 and w.tolist() == [1.0, 2.0, 3.0] and w.grad.tolist() == [1.0, 1.0, 1.0]
        assert noise.state == before and opt.state_dict()["steps"] == optim.Adam([w]).state_dict()["steps"]
        assert compiled.programs == [] and not engine.is_recording()


OPERATIONS = {                           # of an array they are NumPy's; of what a compiled function gets they are ours
    "a view of an argument": lambda x: cb.tensor(x[1:]),
    "a transposed argument": lambda x: cb.tensor(x.T),
    "a reshaped argument": lambda x: cb.tensor(x.reshape(3, 1)) * 2,
    "an array returned": lambda x: x * 2,
    "an argument returned": lambda x: x,
    "a number returned": lambda x: x.sum(),
    "a decision": lambda x: x * 10 if x.max() > 2.5 else x * 2,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_would_be_numpys_is_an_operation(name):
    f = OPERATIONS[name]
    compiled = cb.compile(f)
    for k in (1, 1, 1, 0.5, 1, 0.25, 2):
        x = X * np.float32(k)
        assert same_bits(compiled(x), f(cb.tensor(x))) and isinstance(compiled(x), cb.Tensor)
    assert len(compiled.programs) == (2 if name == "a decision" else 1)


def test_a_view_of_a_state_that_numpy_has():
    """It is read before a run, so what is read after a write must be read from the State itself."""
    state = cb.State(np.ones(3))
    view, part = np.asarray(state), np.asarray(state)[::-1][1:]

    def late(which):
        def f(x):
            state.assign(state + x)
            return cb.sum(cb.tensor(which))
        return f

    for k, which in enumerate((view, part)):
        with pytest.warns(RuntimeWarning, match="read the State itself"):
            assert cb.compile(late(which))(1.0).item() == len(which) * (k + 2)
        with pytest.raises(cb.TapeError, match="read the State itself"):
            cb.compile(late(which), strict=True)(1.0)
        assert state.tolist() == 3 * [k + 2]

    def early(x):
        y = cb.sum(cb.tensor(view)) * 1
        state.assign(state + x)
        return y

    compiled, twin = cb.compile(early), cb.State(state)
    for _ in range(4):
        assert compiled(1.0).item() == cb.sum(twin).item()
        twin.assign(twin + 1)


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("run, call", [(1, 1), (2, 2), (3, 4)])          # calls 2 and 4 are audits
def test_what_a_function_raises_goes_through(run, call, error):
    state, runs = cb.State(0.0), []

    def fail(_):
        runs.append(1)
        if len(runs) == run:
            raise error

    may_fail = unseen(fail)

    def f(x):
        state.assign(state + 1)
        may_fail(x)
        return x * state

    compiled = cb.compile(f)
    for n in range(1, 6):
        if n == call:
            with pytest.raises(type(error)):
                compiled(X)
            assert not engine.is_recording()
        else:
            assert same_bits(compiled(X), X * np.float32(n))
        assert state.item() == n         # the eager run's writes stay, as without compile


# ---- audits

@pytest.fixture
def hidden(tmp_path, monkeypatch):
    """Puts a number into a file, which is where `secret` has it from; `compile` sees no files."""
    file = tmp_path / "number"
    monkeypatch.setitem(globals(), "FILE", file)
    return lambda n: file.write_text(str(n))


def secret():
    return int(FILE.read_text())


FILE = None
HIDDEN = {
    "time": lambda x: x * (time.perf_counter_ns() % 1000003),
    "a constant": lambda x: x * secret(),
    "an array": lambda x: x + np.full(3, secret()),
    "how often": lambda x: sum((x for _ in range(secret())), cb.zeros(3)),
    "which operation": lambda x: (cb.exp, cb.tanh)[secret() % 2](x),
    "which parameter": lambda x: cb.clip(x, 0.0, secret() / 10),
    "which axis": lambda x: cb.sum(x * cb.ones((3, 3)), axis=secret() % 2),
}


def eagerly(f, *args):
    with cb.eager():
        return cb.compile(f)(*args)


@pytest.mark.parametrize("name", HIDDEN)
def test_what_nothing_sees_is_found_by_the_second_call(name, hidden):
    """From then on calls are eager, and right."""
    compiled = cb.compile(HIDDEN[name])
    hidden(1)
    compiled(X)
    hidden(2)
    with pytest.warns(RuntimeWarning, match=HERE + rf":{HIDDEN[name].__code__.co_firstlineno}\b") as caught:
        second = compiled(X + 1)
    assert len(caught) == 1 and caught[0].filename == __file__ and "runs eagerly from now on" in str(caught[0].message)
    assert compiled.programs == [] and not engine.is_recording()
    if name != "time":
        assert same_bits(second, eagerly(HIDDEN[name], X + 1))
        hidden(3)
        assert same_bits(compiled(X), eagerly(HIDDEN[name], X))
    assert compiled.programs == []
    hidden(4)
    compiled.reset()
    compiled(X)
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("late, found, stale", [(3, 4, 1), (5, 8, 3), (9, 16, 7), (17, 32, 15)])
def test_what_is_hidden_longer_is_an_error_after_the_eager_call(late, found, stale, hidden):
    state = cb.State(0.0)

    def f(x):
        state.assign(state + 1)
        return x * secret()

    compiled = cb.compile(f)
    hidden(1)
    for n in range(1, found):
        if n == late:
            hidden(2)
        assert same_bits(compiled(X), X)
    with pytest.raises(cb.AuditError, match=f"Up to {stale} replays since the last audit") as error:
        compiled(X)
    assert same_bits(error.value.result, X * 2) and state.item() == found and compiled.programs == []
    assert same_bits(compiled(X), X * 2) and len(compiled.programs) == 1


def test_every_third_call_is_audited(hidden):
    compiled = cb.compile(lambda x: x * secret(), audit=3)
    hidden(2)
    for n in range(1, 10):
        if n == 5:
            hidden(3)                    # seen by the audit of call 6
        if n == 6:
            with pytest.raises(cb.AuditError, match="another constant in mul"):
                compiled(X)
        else:
            assert compiled(X)[0].item() == (2.0 if n < 6 else 3.0)


@pytest.mark.parametrize("audit, runs", [(0, {1, 2, 4, 8, 16, 32}), (1, set(range(1, 37))),
                                         (5, {1, 2, 4, 5, 8, 10, 15, 16, 20, 25, 30, 32, 35})])
def test_an_audit_happens_once_and_its_writes_too(audit, runs):
    state = cb.State(0.0)
    note, seen = notes()

    def f(x):
        note(None)
        state.assign(state + cb.sum(x))
        return cb.tensor(x) * state

    compiled, ran = cb.compile(f, audit=audit), set()
    for n in range(1, 37):
        before = len(seen)
        assert same_bits(compiled(X), X * np.float32(2 * n))
        assert state.item() == 2 * n and state.version == n
        assert len(seen) <= before + 1
        ran |= {n} if len(seen) > before else set()
    assert ran == runs


def test_each_program_is_audited_by_its_own_calls():
    note, seen = notes()
    compiled = cb.compile(lambda x: (note(x.shape), x * 2)[1])
    for _ in range(8):
        for size in (2, 3):
            compiled(np.ones(size, "float32"))
    assert seen == [(2,), (3,)] * 4


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

    assert f.options["audit"] == 2 and f.__doc__ == "Twice." and f.__name__ == "f"
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


(note, RUNS), MEANWHILE = notes(), queue.SimpleQueue()
meanwhile = unseen(lambda _: MEANWHILE.empty() or elsewhere(MEANWHILE.get()))


class Shared:
    """A compiled function that reads and writes a State; runs are noted, what is in MEANWHILE happens elsewhere."""

    def __init__(self):
        self.state = cb.State([1.0, 2.0])
        self.f = cb.compile(self.plain)

    def plain(self, x):
        note(None)
        y = x * self.state
        meanwhile(None)
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
    assert "Shared.plain: other threads wrote its States during 8 audits" in str(caught[0].message)


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
    with pytest.warns(RuntimeWarning, match="replays with other bits"):
        assert shared.f(x).tolist() == [23.0, 304.0]
    assert other.item() == also and MEANWHILE.empty() and shared.f.programs == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_gradient_written_by_another_thread_leaves_the_audit_for_the_next_call(when):
    w, (ran, runs) = cb.Parameter([1.0, 2.0]), notes()

    def f(x):
        ran(None)
        if when == "before":
            meanwhile(None)
        cb.sum(w * x).backward()
        if when == "after":
            meanwhile(None)

    compiled, x = cb.compile(f), cb.tensor([10.0, 100.0])
    w.grad = cb.zeros(2)
    for _ in range(3):
        compiled(x)
    MEANWHILE.put(lambda: setattr(w, "grad", cb.tensor([-5.0, -5.0])))
    compiled(x)                          # the fourth, an audit
    assert w.grad.tolist() == ([5.0, 95.0] if when == "before" else [-5.0, -5.0])
    for n in (4, 5):                     # the audit, a replay
        compiled(x)
        assert len(runs) == 4 and w.grad[0].item() == (5.0 if when == "before" else -5.0) + 10.0 * (n - 3)
    assert len(compiled.programs) == 1 and compiled.history.given_up is None


def test_a_sweep_that_only_some_runs_make(hidden):
    """Neither which gradients there are, nor whether there are any, is taken for granted."""
    w, v = cb.Parameter([1.0]), cb.Parameter([2.0])

    def f(x):
        w.grad = v.grad = None
        cb.sum((w if secret() % 2 else v) * x * (secret() < 3)).backward() if secret() else None
        return x * 2

    for first, then in ((1, 2), (2, 1), (0, 1), (1, 0)):
        compiled = cb.compile(f)
        hidden(first)
        compiled(X[:1])
        hidden(then)
        with pytest.warns(RuntimeWarning, match="replays with other bits than it runs, in the set of gradients"):
            compiled(X[:1])
        assert (w.grad is None, v.grad is None) == {0: (True, True), 1: (False, True), 2: (True, False)}[then]


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
