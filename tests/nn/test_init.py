"""Initialisers: measured variance and exact bounds on non-square shapes, where swapped fans show."""

import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop.nn import init

SHAPE = (300, 120)                       # fan_in, fan_out
LEAKY = math.sqrt(2 / (1 + 0.3 ** 2))

# call, bound of the uniform distribution
UNIFORM = {
    "xavier": (lambda s, **k: init.xavier_uniform(s, **k), math.sqrt(6 / 420)),
    "xavier, gain": (lambda s, **k: init.xavier_uniform(s, gain=2.5, **k), 2.5 * math.sqrt(6 / 420)),
    "kaiming": (lambda s, **k: init.kaiming_uniform(s, **k), math.sqrt(6 / 300)),
    "kaiming, slope": (lambda s, **k: init.kaiming_uniform(s, a=0.3, **k), LEAKY * math.sqrt(3 / 300)),
    "kaiming, out": (lambda s, **k: init.kaiming_uniform(s, mode="fan_out", **k), math.sqrt(6 / 120)),
    "kaiming, tanh": (lambda s, **k: init.kaiming_uniform(s, nonlinearity="tanh", **k), 5 / 3 * math.sqrt(3 / 300)),
    "lecun": (lambda s, **k: init.lecun_uniform(s, **k), math.sqrt(3 / 300)),
    "torch": (lambda s, **k: init.torch_default(s[0], s, **k), math.sqrt(1 / 300)),
}
# call, standard deviation
NORMAL = {
    "xavier": (lambda s, **k: init.xavier_normal(s, **k), math.sqrt(2 / 420)),
    "xavier, gain": (lambda s, **k: init.xavier_normal(s, gain=2.5, **k), 2.5 * math.sqrt(2 / 420)),
    "kaiming": (lambda s, **k: init.kaiming_normal(s, **k), math.sqrt(2 / 300)),
    "kaiming, slope": (lambda s, **k: init.kaiming_normal(s, a=0.3, **k), LEAKY / math.sqrt(300)),
    "kaiming, out": (lambda s, **k: init.kaiming_normal(s, mode="fan_out", **k), math.sqrt(2 / 120)),
    "kaiming, selu": (lambda s, **k: init.kaiming_normal(s, nonlinearity="selu", **k), 0.75 / math.sqrt(300)),
    "lecun": (lambda s, **k: init.lecun_normal(s, **k), math.sqrt(1 / 300)),
    "plain": (lambda s, **k: init.normal(s, 0.0, 0.2, **k), 0.2),
}
DRAWING = {f"{kind} {name}": call for kind, table in (("uniform", UNIFORM), ("normal", NORMAL))
           for name, (call, _) in table.items()} | {
    "orthogonal": lambda s, **k: init.orthogonal(s, **k), "sparse": lambda s, **k: init.sparse(s, 0.3, **k),
    "trunc_normal": lambda s, **k: init.trunc_normal(s, **k),
    "auto": lambda s, **k: init.auto(s, "selu", **k),
}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def moments(x):
    """Mean in standard errors; variance; excess of the fourth moment over that of a normal distribution."""
    x = np.asarray(x, dtype=np.float64).ravel()
    z = (x - x.mean()) / x.std()
    return x.mean() / x.std() * math.sqrt(x.size), x.var(), np.mean(z ** 4) - 3


@DTYPES
@pytest.mark.parametrize("call, bound", UNIFORM.values(), ids=UNIFORM)
def test_uniform(call, bound, dtype):
    x = call(SHAPE, dtype=dtype, rng=1)
    mean, variance, excess = moments(x)
    assert x.shape == SHAPE and x.dtype == dtype
    edge = np.asarray(bound, dtype)
    assert 0.999 * bound < x.numpy().max() <= edge and -0.999 * bound > x.numpy().min() >= -edge
    assert abs(mean) < 4 and abs(variance / (bound ** 2 / 3) - 1) < 0.02 and abs(excess + 1.2) < 0.05


@DTYPES
@pytest.mark.parametrize("call, std", NORMAL.values(), ids=NORMAL)
def test_normal(call, std, dtype):
    x = call(SHAPE, dtype=dtype, rng=1)
    mean, variance, excess = moments(x)
    assert x.shape == SHAPE and x.dtype == dtype
    assert abs(mean) < 4 and abs(variance / std ** 2 - 1) < 0.03 and abs(excess) < 0.15
    assert abs(x.numpy()).max() > 3.8 * std                                          # plain, not truncated


