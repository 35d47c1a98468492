"""Where the tests of rows look, and how they compare."""

import functools
import re

import numpy as np
import references

from cybackprop._core import engine
from cybackprop._core.engine import State, binary_rows, unary_rows

DTYPES = ("float32", "float64")
SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 67)     # both sides of every vector width and unroll
SPECIAL = np.array([-0.0, 0.0, -np.inf, np.inf])


def parameter_sets(row, dtype):
    """The defaults of a row and the other parameters its oracle asks for, rounded to the dtype as the kernel does."""
    oracle = references.UNARY.get(row.name)              # a missing one is test_tables.py's to report
    sets = [tuple(value for _, value in row.facts["params"]), *(oracle.params if oracle else ())]
    return [tuple(float(np.dtype(dtype).type(v)) for v in p) for p in sets]


UNARY = [(row, dtype, i) for row in unary_rows.values() for dtype in DTYPES
         for i in range(len(parameter_sets(row, dtype)))]
BINARY = [(row, dtype) for row in binary_rows.values() for dtype in DTYPES]
DIFFERENTIABLE = [(row, dtype) for row, dtype in BINARY if not row.facts["compares"]]


def case_id(value):
    return value if isinstance(value, str) else getattr(value, "name", str(value))


def kinks(row, p):
    """{x: the declared slope there}, finite ones; names stand for the row's parameters."""
    names = dict(zip((name for name, _ in row.facts["params"]), p, strict=True))
    pairs = re.findall(r"at\(([^,]+), ([^)]+)\)", row.facts["kinks"])
    values = {float(names.get(x, x)): float(names.get(slope, slope)) for x, slope in pairs}
    return {x: slope for x, slope in values.items() if np.isfinite(x)}


def inside(low, high, n, dtype, rng):
    """0, +-1 and both ends (one step in: an end may be a jump) as far as they are inside, and random points."""
    low, high = np.dtype(dtype).type(low), np.dtype(dtype).type(high)
    named = [v for v in (0.0, 1.0, -1.0, np.nextafter(low, high), np.nextafter(high, low)) if low < v < high]
    return np.concatenate([named, rng.uniform(low, high, n)]).astype(dtype)


@functools.cache
def points(row, dtype, p, n=64):
    """Shuffled points of a row's sample range, kinks included."""
    rng = np.random.default_rng(7)
    x = np.concatenate([inside(row.facts["low"], row.facts["high"], n, dtype, rng), list(kinks(row, p))])
    return rng.permutation(x.astype(dtype))


def everywhere(n, dtype, rng):
    """Numbers of either sign with every exponent equally likely, subnormal ones too."""
    info = np.finfo(dtype)
    exponent = rng.integers(info.minexp - info.nmant, info.maxexp, n)
    return np.ldexp(rng.uniform(1, 2, n) * rng.choice([-1, 1], n), exponent).astype(dtype)


@functools.cache
def wide_points(row, dtype, p):
    """Points inside the range, around 0, and everywhere; with the exact values of the row there."""
    rng = np.random.default_rng(11)
    x = np.concatenate([points(row, dtype, p, 256), rng.normal(size=64) * 30, everywhere(160, dtype, rng)])
    x = x.astype(dtype)
    x = x[(x != 0) & np.isfinite(x)]
    return x, *references.exact(references.UNARY[row.name].f, x, p=p)


def ulps(y, high, low=0.0):
    """How far y is from high + low in units in the last place of y's dtype; inf where one is NaN or infinite alone."""
    with np.errstate(all="ignore"):
        wanted = np.asarray(high).astype(y.dtype)
        unit = np.spacing(np.abs(wanted)).astype(np.float64)
        far = np.abs((y.astype(np.float64) - high) - low) / unit
    same = (y == wanted) | (np.isnan(y) & np.isnan(wanted))
    return np.where(np.isfinite(wanted) & np.isfinite(y), far, np.where(same, 0.0, np.inf))


def assert_ulps(y, high, low=0.0, limit=4, at=None):
    far = ulps(y, high, low)
    worst = int(np.argmax(far)) if far.size else 0
    assert far.size == 0 or far[worst] <= limit, (
        f"{far[worst]:.3g} ulp: got {y.flat[worst]!r}, exact {np.asarray(high).flat[worst]!r}"
        + ("" if at is None else f" at {at.flat[worst]!r}") + f"; {np.sum(far > limit)} of {far.size} too far")


def assert_close(y, wanted, factor=16, at=None):
    """abs(y - wanted) <= factor eps max(1, abs(wanted)), eps of y's dtype."""
    eps = np.finfo(y.dtype).eps
    far = np.abs(y.astype(np.float64) - wanted) / (eps * np.maximum(1, np.abs(wanted)))
    worst = int(np.argmax(np.where(np.isnan(far), np.inf, far))) if far.size else 0
    assert np.all(far <= factor), (f"{far.flat[worst]:.3g} eps: got {y.flat[worst]!r}, wanted {wanted.flat[worst]!r}"
                                   + ("" if at is None else f" at {at.flat[worst]!r}"))


def same_bits(a, b):
    """Equal dtype, shape and bytes."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same_values(a, b):
    """The same bits but for NaN: which of two NaNs an instruction hands on is not a promise."""
    a, b = np.array(a), np.array(b)
    if a.dtype.kind == "f" and a.shape == b.shape:
        a[np.isnan(a)], b[np.isnan(b)] = np.nan, np.nan
    return same_bits(a, b)


def step(name, parameters, moments, options, t, decays=True):
    """Step t of a row of optim.def; options by name, missing ones 0; moments: one list a moment, or None."""
    numbers = tuple(State(float(options.get(n, 0)), "float64") for n in engine.optimizer_facts()[name][0])
    members = [(p, State(t - 1), *(m and m[i] for m in moments)) for i, p in enumerate(parameters)]
    engine.update(name, [(numbers, len(members) if decays else 0, members)])


def cotangents(n, dtype, rng):
    """Normal numbers, never 1, about a fifth of them exactly 0."""
    return np.where(rng.random(n) < 0.2, 0, rng.normal(size=n)).astype(dtype)
