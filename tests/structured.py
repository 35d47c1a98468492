"""The table of structured ops: what runs, its oracle in NumPy, the shapes of its operands.  Oracles are analytic (or
choose by real parts), so that one imaginary step through them gives derivatives to the last digits."""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.special

import cybackprop as cb


@dataclasses.dataclass(frozen=True)
class Case:
    """op(*tensors) against oracle(*arrays) for each tuple of operand shapes."""

    name: str
    op: Callable
    oracle: Callable
    shapes: tuple
    why: str = ""                        # of what is odd about the row

    def __str__(self):
        return self.name


VECTORS = ((1,), (5,), (16,), (17,))
ANY = ((), (1,), (5,), (0,), (3, 4), (1, 1), (2, 3, 5), (1, 3, 1), (2, 0, 3), (17, 9), (2, 1, 3, 2))
FILLED = tuple(s for s in ANY if 0 not in s)
SPREAD = ((5,), (3, 4), (17, 9), (2, 3, 5))
LONG = ((1030, 3), (3, 1030))            # past the 1,024 rows of a group and the block of a row's sum


def one(shapes):
    return tuple((s,) for s in shapes)


# ---- products

PRODUCTS = (
    ((3,), (3,)), ((1,), (1,)), ((3,), (3, 4)), ((2, 3), (3,)), ((1, 1), (1, 1)), ((2, 3), (3, 4)),
    ((5, 7), (7, 17)), ((17, 33), (33, 9)), ((65, 3), (3, 2)), ((0, 3), (3, 2)), ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((1, 3, 4), (6, 4, 1)), ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)), ((0, 3, 4), (4, 5)), ((3, 1, 2, 3), (1, 4, 3, 2)), ((1030, 2), (2, 3)))
NOTHING = (((0,), (0,)), ((2, 3), (3, 0)), ((2, 0), (0, 3)), ((2, 3, 0), (0, 4)), ((4, 0), (2, 0, 3)),
           ((0, 0), (0, 0)), ((0,), (0, 3)))

LAYERS = tuple(((*lead, i), (i, o), (o,)) for lead in ((), (1,), (3,), (17,), (0,), (2, 3)) for i, o in
               ((1, 1), (3, 4), (8, 17)))
EMPTY_LAYERS = (((2, 0), (0, 3), (3,)), ((2, 3), (3, 0), (0,)), ((0,), (0, 2), (2,)), ((2, 2, 0), (0, 3), (3,)))


def choose(condition, a, b):
    return np.where(np.real(condition), a, b)


# what keeps nothing, y or x for its slope; kinks are chosen by real parts
ACTIVATIONS = {
    None: lambda z: z,
    "neg": lambda z: -z,
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: choose(z.real > 0, z, 0),
    "exp": np.exp,
    "sin": np.sin,
    "elu": lambda z: choose(z.real > 0, z, np.exp(z) - 1),
    "gelu": lambda z: z * (1 + scipy.special.erf(z / np.sqrt(2))) / 2,
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "leaky_relu": lambda z: choose(z.real > 0, z, 0.01 * z),
    "hard_tanh": lambda z: choose(z.real > 1, 1, choose(z.real < -1, -1, z)),
}


def dense_cases():
    for name, f in ACTIVATIONS.items():
        yield Case(f"dense {name}", lambda x, w, b, n=name: cb.dense(x, w, b, activation=n),
                   lambda x, w, b, f=f: f(x @ w + b), LAYERS)
        yield Case(f"dense {name} without bias", lambda x, w, n=name: cb.dense(x, w, activation=n),
                   lambda x, w, f=f: f(x @ w), tuple(s[:2] for s in LAYERS[3:12]))
        if name in (None, "tanh", "gelu"):
            yield Case(f"dense {name} of nothing", lambda x, w, b, n=name: cb.dense(x, w, b, activation=n),
                       lambda x, w, b, f=f: f(x @ w + b), EMPTY_LAYERS)


# ---- reductions

AXES = (None, 0, -1, 1, (0,), (), (0, -1), (-1, 1), (0, 1, 2), (-2,))


def fits(axis, shape):
    """Whether an axis argument names axes of a shape, each once."""
    axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return all(-len(shape) <= a < len(shape) for a in axes) and len({a % len(shape) for a in axes}) == len(axes)


