"""fit on a program: the bits of fit without one, whatever a step consists of."""

import logging
import os
import warnings

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train

N, SIZE = 37, 8                          # a ragged last batch


def make(compiled, *, loss="cross_entropy", out=3, opt=optim.Adam, schedule=None, dropout=0.3, **options):
    model = nn.Sequential(nn.Dense(4, 16, activation="gelu", rng=0), nn.Dropout(dropout, rng=1),
                          nn.Dense(16, out, rng=2))
    optimizer = opt(model.parameters(), lr=0.01)
    return train.Trainer(model, loss, optimizer, seed=5, schedule=schedule and schedule(optimizer), compile=compiled,
                         **options)


def data(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 4)).astype(np.float32)
    return X, rng.integers(0, 3, N) if loss == "cross_entropy" else rng.standard_normal((N, 3)).astype(np.float32)


def everything(trainer):
    history = {k: v for k, v in trainer.history.history.items() if k != "examples_per_second"}
    moments = trainer.optimizer.state_dict()["moments"]
    return ([p.tolist() for p in trainer.model.parameters()], history, trainer.step, trainer.epochs, trainer.rng.state,
            {k: [None if m is None else m.tolist() for m in v] for k, v in moments.items()},
            trainer.model.layers[1].rng.state, trainer.optimizer.param_groups[0]["lr"])


CASES = {
    "plain": {}, "mse": {"loss": "mse"}, "sgd": {"opt": optim.SGD}, "clip": {"clip_norm": 0.1},
    "clip_value": {"clip_value": 0.01}, "accumulate": {"accumulate": 3},
    "cosine": {"schedule": lambda o: optim.CosineLR(o, 7), "schedule_every": "step"},
    "warmup": {"schedule": lambda o: optim.WarmupLR(o, 4, after=lambda o: optim.StepLR(o, 2)),
               "schedule_every": "step"},
    "epoch schedule": {"schedule": lambda o: optim.StepLR(o, 1)},
    "all": {"accumulate": 2, "clip_norm": 0.5, "schedule": lambda o: optim.CosineLR(o, 9), "schedule_every": "step"},
}


@pytest.mark.parametrize("weights", ["", "samples", "classes", "both"])
@pytest.mark.parametrize("case", CASES)
def test_same_bits_with_and_without(case, weights):
    loss = CASES[case].get("loss", "cross_entropy")
    if loss == "mse" and weights in ("classes", "both"):
        weights = "samples"              # real targets have no classes
    X, y = data(loss)
    options = {"sample_weight": np.linspace(0, 2, N)} if weights in ("samples", "both") else {}
    if weights in ("classes", "both"):
        options["class_weight"] = {0: 1.0, 1: 0.5, 2: 3.0}
    seen = []
    for compiled in (True, False):
        trainer = make(compiled, **CASES[case])
        trainer.fit(X, y, epochs=4, batch_size=SIZE, validation_data=(X[:9], y[:9]), **options)
        seen.append(everything(trainer))
        assert (trainer._runner._compiled is not None) == compiled
    assert seen[0] == seen[1]


def test_two_programs_for_all_epochs():
    """One for whole batches, one for the ragged one: neither the epochs nor their validation record again."""
    trainer = make(True)
    X, y = data("cross_entropy")
    for _ in range(3):
        trainer.fit(X, y, epochs=2, batch_size=SIZE, validation_data=(X, y))
    assert len(trainer._runner._compiled.programs) == 2


def test_the_loop_runs_in_c():
    """Of 20 whole batches the 1st is recorded, audited are 2nd, 4th, 8th and 16th; of 5 ragged ones 2nd and 4th."""
    runs, log = [], logging.getLogger(__name__)          # a program does not depend on what is logged

    class Handler(logging.Handler):
        def emit(self, record):
            runs.append(record.args[0])

    class Watched(nn.Module):
        def __init__(self):
            self.inner = nn.Dense(4, 3, rng=0)

        def forward(self, x):
            log.error("%s", x.shape[0])
            return self.inner(x)

    handler = Handler()
    log.addHandler(handler)
    log.propagate = False
    model = Watched()
    trainer = train.Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.1))
    trainer.fit(*data("cross_entropy"), epochs=5, batch_size=SIZE)
    log.removeHandler(handler)
    assert runs.count(SIZE) == 5 and runs.count(N % SIZE) == 3 and len(runs) == 8


