"""The tape: backward and its options, what gradients share, no_grad, versions, fan-out."""

import threading
import weakref

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import TapeError


def leaf(*values):
    return cb.tensor(np.array(values), requires_grad=True)


# ---- backward

def test_backward_adds_to_grad_and_frees_the_tape():
    x = leaf(2.0, -3.0)
    x.grad = [10.0, 20.0]
    y = cb.sum(x * x)
    y.backward()
    assert x.grad.tolist() == [14.0, 14.0]
    for again in (lambda: y.backward(), lambda: list(cb.backward_steps(y))):
        with pytest.raises(TapeError, match=r"sum.*freed.*retain_graph"):
            again()
    assert x.grad.tolist() == [14.0, 14.0]


def test_retain_graph_allows_more_sweeps_until_one_frees():
    x = leaf(2.0)
    y = cb.sum(x * x)
    for n in (1, 2):
        y.backward(retain_graph=True)
        assert x.grad.tolist() == [4.0 * n]
    y.backward()
    assert x.grad.tolist() == [12.0]
    with pytest.raises(TapeError, match="freed"):
        y.backward()


def test_a_shared_part_that_was_freed_is_named():
    x = leaf(2.0)
    shared = cb.tanh(x)
    a, b = cb.sum(shared * 2), cb.sum(shared * 3)
    a.backward()
    before = x.grad.tolist()
    with pytest.raises(TapeError, match="tanh.*freed"):
        b.backward()
    assert x.grad.tolist() == before


@pytest.mark.parametrize("gradient", ([1.5, 0.0, -2.0], np.array([1.5, 0, -2]), (1.5, 0, -2),
                                      np.array([1.5, 0, -2], "f4")))
def test_cotangents_of_any_kind(gradient):
    x = leaf(1.0, 2.0, 3.0)
    (x * x).backward(gradient)
    assert x.grad.tolist() == [3.0, 0.0, -12.0]


def test_backward_of_a_leaf_and_of_what_takes_none():
    x = leaf(3.0)
    x.backward([2.5])
    assert x.grad.tolist() == [2.5]
    for lone in (cb.ones(1), x.detach(), x > 0):
        with pytest.raises(TapeError, match="takes no gradient"):
            lone.backward()


def test_create_graph_leaves_gradients_that_differentiate():
    x = leaf(2.0, 3.0)
    cb.sum(x ** 3).backward(create_graph=True)
    first, x.grad = x.grad, None
    assert first.requires_grad and first.tolist() == [12.0, 27.0]
    cb.sum(first * [1.0, 10.0]).backward()
    assert x.grad.tolist() == [12.0, 180.0]


def test_retain_grad_and_frozen_leaves():
    x, w = leaf(2.0), cb.Parameter(np.array([3.0]), requires_grad=False)
    h = x * w
    h.retain_grad()
    (h * h).backward([0.5])
    assert h.grad.tolist() == [6.0] and x.grad.tolist() == [18.0] and w.grad is None
    with pytest.raises(TapeError, match="retain_grad"):
        w.retain_grad()
    with pytest.raises(TapeError, match="result of mul"):
        (x * 2).requires_grad = False


def test_gradients_outlive_and_predecease_their_leaves():
    x = leaf(2.0)
    y = cb.sum(x * x)
    seen = weakref.ref(x)
    del x
    assert seen() is None
    y.backward()                         # nobody is there to take it: no error, no crash


# ---- sharing

@pytest.mark.parametrize("form", (np.array, cb.Parameter, cb.tensor), ids=("array", "Parameter", "Tensor"))
@pytest.mark.parametrize("way", ("cotangent", "setter", "hook", "pull"))
def test_a_gradient_shares_nothing_that_can_be_written(form, way):
    x, g = leaf(1.0, 2.0), form(np.array([5.0, 6.0]))
    if way == "cotangent":
        (x + 0).backward(g)
    elif way == "setter":
        x.grad = g
    elif way == "hook":
        x.register_hook(lambda _: g)
        (x + 0).backward([1.0, 1.0])
    else:
        x.grad = cb.vjp(lambda t: t + 0, x)[1](g)[0]
    if isinstance(g, np.ndarray):
        g[...] = 77
    elif isinstance(g, cb.Parameter):
        g.assign([77.0, 77.0])
    assert x.grad.tolist() == [5.0, 6.0] and type(x.grad) is cb.Tensor


