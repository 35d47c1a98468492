"""Long programs: recording, building and auditing take time in proportion to the number of operations."""

import time

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim


def chain(n):
    """Elementwise operations one after the other, and back."""
    w = cb.Parameter(np.linspace(-1, 1, 4).astype("float32"))

    def step(x):
        w.grad = None
        for _ in range(n):
            x = cb.tanh(x * w)
        cb.sum(x).backward()
        return w.grad

    return step, cb.ones(4)


def shared(n):
    """A layer that is used again and again."""
    layer = nn.Dense(4, 4, activation="tanh", rng=0)

    def step(x):
        layer.zero_grad()
        for _ in range(n):
            x = layer(x)
        cb.sum(x).backward()
        return layer.weight.grad

    return step, cb.ones((2, 4))


def parameters(n):
    """Many parameters."""
    model = nn.Sequential(*[nn.Dense(4, 4, rng=i) for i in range(n)])
    opt = optim.SGD(model.parameters(), lr=0.01)

    def step(x):
        opt.zero_grad()
        loss = cb.mean(model(x) ** 2)
        loss.backward()
        opt.step()
        return loss.detach()

    return step, cb.ones((2, 4))


def refusing(n):
    """Many parameters, and something that may refuse after they are written."""
    model = nn.Sequential(*[nn.Dense(5, 5, rng=i) for i in range(n)])
    opt = optim.SGD(model.parameters(), lr=0.01)

    def step(x):
        opt.zero_grad()
        cb.mean(model(x) ** 2).backward()
        opt.step()
        return cb.sum(cb.one_hot(cb.argmax(model(x), axis=1), 5))

    return step, cb.ones((2, 5))


@pytest.mark.parametrize("make, n", [(chain, 2500), (shared, 200), (parameters, 400), (refusing, 150)])
def test_four_times_the_operations_take_four_times_the_time(make, n):
    def seconds(n):
        step, x = make(n)
        compiled = cb.compile(step)
        start = time.perf_counter()
        for _ in range(2):
            compiled(x)                  # recorded, audited
        return time.perf_counter() - start

    seconds(n // 10)
    ratios = []
    while not ratios or (min(ratios) > 6 and len(ratios) < 5):           # squares would make 16 of it
        ratios.append(seconds(4 * n) / seconds(n))
    assert min(ratios) <= 6
