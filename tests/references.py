"""Oracles of the elementwise rows: one line a row, written from the definition of the function, never from the row.

A value is computed by mpmath in hundreds of bits, so slopes and curvatures are differences of it (`differences`).
Nothing here imports cybackprop; tests/test_tables.py sees to that.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable

import mpmath
import numpy as np

INF, NAN = math.inf, math.nan
VALUE_BITS, SLOPE_BITS, STEP = 240, 900, mpmath.mpf(2) ** -200


@dataclasses.dataclass(frozen=True)
class Unary:
    """f in mpmath; its IEEE values at -0, +0, -inf, +inf; parameters besides the defaults to test with."""

    f: Callable
    at: tuple
    params: tuple = ()


@dataclasses.dataclass(frozen=True)
class Binary:
    """f in mpmath; NumPy's function of the same name, which says what happens at zeros, infinities and NaN."""

    f: Callable
    numpy: Callable


def phi(x):
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


def Phi(x):
    if abs(x) > 2 ** 40:                 # erfc gives up; exp(-2^79) is 0 in every format
        return mpmath.mpf(x > 0)
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def logistic(x):
    return 1 / (1 + mpmath.exp(-x))


def gate(x):                             # tanh(softplus(x)), without 1 - small
    w = mpmath.exp(x)
    return w * (w + 2) / (w * (w + 2) + 2)


def inner(x):                            # gelu_tanh: (1 + tanh u) / 2 = logistic(2 u)
    return mpmath.sqrt(8 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x ** 3)


def inner_slope(x):
    return mpmath.sqrt(8 / mpmath.pi) * (1 + 3 * mpmath.mpf("0.044715") * x ** 2)


def bend(x, below):
    return below(x) if x < 0 else x


with mpmath.workprec(VALUE_BITS):        # Klambauer et al. (2017), Self-normalizing neural networks, to 32 digits
    SELU_SCALE = mpmath.mpf("1.0507009873554804934193349852946")
    SELU_ALPHA = mpmath.mpf("1.6732632423543772848170429916717")

# fmt: off
UNARY = {
    "neg":           Unary(operator.neg, (0.0, -0.0, INF, -INF)),
    "abs":           Unary(abs, (0.0, 0.0, INF, INF)),
    "exp":           Unary(mpmath.exp, (1, 1, 0.0, INF)),
    "expm1":         Unary(mpmath.expm1, (-0.0, 0.0, -1, INF)),
    "log":           Unary(mpmath.log, (-INF, -INF, NAN, INF)),
    "log1p":         Unary(mpmath.log1p, (-0.0, 0.0, NAN, INF)),
    "sqrt":          Unary(mpmath.sqrt, (-0.0, 0.0, NAN, INF)),
    "rsqrt":         Unary(lambda x: 1 / mpmath.sqrt(x), (-INF, INF, NAN, 0.0)),
    "square":        Unary(lambda x: x ** 2, (0.0, 0.0, INF, INF)),
    "reciprocal":    Unary(lambda x: 1 / x, (-INF, INF, -0.0, 0.0)),
    "sin":           Unary(mpmath.sin, (-0.0, 0.0, NAN, NAN)),
    "cos":           Unary(mpmath.cos, (1, 1, NAN, NAN)),
    "tanh":          Unary(mpmath.tanh, (-0.0, 0.0, -1, 1)),
    "sigmoid":       Unary(logistic, (0.5, 0.5, 0.0, 1)),
    "relu":          Unary(lambda x: max(x, 0), (0.0, 0.0, 0.0, INF)),
    "leaky_relu":    Unary(lambda x, slope: bend(x, lambda x: slope * x), (-0.0, 0.0, -INF, INF), ((0.25,),)),
    "elu":           Unary(lambda x, a: bend(x, lambda x: a * mpmath.expm1(x)), (-0.0, 0.0, -1, INF), ((1.75,),)),
    "selu":          Unary(lambda x: SELU_SCALE * bend(x, lambda x: SELU_ALPHA * mpmath.expm1(x)),
                           (-0.0, 0.0, -1.7580993408473766, INF)),
    "celu":          Unary(lambda x, a: bend(x, lambda x: a * mpmath.expm1(x / a)), (-0.0, 0.0, -1, INF), ((0.5,),)),
    "gelu":          Unary(lambda x: x * Phi(x), (-0.0, 0.0, -0.0, INF)),
    "gelu_tanh":     Unary(lambda x: x * logistic(inner(x)), (-0.0, 0.0, -0.0, INF)),
    "silu":          Unary(lambda x: x * logistic(x), (-0.0, 0.0, -0.0, INF)),
    "mish":          Unary(lambda x: x * gate(x), (-0.0, 0.0, -0.0, INF)),
    "softplus":      Unary(lambda x: mpmath.log1p(mpmath.exp(x)), (0.6931471805599453, 0.6931471805599453, 0.0, INF)),
    "softsign":      Unary(lambda x: x / (1 + abs(x)), (-0.0, 0.0, -1, 1)),
    "hard_sigmoid":  Unary(lambda x: min(max(x / 6 + mpmath.mpf(1) / 2, 0), 1), (0.5, 0.5, 0.0, 1)),
    "hard_tanh":     Unary(lambda x, low, high: min(max(x, low), high), (-0.0, 0.0, -1, 1), ((-0.5, 1.5),)),
    "clip":          Unary(lambda x, low, high: min(max(x, low), high), (-0.0, 0.0, -INF, INF),
                           ((-0.75, 0.5), (-INF, 1.0))),
    "erf":           Unary(mpmath.erf, (-0.0, 0.0, -1, 1)),
    "floor":         Unary(mpmath.floor, (-0.0, 0.0, -INF, INF)),
    "sign":          Unary(mpmath.sign, (0.0, 0.0, -1, 1)),
    # the slopes that are rows
    "normal_pdf":    Unary(phi, (0.3989422804014327, 0.3989422804014327, 0.0, 0.0)),
    "gelu_slope":    Unary(lambda x: Phi(x) + x * phi(x), (0.5, 0.5, -0.0, 1)),
    "tanh_slope":    Unary(lambda x: mpmath.sech(x) ** 2, (1, 1, 0.0, 0.0)),
    "sigmoid_slope": Unary(lambda x: logistic(x) * logistic(-x), (0.25, 0.25, 0.0, 0.0)),
    "silu_slope":    Unary(lambda x: logistic(x) + x * logistic(x) * logistic(-x), (0.5, 0.5, -0.0, 1)),
    "mish_slope":    Unary(lambda x: gate(x) + x * logistic(x) * (1 - gate(x) ** 2), (0.6, 0.6, -0.0, 1)),
    "gelu_tanh_slope": Unary(lambda x: logistic(inner(x)) * (1 + x * logistic(-inner(x)) * inner_slope(x)),
                             (0.5, 0.5, -0.0, 1)),
}

