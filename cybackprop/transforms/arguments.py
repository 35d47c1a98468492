"""Arguments and results of compiled functions: nests of arrays, taken apart and put together."""

import copy
import enum
import functools
import inspect
import types

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor
from cybackprop.errors import TapeError
from cybackprop.transforms.reaching import NUMBERS

CONSTANT = (*NUMBERS, Tensor, enum.Enum, type, np.dtype, range, slice, types.ModuleType, types.BuiltinFunctionType)


def _flatten(tree, leaves):
    """Append the leaves; returns what says how they hang together.

    Numbers in a list are leaves, each guarded by its value: whether the function makes an array of the list or looks
    into it can't be told.
    """
    if isinstance(tree, dict):
        return ("dict", tuple((k, _flatten(v, leaves)) for k, v in tree.items()))
    if isinstance(tree, (list, tuple)):
        return (type(tree), tuple(_flatten(v, leaves) for v in tree))
    leaves.append(tree)
    return None


def unpack(args, kwargs):
    """(structure, leaves) of a call's arguments."""
    return unpack_in_order(args, {k: kwargs[k] for k in sorted(kwargs)})


def unpack_in_order(args, kwargs):
    """The same for a function with ``**``, which sees the order of its keywords."""
    leaves = []
    spec = _flatten((args, kwargs), leaves)
    return spec, leaves


def unpacking(function):
    """The one of the two for a function."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return unpack_in_order if code is not None and code.co_flags & inspect.CO_VARKEYWORDS else unpack


def pack(spec, leaves):
    """(args, kwargs) with these leaves.  spec: of `unpack`, or None where all arguments are leaves."""
    return (tuple(leaves), {}) if spec is None else _packed(spec, iter(leaves))


def _packed(spec, left):
    if spec is None:
        return next(left)
    kind, children = spec
    if kind == "dict":
        return {k: _packed(v, left) for k, v in children}
    return rebuilt(kind, [_packed(v, left) for v in children])


def rebuilt(kind, parts):
    """A list, tuple or named tuple of parts."""
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def results(tree, leaves, mark):
    """The tensors of a nest, and a function (others, leaves) that makes the nest of others.

    A result that is an argument is that argument in later calls too, and one that is there twice is one object.  What
    is no tensor stays as it was, and so do tensors from outside with a history: records up to number mark.
    """
    tensors, known = [], {id(x): ("argument", k, None) for k, x in enumerate(leaves) if isinstance(x, Tensor)}
    spec = _taken(tree, tensors, known, mark)
    return tensors, functools.partial(_nest, spec)


def others(make):
    """What is no tensor in the results of a recorded function."""
    return _others(make.args[0])


def _others(spec):
    kind, what, children = spec
    return [what] if kind == "other" else [x for child in children or () for x in _others(child)]


def difference(make, again):
    """What of the results that is no tensor another run has made otherwise: (it, what it was), or None."""
    return _difference(make.args[0], again.args[0])


def _difference(spec, other):
    (kind, what, children), (kind2, what2, children2) = spec, other
    if type(kind) is not type(kind2) or (isinstance(kind, (str, type)) and kind != kind2):
        return kind2, kind
    if children is None:
        counts = isinstance(what, NUMBERS) or kind != "other"
        return (what2, what) if counts and not engine.agree(what2, what) else None
    if what != what2 or len(children) != len(children2):
        return what2 or len(children2), what or len(children)
    return next(filter(None, map(_difference, children, children2)), None)


# NOTE: functions inside functions that call themselves would be cycles, and hold tensors until the collector comes.

def _taken(node, tensors, known, mark):
    if isinstance(node, dict):
        kind = "dict"
        if type(node) is not dict:       # a template of it: copies keep its type, and what else it has
            kind = copy.copy(node)
            kind.clear()
        return kind, list(node), [_taken(v, tensors, known, mark) for v in node.values()]
    if isinstance(node, (list, tuple, set, frozenset)):
        return (type(node), None, [_taken(v, tensors, known, mark) for v in node])
    if id(node) in known:
        return known[id(node)]
    made = isinstance(node, Tensor) and (node.record is None or node.record.number > mark)
    if made and not hasattr(node, "assign"):
        tensors.append(node)
        return known.setdefault(id(node), ("tensor", len(tensors) - 1, None))
    if isinstance(node, (np.ndarray, np.generic)):
        raise TapeError("compile: the function returned a NumPy array, which later runs would not compute again; "
                        "start with cb.tensor(x), so that it is made of tensors")
    return ("other", node, None)


def _nest(spec, new, leaves):
    kind, what, children = spec
    if children is None:
        return new[what] if kind == "tensor" else leaves[what] if kind == "argument" else what
    parts = [_nest(c, new, leaves) for c in children]
    if isinstance(kind, type):
        return rebuilt(kind, parts)
    made = {} if kind == "dict" else copy.copy(kind)
    made.update(zip(what, parts, strict=True))
    return made
