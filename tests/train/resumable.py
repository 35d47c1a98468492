"""A run with everything that must survive a save: `python resumable.py SAVED RESULT OPTIMIZER PATIENCE STEPS` goes on.

3 epochs of 7 batches, the last of them ragged; dropout from a generator of its own and from the process's default one;
a layer that keeps running means; a schedule by epochs or steps; EarlyStopping, and a callback of one's own.
"""

import pickle
import sys

import numpy as np

import cybackprop as cb
from cybackprop import nn, optim, train

EPOCHS, BATCHES, SIZE = 3, 7, 8
OPTIMIZERS = {
    "adam": lambda p: optim.Adam(p, lr=0.05, amsgrad=True, weight_decay=0.01),
    "sgd": lambda p: optim.SGD(p, lr=0.4, momentum=0.9, nesterov=True),
    "rough": lambda p: optim.SGD(p, lr=4.0),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.02, centered=True),
    "each step": lambda p: optim.AdamW(p, lr=0.05),
}


class Centred(nn.Module):
    """Subtracts a running mean; keeps States of three dtypes that are no Parameters."""

    def __init__(self, n):
        self.mean, self.past = cb.State(np.zeros(n, "float32")), [cb.State(np.int64(0)), cb.State(np.zeros(n, bool))]

    def forward(self, x):
        if self.training:
            calls, positive = self.past
            now = x.detach().mean(0)
            self.mean.assign(self.mean * 0.9 + now * 0.1)
            calls.assign((calls.astype("float64") + 1).astype("int64"))
            positive.assign(positive | (now > 0.5))
        return x - self.mean


class Average(train.Callback):
    """The mean loss of all epochs so far."""

    def __init__(self):
        self.mean, self.epochs = 0.0, 0

    def on_epoch_end(self, trainer, epoch, logs):
        self.epochs += 1
        self.mean += (logs["loss"] - self.mean) / self.epochs

    def state_dict(self):
        return {"mean": self.mean, "epochs": self.epochs}

    def load_state_dict(self, state):
        self.mean, self.epochs = state["mean"], state["epochs"]


def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(BATCHES * SIZE - 3 + 20, 6))
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1) + rng.integers(0, 2, len(X)) * (rng.random(len(X)) < 0.3)
    return (X[20:], y[20:] % 3), (X[:20], y[:20] % 3)


def parts(optimizer, seed=None):
    """Model, optimizer and schedule; without a seed the first values are arbitrary."""
    rng = cb.Generator(np.random.SeedSequence().entropy % 2 ** 63 if seed is None else seed)
    model = nn.Sequential(nn.Dense(6, 16, activation="relu", rng=rng), nn.Dropout(0.3, rng=rng.spawn()),
                          Centred(16), nn.Dense(16, 8, activation="tanh", rng=rng), nn.Dropout(0.2),
                          nn.Dense(8, 3, rng=rng))
    opt = OPTIMIZERS[optimizer](model.parameters())
    every, last = ("step", EPOCHS * BATCHES) if optimizer == "each step" else ("epoch", EPOCHS)
    schedule = optim.WarmupLR(opt, 1, 0.5, after=lambda o: optim.CosineLR(o, last))
    return model, opt, {"metrics": ["accuracy"], "schedule": schedule, "schedule_every": every}


def new(optimizer):
    model, opt, options = parts(optimizer, 11)
    cb.seed(5)
    return train.Trainer(model, "cross_entropy", opt, seed=7, **options)


def loaded(path, optimizer):
    model, opt, options = parts(optimizer)
    return train.Trainer.load(path, model, "cross_entropy", opt, **options)


def fit(trainer, patience, max_steps=None):
    """Train; returns the callbacks."""
    (X, y), validation = data()
    callbacks = [train.EarlyStopping(patience=patience), Average()]
    trainer.fit(X, y, epochs=EPOCHS, batch_size=SIZE, validation_data=validation, callbacks=callbacks,
                max_steps=max_steps)
    return callbacks


def everything(trainer, callbacks):
    """All that must be equal, to the bit; the speed is not.  Callbacks of a run that is over are not in its file."""
    history = {k: v for k, v in trainer.history.history.items() if k != "examples_per_second"}
    return {
        "parameters": {k: v.tobytes() for k, v in trainer.model.state_dict().items()},
        "optimizer": [[None if m is None else m.tobytes() for m in v]
                      for v in trainer.optimizer.state_dict()["moments"].values()],
        "steps": trainer.optimizer.state_dict()["steps"], "groups": str(trainer.optimizer.state_dict()["groups"]),
        "schedule": trainer.schedule.state_dict(), "history": (trainer.history.epoch, history),
        "counters": (trainer.step, trainer.epochs, trainer.unfinished), "order": tuple(trainer.rng.state),
        "dropout": tuple(trainer.model.layers[1].rng.state), "default": tuple(cb.default_rng().state),
        "callbacks": [{k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in c.state_dict().items()}
                      for c in callbacks],
        "predictions": trainer.predict(data()[1][0]).tobytes(),
    }


if __name__ == "__main__":
    saved, result, name, wait, steps = sys.argv[1:]
    trainer = loaded(saved, name)
    callbacks = fit(trainer, int(wait), int(steps)) if int(steps) else []
    with open(result, "wb") as file:
        pickle.dump(everything(trainer, callbacks), file)
