"""What random functions (test_compile_hypothesis.py) have found: places whose change once was not seen."""

import collections

import pytest
from functions import Function
from holders import PRELUDE
from namespaces import difference

SETUP = "X0 = array(0.5, -1.5, 2)\nX1 = array(1, 2, 3, dtype='int64')\nRAW = f.function\n"
# name: (source of the function f, what changes between calls of f(X0))
CHANGES = {
    "another list of tensors": ("p0 = [cb.tensor([1.0, 2.0, 3.0])]\nf = cb.compile(lambda x: x * p0[0])",
                                "p0 = [cb.tensor([5.0, 5.0, 5.0])]"),
    "a tensor in a deque": ("p0 = collections.deque([cb.tensor(1.0)])\nf = cb.compile(lambda x: x * p0[0])",
                            "p0[0] = cb.tensor(2.0)"),
    "a tensor in a mapping proxy": ("p0 = proxy(cb.tensor(1.0))\nf = cb.compile(lambda x: x * p0['a'])",
                                    "KEPT[0]['a'] = cb.tensor(2.0)"),
    "a function that closes over itself": ("p0 = [attributed(2.0)]\nf = cb.compile(lambda x: x * p0[0]())",
                                           "p0[0] = attributed(3.0)"),
    "the attribute of a function": ("def made(a):\n    def read():\n        pass\n    read.a = a\n    return read\n"
                                    "p0 = [made(2.0)]\nf = cb.compile(lambda x: x * p0[0].a)", "p0[0] = made(3.0)"),
    "a dict that holds itself": ("def made(a):\n    found = {'a': a}\n    found['me'] = found\n    return found\n"
                                 "p0 = made(2.0)\nf = cb.compile(lambda x: x * p0['a'])", "p0 = made(3.0)"),
    "the types in a frozenset": ("p0 = frozenset([1])\ndef run(x):\n    for v in p0:\n"
                                 "        x = x * (2 if type(v) is int else 3)\n    return x\nf = cb.compile(run)",
                                 "p0 = frozenset([1.0])"),
    "the attributes of a dict": ("p0 = missing(2.0)\nf = cb.compile(lambda x: x * p0['a'])", "p0 = missing(3.0)"),
    "the factory of a defaultdict": ("p0 = [collections.defaultdict(lambda: 2.0)]\n"
                                     "f = cb.compile(lambda x: x * p0[0].default_factory())",
                                     "p0[0] = collections.defaultdict(lambda: 3.0)"),
    "the length of a deque": ("p0 = [collections.deque([1.0], 4)]\nf = cb.compile(lambda x: x * p0[0].maxlen)",
                              "p0[0] = collections.deque([1.0], 5)"),
    "the attributes of a namedtuple": ("class Named(Pair):\n    pass\np0 = Named(1.0, 2.0)\np0.a = 2.0\n"
                                       "f = cb.compile(lambda x: x * p0.a)", "p0 = Named(1.0, 2.0)\np0.a = 3.0"),
    "the class of self": ("SELF = Obj(2.0)\nf = cb.compile(SELF.scale)",
         "SELF.__class__ = Described\nDescribed.k = 4.0"),
    "a new attribute of a class": ("p0 = Obj(1.0)\nf = cb.compile(lambda x: x * getattr(p0, 'b', 1.5))",
                                   "Base.b = 3.0"),
    "an attribute of a partial": ("p0 = functools.partial(identity)\nf = cb.compile(lambda x: x * len(vars(p0)))",
                                  "p0.a = 1"),
    "a dead argument": ("p0 = Data(cb.State(2.0))\nf = cb.compile(lambda x, d=None: x if d.a is None else x * d.a)",
                        "p0 = Data(None)"),
    "a dead reference": ("p0 = weak(2.0)\nf = cb.compile(lambda x: x * p0().a)", "KEPT.clear()"),
    "a cache filled anew": ("p0 = cached(2.0)\nf = cb.compile(lambda x: x * p0())",
                            "KEPT[-1].a = 3.0\np0.cache_clear()\np0()\nKEPT[-1].a = 2.0"),
    "an array that is returned": ("p0 = array(1, 2, 3)\nf = cb.compile(lambda x: (x * p0, p0))", "p0 = array(4, 5, 6)"),
}
# name: (source, the arguments of calls one after another, whether a warning is given)
CALLS = {
    "a tensor kept and returned": ("p0 = types.SimpleNamespace(a=0)\ndef run(x):\n    p0.a = x * 2\n    return p0.a\n"
                                   "f = cb.compile(run)", ["X0"] * 6 + ["X0 * 2"], True),
    "an argument returned and cast": ("f = cb.compile(lambda x: (x, x * 1.5))", ["X1"] * 5, False),
    "a field of a namedtuple": ("p0 = Pair(2.0, 3.0)\nf = cb.compile(lambda x: Pair(x * p0.first, 2.0))",
         ["X0"] * 5, False),
    "a State in the place of another": ("p0, p1 = cb.State([1.0]), cb.State([3.0])\nf = cb.compile(lambda x: x * 2)",
                                        ["p0", "p1", "p1", "p0", "p1"], False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name):
    source, change = CHANGES[name]
    counts, actions = collections.Counter(), [0, 0, 0, change, 0, 0, 0, 0]
    arguments = "X0, p0" if "d=None" in source else "X0"
    assert difference(Function(f"{PRELUDE}\n{source}\n{SETUP}", [arguments], actions), counts) is None
    assert counts["replays"] and not counts["warned"]


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    source, calls, warns = CALLS[name]
    counts = collections.Counter()
    assert difference(Function(f"{PRELUDE}\n{source}\n{SETUP}", calls, list(range(len(calls)))), counts) is None
    assert bool(counts["warned"]) == warns
