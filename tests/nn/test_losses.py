"""Losses against NumPy in float64, written from the formulas row by row."""

import itertools
import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn

INF = math.inf
WEIGHT = np.array([0.5, 2.0, 1.0, 0.25, 3.0])


def log_softmax(x):
    x = np.asarray(x, dtype=np.float64)
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def reduced(rows, reduction, count):
    return {"none": rows, "sum": rows.sum(), "mean": rows.sum() / count if count else np.nan}[reduction]


def classes(x, target, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """torch's semantics: the mean divides by the weights of the targets that count, smoothing spreads by weight."""
    log_p, c = log_softmax(x), x.shape[-1]
    w, rows, total = np.ones(c) if weight is None else weight, np.zeros(len(target)), 0.0
    for i, k in enumerate(target):
        if k != ignore_index:
            rows[i] = -(1 - label_smoothing) * w[k] * log_p[i, k] - label_smoothing / c * (w * log_p[i]).sum()
            total += w[k]
    return reduced(rows, reduction, total)


def probabilities(x, target, weight=None, label_smoothing=0.0, reduction="mean"):
    """torch's semantics: the mean divides by the number of rows, weighted or not."""
    c = x.shape[-1]
    goal = target * (1 - label_smoothing) + label_smoothing / c
    return reduced(-(goal * log_softmax(x) * (np.ones(c) if weight is None else weight)).sum(-1), reduction, len(x))


def bce(x, t, weight=None, pos_weight=None, reduction="mean"):
    def log_sigmoid(z):
        return np.minimum(z, 0) - np.log1p(np.exp(-abs(z)))

    loss = -(1 if pos_weight is None else pos_weight) * t * log_sigmoid(x) - (1 - t) * log_sigmoid(-x)
    return reduced(loss * (1 if weight is None else weight), reduction, loss.size)


def power(x, t, reduction="mean", p=2):
    return reduced(abs(x - t) ** p, reduction, x.size)


def huber(x, t, delta=1.0, reduction="mean"):
    d = abs(x - t)
    return reduced(np.where(d <= delta, d ** 2 / 2, delta * (d - delta / 2)), reduction, x.size)


LABELS = np.array([0, 4, 2, 2, 1, 3, 0])
SOME, ALL = np.array([0, -100, 2, -100, 1, 3, 0]), np.full(7, -100)
SHARES = np.random.default_rng(1).dirichlet(np.ones(5), 7)
SHARES[2] = [0, 1, 0, 0, 0]
SIGNED = np.random.default_rng(2).normal(size=(7, 5))
BITS = (SIGNED > 0).astype(float)


def combined(function, oracle, target, **options):
    """Cases of all combinations of options."""
    for values in itertools.product(*options.values(), ("mean", "sum", "none")):
        yield function, oracle, target, dict(zip((*options, "reduction"), values, strict=True))


CASES = [
    *(c for t in (LABELS, SOME) for c in combined(nn.cross_entropy, classes, t, weight=(None, WEIGHT),
                                                  label_smoothing=(0.0, 0.1, 1.0))),
    *combined(nn.cross_entropy, classes, ALL, weight=(None, WEIGHT), label_smoothing=(0.0, 0.1)),
    *combined(nn.cross_entropy, classes, LABELS, weight=(None, WEIGHT), label_smoothing=(0.0, 0.1),
              ignore_index=(2, 4)),
    *combined(nn.cross_entropy, probabilities, SHARES, weight=(None, WEIGHT), label_smoothing=(0.0, 0.1, 1.0)),
    *(c for t in (BITS, SHARES) for c in combined(nn.bce_with_logits, bce, t, weight=(None, SHARES[0]),
                                                  pos_weight=(None, WEIGHT))),
    *combined(nn.mse, power, SIGNED),
    *combined(nn.mae, lambda *a, **k: power(*a, **k, p=1), SIGNED),
    *combined(nn.huber, huber, SIGNED, delta=(1.0, 0.3, 5.0)),
]


def case_id(case):
    name, target, options = case[0].__name__, case[2], case[3]
    kinds = {"classes": LABELS, "some ignored": SOME, "all ignored": ALL, "bits": BITS, "shares": SHARES, "": SIGNED}
    kind = next(name for name, value in kinds.items() if value is target)
    return " ".join([name, kind, *(f"{k}={'given' if isinstance(v, np.ndarray) else v}" for k, v in options.items())])


def close(got, wanted, factor=64):
    got, wanted = np.asarray(got), np.asarray(wanted, dtype=np.float64)
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    far = np.nan_to_num(abs(got - wanted) / np.maximum(1, abs(wanted))).max(initial=0.0)
    assert far <= factor * np.finfo(got.dtype).eps, far / np.finfo(got.dtype).eps


CASE = pytest.mark.parametrize("function, oracle, target, options", CASES, ids=map(case_id, CASES))


@CASE
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(function, oracle, target, options, dtype, rng, quiet):
    x = (3 * rng.normal(size=(7, 5))).astype(dtype)
    loss = function(cb.tensor(x), target, **options)
    assert loss.dtype == dtype
    close(loss.numpy(), oracle(x.astype(np.float64), target, **options))


@CASE
def test_gradients(function, oracle, target, options, rng, quiet):
    x = cb.tensor(3 * rng.normal(size=(7, 5)), requires_grad=True)
    loss, h = function(x, target, **options), 1e-5
    g, direction = rng.normal(size=loss.shape), rng.normal(size=(7, 5))
    loss.backward(g)
    ends = (np.sum(g * oracle(x.numpy() + step * direction, target, **options)) for step in (h, -h))
    slope = 0 if target is ALL else np.subtract(*ends) / (2 * h)           # of a mean of nothing too, as in torch
    assert np.sum(x.grad.numpy() * direction) == pytest.approx(slope, rel=1e-8, abs=1e-8)
    if options.get("ignore_index", -100) in target.tolist():
        assert not x.grad.numpy()[target == options.get("ignore_index", -100)].any()


@pytest.mark.parametrize("function, oracle, target, options",
                         [c for c in CASES if c[3]["reduction"] == "mean" and c[2] is not ALL],
                         ids=[case_id(c) for c in CASES if c[3]["reduction"] == "mean" and c[2] is not ALL])
def test_second_derivatives(function, oracle, target, options, rng):
    x, v, h = 3 * rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), 1e-3

    def along(z):
        return (cb.grad(lambda z: function(z, target, **options))(z) * v).sum()

    f = [oracle(x + k * h * v, target, **options) for k in (-2, -1, 0, 1, 2)]
    bend = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h * h)              # error h^4 and 1e-10
    found = np.sum(cb.grad(along)(cb.tensor(x)).numpy() * v)
    assert found == pytest.approx(bend, rel=1e-7, abs=1e-8)


