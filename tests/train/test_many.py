"""fit_many: the bits of each network are those of training it alone."""

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train

N = 90


def networks():
    return [nn.Sequential(nn.Dense(5, width, activation=act, rng=i), nn.Dropout(0.2, rng=i),
                          *[nn.Dense(width, width, activation=act, rng=i + k) for k in range(depth)],
                          nn.Dense(width, 3, rng=i))
            for i, (width, depth, act) in enumerate([(8, 0, "relu"), (16, 2, "tanh"), (5, 1, "gelu"), (32, 0, "silu")])]


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, 5)).astype(np.float32), rng.integers(0, 3, N)


OPTIONS = {"lr": [0.01, 0.03, 0.001, 0.1], "optimizer": ["adam", "sgd", "rmsprop", "adamw"], "epochs": [3, 5, 2, 9],
           "batch_size": [16, 7, 90, 32], "seed": [3, 3, 8, 0], "patience": [None, 2, None, 1],
           "loss": ["cross_entropy", "cross_entropy", lambda out, y: nn.cross_entropy(out, y, label_smoothing=0.1),
                    "cross_entropy"],
           "rows": [None, list(range(0, N, 2)), list(range(50)), None]}


def alone(i, X, y):
    """The same by hand, with a Trainer of its own and without programs."""
    o = {name: values[i] for name, values in OPTIONS.items()}
    model = networks()[i]
    make = {"adam": optim.Adam, "sgd": optim.SGD, "rmsprop": optim.RMSprop, "adamw": optim.AdamW}[o["optimizer"]]
    trainer = train.Trainer(model, o["loss"], make(model.parameters(), lr=o["lr"]), seed=o["seed"], compile=False)
    stop = [] if o["patience"] is None else [train.EarlyStopping("val_loss", patience=o["patience"])]
    rows = slice(None) if o["rows"] is None else o["rows"]
    trainer.fit(X[rows], y[rows], epochs=o["epochs"], batch_size=o["batch_size"], validation_data=(X[:20], y[:20]),
                callbacks=stop)
    return trainer


def facts(trainer):
    history = {k: v for k, v in trainer.history.history.items() if k != "examples_per_second"}
    return [p.tolist() for p in trainer.model.parameters()], history, trainer.step


@pytest.mark.parametrize("threads", [1, 2, 10])
def test_each_is_what_it_is_alone(threads):
    X, y = data()
    trainers = train.fit_many(networks(), X, y, validation_data=(X[:20], y[:20]), threads=threads, **OPTIONS)
    for i, trainer in enumerate(trainers):
        assert facts(trainer) == facts(alone(i, X, y)), i


def test_one_seed_gives_each_its_own():
    X, y = data()
    same = [nn.Dense(5, 3, rng=0) for _ in range(3)]
    train.fit_many(same, X, y, lr=0.1, seed=4)
    assert len({str(m.weight.tolist()) for m in same}) == 3


def test_data_stay_as_they_are():
    X, y = data()
    X.flags.writeable = y.flags.writeable = False
    train.fit_many(networks(), X, y, epochs=2)


def test_what_one_raises_is_raised():
    X, y = data()

    def broken(out, goal):
        raise RuntimeError("no loss today")

    with pytest.raises(RuntimeError, match="no loss today"):
        train.fit_many(networks(), X, y, loss=["cross_entropy", broken, "cross_entropy", "cross_entropy"])


@pytest.mark.parametrize("options, error, says", [
    ({"lr": [0.1, 0.2]}, ValueError, "2 values of lr for 4 models"),
    ({"lr": (0.1, 0.2)}, ValueError, "2 values of lr for 4 models"),
    ({"epochs": np.arange(5)}, ValueError, "5 values of epochs for 4 models"),
    ({"rows": np.zeros((3, 2), int)}, ValueError, "3 values of rows for 4 models"),
    ({"rows": [[0], [1], None, [-1]]}, IndexError, "rows go from -1 to -1, there are 90 samples"),
    ({"rows": ([0], [1], [2, N], [0])}, IndexError, "rows go from 2 to 90, there are 90 samples"),
    ({"rows": [[0], [1], [2], [0.5]]}, cb.ShapeError, "rows are the numbers"),
    ({"epochs": [1, 1, 1, -1]}, ValueError, "epochs -1"), ({"batch_size": [1, 1, 1, 0]}, ValueError, "batch_size 0"),
    ({"validation_data": (np.ones((3, 5)), np.zeros(2, int))}, cb.ShapeError, "y \\(2,\\)"),
    ({"optimizer": "adamm"}, ValueError, "no optimizer is called 'adamm'"),
    ({"threads": 0}, ValueError, "threads 0"), ({"threads": -1}, ValueError, "threads -1"),
    ({"rows": [N]}, IndexError, "there are 90 samples"), ({"rows": [0.5]}, cb.ShapeError, "rows are the numbers")])