def test_a_gradient_that_was_read_does_not_change_later():
    x = leaf(1.0, 2.0)
    (x * 2).backward([1.0, 3.0])
    first = x.grad
    view = np.asarray(first)
    (x * 2).backward([1.0, 3.0])
    assert first.tolist() == view.tolist() == [2.0, 6.0] and x.grad.tolist() == [4.0, 12.0]
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).backward([7.0, 8.0])
    (a * 3).backward([1.0, 1.0])
    assert b.grad.tolist() == [7.0, 8.0] and a.grad.tolist() == [10.0, 11.0]


# ---- no_grad, detach

class Holder:
    @cb.no_grad
    def method(self, x, k=2):
        return x * k, cb.is_grad_enabled()


@cb.no_grad
def function(x):
    """What it does."""
    return x * 2


def test_no_grad_in_all_its_forms():
    x = leaf(1.0)
    with cb.no_grad():
        with cb.no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    assert not function(x).requires_grad and function.__doc__ == "What it does." and function.__name__ == "function"
    y, enabled = Holder().method(x, k=3)
    assert y.tolist() == [3.0] and not y.requires_grad and not enabled
    assert not cb.no_grad()(lambda: x * 2)().requires_grad
    with pytest.raises(ZeroDivisionError), cb.no_grad():
        divmod(1, 0)
    with pytest.raises(ZeroDivisionError):
        cb.no_grad(lambda: 1 / 0)()
    assert cb.is_grad_enabled() and (x * 2).requires_grad


def test_no_grad_is_a_matter_of_one_thread():
    seen = []
    with cb.no_grad():
        thread = threading.Thread(target=lambda: seen.append(cb.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_cuts_and_shares():
    x = leaf(2.0)
    y = x * x
    d = y.detach()
    assert not d.requires_grad and d.is_leaf and np.shares_memory(d.numpy(), y.numpy())
    (y * d).backward([1.0])
    assert x.grad.tolist() == [16.0]


# ---- versions

WRITES = {"mul": lambda w, x: w * x, "square": lambda w, x: cb.square(w), "matmul": lambda w, x: w @ x,
          "dense": lambda w, x: cb.dense(x, w),
          "div": lambda w, x: x / w, "logsumexp": lambda w, x: cb.logsumexp(w, 1)}


@pytest.mark.parametrize("alias", (False, True), ids=("itself", "through a reshape"))
@pytest.mark.parametrize("op", WRITES)
def test_a_parameter_written_after_the_forward_is_refused(op, alias):
    w, x = cb.Parameter(np.ones((2, 2))), cb.tensor(np.full((2, 2), 3.0), requires_grad=True)
    y = WRITES[op](w.reshape(4).reshape(2, 2) if alias else w, x)
    w.assign(np.zeros((2, 2)))
    with pytest.raises(TapeError, match=rf"{op}.*version 0.*version 1.*assign at .*test_tape.py:\d+"):
        cb.sum(y).backward()
    assert w.grad is None and x.grad is None


def test_what_does_not_read_the_parameter_may_sweep_after_a_write():
    w = cb.Parameter(np.array([1.0, 2.0]))
    y = cb.sum(w * 3 + w)
    w.assign([5.0, 5.0])
    y.backward()
    assert w.grad.tolist() == [4.0, 4.0] and w.version == 1


# ---- fan-out: a sum of n uses is one gradient

@pytest.mark.parametrize("n", range(34))
def test_fan_out(n, rng):
    for use in (lambda t: t, lambda t: t * 1.5, lambda t: cb.reshape(t, 3), cb.tanh):
        x = leaf(*rng.normal(size=3))
        y = cb.zeros(3, dtype="float64") + x * 0
        for _ in range(n):
            y = y + use(x)
        g = rng.normal(size=3)
        y.backward(g)
        one = leaf(*x.numpy())
        use(one * 1).backward(g)
        np.testing.assert_allclose(x.grad.numpy(), n * one.grad.numpy(), rtol=1e-13, atol=1e-13)


def test_both_operands_the_same(rng):
    a, g = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    for op, expected in ((lambda t: t * t, 2 * a * g), (lambda t: t + t, 2 * g), (lambda t: t - t, 0 * g),
                         (lambda t: t / t, 0 * g),
                         (lambda t: t @ t, g @ a.T + a.T @ g), (lambda t: cb.where(g > 0, t, t), g),
                         (lambda t: cb.maximum(t, t), g), (lambda t: cb.concatenate([t, t])[2:6], np.roll(g, 2, 0)),
                         (lambda t: cb.dense(t, t), g @ a.T + a.T @ g)):
        for create_graph in (False, True):
            x = cb.tensor(a, requires_grad=True)
            op(x).backward(g, create_graph=create_graph)
            np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12, atol=1e-12)
