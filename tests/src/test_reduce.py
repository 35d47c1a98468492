"""Sums and maxima: values, NaN, ties, empty axes, gradients.  Their order of additions: test_orders.py."""

import math

import numpy as np
import pytest
from samples import DTYPES, same_bits

import cybackprop as cb
from cybackprop.errors import ShapeError

pytestmark = pytest.mark.usefixtures("quiet")

# on both sides of lanes (16), tiles (24), windows (64), blocks (1024)
LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 63, 64, 65, 127, 129, 1023, 1024, 1025, 2050)
AXES = [((5,), None), ((5,), 0), ((4, 3), None), ((4, 3), 0), ((4, 3), 1), ((4, 3), (0, 1)), ((2, 3, 4), 1),
        ((2, 3, 4), (0, 2)), ((2, 3, 4), (-1, -2)), ((2, 3, 4), ()), ((), None), ((3, 1, 5, 2), (1, 3)),
        ((2, 1, 2, 3, 2), (0, 3))]
SUMS = {                                 # name, function, NumPy's
    "sum": (cb.sum, np.sum), "mean": (cb.mean, np.mean), "var": (cb.var, np.var),
    "var ddof 1": (lambda x, **k: cb.var(x, ddof=1, **k), lambda x, **k: np.var(x, ddof=1, **k)),
}
EXTREMES = {"max": (cb.max, np.max, 1), "min": (cb.min, np.min, -1)}


def assert_within(y, wanted, scale):
    """abs(y - wanted) <= eps scale."""
    np.testing.assert_allclose(y.numpy(), wanted, rtol=0, atol=np.finfo(y.dtype).eps * scale)


