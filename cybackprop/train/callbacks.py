"""Callbacks: what looks at a training run, or stops it."""

import math
import os

import numpy as np


class Callback:
    """Base of callbacks; override what you need.

    ``logs`` is a dict of numbers such as {"loss": ..., "val_loss": ..., "val_accuracy": ...,
    "examples_per_second": ...}.  Set ``trainer.stop_training = True`` to stop.
    """

    def on_train_begin(self, trainer):
        """Before the first step of a fit."""

    def on_epoch_begin(self, trainer, epoch):
        """Before an epoch; they count from 0."""

    def on_batch_end(self, trainer, step, logs):
        """After an optimizer step; logs holds the batch's loss.  Called only if a subclass overrides it."""

    def on_epoch_end(self, trainer, epoch, logs):
        """After an epoch and its validation."""

    def on_train_end(self, trainer):
        """After the last step of a fit, also when it was stopped or raised."""

    def state_dict(self):
        """What a checkpoint must hold: numbers, strings, lists, None and NumPy arrays in a flat dict."""
        return {}

    def load_state_dict(self, state):
        """Take over what `state_dict` gave."""


class History(Callback):
    """What each epoch logged: ``history.epoch`` and ``history.history[name]``, lists of equal length.

    Every `Trainer` has one, and `Trainer.fit` returns it.
    """

    def __init__(self):
        self.epoch, self.history = [], {}

    def on_epoch_end(self, trainer, epoch, logs):
        """Append the logs."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def state_dict(self):
        """All lists."""
        return {"epoch": list(self.epoch), "history": {k: list(v) for k, v in self.history.items()}}

    def load_state_dict(self, state):
        """All lists."""
        self.epoch, self.history = list(state["epoch"]), {k: list(v) for k, v in state["history"].items()}

    def __repr__(self):
        last = ", ".join(f"{k}={v[-1]:.4g}" for k, v in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' if last else ''}{last})"


class _Watcher(Callback):
    """Knows whether a logged number got better."""

    def __init__(self, monitor, mode, min_delta=0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode is {mode!r}, it must be 'auto', 'min' or 'max'")
        largest = mode == "max" or (mode == "auto" and ("acc" in monitor or monitor.endswith("r2")))
        self.monitor, self.min_delta, self.sign = monitor, abs(min_delta), 1.0 if largest else -1.0
        self.best = None

    def better(self, logs):
        """Compare the monitored number with the best so far and remember it; NaN is never better."""
        if self.monitor not in logs:
            raise KeyError(f"{type(self).__name__}: {self.monitor!r} is not logged; there are {', '.join(logs)}"
                           + ("; pass validation_data" if self.monitor.startswith("val_") else ""))
        value = logs[self.monitor]
        if math.isnan(value) or (self.best is not None and self.sign * (value - self.best) <= self.min_delta):
            return False
        self.best = value
        return True


class EarlyStopping(_Watcher):
    """Stop when a number has not got better for a while, and go back to the best weights.

    Parameters
    ----------
    monitor : str
        Name in the logs.
    patience : int
        Epochs without improvement after which training stops.
    min_delta : float
        What counts as improvement.
    restore_best : bool
        Put the weights of the best epoch back at the end, whatever ended it.
    mode : {"auto", "min", "max"}
        auto: names with "acc" should grow, others shrink.
    """

    def __init__(self, monitor="val_loss", patience=10, min_delta=0.0, restore_best=True, mode="auto"):
        super().__init__(monitor, mode, min_delta)
        self.patience, self.restore_best = patience, restore_best
        self.waited, self.best_epoch, self.weights = 0, None, None

    def on_train_begin(self, trainer):
        """Start afresh, unless an unfinished run goes on."""
        if not trainer.resuming:
            self.best, self.waited, self.best_epoch, self.weights = None, 0, None, None

    def on_epoch_end(self, trainer, epoch, logs):
        """Count."""
        if self.better(logs):
            self.waited, self.best_epoch = 0, epoch
            if self.restore_best:
                self.weights = trainer.model.state_dict()
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop_training = True

    def on_train_end(self, trainer):
        """Restore, unless max_steps or an interruption left the plan unfinished."""
        if self.restore_best and self.weights is not None and not trainer.unfinished:
            trainer.model.load_state_dict(self.weights)

    def state_dict(self):
        """Counters and the best weights."""
        weights = {} if self.weights is None else {f"weights.{k}": v for k, v in self.weights.items()}
        return {"best": self.best, "waited": self.waited, "best_epoch": self.best_epoch, **weights}

    def load_state_dict(self, state):
        """Counters and the best weights."""
        self.best, self.waited, self.best_epoch = state["best"], state["waited"], state["best_epoch"]
        self.weights = {k.removeprefix("weights."): np.asarray(v) for k, v in state.items()
                        if k.startswith("weights.")} or None


class ModelCheckpoint(_Watcher):
    """Save the model after epochs.

    Parameters
    ----------
    path : str or path
        ``{epoch}`` in it is replaced by the epoch's number.
    monitor : str
    save_best_only : bool
        Save only when the monitored number got better.
    mode : {"auto", "min", "max"}
    """

    def __init__(self, path, monitor="val_loss", save_best_only=True, mode="auto"):
        super().__init__(monitor, mode)
        self.path, self.save_best_only = os.fspath(path), save_best_only

    def on_epoch_end(self, trainer, epoch, logs):
        """Save, perhaps."""
        if not self.save_best_only or self.better(logs):
            trainer.model.save(self.path.replace("{epoch}", str(epoch)))

    def state_dict(self):
        """The best number."""
        return {"best": self.best}

    def load_state_dict(self, state):
        """The best number."""
        self.best = state["best"]
