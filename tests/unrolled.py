"""Loops in Python: what scan and while_loop must do, bit for bit."""

import numpy as np

import cybackprop as cb


def leaves(tree):
    """The tensors of a nest, in order."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def mapped(function, tree):
    """The same nest of what the function makes of each leaf."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {k: mapped(function, v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        parts = [mapped(function, v) for v in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(tree)


def stacked(trees):
    """A nest of stacks of a list of nests."""
    found = [leaves(t) for t in trees]
    stacks = iter([cb.stack([f[i] for f in found]) for i in range(len(found[0]))])
    return mapped(lambda _: next(stacks), trees[0])


def scan(body, init, xs=None, length=None, *, reverse=False, checkpoint=False):
    """cb.scan as a loop."""
    n = leaves(xs)[0].shape[0] if leaves(xs) else length
    carry, ys = mapped(lambda x: x if isinstance(x, cb.Tensor) else cb.tensor(x), init), [None] * n
    for t in reversed(range(n)) if reverse else range(n):
        carry, ys[t] = body(carry, mapped(lambda x: x[t], xs))     # noqa: B023  (called at once)
    return carry, stacked(ys)


def while_loop(condition, body, init):
    """cb.while_loop as a loop."""
    carry = mapped(lambda x: x if isinstance(x, cb.Tensor) else cb.tensor(x), init)
    while bool(condition(carry)):
        carry = body(carry)
    return carry


def bits(tree):
    """What two results have in common if they are the same to the bit."""
    return [(t.shape, str(t.dtype), t.numpy().tobytes()) for t in leaves(tree)]


def close(found, expected, rtol):
    """Two nests of gradients agree, relative to the largest element."""
    found, expected = leaves(found), leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = a.numpy(), b.numpy()
        assert np.max(np.abs(a - b), initial=0.0) <= rtol * max(1.0, np.max(np.abs(b), initial=0.0))
