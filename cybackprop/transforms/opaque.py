"""Things whose inside the walk of an environment does not read: which are harmless, what tells how others are."""

import abc
import collections
import datetime
import decimal
import fractions
import logging
import pathlib
import re
import threading
import types
import uuid
import zlib

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor
from cybackprop.transforms import codes

# What never changes, or changes nothing that a function computes.
HARMLESS = (
    types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.GenericAlias, types.UnionType, types.CellType,
    types.CodeType, re.Pattern,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal, fractions.Fraction, uuid.UUID,
    pathlib.PurePath, logging.Logger, type(threading.Lock()), type(threading.RLock()), np.dtype,
    type(collections.namedtuple("Pair", "first").first), engine.Recorder, Tensor, type(NotImplemented),
    type(vars(abc.ABC)["_abc_impl"]),
)


def is_harmless(x):
    """Whether a thing may be named without being compared."""
    if type(x) is np.ufunc:          # of `np.frompyfunc`: it runs a function of the user's
        return not x.__name__.endswith(" (vectorized)")
    package = type(x).__module__.partition(".")[0]
    return (type(x) is object or issubclass(type(x), HARMLESS) or package == "typing"
            or (package == "cybackprop" and not codes.is_plain(type(x))))


def is_of_state(x):
    """Whether a thing is NumPy's view of a State, which may change with it."""
    while isinstance(x, np.ndarray):
        x = x.base
    return isinstance(x, memoryview) and isinstance(x.obj, engine.State)


def array_digest(x):
    """What tells whether an array that is too large to be copied has changed."""
    return zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8))


def buffer_state(x):
    """What is in the memory that a memoryview, bytearray or array shows."""
    with memoryview(x) as view:
        return view.tobytes()


def numpy_state(x):
    """The state of one of NumPy's generators, as text."""
    if isinstance(x, np.random.RandomState):
        kind, key, *rest = x.get_state()
        return kind, key.tobytes(), *rest
    return repr(getattr(x, "bit_generator", x).state)
