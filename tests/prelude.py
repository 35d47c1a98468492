"""What every random function of tests/functions.py finds in its module."""

import collections
import contextvars
import dataclasses
import functools
import operator  # noqa: F401
import random
import threading
import types
import weakref

import numpy as np

import cybackprop as cb
from cybackprop import nn

KEPT, COUNTER, LOG, CACHE = [], [0], [], {}
GEN, RNG, DICE = cb.Generator(1), np.random.default_rng(2), random.Random(3)
SUM, IDX, MASK = cb.State([1.0, 2.0, 3.0]), cb.tensor(np.array([2, 0, 1])), np.array([1, 0, 2])
WEIGHT = cb.Parameter([0.5, -1.0, 2.0])


def array(*numbers, dtype="float32"):
    return np.array(numbers, dtype)


def rows(n):
    return np.arange(3 * n, dtype="float32").reshape(n, 3) * 0.25 - 1


def identity(t=1.0):
    return t


class Base:
    k = 1.5

    def scale(self, t):
        return t * self.k

    def get(self):
        return self.a

    @property
    def prop(self):
        return self.a

    @staticmethod
    def fixed():
        return 1.5

    @classmethod
    def of_class(cls):
        return cls.k


class Obj(Base):
    def __init__(self, a):
        self.a = a

    def scale(self, t):
        return super().scale(t) + 1

    @functools.cached_property
    def cached(self):
        return self.a


class Other(Base):
    a = 9.0


class Slots(Base):
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = a


class Forward:
    def __init__(self, a):
        self.__dict__["inside"] = {"a": a}

    def __getattr__(self, name):
        try:
            return self.__dict__["inside"][name]
        except KeyError:
            raise AttributeError(name) from None


class Items(Obj):
    def __getitem__(self, i):
        return self.a

    def __len__(self):
        return 3

    def __iter__(self):
        return iter([self.a, 2.0])

    def __call__(self):
        return self.a


class Descriptor:
    def __get__(self, x, cls):
        return x.a


class Described(Obj):
    d = Descriptor()


class Sub(dict):
    def __missing__(self, key):
        return self.other


class Net(nn.Module):
    def __init__(self, a):
        self.a = a

    def forward(self, x):
        return x * self.a


Pair = collections.namedtuple("Pair", "first second")
Data = dataclasses.make_dataclass("Data", ["a"])
Frozen = dataclasses.make_dataclass("Frozen", ["a"], frozen=True)


def closure(a):
    return lambda: a


def attributed(a):
    def read():
        return read.a
    read.a = a
    return read


def variable(a):
    found = contextvars.ContextVar("found")
    found.set(a)
    return found


def local(a):
    found = threading.local()
    found.a = a
    return found


def module(a):
    found = types.ModuleType("found")
    found.a = a
    return found


def missing(a):
    found = Sub()
    found.other = a
    return found


def proxy(a):
    KEPT.append({"a": a})
    return types.MappingProxyType(KEPT[-1])


def weak(a):
    KEPT.append(Obj(a))
    return weakref.ref(KEPT[-1])


def cached(a):
    KEPT.append(Obj(a))
    return functools.lru_cache(KEPT[-1].get)

