"""What a function can name and nothing can compare: it is named, and there is no program."""

import itertools
import queue
import threading

import numpy as np
import pytest
from samples import same_bits

import cybackprop as cb

X = cb.tensor([1.0, -2.0, 3.0])

LIST, DICT, ARRAY = list(range(70_000)), dict.fromkeys(range(70_000)), np.ones(20_000)
QUEUE, ENDLESS = queue.SimpleQueue(), itertools.repeat(2.0)


def generating():
    while True:
        yield 2.0


GENERATOR, MAPPED, OBJECTS = generating(), map(float, itertools.repeat(2)), np.array([2.0, None], dtype=object)


class Local(threading.local):
    k = 2.0


LOCAL = Local()
OBSTACLES = {                            # (function, what is said of it)
    "an iterator": (lambda x: x * next(ENDLESS), "`ENDLESS` is an iterator, which moves on when it is read"),
    "a generator": (lambda x: x * next(GENERATOR), "`GENERATOR` is an iterator"),
    "a map": (lambda x: x * next(MAPPED), "`MAPPED` is an iterator"),
    "an iterator's method": (lambda x, draw=ENDLESS.__next__: x * draw(), "is an iterator"),
    "an iterator in a default": (lambda x, it=ENDLESS: x * next(it), "`a default of f` is an iterator"),
    "an opaque object": (lambda x: x * (2 if QUEUE.empty() else 3),
                         "`QUEUE` is a SimpleQueue, whose state can't be compared"),
    "a local with code": (lambda x: x * LOCAL.k, "`LOCAL` is of a subclass of threading.local"),
    "a large list": (lambda x: x * len(LIST), "70000 elements, and a program compares 65536"),
    "a large dict": (lambda x: x * len(DICT), "70000 elements"),
    "a large array": (lambda x: x * float(ARRAY.sum()), "160000 bytes, too large to be compared"),
    "an array of objects": (lambda x: x * OBJECTS[0], "`OBJECTS` is an array of Python objects"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacles_are_named(name):
    f, what = OBSTACLES[name]
    count = cb.State(0.0)

    def counted(x):
        count.assign(count + 1)
        return f(x)

    compiled = cb.compile(counted)
    with pytest.warns(RuntimeWarning) as caught:
        for n in range(1, 4):
            assert same_bits(compiled(X), f(X)) and count.item() == n
    assert len(caught) == 1 and what in str(caught[0].message) and caught[0].filename == __file__
    assert compiled.programs == []
    with pytest.raises(cb.TapeError) as error:
        cb.compile(counted, strict=True)(X)
    assert what in str(error.value) and count.item() == 3


def test_a_large_array_may_be_handed_to_an_operation_beside():
    a = np.ones(20_000)
    compiled = cb.compile(lambda x: cb.sum(cb.tensor(a, "float32")) * x)
    for k in (1.0, 1.0, 2.0):
        a[:] = k
        assert compiled(X)[0].item() == 20_000 * k
    assert len(compiled.programs) == 1
