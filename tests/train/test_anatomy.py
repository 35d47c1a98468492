"""Anatomies: which two networks may have each other's programs."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop.train import anatomy
from cybackprop.train.anatomy import Anatomy

SHARED, BIG = SimpleNamespace(a=1), np.zeros(5000)


def closure(*held):
    return lambda: held


def cell(value):
    return lambda: value


def dense(**options):
    return nn.Dense(3, 2, rng=0, **options)


def frozen():
    layer = dense()
    layer.weight.requires_grad = False
    return layer


def twice(a, b, again):
    return [a, b, a if again else b]


class Slotted:
    __slots__ = ("a",)


class Step:
    def __init__(self, x):
        self.x = x

    def run(self):
        return self.x


def optimizer(make=optim.Adam, **options):
    layer = dense()
    return [layer, make(layer.parameters(), **options)]


SAME = {
    "layers": (dense, dense), "weights": (lambda: nn.Dense(3, 2, rng=0), lambda: nn.Dense(3, 2, rng=1)),
    "closures": (lambda: cell(dense()), lambda: cell(dense())), "methods": (lambda: Step(1).run, lambda: Step(1).run),
    "rates": (lambda: optimizer(lr=0.1), lambda: optimizer(lr=0.2)),
    "betas": (lambda: optimizer(betas=(0.1, 0.2)), lambda: optimizer(betas=(0.2, 0.3))),
    "generators": (lambda: nn.Dropout(0.5, rng=1), lambda: nn.Dropout(0.5, rng=2)),
    "partials": (lambda: functools.partial(sum, start=1), lambda: functools.partial(sum, start=1)),
    "equal arrays": (lambda: np.arange(3), lambda: np.arange(3)), "one array": (lambda: BIG, lambda: BIG),
    "NaN": (lambda: [float("nan")], lambda: [float("nan")]), "one object": (lambda: SHARED, lambda: SHARED),
    "equal tensors": (lambda: cb.tensor([1.0]), lambda: cb.tensor([1.0])),
}
OTHER = {
    "numbers": (lambda: [1], lambda: [2]), "types of numbers": (lambda: [1], lambda: [1.0]),
    "True and 1": (lambda: [True], lambda: [1]), "signs of zero": (lambda: [0.0], lambda: [-0.0]),
    "NumPy's numbers": (lambda: [np.float32(1)], lambda: [np.float32(2)]), "complex": (lambda: [1j], lambda: [2j]),
    "lengths": (lambda: [[1], 2], lambda: [[1, 2]]), "lists and tuples": (lambda: [1], lambda: (1,)),
    "keys": (lambda: {"a": 1}, lambda: {"b": 1}), "keys that are numbers": (lambda: {1: 1}, lambda: {1.0: 1}),
    "order of keys": (lambda: {"a": 1, "b": 1}, lambda: {"b": 1, "a": 1}),
    "shapes": (dense, lambda: nn.Dense(3, 3)), "dtypes": (dense, lambda: dense(dtype="float64")),
    "activations": (dense, lambda: dense(activation="relu")), "frozen": (dense, frozen),
    "no bias": (dense, lambda: dense(bias=False)), "training": (dense, lambda: dense().eval()),
    "what is shared": (lambda: twice(dense(), dense(), True), lambda: twice(dense(), dense(), False)),
    "moments": (lambda: optimizer(optim.SGD, lr=1.0, momentum=0.9), lambda: optimizer(optim.SGD, lr=1.0)),
    "what decays": (lambda: optimizer(decay_bias=True), lambda: optimizer(decay_bias=False)),
    "rules": (lambda: optimizer(optim.Adam), lambda: optimizer(optim.AdamW)),
    "closures": (lambda: closure(1, 2), lambda: closure(1, 3)), "cells": (lambda: cell(1), lambda: cell(2)),
    "code": (lambda: cell(1), lambda: lambda: 1), "partials": (lambda: functools.partial(sum, start=1),
                                                              lambda: functools.partial(sum, start=2)),
    "methods": (lambda: Step(1).run, lambda: Step(2).run), "arrays": (lambda: np.arange(3), lambda: np.arange(1, 4)),
    "copies of a large array": (lambda: BIG, BIG.copy), "tensors": (lambda: cb.tensor([1.0]), lambda: cb.tensor([2.0])),
    "objects that can't be looked into": (Slotted, Slotted), "sets": (lambda: {1}, lambda: {1}),
    "gradients": (dense, lambda: _swept(dense())), "classes": (lambda: int, lambda: float),
    "defaults": (lambda: _with_default(1), lambda: _with_default(2)),
}
FOREIGN = {"layers": (dense, False), "a function": (lambda: cell(1), True), "an object": (lambda: Step(1), True),
           "an optimizer": (optimizer, False), "a loss": (lambda: nn.cross_entropy, False),
           "what can't be looked into": (Slotted, True), "a class of others": (lambda: Step, True),
           "NumPy's": (lambda: [np.float32, np.dtype("float32"), np.add], False)}


def _swept(layer):
    layer(cb.ones((1, 3))).sum().backward()
    return layer


def _with_default(n):
    def f(x=n):
        return x

    return f


@pytest.mark.parametrize("name", SAME)
def test_alike(name):
    a, b = (make() for make in SAME[name])
    assert Anatomy([a]).kind == Anatomy([b]).kind and len(Anatomy([a]).things) == len(Anatomy([b]).things)
    assert list(map(type, Anatomy([a]).things)) == list(map(type, Anatomy([b]).things))


@pytest.mark.parametrize("name", OTHER)
def test_not_alike(name):
    a, b = (make() for make in OTHER[name])
    assert Anatomy([a]).kind != Anatomy([b]).kind


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign(name):
    make, foreign = FOREIGN[name]
    assert Anatomy([made := make()]).foreign == foreign, made


def test_loops_end_and_too_much_is_refused(monkeypatch):
    loop = []
    loop.append(loop)
    assert Anatomy([loop]).things == [loop]
    monkeypatch.setattr(anatomy, "MOST_FACTS", 100)
    with pytest.raises(LookupError):
        Anatomy([[list(range(60)), list(range(60))]])
