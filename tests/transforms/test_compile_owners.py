"""Whom a compiled method belongs to: it keeps its object alive where nothing else does, and not otherwise."""

import gc
import weakref

import pytest

import cybackprop as cb
from cybackprop import nn

X = cb.tensor([[1.0, 2.0]])


class Agent:
    def __init__(self):
        self.net = nn.Dense(2, 1, rng=0)

    @cb.compile
    def step(self, x):
        return self.net(x)

    @cb.compile
    def value(self, x):
        return self.net(x).detach()


def test_a_method_of_an_object_that_nothing_else_holds():
    step = Agent().step
    wanted = Agent().net(X).tolist()
    assert [step(X).tolist() for _ in range(3)] == 3 * [wanted] and Agent().step(X).tolist() == wanted


@pytest.mark.parametrize("name", ["step", "value"])
def test_programs_die_with_their_object(name):
    dead = []
    for _ in range(3):
        agent = Agent()
        for _ in range(4):
            getattr(agent, name)(X)
        dead.append(weakref.ref(agent))
        del agent
    gc.collect()
    assert [ref() for ref in dead] == [None, None, None]
