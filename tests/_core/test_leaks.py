"""Calls that raise leave nothing behind: bytes of live tensors, reference counts and resident memory stay flat."""

import gc
import sys

import numpy as np
import pytest

import cybackprop as cb
from cybackprop._core import engine

pytestmark = pytest.mark.plain_build
CALLS = 10_000
X = cb.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
W = cb.Parameter(np.ones((3, 4)))
WIDE = cb.tensor(np.ones(100))
ARRAY, NARROW, TEXT = np.arange(7.0), cb.ones((2, 3)), np.array(["a", "b"])
FREED = cb.sum(X * X)
FREED.backward()


def written():
    w = cb.Parameter([1.0, 2.0])
    y = cb.sum(w * w)
    w.assign([3.0, 4.0])
    y.backward()


def bad_hook():
    h = X * 2
    h.register_hook(lambda g: np.ones(3))
    h.backward(ARRAY[:6].reshape(2, 3))


def bad_rule():
    steps = cb.backward_steps(cb.sum(X * X), create_graph=True)
    next(steps)
    steps.throw(KeyError("stop"))


def interrupted():
    a = cb.sum(X * X)
    first = cb.backward_steps(a)
    next(first)
    a.backward()


RAISES = {
    "tensor of text": (lambda: cb.tensor(TEXT), cb.DTypeError),
    "tensor ragged": (lambda: cb.tensor([[1.0], [1.0, 2.0]]), cb.ShapeError),
    "tensor of 9 axes": (lambda: cb.tensor(np.zeros((1,) * 9)), cb.ShapeError),
    "tensor takes no gradient": (lambda: cb.tensor([1, 2], requires_grad=True), cb.DTypeError),
    "parameter of ints": (lambda: cb.Parameter([1, 2]), cb.DTypeError),
    "no memory": (lambda: cb.broadcast_to(X[:1, :1], (2**40, 2**20)), MemoryError),
    "assign shape": (lambda: W.assign(ARRAY), cb.ShapeError),
    "assign dtype": (lambda: cb.Parameter([1.0, 2.0]).assign(TEXT), cb.DTypeError),
    "grad shape": (lambda: setattr(X, "grad", ARRAY), cb.ShapeError),
    "add shapes": (lambda: X + ARRAY, cb.ShapeError),
    "add dtypes": (lambda: X + NARROW, cb.DTypeError),
    "add text": (lambda: X + TEXT, cb.DTypeError),
    "compare": (lambda: X < WIDE, cb.ShapeError),
    "exp of ints": (lambda: cb.exp([1, 2]), cb.DTypeError),
    "matmul": (lambda: X @ X, cb.ShapeError),
    "matmul batch": (lambda: cb.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5))), cb.ShapeError),
    "dense": (lambda: cb.dense(X, X), cb.ShapeError),
    "dense bias": (lambda: cb.dense(X, W, ARRAY, activation="gelu"), cb.ShapeError),
    "dense name": (lambda: cb.dense(X, W, activation="no such"), ValueError),
    "sum axis": (lambda: cb.sum(X * 2, axis=5), cb.ShapeError),
    "max of nothing": (lambda: cb.max(X[:0] * 2), cb.ShapeError),
    "softmax of nothing": (lambda: cb.softmax(X[:, :0]), cb.ShapeError),
    "reshape": (lambda: (X * 2).reshape(5), cb.ShapeError),
    "transpose": (lambda: cb.transpose(X * 2, (0, 0)), cb.ShapeError),
    "broadcast": (lambda: cb.broadcast_to(X * 2, (5, 5)), cb.ShapeError),
    "concatenate": (lambda: cb.concatenate([X * 2, W * 2]), cb.ShapeError),
    "stack": (lambda: cb.stack([X * 2, W * 2]), cb.ShapeError),
    "index": (lambda: (X * 2)[7], IndexError),
    "index array": (lambda: (X * 2)[[0, 9]], IndexError),
    "take": (lambda: cb.take(X * 2, [0, 9]), IndexError),
    "gather": (lambda: cb.gather(X * 2, [[0, 9, 0], [0, 0, 0]]), IndexError),
    "one_hot": (lambda: cb.one_hot([5], 3), IndexError),
    "where": (lambda: cb.where(X, X, X), cb.DTypeError),
    "where shapes": (lambda: cb.where(X > 0, X * 2, WIDE), cb.ShapeError),
    "astype": (lambda: (X * 2).astype("float16"), cb.DTypeError),
    "dropout": (lambda: cb.dropout(X * 2, 1.5), ValueError),
    "item": (lambda: (X * 2).item(), cb.ShapeError),
    "backward of many": (lambda: (X * 2).backward(), cb.ShapeError),
    "backward cotangent": (lambda: (X * 2).backward(WIDE), cb.ShapeError),
    "backward freed": (lambda: FREED.backward(), cb.TapeError),
    "backward of nothing": (lambda: WIDE.backward(), cb.TapeError),
    "written": (written, cb.TapeError),
    "hook": (bad_hook, cb.ShapeError),
    "thrown into steps": (bad_rule, KeyError),
    "two sweeps at once": (interrupted, cb.TapeError),
    "grad of many": (lambda: cb.grad(lambda x: x * 2)(X), cb.ShapeError),
    "grad of ints": (lambda: cb.grad(lambda x: x)(3), cb.DTypeError),
    "grad raises inside": (lambda: cb.grad(lambda x: cb.exp(x) @ W @ W)(X), cb.ShapeError),
    "jvp": (lambda: cb.jvp(cb.exp, (X,), (WIDE,)), cb.ShapeError),
    "pull": (lambda: cb.vjp(cb.exp, X)[1](WIDE), cb.ShapeError),
    "writable buffer": (lambda: np.frombuffer(WIDE).__setitem__(0, 1.0), ValueError),
}


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


