"""Every row of binary.def: values, slopes of both sides, ties, broadcasting.  Cases come from the table itself."""

import math

import mpmath
import numpy as np
import pytest
import references
from samples import (
    BINARY,
    DIFFERENTIABLE,
    DTYPES,
    SIZES,
    assert_close,
    assert_ulps,
    case_id,
    cotangents,
    everywhere,
    inside,
    same_bits,
    same_values,
)

import cybackprop as cb
from cybackprop._core.engine import binary_rows

pytestmark = pytest.mark.usefixtures("quiet")
each_row = pytest.mark.parametrize("row, dtype", BINARY, ids=case_id)
each_differentiable = pytest.mark.parametrize("row, dtype", DIFFERENTIABLE, ids=case_id)

GRID = np.array([-np.inf, -3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 3.0, np.inf, np.nan])
SHAPES = [                               # on both sides of the runs that the walk makes of neighbouring axes
    ((), ()), ((), (5,)), ((7,), ()), ((1,), (9,)), ((3, 1), (1, 5)), ((4, 5), (5,)), ((4, 1), (4, 6)),
    ((3, 1, 5), (1, 4, 1)), ((2, 1, 3, 1), (5, 1, 4)), ((1, 1), (1,)), ((0,), (1,)), ((2, 0, 3), (3,)),
    ((6, 1, 17), (6, 3, 17)), ((2, 3, 1, 4), (3, 5, 4)), ((1, 8, 1), (4, 1, 9)), ((2, 2, 2, 2, 2), (2, 1, 2, 1, 2)),
]
# (row, a, b, dy/da, dy/db) where a formula that is right elsewhere would give NaN or a wrong share; None: not asked
EDGES = [
    ("pow", 0.0, 0.0, 0.0, 0.0), ("pow", 0.0, 1.0, 1.0, 0.0), ("pow", 0.0, 2.0, 0.0, 0.0), ("pow", 0.0, 3.5, 0.0, 0.0),
    ("pow", -2.0, 3.0, 12.0, None), ("pow", -2.0, 2.0, -4.0, None), ("pow", 3.0, 0.0, 0.0, math.log(3)),
    ("pow", 1.0, -2.0, -2.0, 0.0), ("atan2", 0.0, 0.0, 0.0, 0.0), ("atan2", 0.0, -2.0, -0.5, 0.0),
    ("atan2", 3.0, 0.0, 0.0, -1 / 3), ("maximum", 2.0, 2.0, 0.5, 0.5), ("minimum", 2.0, 2.0, 0.5, 0.5),
    ("maximum", -0.0, 0.0, 0.5, 0.5), ("minimum", -0.0, 0.0, 0.5, 0.5), ("strong_mul", 0.0, 3.0, 3.0, 0.0),
    ("mul", 0.0, 3.0, 3.0, 0.0), ("div", 0.0, 2.0, 0.5, 0.0),
]


def pair(row, dtype, rng, n):
    f = row.facts
    return tuple(rng.permutation(inside(f[s + "_low"], f[s + "_high"], n, dtype, rng))[:n] for s in "ab")


def leaves(*arrays):
    return tuple(cb.tensor(x, requires_grad=True) for x in arrays)


def slopes_of(row, a, b):
    """Slopes and second derivatives of the oracle: arrays s (2, n) and h (2, 2, n)."""
    f = references.BINARY[row.name].f
    s, h = np.empty((2, a.size)), np.empty((2, 2, a.size))
    for i, point in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        for side in (0, 1):
            left, right, h[side, side, i] = references.differences(f, *point, side=side)
            s[side, i] = right
            assert abs(left - right) <= 1e-9 * max(1, abs(right)), f"a kink at {point}"
        d = references.STEP
        with mpmath.workprec(references.SLOPE_BITS):
            u, v = map(mpmath.mpf, point)
            h[0, 1, i] = h[1, 0, i] = float((f(u + d, v + d) - f(u + d, v) - f(u, v + d) + f(u, v)) / d ** 2)
    return s, h


@each_row
def test_values(row, dtype, target, rng):
    oracle = references.BINARY[row.name]
    a, b = pair(row, dtype, rng, 200)
    wide = [everywhere(100, dtype, rng) for _ in "ab"]
    if row.name == "pow":                # keep the base positive and results representable: the rest is in the grid
        wide = [np.abs(wide[0]), rng.uniform(-1, 1, 100).astype(dtype)]
    a, b = np.concatenate([a, wide[0]]), np.concatenate([b, wide[1]])
    if row.facts["compares"]:
        b[::3] = a[::3]
        assert same_bits(row(cb.tensor(a), cb.tensor(b)), oracle.numpy(a, b))
        return
    y = row(cb.tensor(a), cb.tensor(b)).numpy()
    assert_ulps(y, *references.exact(oracle.f, a, b), at=np.rec.fromarrays([a, b]))


