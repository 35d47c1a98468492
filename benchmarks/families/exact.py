"""What elementwise functions are, in long double, from their definitions: the oracle of the accuracy columns.

A slope is a function of what the row keeps: its input or its output.  p holds the row's scalars, rounded to its dtype.
Sampled and quick, good to a hundredth of a float64 ulp where long double has 64 bits.
"""

import numpy as np
from native import library

L = np.longdouble
PI = 4 * np.arctan(L(1))
EXTENDED = np.finfo(L).nmant >= 63
SCALE, SCALE_ALPHA = L("1.0507009873554804934193349852946"), L("1.7580993408473768599402175208123")
exp, where = np.exp, np.where


def compiled(f):
    def call(x):
        x = np.ascontiguousarray(x, L)
        y = np.empty_like(x)
        f(x.size, x.ctypes.data, y.ctypes.data)
        return y
    return call


erf, erfc = compiled(library.exact_erf), compiled(library.exact_erfc)


def logistic(x):
    return 1 / (1 + exp(-x))


def Phi(x):
    return erfc(-x / np.sqrt(L(2))) / 2


def phi(x):
    return exp(-x * x / 2) / np.sqrt(2 * PI)


def gate(x):                             # tanh(softplus(x))
    w = exp(np.minimum(x, 50))
    return where(x > 50, 1, w * (w + 2) / (w * (w + 2) + 2))


def ungate(x):                           # 1 - gate
    w = exp(np.minimum(x, 50))
    return where(x > 50, 0, 2 / (w * (w + 2) + 2))


def mish_slope(x, p):
    return gate(x) + x * logistic(x) * ungate(x) * (1 + gate(x))


def inner(x):                            # gelu_tanh is x logistic(inner)
    return np.sqrt(8 / PI) * (x + L("0.044715") * x**3)


def gelu_tanh_slope(x, p):
    return logistic(inner(x)) * (1 + x * logistic(-inner(x)) * np.sqrt(8 / PI) * (1 + 3 * L("0.044715") * x**2))


# fmt: off
# row: (f(x, p), slope(kept, p))
UNARY = {
    "neg":          (lambda x, p: -x,                      lambda x, p: -np.ones_like(x)),
    "abs":          (lambda x, p: abs(x),                  lambda x, p: np.sign(x)),
    "exp":          (lambda x, p: exp(x),                  lambda y, p: y),
    "expm1":        (lambda x, p: np.expm1(x),             lambda x, p: exp(x)),
    "log":          (lambda x, p: np.log(x),               lambda x, p: 1 / x),
    "log1p":        (lambda x, p: np.log1p(x),             lambda x, p: 1 / (1 + x)),
    "sqrt":         (lambda x, p: np.sqrt(x),              lambda y, p: 1 / (2 * y)),
    "rsqrt":        (lambda x, p: 1 / np.sqrt(x),          lambda y, p: -y**3 / 2),
    "square":       (lambda x, p: x * x,                   lambda x, p: 2 * x),
    "reciprocal":   (lambda x, p: 1 / x,                   lambda y, p: -y * y),
    "sin":          (lambda x, p: np.sin(x),               lambda x, p: np.cos(x)),
    "cos":          (lambda x, p: np.cos(x),               lambda x, p: -np.sin(x)),
    "tanh":         (lambda x, p: np.tanh(x),              lambda y, p: (1 - y) * (1 + y)),
    "sigmoid":      (lambda x, p: logistic(x),             lambda y, p: y * (1 - y)),
    "relu":         (lambda x, p: np.maximum(x, 0),        lambda y, p: L(1) * (y > 0)),
    "leaky_relu":   (lambda x, p: where(x > 0, x, p[0] * x),
                     lambda x, p: where(x > 0, 1, p[0])),
    "elu":          (lambda x, p: where(x > 0, x, p[0] * np.expm1(np.minimum(x, 0))),
                     lambda x, p: where(x > 0, 1, p[0] * exp(np.minimum(x, 0)))),
    "selu":         (lambda x, p: where(x > 0, SCALE * x, SCALE_ALPHA * np.expm1(np.minimum(x, 0))),
                     lambda x, p: where(x > 0, SCALE, SCALE_ALPHA * exp(np.minimum(x, 0)))),
    "celu":         (lambda x, p: where(x > 0, x, p[0] * np.expm1(np.minimum(x, 0) / p[0])),
                     lambda x, p: where(x > 0, 1, exp(np.minimum(x, 0) / p[0]))),
    "gelu":         (lambda x, p: x * Phi(x),              lambda x, p: Phi(x) + x * phi(x)),
    "gelu_tanh":    (lambda x, p: x * logistic(inner(x)),  gelu_tanh_slope),
    "silu":         (lambda x, p: x * logistic(x),         lambda x, p: logistic(x) * (1 + x * logistic(-x))),
    "mish":         (lambda x, p: x * gate(x),             mish_slope),
    "softplus":     (lambda x, p: np.logaddexp(0, x),      lambda x, p: logistic(x)),
    "softsign":     (lambda x, p: x / (1 + abs(x)),        lambda x, p: 1 / (1 + abs(x))**2),
    "hard_sigmoid": (lambda x, p: np.clip((x + 3) / 6, 0, 1),
                     lambda x, p: where(abs(x) >= 3, 0, 1 / L(6))),
    "hard_tanh":    (lambda x, p: np.clip(x, *p),          lambda x, p: L(1) * ((x > p[0]) & (x < p[1]))),
    "clip":         (lambda x, p: np.clip(x, *p),          lambda x, p: np.ones_like(x)),
    "erf":          (lambda x, p: erf(x),                  lambda x, p: 2 / np.sqrt(PI) * exp(-x * x)),
    "floor":        (lambda x, p: np.floor(x),             lambda x, p: np.zeros_like(x)),
    "sign":         (lambda x, p: np.sign(x),              lambda x, p: np.zeros_like(x)),
}
BINARY = {"pow": np.power, "atan2": np.arctan2}
CROSSING = ("gelu", "gelu_tanh", "silu", "mish")         # their slopes cross 0 between -2 and 0
# fmt: on


def slope(row, kept, dtype, p):
    """The slope at what is kept; NaN, which nothing is compared with, where long double cancels too much to judge."""
    wanted = UNARY[row][1](kept.astype(L), p)
    if row in CROSSING and dtype == "float64":
        wanted[(np.abs(wanted) < 0.02) & (np.abs(kept) < 2)] = np.nan
    return wanted


def worst_ulp(got, wanted, dtype):
    """The largest error in units of the last place, where the exact result is a normal number or 0."""
    info = np.finfo(dtype)
    known = (np.abs(wanted) <= info.max) & ((np.abs(wanted) >= info.tiny) | (wanted == 0))
    got, wanted = got[known].astype(L), wanted[known]
    _, exponent = np.frexp(wanted)
    ulp = np.ldexp(L(1), np.maximum(exponent - info.nmant - 1, info.minexp - info.nmant))
    error = np.abs(got - wanted) / ulp
    return float(np.where(np.isnan(error), np.inf, error).max(initial=0))
