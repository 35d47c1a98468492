"""Any depth on a stack of 256 KiB, and memory that comes back with the garbage collector off."""

import gc
import threading

import numpy as np
import pytest

import cybackprop as cb
from cybackprop._core import engine

DEPTH = 1_000_000
SPLITS = 167_000                         # each is six records
STACK = 256 * 1024


@pytest.fixture
def small_stack():
    """Run a function in a thread with a stack no recursion would survive; what it raises comes out here."""
    before = threading.stack_size(STACK)

    def run(function):
        errors = []

        def body():
            try:
                function()
            except BaseException as error:       # handed on
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    yield run
    threading.stack_size(before)


@pytest.fixture
def flat():
    """Bytes of live tensors are the same afterwards, without the garbage collector."""
    gc.collect()
    gc.disable()
    before = engine.bytes_in_use()
    yield
    after = engine.bytes_in_use()
    gc.enable()
    assert after == before


def resident():
    """Resident memory in bytes."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def chain(x, depth):
    y = x
    for _ in range(depth // 4):
        y = cb.tanh(y) * 1.0625 + 0.03125 - 0.03125
    return y


def splits(x, n):
    """Split, join in another order, one half changed: two branches are alive side by side."""
    y = x
    for _ in range(n):
        a, b = y[:1], y[1:]
        y = cb.concatenate([b, (a + b) * 0.5])
    return y


def test_a_chain_of_a_million_records(small_stack, flat):
    def work():
        x = cb.tensor(np.array([0.3, -0.2]), requires_grad=True)
        y = chain(x, DEPTH)
        y.backward([1.0, 0.5])
        assert np.isfinite(x.grad.numpy()).all()
        y = chain(x, DEPTH)              # and one that is freed without a sweep
        assert repr(y) and y.detach().is_leaf
        del y

    small_stack(work)


def test_a_short_chain_has_the_right_gradient():
    x = cb.tensor(np.array([0.3]), requires_grad=True)
    chain(x, 40).backward([1.0])
    value, slope = 0.3, 1.0
    for _ in range(10):
        slope *= 1.0625 * (1 - np.tanh(value) ** 2)
        value = np.tanh(value) * 1.0625
    assert x.grad.item() == pytest.approx(slope, rel=1e-13)


def test_splits_and_joins(small_stack, flat):
    def work():
        x, g = cb.tensor(np.array([0.3, -2.0]), requires_grad=True), np.array([1.0, 3.0])
        splits(x, SPLITS).backward(g)
        step = np.array([[0.0, 1.0], [0.5, 0.5]])
        np.testing.assert_allclose(x.grad.numpy(), np.linalg.matrix_power(step, SPLITS).T @ g, rtol=1e-10)
        y = splits(x, SPLITS // 3)       # freed without a sweep
        del y

    small_stack(work)


def test_a_deep_recorded_sweep_and_its_own(small_stack, flat):
    def work():
        x = cb.tensor(np.array([0.3]), requires_grad=True)
        y = chain(x, DEPTH // 20)
        y.backward([1.0], create_graph=True)
        g, x.grad = x.grad, None
        g.backward([1.0])
        assert np.isfinite(x.grad.item())
        del y, g

    small_stack(work)


def test_deep_transforms(small_stack, flat):
    def work():
        x = np.array([0.3])
        slope = cb.grad(lambda t: cb.sum(chain(t, DEPTH // 20)))(x)
        moved = cb.jvp(lambda t: chain(t, DEPTH // 20), (x,), (np.array([1.0]),))[1]
        np.testing.assert_allclose(slope.numpy(), moved.numpy(), rtol=1e-9)

    small_stack(work)


def test_a_wide_diamond(small_stack, flat):
    def work():
        x = cb.tensor(np.array([2.0]), requires_grad=True)
        cb.sum(cb.concatenate([x * float(i) for i in range(20_000)])).backward()
        assert x.grad.tolist() == [19_999 * 10_000.0]
        y = x
        for _ in range(900):
            y = y + y
            y = y * 0.5
        y.backward([3.0])
        assert x.grad.tolist() == [19_999 * 10_000.0 + 3.0]

    small_stack(work)


# ---- memory comes back

def swept(w):
    cb.sum(cb.tanh(w @ w) * w).backward()


def retained(w):
    y = cb.sum(cb.tanh(w @ w) * w)
    y.backward(retain_graph=True)


def second_order(w):
    cb.sum(cb.tanh(w @ w) * w).backward(create_graph=True)
    g, w.grad = w.grad, None
    cb.sum(g * g).backward()


def never_swept(w):
    cb.log_softmax(cb.dense(w, w, activation="gelu")[1:, ::2], axis=0)


def abandoned(w, create_graph=False):
    steps = cb.backward_steps(cb.sum(cb.tanh(w @ w) * w), create_graph=create_graph)
    next(steps), next(steps)


def failed_hook(w):
    y = cb.tanh(w)
    y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cb.sum(y * w).backward()


def nested(w):
    cb.jvp(cb.grad(lambda t: cb.sum(cb.tanh(t @ w) ** 2)), (w,), (np.ones(w.shape),))
    cb.vjp(lambda t: t * w, w)[1](np.ones(w.shape))


def exported(w):
    a = np.asarray(cb.exp(w))
    memoryview(cb.exp(w))
    del a


@pytest.mark.plain_build
@pytest.mark.parametrize("use", (swept, retained, second_order, never_swept, abandoned, lambda w: abandoned(w, True),
                                 failed_hook, nested, exported), ids=lambda f: f.__name__)
def test_memory_returns(use):
    w = cb.Parameter(np.eye(5) * 0.3)
    for _ in range(3):                   # whatever is made once
        use(w)
        w.grad = None
    gc.collect()
    gc.disable()
    try:
        before, pages = engine.bytes_in_use(), resident()
        for _ in range(1500):
            use(w)
            w.grad = None
        assert engine.bytes_in_use() == before
        assert resident() - pages < 2 << 20
    finally:
        gc.enable()