@each_row
def test_zeros_infinities_nan(row, dtype, target, rng):
    a, b = (x.ravel() for x in np.meshgrid(GRID, GRID))
    order = rng.permutation(np.tile(np.arange(a.size), 2))
    a, b = a[order], b[order]
    y = row(cb.tensor(a.astype(dtype)), cb.tensor(b.astype(dtype))).numpy()
    wanted = references.BINARY[row.name].numpy(a, b)
    if row.facts["compares"]:
        assert np.array_equal(y, wanted)
        return
    assert_ulps(y, wanted, at=np.rec.fromarrays([a, b]))
    if not row.facts["ties"]:            # which of two equal zeros is the larger is nobody's business
        zero = wanted == 0
        assert np.array_equal(np.signbit(y[zero]), np.signbit(wanted[zero]))


@each_row
def test_an_element_does_not_depend_on_its_place_or_on_what_broadcasts(row, dtype, target, rng):
    a, b = pair(row, dtype, rng, max(SIZES))
    whole = row(cb.tensor(a), cb.tensor(b)).numpy()
    for n in SIZES:
        start = a.size - n
        assert same_bits(row(cb.tensor(a[start:]), cb.tensor(b[start:])), whole[start:])
        for x, y in ((a[start:], b[:1]), (a[:1], b[start:])):
            full = [np.ascontiguousarray(np.broadcast_to(v, n)) for v in (x, y)]
            assert same_bits(row(cb.tensor(x), cb.tensor(y)), row(*map(cb.tensor, full))), n


@each_row
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasts_as_numpy_does(row, dtype, shapes, rng):
    a, b = (np.resize(v, math.prod(s)).reshape(s) for v, s in zip(pair(row, dtype, rng, 40), shapes, strict=True))
    shape = np.broadcast_shapes(*shapes)
    full = [np.array(np.broadcast_to(v, shape), order="C") for v in (a, b)]
    ta, tb = leaves(a, b)
    y = row(ta, tb)
    fa, fb = leaves(*full)
    z = row(fa, fb)
    assert y.shape == shape and same_bits(y, z)
    if row.facts["compares"]:
        assert y.dtype == bool and not y.requires_grad
        return
    g = rng.normal(size=shape).astype(dtype)
    y.backward(g)
    z.backward(g)
    for x, whole, small in ((ta, fa, a), (tb, fb, b)):
        extra = len(shape) - small.ndim
        axes = tuple(i for i in range(len(shape)) if i < extra or small.shape[i - extra] == 1 != shape[i])
        wanted = whole.grad.numpy().astype(float).sum(axes).reshape(small.shape)
        scale = np.abs(whole.grad.numpy().astype(float)).sum(axes).reshape(small.shape)
        assert x.grad.shape == small.shape
        assert np.all(np.abs(x.grad.numpy() - wanted) <= 8 * np.finfo(dtype).eps * scale)
    ra, rb = leaves(a, b)
    row(ra, rb).backward(g, create_graph=True)
    assert same_bits(ra.grad, ta.grad) and same_bits(rb.grad, tb.grad)


@each_differentiable
def test_vjp_and_jvp(row, dtype, target, rng):
    a, b = pair(row, dtype, rng, 48)
    keep = (a != b) & ((a != 0) | (b > 0))           # off the ties, and off atan2's cut
    a, b = a[keep], b[keep]
    s, _ = slopes_of(row, a, b)
    g, c = cotangents(a.size, dtype, rng), rng.normal(size=a.size).astype(dtype)
    ta, tb = leaves(a, b)
    row(ta, tb).backward(g)
    for x, slope in ((ta, s[0]), (tb, s[1])):
        assert_close(x.grad.numpy(), np.where(g == 0, 0, g * slope))
        assert np.all(x.grad.numpy()[g == 0] == 0)
    _, t = cb.jvp(row, (a, b), (g, c))
    scale = np.maximum(1, np.abs(g * s[0]) + np.abs(c * s[1]))
    assert_close((t.numpy() / scale).astype(dtype), (g * s[0] + c * s[1]) / scale)
    # one side alone, and both uses of one tensor, into what is there
    only, = leaves(b)
    row(cb.tensor(a), only).backward(g)
    assert same_bits(only.grad, tb.grad)
    both, c1 = *leaves(a), cb.tensor(c)
    (row(both, both) + both * c1).backward(g)
    plain = [v.grad.numpy() for v in _diagonal(row, a, g)]
    other = np.where(g == 0, 0, g * c).astype(dtype)
    assert np.array_equal(both.grad.numpy(), (other + plain[0]) + plain[1], equal_nan=True)


