"""Callbacks: their order, what they see, what stops a run and what is kept."""

import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train

X, Y = np.arange(10.0).reshape(10, 1) / 10, np.ones((10, 1))


def trainer(lr=0.1, **options):
    model = nn.Dense(1, 1, dtype="float64", rng=0)
    return train.Trainer(model, "mse", optim.SGD(model.parameters(), lr=lr), **options)


class Log(train.Callback):
    """Writes down every call."""

    def __init__(self, calls, name=""):
        self.calls, self.name = calls, name

    def on_train_begin(self, trainer):
        self.calls.append((self.name, "train begin"))

    def on_epoch_begin(self, trainer, epoch):
        self.calls.append((self.name, "epoch begin", epoch))

    def on_epoch_end(self, trainer, epoch, logs):
        self.calls.append((self.name, "epoch end", epoch))

    def on_train_end(self, trainer):
        self.calls.append((self.name, "train end"))


class Batches(Log):
    def on_batch_end(self, trainer, step, logs):
        self.calls.append((self.name, "batch end", step))
        assert set(logs) == {"loss"} and math.isfinite(logs["loss"])


def test_order():
    calls = []
    trainer().fit(X, Y, epochs=2, batch_size=5, callbacks=[Batches(calls, "a"), Log(calls, "b")])
    assert [c for c in calls if c[0] == "b"] == [
        ("b", "train begin"), ("b", "epoch begin", 0), ("b", "epoch end", 0), ("b", "epoch begin", 1),
        ("b", "epoch end", 1), ("b", "train end")]
    assert [c[1:] for c in calls if c[0] == "a"] == [
        ("train begin",), ("epoch begin", 0), ("batch end", 1), ("batch end", 2), ("epoch end", 0), ("epoch begin", 1),
        ("batch end", 3), ("batch end", 4), ("epoch end", 1), ("train end",)]
    assert [c[0] for c in calls if c[1] != "batch end"] == ["a", "b"] * 6


def test_batch_ends_are_called_only_where_somebody_listens(monkeypatch):
    monkeypatch.setattr(train.Callback, "on_batch_end", lambda *_: 1 / 0)

    class Silent(train.Callback):
        pass

    calls = []
    trainer().fit(X, Y, callbacks=[Silent(), Batches(calls), train.EarlyStopping("loss")])
    assert ("", "batch end", 1) in calls


class StopAt(Log):
    def __init__(self, calls, where, number):
        super().__init__(calls)
        self.where, self.number = where, number

    def on_epoch_end(self, trainer, epoch, logs):
        super().on_epoch_end(trainer, epoch, logs)
        trainer.stop_training = trainer.stop_training or (self.where == "epoch" and epoch == self.number)

    def on_batch_end(self, trainer, step, logs):
        trainer.stop_training = trainer.stop_training or (self.where == "batch" and step == self.number)


@pytest.mark.parametrize("where, number", [("epoch", 1), ("batch", 3)])
def test_stop_training(where, number):
    """No epoch begins after it; the next fit starts afresh."""
    calls, t = [], trainer()
    t.fit(X, Y, epochs=9, batch_size=5, callbacks=[StopAt(calls, where, number)])
    assert [c[2] for c in calls if c[1] == "epoch begin"] == [0, 1] and calls[-1] == ("", "train end")
    t.fit(X, Y, epochs=3, batch_size=5)
    assert t.epochs == 5 and not t.stop_training


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_an_exception_in_a_callback(step, error):
    """It arrives once, train end is called, and the next fit goes on: together they are one fit that nothing stopped.

    The callback has seen a finished step, so the step counts.
    """

    class Raise(Batches):
        def on_batch_end(self, trainer, at, logs):
            super().on_batch_end(trainer, at, logs)
            if at == step:
                raise error

    calls, t, whole = [], trainer(), trainer()
    with pytest.raises(error):
        t.fit(X, Y, epochs=3, batch_size=4, callbacks=[Raise(calls)])
    assert calls[-1] == ("", "train end") and t.step == step
    t.fit(X, Y, epochs=3, batch_size=4)
    whole.fit(X, Y, epochs=3, batch_size=4)
    assert t.model.weight.tolist() == whole.model.weight.tolist() and t.step == whole.step == 9
    assert t.history.history["loss"] == whole.history.history["loss"]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 7])
def test_max_steps(steps):
    """Pieces of a fit are the fit: the same weights, history and calls."""
    whole, calls = trainer(), []
    whole.fit(X, Y, epochs=3, batch_size=4, callbacks=[Batches(calls)])
    t, pieces = trainer(), []
    while len(t.history.epoch) < 3:
        before = t.step
        t.fit(X, Y, epochs=3, batch_size=4, callbacks=[Batches(pieces)], max_steps=steps)
        assert t.step == min(9, before + steps) and t.unfinished == (t.step < 9)
    assert t.model.weight.tolist() == whole.model.weight.tolist()
    assert t.history.history["loss"] == whole.history.history["loss"]
    assert [c for c in pieces if "train" not in c[1]] == [c for c in calls if "train" not in c[1]]


@pytest.mark.parametrize("other", [{"epochs": 3, "batch_size": 5}, {"epochs": 3, "batch_size": 4, "rows": [0, 1, 5]},
                                   {"epochs": 3, "batch_size": 4, "rows": [*range(1, 10), 0]},
                                   {"epochs": 1, "batch_size": 3}])
