"""Networks of one kind share their recordings: how many there are, and that nobody has another's bits or memory."""

import functools
import gc
import weakref

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop._core import engine
from cybackprop.transforms import calls

N, BATCH = 90, 32                        # two whole batches, one of 26
F = np.random.default_rng(0)
FIFTY = list(range(50))
X, Y = F.standard_normal((N, 5)).astype("float32"), F.integers(0, 3, N)


def net(seed, width=8, act="tanh", last=None, dtype="float32"):
    return nn.Sequential(nn.Dense(5, width, activation=act, rng=seed, dtype=dtype), *([last] if last else []),
                         nn.Dense(width, 3, rng=seed + 50, dtype=dtype))


class Scaled(nn.Module):
    """A module of somebody else's."""

    def __init__(self, seed, scale=2.0):
        self.inner, self.scale = net(seed), scale

    def forward(self, x):
        return self.inner(x) * self.scale


class Config:
    def __init__(self, scale):
        self.scale = scale


class Configured(Scaled):
    def forward(self, x):
        return self.inner(x) * self.scale.scale


SCALES = weakref.WeakKeyDictionary()


class Registered(Scaled):
    """What it computes depends on a table by object, which no guard sees."""

    def __init__(self, seed, scale):
        super().__init__(seed)
        SCALES[self] = scale

    def forward(self, x):
        return self.inner(x) * SCALES[self]


class Counting(Scaled):
    """Keeps state of its own."""

    def __init__(self, seed):
        super().__init__(seed)
        self.seen = cb.State(float(seed))

    def forward(self, x):
        self.seen.assign(self.seen + 1)
        return self.inner(x) * (1 + 1 / self.seen.astype("float32"))


class Shifted(Scaled):
    """Reads an array that it has."""

    def __init__(self, seed, shift):
        super().__init__(seed)
        self.shift = shift

    def forward(self, x):
        return self.inner(x) + self.shift


class Looping(Scaled):
    """Runs a loop."""

    def forward(self, x):
        return cb.scan(lambda h, _: (cb.tanh(h + self.scale), None), self.inner(x), length=3)[0]


class Resting(nn.Module):
    """Is never in training."""

    training = property(lambda self: False, lambda self, value: None)

    def __init__(self):
        self.drop = nn.Dropout(0.5, rng=3)

    def forward(self, x):
        return self.drop(x) if self.training else x * 0.5


def frozen(model):
    model.layers[0].bias.requires_grad = False
    return model


def hooked(model, factor):
    model.layers[0].weight.register_hook(lambda g: g * factor)
    return model


def tied(seed, tie):
    model = nn.Sequential(nn.Dense(5, 3, rng=seed), nn.Dense(3, 3, rng=seed + 1), nn.Dense(3, 3, rng=seed + 2))
    if tie:
        model.layers[2].weight = model.layers[1].weight
    return model


def scaling(scale):
    """A loss with an object of its own."""
    own = Config(scale)
    return lambda out, y: nn.cross_entropy(out, y) * own.scale


def sgd(**options):
    return lambda p, lr: optim.SGD(p, lr, **options)


def smooth(amount):
    return functools.partial(nn.cross_entropy, label_smoothing=amount)


def leashed():
    """Networks, and a loss that all of them share and that reads a weight of the first."""
    models = [net(i) for i in range(3)]
    return models, {"loss": lambda out, y: nn.cross_entropy(out, y) + (models[0].layers[0].weight ** 2).mean()}


