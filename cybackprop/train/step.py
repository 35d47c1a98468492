"""What one optimizer step does: loss, its weights, accumulation, clipping, update, schedule."""

import inspect

from cybackprop._core import engine
from cybackprop._core.engine import tensor
from cybackprop.errors import ShapeError
from cybackprop.nn.losses import cross_entropy
from cybackprop.ops.reduction import mean, sum
from cybackprop.optim.clipping import clip_grad_norm, clip_grad_value


def make_step(model, loss, optimizer, dtype, *, accumulate=1, clip_norm=None, clip_value=None, schedule=None):
    """A function (x, y[, weights]) that runs one step and returns the mean loss of the batch.

    accumulate: parts of a batch that go through the model one after the other; gradients are those of the mean over the
    whole batch.  schedule: advances with each step.
    """

    def step(x, y, *weights):
        x, weights = tensor(x, dtype), [tensor(w, dtype) for w in weights]
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

    return step


def _parts(model, loss, x, y, weights, accumulate):
    """The losses of the parts of a batch; their sum is the mean, weighted or not, over all of it."""
    n = x.shape[0]
    if accumulate == 1 and not weights:
        yield loss(model(x), y)
        return
    y = y if isinstance(y, engine.Tensor) else tensor(y)
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
