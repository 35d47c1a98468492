"""Tensors from nothing."""

import numpy as np

from cybackprop._core.engine import Tensor, is_weak, tensor, weaken
from cybackprop.ops.registry import public

public(tensor)


@public
def zeros(shape, dtype="float32"):
    """A tensor of zeros.

    Parameters
    ----------
    shape : int or sequence of int
    dtype : dtype-like

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.zeros((2, 3)).shape
    (2, 3)
    """
    return tensor(np.zeros(shape, dtype))


@public
def ones(shape, dtype="float32"):
    """A tensor of ones; see `zeros`."""
    return tensor(np.ones(shape, dtype))


@public
def full(shape, value, dtype="float32"):
    """A tensor with every element equal to a value; see `zeros`."""
    return tensor(np.full(shape, value, dtype))


@public
def arange(start: float, stop: float | None = None, step: float = 1, dtype=None):
    """Evenly spaced values, as `numpy.arange`; int64 for ints, float32 for floats unless dtype says otherwise.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.arange(3)
    Tensor([0, 1, 2], dtype=int64)
    """
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    if dtype is None:
        dtype = "float32" if values.dtype.kind == "f" else "int64"
    return tensor(values, dtype)


@public
def zeros_like(x):
    """Zeros with the shape and dtype of a tensor."""
    return _alike(zeros, x) if isinstance(x, Tensor) else tensor(np.zeros_like(x))


@public
def ones_like(x):
    """Ones with the shape and dtype of a tensor."""
    return _alike(ones, x) if isinstance(x, Tensor) else tensor(np.ones_like(x))


def _alike(make, x):
    made = make(x.shape, x.dtype)
    return weaken(made) if is_weak(x) else made
