"""Gradient clipping."""

import math

from cybackprop._core.engine import Tensor, no_grad
from cybackprop.ops.creation import zeros
from cybackprop.ops.elementwise import functions


@no_grad
def clip_grad_norm(parameters, max_norm, norm_type=2.0):
    """Scale gradients so that their joint norm is at most max_norm.

    Parameters
    ----------
    parameters : iterable of Parameter
    max_norm : float
    norm_type : float
        2, another p, or inf.

    Returns
    -------
    Tensor, shape ()
        The norm before clipping.

    Notes
    -----
    The factor is min(1, max_norm / (norm + 1e-6)).  One sum a parameter, then a tree in the caller's order, so the
    bits do not depend on how parameters lie in memory.
    """
    members = _with_gradient(parameters)
    if not members:
        return zeros(())
    if math.isinf(norm_type):
        norm = _tree([functions["abs"](p.grad).max() for p in members], functions["maximum"])
    else:
        powers = [(p.grad**2 if norm_type == 2 else functions["abs"](p.grad) ** norm_type).sum() for p in members]
        norm = _tree(powers, functions["add"]) ** (1 / norm_type)
    factor = functions["minimum"](max_norm / (norm + 1e-6), 1.0)
    clipped = [p.grad * factor.astype(p.dtype) for p in members]
    for p, g in zip(members, clipped, strict=True):
        p.grad = g
    return norm


@no_grad
def clip_grad_value(parameters, max_value):
    """Clip every element of the gradients to [-max_value, max_value]."""
    members = _with_gradient(parameters)
    clipped = [functions["clip"](p.grad, -max_value, max_value) for p in members]
    for p, g in zip(members, clipped, strict=True):
        p.grad = g


def _with_gradient(parameters):
    return [p for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]


def _tree(values, combine):
    """Neighbours two by two until one is left; all in the dtype of the first."""
    values = [v.astype(values[0].dtype) for v in values]
    while len(values) > 1:
        pairs = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(values) - len(values) % 2:]
    return values[0]
