"""Layers against plain NumPy."""

import math

import numpy as np
import pytest
import references
from samples import case_id

import cybackprop as cb
from cybackprop import nn
from cybackprop._core.engine import unary_rows

ACTIVATIONS = [row for name, row in unary_rows.items() if name in vars(cb)]
POSITIVE = {row.name for row in ACTIVATIONS if row.facts["low"] > -1}


def defaults(row):
    return tuple(value for _, value in row.facts["params"])


def close(got, wanted, factor=64):
    """Within factor eps of max(1, abs(wanted)), eps of the result's dtype."""
    got, wanted = np.asarray(got), np.asarray(wanted, dtype=np.float64)
    assert got.shape == wanted.shape
    far = np.max(np.abs(got - wanted) / np.maximum(1, np.abs(wanted)), initial=0.0)
    assert far <= factor * np.finfo(got.dtype).eps, far / np.finfo(got.dtype).eps


def layer_and_input(rng, row, dtype):
    """A layer, its input, and the exact sums that its activation sees."""
    layer = nn.Dense(5, 7, activation=row.name, dtype=dtype, rng=1)
    x = rng.normal(size=(9, 5)).astype(dtype)
    if row.name in POSITIVE:
        layer.weight.assign(abs(layer.weight.numpy()))
        layer.bias.assign(abs(layer.bias.numpy()) + 0.25)
        x = abs(x)
    w, b = (p.numpy().astype(np.float64) for p in (layer.weight, layer.bias))
    return layer, x, x.astype(np.float64) @ w + b


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", ACTIVATIONS, ids=case_id)
def test_dense(row, dtype, rng):
    layer, x, z = layer_and_input(rng, row, dtype)
    y = layer(x)
    assert y.dtype == dtype
    close(y.numpy(), references.exact(references.UNARY[row.name].f, z.ravel(), p=defaults(row))[0].reshape(z.shape))


@pytest.mark.parametrize("row", ACTIVATIONS, ids=case_id)
def test_gradients_of_dense(row, rng):
    layer, x, z = layer_and_input(rng, row, "float64")
    g = rng.normal(size=z.shape)
    x = cb.tensor(x, requires_grad=True)
    layer(x).backward(g)
    dz = g * references.slopes(row.name, tuple(z.ravel().tolist()), defaults(row))[:, 0].reshape(z.shape)
    close(layer.weight.grad.numpy(), x.numpy().T @ dz, factor=512)
    close(layer.bias.grad.numpy(), dz.sum(0), factor=512)
    close(x.grad.numpy(), dz @ layer.weight.numpy().T, factor=512)


