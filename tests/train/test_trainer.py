"""Trainer: what fit, evaluate and predict compute, against NumPy; what they learn."""

import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop.data import digits


def linear(dtype="float64", lr=0.1, n_in=3, n_out=2, loss="mse", **options):
    """A trainer of one layer by plain SGD, and its first weight and bias."""
    layer = nn.Dense(n_in, n_out, dtype=dtype, rng=3)
    w, b = (p.numpy().astype(np.float64) for p in layer.parameters())
    return train.Trainer(layer, loss, optim.SGD(layer.parameters(), lr=lr), **options), w, b


def data(rng, n=10, n_in=3, n_out=2):
    return rng.normal(size=(n, n_in)), rng.normal(size=(n, n_out))


def mse(X, y, w, b):
    return np.mean((X @ w + b - y) ** 2)


def epoch(X, y, w, b, lr, size, order):
    """One epoch of SGD: the weights, and the batches' losses weighted by their sizes."""
    total = 0.0
    for at in range(0, len(X), size):
        rows = order[at:at + size]
        r = X[rows] @ w + b - y[rows]
        total += np.mean(r ** 2) * len(rows)
        w, b = w - lr * X[rows].T @ r * 2 / r.size, b - lr * r.sum(0) * 2 / r.size
    return w, b, total / len(X)


def watched(model):
    """The rows of each training batch from now on: X's first column numbers them."""
    inner, batches = model.forward, []

    def forward(x):
        if model.training:
            batches.append(x.numpy()[:, 0].astype(int).tolist())
        return inner(x)

    vars(model)["forward"] = forward
    return batches


