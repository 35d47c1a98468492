"""Arguments and results of compiled functions: nests of arrays, taken apart and put together."""

import functools

import numpy as np

from cybackprop._core.engine import Tensor
from cybackprop.errors import TapeError


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
    leaves = []
    spec = _flatten((args, {k: kwargs[k] for k in sorted(kwargs)}), leaves)
    return spec, leaves


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

    A result that is an argument is that argument in later calls too.  What is no tensor stays as it was, and so do
    tensors from outside with a history: records up to number mark.
    """
    tensors = []
    spec = _taken(tree, tensors, {id(x): k for k, x in enumerate(leaves) if isinstance(x, Tensor)}, mark)
    return tensors, functools.partial(_nest, spec)


# NOTE: functions inside functions that call themselves would be cycles, and hold tensors until the collector comes.

def _taken(node, tensors, arguments, mark):
    if isinstance(node, dict):
        return ("dict", list(node), [_taken(v, tensors, arguments, mark) for v in node.values()])
    if isinstance(node, (list, tuple)):
        return (type(node), None, [_taken(v, tensors, arguments, mark) for v in node])
    if id(node) in arguments:
        return ("argument", arguments[id(node)], None)
    made = isinstance(node, Tensor) and (node.record is None or node.record.number > mark)
    if made and not hasattr(node, "assign"):
        tensors.append(node)
        return ("tensor", len(tensors) - 1, None)
    if isinstance(node, (np.ndarray, np.generic)):
        raise TapeError("compile: the function returned a NumPy array, which later runs would not compute again; "
                        "start with cb.tensor(x), so that it is made of tensors")
    return ("other", node, None)


def _nest(spec, new, leaves):
    kind, what, children = spec
    if children is None:
        return new[what] if kind == "tensor" else leaves[what] if kind == "argument" else what
    parts = [_nest(c, new, leaves) for c in children]
    return dict(zip(what, parts, strict=True)) if kind == "dict" else rebuilt(kind, parts)
