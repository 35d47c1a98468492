"""Arguments and results of compiled functions: nests of arrays, taken apart and put together."""

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
    if spec is None:
        return tuple(leaves), {}
    left = iter(leaves)

    def make(node):
        if node is None:
            return next(left)
        kind, children = node
        if kind == "dict":
            return {k: make(v) for k, v in children}
        return rebuilt(kind, [make(v) for v in children])

    return make(spec)


def rebuilt(kind, parts):
    """A list, tuple or named tuple of parts."""
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def results(tree):
    """The tensors of a nest, and a function that makes the nest of others; what is no tensor stays as it was."""
    tensors = []

    def take(node):
        if isinstance(node, dict):
            return ("dict", list(node), [take(v) for v in node.values()])
        if isinstance(node, (list, tuple)):
            return (type(node), None, [take(v) for v in node])
        if isinstance(node, Tensor) and not hasattr(node, "assign"):
            tensors.append(node)
            return ("tensor", len(tensors) - 1, None)
        if isinstance(node, (np.ndarray, np.generic)):
            raise TapeError("compile: the function returned a NumPy array, which later runs would not compute again; "
                            "start with cb.tensor(x), so that it is made of tensors")
        return ("other", node, None)

    def make(spec, new):
        kind, what, children = spec
        if children is None:
            return new[what] if kind == "tensor" else what
        parts = [make(c, new) for c in children]
        return dict(zip(what, parts, strict=True)) if kind == "dict" else rebuilt(kind, parts)

    spec = take(tree)
    return tensors, (lambda new: make(spec, new))