@pytest.mark.parametrize("n, size", [(10, 4), (10, 5), (10, 3), (7, 20), (5, 1)])
def test_fit_is_gradient_descent_by_batches(n, size, rng):
    """Every row once an epoch, in a new order each; ragged last batch; the loss is the weighted mean of the batches."""
    X, y = data(rng, n)
    X[:, 0] = np.arange(n)
    trainer, w, b = linear(lr=0.01, compile=False)      # a program would not show its batches
    seen = watched(trainer.model)
    history = trainer.fit(X, y, epochs=3, batch_size=size)
    per_epoch = -(-n // size)
    for e in range(3):
        batches = seen[e * per_epoch:(e + 1) * per_epoch]
        order = sum(batches, [])
        assert sorted(order) == list(range(n)) and [len(x) for x in batches[:-1]] == [size] * (per_epoch - 1)
        w, b, loss = epoch(X, y, w, b, 0.01, size, order)
        assert history.history["loss"][e] == pytest.approx(loss, rel=1e-12)
    assert n < 7 or len({tuple(sum(seen[e * per_epoch:][:per_epoch], [])) for e in range(3)}) == 3
    assert trainer.step == 3 * per_epoch and trainer.epochs == 3 and not trainer.unfinished
    np.testing.assert_allclose(trainer.model.weight, w, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(trainer.model.bias, b, rtol=1e-11, atol=1e-13)


def test_seeds(rng):
    X, y = data(rng)
    results = []
    for seed in (0, 0, 1):
        trainer, *_ = linear(seed=seed)
        trainer.fit(X, y, epochs=2, batch_size=3)
        results.append(trainer.model.weight.tolist())
    assert results[0] == results[1] != results[2]


def test_history_and_validation(rng):
    X, y = data(rng)
    V, v = data(rng, 23)
    trainer, w, b = linear(lr=0.0)
    history = trainer.fit(X, y, epochs=2, batch_size=4, validation_data=(V, v))
    assert history is trainer.history and history.epoch == [0, 1]
    assert set(history.history) == {"loss", "val_loss", "examples_per_second"}
    assert history.history["loss"] == pytest.approx([mse(X, y, w, b)] * 2, rel=1e-12)
    assert history.history["val_loss"] == pytest.approx([mse(V, v, w, b)] * 2, rel=1e-12)
    assert all(rate > 0 for rate in history.history["examples_per_second"])
    trainer.fit(X, y)
    assert history.epoch == [0, 1, 2] and trainer.epochs == 3


@pytest.mark.parametrize("size", [1, 4, 7, 23, 100])
def test_evaluate(size, rng):
    """Loss and metrics are means over samples, whatever the batches."""
    X, y = rng.normal(size=(23, 3)), rng.integers(0, 2, 23)

    def first(out, goal):
        return float(np.mean(out[:, 0] - goal))

    trainer, w, b = linear(loss="cross_entropy", metrics=["accuracy", first])
    z = X @ w + b
    wanted = {"loss": np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(23), y]), "accuracy": np.mean(z.argmax(1) == y),
              "first": np.mean(z[:, 0] - y)}
    assert trainer.evaluate(X, y, batch_size=size) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("prediction, target, wanted", [
    ([[1.0, 2.0], [3.0, 0.0]], [1, 1], 0.5), ([[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], 1.0),
    ([1.0, -1.0, -2.0], [1, 0, 1], 2 / 3), ([[1.0], [-1.0]], [[1.0], [1.0]], 0.5), ([[1.0], [-1.0]], [1, 0], 1.0),
])
def test_accuracy(prediction, target, wanted):
    assert train.accuracy(np.array(prediction), np.array(target)) == pytest.approx(wanted)


# ---- predict

def net(dtype="float32"):
    return nn.Sequential(nn.Dense(13, 37, activation="gelu", dtype=dtype, rng=0), nn.Dropout(0.5),
                         nn.Dense(37, 19, activation="tanh", dtype=dtype, rng=1), nn.Dense(19, 3, dtype=dtype, rng=2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_gives_the_same_bits_in_any_batch(dtype, rng):
    trainer = train.Trainer(net(dtype), "mse", optim.SGD([cb.Parameter([1.0])], lr=1.0))
    X = rng.normal(size=(101, 13)).astype(dtype)
    whole = trainer.predict(X)
    assert whole.dtype == dtype and whole.shape == (101, 3)
    for size in (1, 2, 7, 16, 100):
        assert trainer.predict(X, batch_size=size).tobytes() == whole.tobytes()
    order = rng.permutation(101)
    assert trainer.predict(X[order]).tobytes() == whole[order].tobytes()
    assert trainer.predict(X[:0]).shape == (0, 3)


def test_predict_leaves_the_model_as_it_was(rng):
    model = net()
    trainer = train.Trainer(model, "mse", optim.SGD(model.parameters(), lr=1.0))
    model.layers[1].eval()
    modes = [m.training for _, m in model.named_modules()]
    with pytest.raises(cb.ShapeError):
        trainer.predict(rng.normal(size=(4, 12)))
    trainer.predict(rng.normal(size=(4, 13)))
    trainer.evaluate(rng.normal(size=(4, 13)), np.zeros((4, 3)))
    assert [m.training for _, m in model.named_modules()] == modes
    assert all(p.grad is None for p in model.parameters()) and cb.is_grad_enabled()


# ---- what may come in

def as_memmap(X, folder):
    path = folder / f"{X.shape}.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


INPUTS = {
    "list": lambda X, folder: X.tolist(),
    "read-only memmap": as_memmap,
    "float32 columns first": lambda X, folder: np.asfortranarray(X.astype("float32")),
    "every other row of more": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "big-endian": lambda X, folder: X.astype(">f8"),
    "tensor": lambda X, folder: cb.tensor(X),
}


@pytest.mark.parametrize("kind", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kinds_of_inputs(kind, dtype, rng, tmp_path):
    X, y = (np.round(a * 64) / 64 for a in data(rng))             # exact in every format
    results = []
    for inputs, targets in ((X, y), (kind(X, tmp_path), kind(y, tmp_path))):
        trainer, *_ = linear(dtype)
        trainer.fit(inputs, targets, epochs=2, batch_size=4, validation_data=(inputs, targets))
        results.append((trainer.model.weight.tolist(), trainer.predict(inputs).tolist(),
                        trainer.evaluate(inputs, targets)))
    assert results[0] == results[1]


def test_users_arrays_are_left_alone(rng):
    X, y = data(rng)
    before = X.tobytes(), y.tobytes()
    X.flags.writeable = y.flags.writeable = False
    linear()[0].fit(X, y, epochs=2, batch_size=4)
    assert (X.tobytes(), y.tobytes()) == before


X0, Y0 = np.zeros((4, 3)), np.zeros((4, 2))


@pytest.mark.parametrize("call, error, message", [
    (lambda t: t.fit(X0, Y0[:3]), cb.ShapeError, r"\(4, 3\).*\(3, 2\)"),
    (lambda t: t.fit(X0[:0], Y0[:0]), cb.ShapeError, "no samples"),
    (lambda t: t.fit(1.0, Y0), cb.ShapeError, "first axes"),
    (lambda t: t.fit(X0, Y0[:, 0]), cb.ShapeError, "mse"),
    (lambda t: t.fit(X0, Y0, validation_data=(X0, Y0[:2])), cb.ShapeError, r"\(2, 2\)"),
    (lambda t: t.fit(X0, Y0, epochs=-1), ValueError, "epochs -1"),
    (lambda t: t.fit(X0, Y0, batch_size=0), ValueError, "batch_size 0"),
    (lambda t: t.fit(X0, Y0, max_steps=-1), ValueError, "max_steps -1"),
    (lambda t: t.evaluate(X0, Y0, batch_size=0), ValueError, "batch_size 0"),
    (lambda t: t.predict(1.0), cb.ShapeError, "no axis"),
    (lambda t: train.Trainer(t.model, "msee", t.optimizer), ValueError, "msee"),
    (lambda t: train.Trainer(t.model, "mse", t.optimizer, metrics=["acc"]), ValueError, "acc"),
])
def test_refusals_change_nothing(call, error, message):
    trainer, *_ = linear()
    before = trainer.model.weight.tolist(), str(trainer.optimizer.state_dict()), trainer.step
    with pytest.raises(error, match=message):
        call(trainer)
    assert (trainer.model.weight.tolist(), str(trainer.optimizer.state_dict()), trainer.step) == before


# ---- it learns

@pytest.mark.parametrize("make", [lambda p: optim.Adam(p, lr=0.005), lambda p: optim.SGD(p, lr=0.1, momentum=0.9)],
                         ids=["adam", "sgd"])
def test_learns_digits(make):
    X, y = digits()
    part = np.arange(len(X)) % 5 == 0
    model = nn.Sequential(nn.Dense(64, 50, activation="relu", rng=1), nn.Dense(50, 10, rng=2))
    trainer = train.Trainer(model, "cross_entropy", make(model.parameters()), metrics=["accuracy"])
    history = trainer.fit(X[~part], y[~part], epochs=15, validation_data=(X[part], y[part]))
    assert history.history["val_accuracy"][-1] >= 0.95 and history.history["loss"][-1] < 0.1


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_learns_a_regression(activation, rng):
    X = rng.uniform(-2, 2, size=(600, 2))
    y = np.sin(2 * X[:, :1]) + X[:, 1:] ** 2
    model = nn.Sequential(nn.Dense(2, 32, activation=activation, rng=1), nn.Dense(32, 32, activation=activation, rng=2),
                          nn.Dense(32, 1, rng=3))
    trainer = train.Trainer(model, "mse", optim.Adam(model.parameters(), lr=0.01))
    trainer.fit(X[:500], y[:500], epochs=60)
    residual = trainer.predict(X[500:]) - y[500:]
    assert 1 - np.sum(residual ** 2) / np.sum((y[500:] - y[500:].mean()) ** 2) > 0.98


def test_a_loss_that_is_no_number_is_logged(rng):
    X, y = data(rng)
    y[3, 0] = math.nan
    trainer, *_ = linear()
    history = trainer.fit(X, y, epochs=2, batch_size=4, validation_data=(X, y))
    assert np.isnan(history.history["loss"]).all() and np.isnan(history.history["val_loss"]).all()
    assert np.isnan(trainer.model.weight.numpy()).any()
