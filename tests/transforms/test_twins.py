"""Twins of programs: what they need, and what they do not take."""

import numpy as np
import pytest

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.train.anatomy import Anatomy
from cybackprop.transforms.recorded import Surroundings

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
    return engine.Twins(Anatomy([first.function]).things, Anatomy([second.function]).things)


def twin_of(program, twins, second):
    """A twin for another function, whose environment is walked for it."""
    around = Surroundings(second.function, [X])
    return engine.program_twin(program, twins, around.places, around.facts)


def recorded(start=1.0):
    step, p = stepping(start)
    p.grad = cb.ones(3)
    step(X)
    return step, p


def test_a_twin_does_to_its_own_what_the_first_did():
    (first, p), (second, q), (third, r) = recorded(), stepping(5.0), stepping(5.0)
    q.grad = r.grad = cb.tensor([1.0, 0.5, 2.0])
    before = p.tolist()
    twin = twin_of(first.programs[0], twins(first, second), second)
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
    twin = twin_of(first.programs[0], twins(first, second), second)
    del first
    last = twin_of(twin, twins(second, third[0]), third[0])
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
        twin_of(first.programs[0], twins(first, second), second)


@pytest.mark.parametrize("other, says", [(None, "a state has no twin|a Parameter has no twin"),
                                         (cb.Parameter(np.ones(4, "float32")), "another shape"),
                                         (cb.Parameter(np.ones(3)), "another shape or dtype")])
def test_states_that_are_none(other, says):
    first, p = recorded()
    cells = list(first.function.__closure__)
    mine, others = (cells, cells) if other is None else ([*cells, p], [*cells, other])
    with pytest.raises(LookupError, match=says):
        twin_of(first.programs[0], engine.Twins(mine, others), first)


def test_places_that_lead_elsewhere():
    """Twins are what the twin's own function leads to, not what somebody says."""
    (first, p), (second, q), (third, _) = recorded(), stepping(2.0), stepping(3.0)
    q.grad = cb.ones(3)
    with pytest.raises(LookupError, match="something else"):
        twin_of(first.programs[0], twins(first, third), second)
    with pytest.raises(LookupError, match="something else"):
        twin_of(first.programs[0], engine.Twins([p], [cb.Parameter(np.ones(3, "float32"))]), second)
    assert twin_of(first.programs[0], twins(first, second), second) is not None


def other_code():
    p = cb.Parameter(np.full(3, 1.0, "float32"))

    def step(x):
        return (p * x).sum().detach()

    return cb.compile(step), p


def test_places_of_another_function():
    """More of them, fewer, or under other names."""
    (first, p), (second, q) = recorded(), other_code()
    around = Surroundings(second.function, [X])
    with pytest.raises(LookupError, match="something else|other things"):
        engine.program_twin(first.programs[0], engine.Twins([p], [q]), around.places, around.facts)


def test_audits_of_a_twin_find_it_right():
    (first, _), (second, q), (third, r) = recorded(), stepping(5.0), stepping(5.0)
    q.grad = r.grad = cb.ones(3)
    second.programs.append(twin_of(first.programs[0], twins(first, second), second))
    for _ in range(9):                   # audits at calls 2, 4 and 8
        assert second(X).item() == third.function(X).item() and q.tolist() == r.tolist()
    assert len(second.programs) == 1 and second.programs[0].calls == 9


def test_two_states_are_not_one():
    p, q = cb.State(1.0), cb.State(2.0)
    for mine, others in (([p, q], [p, p]), ([p, p], [p, q])):
        with pytest.raises(LookupError, match="two states are one"):
            engine.Twins(mine, others)