def reduced(shape, axis):
    axes = range(len(shape)) if axis is None else [a % len(shape) for a in np.atleast_1d(np.array(axis, int))]
    return math.prod(shape[a] for a in axes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("shape, axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_by_shape(name, shape, axis, keepdims, dtype, rng):
    f, oracle = SUMS[name]
    if name.endswith("1") and reduced(shape, axis) < 2:
        pytest.skip("the variance of one number around its own mean is NaN")
    x = rng.normal(size=shape).astype(dtype)
    wanted = np.asarray(oracle(x.astype(np.longdouble), axis=axis, keepdims=keepdims))
    y = f(x, axis=axis, keepdims=keepdims)
    assert y.shape == wanted.shape and y.dtype == dtype
    assert_within(y, wanted.astype(float), 8 * (1 + np.abs(x).sum()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", LENGTHS)
def test_lengths(K, dtype, target, rng):
    x = rng.normal(size=(19, K)).astype(dtype)
    x[0, K // 2], x[1, 0], x[2, -1], x[3] = np.nan, np.inf, -np.inf, -0.0
    for a, axis in ((x, 1), (x.T.copy(), 0), (np.stack([x, x]).swapaxes(1, 2).copy(), 1)):
        exact = a.astype(np.longdouble).sum(axis).astype(float)
        bound = np.finfo(dtype).eps * 0.5 * 70 * np.abs(np.where(np.isfinite(a), a, 0)).sum(axis)
        y = cb.sum(a, axis).numpy()
        assert np.all((np.abs(y - exact) <= bound) | (y == exact) | (np.isnan(y) & np.isnan(exact)))
        for f, oracle, _ in EXTREMES.values():
            np.testing.assert_array_equal(f(a, axis).numpy(), oracle(a, axis))
        assert same_bits(cb.argmax(a, axis), np.argmax(a, axis))
    assert not np.signbit(cb.sum(x, 1).numpy()[3])                           # the sum of -0 is +0
    assert not np.signbit(cb.max(x, 1).numpy()[3])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", LENGTHS)
def test_places_of_nan_and_of_ties(K, dtype, target, rng):
    """The first NaN, else the first of equals: wherever it stands."""
    x = rng.integers(0, 3, (40, K)).astype(dtype)
    x[::4] = 1
    for row in x[1::4]:
        row[rng.integers(0, K, 2)] = np.nan
    x[2::8] = np.where(rng.random((5, K)) < 0.5, 0.0, -0.0)
    x[3] = -np.inf
    assert same_bits(cb.argmax(x, 1), np.argmax(x, 1))
    assert same_bits(cb.argmax(x.T.copy(), 0), np.argmax(x, 1))
    np.testing.assert_array_equal(cb.max(x, 1).numpy(), np.max(x, 1))
    assert not np.signbit(cb.max(x, 1).numpy()[2::8]).any()                  # -0 or +0: +0 comes out


def test_argmax_of_everything_and_keepdims(rng):
    x = rng.normal(size=(4, 5)).astype("float32")
    assert cb.argmax(x).item() == np.argmax(x)
    assert cb.argmax(x, keepdims=True).shape == (1, 1)
    assert cb.argmax(x, 1, keepdims=True).shape == (4, 1)
    assert cb.argmax(x).dtype == "int64"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("shape, axis", AXES, ids=str)
def test_gradients_of_sums(name, shape, axis, dtype, rng):
    n = reduced(shape, axis)
    if name.endswith("1") and n < 2:
        pytest.skip("no variance")
    f, _ = SUMS[name]
    x = rng.normal(size=shape).astype(dtype)
    g = rng.normal(size=np.sum(x, axis=axis).shape).astype(dtype)
    axes = tuple(range(x.ndim)) if axis is None else axis
    wide = np.broadcast_to(np.expand_dims(g, axes) if np.ndim(g) != x.ndim else g, shape).astype(float)
    d = (x - x.mean(axis=axis, keepdims=True, dtype=float)) if axis != () else 0 * x
    wanted = {"sum": wide, "mean": wide / n, "var": wide * 2 * d / n, "var ddof 1": wide * 2 * d / max(n - 1, 1)}[name]
    for create_graph in (False, True):
        a = cb.tensor(x, requires_grad=True)
        f(a, axis=axis).backward(g, create_graph=create_graph)
        assert_within(a.grad, wanted, 32 * (1 + np.abs(wanted).max()))
    v = rng.normal(size=shape).astype(dtype)
    _, t = cb.jvp(lambda x: f(x, axis=axis), (x,), (v,))
    assert_within(cb.tensor(np.asarray((t.numpy().astype(float) * g).sum(), dtype)), (wanted * v).sum(),
                  64 * (1 + np.abs(wanted * v).sum()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("shape, axis", AXES, ids=str)
def test_extremes_share_the_gradient_among_ties(name, shape, axis, dtype, rng):
    f, oracle, _ = EXTREMES[name]
    x = rng.integers(0, 3, shape).astype(dtype)
    axes = tuple(range(x.ndim)) if axis is None else axis
    peak = x == oracle(x, axis=axes, keepdims=True)
    share = peak / peak.sum(axis=axes, keepdims=True)
    g = rng.normal(size=oracle(x, axis=axes).shape).astype(dtype)
    wide = np.broadcast_to(np.expand_dims(g, axes) if np.ndim(g) != x.ndim else g, shape).astype(float)
    for create_graph in (False, True):
        a = cb.tensor(x, requires_grad=True)
        f(a, axis=axis).backward(g, create_graph=create_graph)
        np.testing.assert_allclose(a.grad.numpy(), wide * share, rtol=4 * np.finfo(dtype).eps)
    v = rng.normal(size=shape).astype(dtype)
    _, t = cb.jvp(lambda x: f(x, axis=axis), (x,), (v,))
    assert_within(t, (v * share).sum(axis=axes), 16 * (1 + np.abs(v).sum()))


def test_second_derivatives(rng):
    x, v = rng.normal(size=(2, 6, 5))
    h = 1e-6
    for g in (lambda x: cb.sum(cb.var(x, 0) ** 2), lambda x: cb.sum(cb.max(x, 1) ** 3), lambda x: cb.mean(x) ** 2):
        up, down = (cb.grad(g)(x + s * h * v).numpy() for s in (1, -1))
        for hv in (cb.grad(lambda x, g=g: cb.sum(cb.grad(g)(x) * v))(x), cb.jvp(cb.grad(g), (x,), (v,))[1],
                   cb.grad(lambda x, g=g: cb.jvp(g, (x,), (v,))[1])(x)):
            np.testing.assert_allclose(hv.numpy(), (up - down) / (2 * h), rtol=1e-6, atol=1e-8)


def test_a_zero_cotangent_does_not_meet_an_infinite_element():
    x = cb.tensor([np.inf, 1.0, np.nan], requires_grad=True)
    cb.where([False], cb.max(cb.reshape(x, 1, 3), 1), 0).backward([2.0])
    assert np.array_equal(x.grad.numpy(), np.zeros(3))


def test_empty_axes():
    assert cb.sum(cb.zeros((0, 3)), 0).tolist() == [0, 0, 0]
    assert cb.sum(cb.zeros((3, 0)), 1).tolist() == [0, 0, 0]
    assert cb.sum(cb.zeros((3, 0)), 0).shape == (0,)
    assert cb.sum(cb.zeros((2, 0, 4)), (0, 1)).tolist() == [0] * 4
    assert cb.sum(cb.zeros(0)).item() == 0
    assert np.isnan(cb.mean(cb.zeros((2, 0)), 1).numpy()).all()
    assert cb.max(cb.zeros((0, 3)), 1).shape == (0,)
    assert cb.argmax(cb.zeros((0, 3)), 1).shape == (0,)
    x = cb.tensor(np.zeros((0, 3), "float32"), requires_grad=True)
    cb.sum(x).backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("call, error, words", [
    (lambda: cb.max(cb.zeros((0, 3)), 0), ShapeError, "max.*axis 0.*empty"),
    (lambda: cb.min(cb.zeros(0)), ShapeError, "empty"),
    (lambda: cb.argmax(cb.zeros((2, 0)), 1), ShapeError, "argmax.*empty"),
    (lambda: cb.argmax(cb.zeros(0)), ShapeError, "argmax.*empty"),
    (lambda: cb.sum(cb.zeros((2, 3)), 2), ShapeError, "sum: axis 2"),
    (lambda: cb.sum(cb.zeros((2, 3)), (0, -2)), ShapeError, "twice"),
    (lambda: cb.argmax(cb.zeros((2, 3)), -3), ShapeError, "argmax: axis -3"),
])
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
