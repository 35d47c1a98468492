"""fit never fails on what eager training would do: the bits of compile=False, whatever Python does in between."""

import itertools
import random
import re
import signal
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train

N, SIZE, EPOCHS = 37, 8, 6               # four whole batches an epoch, one of 5
F = np.random.default_rng(0)
X, Y = F.standard_normal((N, 4)).astype("float32"), F.integers(0, 3, N)
NUMBER = 1.0                             # globals that callbacks change
TABLE = {"scale": 1.0}
ARRAY = np.full(3, 0.5, "float32")


def layers(dropout=0.3):
    return nn.Sequential(nn.Dense(4, 8, activation="gelu", rng=0), nn.Dropout(dropout, rng=1), nn.Dense(8, 3, rng=2))


def plain(**attributes):
    made = Plain()
    vars(made).update(attributes)
    return made


class Model(nn.Module):
    """Its forward is a function of itself and x."""

    def __init__(self, forward, own=None):
        self.inner, self.scale, self.function, self.own = layers(), 1.0, forward, own

    def forward(self, x):
        return self.function(self, x)


class Plain:
    """An object that counts nothing."""


class At(train.Callback):
    """Calls a function of the trainer and a number: when a fit begins, or at the end of each epoch."""

    def __init__(self, what, when="epoch"):
        self.what, self.when = what, when

    def on_train_begin(self, trainer):
        if self.when == "begin":
            self.what(trainer, 0)

    def on_epoch_end(self, trainer, epoch, logs):
        if self.when == "epoch":
            self.what(trainer, epoch)


class AtBatch(At):
    """At the end of each batch."""

    def __init__(self, what):
        super().__init__(what, "batch")

    def on_batch_end(self, trainer, step, logs):
        self.what(trainer, step)


class Case(NamedTuple):
    """What is trained, and how often and with what words compile=True warns."""

    build: object                        # () -> {"model", "loss", "callbacks", "y", "seen", "mend"}: see `run`
    warns: tuple = ()
    size: int = SIZE                     # of a batch


def changes(label):
    return f"Trainer's step runs eagerly from now on: {label}"


# ---- models and losses that do what only Python can


def reads(how):
    def build():
        return {"loss": lambda out, y: nn.cross_entropy(out, y) * how(out)}
    return build


def counting():
    own = plain(steps=0)

    def loss(out, y):
        own.steps += 1
        return nn.cross_entropy(out, y) / own.steps
    return {"loss": loss, "seen": lambda: own.steps}


def counting_self():
    def forward(self, x):
        self.scale += 0.125
        return self.inner(x) * self.scale
    model = Model(forward)
    return {"model": model, "seen": lambda: model.scale}


def appending():
    seen = []

    def loss(out, y):
        seen.append(out.shape)
        return nn.cross_entropy(out, y)
    return {"loss": loss, "seen": lambda: seen}


def appending_values():
    seen = []

    def loss(out, y):
        value = nn.cross_entropy(out, y)
        seen.append(value.item())
        return value
    return {"loss": loss, "seen": lambda: seen}


def drawing(draw, seed):
    def build():
        seed()
        return {"loss": lambda out, y: nn.cross_entropy(out, y) * (1 + draw()), "seen": draw}
    return build


def own_generator():
    rng = np.random.default_rng(3)
    return {"loss": lambda out, y: nn.cross_entropy(out, y) * (1 + rng.random()), "seen": lambda: rng.random()}


def a_generator():
    factors = (1 + 1 / k for k in itertools.count(1))
    return {"loss": lambda out, y: nn.cross_entropy(out, y) * next(factors), "seen": lambda: next(factors)}


def an_iterator():
    own = plain(factors=itertools.count(1))
    model = Model(lambda self, x: self.inner(x) / next(self.own.factors), own=own)
    return {"model": model, "seen": lambda: next(own.factors)}


def by_numpy():
    return {"loss": lambda out, y: nn.cross_entropy(out * np.sign(out.numpy().sum()), y)}


def branching():
    return {"loss": lambda out, y: nn.cross_entropy(out, y) * (2.0 if out.max() > 0.9 else 1.0)}


def of_targets():
    """`1 - done`, `x.max() > 5` of arguments."""
    def loss(out, y):
        weight = (1 - (y == 0)) + 1
        return (nn.cross_entropy(out, y, reduction="none") * weight.astype("float32")).mean() * (
            0.5 if y.max() > 1 else 1.0)
    return {"loss": loss}


def setting_up():
    own = plain(table=None)

    def loss(out, y):
        if own.table is None:
            own.table = cb.tensor([1.0, 2.0, 3.0])
        return nn.cross_entropy(out * own.table, y)
    return {"loss": loss}