def test_wrong_options(options, error, says):
    models = networks()
    before = [[p.tolist() for p in m.parameters()] for m in models]
    with pytest.raises(error, match=says):
        train.fit_many(models, *data(), threads=options.pop("threads", 1), **options)
    assert [[p.tolist() for p in m.parameters()] for m in models] == before


@pytest.mark.parametrize("kind", [tuple, np.array, lambda values: cb.State(values).numpy()])
def test_values_for_each_in_any_sequence(kind):
    numbers = {name: OPTIONS[name] for name in ("lr", "epochs", "batch_size", "seed")}
    rows = [[0, 5, 7, 9], [1, 2, 3, 4], [9, 8, 7, 6], [4, 4, 5, 5]]
    given = {name: kind(values) for name, values in numbers.items()}
    models, twins = networks(), networks()
    train.fit_many(models, *data(), rows=kind(rows), **given)
    train.fit_many(twins, *data(), rows=rows, **{name: kind(values).tolist() if kind is not tuple else values
                                                 for name, values in numbers.items()})
    assert [[p.tolist() for p in m.parameters()] for m in models] == [[p.tolist() for p in m.parameters()]
                                                                      for m in twins]


def test_a_seed_of_numpy_is_a_number():
    weights = []
    for seed in (4, np.int64(4)):
        models = [nn.Dense(5, 3, rng=0) for _ in range(3)]
        train.fit_many(models, *data(), lr=0.1, seed=seed)
        weights.append([m.weight.tolist() for m in models])
    assert weights[0] == weights[1]


def test_a_refused_call_leaves_the_networks_as_they_were():
    models = [nn.Sequential(nn.Dense(data()[0].shape[1], 3, rng=i), nn.Dropout(0.2)) for i in range(4)]
    with pytest.raises(ValueError, match="no optimizer is called"):
        train.fit_many(models, *data(), optimizer="adamm")
    assert [m.layers[1].rng for m in models] == [None] * 4


@pytest.mark.parametrize("name, shared, says", [
    ("weight", cb.Parameter([[1.0]]), r"parameter layers\.0\.weight"),
    ("seen", cb.State(0.0), r"state layers\.0\.seen"),
    ("past", [{"x": cb.State(0)}], r"state layers\.0\.past\.0\.x"),
    ("rng", cb.Generator(3), r"generator layers\.0\.rng")])
def test_networks_that_share_something_are_not_independent(name, shared, says):
    models = networks()
    for i in (0, 2):
        setattr(models[i].layers[0], name, shared)
    with pytest.raises(ValueError, match=f"models 0 and 2 share the {says}"):
        train.fit_many(models, *data())


@pytest.mark.parametrize("threads", [1, 3])
def test_dropout_that_has_no_stream_gets_its_own(threads):
    """From the process's generator all would draw, in the order in which threads happen to come."""
    X, y = data()

    def make(n):
        return nn.Sequential(nn.Dense(X.shape[1], n, rng=n), nn.Dropout(0.3), nn.Dense(n, 3, rng=n), nn.Dropout(0.1))

    together, before = [make(n) for n in (4, 5, 6)], cb.default_rng().state
    train.fit_many(together, X, y, epochs=3, seed=7, threads=threads)
    assert cb.default_rng().state == before
    keys = [m.layers[i].rng.key for m in together for i in (1, 3)]
    assert len(set(keys)) == 6
    for i, m in enumerate(together):
        alone = make(4 + i)
        train.fit_many([alone], X, y, epochs=3, seed=[7 + i])
        assert all(np.array_equal(p, q) for p, q in zip(m.parameters(), alone.parameters(), strict=True))
