"""softmax, log_softmax, logsumexp and the loss over rows: values, extreme logits, labels, gradients of both orders."""

import mpmath
import numpy as np
import pytest
from samples import DTYPES

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.softmax import softmax_cross_entropy

pytestmark = pytest.mark.usefixtures("quiet")
CLASSES = (1, 2, 3, 7, 15, 16, 17, 24, 25, 33, 63, 65, 1023, 1025, 2100)    # both sides of lanes, tiles, blocks
IGNORE = -100


def rows_loss(x, target):
    return engine.apply(softmax_cross_entropy, (x,), {"target": cb.tensor(target), "ignore_index": IGNORE})


def oracle(x):
    """softmax, log_softmax, logsumexp of finite logits in long double; log1p of all but one maximum."""
    x = x.astype(np.longdouble)
    m = x.max(-1, keepdims=True)
    e = np.exp(x - m)
    others = e.copy()
    np.put_along_axis(others, x.argmax(-1)[:, None], 0, -1)
    rest = np.log1p(others.sum(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True), (x - m) - rest, (m + rest)[..., 0]


def assert_near(y, wanted, scale):
    far = np.abs(y.numpy().astype(np.longdouble) - wanted) / (np.finfo(y.dtype).eps * scale)
    assert y.shape == wanted.shape and np.all(far <= 8), f"{far.max():.3g} eps of the scale"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", CLASSES)
def test_values(C, dtype, target, rng):
    x = (rng.normal(size=(21, C)) * rng.choice([0.01, 1, 20], (21, 1))).astype(dtype)
    x[3] = 0.25                                                # all equal
    p, log_p, total = oracle(x)
    # x - max is rounded, and what follows feels it: shift in a logit, felt in the sum of exponentials
    shift = (x.max(1, keepdims=True) - x).astype(float)
    felt, tiny = (p * shift).sum(1, keepdims=True), np.finfo(dtype).tiny
    assert_near(cb.softmax(x), p, p * (1 + shift + felt) + tiny)
    assert_near(cb.log_softmax(x), log_p, np.abs(log_p) + shift + felt + tiny)
    assert_near(cb.logsumexp(x), total, np.abs(total) + np.abs(x).max(1))
    t = rng.integers(0, C, 21)
    t[5] = IGNORE
    at = np.arange(21), np.where(t == IGNORE, 0, t)
    wanted = np.where(t == IGNORE, 0, -log_p[at])
    assert_near(rows_loss(cb.tensor(x), t), wanted, wanted + shift[at] + felt[:, 0] + tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", CLASSES)
def test_the_gradient_in_the_same_pass_has_the_bits_of_the_vjp(C, dtype, target, rng):
    x = (rng.normal(size=(37, C)) * 5).astype(dtype)
    x[4] = np.nan
    x[9, 0] = np.inf
    t = rng.integers(0, C, 37)
    t[[2, 30]] = IGNORE
    g = rng.normal(size=37).astype(dtype)
    g[[3, 4]] = 0
    x, t = cb.tensor(x), cb.tensor(t)
    for cotangent in (cb.tensor(g), cb.tensor(g[:1]), cb.tensor(np.zeros(1, dtype))):
        loss, p, dx = engine.raw_cross_entropy(x, t, IGNORE, cotangent)
        plain_loss, plain_p = engine.raw_cross_entropy(x, t, IGNORE)
        wanted = engine.raw_cross_entropy_vjp(p, t, IGNORE, cb.tensor(np.broadcast_to(cotangent.numpy(), 37)))
        for got, want in ((loss, plain_loss), (p, plain_p), (dx, wanted)):
            np.testing.assert_array_equal(got.numpy(), want.numpy())      # NaN equals NaN; its sign is not promised
    for wrong in (cb.tensor(g[:5]), cb.tensor(g[:, None]), cb.tensor(g.astype("f4" if dtype == "float64" else "f8"))):
        with pytest.raises(ShapeError, match="cotangent"):
            engine.raw_cross_entropy(x, t, IGNORE, wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_confident_row_keeps_its_tiny_loss(dtype, target):
    for gap in (5, 20, 27.6, 60, 80):
        x = np.array([[gap, 0.0, 0.0]], dtype)
        with mpmath.workprec(200):
            wanted = float(mpmath.log1p(2 * mpmath.exp(-mpmath.mpf(float(x[0, 0])))))
        for y in (rows_loss(cb.tensor(x), [0]), -cb.log_softmax(x)[0, 0], cb.logsumexp(x - x[0, 0])):
            assert y.item() == pytest.approx(wanted, rel=8 * float(np.finfo(dtype).eps))


# logits of a row, softmax, log_softmax, logsumexp
inf, nan = np.inf, np.nan
EXTREME = [
    ([1e4, -1e4, 0.0], [1, 0, 0], [0, -2e4, -1e4], 1e4),
    ([-1e4, -1e4], [0.5, 0.5], [-np.log(2)] * 2, -1e4 + np.log(2)),
    ([3e38, -3e38], [1, 0], [0, -inf], 3e38),
    ([1e4] * 4, [0.25] * 4, [-np.log(4)] * 4, 1e4 + np.log(4)),
    ([7.0], [1], [0], 7),
    ([-inf, 0.0, 0.0], [0, 0.5, 0.5], [-inf, -np.log(2), -np.log(2)], np.log(2)),
    ([-inf, 5.0], [0, 1], [-inf, 0], 5),
    ([inf, 0.0], [nan] * 2, [nan] * 2, inf),
    ([inf, -inf], [nan] * 2, [nan] * 2, inf),
    ([-inf, -inf], [nan] * 2, [nan] * 2, -inf),
    ([-inf], [nan], [nan], -inf),
    ([nan, 1.0, -inf], [nan] * 3, [nan] * 3, nan),
    ([1.0, inf, nan], [nan] * 3, [nan] * 3, nan),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("repeat", [1, 30, 1100], ids=["short", "long", "blocks"])
@pytest.mark.parametrize("x, p, log_p, total", EXTREME, ids=[str(c[0]) for c in EXTREME])
def test_extreme_logits(x, p, log_p, total, repeat, dtype, target):
    """In a short row, and among logits without weight in a long one."""
    pad = (0 if repeat == 1 else repeat) * [-inf]
    rows = np.array([[*x, *pad]] * 19, dtype)
    expected = {"softmax": [*p, *(nan if np.isnan(p).any() else 0 for _ in pad)],
                "log_softmax": [*log_p, *(nan if np.isnan(log_p).any() else -inf for _ in pad)]}
    if "3e+38" in str(x) and dtype == "float64":
        expected["log_softmax"][1] = -6e38                     # in range there
    tolerance = {"rtol": 4 * np.finfo(dtype).eps, "atol": 0}
    for name, wanted in expected.items():
        np.testing.assert_allclose(getattr(cb, name)(rows).numpy(), np.array([wanted] * 19), **tolerance)
    np.testing.assert_allclose(cb.logsumexp(rows).numpy(), np.full(19, total), **tolerance)
    if not np.isnan(p).any():
        a = cb.tensor(rows, requires_grad=True)
        t = [int(np.argmax(x))] * 19
        rows_loss(a, t).backward(np.full(19, 3, dtype))
        hot = np.eye(rows.shape[1])[t]
        np.testing.assert_allclose(a.grad.numpy(), 3 * (np.array([expected["softmax"]] * 19) - hot), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", (1, 5, 24, 40))
def test_loss_gradients(C, dtype, target, rng):
    x, g = rng.normal(size=(9, C)).astype(dtype), rng.normal(size=9).astype(dtype)
    t = rng.integers(0, C, 9)
    t[2], g[4], x[4, 0] = IGNORE, 0, np.inf                    # a zero cotangent beside a row that is NaN
    p = oracle(np.where(np.isfinite(x), x, 0))[0]
    hot = np.eye(C)[np.where(t == IGNORE, 0, t)]
    wanted = np.where((t == IGNORE)[:, None] | (g == 0)[:, None], 0, g[:, None] * (p - hot)).astype(float)
    for create_graph in (False, True):
        a = cb.tensor(x, requires_grad=True)
        rows_loss(a, t).backward(g, create_graph=create_graph)
        np.testing.assert_allclose(a.grad.numpy(), wanted, rtol=0, atol=16 * np.finfo(dtype).eps)


SMOOTH = {
    "softmax": lambda x: cb.sum(cb.softmax(x) ** 3), "log_softmax": lambda x: cb.sum(cb.log_softmax(x) ** 2),
    "logsumexp": lambda x: cb.sum(cb.logsumexp(x) ** 2), "softmax axis 0": lambda x: cb.sum(cb.softmax(x, 0) ** 3),
    "log_softmax axis 0": lambda x: cb.sum(cb.log_softmax(x, axis=0) ** 2),
    "logsumexp axis 0": lambda x: cb.sum(cb.logsumexp(x, 0, keepdims=True) ** 2),
    "loss": lambda x: cb.sum(rows_loss(x, [0, 3, IGNORE, 2]) ** 2),
}
REFERENCE = {                            # the same in NumPy, complex numbers too
    "softmax": lambda x: (s(x) ** 3).sum(), "log_softmax": lambda x: (np.log(s(x)) ** 2).sum(),
    "logsumexp": lambda x: (np.log(np.exp(x).sum(-1)) ** 2).sum(), "softmax axis 0": lambda x: (s(x.T) ** 3).sum(),
    "log_softmax axis 0": lambda x: (np.log(s(x.T)) ** 2).sum(),
    "logsumexp axis 0": lambda x: (np.log(np.exp(x).sum(0)) ** 2).sum(),
    "loss": lambda x: (np.log(s(x))[[0, 1, 3], [0, 3, 2]] ** 2).sum(),
}


def s(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def complex_step(f, x):
    h = 1e-30
    return np.array([f((x.ravel() + 1j * h * e).reshape(x.shape)).imag / h for e in np.eye(x.size)]).reshape(x.shape)


@pytest.mark.parametrize("name", SMOOTH)
def test_both_orders_against_complex_step(name, rng):
    f, reference = SMOOTH[name], REFERENCE[name]
    x, v = rng.normal(size=(2, 4, 5))
    np.testing.assert_allclose(cb.grad(f)(x).numpy(), complex_step(reference, x), rtol=0, atol=1e-12)
    _, t = cb.jvp(f, (x,), (v,))
    np.testing.assert_allclose(t.item(), (complex_step(reference, x) * v).sum(), rtol=0, atol=1e-11)
    h = 1e-5
    curvature = (complex_step(reference, x + h * v) - complex_step(reference, x - h * v)) / (2 * h)
    for hv in (cb.grad(lambda x: cb.sum(cb.grad(f)(x) * v))(x), cb.jvp(cb.grad(f), (x,), (v,))[1],
               cb.grad(lambda x: cb.jvp(f, (x,), (v,))[1])(x)):
        np.testing.assert_allclose(hv.numpy(), curvature, rtol=0, atol=1e-7)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_axes(axis, rng):
    x = rng.normal(size=(3, 4, 5))
    e = np.exp(x)
    np.testing.assert_allclose(cb.softmax(x, axis).numpy(), e / e.sum(axis, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(cb.log_softmax(x, axis).numpy(), np.log(e / e.sum(axis, keepdims=True)), atol=1e-13)
    for keep in (False, True):
        total = cb.logsumexp(x, axis, keepdims=keep).numpy()
        np.testing.assert_allclose(total, np.log(e.sum(axis, keepdims=keep)), rtol=1e-13)


@pytest.mark.parametrize("target, words", [([0, 3], "target 3 in row 1.*3"), ([-1, 0], "target -1 in row 0"),
                                           ([0, 2 ** 40], "row 1"), ([-(2 ** 63), 0], "row 0"),
                                           ([IGNORE, -101], "-101 in row 1")])
def test_labels_out_of_range(target, words):
    with pytest.raises(ValueError, match=words):
        rows_loss(cb.tensor(np.zeros((2, 3))), target)


@pytest.mark.parametrize("call, error", [
    (lambda: cb.softmax(cb.zeros((2, 0))), ShapeError), (lambda: cb.logsumexp(cb.zeros((2, 0))), ShapeError),
    (lambda: cb.softmax(cb.tensor(1.0)), ShapeError), (lambda: cb.log_softmax(cb.zeros((2, 3)), 2), ShapeError),
    (lambda: cb.softmax(cb.arange(3)), DTypeError), (lambda: cb.logsumexp(cb.tensor([True, False])), DTypeError),
])
def test_errors(call, error):
    with pytest.raises(error):
        call()


def test_no_rows():
    for f in (cb.softmax, cb.log_softmax):
        assert f(cb.zeros((0, 3))).shape == (0, 3)
    assert cb.logsumexp(cb.zeros((0, 3))).shape == (0,)
    assert rows_loss(cb.zeros((0, 3)), np.zeros(0, int)).shape == (0,)