def keeping():
    own = plain(last=None)

    def loss(out, y):
        value = nn.cross_entropy(out, y)
        if own.last is not None:
            value = value + own.last * 0.125
        own.last = value.detach()
        return value
    return {"loss": loss, "seen": lambda: own.last.item()}


def a_state():
    def forward(self, x):
        self.own.assign(self.own * 1.125)
        return self.inner(x) * self.own.astype("float32")
    model = Model(forward, cb.State(1.0))
    return {"model": model, "seen": lambda: model.own.item()}


def reading_the_rate():
    """exp of a Python float would be float32."""
    own = plain(optimizer=None)
    return {"loss": lambda out, y: nn.cross_entropy(out, y) * (
        100 * (cb.exp(own.optimizer.param_groups[0]["lr"]) - 1)),
            "callbacks": [At(lambda trainer, k: setattr(own, "optimizer", trainer.optimizer), "begin"), At(rate)]}


DOES = {
    "reads the learning rate": Case(reading_the_rate),
    "reads item": Case(reads(lambda out: 1 + out.sum().item()), ("Trainer's step: `item` reads",)),
    "reads float": Case(reads(lambda out: 1 + float(out[0, 0])), ("Trainer's step: `item` reads",)),
    "reads tolist": Case(reads(lambda out: 1 + out.tolist()[0][1]), ("Trainer's step: `",)),
    "reads through numpy": Case(by_numpy, ("Trainer's step: `numpy` reads",)),
    "prints": Case(reads(lambda out: len(f"{out.sum():.3f}")), ("Trainer's step: `item` reads",)),
    "branches on a value": Case(branching),
    "computes with targets": Case(of_targets),
    "counts in an object": Case(counting, (changes("`own.steps` was changed by the call"),)),
    "counts in the model": Case(counting_self, (changes("`.*scale` was changed by the call"),)),
    "appends to a list": Case(appending, (changes("`seen` was changed by the call"),)),
    "appends values to a list": Case(appending_values, ("Trainer's step: `item` reads",)),
    "draws from random": Case(drawing(random.random, lambda: random.seed(3)), (changes("`the state of"),)),
    "draws from np.random": Case(drawing(lambda: np.random.rand(), lambda: np.random.seed(3)),
                                 (changes("`the state of"),)),
    "draws from a generator of NumPy's": Case(own_generator, (changes("`the state of rng"),)),
    "takes from a generator": Case(a_generator, ("Trainer's step: `factors` is an iterator",)),
    "takes from an iterator": Case(an_iterator, ("Trainer's step: `.*factors` is an iterator",)),
    "sets up once": Case(setting_up),
    "keeps the last": Case(keeping, ("Trainer's step runs eagerly from now on: `own.last` was changed",)),
    "moves a State": Case(a_state),
}


def everything(trainer, seen):
    history = {k: v for k, v in trainer.history.history.items() if k != "examples_per_second"}
    moments = trainer.optimizer.state_dict()["moments"]
    generators = [g.state for g in trainer._members.generators()]
    return {"parameters": [p.numpy().tobytes() for p in trainer.model.parameters()],
            "grads": [None if p.grad is None else p.grad.numpy().tobytes() for p in trainer.model.parameters()],
            "moments": {k: [None if m is None else m.tolist() for m in v] for k, v in moments.items()},
            "options": [dict(g) | {"params": None} for g in trainer.optimizer.param_groups],
            "history": history, "at": (trainer.step, trainer.epochs, trainer.rng.state), "generators": generators,
            "seen": seen()}


def run(case, compiled, fits=1):
    """(everything after each fit, the texts of warnings, what each fit raised)."""
    cb.seed(11)
    made = {"model": None, "loss": "cross_entropy", "callbacks": (), "seen": lambda: None,
            "y": Y, "mend": lambda: None, **case.build()}
    model = layers() if made["model"] is None else made["model"]
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    trainer = train.Trainer(model, made["loss"], optimizer, seed=5, compile=compiled)
    left, errors = [], []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(fits):
            try:
                trainer.fit(X, made["y"], epochs=EPOCHS, batch_size=case.size, callbacks=made["callbacks"])
            except Exception as exception:
                errors.append((type(exception), str(exception)))
            left.append(everything(trainer, made["seen"]))
            made["mend"]()
    return left, [str(w.message) for w in found], errors


def check(case, fits=1, errors=0):
    now, said, raised = run(case, True, fits)
    then, nothing, wanted = run(case, False, fits)
    assert raised == wanted and len(wanted) == errors and nothing == []
    for mine, eager in zip(now, then, strict=True):
        for what in eager:
            assert mine[what] == eager[what], what
    assert len(said) == len(case.warns), said
    for text, pattern in zip(said, case.warns, strict=True):
        assert re.search(pattern, text), (text, pattern)


