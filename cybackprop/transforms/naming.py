"""Names of what a saved program reads and keeps: paths such as ``batch/x``, ``model/layers/0/weight``, ``opt/lr``."""

import types

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor
from cybackprop.io.programs import CONSTANT, INPUT, PROGRAM
from cybackprop.ops.random import default_rng
from cybackprop.transforms.arguments import STATIC
from cybackprop.transforms.environment import Environment
from cybackprop.transforms.names import is_module, join

DEPTH = 12                               # of objects inside objects
PLAIN = (*STATIC, np.ndarray, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


def result_names(tree, path="result"):
    """[(path, tensor)] of what a function returned: "result", "result/0", or the keys of a dict."""
    if isinstance(tree, dict):
        inside = "" if path == "result" else path
        return [pair for k, v in tree.items() for pair in result_names(v, join(inside, str(k)))]
    if isinstance(tree, (list, tuple)):
        return [pair for k, v in enumerate(tree) for pair in result_names(v, join(path, str(k)))]
    return [(path, tree)] if isinstance(tree, Tensor) and not hasattr(tree, "assign") else []


def input_name(names, taken):
    """A function that names inputs by their leaf; the second dtype in which one is read is a part of its name."""
    def name(source, dtype):
        path = INPUT + names[source[1]]
        known = taken.setdefault(path, dtype)
        return path if known == dtype else f"{path}.{dtype}"

    return name


class StateNames:
    """Paths of states, found by walking the objects that a function knows by a name."""

    def __init__(self):
        self._paths = {}                 # identity -> path
        self._used = {PROGRAM}
        self._labels = {}                # of the objects that walks begin at: label -> id
        self._alive = []                 # those objects, so that their ids stay theirs

    def learn(self, function, leaves, arguments):
        """Walk what a function can name: itself, its arguments, closures, globals."""
        later = []
        for label, thing in [*_roots(function, leaves, arguments), ("rng", default_rng())]:
            self._walk(self._label(label, thing), thing, later, set(), DEPTH)
        for path, thing in later:
            for part, state in thing.program_states(self.of):
                self._note(join(path, part), state)

    def of(self, thing):
        """The path of a state, a tensor or the identity of one; None if nothing has named it."""
        return self._paths.get(thing if isinstance(thing, int) else engine.identity(thing))

    def name(self, key, fallback):
        """The path of a state by its identity, given to it now if it has none."""
        if key not in self._paths:
            self._paths[key] = self._unique(fallback)
        return self._paths[key]

    def _label(self, label, thing):
        """What an object is called at the top; another object of that name gets a number."""
        n = 1
        while self._labels.setdefault(label if n == 1 else f"{label}{n}", id(thing)) != id(thing):
            n += 1
        self._alive.append(thing)
        return label if n == 1 else f"{label}{n}"

    def _unique(self, path):
        n, base = 1, path
        while path in self._used or path.startswith(CONSTANT):
            n += 1
            path = f"{base}.{n}"
        self._used.add(path)
        return path

    def _note(self, path, state):
        if engine.identity(state) not in self._paths:
            self._paths[engine.identity(state)] = self._unique(path or "state")

    def _walk(self, path, thing, later, seen, depth):
        if isinstance(thing, Tensor):
            if hasattr(thing, "assign"):
                self._note(path, thing)
            return
        if depth == 0 or id(thing) in seen or isinstance(thing, PLAIN):
            return
        seen.add(id(thing))
        if hasattr(type(thing), "program_states"):
            later.append((path, thing))
            return
        parts = (thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, (list, tuple))
                 else list(getattr(thing, "__dict__", {}).items()))
        for key, part in parts:
            self._walk(join(path, str(key)), part, later, seen, depth - 1)


def _roots(function, leaves, arguments):
    """(label, object): what the functions that are reached know by a plain name, this one first."""
    if is_module(function):
        yield "model", function
    elif isinstance(function, types.MethodType):
        yield "", function.__self__
    yield from arguments
    environment = Environment(function, leaves)
    for label, thing in environment.roots:
        if label.isidentifier():
            yield type(thing).__name__.lower() if label == "self" else label, thing
    for thing in (*environment.modules, *environment.counted):
        yield type(thing).__name__.lower(), thing
