"""Transforms of transforms: every nesting to the third order, perturbations kept apart, random programs."""

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cybackprop as cb


def number(x):
    return cb.tensor(np.array(x, dtype="float64"))


# ---- one derivative, four ways; each takes and gives a function of one number

def by_grad(f):
    return lambda x: cb.grad(f)(x)


def by_value_and_grad(f):
    return lambda x: cb.value_and_grad(f)(x)[1]


def by_vjp(f):
    return lambda x: cb.vjp(f, x)[1](number(2.0))[0] / 2


def by_jvp(f):
    return lambda x: cb.jvp(f, (x,), (number(4.0),))[1] / 4


WAYS = (by_grad, by_value_and_grad, by_vjp, by_jvp)
name = "-".join

FUNCTIONS = {                            # ours, mpmath's, a point
    "tanh x^2": (lambda x: cb.tanh(x) ** 2, lambda x: mpmath.tanh(x) ** 2, 0.3),
    "exp sin": (lambda x: cb.exp(cb.sin(x)) / x, lambda x: mpmath.exp(mpmath.sin(x)) / x, 1.1),
    "gelu": (lambda x: cb.gelu(x) * x, lambda x: x * x * mpmath.ncdf(x), -0.4),
    "x^x": (lambda x: x ** x, lambda x: x ** x, 1.7),
    "structured": (lambda x: cb.logsumexp(cb.stack([x, x * x, cb.sin(x)])) * cb.var(cb.stack([x, 2 * x, 1 / x])),
                   lambda x: mpmath.log(mpmath.exp(x) + mpmath.exp(x * x) + mpmath.exp(mpmath.sin(x)))
                   * variance([x, 2 * x, 1 / x]), 0.8),
    "dense": (lambda x: cb.sum(cb.dense(cb.stack([x, x * x]), cb.stack([cb.stack([x, x * 2])] * 2), cb.stack([x, x]),
                                        "silu")),
              lambda x: silu(x * (x + x * x) + x) + silu(2 * x * (x + x * x) + x), 0.6),
}


def variance(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / len(values)


def silu(x):
    return x / (1 + mpmath.exp(-x))


@pytest.mark.parametrize("ways", [w for n in (1, 2, 3) for w in itertools.product(WAYS, repeat=n)],
                         ids=lambda w: name(f.__name__[3:] for f in w))
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_nesting_of_one_to_three_derivatives(function, ways):
    f, exact, x = FUNCTIONS[function]
    with mpmath.workdps(60):
        expected = float(mpmath.diff(exact, mpmath.mpf(x), len(ways)))
    for way in ways:
        f = way(f)
    got = f(number(x))
    assert got.shape == () and got.item() == pytest.approx(expected, rel=1e-9)
    assert not got.requires_grad
    with cb.no_grad():
        assert f(number(x)).item() == got.item()


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__[3:])
def test_a_recorded_backward_inside_a_transform_and_outside(way):
    x = cb.tensor(np.array(0.4), requires_grad=True)
    way(lambda t: cb.tanh(t) ** 2)(x).backward()             # outside: d2/dx2
    with mpmath.workdps(40):
        expected = float(mpmath.diff(lambda t: mpmath.tanh(t) ** 2, 0.4, 2))
    assert x.grad.item() == pytest.approx(expected, rel=1e-12)


# ---- perturbation confusion (Siskind, Pearlmutter 2005; Manzyuk and others 2019)

def test_the_classic_example():
    """d/dx [x d/dy (x + y)] = 1: confusing the two perturbations gives 2."""
    for outer, inner in itertools.product(WAYS, WAYS):
        f = outer(lambda x, inner=inner: x * inner(lambda y: x + y)(number(1.0)))
        assert f(number(1.0)).item() == 1.0
        g = outer(lambda x, inner=inner: x * inner(lambda y: x * y * y)(number(2.0)))        # d/dx 4 x^2
        assert g(number(3.0)).item() == 24.0
        h = outer(lambda x, inner=inner: inner(lambda y: x * y)(x))      # the inner point is the outer input: x, so 1
        assert h(number(5.0)).item() == 1.0


def test_a_function_that_escapes_its_transform():
    """Manzyuk's s: the derivative with respect to u of g -> g(x + u) at 0, applied to itself."""
    def shift(x):
        return lambda g: lambda y: g(x + y)

    for outer, inner in itertools.product(WAYS, WAYS):
        def slope_of_shift(g, outer=outer):
            return lambda y: outer(lambda u: shift(u)(g)(y))(number(0.0))

        f = slope_of_shift(inner(cb.exp))
        assert f(number(1.0)).item() == pytest.approx(np.e, rel=1e-14)
        assert slope_of_shift(slope_of_shift(cb.sin))(number(1.0)).item() == pytest.approx(-np.sin(1.0), rel=1e-14)


