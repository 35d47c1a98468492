"""Compiled functions in threads, and what thousands of calls and recordings leave behind."""

import gc
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from samples import same_bits

import cybackprop as cb
from cybackprop import nn
from cybackprop._core import engine

THREADS, CALLS = 4, 150
BEFORE = 1024                            # calls before threads share a function: the next audit comes at call 2048
F = np.random.default_rng(7)


def run_all(work):
    """work(thread) in several threads at once."""
    gate = threading.Barrier(THREADS)

    def start(i):
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


@pytest.fixture
def often():
    """Threads take turns after a few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("size", [3, 30_000])
def test_one_pure_function_in_several_threads(size, often):
    w = cb.Parameter(F.normal(size=size).astype("float32"))
    compiled = cb.compile(lambda x: cb.sum(cb.tanh(w * x) * x))
    calls = CALLS if size < 100 else 20
    inputs = [[F.normal(size=size).astype("float32") for _ in range(calls)] for _ in range(THREADS)]

    def work(i):
        return [(compiled(x), cb.grad(compiled)(x)) for x in inputs[i]]

    for i, results in enumerate(run_all(work)):
        for x, (y, g) in zip(inputs[i], results, strict=True):
            assert same_bits(y.detach(), cb.sum(cb.tanh(w * x) * x).detach())
            assert same_bits(g, cb.grad(lambda x: cb.sum(cb.tanh(w * x) * x))(x))


def test_one_function_that_writes_in_several_threads(often):
    total, calls = cb.State(np.zeros(2000)), cb.State(0.0)

    def f(x):
        total.assign(total + x)
        calls.assign(calls + 1)
        return cb.sum(x)

    compiled, x = cb.compile(f), cb.ones(2000, "float64")
    for _ in range(BEFORE):
        compiled(x)
    run_all(lambda i: [compiled(x) for _ in range(CALLS)])
    assert calls.item() == BEFORE + THREADS * CALLS and same_bits(total, np.full(2000, 1.0 * BEFORE + THREADS * CALLS))
    assert calls.version == BEFORE + THREADS * CALLS


def test_threads_that_record_at_once(often):
    def work(i):
        compiled = cb.compile(lambda x: cb.exp(cb.tensor(x) * (i + 1)) - i)
        return [compiled(np.full(5, 0.1 * k, "float32")) for k in range(20)]

    for i, results in enumerate(run_all(work)):
        for k, y in enumerate(results):
            assert same_bits(y, cb.exp(cb.full(5, 0.1 * k) * (i + 1)) - i)


def test_one_function_recorded_by_all_threads_at_once(often):
    compiled = cb.compile(lambda x: cb.exp(x) * 2)

    def work(i):
        return [compiled(np.full(k % 3 + 1, 0.1 * i, "float32")) for k in range(30)]

    for i, results in enumerate(run_all(work)):
        for k, y in enumerate(results):
            assert same_bits(y, cb.exp(cb.full(k % 3 + 1, 0.1 * i)) * 2)
    assert {p.key.leaves[0][2] for p in compiled.programs} == {(1,), (2,), (3,)}


def test_gradients_that_several_threads_add_to(often):
    w = cb.Parameter(np.ones(2000))
    compiled = cb.compile(lambda x: cb.sum(w * x).backward())
    for _ in range(BEFORE + 1):          # recorded and audited, without a gradient and with one
        compiled(cb.ones(2000, "float64"))
    run_all(lambda i: [compiled(cb.ones(2000, "float64")) for _ in range(CALLS)])
    assert same_bits(w.grad, np.full(2000, 1.0 + BEFORE + THREADS * CALLS))


@pytest.mark.parametrize("seed", range(3))
def test_gradients_that_others_add_to_during_an_audit_are_no_fault(seed, often):
    """What is not sure is audited at another call; a program is not given up for it."""
    w = cb.Parameter(np.ones(2000))
    compiled = cb.compile(lambda x: cb.sum(w * x).backward(), audit=3)
    for _ in range(4):
        compiled(cb.ones(2000, "float64"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "compile: .*other threads wrote", RuntimeWarning)
        run_all(lambda i: [compiled(cb.ones(2000, "float64")) for _ in range(CALLS)])
    assert compiled.history.given_up is None and len(compiled.programs) == 2


def test_a_sweep_refuses_what_another_thread_has_written_since(often):
    """The versions that a result keeps are those of its run, not of what came right after."""
    w, one = cb.Parameter(np.ones(3000)), cb.ones(3000, "float64")
    forward, write = cb.compile(lambda x: cb.sum(w * w * x)), cb.compile(lambda: w.assign(w + 1))
    for _ in range(BEFORE):
        write(), forward(one).backward()
        w.grad = None

    def work(i):
        for _ in range(CALLS):
            if i:
                write()
                continue
            y = forward(one)
            try:
                y.backward()
            except cb.TapeError:
                continue
            slope = w.grad[0].item()     # 2 w, of the w that y comes from
            assert y.item() == 3000 * (slope / 2) ** 2 and len(set(w.grad.tolist())) == 1
            w.grad = None

    run_all(work)


# ---- what stays behind

def network():
    model = nn.Sequential(nn.Dense(4, 8, activation="gelu", rng=0), nn.Dropout(0.3, rng=1), nn.Dense(8, 3, rng=2))
    seen = cb.State(0.0)

    def step(x, labels):
        loss = nn.cross_entropy(model(x), labels)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.assign(p - 0.1 * p.grad)
        seen.assign(seen + 1)
        return loss.detach()

    return step


W = cb.Parameter(np.ones(200))
LEAKS = {
    "a forward": (lambda x: cb.sum(cb.tanh(W * x)).detach(), lambda: (F.normal(size=200),)),
    "a history that is dropped": (lambda x: cb.sum(cb.tanh(W * x)), lambda: (F.normal(size=200),)),
    "a tensor as argument": (lambda x: cb.exp(x), lambda: (cb.tensor(F.normal(size=200)),)),
    "several results": (lambda x: {"a": W * x, "b": [cb.exp(x), x]}, lambda: (cb.tensor(F.normal(size=200)),)),
    "a copied argument": (lambda x: cb.exp(x), lambda: (F.normal(size=400)[::2],)),
    "a nest": (lambda t: cb.sub(t["a"], t["b"][0]), lambda: ({"a": F.normal(size=200), "b": [F.normal(size=200)]},)),
}


def objects():
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("name", LEAKS)
def test_two_thousand_calls_leave_nothing(name):
    f, make = LEAKS[name]
    compiled = cb.compile(f)
    for _ in range(5):
        compiled(*make())
    count, before = objects(), engine.bytes_in_use()
    gc.disable()                         # nothing of ours waits for the collector
    try:
        for _ in range(2000):
            compiled(*make())
        assert engine.bytes_in_use() == before
    finally:
        gc.enable()
    assert objects() - count < 20


def test_a_training_step_leaves_nothing():
    compiled = cb.compile(network())
    args = F.normal(size=(16, 4)).astype("float32"), F.integers(0, 3, 16)
    for _ in range(5):
        compiled(*args)
    count, before = objects(), engine.bytes_in_use()
    for _ in range(2000):
        compiled(*args)
    assert engine.bytes_in_use() == before and objects() - count < 20


def test_swept_results_leave_nothing():
    compiled = cb.compile(lambda x: cb.sum(cb.tanh(W * x)))
    x = F.normal(size=200)

    def turn():
        y = compiled(x)
        y.backward(create_graph=True)
        W.grad = None
        compiled(x).backward()
        W.grad = None
        cb.grad(compiled)(x)

    for _ in range(5):
        turn()
    count, before = objects(), engine.bytes_in_use()
    gc.disable()
    try:
        for _ in range(200):
            turn()
        assert engine.bytes_in_use() == before
    finally:
        gc.enable()
    assert objects() - count < 20


def record_and_forget():
    step = cb.compile(network(), audit=2)
    for _ in range(3):
        step(F.normal(size=(16, 4)).astype("float32"), F.integers(0, 3, 16))
    forward = cb.compile(LEAKS["several results"][0])
    for _ in range(3):
        forward(cb.tensor(F.normal(size=200)))["a"].sum().backward()
    W.grad = None


def record_and_fail():
    def wrong(x):
        record_and_forget.kept = cb.exp(x)
        return cb.sum(x)

    for f, error in ((wrong, cb.TapeError), (lambda x: cb.exp(x).item(), ValueError), (lambda x: x.y, AttributeError)):
        with pytest.raises((error, cb.TapeError)):
            cb.compile(f, strict=True)(np.ones(300))
        if error is not cb.TapeError:
            with pytest.raises(error):
                cb.compile(f)(np.ones(300))
    with pytest.warns(RuntimeWarning, match="reads the value"):
        cb.compile(lambda x: cb.sum(x).item())(np.ones(300))
    del record_and_forget.kept


@pytest.mark.parametrize("act", [record_and_forget, record_and_fail])
def test_recording_leaves_nothing(act):
    for _ in range(3):
        act()
    count, before = objects(), engine.bytes_in_use()
    tracemalloc.start()
    try:
        act()
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(30):
            act()
        gc.collect()
        assert engine.bytes_in_use() == before and objects() - count < 20
        assert tracemalloc.get_traced_memory()[0] - start < 30_000
    finally:
        tracemalloc.stop()
