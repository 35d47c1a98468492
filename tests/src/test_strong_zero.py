"""Strong zero: a dead branch stays dead beside inf and NaN, and second derivatives stay right."""

import numpy as np
import pytest
from samples import DTYPES

import cybackprop as cb

NESTINGS = {                             # f -> d/dx (df/dx . v) by rows of the Hessian, in every order of the two walks
    "grad of grad": lambda f, v: cb.grad(lambda x: cb.sum(cb.grad(f)(x) * v)),
    "jvp of grad": lambda f, v: lambda x: cb.jvp(cb.grad(f), (x,), (v,))[1],
    "grad of jvp": lambda f, v: cb.grad(lambda x: cb.jvp(f, (x,), (v,))[1]),
    "backward of backward": lambda f, v: lambda x: twice(f, v, x),
}


def twice(f, v, x):
    x = cb.tensor(x, requires_grad=True)
    f(x).backward(create_graph=True)
    g, x.grad = x.grad, None
    if g.requires_grad:
        cb.sum(g * v).backward()
    return cb.zeros_like(x) if x.grad is None else x.grad


A = np.array([[1.0, 2.0], [3.0, 5.0], [-1.0, 0.5]])
FIT = np.array([0.5, -2.0])

# name, function, x, Hessian there: by hand, from the mathematics and, at a kink, from the slope the tables declare
HESSIANS = [
    ("tanh(x)^2 at 0", lambda x: cb.sum(cb.tanh(x) ** 2), [0.0], [[2.0]]),
    ("least squares at an exact fit", lambda x: cb.sum(cb.square(A.astype(x.dtype) @ x - (A @ FIT).astype(x.dtype))),
     FIT, 2 * A.T @ A),
    ("relu(sqrt(x) - 1)^2 at 0", lambda x: cb.sum(cb.relu(cb.sqrt(x) - 1) ** 2), [0.0], [[0.0]]),
    ("relu(sqrt(x) - 1) twice", lambda x: cb.sum(cb.relu(cb.sqrt(x) - 1) * cb.relu(cb.sqrt(x) - 1)), [0.0], [[0.0]]),
    ("where(x > 0, x log x, 0)", lambda x: cb.sum(cb.where(x > 0, x * cb.log(x), 0)), [0.0, 2.0, -3.0],
     np.diag([0, 0.5, 0])),
    ("clip(1 / x)^2 at 0", lambda x: cb.sum(cb.clip(1 / x, -1, 1) ** 2), [0.0, 2.0], np.diag([0, 6 / 16])),
    ("x^2 by pow at 0", lambda x: cb.sum(x ** cb.full((), 2.0, x.dtype)), [0.0, 3.0], np.diag([2.0, 2.0])),
    ("x^3 y at 0", lambda x: x[0] ** 3 * x[1], [0.0, 0.0], np.zeros((2, 2))),
    ("x y at 0", lambda x: x[0] * x[1], [0.0, 0.0], [[0, 1], [1, 0]]),
    ("sin(x) y at 0", lambda x: cb.sin(x[0]) * x[1], [0.0, 0.0], [[0, 1], [1, 0]]),
    ("max(x, y)^2", lambda x: cb.maximum(x[0], x[1]) ** 2, [3.0, 1.0], [[2, 0], [0, 0]]),
    ("square(abs(x)) at 0", lambda x: cb.sum(cb.square(cb.abs(x))), [0.0, -2.0], np.diag([0.0, 2.0])),
]

# name, function, x, gradient: the other branch is inf or NaN, or has such a slope
DEAD = [
    ("where(x > 0, log(x), 0)", lambda x: cb.where(x > 0, cb.log(x), 0), [0.0, -1.0, 2.0], [0, 0, 0.5]),
    ("where(x > 0, sqrt(x), x)", lambda x: cb.where(x > 0, cb.sqrt(x), x), [0.0, -1.0, 4.0], [1, 1, 0.25]),
    ("where(x > 0, 1 / x, 0)", lambda x: cb.where(x > 0, 1 / x, 0), [0.0, -1.0, 2.0], [0, 0, -0.25]),
    ("where(x < 80, exp(x), 0)", lambda x: cb.where(x < 80, cb.exp(x), 0), [1e4, 0.0], [0, 1]),
    ("relu(log(x))", lambda x: cb.relu(cb.log(x)), [0.0, 4.0], [0, 0.25]),
    ("relu(sqrt(x) - 1)", lambda x: cb.relu(cb.sqrt(x) - 1), [0.0, 4.0], [0, 0.25]),
    ("clip(log(x), 0, 1)", lambda x: cb.clip(cb.log(x), 0.0, 1.0), [0.0, 2.0, np.inf], [0, 0.5, 0]),
    ("maximum(log(x), 0)", lambda x: cb.maximum(cb.log(x), 0.0), [0.0, 4.0], [0, 0.25]),
    ("minimum(1 / x, 5)", lambda x: cb.minimum(1 / x, 5.0), [0.0, 2.0], [0, -0.25]),
    ("hard_tanh(1 / x)", lambda x: cb.hard_tanh(1 / x), [0.0, 2.0], [0, -0.25]),
    ("(x != 0) * where(x > 0, log(x), 0)",
     lambda x: cb.where(x == 0, 0, cb.ones_like(x)) * cb.where(x > 0, cb.log(x), 0), [0.0, 2.0], [0, 0.5]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("name, f, x, hessian", HESSIANS, ids=[c[0] for c in HESSIANS])
def test_hessians(name, f, x, hessian, nesting, dtype):
    x = np.asarray(x, dtype)
    rows = [NESTINGS[nesting](f, v)(x).numpy() for v in np.eye(x.size, dtype=dtype)]
    np.testing.assert_allclose(rows, hessian, rtol=8 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, f, x, gradient", DEAD, ids=[c[0] for c in DEAD])
def test_dead_branches(name, f, x, gradient, dtype, target):
    x, w = np.asarray(x, dtype), np.linspace(0.5, 2, len(x)).astype(dtype)
    wanted = w * np.asarray(gradient)
    for create_graph in (False, True):
        a = cb.tensor(x, requires_grad=True)
        f(a).backward(w, create_graph=create_graph)
        np.testing.assert_allclose(a.grad.numpy(), wanted, rtol=4 * np.finfo(dtype).eps, atol=0)
    _, t = cb.jvp(f, (x,), (w,))
    np.testing.assert_allclose(t.numpy(), wanted, rtol=4 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_third_order_through_a_dead_branch(dtype):
    f = cb.grad(cb.grad(cb.grad(lambda x: cb.where(x > 0, cb.log(x), x ** 4))))
    assert f(np.asarray(-0.5, dtype)).item() == pytest.approx(24 * -0.5)
    assert f(np.asarray(0.0, dtype)).item() == 0
    assert f(np.asarray(2.0, dtype)).item() == pytest.approx(2 / 8)
