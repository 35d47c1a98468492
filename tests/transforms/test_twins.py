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


def things(compiled):
    return Anatomy([compiled.function]).things


def twin_of(program, first, second, mine=None, others=None):
    """What is recorded of the first function, for the second."""
    around = Surroundings(second.function, [X])
    mine, others = (things(first), things(second)) if mine is None else (mine, others)
    return engine.program_twin(program, engine.Twins(mine, others), around.places, around.facts)


def recorded(start=1.0):
    step, p = stepping(start)
    p.grad = cb.ones(3)
    step(X)
    return step, p


def test_a_twin_does_to_its_own_what_the_first_did():
    (first, p), (second, q), (third, r) = recorded(), stepping(5.0), stepping(5.0)
    q.grad = r.grad = cb.tensor([1.0, 0.5, 2.0])
    before = p.tolist()
    twin = twin_of(first.programs[0], first, second)
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
    twin = twin_of(first.programs[0], first, second)
    del first
    last = twin_of(twin, second, third[0])
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
        twin_of(first.programs[0], first, second)


@pytest.mark.parametrize("other, says", [(None, "p is something else"),
                                         (cb.Parameter(np.ones(4, "float32")), "another shape"),
                                         (cb.Parameter(np.ones(3)), "another shape or dtype")])
def test_states_that_are_none(other, says):
    (first, p), (second, q) = recorded(), stepping(1.0)
    cells = [list(f.function.__closure__) for f in (first, second)]
    mine, others = cells if other is None else ([*cells[0], p], [*cells[1], other])
    cell = next(cell for cell in cells[1] if cell.cell_contents is q)
    cell.cell_contents = q if other is None else other
    with pytest.raises(LookupError, match=says):
        twin_of(first.programs[0], first, second, mine, others)


def test_places_lead_to_twins_or_there_is_none():
    """What a place of the first has is what the same place of the other has, and no third thing."""
    (first, p), (second, _) = recorded(), stepping(1.0)
    with pytest.raises(LookupError, match="p is something else"):
        twin_of(first.programs[0], first, second, [p], [cb.Parameter(np.ones(3, "float32"))])


def test_two_states_are_not_one():
    p, q = cb.State(1.0), cb.State(2.0)
    for mine, others in (([p, q], [p, p]), ([p, p], [p, q])):
        with pytest.raises(LookupError, match="two states are one"):
            engine.Twins(mine, others)
