"""Tables of what a compiled function depends on: each row makes a function, and its changes, anew."""

from samples import same_bits

import cybackprop as cb

X = cb.tensor([1.0, -2.0, 3.0])


class Plain:
    """An object of a user's."""

    def __init__(self, k=2.0):
        self.k = k


def tensor(k):
    """Three elements."""
    return cb.tensor([k, k, k])


class Table(dict):
    """name: (function, changes, how many programs there are afterwards; None: that is not what the row is about).

    `row` decorates a function that returns the first two or all three; by default each change is another program.
    """

    def row(self, make):
        f, changes, *programs = make()
        self[make.__name__.replace("_", " ")] = f, changes, programs[0] if programs else 1 + len(changes)


def check(f, changes, programs):
    """Call by call, and change by change, the compiled function has the bits of the plain one."""
    compiled = cb.compile(f)
    assert all(same_bits(compiled(X), f(X)) for _ in range(3)) and [p.calls for p in compiled.programs] == [3]
    for change in changes:
        change()
        assert all(same_bits(compiled(X), f(X)) for _ in range(3))
    assert programs is None or len(compiled.programs) == programs
