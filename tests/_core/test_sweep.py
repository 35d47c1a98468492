"""The sweep seen from outside: hooks, single steps, threads."""

import threading

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import TapeError


def leaf(*values):
    return cb.tensor(np.array(values), requires_grad=True)


def test_the_order_of_leaves_does_not_depend_on_when_they_became_leaves():
    """Hooks and gradients come in the order of the graph."""
    def order(again):
        leaves, seen = [leaf(float(i)) for i in range(6)], []
        for i in again:
            leaves[i].requires_grad = False
        for i in again:
            leaves[i].requires_grad = True
        for i, x in enumerate(leaves):
            x.register_hook(lambda g, i=i: seen.append(i))
        (leaves[2] * leaves[0] + cb.exp(leaves[5] * leaves[1]) * leaves[3] - leaves[4] * leaves[2]).backward()
        return seen

    assert order([]) == order([1, 3]) == order([5, 0, 2, 4]) == order([3, 2, 1, 0])


# ---- hooks

def test_hooks_see_replace_and_leave():
    x, seen = leaf(2.0), []
    h = x * 5
    x.register_hook(lambda g: seen.append(g.tolist()))
    remove = h.register_hook(lambda g: g * 10)
    h.backward([1.5], retain_graph=True)
    assert seen == [[75.0]] and x.grad.tolist() == [75.0]
    remove()
    h.backward([1.5])
    assert seen == [[75.0], [7.5]]


def test_a_hook_runs_once_on_the_finished_gradient_in_order():
    x, seen = leaf(2.0), []
    h = cb.tanh(x)
    h.register_hook(lambda g: seen.append(("a", g.item())))
    h.register_hook(lambda g: seen.append(("b", g.item())))
    (h * 2 + h * 3 + h).backward([1.0])
    assert seen == [("a", 6.0), ("b", 6.0)]


def test_removing_twice_removes_one_registration():
    x, n = leaf(2.0), []

    def hook(g):
        n.append(1)

    first, _ = x.register_hook(hook), x.register_hook(hook)
    first()
    first()
    (x * 1).backward([1.0])
    assert n == [1]


@pytest.mark.parametrize("bad, error", [(lambda g: 1 / 0, ZeroDivisionError), (lambda g: np.zeros(3), cb.ShapeError),
                                        (lambda g: cb.zeros(1), cb.ShapeError), (lambda g: "x", cb.DTypeError)])
def test_a_failing_hook_leaves_grad_as_it_was(bad, error):
    x, w = leaf(2.0), leaf(4.0)
    x.grad = [7.0]
    h = x * w
    x.register_hook(bad)
    with pytest.raises(error):
        (h * h).backward([1.0], retain_graph=True)
    assert x.grad.tolist() == [7.0] and w.grad is None
    x.requires_grad = False
    (w * w).backward([1.0])              # the engine goes on
    assert w.grad.tolist() == [8.0]


def test_backward_inside_a_hook():
    x, other = leaf(2.0), leaf(5.0)
    inner = cb.sum(other * other)
    y = x * 3
    y.register_hook(lambda g: inner.backward())
    y.backward([1.0])
    assert other.grad.tolist() == [10.0] and x.grad.tolist() == [3.0]


def test_backward_inside_a_hook_over_the_same_records_is_refused():
    x = leaf(2.0)
    y = cb.tanh(x * 3)
    x.register_hook(lambda g: y.backward([1.0]))
    with pytest.raises(TapeError):
        y.backward([1.0], retain_graph=True)
    assert x.grad is None


def test_records_made_inside_a_hook_are_swept_only_if_asked():
    x, modes = leaf(2.0), []
    y = x * x
    y.register_hook(lambda g: modes.append(cb.is_grad_enabled()))
    y.backward([1.0], retain_graph=True)
    y.backward([1.0], create_graph=True)
    assert modes == [False, True] and cb.is_grad_enabled()


# ---- backward_steps

def test_steps_come_newest_first_with_finished_cotangents():
    x = leaf(2.0, 3.0)
    y = cb.sum(cb.tanh(x) * x)
    steps = list(cb.backward_steps(y))
    assert [s.op for s in steps] == ["sum", "mul", "tanh", "leaf"]
    assert [s.number for s in steps] == sorted((s.number for s in steps), reverse=True)
    assert steps[1].cotangent.tolist() == [1.0, 1.0] and steps[2].cotangent.tolist() == [2.0, 3.0]
    assert x.grad.tolist() == steps[-1].cotangent.tolist()


@pytest.mark.parametrize("taken", range(5))
@pytest.mark.parametrize("create_graph", (False, True))
def test_abandoned_half_way_nothing_changes(taken, create_graph):
    x = leaf(2.0, 3.0)
    x.grad = [1.0, 1.0]
    y = cb.sum(cb.tanh(x) * x)
    steps = cb.backward_steps(y, retain_graph=True, create_graph=create_graph)
    for _ in range(min(taken, 4)):
        next(steps)
    assert cb.is_grad_enabled()
    if 0 < taken < 4:
        with pytest.raises(TapeError, match="another backward"):
            y.backward(retain_graph=True)
            next(steps)
            y.backward(retain_graph=True)
    x.grad = [1.0, 1.0]
    steps.close()
    del steps
    assert x.grad.tolist() == [1.0, 1.0]
    y.backward()                         # everything was let go
    t = np.tanh([2.0, 3.0])
    np.testing.assert_allclose(x.grad.numpy(), 1 + t + (1 - t * t) * [2, 3])


# ---- threads

def run_all(function, n=10):
    errors, barrier = [], threading.Barrier(n)

    def body(i):
        try:
            barrier.wait()
            function(i)
        except BaseException as error:   # what a thread raises belongs to the test
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert errors == []


def test_ten_threads_on_their_own_graphs():
    def work(i):
        for k in range(30):
            x = leaf(1.0 + i, 2.0)
            (cb.tanh(x) * x).backward([float(k), 1.0])
            t = np.tanh(x.numpy())
            np.testing.assert_allclose(x.grad.numpy(), (t + (1 - t * t) * x.numpy()) * [k, 1])

    run_all(work)


def test_ten_threads_on_one_parameter():
    """With integers for gradients the sum is exact in any order."""
    w = cb.Parameter(np.arange(1.0, 7.0).reshape(2, 3))
    big = cb.Parameter(np.ones((64, 256)))

    def work(i):
        for k in range(20):
            cb.sum(w * float(i) + w * float(k)).backward()
        cb.sum(cb.dense(np.full((128, 64), float(i)), big)).backward()

    run_all(work)
    assert np.array_equal(w.grad.numpy(), np.full((2, 3), 20 * 45 + 10 * 190.0))
    assert np.array_equal(big.grad.numpy(), np.full((64, 256), 128 * 45.0))


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2)])
def test_the_cotangent_that_was_given_stays_as_it_was(shape):
    """A reshape hands its memory on, so the kernel that runs in place would write into the caller's tensor."""
    x = cb.tensor(np.full(np.prod(shape), 0.5, np.float32), requires_grad=True)
    g = cb.tensor(np.full(shape, 2.0, np.float32))
    cb.tanh(x).reshape(shape).backward(g)
    assert g.tolist() == np.full(shape, 2.0).tolist()