# ---- single rows, extremes

@pytest.mark.parametrize("target", [2, SHARES[0]], ids=["class", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"weight": WEIGHT}], ids=str)
def test_logits_of_one_sample(target, reduction, options, rng):
    x = rng.normal(size=5)
    oracle = probabilities if isinstance(target, np.ndarray) else classes
    loss = nn.cross_entropy(cb.tensor(x), target, reduction=reduction, **options)
    close(loss.numpy(), np.reshape(oracle(x[None], np.array([target]), reduction=reduction, **options), ()))


@pytest.mark.parametrize("target", [[0, 0], [[1.0], [1.0]]])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"weight": [2.0]}], ids=str)
def test_one_class_costs_nothing(target, options):
    x = cb.tensor([[3.0], [-1e4]], requires_grad=True)
    loss = nn.cross_entropy(x, target, **options)
    loss.backward()
    assert loss.item() == 0 and x.grad.tolist() == [[0.0], [0.0]]


# logits, target, loss, gradient: exact
EXTREME = [
    (nn.cross_entropy, [[1e4, -1e4]], [0], 0.0, [[0, 0]]),
    (nn.cross_entropy, [[1e4, -1e4]], [1], 2e4, [[1, -1]]),
    (nn.cross_entropy, [[1e4, 1e4]], [0], math.log(2), [[-0.5, 0.5]]),
    (nn.cross_entropy, [[1e4, -1e4]], [[0.0, 1.0]], 2e4, [[1, -1]]),
    (nn.cross_entropy, [[0, -INF]], [0], 0.0, [[0, 0]]),
    (nn.cross_entropy, [[0, -INF]], [[1.0, 0.0]], 0.0, [[0, 0]]),
    (nn.cross_entropy, [[0, -INF]], [1], INF, [[1, -1]]),
    (nn.bce_with_logits, [1e4, -1e4], [1.0, 0.0], 0.0, [0, 0]),
    (nn.bce_with_logits, [1e4, -1e4], [0.0, 1.0], 1e4, [0.5, -0.5]),
    (nn.bce_with_logits, [1e4, -1e4], [0.5, 0.5], 5e3, [0.25, -0.25]),
    (nn.mse, [1e4, -1e4], [-1e4, 1e4], 4e8, [2e4, -2e4]),
    (nn.mae, [1e4, INF], [-1e4, 0.0], INF, [0.5, 0.5]),
    (nn.mae, [1.0, 2.0], [1.0, 2.0], 0.0, [0, 0]),
    (nn.huber, [1e4, -1e4], [0.0, 0.0], 9999.5, [0.5, -0.5]),
    (nn.huber, [1e30, -INF], [0.0, 0.0], INF, [0.5, -0.5]),
]


@pytest.mark.parametrize("function, x, target, value, gradient", EXTREME)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes(function, x, target, value, gradient, dtype):
    x = cb.tensor(x, dtype, requires_grad=True)
    loss = function(x, target)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=2e-7, abs=0)
    assert x.grad.tolist() == gradient


@pytest.mark.parametrize("x", [[[INF, 0.0]], [[-INF, -INF]], [[math.nan, 0.0]]])
@pytest.mark.parametrize("target", [[0], [1], [[0.5, 0.5]]])
def test_what_has_no_probabilities_has_no_loss(x, target):
    assert math.isnan(nn.cross_entropy(cb.tensor(x), target).item())