@DTYPES
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (7, 7), (1, 5), (5, 1)], ids=str)
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_orthogonal(shape, gain, dtype):
    q = init.orthogonal(shape, gain, dtype=dtype, rng=2).numpy().astype(np.float64)
    square = q.T @ q if shape[0] >= shape[1] else q @ q.T
    assert abs(square - gain ** 2 * np.eye(min(shape))).max() < 40 * np.finfo(dtype).eps


def test_orthogonal_is_uniform():
    """Every first column is equally likely: the mean of many is near 0, so no sign is preferred."""
    generator = cb.Generator(0)
    first = np.array([init.orthogonal((3, 2), rng=generator).numpy()[:, 0] for _ in range(400)])
    assert abs(first.mean(0)).max() < 4 / math.sqrt(3 * 400)


def test_trunc_normal():
    x = init.trunc_normal(SHAPE, std=1.0, rng=3).numpy().astype(np.float64)
    assert 1.99 < x.max() <= 2 and -1.99 > x.min() >= -2 and abs(x.var() / 0.7737413 - 1) < 0.02     # 0.87962566^2
    x = init.trunc_normal(SHAPE, mean=1.0, std=2.0, a=0.5, b=1.5, rng=3).numpy()
    assert x.min() >= 0.5 and x.max() <= 1.5 and abs(x.var() * 12 - 1) < 0.03                        # almost uniform
    assert np.mean(x == 0.5) < 1e-3      # redrawn, not clipped
    with pytest.raises(ValueError, match="below"):
        init.trunc_normal(SHAPE, a=1.0, b=1.0)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 1.0])
def test_sparse(sparsity):
    x = init.sparse((30, 200), sparsity, std=0.5, rng=4).numpy()
    assert np.array_equal((x == 0).sum(0), np.full(200, math.ceil(sparsity * 30)))
    assert sparsity == 1 or abs(x[x != 0].std() / 0.5 - 1) < 0.05
    assert sparsity in (0, 1) or len(np.unique((x == 0) @ 2.0 ** np.arange(200))) > 20               # columns differ


def test_constants():
    assert init.constant((2, 3), 1.5, "float64").tolist() == [[1.5] * 3] * 2
    assert init.zeros(3).tolist() == [0.0] * 3 and init.ones((2,)).tolist() == [1.0] * 2
    assert init.zeros(3).dtype == np.float32 and init.ones(2, "float64").dtype == np.float64
    x = init.uniform((1000,), 2.0, 3.0, rng=0).numpy()
    assert x.min() >= 2 and x.max() <= 3 and abs(x.mean() - 2.5) < 0.05


@pytest.mark.parametrize("name, param, gain", [
    ("linear", None, 1), ("sigmoid", None, 1), ("tanh", None, 5 / 3), ("selu", None, 0.75),
    ("relu", None, math.sqrt(2)),
    ("leaky_relu", None, math.sqrt(2 / 1.0001)), ("leaky_relu", 0.0, math.sqrt(2)), ("leaky_relu", 1.0, 1.0),
])
def test_gains(name, param, gain):
    assert math.isclose(init.calculate_gain(name, param), gain, rel_tol=1e-15)


@pytest.mark.parametrize("call", DRAWING.values(), ids=DRAWING)
def test_seeds(call):
    a, b, c = (call((6, 4), rng=seed).numpy() for seed in (5, 5, 6))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    generator = cb.Generator(5)
    assert np.array_equal(call((6, 4), rng=generator), a) and not np.array_equal(call((6, 4), rng=generator), a)
    cb.seed(5)
    assert np.array_equal(call((6, 4)), a)


FANLESS = {k: v for k, v in DRAWING.items() if not any(word in k for word in ("torch", "plain", "trunc"))}


@pytest.mark.parametrize("call", FANLESS.values(), ids=FANLESS)
def test_fans_need_two_axes(call):
    with pytest.raises(cb.ShapeError, match=r"\(5,\)"):
        call((5,))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("call", DRAWING.values(), ids=DRAWING)
def test_empty_shapes(call, shape):
    assert call(shape).shape == shape


@pytest.mark.parametrize("call, message", [
    (lambda: init.kaiming_uniform((2, 3), mode="fan_inn"), "fan_inn"),
    (lambda: init.kaiming_normal((2, 3), nonlinearity="swish"), "swish"),
    (lambda: init.calculate_gain("prelu"), "prelu"),
])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
