"""cond: the branch that is meant, in each replay and each step, and its gradients alone."""

import gc

import numpy as np
import pytest
import unrolled

import cybackprop as cb
from cybackprop import nn
from cybackprop._core import engine


def f64(*x):
    return cb.tensor(np.array(x[0] if len(x) == 1 else x, "float64"))


W = cb.Parameter(np.array([1.5, 0.5]))
LEFT, RIGHT = f64(2.0, -4.0), f64(-1.0, -3.0)
V = f64(0.3, 0.7)


def chosen(x, z):
    """Branches that read different things outside; z has a history."""
    y = cb.sin(z)
    return cb.cond(cb.sum(x * V) > 0, lambda x: cb.sqrt(cb.abs(x)) * W + y, lambda x: -x * x * cb.exp(z), x)


def in_python(x, z):
    y = cb.sin(z)
    return cb.sqrt(cb.abs(x)) * W + y if float((x * V).sum()) > 0 else -x * x * cb.exp(z)


def loss(f):
    return lambda x, z: cb.sum(f(x, z) ** 3)


TRANSFORMS = {
    "value": lambda f: loss(f),
    "grad": lambda f: cb.grad(loss(f), (0, 1)),
    "jvp": lambda f: lambda x, z: cb.jvp(loss(f), (x, z), (z, x))[1],
    "grad of grad": lambda f: cb.grad(
        lambda x, z: sum((cb.sum(g * g) for g in cb.grad(loss(f), (0, 1))(x, z)), f64(0.0)), (0, 1)),
    "jvp of grad": lambda f: lambda x, z: cb.jvp(cb.grad(loss(f), (0, 1)), (x, z), (z, x))[1],
    "grad of jvp": lambda f: cb.grad(lambda x, z: cb.jvp(loss(f), (x, z), (z, x))[1], (0, 1)),
    "jvp of jvp": lambda f: lambda x, z: cb.jvp(lambda x, z: cb.jvp(loss(f), (x, z), (V, V))[1], (x, z), (z, x))[1],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_one_program_for_both_branches(name):
    step = cb.compile(TRANSFORMS[name](chosen))
    for x in (LEFT, RIGHT, LEFT, -RIGHT, RIGHT, -LEFT):
        unrolled.close(step(x, V), TRANSFORMS[name](in_python)(x, V), 1e-10)
        unrolled.close(TRANSFORMS[name](chosen)(x, V), TRANSFORMS[name](in_python)(x, V), 1e-12)
    assert len(step.programs) == 1


@pytest.mark.parametrize("name", TRANSFORMS)
def test_in_the_body_of_a_scan(name):
    xs = cb.tensor(np.random.default_rng(0).normal(size=(8, 2)))

    def whole(scan, f):
        def of(x, z):
            last, ys = scan(lambda c, x: (cb.tanh(f(c + x, z)), c), x, xs)
            return last + cb.sum(ys * ys)
        return of

    found = TRANSFORMS[name](whole(cb.scan, chosen))(LEFT, V)
    unrolled.close(found, TRANSFORMS[name](whole(unrolled.scan, in_python))(LEFT, V), 1e-9)


def test_parameters_get_gradients_from_the_branch_that_was_taken():
    step = cb.compile(lambda x: cb.sum(chosen(x, V)).backward())
    for x in (LEFT, RIGHT, LEFT, RIGHT):
        W.grad = None
        step(x)
        found = W.grad
        W.grad = None
        y = cb.sum(in_python(x, V))
        if y.requires_grad:
            y.backward()
        expected = W.grad if W.grad is not None else cb.zeros(2, "float64")
        unrolled.close(found, expected, 1e-12)
    W.grad = None


def test_eagerly_it_is_a_call():
    seen = []
    assert cb.cond(True, lambda x, k: seen.append(k) or x, lambda x, k: None, LEFT, "left") is LEFT
    assert cb.cond(cb.tensor([False]), lambda x: None, lambda x: x * 2, LEFT).tolist() == [4, -8]
    assert seen == ["left"]
    x = cb.tensor([4.0], requires_grad=True)
    y = cb.cond(cb.sum(x) > 0, cb.sqrt, cb.neg, x)
    assert y.record.op == "sqrt"


def test_strong_zero():
    """The other branch's infinite slope stays out."""
    f = cb.compile(cb.grad(lambda x: cb.sum(cb.cond(cb.sum(x) > 0, cb.sqrt, lambda x: 3 * x, x))))
    assert [f(f64(v)).item() for v in (4.0, 0.0, 0.0, 4.0, 0.0)] == [0.25, 3, 3, 0.25, 3]


def test_states():
    """A branch that writes a State beside one that does not."""
    results = []
    for compiled in (True, False):
        count, drop = cb.State(0.0), nn.Dropout(0.5, rng=2)

        def dropped(x, count=count, drop=drop):
            count.assign(count + 1)
            return drop(x)

        def step(x, dropped=dropped):
            return cb.cond(cb.sum(x) > 0, dropped, lambda x: x * 2, x)

        step = cb.compile(step) if compiled else step
        with cb.no_grad():
            inputs = LEFT, -LEFT, -LEFT, -LEFT, LEFT
            results.append([(step(x).tolist(), count.item(), drop.rng.state) for x in inputs])
    assert results[0] == results[1]


def test_operands_that_are_no_tensors():
    @cb.compile
    def step(x, k):
        p = {"x": x, "k": k, "no": None}
        return cb.cond(cb.sum(x) > 0, lambda p: p["x"] * p["k"], lambda p: p["x"] + p["k"], p)

    for x, k in ((LEFT, 3), (RIGHT, 3), (LEFT, 5), (RIGHT, 5), (LEFT, 3)):
        assert step(x, k).tolist() == (x * k if float(cb.sum(x)) > 0 else x + k).tolist()


def test_a_branch_that_would_refuse_its_data():
    """Only the one that is taken is asked."""
    table = cb.tensor([1.0, 2.0])

    @cb.compile
    def step(i):
        return cb.cond(cb.max(i.astype("float32")) < 2, lambda i: cb.take(table, i), lambda i: cb.zeros(2), i)

    assert [step(cb.tensor(i)).tolist() for i in ([5, 0], [1, 0], [9, 9], [0, 0])] == [[0, 0], [2, 1], [0, 0], [1, 1]]


def test_nested():
    @cb.compile
    def step(x):
        return cb.cond(cb.sum(x) > 0, lambda x: cb.cond(cb.max(x) > 3, lambda x: x * 2, lambda x: x * 3, x),
                       lambda x: cb.scan(lambda c, _: (c + 1, None), x, length=4)[0], x)

    assert [step(f64(v)).item() for v in (5.0, 1.0, -1.0, 5.0)] == [10, 3, 3, 10] and len(step.programs) == 1


def test_memory_returns():
    def run():
        step = cb.compile(cb.grad(loss(chosen), (0, 1)))
        for x in (LEFT, RIGHT, LEFT):
            step(x, V)

    run()
    gc.collect()
    before = engine.bytes_in_use()
    run()
    gc.collect()
    assert engine.bytes_in_use() == before