def test_closures_over_outer_inputs_parameters_and_constants():
    w = cb.Parameter(np.array(3.0))

    def loss(x):
        inner = cb.grad(lambda y: w * x * y ** 3)(x)         # 3 w x^3
        return inner * w                                     # 3 w^2 x^3

    value, slope = cb.value_and_grad(loss)(number(2.0))
    assert value.item() == 216.0 and slope.item() == 9 * 9 * 4.0
    slope.backward()                                         # d (9 w^2 x^2) / dw
    assert w.grad.item() == 18 * 3 * 4.0
    kept = []
    cb.grad(lambda x: kept.append(x * 2) or x * x)(number(2.0))
    assert cb.grad(lambda y: y * kept[0])(number(1.0)).item() == 4.0       # a leaked intermediate is a constant


def test_hessians_agree_in_both_nestings_and_are_symmetric(rng):
    a, x0 = rng.normal(size=(4, 4)), rng.normal(size=4)

    def f(x):
        return cb.logsumexp(cb.tanh(x @ a)) * cb.sum(x ** 2)

    rows = [cb.jvp(cb.grad(f), (cb.tensor(x0),), (e,))[1].numpy() for e in np.eye(4)]
    pulls = [cb.vjp(cb.grad(f), cb.tensor(x0))[1](e)[0].numpy() for e in np.eye(4)]
    mixed = [cb.grad(lambda x, e=e: cb.jvp(f, (x,), (e,))[1])(cb.tensor(x0)).numpy() for e in np.eye(4)]
    np.testing.assert_allclose(rows, np.transpose(rows), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(rows, pulls, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(rows, mixed, rtol=1e-11, atol=1e-13)


# ---- random programs of one number: ours, and the same tree in mpmath

LEAVES = ("x", "w", 1.0, -0.5, 2.0)
UNARY = {"tanh": (cb.tanh, mpmath.tanh), "sin": (cb.sin, mpmath.sin), "cos": (cb.cos, mpmath.cos),
         "neg": (lambda a: -a, lambda a: -a),
         "square": (cb.square, lambda a: a * a), "erf": (cb.erf, mpmath.erf),
         "sigmoid": (cb.sigmoid, lambda a: 1 / (1 + mpmath.exp(-a))), "silu": (cb.silu, silu),
         "softplus": (cb.softplus, lambda a: mpmath.log(1 + mpmath.exp(a))),
         "exp tanh": (lambda a: cb.exp(cb.tanh(a)), lambda a: mpmath.exp(mpmath.tanh(a)))}
BINARY = {"add": (lambda a, b: a + b, lambda a, b: a + b), "sub": (lambda a, b: a - b, lambda a, b: a - b),
          "mul": (lambda a, b: a * b, lambda a, b: a * b),
          "over": (lambda a, b: a / (b * b + 1.5), lambda a, b: a / (b * b + 1.5)),
          "pow": (lambda a, b: (a * a + 0.5) ** cb.sin(b), lambda a, b: (a * a + 0.5) ** mpmath.sin(b)),
          "atan2": (lambda a, b: cb.atan2(a, b * b + 1), lambda a, b: mpmath.atan2(a, b * b + 1))}
TREES = st.recursive(st.sampled_from(LEAVES), lambda t: st.one_of(
    st.tuples(st.sampled_from(sorted(UNARY)), t), st.tuples(st.sampled_from(sorted(BINARY)), t, t)), max_leaves=9)


def evaluate(tree, side, x, w):
    """The tree with our ops (side 0) or mpmath's (side 1)."""
    if not isinstance(tree, tuple):
        return {"x": x, "w": w}.get(tree, tree)
    op = (UNARY if len(tree) == 2 else BINARY)[tree[0]][side]
    arguments = [evaluate(t, side, x, w) for t in tree[1:]]
    if side == 0:
        arguments = [a if isinstance(a, cb.Tensor) else number(a) for a in arguments]
    return op(*arguments)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TREES, st.floats(-1.5, 1.5), st.sampled_from(list(itertools.product(WAYS, WAYS))))
def test_random_programs_at_orders_one_and_two(tree, x, ways):
    w = cb.Parameter(np.array(0.7))

    def ours(t):
        return evaluate(tree, 0, t, w) + t * 0

    def exact(t):
        return evaluate(tree, 1, t, mpmath.mpf(float(np.float64(0.7)))) + t * 0

    f, derivatives = ours, []
    with mpmath.workdps(50):
        for order in (1, 2):
            derivatives.append(float(mpmath.diff(exact, mpmath.mpf(x), order)))
    scale = max(1.0, *map(abs, derivatives))
    for way, expected in zip(ways, derivatives, strict=True):
        f = way(f)
        assert abs(f(number(x)).item() - expected) <= 1e-10 * scale, (tree, x)
    leaf = cb.tensor(np.array(x), requires_grad=True)
    ours(leaf).backward(create_graph=True)
    first, leaf.grad = leaf.grad, None
    assert abs(first.item() - derivatives[0]) <= 1e-10 * scale
    if first.requires_grad:
        first.backward()
        assert abs((leaf.grad.item() if leaf.grad is not None else 0.0) - derivatives[1]) <= 1e-10 * scale
