"""Predictions and scores on programs: the bits of those without, whatever comes, and no recording that isn't needed."""

import logging
import os
import warnings

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop._core import engine

F = np.random.default_rng(0)
X, Y = F.standard_normal((45, 4)).astype(np.float32), F.integers(0, 3, 45)


class Runs(logging.Handler):
    """Keeps what is logged: a program doesn't depend on that."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.args)


RUNS, LOG = Runs(), logging.getLogger(__name__)
LOG.addHandler(RUNS)
LOG.setLevel("INFO")
LOG.propagate = False


class Counted(nn.Module):
    """Says how often it ran in Python, and in which mode."""

    def __init__(self, extra=lambda x: x):
        self.inner = nn.Sequential(nn.Dense(4, 16, activation="gelu", rng=0), nn.Dropout(0.5, rng=1),
                                   nn.Dense(16, 3, rng=2))
        self.extra = extra

    def forward(self, x):
        LOG.info("%s %s", len(x), self.training)
        return self.inner(self.extra(x))


def trainer(compiled=True, model=None, **options):
    model = model or Counted()
    RUNS.seen.clear()
    return train.Trainer(model, "cross_entropy", optim.Adam(model.parameters(), lr=0.05), seed=3,
                         metrics=["accuracy"], compile=compiled, **options)


def programs(t):
    return [] if t._forward._compiled is None else t._forward._compiled.programs


INPUTS = {"float32": X, "float64": X.astype("float64"), "ints": F.integers(-3, 3, (45, 4)), "list": X.tolist(),
          "turned": np.asfortranarray(X), "every other": X[::2], "none": X[:0], "one": X[:1]}


@pytest.mark.parametrize("size", [8, 45, 1024])
@pytest.mark.parametrize("name", INPUTS)
def test_predictions_have_the_same_bits(name, size):
    data = INPUTS[name]
    one, two = trainer(), trainer(compiled=False)
    for _ in range(5):                   # eagerly, recorded, audited, replayed twice
        assert one.predict(data, size).tobytes() == two.predict(data, size).tobytes()
        if len(data):
            assert one.evaluate(data, Y[:len(data)], size) == two.evaluate(data, Y[:len(data)], size)
        for t in (one, two):
            for p in t.model.parameters():
                p.assign(p * 1.125 + 0.01)
    shapes = {min(size, len(data)), len(data) % size or min(size, len(data))}
    assert sorted(p.key.leaves[0][2][0] for p in programs(one)) == sorted(shapes)
    assert programs(two) == []


@pytest.mark.parametrize("schedule", [None, lambda o: optim.CosineLR(o, 9)])
def test_fit_validates_with_the_same_bits(schedule):
    seen = []
    for compiled in (True, False):
        t = trainer(compiled)
        t.schedule = schedule and schedule(t.optimizer)
        for _ in range(2):
            t.fit(X, Y, epochs=4, batch_size=16, validation_data=(X[:19], Y[:19]))
        history = {k: v for k, v in t.history.history.items() if k != "examples_per_second"}
        seen.append((history, t.predict(X).tolist(), [p.tolist() for p in t.model.parameters()]))
    assert seen[0] == seen[1] and len(set(seen[0][0]["val_loss"])) == 8


def test_nothing_is_recorded_again():
    """Of each shape the first batch runs eagerly, the next is recorded, its calls 2, 4 and 8 are audited; no more."""
    t = trainer()
    for _ in range(3):
        t.fit(X, Y, epochs=3, batch_size=16, validation_data=(X[:19], Y[:19]))
        t.evaluate(X, Y, batch_size=10)
    ran = [n for n, training in RUNS.seen if not training]
    assert {n: ran.count(n) for n in set(ran)} == {19: 5, 10: 5, 5: 3} and len(programs(t)) == 3


@pytest.mark.parametrize("model, warned, most", [(lambda: Counted().inner, 0, 2), (Counted, 1, 8)])
def test_shapes_that_never_end(model, warned, most):
    """They share a program where the model's code asks for no shape; else there is none after some vain recordings."""
    one, two = trainer(model=model()), trainer(compiled=False, model=model())
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(4):
            for n in range(1, 46):
                assert one.predict(X[:n]).tobytes() == two.predict(X[:n]).tobytes()
    assert len(found) == warned and len(programs(one)) <= most
    assert not warned or "Trainer's predictions runs eagerly from now on: its last 8" in str(found[0].message)


