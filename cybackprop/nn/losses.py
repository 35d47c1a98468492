"""Losses: logits in, reduction "mean", "sum" or "none"."""

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, apply, as_operands, tensor
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.elementwise import functions
from cybackprop.ops.formula import strong_mul
from cybackprop.ops.indexing import take
from cybackprop.ops.movement import as_tensor
from cybackprop.ops.reduction import mean, sum
from cybackprop.ops.selection import where
from cybackprop.ops.softmax import log_softmax, softmax_cross_entropy

_abs, _softplus = functions["abs"], functions["softplus"]


def _reduce(loss, reduction, name, weights=None):
    """none, sum, or mean (divided by the sum of weights where there are any)."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return sum(loss)
    if reduction == "mean":
        return mean(loss) if weights is None else sum(loss) / sum(weights)
    raise ValueError(f"{name}: reduction is {reduction!r}, it must be 'mean', 'sum' or 'none'")


def _pair(name, prediction, target):
    """Both as tensors of one dtype and one shape: (n,) against (n, 1) would broadcast to (n, n)."""
    prediction, target = as_operands(name, prediction, target)
    if prediction.shape != target.shape:
        hint = "; reshape one of them, they would broadcast" if prediction.size == target.size else ""
        raise ShapeError(f"{name}: predictions {prediction.shape} and targets {target.shape} differ{hint}")
    return prediction, target


def cross_entropy(logits, target, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Negative log-likelihood of classes, fused with softmax.

    Parameters
    ----------
    logits : Tensor, shape (B, C) or (C,)
    target : int array-like, shape (B,) or (), each in [0, C) or ignore_index; or floats, shape of logits
        Classes, or a probability for each class.
    weight : array-like, shape (C,), optional
        A factor for each class.
    ignore_index : int
        Rows with this class count for nothing.
    label_smoothing : float in [0, 1]
        How much of the target is spread evenly over all classes.
    reduction : {"mean", "sum", "none"}
        The mean over classes divides by the sum of the weights of the targets, the mean over probabilities by B.

    Returns
    -------
    Tensor, shape () or (B,), in nats

    Raises
    ------
    ShapeError, DTypeError
        The message holds both shapes or dtypes.
    ValueError
        A target outside [0, C); the first one is named with its row.

    Notes
    -----
    B*C exp forward, none backward.  Keeps the (B, C) probabilities.
    Source: Goodfellow, Bengio, Courville (2016), Deep Learning, section 6.2.2.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import nn
    >>> round(nn.cross_entropy(cb.zeros((2, 4)), [0, 3]).item(), 4)      # log 4
    1.3863
    """
    logits = as_tensor(logits)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, it must be in [0, 1]")
    goal = target if isinstance(target, Tensor) else np.asarray(target)
    if logits.ndim == 1:
        loss = cross_entropy(logits.reshape(1, -1), goal.reshape((1, *goal.shape)), weight=weight,
                             ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction)
        return loss.reshape(()) if reduction == "none" else loss
    if logits.ndim != 2:
        raise ShapeError(f"cross_entropy: logits have shape {logits.shape}; they are (B, C)")
    if weight is not None:
        logits, weight = as_operands("cross_entropy", logits, weight)
        if weight.shape != logits.shape[1:]:
            raise ShapeError(f"cross_entropy: weight {weight.shape} does not fit logits {logits.shape}")
    if goal.dtype.kind == "f":
        return _probabilities(logits, goal, weight, label_smoothing, reduction)
    if goal.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: targets are classes (integers) or probabilities (floats), not {goal.dtype}")
    goal = as_tensor(goal)
    if goal.shape != logits.shape[:1]:
        raise ShapeError(f"cross_entropy: logits {logits.shape} and targets {goal.shape}; "
                         f"classes are ({logits.shape[0]},)")
    return _classes(logits, goal, weight, ignore_index, label_smoothing, reduction)


def _classes(logits, goal, weight, ignore_index, label_smoothing, reduction):
    rows = apply(softmax_cross_entropy, (logits,), {"target": goal, "ignore_index": ignore_index})
    if weight is None and not label_smoothing:       # ignored rows are 0 already
        if reduction == "mean":
            return sum(rows) / engine.weaken(engine.raw_count(goal, ignore_index, logits.dtype))
        return _reduce(rows, reduction, "cross_entropy")
    ignored = goal == ignore_index
    safe = where(ignored, 0, goal)
    share = engine.weaken(tensor(np.ones(goal.shape), logits.dtype)) if weight is None else take(weight, safe)
    share = where(ignored, 0, share)
    loss = rows * share
    if label_smoothing:
        each = -log_softmax(logits)
        spread = sum(each if weight is None else each * weight, 1) / float(logits.shape[1])
        loss = loss * (1 - label_smoothing) + where(ignored, 0, spread) * label_smoothing
    return _reduce(loss, reduction, "cross_entropy", share)


def _probabilities(logits, goal, weight, label_smoothing, reduction):
    logits, goal = _pair("cross_entropy", logits, goal)
    if label_smoothing:
        goal = goal * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    each = -log_softmax(logits) * goal if weight is None else -log_softmax(logits) * goal * weight
    return _reduce(sum(where(goal == 0, 0, each), 1), reduction, "cross_entropy")


def bce_with_logits(logits, target, *, weight=None, pos_weight=None, reduction="mean"):
    """Binary cross-entropy fused with the sigmoid.

    Parameters
    ----------
    logits : Tensor, any shape
    target : array-like, shape of logits, in [0, 1]
    weight : array-like, optional
        A factor for each element, broadcast.
    pos_weight : array-like, optional
        A factor for the positive part, broadcast.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape () or that of logits, in nats

    Notes
    -----
    p t softplus(-x) + (1 - t) softplus(x): no digits are lost in either tail.
    """
    logits, target = _pair("bce_with_logits", logits, target)
    positive = target if pos_weight is None else target * as_operands("bce_with_logits", logits, pos_weight)[1]
    loss = strong_mul(positive, _softplus(-logits)) + strong_mul(1 - target, _softplus(logits))
    return _reduce(loss if weight is None else loss * weight, reduction, "bce_with_logits")


def mse(prediction, target, *, reduction="mean"):
    """Mean squared error, not halved.

    Raises
    ------
    ShapeError
        The shapes differ; (n,) against (n, 1) is refused.
    """
    prediction, target = _pair("mse", prediction, target)
    d = prediction - target
    return _reduce(d * d, reduction, "mse")


def mae(prediction, target, *, reduction="mean"):
    """Mean absolute error; see `mse`."""
    prediction, target = _pair("mae", prediction, target)
    return _reduce(_abs(prediction - target), reduction, "mae")


def huber(prediction, target, *, delta=1.0, reduction="mean"):
    """Huber's loss: d^2 / 2 up to delta, delta (|d| - delta / 2) beyond; see `mse`.  Source: Huber (1964)."""
    if not delta > 0:
        raise ValueError(f"huber: delta is {delta}, it must be positive")
    prediction, target = _pair("huber", prediction, target)
    d = prediction - target
    size = _abs(d)
    return _reduce(where(size <= delta, 0.5 * (d * d), delta * (size - 0.5 * delta)), reduction, "huber")


LOSSES = {f.__name__: f for f in (cross_entropy, bce_with_logits, mse, mae, huber)}
__all__ = ["LOSSES", *LOSSES]
