"""Files of runs: what does not fit or is damaged is refused and changes nothing; long runs can be saved."""

import json

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop.io import load_tensors, save_tensors

KEY = "cybackprop.trainer"
X, Y = np.arange(12.0).reshape(6, 2) / 10, np.ones((6, 1))


def parts(hidden=3, extra=(), make=optim.Adam):
    model = nn.Sequential(nn.Dense(2, hidden, activation="tanh", rng=0), nn.Dense(hidden, 1, rng=1), *extra)
    return model, make(model.parameters())


def trained(steps=4):
    model, opt = parts()
    trainer = train.Trainer(model, "mse", opt)
    trainer.fit(X, Y, epochs=5, batch_size=2, max_steps=steps, callbacks=[train.EarlyStopping("loss")])
    return trainer


@pytest.fixture
def path(tmp_path):
    trained().save(tmp_path / "run")
    return tmp_path / "run"


def state(model, opt):
    generators = [m.rng.state for _, m in model.named_modules() if isinstance(m, nn.Dropout)]
    return ({k: v.tolist() for k, v in model.state_dict().items()}, str(opt.state_dict()), generators,
            cb.default_rng().state)


def refused(path, model, opt, error):
    before = state(model, opt)
    with pytest.raises(error):
        train.Trainer.load(path, model, "mse", opt)
    assert state(model, opt) == before


TREES = ["null", "[]", "1", '"text"', "{}", '{"dict": {}}', '{"dict": 3}', '{"dict": []}', '{"array": "no such"}',
         '{"array": []}', "[[", "NaN", '{"dict": {"optimizer": null}}', "[" * 100_000, '{"dict": {"x": {"y": 1}}}']


@pytest.mark.parametrize("tree", TREES, ids=[t[:30] for t in TREES])
def test_senseless_runs(tree, tmp_path):
    save_tensors(tmp_path / "run", {"state/x": np.ones(2)}, {KEY: tree})
    refused(tmp_path / "run", *parts(), cb.ModelFileError)


ENTRIES = ["parameters", "optimizer", "schedule", "rng", "generators", "history", "step", "epochs", "unfinished",
           "plan", "plan_epoch", "batch", "order_at", "sum", "callbacks"]


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("value", [..., "text", {"dict": {}}], ids=str)
def test_a_run_with_one_senseless_entry(name, value, path):
    """Left out (...), or of another kind; the checksum is right."""
    arrays, metadata = load_tensors(path)
    entries = json.loads(metadata[KEY])["dict"]
    assert set(entries) <= set(ENTRIES)
    if value is ...:
        entries.pop(name, None)
    elif type(entries.get(name)) is type(value) or name == "schedule":        # no schedule here: nobody reads it
        return
    else:
        entries[name] = value
    save_tensors(path, arrays, {KEY: json.dumps({"dict": entries})})
    refused(path, *parts(), cb.ModelFileError)


@pytest.mark.parametrize("name, value", [("rng", [-1, 0]), ("order_at", [0, 2 ** 64]), ("generators", [[0.5, 0]]),
                                         ("rng", [1, 2, 3])])
def test_a_run_with_a_senseless_stream(name, value, path):
    arrays, metadata = load_tensors(path)
    entries = json.loads(metadata[KEY])["dict"]
    save_tensors(path, arrays, {KEY: json.dumps({"dict": {**entries, name: value}})})
    refused(path, *parts(), cb.ModelFileError)


def test_files_that_are_no_run(path, tmp_path):
    nn.Dense(1, 1).save(tmp_path / "model")
    refused(tmp_path / "model", *parts(), cb.ModelFileError)
    refused(tmp_path / "none", *parts(), FileNotFoundError)
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, *parts(), cb.ModelFileError)
    for at in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
        refused(path, *parts(), cb.ModelFileError)


class Renamed(nn.Module):
    """The same shapes under other names."""

    def __init__(self):
        self.a, self.b = nn.Dense(2, 3, rng=0), nn.Dense(3, 1, rng=1)


def renamed():
    model = Renamed()
    return model, optim.Adam(model.parameters())


MISFITS = {
    "shape": lambda: parts(hidden=4),
    "more parameters": lambda: parts(extra=[nn.Dense(1, 1)]),
    "other optimizer": lambda: parts(make=lambda p: optim.SGD(p, lr=0.1)),
    "names": renamed,
    "one more generator": lambda: parts(extra=[nn.Dropout(rng=1)]),
}


@pytest.mark.parametrize("make", MISFITS.values(), ids=MISFITS)
def test_a_model_or_optimizer_that_does_not_fit_stays_as_it_is(make, path):
    refused(path, *make(), (ValueError, KeyError, TypeError))


def test_long_runs_can_be_saved(tmp_path):
    trainer = trained()
    n = 30_000
    trainer.history.epoch = list(range(n))
    trainer.history.history = {k: [(i + 1) / 3 for i in range(n)] for k in ("loss", "val_loss", "examples_per_second")}
    trainer.save(tmp_path / "run")
    twin = train.Trainer.load(tmp_path / "run", trainer.model, "mse", trainer.optimizer)
    assert twin.history.state_dict() == trainer.history.state_dict()


class Counter(train.Callback):
    """A state with everything that is promised."""

    def __init__(self):
        self.state = {"n": 0, "name": "ä", "none": None, "nan": float("nan"), "inf": float("-inf"), "list": [1, [2.5]],
                      "x": np.arange(6.0).reshape(2, 3), "array": np.array(7), "flag": True}

    def on_batch_end(self, trainer, step, logs):
        self.state["n"] += 1

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = state


def test_states_of_callbacks(tmp_path):
    model, opt = parts()
    trainer, first = train.Trainer(model, "mse", opt), Counter()
    trainer.fit(X, Y, epochs=5, batch_size=2, max_steps=4, callbacks=[first])
    trainer.save(tmp_path / "run")
    second = Counter()
    second.state = {}
    twin = train.Trainer.load(tmp_path / "run", model, "mse", opt)
    twin.fit(X, Y, epochs=5, batch_size=2, callbacks=[second])
    wanted = {**first.state, "n": 15}
    assert list(second.state) == list(wanted)
    for name, value in wanted.items():
        assert type(second.state[name]) is type(value)
        np.testing.assert_equal(second.state[name], value)


def test_a_save_that_fails_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    class Odd(train.Callback):
        def state_dict(self):
            return {"x": object()}

    trainer = trained()
    trainer.fit(X, Y, epochs=5, batch_size=2, max_steps=2, callbacks=[Odd()])
    with pytest.raises(TypeError):
        trainer.save(path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