@pytest.mark.parametrize("name", DOES)
def test_models_and_losses_that_do_what_only_python_can(name):
    check(DOES[name], fits=2)


# ---- callbacks and signal handlers that change what the model reads


def number(trainer, k):
    global NUMBER
    NUMBER = 1 + k / 8


def in_table(trainer, k):
    TABLE["scale"] = 1 + k / 8


def in_model(trainer, k):
    trainer.model.scale = 1 + k / 8


def in_array(trainer, k):
    ARRAY[:] = 1 + k / 8


def new_array(trainer, k):
    global ARRAY
    ARRAY = np.full(3, 1 + k / 8, "float32")


def rate(trainer, k):
    trainer.optimizer.param_groups[0]["lr"] = 0.01 / (1 + k)


def betas(trainer, k):
    trainer.optimizer.param_groups[0]["betas"] = 0.9 - k / 64, 0.99


def decay(trainer, k):
    trainer.optimizer.param_groups[0]["weight_decay"] = 0.01 * k


def decay_of_biases(trainer, k):
    trainer.optimizer.param_groups[0].update(weight_decay=0.1, decay_bias=k % 2 == 0)


def frozen(trainer, k):
    list(trainer.model.parameters())[0].requires_grad = k % 3 == 0


def activation(trainer, k):
    trainer.model.layers[0].activation = ("tanh", "gelu", "relu")[k % 3]


def no_dropout(trainer, k):
    trainer.model.layers[1].p = 0.1 * (k % 3)


def resting(trainer, k):
    trainer.model.layers[1].training = k % 2 == 0


def another_layer(trainer, k):
    if k == 3:
        trainer.model.layers[1] = nn.Activation("tanh")


def weights(trainer, k):
    for p in trainer.model.parameters():
        p.assign(p * 0.75)


def seeds(trainer, k):
    trainer.model.layers[1].rng.state = (k, 0)


def moments(trainer, k):
    if k == 3:
        trainer.optimizer.load_state_dict(trainer.optimizer.state_dict())


def reading(trainer, k):
    trainer.predict(X[:9])
    trainer.train_on_batch(X[:SIZE], Y[:SIZE])


def with_number(out, y):
    return nn.cross_entropy(out, y) * NUMBER


def with_table(out, y):
    return nn.cross_entropy(out, y) * TABLE["scale"]


def with_array(out, y):
    return nn.cross_entropy(out * ARRAY, y)


CHANGED = {                              # what changes: (how, a loss that reads it, what warnings call it)
    "a global": (number, with_number, ("NUMBER",)),
    "a number in a dict": (in_table, with_table, ("TABLE",)),
    "an array in place": (in_array, with_array, ()),
    "an array": (new_array, with_array, ()),
    "the learning rate": (rate, "cross_entropy", ()),
    "betas": (betas, "cross_entropy", ()),
    "weight decay": (decay, "cross_entropy", ()),
    "which decay": (decay_of_biases, "cross_entropy", ()),
    "which are frozen": (frozen, "cross_entropy", ()),
    "activations": (activation, "cross_entropy", ()),
    "dropout": (no_dropout, "cross_entropy", ()),
    "modes": (resting, "cross_entropy", ()),
    "structure": (another_layer, "cross_entropy", ()),
    "weights": (weights, "cross_entropy", ()),
    "seeds": (seeds, "cross_entropy", ()),
    "moments": (moments, "cross_entropy", ()),
    "steps of its own": (reading, "cross_entropy", ()),
}


def changed(name, callback):
    change, loss, _ = CHANGED[name]

    def build():
        global NUMBER, ARRAY
        NUMBER, ARRAY, TABLE["scale"] = 1.0, np.full(3, 0.5, "float32"), 1.0
        return {"loss": loss, "callbacks": [callback(change)]}
    return build


@pytest.mark.parametrize("name", CHANGED)
def test_a_callback_that_changes_something_each_epoch(name):
    check(Case(changed(name, At), CHANGED[name][2] and (r"Trainer's step: .* keeps changing between calls",)))


@pytest.mark.parametrize("name", CHANGED)
def test_a_callback_that_changes_something_each_batch(name):
    check(Case(changed(name, AtBatch), CHANGED[name][2] and (
        "runs eagerly from now on: its last 8 recordings were replayed once at most.  What differed: `",)))


# ---- errors: what is left is what eager training leaves


def raising(k):
    """A loss that raises at its k-th call."""
    def build():
        own = plain(calls=0)

        def loss(out, y):
            own.calls += 1
            if own.calls == k:
                raise LookupError(f"call {k}")
            return nn.cross_entropy(out, y)
        return {"loss": loss, "seen": lambda: own.calls}
    return build