def extreme(pick):
    """The maximum or minimum by real parts, its imaginary part with it."""

    def oracle(x, axis, keepdims):
        x = np.asarray(x)
        axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(a % x.ndim for a in axes)
        rest = tuple(i for i in range(x.ndim) if i not in axes)
        flat = x.transpose(rest + axes).reshape(*[x.shape[i] for i in rest], -1)
        out = np.take_along_axis(flat, pick(flat.real, -1)[..., None], -1)[..., 0]
        return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]) if keepdims else out

    return oracle


def variance(x, axis, keepdims, ddof=0):
    n = np.size(x) / np.size(np.sum(x, axis=axis))
    d = x - np.mean(x, axis=axis, keepdims=True)
    return np.sum(d * d, axis=axis, keepdims=keepdims) / (n - ddof)


REDUCTIONS = (("sum", lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims), ANY + LONG),
              ("mean", lambda x, axis, keepdims: np.mean(x, axis=axis, keepdims=keepdims), FILLED + LONG),
              ("var", variance, FILLED), ("max", extreme(np.argmax), FILLED + LONG),
              ("min", extreme(np.argmin), FILLED))


def reduction_cases():
    for name, oracle, shapes in REDUCTIONS:
        for axis in AXES:
            for keepdims in (False, True):
                yield Case(f"{name} axis={axis} keepdims={keepdims}",
                           lambda x, n=name, a=axis, k=keepdims: getattr(cb, n)(x, axis=a, keepdims=k),
                           lambda x, f=oracle, a=axis, k=keepdims: f(x, a, k), one(s for s in shapes if fits(axis, s)))
    for axis in (None, 0, -1, 1):
        yield Case(f"cumsum axis={axis}", lambda x, a=axis: cb.cumsum(x, a), lambda x, a=axis: np.cumsum(x, a),
                   one(s for s in ANY + (LONG if axis == 1 else ()) if fits(axis, s)))
        yield Case(f"std axis={axis}", lambda x, a=axis: cb.std(x, a, keepdims=True),
                   lambda x, a=axis: np.sqrt(variance(x, a, True)), one(s for s in SPREAD if fits(axis, s)))
    yield Case("std ddof=1", lambda x: cb.std(x, 0, ddof=1), lambda x: np.sqrt(variance(x, 0, False, 1)),
               one(((2,), (5, 3))))
    yield Case("var ddof=1", lambda x: cb.var(x, 0, ddof=1), lambda x: variance(x, 0, False, 1), one(((2,), (5, 3))))


# ---- softmax and its kin

def logsumexp(x, axis):
    peak = np.max(x.real, axis=axis, keepdims=True)
    return np.log(np.sum(np.exp(x - peak), axis=axis, keepdims=True)) + peak


def softmax_cases():
    shapes = {-1: one(((1,), (5,), (17,), (3, 4), (0, 3), (2, 3, 5), (3, 1030))), 0: one(((1,), (6,), (3, 4), (3, 0))),
              1: one(((3, 4), (2, 7, 3), (2, 5, 0))), -2: one(((3, 4), (2, 1, 3, 2)))}
    for axis, of in shapes.items():
        yield Case(f"softmax axis={axis}", lambda x, a=axis: cb.softmax(x, axis=a),
                   lambda x, a=axis: np.exp(x - logsumexp(x, a)), of)
        yield Case(f"log_softmax axis={axis}", lambda x, a=axis: cb.log_softmax(x, axis=a),
                   lambda x, a=axis: x - logsumexp(x, a), of)
        yield Case(f"logsumexp axis={axis}", lambda x, a=axis: cb.logsumexp(x, axis=a),
                   lambda x, a=axis: np.squeeze(logsumexp(x, a), a), of)
        yield Case(f"logsumexp axis={axis} keepdims", lambda x, a=axis: cb.logsumexp(x, axis=a, keepdims=True),
                   lambda x, a=axis: logsumexp(x, a), of)


# ---- movement and selection: linear, so one line each

PLACES = np.array([[0, 2, -1], [2, 2, 1]])
MASK = np.array([[True, False, True], [False, False, True]])

