"""Twins of programs: what they need, and what they do not take."""

import numpy as np
import pytest

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.train.anatomy import Anatomy

X = cb.tensor([1.0, 2.0, 3.0])


def stepping(start, factor=2.0):
    """A function that moves a state by its gradient, and the state."""
    p = cb.Parameter(np.full(3, start, "float32"))

    def step(x):
        with cb.no_grad():
            g = p.grad
            p.assign(p - (x if g is None else g * factor))
            p.grad = p * x
        return (p * x).sum().detach()

    return cb.compile(step), p


def twins(first, second):
    a, b = Anatomy([first.function]), Anatomy([second.function])
    return engine.Twins(a.things, b.things, a.namespaces)


def recorded(start=1.0):
    step, p = stepping(start)
    p.grad = cb.ones(3)
    step(X)
    return step, p


def test_a_twin_does_to_its_own_what_the_first_did():
    (first, p), (second, q), (third, r) = recorded(), stepping(5.0), stepping(5.0)
    q.grad = r.grad = cb.tensor([1.0, 0.5, 2.0])
    before = p.tolist()
    twin = engine.program_twin(first.programs[0], twins(first, second))
    twin.calls = 2
    second.programs.append(twin)
    for _ in range(3):
        assert second(X).item() == third.function(X).item()
        assert q.tolist() == r.tolist() and q.grad.tolist() == r.grad.tolist()
    assert len(second.programs) == 1 and p.tolist() == before
    q.grad, p.grad = None, cb.ones(3)    # the gradient that counts is its own
    second(X)
    assert len(second.programs) == 2


def test_twins_outlive_the_first_and_have_twins():
    first, second, third = recorded()[0], recorded(2.0)[0], stepping(3.0)
    third[1].grad = cb.ones(3)
    twin = engine.program_twin(first.programs[0], twins(first, second))
    del first
    last = engine.program_twin(twin, twins(second, third[0]))
    del twin
    last.calls = 2
    third[0].programs.append(last)
    third[0](X)
    assert len(third[0].programs) == 1 and third[1].tolist() == [1.0, 1.0, 1.0]


def no_gradient():
    return recorded()[0], stepping(1.0)[0]


def another_number():
    first, (second, p) = recorded()[0], stepping(1.0, 3.0)
    p.grad = cb.ones(3)
    return first, second


def a_history():
    w = cb.Parameter([1.0])
    first = cb.compile(lambda x: (w * x).sum())
    first(X)
    return first, first


def two_results():
    first = cb.compile(lambda x: (x + 1, x + 2))
    first(X)
    return first, first


@pytest.mark.parametrize("make, says", [(no_gradient, "something else"), (another_number, "something else"),
                                        (a_history, "of this kind"), (two_results, "of this kind")])
def test_no_twin(make, says):
    first, second = make()
    with pytest.raises(LookupError, match=says):
        engine.program_twin(first.programs[0], twins(first, second))


@pytest.mark.parametrize("other, says", [(None, "a state has no twin|a Parameter has no twin"),
                                         (cb.Parameter(np.ones(4, "float32")), "another shape"),
                                         (cb.Parameter(np.ones(3)), "another shape or dtype")])
def test_states_that_are_none(other, says):
    (first, p), names = recorded(), Anatomy([recorded()[0].function])
    cells = list(first.function.__closure__)
    mine, others = (cells, cells) if other is None else ([*cells, p], [*cells, other])
    with pytest.raises(LookupError, match=says):
        engine.program_twin(first.programs[0], engine.Twins(mine, others, names.namespaces))


def test_places_that_may_be_the_firsts_alone():
    first, p = recorded()
    with pytest.raises(LookupError, match="who else has"):
        engine.program_twin(first.programs[0], engine.Twins([p], [cb.Parameter(np.ones(3, "float32"))], set()))


def test_two_states_are_not_one():
    p, q = cb.State(1.0), cb.State(2.0)
    for mine, others in (([p, q], [p, p]), ([p, p], [p, q])):
        with pytest.raises(LookupError, match="two states are one"):
            engine.Twins(mine, others, set())
