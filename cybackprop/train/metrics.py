"""Metrics: functions of (predictions, targets), averaged over samples."""

import numpy as np


def accuracy(prediction, target):
    """Share of samples whose class is right: the largest of several logits, or the sign of one.

    Parameters
    ----------
    prediction : ndarray, shape (B, C), (B, 1) or (B,)
    target : ndarray, shape (B,) of classes, or the shape of prediction

    Returns
    -------
    float
    """
    if prediction.ndim > 1 and prediction.shape[-1] > 1:
        guess = prediction.argmax(-1)
        right = target if target.ndim < prediction.ndim else target.argmax(-1)
    else:
        guess, right = prediction.reshape(len(prediction)) > 0, np.asarray(target).reshape(len(target)) > 0.5
    return float((guess == right).mean()) if len(guess) else float("nan")


METRICS = {"accuracy": accuracy}
