"""Initial values of parameters.  fan_in = shape[0], fan_out = shape[1]: weights are (in, out).

Formulas: Glorot and Bengio (2010), He et al. (2015), LeCun et al. (1998), Saxe et al. (2014);
names and gains as in torch.
"""

import math

import numpy as np

from cybackprop._core.engine import tensor
from cybackprop.errors import ShapeError
from cybackprop.ops.random import as_generator


def _fans(shape, name):
    if len(shape) < 2:
        raise ShapeError(f"{name}: shape {tuple(shape)} has no fan_in and fan_out; weights are (in, out)")
    return shape[0], shape[1]


def _fan(shape, mode, name):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode is {mode!r}, it must be 'fan_in' or 'fan_out'")
    return _fans(shape, name)[mode == "fan_out"]


def calculate_gain(nonlinearity, param=None):
    """The factor that keeps a signal's variance through a nonlinearity.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
    param : float, optional
        Slope of leaky_relu, 0.01 by default.
    """
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75,
             "leaky_relu": math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: no gain is known for {nonlinearity!r}; there are {', '.join(gains)}")
    return gains[nonlinearity]


def constant(shape, value, dtype="float32"):
    """Every element the same."""
    return tensor(np.full(shape, value, dtype))


def zeros(shape, dtype="float32"):
    """Zeros."""
    return constant(shape, 0.0, dtype)


def ones(shape, dtype="float32"):
    """Ones."""
    return constant(shape, 1.0, dtype)


def uniform(shape, low=0.0, high=1.0, dtype="float32", rng=None):
    """U(low, high)."""
    return as_generator(rng).uniform(shape, low, high, dtype)


def normal(shape, mean=0.0, std=1.0, dtype="float32", rng=None):
    """N(mean, std^2)."""
    return as_generator(rng).normal(shape, mean, std, dtype)


def trunc_normal(shape, mean=0.0, std=1.0, a=-2.0, b=2.0, dtype="float32", rng=None):
    """N(mean, std^2) cut at the absolute points a and b: what falls outside is drawn again."""
    if not a < b:
        raise ValueError(f"trunc_normal: a {a} must be below b {b}")
    rng = as_generator(rng)
    out = np.array(rng.normal(shape, mean, std, dtype))
    for _ in range(1000):
        outside = (out < a) | (out > b)
        if not outside.any():
            break
        out[outside] = rng.normal(int(outside.sum()), mean, std, dtype).numpy()
    return tensor(np.clip(out, a, b))


def xavier_uniform(shape, gain=1.0, dtype="float32", rng=None):
    """U(+-gain sqrt(6 / (fan_in + fan_out)))."""
    bound = gain * math.sqrt(6 / max(sum(_fans(shape, "xavier_uniform")), 1))
    return uniform(shape, -bound, bound, dtype, rng)


def xavier_normal(shape, gain=1.0, dtype="float32", rng=None):
    """N(0, gain^2 2 / (fan_in + fan_out))."""
    return normal(shape, 0.0, gain * math.sqrt(2 / max(sum(_fans(shape, "xavier_normal")), 1)), dtype, rng)


def kaiming_uniform(shape, a=0.0, mode="fan_in", nonlinearity="leaky_relu", dtype="float32", rng=None):
    """U(+-gain sqrt(3 / fan)); a is the slope of leaky_relu."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / max(_fan(shape, mode, "kaiming_uniform"), 1))
    return uniform(shape, -bound, bound, dtype, rng)


def kaiming_normal(shape, a=0.0, mode="fan_in", nonlinearity="leaky_relu", dtype="float32", rng=None):
    """N(0, gain^2 / fan)."""
    std = calculate_gain(nonlinearity, a) / math.sqrt(max(_fan(shape, mode, "kaiming_normal"), 1))
    return normal(shape, 0.0, std, dtype, rng)


def lecun_uniform(shape, dtype="float32", rng=None):
    """U(+-sqrt(3 / fan_in))."""
    bound = math.sqrt(3 / max(_fans(shape, "lecun_uniform")[0], 1))
    return uniform(shape, -bound, bound, dtype, rng)


def lecun_normal(shape, dtype="float32", rng=None):
    """N(0, 1 / fan_in)."""
    return normal(shape, 0.0, 1 / math.sqrt(max(_fans(shape, "lecun_normal")[0], 1)), dtype, rng)


def orthogonal(shape, gain=1.0, dtype="float32", rng=None):
    """Orthonormal columns or rows, whichever are fewer, times gain."""
    rows, columns = _fans(shape, "orthogonal")
    z = np.array(normal((max(rows, columns), min(rows, columns)), dtype="float64", rng=rng))
    q, r = np.linalg.qr(z)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)      # the sign that makes q unique, and uniform
    return tensor((gain * (q if rows >= columns else q.T)).astype(dtype))


def sparse(shape, sparsity, std=0.01, dtype="float32", rng=None):
    """N(0, std^2) with a share of zeros in what each output sees (Martens 2010)."""
    fan_in, fan_out = _fans(shape, "sparse")
    rng = as_generator(rng)
    out = np.array(normal(shape, 0.0, std, dtype, rng))
    for column in range(fan_out):
        out[rng.permutation(fan_in).numpy()[: math.ceil(sparsity * fan_in)], column] = 0
    return tensor(out)


def torch_default(fan_in, shape, dtype="float32", rng=None):
    """torch's default for weight and bias of a dense layer: U(+-1 / sqrt(fan_in))."""
    bound = max(fan_in, 1) ** -0.5
    return uniform(shape, -bound, bound, dtype, rng)


def auto(shape, activation, dtype="float32", rng=None):
    """He for the relu family, Glorot with gain for tanh and sigmoid, LeCun for selu."""
    if activation == "selu":
        return lecun_normal(shape, dtype, rng)
    if activation in ("tanh", "sigmoid", None):
        return xavier_uniform(shape, calculate_gain(activation or "linear"), dtype, rng)
    return kaiming_uniform(shape, nonlinearity="relu", dtype=dtype, rng=rng)
