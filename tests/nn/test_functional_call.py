"""functional_call: a model with other values in the place of its parameters."""

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn


def weight(*values):
    return cb.Parameter([float(v) for v in values])


def values(module):
    return {name: p.tolist() for name, p in module.named_parameters()}


class Scale(nn.Module):
    def __init__(self, *values):
        self.factor = weight(*(values or (2.0,)))

    def forward(self, x):
        return x * self.factor


class Tied(nn.Module):
    """One weight, twice."""

    def __init__(self):
        self.a = Scale(3.0)
        self.b = self.a
        self.tail = [self.a.factor, weight(5.0)]

    def forward(self, x):
        return self.b(self.a(x)) * self.tail[0] + self.tail[1]


class Pair(nn.Module):
    def __init__(self, kind):
        first, second = weight(1.0), weight(2.0)
        self.pair = {"first": first, "second": second} if kind is dict else kind([first, second])

    def forward(self, x):
        a, b = self.pair.values() if isinstance(self.pair, dict) else self.pair
        return x * a + b


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_functional_call_reaches_into_containers(kind):
    model, x = Pair(kind), cb.tensor([10.0])
    first, second = values(model)
    assert cb.functional_call(model, {first: cb.tensor([3.0])}, x).tolist() == [32.0]
    point = {first: cb.tensor([3.0]), second: cb.tensor([4.0])}
    grads = cb.grad(lambda p: cb.functional_call(model, p, x).sum())(point)
    assert {n: g.tolist() for n, g in grads.items()} == {first: [10.0], second: [1.0]}
    assert list(values(model).values()) == [[1.0], [2.0]] and all(p.grad is None for p in model.parameters())


def test_functional_call_on_shared_parameters():
    def call(p):
        return cb.functional_call(model, p, cb.tensor([2.0])).sum()

    model = Tied()                                 # w w x w + tail
    assert call({"a.factor": cb.tensor([2.0])}).item() == 2 * 2 * 2 * 2 + 5
    assert cb.grad(call)({"a.factor": cb.tensor([2.0])})["a.factor"].tolist() == [3 * 2 * 2 * 2]


def test_functional_call_takes_arrays_and_keyword_arguments():
    class Keyword(Scale):
        def forward(self, x, *, shift=0.0):
            return x * self.factor + shift

    out = cb.functional_call(Keyword(), {"factor": np.array([4.0])}, cb.tensor([1.0]), shift=1.0)
    assert out.tolist() == [5.0] and out.dtype == np.float32


def test_second_derivatives_through_functional_call():
    model = Scale(3.0)

    def loss(p):
        return (cb.functional_call(model, p, cb.tensor([2.0])) ** 3).sum()      # 8 w^3

    slope = cb.grad(lambda p: cb.grad(loss)(p)["factor"].sum())({"factor": cb.tensor([3.0])})
    assert slope["factor"].tolist() == [48 * 3.0]


def test_the_stand_ins_are_the_models_parameters_meanwhile():
    class Penalty(nn.Module):
        def __init__(self):
            self.inner = Scale(3.0)

        def forward(self):
            return sum((p * p).sum() for p in self.parameters())

    model = Penalty()
    point = {"inner.factor": cb.tensor([5.0])}
    assert cb.functional_call(model, point).item() == 25.0
    assert cb.grad(lambda p: cb.functional_call(model, p))(point)["inner.factor"].item() == 10.0


class Outer(nn.Module):
    """Calls its inner module with another value, then as it is."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return cb.functional_call(self.inner, {"factor": cb.tensor([7.0])}, x) + self.inner(x)


def test_nesting_from_outside():
    """An outer call that leaves the inner module alone."""
    outer = Outer(Scale(2.0))
    assert cb.functional_call(outer, {}, cb.ones(1)).tolist() == [9.0]


def test_nesting_on_the_same_parameter():
    outer = Outer(Scale(2.0))
    assert cb.functional_call(outer, {"inner.factor": cb.tensor([5.0])}, cb.ones(1)).tolist() == [12.0]
    assert values(outer) == {"inner.factor": [2.0]}


class Failing(Scale):
    def forward(self, x):
        assert self.factor.tolist() == [4.0]
        raise ZeroDivisionError


@pytest.mark.parametrize("params, error", [
    ({"factor": [4.0]}, ZeroDivisionError),
    ({"none": [4.0]}, KeyError),
    ({"factor": [4.0], "none": [4.0]}, KeyError),
    ({"factor": [4.0, 5.0]}, cb.ShapeError),
    ({"factor": ["text"]}, TypeError),
])
def test_a_failed_call_puts_everything_back(params, error):
    model = nn.Sequential(Failing(2.0))
    before, p = dict(vars(model.layers[0])), model.layers[0].factor
    with pytest.raises(error):
        cb.functional_call(model, {f"layers.0.{name}": value for name, value in params.items()}, cb.ones(1))
    assert vars(model.layers[0]) == before and model.layers[0].factor is p and p.tolist() == [2.0]
