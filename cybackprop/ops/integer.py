"""What elementwise rows of one argument mean for int64 and bool: made of the rows of two, which wrap as C has them."""

import math

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import binary_rows, unary_rows
from cybackprop.errors import DTypeError

_maximum, _minimum = binary_rows["maximum"], binary_rows["minimum"]


def _integers(x):
    return engine.raw_cast(x, np.int64) if x.dtype == np.bool_ else x


def neg(x):
    if x.dtype == np.bool_:
        raise DTypeError("neg is not defined for bool tensors; use ~ (logical_not), or astype('int64') first")
    return 0 - x


def absolute(x):
    return x if x.dtype == np.bool_ else _maximum(x, 0 - x)


def sign(x):
    x = _integers(x)
    return engine.raw_cast(x > 0, np.int64) - engine.raw_cast(x < 0, np.int64)


def clip(x, low, high):
    """x between two whole numbers, either of which may be infinite; what int64 can't hold bounds nothing."""
    x = _integers(x)
    for bound in (low, high):
        if math.isnan(bound) or (math.isfinite(bound) and (bound != math.floor(bound) or abs(bound) > 2 ** 53)):
            raise ValueError(f"clip: the bounds of an int64 tensor are whole numbers up to 2**53, not {bound}; use "
                             "maximum and minimum for larger ones")
    x = _maximum(x, int(low)) if low > -math.inf else x
    return _minimum(x, int(high)) if high < math.inf else x


for _name, _rule in {"neg": neg, "abs": absolute, "square": lambda x: x * x, "sign": sign, "clip": clip,
                     "floor": lambda x: x}.items():
    unary_rows[_name].integers = _rule