@pytest.mark.parametrize("x", [0.5, 5.0, 20.0, 40.0, 80.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bce_is_as_exact_for_zeros_as_for_ones(x, dtype):
    """softplus(-x) on either side: a confident right answer keeps its loss and its gradient."""
    rel = 1e-6 if dtype == "float32" else 1e-14
    for sign, target in ((1, 1.0), (-1, 0.0)):
        logit = cb.tensor([sign * x], dtype, requires_grad=True)
        loss = nn.bce_with_logits(logit, [target])
        loss.backward()
        assert loss.item() == pytest.approx(math.log1p(math.exp(-x)), rel=rel, abs=0)
        assert logit.grad.item() * -sign == pytest.approx(1 / (1 + math.exp(x)), rel=rel, abs=0)


# ---- refusals

PAIRS = [f for f in nn.losses.LOSSES.values() if f is not nn.cross_entropy]


@pytest.mark.parametrize("function", PAIRS)
@pytest.mark.parametrize("shapes", [((3,), (3, 1)), ((3, 1), (3,)), ((3, 2), (2,)), ((3,), ()), ((2, 3), (3, 2))],
                         ids=str)
def test_pairs_never_broadcast(function, shapes):
    with pytest.raises(cb.ShapeError) as caught:
        function(cb.zeros(shapes[0]), np.zeros(shapes[1]))
    assert all(str(s) in str(caught.value) for s in shapes) and function.__name__ in str(caught.value)


def ce(target, shape=(3, 2), **options):
    return lambda: nn.cross_entropy(cb.zeros(shape), target, **options)


REFUSED = [
    (ce([0, 1, 2]), ValueError, r"target 2 in row 2.*\[0, 2\)"),
    (ce([0, -1, 0]), ValueError, r"target -1 in row 1"),
    (ce([7, 1, 9]), ValueError, r"target 7 in row 0"),
    (ce([-100, 1, 9], weight=[1.0, 1.0]), ValueError, r"target 9 in row 2"),
    (ce([-100, 1, 9], label_smoothing=0.1), ValueError, r"target 9 in row 2"),
    (ce([-100, 1, 0], ignore_index=-1), ValueError, r"target -100 in row 0"),
    (ce(2 ** 40, (2,)), ValueError, str(2 ** 40)),
    (ce([True, False, True]), cb.DTypeError, "bool"),
    (ce(["a", "b", "a"]), cb.DTypeError, "U1"),
    (ce([None, 1, 2]), cb.DTypeError, "object"),
    (ce([0j, 1j, 0j]), cb.DTypeError, "complex"),
    (ce([0.0, 1.0, 1.0]), cb.ShapeError, r"\(3, 2\).*\(3,\)"),
    (ce([[0], [1], [0]]), cb.ShapeError, r"\(3, 2\).*\(3, 1\)"),
    (ce([0, 1]), cb.ShapeError, r"\(3, 2\).*\(2,\)"),
    (ce([0, 1, 1], weight=[1.0]), cb.ShapeError, r"\(1,\).*\(3, 2\)"),
    (ce([0, 1, 1], weight=[[1.0, 1.0]]), cb.ShapeError, r"\(1, 2\).*\(3, 2\)"),
    (ce([0, 1, 1], (3, 2, 2)), cb.ShapeError, r"\(3, 2, 2\)"),
    (ce([0, 1, 1], label_smoothing=1.5), ValueError, "1.5"),
    (ce([0, 1, 1], label_smoothing=-0.5), ValueError, "-0.5"),
    (ce([0, 1, 1], reduction="avg"), ValueError, "avg"),
    (ce(cb.tensor(np.zeros((3, 2)))), cb.DTypeError, "float64"),
    (lambda: nn.mse(cb.zeros(2), ["a", "b"]), cb.DTypeError, "mse"),
    (lambda: nn.mse(cb.zeros(2), np.zeros(2), reduction="avg"), ValueError, "avg"),
    (lambda: nn.mse(cb.zeros(2), cb.tensor(np.zeros(2))), cb.DTypeError, "float64"),
    (lambda: nn.huber(cb.zeros(2), np.zeros(2), delta=0.0), ValueError, "delta"),
    (lambda: nn.bce_with_logits(cb.zeros(2), np.zeros(2), weight=np.ones(3)), cb.ShapeError, r"\(2,\).*\(3,\)"),
]


@pytest.mark.parametrize("call, error, message", REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_targets_may_be_any_integers():
    x, wanted = cb.tensor([[1.0, 2.0], [0.0, 3.0]]), classes(np.array([[1.0, 2.0], [0.0, 3.0]]), [0, 1])
    for target in ([0, 1], (0, 1), cb.tensor([0, 1]), *(np.array([0, 1], d) for d in ("i1", "u1", "<i4", ">i4", "u4"))):
        close(nn.cross_entropy(x, target).numpy(), wanted)