def test_a_fit_on_other_batches_is_a_new_run(other):
    """What an unfinished one has left of its epoch has no meaning there."""
    t, fresh = trainer(), trainer()
    t.fit(X, Y, epochs=3, batch_size=4, max_steps=5)
    assert t.unfinished
    fresh.model.load_state_dict(t.model.state_dict())
    fresh.rng.state = t.rng.state
    losses = []
    for run in (t, fresh):
        before, finished = run.step, len(run.history.epoch)
        losses.append(run.fit(X, Y, **other).history["loss"][finished:])
        assert run.step - before == other["epochs"] * -(-len(other.get("rows", X)) // other["batch_size"])
    assert losses[0] == losses[1] and len(losses[0]) == other["epochs"] and not t.unfinished
    assert t.model.weight.tolist() == fresh.model.weight.tolist()


def test_no_epochs_end_an_unfinished_run():
    t = trainer()
    t.fit(X, Y, epochs=3, batch_size=4, max_steps=5)
    t.fit(X, Y, epochs=1, batch_size=4)
    assert t.step == 5 and not t.unfinished
    t.fit(X, Y, epochs=1, batch_size=4)
    assert t.step == 8


def test_no_steps_and_no_epochs():
    t = trainer()
    before = t.model.weight.tolist()
    t.fit(X, Y, epochs=0)
    t.fit(X, Y, max_steps=0)
    assert t.model.weight.tolist() == before and t.step == 0


def test_schedule_advances_once_an_epoch():
    t = trainer()
    t.schedule = optim.StepLR(t.optimizer, 1, 0.5)
    seen = []

    class Rates(train.Callback):
        def on_batch_end(self, trainer, step, logs):
            seen.append(trainer.optimizer.param_groups[0]["lr"])

    t.fit(X, Y, epochs=3, batch_size=5, callbacks=[Rates()])
    assert seen == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


# ---- early stopping: what is logged decides

def run(stopper, values, name="val_loss"):
    """The epochs run, and the weight after each, while `values` are logged."""
    t, weights = trainer(), []

    class Log(train.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            logs[name] = values[epoch]
            weights.append(trainer.model.weight.item())

    t.fit(X, Y, epochs=len(values), callbacks=[Log(), stopper])
    return t, weights


NAN = math.nan
STOPPING = [
    ({"patience": 2}, [5, 4, 3, 3, 3, 3], 5, 2),
    ({"patience": 2}, [5, 6, 4, 6, 7, 1], 5, 2),
    ({"patience": 1}, [5, 4, 6, 1], 3, 1),
    ({"patience": 3}, [5, 4, 3, 2, 1], 5, 4),
    ({"patience": 3}, [5, 1, 3, 2], 4, 1),
    ({"patience": 2, "min_delta": 1.0}, [5, 4.5, 4, 3], 3, 0),
    ({"patience": 2, "min_delta": -1.0}, [5, 4.5, 4, 3], 3, 0),
    ({"patience": 2, "min_delta": 0.4}, [5, 4.5, 4, 3], 4, 3),
    ({"patience": 2, "mode": "max"}, [1, 3, 2, 2, 9], 4, 1),
    ({"patience": 2, "monitor": "val_accuracy"}, [0.1, 0.3, 0.2, 0.2, 0.9], 4, 1),
    ({"patience": 2, "monitor": "val_accuracy", "mode": "min"}, [0.3, 0.1, 0.2, 0.2, 0.0], 4, 1),
    ({"patience": 2}, [NAN, 3, NAN, 4, 1], 4, 1),
    ({"patience": 2}, [NAN, NAN, NAN, NAN], 2, None),
    ({}, [1, *range(2, 20)], 11, 0),
]


@pytest.mark.parametrize("options, values, epochs, best", STOPPING)
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(options, values, epochs, best, restore):
    stopper = train.EarlyStopping(restore_best=restore, **options)
    t, weights = run(stopper, values, options.get("monitor", "val_loss"))
    assert len(weights) == epochs and stopper.best_epoch == best
    kept = weights[best] if restore and best is not None else weights[-1]
    assert t.model.weight.item() == kept and len(set(weights)) == epochs


def test_early_stopping_restores_after_the_last_epoch_too():
    t, weights = run(train.EarlyStopping(patience=99), [3, 1, 2])
    assert t.model.weight.item() == weights[1]


@pytest.mark.parametrize("make", [train.EarlyStopping, lambda: train.ModelCheckpoint("never written")])
def test_what_is_not_logged_is_named(make):
    with pytest.raises(KeyError, match="val_loss.*loss.*validation_data"):
        trainer().fit(X, Y, callbacks=[make()])


def test_modes_are_checked():
    with pytest.raises(ValueError, match="maximum"):
        train.EarlyStopping(mode="maximum")


# ---- checkpoints

@pytest.mark.parametrize("best_only, values, saved", [
    (True, [3, 4, 2, NAN, 1], [0, 2, 4]), (False, [3, 4, 2, NAN, 1], [0, 1, 2, 3, 4])])
def test_checkpoints(best_only, values, saved, tmp_path):
    t, weights = run(train.ModelCheckpoint(tmp_path / "at-{epoch}.safetensors", save_best_only=best_only), values)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"at-{e}.safetensors" for e in saved]
    for e in saved:
        assert nn.Dense(1, 1, dtype="float64").load(tmp_path / f"at-{e}.safetensors").weight.item() == weights[e]


def test_one_file_holds_the_best(tmp_path):
    path = tmp_path / "best.safetensors"
    _, weights = run(train.ModelCheckpoint(path), [3, 1, 2])
    assert nn.Dense(1, 1, dtype="float64").load(path).weight.item() == weights[1]


def test_a_fit_leaves_no_graph_behind():
    t = trainer()
    t.fit(X, Y, epochs=2)
    assert not any(p.grad is not None and p.grad.requires_grad for p in t.model.parameters()) and not t.model.training
    assert repr(t.history).startswith("History(2 epochs: loss=") and cb.is_grad_enabled()