def _diagonal(row, a, g):
    x, y = leaves(a, a)
    row(x, y).backward(g)
    return x, y


@each_differentiable
def test_recorded_sweep_has_the_same_bits(row, dtype, target, rng):
    a, b = (v.ravel() for v in np.meshgrid(GRID, GRID))
    u, v = pair(row, dtype, rng, 67)
    a, b = np.concatenate([a, u, everywhere(64, dtype, rng)]), np.concatenate([b, v, everywhere(64, dtype, rng)])
    g = cotangents(a.size, dtype, rng)
    plain, recorded = leaves(a.astype(dtype), b.astype(dtype)), leaves(a.astype(dtype), b.astype(dtype))
    row(*plain).backward(g)
    row(*recorded).backward(g, create_graph=True)
    for x, y in zip(plain, recorded, strict=True):
        x, y = x.grad.numpy(), y.grad.numpy()
        bad = (x != y) & ~(np.isnan(x) & np.isnan(y))
        assert same_values(x, y), (a[bad], b[bad])


@each_differentiable
def test_zero_cotangent_is_strong(row, dtype, target):
    a, b = (v.ravel().astype(dtype) for v in np.meshgrid(GRID, GRID))
    for create_graph in (False, True):
        ta, tb = leaves(a, b)
        row(ta, tb).backward(np.zeros_like(a), create_graph=create_graph)
        for x in (ta,) if row.facts["strong"] else (ta, tb):     # db of the strong row is strong in a instead
            bad = x.grad.numpy() != 0
            assert not bad.any(), (a[bad], b[bad])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, a, b, da, db", EDGES)
def test_edges(name, a, b, da, db, dtype, target):
    for create_graph in (False, True):
        x, y = leaves(np.full(5, a, dtype), np.full(5, b, dtype))
        binary_rows[name](x, y).backward(np.full(5, 3.0, dtype), create_graph=create_graph)
        for grad, wanted in ((x.grad, da), (y.grad, db)):
            if wanted is not None:
                np.testing.assert_allclose(grad.numpy(), 3 * wanted, rtol=4 * np.finfo(dtype).eps)


@each_differentiable
def test_second_order(row, dtype, target, rng):
    a, b = pair(row, dtype, rng, 16)
    keep = (a != b) & (a != 0) & (b != 0)
    a, b = a[keep], b[keep]
    _, h = slopes_of(row, a, b)
    w, ca, cb_ = (rng.normal(size=a.size).astype(dtype) for _ in range(3))
    wanted = [w * (ca.astype(float) * h[0, i] + cb_ * h[1, i]) for i in (0, 1)]

    def inner(a, b):
        return cb.sum(row(a, b) * w)

    def dot(parts):
        return cb.sum(parts[0] * ca) + cb.sum(parts[1] * cb_)

    both = (0, 1)
    outcomes = {
        "grad of grad": cb.grad(lambda a, b: dot(cb.grad(inner, both)(a, b)), both)(a, b),
        "jvp of grad": cb.jvp(cb.grad(inner, both), (a, b), (ca, cb_))[1],
        "grad of jvp": cb.grad(lambda a, b: cb.jvp(inner, (a, b), (ca, cb_))[1], both)(a, b),
    }
    for parts in outcomes.values():
        for y, exact in zip(parts, wanted, strict=True):
            assert_close(y.numpy(), exact, factor=64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_remainders_at_whole_quotients_and_far_from_them(dtype, target, rng):
    """Where a quotient rounds to the next integer, where it is huge, and beside such neighbours: NumPy's results."""
    n = 3000
    a = (rng.normal(size=n) * 10.0 ** rng.integers(-3, 8, n)).astype(dtype)
    b = (rng.normal(size=n) * 10.0 ** rng.integers(-3, 3, n)).astype(dtype)
    b[::3] = a[::3] / rng.integers(1, 1000, a[::3].size).astype(dtype)
    a[::5], b[::5] = np.round(a[::5]), np.round(b[::5]) + 1
    for x, y in ((a, b), (everywhere(n, dtype, rng), everywhere(n, dtype, rng))):
        m, q = (cb.tensor(x) % cb.tensor(y)).numpy(), (cb.tensor(x) // cb.tensor(y)).numpy()
        assert np.array_equal(m, np.remainder(x, y), equal_nan=True)
        wanted = np.floor_divide(x, y)
        near = np.abs(wanted) < 2.0 ** np.finfo(dtype).nmant
        assert np.array_equal(q[near], wanted[near])
        for k in range(0, 600, 7):
            assert same_bits((cb.tensor(x[k:k + 7]) % cb.tensor(y[k:k + 7])).numpy(), m[k:k + 7])
            assert same_bits((cb.tensor(x[k:k + 7]) // cb.tensor(y[k:k + 7])).numpy(), q[k:k + 7])
