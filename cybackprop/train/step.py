"""What one optimizer step does: loss, its weights, accumulation, clipping, update, schedule."""

import inspect
import warnings
from zlib import crc32

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import tensor
from cybackprop.errors import AuditError, ShapeError
from cybackprop.nn.losses import cross_entropy
from cybackprop.ops.reduction import mean, sum
from cybackprop.optim.clipping import clip_grad_norm, clip_grad_value
from cybackprop.transforms.arguments import call, given, strong
from cybackprop.transforms.compiling import compile


def make_step(model, loss, optimizer, dtype, *, accumulate=1, clip_norm=None, clip_value=None, schedule=None):
    """A function (x, y[, weights]) that runs one step and returns the mean loss of the batch.

    accumulate: parts of a batch that go through the model one after the other; gradients are those of the mean over the
    whole batch.  schedule: advances with each step.  dtype: a function, since a model may change.
    """

    def step(x, y, *weights):
        x, weights = tensor(x, dtype()), [tensor(w, dtype()) for w in weights]
        losses = _parts(model, loss, x, y, weights, accumulate)
        total = next(losses)
        optimizer.zero_grad()
        total.backward()
        for part in losses:
            part.backward()
            total = total.detach() + part.detach()
        if clip_norm is not None:
            clip_grad_norm(optimizer.parameters(), clip_norm)
        if clip_value is not None:
            clip_grad_value(optimizer.parameters(), clip_value)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return total

    step.__qualname__ = "Trainer's step"                         # what warnings call it
    return step


def _parts(model, loss, x, y, weights, accumulate):
    """The losses of the parts of a batch; their sum is the mean, weighted or not, over all of it."""
    n = x.shape[0]
    if accumulate == 1 and not weights:
        yield loss(model(x), y)
        return
    y = y if isinstance(y, engine.Tensor) else tensor(y)
    engine.shape_read()                  # how many rows a part has is no multiple of the batch
    size = -(-n // accumulate)
    whole = sum(weights[0]) if weights else None
    counted = loss is cross_entropy and y.dtype.kind in "iu" and y.ndim == 1
    for start in range(0, n, size):
        rows = slice(start, start + size)
        out, goal = model(x[rows]), y[rows]
        if weights:
            yield sum(_each(loss, out, goal) * weights[0][rows]) / whole
        elif counted:                    # rows that are ignored count for nothing, in whichever part they are
            yield loss(out, goal, reduction="sum") / engine.raw_count(y, -100, out.dtype)
        else:
            yield loss(out, goal) * (len(goal) / n)


def _each(loss, out, goal):
    """The loss of each sample."""
    if "reduction" not in inspect.signature(loss).parameters:
        raise TypeError(f"Trainer: weights of samples need a loss that takes reduction='none'; {loss!r} does not")
    each = loss(out, goal, reduction="none")
    if each.ndim == 0 or each.shape[0] != goal.shape[0]:
        raise ShapeError(f"Trainer: the loss gave shape {each.shape} for {goal.shape[0]} samples")
    return mean(each, tuple(range(1, each.ndim))) if each.ndim > 1 else each


class Runner:
    """Runs steps: as a program where the step can be recorded, else one by one."""

    def __init__(self, step, compiled, generators):
        self._step, self._generators = step, generators
        self._compiled = compile(step) if compiled else None

    def __call__(self, *arrays):
        """One step; the loss.  One that fails, on a bad label say, leaves the random streams as they were."""
        arrays = [a if isinstance(a, (np.ndarray, engine.Tensor)) else np.asarray(a) for a in arrays]
        before = [(g, g.state) for g in self._generators()]
        try:
            return run(self._step, arrays) if self._compiled is None else self._compiled(*arrays)
        except AuditError as error:      # the step has been made
            self._compiled = None
            warnings.warn(f"Trainer: steps run one by one from now on: {error}", RuntimeWarning, stacklevel=3)
            return error.result
        except BaseException:
            put_back(before)
            raise

    def loop(self, data, order, start, batch_size, n, total):
        """(batches done, sum of losses, what interrupted): as far as the program goes without Python, for a while."""
        if self._compiled is None:
            return 0, total, None
        return engine.run_batches(self._compiled, data, order, start, batch_size, n, total)


def run(function, arrays):
    """What a compiled function does in an eager call."""
    return strong(call(function, arrays, {}, arrays, given(arrays))[0])


def put_back(states):
    """Give generators the states they had."""
    for generator, state in states:
        generator.state = state


def checked_rows(rows, n):
    """Numbers of samples as an int64 tensor."""
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0:
        raise ShapeError(f"Trainer: rows are the numbers of samples, int of shape (m,), not {rows.dtype} {rows.shape}")
    if rows.min() < 0 or rows.max() >= n:
        raise IndexError(f"Trainer: rows go from {rows.min()} to {rows.max()}, there are {n} samples")
    return tensor(rows)


def plan_of(X, rows, batch_size):
    """What tells whether a fit may go on with an unfinished one: a list that a file can hold."""
    return [len(X), batch_size] if rows is None else [len(rows), batch_size, crc32(rows.numpy().astype("<i8"))]


def sample_weights(y, sample_weight, class_weight):
    """The weight of each sample, or None."""
    weights = None
    if sample_weight is not None:
        weights = np.asarray(sample_weight, np.float64)
        if weights.shape != y.shape[:1] or not np.all((weights >= 0) & np.isfinite(weights)):
            raise ShapeError(f"Trainer: sample_weight has shape {weights.shape}, there are {len(y)} samples; "
                             "weights are finite and not negative")
    if class_weight is not None:
        if y.dtype.kind not in "iu" or y.ndim != 1:
            raise TypeError(f"Trainer: class_weight needs integer targets of shape (n,), not {y.dtype} {y.shape}")
        pairs = class_weight.items() if isinstance(class_weight, dict) else enumerate(class_weight)
        table = dict(pairs)
        if missing := sorted(set(np.unique(y).tolist()) - set(table)):
            raise ValueError(f"Trainer: class_weight has no weight for the classes {missing}")
        by_class = np.array([table[int(c)] for c in y], np.float64)
        weights = by_class if weights is None else weights * by_class
    return weights
