"""Every structured op of the table: values, both modes, second order, both dtypes, recorded and unrecorded sweeps."""

import itertools
import zlib

import numpy as np
import pytest
from structured import CASES

import cybackprop as cb

STEP = 1e-20                             # imaginary: nothing is subtracted, so it may be this small
H = 2e-5                                 # real, of the fourth order rule below
DIRECTIONS = 24                          # unit vectors if an operand has no more elements, random ones otherwise
EPS32 = float(np.finfo("float32").eps)

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def rho(a, b):
    """The largest error, relative where values are large."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape
    return float(np.max(np.abs(a - b) / np.maximum(1, np.abs(a) + np.abs(b)), initial=0.0))


def scaled(a, b):
    """The largest error of a gradient, relative to its largest element: sums of large terms may cancel."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape
    return float(np.max(np.abs(a - b), initial=0.0) / np.max(np.abs(b), initial=1.0))


def sample(shape, rng):
    """Distinct values, none at 0: no kinks and no ties."""
    n = int(np.prod(shape))
    return ((rng.permutation(n) + 0.5) / max(n, 1) * 3 - 1.487).reshape(shape)


def cotangent(shape, rng):
    """Never all ones, some elements exactly 0."""
    g = rng.normal(size=shape)
    return np.where(rng.random(shape) < 0.25, 0.0, g) if np.size(g) > 1 else g * 1.7


def draws(case):
    """For each tuple of shapes: operands, directions in which they move, a cotangent of the result."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    for shapes in case.shapes:
        xs = [sample(s, rng) for s in shapes]
        yield xs, [rng.normal(size=s) for s in shapes], cotangent(np.shape(case.oracle(*xs)), rng)


def along(f, xs, ts):
    """Derivative of an oracle along ts, by an imaginary step."""
    return np.imag(f(*[x + 1j * STEP * t for x, t in zip(xs, ts, strict=True)])) / STEP


def probes(xs, i, rng):
    """Directions of operand i, the others at rest."""
    n = xs[i].size
    basis = np.eye(n) if n <= DIRECTIONS else rng.choice([-1.0, 1.0], size=(DIRECTIONS, n))
    for u in basis:
        yield [u.reshape(x.shape) if j == i else np.zeros(x.shape) for j, x in enumerate(xs)]


def gradients(case, xs, g, dtype="float64", wanted=None, create_graph=False):
    """Gradients that backward leaves in leaves; None where none was wanted."""
    leaves = [cb.tensor(x, dtype, requires_grad=wanted is None or i in wanted) for i, x in enumerate(xs)]
    case.op(*leaves).backward(g, create_graph=create_graph)
    return [None if t.grad is None else t.grad.numpy() for t in leaves]


@each_case
def test_values(case):
    for xs, _, _ in draws(case):
        for dtype, bound in (("float64", 1e-12), ("float32", 64 * EPS32)):
            y = case.op(*[cb.tensor(x, dtype) for x in xs])
            expected = np.asarray(case.oracle(*[x.astype(dtype).astype("float64") for x in xs]))
            assert y.dtype == dtype and y.shape == expected.shape, xs
            assert rho(y.numpy(), expected) <= bound, [x.shape for x in xs]


@each_case
def test_vjp(case, rng):
    for xs, _, g in draws(case):
        for i, dx in enumerate(gradients(case, xs, g)):
            assert dx.shape == xs[i].shape
            for us in probes(xs, i, rng):
                expected = np.sum(g * along(case.oracle, xs, us))
                assert rho(np.sum(dx * us[i]), expected) <= 1e-11, (i, [x.shape for x in xs])


@each_case
def test_jvp_and_its_adjoint(case):
    for xs, ts, g in draws(case):
        y, t = cb.jvp(case.op, [cb.tensor(x) for x in xs], ts)
        assert t.shape == y.shape and t.dtype == "float64"
        assert rho(t.numpy(), along(case.oracle, xs, ts)) <= 1e-11, [x.shape for x in xs]
        _, pull = cb.vjp(case.op, *[cb.tensor(x) for x in xs])
        back = pull(g)
        assert rho(np.sum(t.numpy() * g), sum(np.sum(d.numpy() * u) for d, u in zip(back, ts, strict=True))) <= 1e-11


@each_case
def test_second_order(case, rng):
    for xs, ts, g in draws(case):
        if max(x.size for x in xs) > 600:
            continue
        numbers = tuple(range(len(xs)))
        slope = cb.grad(lambda *x, g=g: cb.sum(case.op(*x) ** 2 * cb.tensor(g)), argnums=numbers)
        tensors = [cb.tensor(x) for x in xs]

        def swept(*x, ts=ts, slope=slope):
            return sum(cb.sum(d * t) for d, t in zip(slope(*x), ts, strict=True))

        forward_over_reverse = cb.jvp(slope, tensors, ts)[1]
        reverse_over_reverse = cb.grad(swept, argnums=numbers)(*tensors)
        for i in numbers:
            for us in itertools.islice(probes(xs, i, rng), 6):
                def at(h, us=us, xs=xs, ts=ts, g=g):
                    moved = [x + h * t for x, t in zip(xs, ts, strict=True)]
                    return np.sum(g * along(lambda *x: case.oracle(*x) ** 2, moved, us))

                expected = (8 * (at(H) - at(-H)) - (at(2 * H) - at(-2 * H))) / (12 * H)
                for d in (forward_over_reverse[i], reverse_over_reverse[i]):
                    assert rho(np.sum(d.numpy() * us[i]), expected) <= 1e-7, (i, [x.shape for x in xs])


@each_case
def test_float32_gradients_follow_float64(case):
    for xs, ts, g in draws(case):
        xs, g = [x.astype("float32") for x in xs], g.astype("float32")
        for narrow, wide in zip(gradients(case, xs, g, "float32"), gradients(case, xs, g, "float64"), strict=True):
            assert narrow.dtype == np.float32
            assert scaled(narrow, wide) <= 64 * EPS32, [x.shape for x in xs]
        narrow = cb.jvp(case.op, [cb.tensor(x, "float32") for x in xs], ts)[1].numpy()
        wide = cb.jvp(case.op, [cb.tensor(x, "float64") for x in xs], [t.astype("float32") for t in ts])[1].numpy()
        assert scaled(narrow, wide) <= 64 * EPS32, [x.shape for x in xs]


@each_case
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_recorded_sweep_gives_the_same_bits(case, dtype):
    for xs, _, g in draws(case):
        g = g.astype(dtype)
        plain, recorded = gradients(case, xs, g, dtype), gradients(case, xs, g, dtype, create_graph=True)
        for a, b in zip(plain, recorded, strict=True):
            assert a.tobytes() == b.tobytes(), [x.shape for x in xs]


@each_case
def test_each_subset_of_operands(case):
    for xs, _, g in draws(case):
        full = gradients(case, xs, g)
        for size in range(1, len(xs)):
            for wanted in itertools.combinations(range(len(xs)), size):
                for create_graph in (False, True):
                    part = gradients(case, xs, g, wanted=wanted, create_graph=create_graph)
                    for i, d in enumerate(part):
                        assert (d is None) == (i not in wanted)
                        assert d is None or d.tobytes() == full[i].tobytes(), (wanted, [x.shape for x in xs])