def bad_rows(rows):
    """Labels that no class has, right again when the fit goes on."""
    def build():
        y = Y.copy()
        y[rows] = 7
        return {"y": y, "mend": lambda: y.__setitem__(slice(None), Y)}
    return build


def raising_callback(kind, k):
    def build():
        def what(trainer, n):
            if n == k:
                raise LookupError(f"{kind} {k}")
        return {"callbacks": [kind(what)]}
    return build


def raising_once_changed(kind, k):
    """A callback changes a global at which the loss raises, and back where the fit goes on."""
    def build():
        global NUMBER
        NUMBER = 1.0

        def loss(out, y):
            if not NUMBER:
                raise LookupError("NUMBER")
            return nn.cross_entropy(out, y)

        def what(trainer, n):
            global NUMBER
            NUMBER = 0.0 if n == k else 1.0

        def mend():
            global NUMBER
            NUMBER = 1.0
        return {"loss": loss, "callbacks": [kind(what)], "mend": mend}
    return build


RAISES = {
    **{f"the loss, call {k}": Case(raising(k), (changes("`own.calls`"),)) for k in (1, 2, 3, 6, 17)},
    **{f"the label of row {row}": Case(bad_rows([row])) for row in (0, 5, 11, 21, 36)},
    **{f"the label of row {row}, small batches": Case(bad_rows([row]), size=2) for row in range(0, 37, 3)},
    "a callback at a batch": Case(raising_callback(AtBatch, 7)),
    "a callback at an epoch": Case(raising_callback(At, 2)),
    "after a callback at a batch": Case(raising_once_changed(AtBatch, 12)),
    "after a callback at an epoch": Case(raising_once_changed(At, 2)),
}


@pytest.mark.parametrize("name", RAISES)
def test_errors_leave_what_eager_training_leaves(name):
    check(RAISES[name], fits=2, errors=1)


# ---- signal handlers: they run between two steps, and what they change counts from the next on

LONG = 2000 * SIZE
LX, LY = F.standard_normal((LONG, 4)).astype("float32"), F.integers(0, 3, LONG)


class UntilAfter(train.Callback):
    """Sends SIGALRM after 0.15 s, in a loop in C mostly, and ends the fit with the epoch in which it has come."""

    def __init__(self, came):
        self.came = came

    def on_train_begin(self, trainer):
        signal.setitimer(signal.ITIMER_REAL, 0.15)

    def on_epoch_end(self, trainer, epoch, logs):
        trainer.stop_training = bool(self.came)


def wide():
    """A model whose steps take some 100 us."""
    return nn.Sequential(nn.Dense(4, 384, activation="gelu", rng=0), nn.Dropout(0.3, rng=1),
                         nn.Dense(384, 64, activation="tanh", rng=2), nn.Dense(64, 3, rng=3))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals come from a timer")
@pytest.mark.parametrize("name", ["a global", "an array in place", "an array", "the learning rate", "which are frozen",
                                  "structure", "weights", "modes", "steps of its own"])
def test_a_signal_handler_that_changes_something(name):
    change, loss, _ = CHANGED[name]
    came, seen = [], []

    def handler(*_):
        if not came:
            came.append(trainer.step)
            change(trainer, 3)

    def at(step):
        return AtBatch(lambda trainer, k: change(trainer, 3) if k == step else None)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for compiled in (True, False):
            changed(name, At)()
            cb.seed(3)
            model = wide()
            trainer = train.Trainer(model, loss, optim.Adam(model.parameters()), seed=1, compile=compiled)
            callbacks = [UntilAfter(came)] if compiled else [at(came[0])]
            trainer.fit(LX, LY, epochs=50 if compiled else seen[0]["at"][1], batch_size=SIZE, callbacks=callbacks)
            seen.append(everything(trainer, lambda: NUMBER))
    finally:
        signal.signal(signal.SIGALRM, before)
    for what in seen[1]:
        assert seen[0][what] == seen[1][what], what


class Hasty(train.Callback):
    """Sends SIGVTALRM, which no fit holds up, while it lasts."""

    def on_train_begin(self, trainer):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.02, 0.02)

    def on_train_end(self, trainer):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals come from a timer")
def test_a_handler_that_trains_itself():
    """No step waits for itself; each is made once."""
    model, came = nn.Dense(4, 3, rng=0), []
    trainer = train.Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.01))

    def handler(*_):
        came.append(trainer.train_on_batch(LX[:SIZE], LY[:SIZE]))

    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        while len(came) < 3:
            trainer.fit(LX, LY, epochs=20, batch_size=SIZE, callbacks=[Hasty()])
    finally:
        signal.signal(signal.SIGVTALRM, before)
    steps = [s.item() for s in trainer.optimizer.steps.values()]
    assert steps == [trainer.step] * 2 and (trainer.step - len(came)) % (20 * 2000) == 0