@pytest.mark.parametrize("name", RAISES)
def test_ten_thousand_failures_leave_nothing(name):
    call, error = RAISES[name]

    def fail(n):
        for _ in range(n):
            try:
                call()
            except error:
                continue
            raise AssertionError("nothing was raised")

    held = (X, W, WIDE, ARRAY, NARROW, TEXT, FREED, X.record)          # no dtype: numpy.ones leaks references to it
    fail(200)
    gc.collect()
    gc.disable()
    try:
        before, pages = engine.bytes_in_use(), resident()
        counts = [sys.getrefcount(o) for o in held]
        fail(CALLS)
        assert engine.bytes_in_use() == before
        after = [sys.getrefcount(o) for o in held]
        assert max(abs(a - b) for a, b in zip(after, counts, strict=True)) <= 2
        gc.collect()                     # tracebacks may be cycles: Python's, not ours
        assert resident() - pages < 2 << 20
    finally:
        gc.enable()
    assert X.grad is None or X.grad.shape == (2, 3)


def test_a_failed_call_changes_nothing():
    w = cb.Parameter(np.ones((2, 2)))
    w.grad = np.full((2, 2), 3.0)
    for call in (lambda: w.assign(np.ones(3)), lambda: w.assign("ab"), lambda: setattr(w, "grad", np.ones(3)),
                 lambda: (w @ w).backward(), lambda: (w * w).backward(np.ones(5)), lambda: w.assign([["a", "b"]] * 2)):
        with pytest.raises((ValueError, TypeError)):
            call()
    assert w.version == 0 and w.tolist() == [[1, 1], [1, 1]] and w.grad.tolist() == [[3, 3], [3, 3]]


def test_a_failed_draw_leaves_the_stream():
    generator = cb.Generator(3)
    generator.uniform(5)
    state = generator.state
    for call in (lambda: generator.uniform((-3,)), lambda: generator.normal(3, dtype="int64"),
                 lambda: generator.integers(0, 5),
                 lambda: generator.permutation(-2), lambda: generator.mask((2, -1), 0.5),
                 lambda: generator.uniform(2**62),
                 lambda: generator.uniform("a"), lambda: cb.dropout([1, 2], 0.5, rng=generator)):
        with pytest.raises((ValueError, TypeError, MemoryError)):
            call()
        assert generator.state == state