MOVEMENT = (
    Case("reshape -1", lambda x: x.reshape(-1), lambda x: x.reshape(-1), one(ANY)),
    Case("reshape", lambda x: cb.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), one(((12,), (2, 6), (4, 0)))),
    Case("T", lambda x: x.T, lambda x: x.T, one(ANY)),
    Case("transpose", lambda x: x.transpose(1, -1, 0), lambda x: x.transpose(1, 2, 0), one(((2, 3, 4), (1, 0, 2)))),
    Case("broadcast_to", lambda x: cb.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)),
         one(((), (1,), (4,), (3, 1), (2, 1, 1), (2, 3, 4)))),
    Case("broadcast_to nothing", lambda x: cb.broadcast_to(x, (0, 3)), lambda x: np.broadcast_to(x, (0, 3)),
         one(((), (3,), (1, 3), (0, 1)))),
    Case("concatenate 0", lambda *x: cb.concatenate(x), lambda *x: np.concatenate(x),
         (((1,),), ((3,), (0,), (2,)), ((2, 3), (1, 3)), ((0, 3), (0, 3)), ((2, 0), (3, 0)), ((1, 2, 2),) * 5)),
    Case("concatenate -1", lambda *x: cb.concatenate(x, axis=-1), lambda *x: np.concatenate(x, axis=-1),
         (((2, 3), (2, 1), (2, 17)), ((1, 2, 3), (1, 2, 0)))),
    Case("stack 0", lambda *x: cb.stack(x), lambda *x: np.stack(x), (((),) * 3, ((2, 3),) * 2, ((0,),) * 2)),
    Case("stack -1", lambda *x: cb.stack(x, -1), lambda *x: np.stack(x, -1), (((),) * 2, ((2, 3),) * 4)),
    Case("stack 1", lambda *x: cb.stack(x, axis=1), lambda *x: np.stack(x, axis=1), (((5,),), ((2, 3),) * 3)),
    Case("take 0", lambda x: cb.take(x, PLACES), lambda x: np.take(x, PLACES, 0),
         one(((3,), (4, 3), (5, 0), (3, 2, 2)))),
    Case("take -1", lambda x: cb.take(x, PLACES, axis=-1), lambda x: np.take(x, PLACES, -1), one(((3,), (2, 17)))),
    Case("take none", lambda x: cb.take(x, np.zeros((0, 2), int), 1), lambda x: x[:, np.zeros((0, 2), int)],
         one(((2, 3),))),
    Case("gather", lambda x: cb.gather(x, PLACES), lambda x: np.take_along_axis(x, PLACES, -1), one(((2, 3), (2, 17)))),
    Case("gather 0", lambda x: cb.gather(x, PLACES[:, :2], 0), lambda x: np.take_along_axis(x, PLACES[:, :2], 0),
         one(((3, 2), (17, 2)))),
    Case("slice", lambda x: x[1:, ::-2, None], lambda x: x[1:, ::-2, None], one(((3, 4), (1, 3), (2, 1), (17, 9, 2)))),
    Case("index", lambda x: x[PLACES, ..., 0], lambda x: x[PLACES, ..., 0], one(((3, 1), (4, 2, 3), (3, 0, 5)))),
    Case("mask", lambda x: x[MASK], lambda x: x[MASK], one(((2, 3), (2, 3, 4), (2, 3, 0)))),
    Case("where", lambda a, b: cb.where(MASK, a, b), lambda a, b: np.where(MASK, a, b),
         (((2, 3), (2, 3)), ((), (2, 3)), ((3,), ()), ((1, 1), (2, 1)), ((5, 1, 3), (2, 1)), ((), ()))),
    Case("where, one condition", lambda a, b: cb.where(False, a, b), lambda a, b: np.where(False, a, b),
         (((), ()), ((2,), (2,)), ((3, 1), (4,)), ((0,), (1,)))),
)

CASES = (
    Case("matmul", lambda a, b: a @ b, lambda a, b: a @ b, PRODUCTS),
    Case("matmul, a last axis of length 0", cb.matmul, lambda a, b: a @ b, NOTHING),
    *dense_cases(), *reduction_cases(), *softmax_cases(), *MOVEMENT)