def divmod_of(a, b):
    """floor(a / b) and what it leaves, with as many digits as they have."""
    with mpmath.workprec(5000):
        q = mpmath.floor(a / b)
        return q, a - b * q


BINARY = {
    "add":           Binary(operator.add, np.add),
    "sub":           Binary(operator.sub, np.subtract),
    "mul":           Binary(operator.mul, np.multiply),
    "div":           Binary(operator.truediv, np.divide),
    "pow":           Binary(mpmath.power, np.power),
    "maximum":       Binary(max, np.maximum),
    "minimum":       Binary(min, np.minimum),
    "atan2":         Binary(mpmath.atan2, np.arctan2),
    "floor_divide":  Binary(lambda a, b: divmod_of(a, b)[0], np.floor_divide),
    "remainder":     Binary(lambda a, b: divmod_of(a, b)[1], np.remainder),
    "strong_mul":    Binary(operator.mul, lambda a, b: np.where(a == 0, 0.0, a * b)),
    "zero_mul":      Binary(operator.mul, lambda a, b: np.where((a == 0) | (b == 0), 0.0, a * b)),
    "equal":         Binary(operator.eq, np.equal),
    "not_equal":     Binary(operator.ne, np.not_equal),
    "less":          Binary(operator.lt, np.less),
    "less_equal":    Binary(operator.le, np.less_equal),
    "greater":       Binary(operator.gt, np.greater),
    "greater_equal": Binary(operator.ge, np.greater_equal),
}
# fmt: on


def real(f, *args):
    """f as an mpf; None where it has no real value."""
    try:
        y = f(*args)
    except (ZeroDivisionError, ValueError):
        return None
    return None if isinstance(y, mpmath.mpc) else mpmath.mpf(y)


def exact(f, *arrays, p=()):
    """f elementwise as two float64 arrays whose sum holds more than 100 bits; NaN where f has no real value."""
    high, low = np.empty(arrays[0].size), np.zeros(arrays[0].size)
    with mpmath.workprec(VALUE_BITS):
        for i, args in enumerate(zip(*(a.tolist() for a in arrays), strict=True)):
            y = real(f, *map(mpmath.mpf, args), *p)
            high[i] = NAN if y is None else float(y)
            if math.isfinite(high[i]):
                low[i] = float(y - mpmath.mpf(high[i]))
    return high, low


def differences(f, *args, side=0):
    """(left slope, right slope, curvature) of f in argument `side`, by differences with a step of 2^-200."""
    with mpmath.workprec(SLOPE_BITS):
        args = [mpmath.mpf(a) for a in args]
        steps = [args[:side] + [args[side] + h] + args[side + 1:] for h in (-STEP, 0, STEP)]
        left, middle, right = (mpmath.mpf(f(*a)) for a in steps)
        return (float((middle - left) / STEP), float((right - middle) / STEP),
                float((left - 2 * middle + right) / STEP ** 2))


@functools.cache
def slopes(name, points, p=()):
    """`differences` of a unary row at a tuple of points, as an array (point, 3)."""
    return np.array([differences(UNARY[name].f, x, *p) for x in points]).reshape(-1, 3)
