"""Trainer: the loop over epochs and batches."""

import time

import numpy as np

from cybackprop._core.engine import no_grad, structure_version, tensor
from cybackprop.errors import ShapeError
from cybackprop.nn.losses import LOSSES
from cybackprop.ops.indexing import take
from cybackprop.ops.random import Generator
from cybackprop.train import checkpoint
from cybackprop.train.callbacks import Callback, History
from cybackprop.train.evaluating import Evaluator, Members
from cybackprop.train.interrupts import Uninterrupted
from cybackprop.train.metrics import METRICS
from cybackprop.train.step import Runner, checked_rows, make_step, plan_of, sample_weights
from cybackprop.transforms.arguments import given


def _named(value, table, what):
    """A function of what users pass: itself, or its name."""
    if callable(value):
        return value
    if value not in table:
        raise ValueError(f"Trainer: no {what} is called {value!r}; there are {', '.join(table)}, or pass a function")
    return table[value]


class Trainer:
    """Trains a model.

    Parameters
    ----------
    model : Module
    loss : str or callable
        "cross_entropy", "bce_with_logits", "mse", "mae", "huber", or a function (predictions, targets) -> tensor.
        Both are Tensors.
    optimizer : Optimizer
    seed : int
        Of the order of the batches.
    metrics : sequence of str or callable
        "accuracy", or functions (predictions, targets) -> float of NumPy arrays.
    schedule : Schedule, optional
        Advances once an epoch, or with each step (schedule_every).
    schedule_every : {"epoch", "step"}
    accumulate : int
        Parts of a batch that go through the model one after the other; the gradient is that of the whole batch.
    clip_norm, clip_value : float, optional
        Clip the joint norm of the gradients, or each element.
    compile : bool
        Record the step once and replay it in C (see `cybackprop.compile`); the bits are the same.  A model or loss that
        can't be recorded runs step by step, after one warning.  Predictions too are replayed, for batches of a shape
        that comes back.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import nn, optim, train
    >>> cb.seed(0)
    >>> X = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    >>> model = nn.Sequential(nn.Dense(2, 16, activation="tanh"), nn.Dense(16, 2))
    >>> trainer = train.Trainer(model, loss="cross_entropy", optimizer=optim.Adam(model.parameters(), lr=0.05))
    >>> history = trainer.fit(X, [0, 1, 1, 0], epochs=100, batch_size=4)
    >>> trainer.predict(X).argmax(1).tolist()
    [0, 1, 1, 0]
    """

    program_attributes = ("model",)      # of a trainer, what its predictions depend on: see transforms/environment.py

    def __init__(self, model, loss, optimizer, seed=0, metrics=(), schedule=None, *, schedule_every="epoch",
                 accumulate=1, clip_norm=None, clip_value=None, compile=True):
        if schedule_every not in ("epoch", "step") or accumulate < 1:
            raise ValueError(f"Trainer: schedule_every {schedule_every!r}, accumulate {accumulate}")
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.loss = _named(loss, LOSSES, "loss")
        self._every_step = schedule if schedule_every == "step" else None
        self._members = Members(lambda: self.model)
        self._runner = Runner(make_step(
            model, self.loss, optimizer, lambda: self.dtype, accumulate=accumulate, clip_norm=clip_norm,
            clip_value=clip_value, schedule=self._every_step), compile, self._members.generators)

        def forward(x):
            return self.model(tensor(x, self.dtype))

        forward.__qualname__ = "Trainer's predictions"           # what warnings call it
        self._forward = Evaluator(forward, compile, self._members)
        self.metrics = {m if isinstance(m, str) else m.__name__: _named(m, METRICS, "metric") for m in metrics}
        self.rng, self.history = Generator(seed), History()
        self.stop_training = False
        self.step = 0                    # optimizer steps of all fits
        self.epochs = 0                  # finished epochs of all fits
        self.resuming = False            # whether the current fit goes on with an unfinished one
        self.unfinished = False          # whether the last fit stopped before its epochs were over
        self._plan = []                  # `plan_of` the current run
        self._plan_epoch = 0             # epochs of it that are over
        self._batch = 0                  # batches of the current epoch that are over
        self._order_at = None            # where in the stream the current epoch's order was drawn
        self._shuffler = Generator()     # draws it; `rng` moves on when the epoch is over
        self._training_at = None         # the model, and the structure's version, when it was put into training
        self._sum = (0.0, 0)             # loss of the current epoch so far, samples
        self._callback_states = []

    def fit(self, X, y, epochs=1, batch_size=32, validation_data=None, callbacks=(), max_steps=None, sample_weight=None,
            class_weight=None, rows=None):
        """Train.

        Parameters
        ----------
        X, y : array-like, first axis samples
            X is cast to the model's dtype.
        epochs : int
        batch_size : int
            The last batch of an epoch holds what is left.
        validation_data : (X, y), optional
            Evaluated after each epoch: "val_loss", "val_..." in the logs.
        callbacks : sequence of Callback
        max_steps : int, optional
            Stop after that many optimizer steps; the next fit on as many samples, or on the same rows, with the same
            batch size goes on from there, as it does after Ctrl-C or after `Trainer.load`.  Any other fit is a new run.
        sample_weight : array-like, shape (n,), optional
            The loss of a batch is the weighted mean.
        class_weight : dict or array-like, optional
            A weight for each class of integer targets; multiplies sample_weight.
        rows : array of int, optional
            Numbers of the samples to train on, of all that X and y hold.

        Returns
        -------
        History

        Raises
        ------
        ShapeError
            X and y differ in length, or are empty.
        """
        X, y = self._inputs(X), self._targets(y)
        self._check(X, y, epochs, batch_size, max_steps)
        data = [np.ascontiguousarray(X, self.dtype),
                np.ascontiguousarray(y, np.int64 if y.dtype.kind in "iu" else None)]
        rows = None if rows is None else checked_rows(rows, len(X))
        weights = sample_weights(y, sample_weight, class_weight)
        if weights is not None:
            data.append(np.ascontiguousarray(weights, self.dtype))
        if validation_data is not None:
            validation_data = self._inputs(validation_data[0]), self._targets(validation_data[1])
            self._check(*validation_data, 1, 1, None)
        callbacks = [self.history, *callbacks]
        self._begin(plan_of(X, rows, batch_size))
        self._hand_over(callbacks)
        watchers = [c for c in callbacks if type(c).on_batch_end is not Callback.on_batch_end]
        self.resuming = self.unfinished
        self.stop_training, self.unfinished = False, True
        last = None if max_steps is None else self.step + max_steps
        for c in callbacks:
            c.on_train_begin(self)
        try:
            while self._plan_epoch < epochs and not self.stop_training:
                if not self._epoch(data, rows, batch_size, callbacks, watchers, validation_data, last):
                    return self.history
            self.unfinished, self._plan_epoch, self._batch = False, 0, 0
        finally:
            self.model.eval()
            for c in callbacks:
                c.on_train_end(self)
            self._callback_states = [c.state_dict() for c in callbacks[1:]] if self.unfinished else []
        return self.history

    def _begin(self, plan):
        """Forget where the last fit stopped if this one is about other batches."""
        if self._plan != plan:
            self.unfinished, self._plan_epoch, self._batch, self._callback_states = False, 0, 0, []
        self._plan = plan

    def _epoch(self, data, rows, batch_size, callbacks, watchers, validation_data, last):
        """One epoch, or what is left of it; False if max_steps ended it."""
        n = len(data[0]) if rows is None else len(rows)
        if last is not None and self.step >= last:
            return False
        if self._batch == 0:
            self._order_at, self._sum = self.rng.state, (0.0, 0)
            for c in callbacks:
                c.on_epoch_begin(self, self.epochs)
        self._shuffler.state = self._order_at
        order = self._shuffler.permutation(n)
        if rows is not None:
            order = take(rows, order)
        began, seen = time.perf_counter(), self._sum[1]
        if self._training_at != (self.model, structure_version()):       # else nobody has changed a module since
            self.model.train()
            self._training_at = self.model, structure_version()
        batches = -(-n // batch_size)
        while self._batch < batches and not self.stop_training:
            if last is not None and self.step >= last:
                return False
            self._some_batches(data, order, batch_size, batches if last is None else self._batch + last - self.step,
                               watchers)
        seconds = time.perf_counter() - began
        logs = {"loss": self._sum[0] / self._sum[1],
                "examples_per_second": (self._sum[1] - seen) / max(seconds, 1e-9)}
        if validation_data is not None:
            logs |= {f"val_{name}": value for name, value in self._evaluate(*validation_data).items()}
        with Uninterrupted():
            if self.schedule is not None and self._every_step is None:
                self.schedule.step()
            epoch = self.epochs
            self.rng.state = self._shuffler.state
            self._batch, self.epochs, self._plan_epoch = 0, self.epochs + 1, self._plan_epoch + 1
            for c in callbacks:
                c.on_epoch_end(self, epoch, logs)
        return True

    def _some_batches(self, data, order, batch_size, stop, watchers):
        """The next batch, or as many as the program runs without Python."""
        with Uninterrupted() as waiting:
            start = self._batch * batch_size
            whole = min(stop, len(order) // batch_size) - self._batch
            if not watchers:             # who watches each batch gets it from Python
                size, count = (batch_size, whole) if whole > 0 else (len(order) - start, 1)
                done, total, error = self._runner.loop(data, order, start, size, count, self._sum[0])
                self._sum = total, self._sum[1] + done * size
                self._batch, self.step = self._batch + done, self.step + done
                if error is not None:
                    raise error
                if done or waiting.pending:
                    return
            rows = order.numpy()[start:start + batch_size]
            loss = self.train_on_batch(*(a[rows] for a in data))
            self._sum = self._sum[0] + loss * len(rows), self._sum[1] + len(rows)
            self._batch += 1
        for c in watchers:
            c.on_batch_end(self, self.step, {"loss": loss})

    def train_on_batch(self, X, y, sample_weight=None):
        """One optimizer step on one batch; returns its loss, a float."""
        with Uninterrupted():
            loss = self._runner(X, y, *(() if sample_weight is None else (sample_weight,)))
            self.step += 1
        return loss.item()

    def evaluate(self, X, y, batch_size=1024):
        """Loss and metrics, {"loss": ..., "accuracy": ...}, averaged over samples, in evaluation mode."""
        X, y = self._inputs(X), self._targets(y)
        self._check(X, y, 1, batch_size, None)
        return self._evaluate(X, y, batch_size)

    def _evaluate(self, X, y, batch_size=1024):
        sums = dict.fromkeys(["loss", *self.metrics], 0.0)
        for start in range(0, len(X), batch_size):
            part, goal = X[start:start + batch_size], y[start:start + batch_size]
            out = self.predict(part, batch_size)
            with no_grad():
                sums["loss"] += self.loss(tensor(out), *given([goal])).item() * len(part)
            for name, metric in self.metrics.items():
                sums[name] += metric(out, goal) * len(part)
        return {name: value / len(X) for name, value in sums.items()}

    def predict(self, X, batch_size=1024):
        """The model's outputs (logits for classifiers) as an ndarray, in evaluation mode.

        A row gives the same bits alone and in any batch.
        """
        X = self._inputs(X)
        if X.ndim == 0:
            raise ShapeError("predict: X has no axis of samples")
        with self._forward.mode():
            parts = [self._forward(X[i:i + batch_size]).numpy() for i in range(0, max(len(X), 1), batch_size)]
        return np.concatenate(parts)

    # ---- data

    @property
    def dtype(self):
        """The dtype of the model's first parameter."""
        for _, p in self.model.named_parameters():
            return p.dtype
        return np.dtype("float32")

    def _inputs(self, X):
        return np.asarray(X, dtype=None if isinstance(X, np.ndarray) else self.dtype)

    def _targets(self, y):
        y = np.asarray(y)
        return y.astype(self.dtype) if y.dtype.kind == "f" else y

    def _check(self, X, y, epochs, batch_size, max_steps):
        if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
            raise ShapeError(f"Trainer: X has shape {X.shape}, y {y.shape}; their first axes are the samples")
        if len(X) == 0:
            raise ShapeError("Trainer: there are no samples")
        if epochs < 0 or batch_size < 1 or (max_steps is not None and max_steps < 0):
            raise ValueError(f"Trainer: epochs {epochs}, batch_size {batch_size}, max_steps {max_steps}")

    # ---- a run as a file

    def save(self, path):
        """Write the whole run to one safetensors file: parameters, moments, counters, position, callbacks."""
        checkpoint.save(path, checkpoint.state_of(self))

    @classmethod
    def load(cls, path, model, loss, optimizer, seed=0, metrics=(), schedule=None, **options):
        """A trainer that goes on where the saved one stopped.

        model, optimizer, schedule and options are made as for the saved run; their state comes from the file.

        Raises
        ------
        ModelFileError
            The file is damaged or holds no run.
        """
        state = checkpoint.load(path)
        trainer = cls(model, loss, optimizer, seed, metrics, schedule, **options)
        checkpoint.restore(trainer, state, path)
        return trainer

    def _hand_over(self, callbacks):
        """Give callbacks the state they had when the unfinished run was saved."""
        for c, state in zip(callbacks[1:], self._callback_states, strict=False):
            c.load_state_dict(state)
        self._callback_states = []
