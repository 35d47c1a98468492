"""Predictions and scores on programs: the bits of those without, whatever comes, and no recording that isn't needed."""

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop._core import engine

F = np.random.default_rng(0)
X, Y = F.standard_normal((45, 4)).astype(np.float32), F.integers(0, 3, 45)


class Counted(nn.Module):
    """Says how often it ran in Python, and in which mode."""

    def __init__(self, extra=lambda x: x):
        self.inner = nn.Sequential(nn.Dense(4, 16, activation="gelu", rng=0), nn.Dropout(0.5, rng=1),
                                   nn.Dense(16, 3, rng=2))
        self.calls, self.extra = Calls(), extra

    def forward(self, x):
        self.calls.seen.append((len(x), self.training))
        return self.inner(self.extra(x))


class Calls:
    """A list that is nobody's structure."""

    def __init__(self):
        self.seen = []


def trainer(compiled=True, model=None, **options):
    model = model or Counted()
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
    """Of each shape the first batch runs eagerly, the next is recorded, one audited; the epochs add none."""
    t = trainer()
    for _ in range(3):
        t.fit(X, Y, epochs=3, batch_size=16, validation_data=(X[:19], Y[:19]))
        t.evaluate(X, Y, batch_size=10)
    ran = [n for n, training in t.model.calls.seen if not training]
    assert {n: ran.count(n) for n in set(ran)} == {19: 3, 10: 3, 5: 3} and len(programs(t)) == 3


def test_shapes_that_never_end():
    """No warning, and programs for some of them only."""
    one, two = trainer(), trainer(compiled=False)
    for _ in range(4):
        for n in range(1, 46):
            assert one.predict(X[:n]).tobytes() == two.predict(X[:n]).tobytes()
    assert len(programs(one)) == 32


NOISE = cb.Generator(4)
FORWARDS = {
    "reads a number": lambda x: x * (1 + 0 * x.sum().item()),
    "draws, then reads a number": lambda x: x + NOISE.normal(x.shape) * (0 * x.sum().item() + 0.1),
    "numpy": lambda x: cb.tensor(np.tanh(x.numpy())),
    "draws": lambda x: x + NOISE.normal(x.shape),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_models_that_cannot_be_recorded_or_draw(name):
    seen = []
    for compiled in (True, False):
        NOISE.state = (3, 0)
        model = Counted(FORWARDS[name])
        model.own = NOISE
        t = trainer(compiled, model)
        seen.append([t.predict(X).tobytes() for _ in range(5)] + [NOISE.state])
        assert len(programs(t)) == (compiled and name == "draws")
        if name != "draws":
            assert len(model.calls.seen) == 5 + compiled         # one vain attempt
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


def test_what_depends_on_hidden_numbers_is_noticed():
    t = trainer(model=Counted(lambda x: x * float(F.uniform(1, 2))))
    with pytest.raises(cb.AuditError, match=r"compile=False\) predicts without a program"):
        for _ in range(3):
            t.predict(X)
    assert len({trainer(False, t.model).predict(X).tobytes() for _ in range(3)}) == 3


def test_there_is_no_tape():
    model = Counted(lambda x: x + float(engine.is_grad_enabled()))
    assert trainer(False, model).predict(X).tobytes() == trainer().predict(X).tobytes()


def test_results_are_the_callers():
    t = trainer()
    kept = [t.predict(X) for _ in range(5)]
    for a in kept:
        a += 1
    assert len({a.tobytes() for a in kept}) == 1
