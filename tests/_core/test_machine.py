"""A state machine: create, combine, detach, sweep and free at random, against a naive tape of NumPy arrays."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

import cybackprop as cb
from cybackprop._core import engine

SHAPES = ((), (1,), (3,), (2, 3), (2, 1))


class Node:
    """The naive twin of a tensor: its value, and (parent, function of the cotangent) for each parent."""

    def __init__(self, value, parents=(), leaf=False):
        self.value, self.parents, self.leaf, self.grad = np.asarray(value, dtype=float), parents, leaf, None
        self.tracked = leaf or any(p.tracked for p, _ in parents)

    def backward(self, g):
        order, seen = [], set()
        stack = [(self, False)]
        while stack:                     # depth first, children before parents
            node, done = stack.pop()
            if done:
                order.append(node)
            elif id(node) not in seen and node.tracked:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((p, False) for p, _ in node.parents)
        cotangents = {id(self): g}
        for node in reversed(order):
            c = cotangents.get(id(node))
            if c is None:
                continue
            if node.leaf:
                node.grad = c if node.grad is None else node.grad + c
            for parent, pull in node.parents:
                if parent.tracked:
                    cotangents[id(parent)] = cotangents.get(id(parent), 0) + pull(c)


def fit(c, shape):
    """Sum a cotangent to the shape it was broadcast from."""
    c = c.sum(axis=tuple(range(c.ndim - len(shape))))
    return c.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 and c.shape[i] != 1), keepdims=True)


UNARY = {
    "tanh": (cb.tanh, lambda x: (np.tanh(x), lambda c: c * (1 - np.tanh(x) ** 2))),
    "neg": (lambda x: -x, lambda x: (-x, lambda c: -c)),
    "sin": (cb.sin, lambda x: (np.sin(x), lambda c: c * np.cos(x))),
    "sum": (cb.sum, lambda x: (x.sum(), lambda c: np.broadcast_to(c, x.shape))),
    "mean0": (lambda x: cb.mean(x, 0) if x.ndim else x + 0,
              lambda x: (x.mean(0), lambda c: np.broadcast_to(c / len(x), x.shape)) if x.ndim else (x, lambda c: c)),
    "flat": (lambda x: x.reshape(-1), lambda x: (x.reshape(-1), lambda c: c.reshape(x.shape))),
    "T": (lambda x: x.T, lambda x: (x.T, lambda c: c.T)),
    "flip": (lambda x: x[::-1] if x.ndim else x[...],
             lambda x: (x[::-1], lambda c: c[::-1]) if x.ndim else (x, lambda c: c)),
}
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: (a + b, lambda c: c, lambda c: c)),
    "sub": (lambda a, b: a - b, lambda a, b: (a - b, lambda c: c, lambda c: -c)),
    "mul": (lambda a, b: a * b, lambda a, b: (a * b, lambda c: c * b, lambda c: c * a)),
    "where": (lambda a, b: cb.where(a > b, a, b * 0.5),
              lambda a, b: (np.where(a > b, a, b * 0.5), lambda c: c * (a > b), lambda c: c * ~(a > b) * 0.5)),
}


class Tapes(RuleBasedStateMachine):
    tensors = Bundle("tensors")

    def __init__(self):
        super().__init__()
        self.rng, self.pairs, self.bytes = np.random.default_rng(1), [], engine.bytes_in_use()

    def keep(self, tensor, node):
        np.testing.assert_allclose(tensor.numpy(), node.value, rtol=1e-9, atol=1e-12)
        assert tensor.shape == node.value.shape and tensor.requires_grad == node.tracked
        pair = [tensor, node]
        self.pairs.append(pair)
        return pair

    @initialize(target=tensors)
    def first(self):
        return self.leaf((2, 3), True)

    @rule(target=tensors, shape=st.sampled_from(SHAPES), tracked=st.booleans())
    def create(self, shape, tracked):
        return self.leaf(shape, tracked)

    def leaf(self, shape, tracked):
        x = self.rng.uniform(-1, 1, size=shape)
        return self.keep(cb.tensor(x, requires_grad=tracked), Node(x, leaf=tracked))

    @rule(target=tensors, x=tensors, name=st.sampled_from(sorted(UNARY)))
    def unary(self, x, name):
        op, twin = UNARY[name]
        value, pull = twin(x[1].value)
        if value.ndim > 6:
            return multiple()
        return self.keep(op(x[0]), Node(value, ((x[1], pull),)))

    @rule(target=tensors, a=tensors, b=tensors, name=st.sampled_from(sorted(BINARY)))
    def binary(self, a, b, name):
        (op, twin), (x, y) = BINARY[name], (a[1].value, b[1].value)
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            return multiple()
        value, left, right = twin(x, y)
        parents = (a[1], lambda c: fit(left(c), x.shape)), (b[1], lambda c: fit(right(c), y.shape))
        return self.keep(op(a[0], b[0]), Node(value, parents))

    @rule(target=tensors, x=tensors)
    def detach(self, x):
        return self.keep(x[0].detach(), Node(x[1].value))

    @rule(target=tensors, x=tensors)
    def copy_without_grad(self, x):
        with cb.no_grad():
            return self.keep(x[0] * 2, Node(x[1].value * 2))

    @rule(x=tensors, create_graph=st.booleans())
    def sweep(self, x, create_graph):
        if x[1].tracked:
            g = self.rng.normal(size=x[1].value.shape)
            x[0].backward(g, retain_graph=True, create_graph=create_graph)
            x[1].backward(g)

    @rule(x=tensors, steps=st.integers(0, 5))
    def abandon(self, x, steps):
        if x[1].tracked:
            g = self.rng.normal(size=x[1].value.shape)
            walk = cb.backward_steps(x[0], g, retain_graph=True)
            finished = any(next(walk, None) is None for _ in range(steps))
            walk.close()
            if finished:
                x[1].backward(g)

    @precondition(lambda self: len(self.pairs) > 3)
    @rule(pair=consumes(tensors))
    def free(self, pair):
        pair[0] = None
        self.pairs = [p for p in self.pairs if p is not pair]

    @invariant()
    def gradients_agree(self):
        for tensor, node in self.pairs:
            if node.leaf and tensor is not None:
                assert (tensor.grad is None) == (node.grad is None)
                if node.grad is not None:
                    np.testing.assert_allclose(tensor.grad.numpy(), node.grad, rtol=1e-8, atol=1e-10)

    def teardown(self):
        for pair in self.pairs:
            pair[0] = None
        self.pairs = []
        assert engine.bytes_in_use() == self.bytes


Tapes.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None, derandomize=True)
TestTapes = Tapes.TestCase
