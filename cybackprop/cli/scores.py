"""How good a network is on rows it hasn't seen, and how sure that is."""

import numpy as np


def accuracy(logits, y):
    """Share of right answers and its standard error.

    The error takes one right and one wrong answer as given (Laplace's rule), so that it isn't 0 for a perfect score.
    """
    right, count = int((logits.argmax(axis=1) == y).sum()), len(y)
    share = (right + 1) / (count + 2)
    return right / count, np.sqrt(share * (1 - share) / count)


def r2_and_rmse(predicted, y):
    """R2 and root mean squared error, each with its standard error (delta method)."""
    squares = np.square(predicted - y)
    spread = np.square(y - y.mean())
    mean_square, variance = squares.mean(), spread.mean()
    rmse = np.sqrt(mean_square)
    rmse_error = squares.std() / (2 * max(rmse, np.finfo(float).tiny) * np.sqrt(len(y)))
    if variance == 0:
        return np.nan, np.nan, rmse, rmse_error
    r2 = 1 - mean_square / variance
    r2_error = (squares - (1 - r2) * spread).std() / (variance * np.sqrt(len(y)))
    return r2, r2_error, rmse, rmse_error