# networks, options, and how often a step is recorded: 2 is one kind, with its whole and its ragged batch
CASES = {
    "one kind": (lambda: [net(i) for i in range(4)], {}, 2),
    "one epoch": (lambda: [net(i) for i in range(4)], {"epochs": 1}, 2),
    "two kinds": (lambda: [net(i, 8 + i % 2) for i in range(6)], {}, 4),
    "rates, seeds": (lambda: [net(i) for i in range(3)], {"lr": [0.1, 0.01, 0.02], "seed": [5, 5, 1]}, 2),
    "epochs, patience": (lambda: [net(i) for i in range(3)], {"epochs": [1, 5, 3], "patience": [None, 1, 2]}, 2),
    "rows": (lambda: [net(i) for i in range(4)], {"rows": [None, FIFTY, list(range(64)), FIFTY]}, 3),
    "batches": (lambda: [net(i) for i in range(3)], {"batch_size": [32, 45, 32]}, 3),
    "momentum": (lambda: [net(i) for i in range(3)], {"optimizer": [sgd(momentum=m) for m in (0.9, 0.5, 0.1)]}, 2),
    "momentum or not": (lambda: [net(i) for i in range(3)], {"optimizer": [sgd(momentum=m) for m in (0.9, 0, 0.9)]}, 4),
    "what decays": (lambda: [net(i) for i in range(3)],
                    {"optimizer": [sgd(weight_decay=0.1, decay_bias=b) for b in (True, False, True)]}, 4),
    "optimizers": (lambda: [net(i) for i in range(4)], {"optimizer": ["adam", "adamw", "adam", "rmsprop"]}, 6),
    "equal losses": (lambda: [net(i) for i in range(3)], {"loss": [smooth(0.1) for _ in range(3)]}, 2),
    "other losses": (lambda: [net(i) for i in range(3)], {"loss": [smooth(0.1), smooth(0.2), smooth(0.1)]}, 4),
    "losses of others": (lambda: [net(i) for i in range(4)], {"loss": [scaling(s) for s in (0.5, 0.5, 2.0, 0.5)]}, 4),
    "dropout": (lambda: [net(i, last=nn.Dropout(0.3, rng=i)) for i in range(4)], {}, 2),
    "another dropout": (lambda: [net(i, last=nn.Dropout(p, rng=i)) for i, p in enumerate((0.3, 0.2, 0.3))], {}, 4),
    "activations": (lambda: [net(i, act=act) for i, act in enumerate(("tanh", "relu", "tanh"))], {}, 4),
    "a frozen parameter": (lambda: [net(0), frozen(net(1)), net(2)], {}, 4),
    "a hook": (lambda: [net(0), hooked(net(1), 0.5), net(2), hooked(net(3), 2.0)], {}, 6),
    "one rests": (lambda: [net(0, last=nn.Dropout(0.5, rng=1)), net(1, last=Resting()), net(2, last=Resting())], {}, 4),
    "dtypes": (lambda: [net(i, dtype=d) for i, d in enumerate(["float32", "float64"] * 2)], {}, 4),
    "tied weights": (lambda: [tied(0, True), tied(1, False), tied(2, True)], {}, 4),
    "modules of others": (lambda: [Scaled(i) for i in range(4)], {}, 2),
    "loops": (lambda: [Looping(i) for i in range(3)], {}, 2),
    "a number in one": (lambda: [Scaled(0), Scaled(1, 3.0), Scaled(2), Scaled(3, -2.0)], {}, 6),
    "an object of others": (lambda: [Configured(i, Config(s)) for i, s in enumerate((1.0, 2.0, 1.0))], {}, 4),
    "states of others": (lambda: [Counting(i) for i in range(4)], {}, 2),
    "arrays": (lambda: [Shifted(i, np.full(3, i // 2, "float32")) for i in range(4)], {}, 4),
    "a table by object": (lambda: [Registered(i, 1.0 + i) for i in range(3)], {}, 6),
    "one reads the first": (leashed, {}, 6),
}


IN_TURN = {"one reads the first"}        # they are not independent


def made(name):
    """Networks, and the options of each."""
    models, options, _ = CASES[name]
    models = models()
    models, more = models if isinstance(models, tuple) else (models, {})
    options = {"lr": 0.05, "epochs": 3, "batch_size": BATCH, "seed": [7 + i for i in range(len(models))],
               "optimizer": "adam", "loss": "cross_entropy", "rows": None, "patience": None, **options, **more}
    return models, options


def alone(model, i, options):
    """Training by hand, without programs."""
    o = {k: v[i] if isinstance(v, list) else v for k, v in options.items()}
    make = {"adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}.get(o["optimizer"], o["optimizer"])
    trainer = train.Trainer(model, o["loss"], make(model.parameters(), lr=o["lr"]), seed=o["seed"], compile=False)
    stop = [] if o["patience"] is None else [train.EarlyStopping("val_loss", patience=o["patience"])]
    trainer.fit(X, Y, epochs=o["epochs"], batch_size=o["batch_size"], rows=o["rows"], callbacks=stop,
                validation_data=(X[:20], Y[:20]))
    return trainer


def facts(trainer):
    history = {k: v for k, v in trainer.history.history.items() if k != "examples_per_second"}
    return [p.tolist() for p in trainer.model.parameters()], history, trainer.step


@pytest.fixture
def recordings(monkeypatch):
    """The list of functions that are recorded to be replayed; audits, which record too, are not in it."""
    found, real = [], calls.Recorded

    def recorded(function, *args, plain=False, **options):
        if not plain:
            found.append(function.__qualname__)
        return real(function, *args, plain=plain, **options)

    monkeypatch.setattr(calls, "Recorded", recorded)
    return found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_each_is_what_it_is_alone(name, threads, recordings):
    if threads > 1 and name in IN_TURN:
        return
    models, options = made(name)
    trainers = train.fit_many(models, X, Y, threads=threads, validation_data=(X[:20], Y[:20]), **options)
    steps = [f for f in recordings if "step" in f]
    assert len(steps) == CASES[name][2] or threads > 1
    models, options = made(name)
    for i, (trainer, model) in enumerate(zip(trainers, models, strict=True)):
        assert facts(trainer) == facts(alone(model, i, options)), i


def test_predictions_are_shared_too(recordings):
    train.fit_many([net(i) for i in range(5)], X, Y, epochs=4, validation_data=(X[:20], Y[:20]), threads=1)
    assert recordings.count("Trainer's predictions") == 1


# at calls 2, 4, 8, ... of all networks together, 24 with whole batches and 12 with ragged ones; or of each, 6 and 3,
# and one more where it is a twin, which is never the first
@pytest.mark.parametrize("make, audits", [(net, 4 + 3), (Scaled, 2 + 1 + 3 * (2 + 2))])
def test_only_where_code_of_others_runs_each_twin_is_compared(make, audits, monkeypatch):
    calls, real = [], engine.rehearse
    monkeypatch.setattr(engine, "rehearse", lambda *args: calls.append(args) or real(*args))
    trainers = train.fit_many([make(i) for i in range(4)], X, Y, epochs=3, batch_size=BATCH, threads=1)
    assert len(calls) == audits
    assert [len(t._runner._compiled.programs) for t in trainers] == [2, 2, 2, 2]


def test_nobody_takes_what_is_not_for_him():
    trainers = train.fit_many([net(i) for i in range(3)], X, Y, epochs=2, batch_size=[32, 45, 45], threads=1)
    assert [len(t._runner._compiled.programs) for t in trainers] == [2, 1, 1]


def test_a_twin_of_the_wrong_one_is_noticed_where_code_of_others_runs(monkeypatch):
    real = engine.Twins
    monkeypatch.setattr(engine, "Twins", lambda mine, others: real(mine, mine))
    trainers = train.fit_many([Scaled(i) for i in range(3)], X, Y, epochs=2, threads=1)
    monkeypatch.undo()
    for trainer, other in zip(trainers, train.fit_many([Scaled(i) for i in range(3)], X, Y, epochs=2), strict=True):
        assert facts(trainer) == facts(other)


@pytest.mark.parametrize("make", [lambda i: net(i, last=nn.Dropout(0.1, rng=i)), Counting,
                                  lambda i: Shifted(i, np.full(3, 0.5, "float32"))])
def test_twins_do_not_keep_the_first(make):
    models = [make(i) for i in range(3)]
    trainers = train.fit_many(models, X, Y, epochs=3, threads=1, validation_data=(X, Y))
    last, first = trainers[2], [weakref.ref(x) for x in (trainers[0], models[0], *models[0].parameters())]
    del models, trainers
    gc.collect()
    assert [x() for x in first] == [None] * len(first)
    last.fit(X, Y, epochs=2)             # what it runs is still there
    assert np.isfinite(last.predict(X)).all()


def test_afterwards_each_records_for_itself(recordings):
    first, second = train.fit_many([net(0), net(1)], X, Y, epochs=2, batch_size=BATCH, threads=1)
    del recordings[:]
    second.fit(X, Y, epochs=3, batch_size=BATCH)         # its twins are still for it
    assert recordings == []
    second.fit(X, Y, batch_size=45)
    assert len(recordings) == 1
    second.model.layers[0].activation = "relu"
    second.fit(X, Y, epochs=2, batch_size=BATCH)
    assert len(recordings) == 3


def test_a_twin_reads_the_array_that_its_own_network_has():
    """Each call reads it anew; another array is a change of the module, and another recording."""
    seen = []
    for compiled in (True, False):
        models = [Shifted(i, np.full(3, 0.5, "float32")) for i in range(3)]
        options = {"lr": 0.05, "epochs": 2, "batch_size": BATCH, "seed": [0, 1, 2], "optimizer": "adam",
                   "loss": "cross_entropy", "rows": None, "patience": None}
        trainers = (train.fit_many(models, X, Y, lr=0.05, epochs=2, batch_size=BATCH, seed=[0, 1, 2], threads=1)
                    if compiled else [alone(m, i, options) for i, m in enumerate(models)])
        models[1].shift[:] = [1, 2, 3]
        models[2].shift = np.full(3, -0.25, "float32")
        for trainer in trainers:
            trainer.fit(X, Y, epochs=2, batch_size=BATCH)
        seen.append([facts(t)[0] for t in trainers])
        assert not compiled or [len(t._runner._compiled.programs) for t in trainers] == [2, 2, 4]
    assert seen[0] == seen[1]


def test_a_twin_is_not_for_what_its_network_has_become():
    models = [net(i) for i in range(3)]
    trainers = train.fit_many(models, X, Y, epochs=2, threads=1)
    before = frozen(models[1]).layers[0].bias.tolist()
    trainers[1].fit(X, Y, epochs=2)
    assert models[1].layers[0].bias.tolist() == before


def test_one_that_cannot_be_recorded_warns_and_is_right():
    class Peeking(Scaled):
        def forward(self, x):
            return self.inner(x) * (2.0 if float(x.sum()) > 0 else 1.0)

    with pytest.warns(RuntimeWarning, match="Trainer's step: `item` reads the value") as found:
        trainers = train.fit_many([Peeking(0), net(1), Peeking(2), net(3)], X, Y, threads=1)
    options = {"lr": 1e-3, "epochs": 1, "batch_size": BATCH, "seed": [0, 1, 2, 3], "optimizer": "adam",
               "loss": "cross_entropy", "rows": None, "patience": None}
    assert len(found) == 2               # each tells of itself
    for i, model in enumerate([Peeking(0), net(1), Peeking(2), net(3)]):
        assert facts(trainers[i])[0] == facts(alone(model, i, options))[0]


@pytest.mark.parametrize("make", [net, Scaled])
def test_many_calls_leave_nothing(make):
    def once():
        train.fit_many([make(i) for i in range(3)], X, Y, epochs=2, validation_data=(X[:9], Y[:9]), threads=2)

    def left():
        gc.collect()
        return len(gc.get_objects()), engine.bytes_in_use()

    for _ in range(3):
        once()
    objects, held = left()
    for _ in range(15):
        once()
    assert left()[1] == held and left()[0] - objects < 50