NOISE = cb.Generator(4)
FORWARDS = {
    "reads a number": lambda x: x * (1 + 0 * x.sum().item()),
    "draws, then reads a number": lambda x: x + NOISE.normal(x.shape) * (0 * x.sum().item() + 0.1),
    "numpy": lambda x: cb.tensor(np.tanh(x.numpy())),
    "draws": lambda x: x + NOISE.normal(x.shape),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_models_that_cannot_be_recorded_or_draw(name):
    """One warning, and each prediction runs once."""
    seen = []
    for compiled in (True, False):
        NOISE.state = (3, 0)
        model = Counted(FORWARDS[name])
        model.own = NOISE
        t = trainer(compiled, model)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            seen.append([t.predict(X).tobytes() for _ in range(12)] + [NOISE.state])
        assert len(programs(t)) == (compiled and name == "draws")
        assert [str(w.message).split("`")[0] for w in found] == (
            ["compile: Trainer's predictions: "] if compiled and name != "draws" else [])
        if name != "draws":
            assert len(RUNS.seen) == 12
    assert seen[0] == seen[1]


def test_the_model_of_the_moment():
    """Another model, an edited one, one in another mode: what predict sees is what runs."""
    t = trainer()
    edits = [lambda m: None, lambda m: m.inner.layers.append(nn.Activation("tanh")), lambda m: m.train(),
             lambda m: setattr(m, "extra", lambda x: x * 2), lambda m: setattr(t, "model", Counted(cb.tanh))]
    for edit in edits:
        edit(t.model)
        modes = [m.training for _, m in t.model.named_modules()]
        for _ in range(4):
            wanted = nn.Sequential(t.model).eval()(cb.tensor(X)).numpy().tobytes()
            for (_, m), mode in zip(t.model.named_modules(), modes, strict=True):
                m.training = mode
            assert t.predict(X).tobytes() == wanted
            assert [m.training for _, m in t.model.named_modules()] == modes


def test_predict_in_evaluation_mode_is_no_change_of_structure():
    t = trainer()
    t.model.eval()
    before = cb.structure_version()
    for _ in range(4):
        t.predict(X)
    assert cb.structure_version() == before


WITHOUT = "Trainer: predictions run without a program from now on: compile: Trainer's predictions"


@pytest.mark.parametrize("at, says", [(3, "compile: Trainer's predictions runs eagerly from now on: it replays with"),
                                      (4, WITHOUT), (6, WITHOUT)])
def test_what_depends_on_a_file_is_noticed(at, says, tmp_path):
    """By the next audit, at the second, fourth or eighth call of the program; the prediction is that of the moment."""
    path = tmp_path / "number"
    path.write_bytes(b"12")
    t = trainer(model=Counted(lambda x: x * os.path.getsize(path)))
    eager = trainer(False, t.model)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for k in range(1, 14):           # the first of its shape is no call of the program
            if k == at:
                path.write_bytes(b"123")
            made = t.predict(X).tobytes()
            assert found == [] or made == eager.predict(X).tobytes()
    assert len(found) == 1 and says in str(found[0].message)


def test_there_is_no_tape():
    model = Counted(lambda x: x + float(engine.is_grad_enabled()))
    assert trainer(False, model).predict(X).tobytes() == trainer().predict(X).tobytes()


def test_results_are_the_callers():
    t = trainer()
    kept = [t.predict(X) for _ in range(5)]
    for a in kept:
        a += 1
    assert len({a.tobytes() for a in kept}) == 1
