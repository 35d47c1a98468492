"""What a compiled function returns is what it returns eagerly; there is no program of what can't be made anew."""

import collections
import enum
import itertools

import numpy as np
import pytest
from notes import secret

import cybackprop as cb

X = cb.tensor([1.0, 2.0, 3.0])
Pair = collections.namedtuple("Pair", "first second")
SCALE = 0.125


class Box:
    def __init__(self, content):
        self.content = content


class Named(dict):
    """A dict with an attribute."""


class Colour(enum.Enum):
    RED = 1


BOX = Box(1)


def twice(x):
    y = x * 2
    return y, x, [y, x]


def named(x):
    made = Named(b=x * 2)
    made.name = "it"
    return made


RETURNED = {
    "one tensor twice": twice,
    "dict": lambda x: {"b": x * 2, "a": x * 3},
    "OrderedDict": lambda x: collections.OrderedDict(b=x * 2, a=x * 3),
    "defaultdict": lambda x: collections.defaultdict(list, b=x * 2, a=x * 3),
    "dict with an attribute": named,
    "named tuple": lambda x: Pair(x * 2, 1),
    "set": lambda x: (x * 2, {1, 2}, frozenset({1})),
    "constants": lambda x: (x * 2, Colour.RED, x.dtype, slice(1), range(3), float, len, cb, None, ...),
    "what was there": lambda x: (x * 2, BOX, {"more": BOX}),
}


def shown(tree, seen):
    """A nest's types, keys and values, and which objects are one."""
    if isinstance(tree, (list, tuple, dict, set, frozenset)):
        parts = [shown(part, seen) for part in (tree.values() if isinstance(tree, dict) else tree)]
        return type(tree), list(tree) if isinstance(tree, dict) else None, parts, getattr(tree, "__dict__", None)
    if isinstance(tree, cb.Tensor):
        return seen.setdefault(id(tree), len(seen)), tree.numpy().tobytes()
    return tree


@pytest.mark.parametrize("name", RETURNED)
def test_results_are_those_of_the_function(name):
    f = RETURNED[name]
    compiled, expected = cb.compile(f), shown(f(X), {})
    for _ in range(4):
        assert shown(compiled(X), {}) == expected
    assert len(compiled.programs) == 1


def test_containers_are_new_in_each_call():
    compiled = cb.compile(lambda x: (x * 2, {1}, collections.OrderedDict(a=1)))
    for _ in range(4):
        _, numbers, names = compiled(X)
        assert numbers == {1} and names == {"a": 1}
        numbers.add(2)
        names["b"] = 2


def generator(x):
    yield x * 2


REFUSED = {
    "generator": generator,
    "iterator": lambda x: (x * 2, iter([1])),
    "object": lambda x: (x * 2, Box(1)),
    "object with a tensor": lambda x: Box(x * 2),
    "function": lambda x: (x * 2, lambda: x),
    "bytearray": lambda x: {"a": x, "b": [bytearray(b"1")]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_made_anew_makes_no_program(name):
    f = REFUSED[name]
    compiled, made = cb.compile(f), []
    with pytest.warns(RuntimeWarning, match="could not make anew|is kept outside") as caught:
        made += [compiled(X) for _ in range(3)]
    assert len(caught) == 1 and not compiled.programs
    assert [type(x) for x in made] == 3 * [type(f(X))] and len({id(x) for x in made}) == 3
    with pytest.raises(cb.TapeError, match="could not make anew|is kept outside"):
        cb.compile(f, strict=True)(X)


def test_an_audit_compares_what_is_no_tensor():
    count = secret(itertools.count(1).__next__)
    compiled = cb.compile(lambda x: (x * 2, {"n": count()}))
    assert compiled(X)[1] == {"n": 1}
    with pytest.warns(RuntimeWarning, match="it returned 2 where it had returned 1"):
        assert compiled(X)[1] == {"n": 2}
    assert compiled(X)[1] == {"n": 3} and compiled.programs == []


def test_keywords_in_any_order():
    compiled = cb.compile(lambda **tensors: {name: t * 2 for name, t in tensors.items()})
    a, b = X, X * 5
    for _ in range(3):
        assert [(k, t[0].item()) for k, t in compiled(a=a, b=b).items()] == [("a", 2.0), ("b", 10.0)]
        assert [(k, t[0].item()) for k, t in compiled(b=b, a=a).items()] == [("b", 10.0), ("a", 2.0)]


def test_arrays_as_keywords_go_to_their_parameters():
    compiled = cb.compile(lambda a, b, c=0: a + 10 * b + 100 * c)
    for order in itertools.permutations([("a", 1.0), ("b", 2.0), ("c", 3.0)]):
        arguments = {name: np.full(2, value, "float32") for name, value in order}
        for _ in range(3):               # recorded, audited, replayed
            assert compiled(**arguments).tolist() == [321.0, 321.0]
        with cb.eager():
            assert compiled(**arguments).tolist() == [321.0, 321.0]
    assert len(compiled.programs) == 1


def test_explain_lists_numbers_that_have_no_source(capsys):
    late = secret(lambda: 0.375)
    compiled = cb.compile(lambda x, k: cb.mean(x * late() * SCALE * 2.5 * k))
    compiled(X, 0.75)
    compiled.explain()
    listed = capsys.readouterr().out.split("constants, the same in every call:")[1].split("only while")[0]
    assert "0.375 in mul at" in listed
    assert not [x for x in (0.125, 2.5, 0.75) if str(x) in listed]