def test_what_depends_on_a_file_is_noticed(tmp_path):
    """At the fourth call or later the step that an audit runs stands; one warning, and the rest of the run is eager."""
    path, X_y = tmp_path / "number", data("cross_entropy")
    seen = []

    class Grows(train.Callback):
        def on_batch_end(self, trainer, step, logs):
            path.write_bytes(b"1" if step < 7 else b"123")           # the eighth call of the program is audited

    for compiled in (True, False):
        path.write_bytes(b"1")
        trainer = make(compiled, loss=lambda out, y: nn.cross_entropy(out, y) * os.path.getsize(path))
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            trainer.fit(X_y[0][:32], X_y[1][:32], epochs=5, batch_size=SIZE, callbacks=[Grows()])
        assert [str(w.message)[:44] for w in found] == compiled * ["Trainer: steps run one by one from now on: c"]
        seen.append(everything(trainer))
    assert seen[0] == seen[1]


def test_accumulation_is_the_mean_over_all_samples():
    X, y = data("cross_entropy")
    y[::5] = -100                        # ignored rows lie unevenly in the parts
    weights = []
    for parts in (1, 3):
        trainer = make(True, dropout=0.0, opt=optim.SGD, accumulate=parts)
        trainer.fit(X, y, epochs=2, batch_size=N)
        weights.append(np.concatenate([p.numpy().ravel() for p in trainer.model.parameters()]))
    np.testing.assert_allclose(weights[0], weights[1], rtol=2e-5, atol=1e-7)


def test_weights_are_those_of_the_formula():
    """Against NumPy: one step of gradient descent on sum(w l) / sum(w)."""
    rng = np.random.default_rng(1)
    X, y, w = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), rng.uniform(size=6)
    layer = nn.Dense(2, 1, dtype="float64", rng=0)
    before = layer.weight.numpy().copy(), layer.bias.numpy().copy()
    train.Trainer(layer, "mse", optim.SGD(layer.parameters(), lr=0.5)).fit(X, y, batch_size=6, sample_weight=w)
    r = (X @ before[0] + before[1] - y) * w[:, None] * 2 / w.sum()
    np.testing.assert_allclose(layer.weight, before[0] - 0.5 * X.T @ r, rtol=1e-12)
    np.testing.assert_allclose(layer.bias, before[1] - 0.5 * r.sum(0), rtol=1e-12)


class Thaw(train.Callback):
    """Freezes and thaws some parameters between the steps of an epoch, or only between epochs."""

    def __init__(self, each):
        self.each = each

    def _toggle(self, trainer):
        for value in (False, True):
            for p in list(trainer.model.parameters())[1:3]:
                p.requires_grad = value

    def on_epoch_end(self, trainer, epoch, logs):
        self._toggle(trainer)


class ThawEachStep(Thaw):
    def on_batch_end(self, trainer, step, logs):
        if step in self.each:
            self._toggle(trainer)


@pytest.mark.parametrize("callback", [Thaw, ThawEachStep])
def test_parameters_that_were_frozen_in_between(callback):
    X, y = data("cross_entropy")
    seen = []
    for compiled in (True, False):
        trainer = make(compiled, accumulate=2, dropout=0.0)
        trainer.fit(X[:32], y[:32], epochs=4, batch_size=SIZE, callbacks=[callback((1, 3, 6))])
        seen.append(everything(trainer))
        assert not compiled or len(trainer._runner._compiled.programs) == 1
    assert seen[0] == seen[1]


def test_lists_are_no_programs_of_their_own():
    trainers = [make(compiled, dropout=0.0) for compiled in (True, False)]
    for k in range(4):
        losses = [t.train_on_batch([[1.0 * k, 2.0, 3.0, 4.0], [0.0, k, 1.0, 2.0]], [k % 3, 1], [1.0, k])
                  for t in trainers]
        assert losses[0] == losses[1]
    assert everything(trainers[0]) == everything(trainers[1])
    assert len(trainers[0]._runner._compiled.programs) == 1


@pytest.mark.parametrize("options, error, message", [
    ({"sample_weight": np.ones(3)}, cb.ShapeError, "sample_weight has shape"),
    ({"sample_weight": -np.ones(N)}, cb.ShapeError, "not negative"),
    ({"class_weight": {0: 1.0}}, ValueError, r"no weight for the classes \[1, 2\]")])
def test_wrong_weights_are_refused(options, error, message):
    trainer = make(True)
    with pytest.raises(error, match=message):
        trainer.fit(*data("cross_entropy"), **options)
    assert trainer.step == 0
