"""Things whose inside the walk of an environment does not read: which are harmless, and what tells how the others are."""

import abc
import datetime
import decimal
import fractions
import logging
import pathlib
import re
import threading
import types
import uuid

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor

# What never changes, or changes nothing that a function computes.
HARMLESS = (
    types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.GenericAlias, types.UnionType, types.CellType, types.CodeType, re.Pattern,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal, fractions.Fraction, uuid.UUID,
    pathlib.PurePath, logging.Logger, type(threading.Lock()), type(threading.RLock()), np.ufunc, np.dtype, memoryview,
    engine.Recorder, Tensor, type(NotImplemented), type(vars(abc.ABC)["_abc_impl"]),
)


def is_harmless(kind):
    """Whether things of a type may be named without being compared."""
    return kind is object or issubclass(kind, HARMLESS) or kind.__module__.partition(".")[0] in ("typing", "cybackprop")


def numpy_state(x):
    """The state of one of NumPy's generators, as text."""
    if isinstance(x, np.random.RandomState):
        kind, key, *rest = x.get_state()
        return kind, key.tobytes(), *rest
    return repr(getattr(x, "bit_generator", x).state)
