"""Every row of unary.def: values, slopes, curvatures, accumulation, zeros.  Cases come from the table itself."""

import numpy as np
import pytest
import references
from samples import (
    SIZES,
    SPECIAL,
    UNARY,
    assert_close,
    assert_ulps,
    case_id,
    cotangents,
    kinks,
    parameter_sets,
    points,
    same_bits,
    same_values,
    wide_points,
)

import cybackprop as cb

pytestmark = pytest.mark.usefixtures("quiet")
each_row = pytest.mark.parametrize("row, dtype, which", UNARY, ids=case_id)


def leaf(x):
    return cb.tensor(x, requires_grad=True)


def expected_slopes(row, x, p):
    """Slope (the declared one at kinks) and curvature (NaN at kinks) of the oracle at each point."""
    declared = kinks(row, p)
    left, right, curvature = references.slopes(row.name, tuple(x.tolist()), p).T
    at_kink = np.isin(x, list(declared))
    slope = np.array([declared.get(v, r) for v, r in zip(x.tolist(), right, strict=True)])
    smooth = np.abs(left - right) <= 1e-9 * np.maximum(1, np.abs(right))
    assert np.all(smooth | at_kink), f"undeclared kinks at {x[~(smooth | at_kink)]}"
    between = (np.minimum(left, right) <= slope + 1e-6) & (slope - 1e-6 <= np.maximum(left, right))
    assert np.all(between | (np.abs(left) > 1e30) | (np.abs(right) > 1e30)), "a declared slope is none of the sides'"
    return slope, np.where(at_kink, np.nan, curvature)


@each_row
def test_values(row, dtype, which, target):
    p = parameter_sets(row, dtype)[which]
    x, high, low = wide_points(row, dtype, p)
    assert_ulps(row(x, *p).numpy(), high, low, at=x)


@pytest.mark.parametrize("row, dtype", [case[:2] for case in UNARY if case[2] == 0], ids=case_id)
def test_zeros_infinities_nan(row, dtype, target, rng):
    # with the default parameters; shuffled and repeated, so that vector body and tail both meet each
    order = rng.integers(0, 5, 67)
    x = np.append(SPECIAL, np.nan).astype(dtype)[order]
    wanted = np.append(references.UNARY[row.name].at, np.nan)[order]
    y = row(x, *parameter_sets(row, dtype)[0]).numpy()
    assert_ulps(y, wanted, at=x)
    zero = wanted == 0
    assert np.array_equal(np.signbit(y[zero]), np.signbit(wanted[zero])), f"sign of zero at {x[zero]}: {y[zero]}"


@each_row
def test_an_element_does_not_depend_on_its_place(row, dtype, which, target, rng):
    p = parameter_sets(row, dtype)[which]
    x = points(row, dtype, p)[:max(SIZES)]
    g = cotangents(x.size, dtype, rng)

    def run(x, g):
        x = leaf(x)
        y = row(x, *p)
        y.backward(g)
        return y.numpy(), x.grad.numpy()

    whole = run(x, g)
    for n in SIZES:
        for part, full in zip(run(x[x.size - n:], g[x.size - n:]), whole, strict=True):
            assert same_bits(part, full[x.size - n:]), n
    assert row(x[:15].reshape(3, 5), *p).shape == (3, 5)
    assert row(x[0], *p).shape == ()


@each_row
def test_vjp_and_jvp(row, dtype, which, target, rng):
    p = parameter_sets(row, dtype)[which]
    x = points(row, dtype, p)
    slope, _ = expected_slopes(row, x, p)
    g = cotangents(x.size, dtype, rng)
    a = leaf(x)
    row(a, *p).backward(g)
    assert_close(a.grad.numpy(), np.where(g == 0, 0, g * slope), at=x)
    assert np.all(a.grad.numpy()[g == 0] == 0)
    _, t = cb.jvp(lambda x: row(x, *p), (x,), (g,))
    assert same_bits(t, a.grad)


@each_row
def test_accumulates(row, dtype, which, target, rng):
    # x is used before and after; the sweep meets the other use first, so the kernel adds into what is there
    p = parameter_sets(row, dtype)[which]
    x = points(row, dtype, p)
    g, c = cotangents(x.size, dtype, rng), rng.normal(size=x.size).astype(dtype)
    alone, twice, recorded = leaf(x), leaf(x), leaf(x)
    row(alone, *p).backward(g)
    (row(twice, *p) + twice * c).backward(g)
    (row(recorded, *p) + recorded * c).backward(g, create_graph=True)
    other = np.where(g == 0, 0, g * c).astype(dtype)
    assert same_bits(twice.grad.numpy() + 0, (other + alone.grad.numpy()) + 0)
    assert same_bits(recorded.grad, twice.grad)
    (row(twice, *p) + twice * c).backward(g)                 # and once more into .grad
    assert same_bits(twice.grad, recorded.grad.numpy() + recorded.grad.numpy())


@each_row
def test_recorded_sweep_has_the_same_bits(row, dtype, which, target, rng):
    p = parameter_sets(row, dtype)[which]
    x = np.concatenate([wide_points(row, dtype, p)[0], SPECIAL, [np.nan]]).astype(dtype)
    g = cotangents(x.size, dtype, rng)
    plain, recorded = leaf(x), leaf(x)
    row(plain, *p).backward(g)
    row(recorded, *p).backward(g, create_graph=True)
    a, b = plain.grad.numpy(), recorded.grad.numpy()
    assert same_values(a, b), x[(a != b) & ~(np.isnan(a) & np.isnan(b))]


@each_row
def test_zero_cotangent_is_strong(row, dtype, which, target):
    p = parameter_sets(row, dtype)[which]
    x = np.concatenate([points(row, dtype, p), SPECIAL, [np.nan, -2e30, 2e30]]).astype(dtype)
    for create_graph in (False, True):
        a = leaf(x)
        row(a, *p).backward(np.zeros_like(x), create_graph=create_graph)
        assert np.all(a.grad.numpy() == 0), x[a.grad.numpy() != 0]


@each_row
def test_second_order(row, dtype, which, target, rng):
    # d/dx sum c (d/dx sum w f(x)) = c w f''(x), in three nestings
    p = parameter_sets(row, dtype)[which]
    x = points(row, dtype, p, 24)
    _, curvature = expected_slopes(row, x, p)
    x, curvature = x[np.isfinite(curvature)], curvature[np.isfinite(curvature)]
    w, c = (rng.normal(size=x.size).astype(dtype) for _ in "wc")

    def inner(x):
        return cb.sum(row(x, *p) * w)

    outcomes = {
        "grad of grad": cb.grad(lambda x: cb.sum(cb.grad(inner)(x) * c))(x),
        "jvp of grad": cb.jvp(cb.grad(inner), (x,), (c,))[1],
        "grad of jvp": cb.grad(lambda x: cb.jvp(inner, (x,), (c,))[1])(x),
    }
    for y in outcomes.values():
        assert_close(y.numpy(), c.astype(float) * w * curvature, factor=64, at=x)