@pytest.mark.parametrize("rows", [(), (1,), (0,), (2, 3), (2, 1, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_shapes_of_dense(rows, bias, rng):
    layer = nn.Dense(3, 2, bias=bias, activation="tanh", dtype="float64", rng=0)
    x = rng.normal(size=(*rows, 3))
    assert (layer.bias is None) == (not bias) and len(layer.parameters()) == 1 + bias
    close(layer(x).numpy(), np.tanh(x @ layer.weight.numpy() + (layer.bias.numpy() if bias else 0)))


def test_dense_takes_functions(rng):
    layer, x = nn.Dense(3, 2, activation=lambda y: cb.tanh(y) * 2, dtype="float64", rng=0), rng.normal(size=(4, 3))
    close(layer(x).numpy(), 2 * np.tanh(x @ layer.weight.numpy() + layer.bias.numpy()))
    assert repr(nn.Dense(3, 2, bias=False, activation="relu")) == "Dense(3, 2, activation='relu', bias=False)"


@pytest.mark.parametrize("make, error, message", [
    (lambda: nn.Dense(-1, 2), ValueError, "-1"),
    (lambda: nn.Dense(1, 2, activation="rellu"), ValueError, "rellu"),
    (lambda: nn.Dense(1, 2, activation="add"), ValueError, "add"),
    (lambda: nn.Dense(1, 2, init="he"), ValueError, "'he'"),
    (lambda: nn.Dense(1, 2, dtype="int64"), TypeError, "int64"),
    (lambda: nn.Dense(20, 2)(np.ones((3, 30))), cb.ShapeError, r"30.*20|20.*30"),
    (lambda: nn.Dense(2, 2)(cb.tensor(np.ones((3, 2)))), cb.DTypeError, "float64"),
    (lambda: nn.Dropout(1.0), ValueError, "1.0"),
    (lambda: nn.Dropout(-0.1), ValueError, "-0.1"),
    (lambda: nn.Dropout(math.nan), ValueError, "nan"),
    (lambda: nn.Activation("rellu"), ValueError, "rellu"),
])
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


# rule, activation, (variance of the weight, its bound), both for 300 in and 100 out
UNIFORM = {
    ("torch", None): 1 / 300,
    ("torch", "relu"): 1 / 300,
    ("auto", "relu"): 6 / 300,
    ("auto", "gelu"): 6 / 300,
    ("auto", None): 6 / 400,
    ("auto", "sigmoid"): 6 / 400,
    ("auto", "tanh"): (5 / 3) ** 2 * 6 / 400,
}


@pytest.mark.parametrize("rule, activation", UNIFORM, ids=str)
def test_initial_values(rule, activation):
    layer = nn.Dense(300, 100, init=rule, activation=activation, rng=7)
    w, bound = layer.weight.numpy().astype(np.float64), math.sqrt(UNIFORM[rule, activation])
    assert w.shape == (300, 100) and 0.999 * bound < abs(w).max() <= bound * (1 + 1e-7)
    assert abs(w.var() / (bound ** 2 / 3) - 1) < 0.02 and abs(w.mean()) < 0.02 * bound
    b = layer.bias.numpy()
    assert not b.any() if rule == "auto" else 0.9 * bound < abs(b).max() <= bound * (1 + 1e-7)


def test_lecun_for_selu():
    w = nn.Dense(300, 100, init="auto", activation="selu", rng=7).weight.numpy().astype(np.float64)
    assert abs(w.var() * 300 - 1) < 0.03 and abs(w).max() > 3.5 * 300 ** -0.5


def test_the_same_seed_gives_the_same_layer():
    a, b, c = (nn.Dense(5, 4, rng=seed).state_dict() for seed in (3, 3, 4))
    assert all(np.array_equal(a[n], b[n]) for n in a) and not np.array_equal(a["weight"], c["weight"])
    generator = cb.Generator(3)
    first, second = nn.Dense(5, 4, rng=generator), nn.Dense(5, 4, rng=generator)
    assert np.array_equal(first.weight, a["weight"]) and not np.array_equal(second.weight, a["weight"])
    cb.seed(3)
    assert np.array_equal(nn.Dense(5, 4).weight, a["weight"])


# ---- dropout

@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_in_training(p, dtype, rng):
    x = cb.tensor(rng.normal(size=(400, 250)).astype(dtype), requires_grad=True)
    y = nn.Dropout(p, rng=5)(x)
    kept = y.numpy() != 0
    assert y.dtype == dtype and abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / x.size)
    assert abs(kept.mean(0) - (1 - p)).max() < 6 * math.sqrt(p * (1 - p) / 400)     # no column drops more
    assert abs(kept.mean(1) - (1 - p)).max() < 6 * math.sqrt(p * (1 - p) / 250)
    close(y.numpy(), np.where(kept, x.numpy().astype(np.float64) / (1 - p), 0), factor=4)
    g = rng.normal(size=x.shape).astype(dtype)
    y.backward(g)
    close(x.grad.numpy(), np.where(kept, g.astype(np.float64) / (1 - p), 0), factor=4)


def test_dropout_at_rest(rng):
    x, layer = rng.normal(size=(3, 4)).astype("float32"), nn.Dropout(0.5, rng=0)
    before = layer.rng.state
    assert np.array_equal(layer.eval()(x), x) and layer.rng.state == before
    assert np.array_equal(nn.Dropout(0.0)(x), x)
    model = nn.Sequential(nn.Dropout(0.5)).eval()
    assert np.array_equal(model(x), x)


def test_seeds_of_dropout():
    x = np.ones((20, 20), "float32")
    a, b, c = nn.Dropout(0.5, rng=1), nn.Dropout(0.5, rng=1), nn.Dropout(0.5, rng=2)
    first = a(x).numpy()
    assert np.array_equal(first, b(x)) and not np.array_equal(first, c(x)) and not np.array_equal(first, a(x))
    cb.seed(9)
    default = nn.Dropout(0.5)(x).numpy()
    cb.seed(9)
    assert np.array_equal(default, nn.Dropout(0.5)(x))


def test_dropout_ignores_what_it_drops():
    x = cb.tensor(np.full(100, np.inf, "float32"), requires_grad=True)
    y = nn.Dropout(0.5, rng=0)(x)
    assert set(y.tolist()) == {0.0, np.inf}
    y.sum().backward()
    assert set(x.grad.tolist()) == {0.0, 2.0}


# ---- the others

@pytest.mark.parametrize("function, options, wanted", [
    ("leaky_relu", {"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    ("elu", {"alpha": 2.0}, lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
    ("hard_tanh", {"min_val": -0.5, "max_val": 0.25}, lambda x: np.clip(x, -0.5, 0.25)),
    ("tanh", {}, np.tanh),
    ("softmax", {"axis": 0}, lambda x: np.exp(x) / np.exp(x).sum(0)),
    (lambda x, by: x * by, {"by": 3.0}, lambda x: 3 * x),
])
def test_activation(function, options, wanted, rng):
    x = rng.normal(size=(4, 5))
    close(nn.Activation(function, **options)(cb.tensor(x)).numpy(), wanted(x))


def test_sequential(rng):
    model = nn.Sequential(nn.Dense(3, 4, dtype="float64", rng=0), nn.Activation("tanh"),
                          nn.Dense(4, 2, dtype="float64", rng=1))
    x = rng.normal(size=(5, 3))
    w1, b1, w2, b2 = (p.numpy() for p in model.parameters())
    close(model(x).numpy(), np.tanh(x @ w1 + b1) @ w2 + b2)
    assert nn.Sequential()(cb.tensor(x)).tolist() == x.tolist()
    model.layers.insert(1, nn.Dropout())
    assert [name.split(".")[1] for name, _ in model.named_parameters()] == ["0", "0", "3", "3"]
