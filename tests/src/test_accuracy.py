"""The accuracy that docs/accuracy.md promises, on a sample: `make sweep` measures it over all float32 inputs.

float32 against NumPy's float64, float64 against mpmath; the bounds are those of tools/sweep/sweep.c."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import references
from samples import assert_ulps

import cybackprop as cb
from cybackprop._core.engine import active_target, unary_rows

pytestmark = pytest.mark.usefixtures("quiet")
SWEEP_FILE = Path(__file__).resolve().parents[2] / "tools/sweep/sweep.c"
SWEEP = SWEEP_FILE.read_text(encoding="utf-8")
BOUNDS = {name: tuple(map(int, limits)) for name, *limits in re.findall(r'{"(\w+)", (\d+), (\d+), (\d+)}', SWEEP)}

erf, erfc = (np.vectorize(f, otypes=[float]) for f in (math.erf, math.erfc))


def sigma(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def gate(x):                             # tanh(softplus(x))
    w = np.exp(np.minimum(x, 300))
    return w * (w + 2) / (w * (w + 2) + 2)


def left(x):                             # times an exponential: -inf * 0 is -0 here
    return np.maximum(x, -2000)


FLOAT64 = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "erf": erf, "sigmoid": sigma,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "gelu": lambda x: left(x) * erfc(-x / math.sqrt(2)) / 2,
    "silu": lambda x: left(x) * sigma(x),
    "mish": lambda x: left(x) * gate(x),
}
SLOPES = {
    "softsign": lambda x: 1 / (1 + np.abs(x)) ** 2,
    "softplus": sigma,
}
FROM_Y = {                               # what is lost in saturation: docs/accuracy.md
    "tanh": lambda x: 4 * sigma(2 * x) * sigma(-2 * x),
    "sigmoid": lambda x: sigma(x) * sigma(-x),
}
ALL32 = np.arange(0, 2 ** 32, 39_979, dtype=np.uint64).astype(np.uint32).view(np.float32)


def test_every_function_has_its_bound():
    assert FLOAT64.keys() == BOUNDS.keys() and all(limits == (2, 2, 4) for limits in BOUNDS.values())


@pytest.mark.parametrize("name", BOUNDS)
def test_float32(name, target):
    with np.errstate(all="ignore"):
        exact = FLOAT64[name](ALL32.astype(np.float64))
    y = unary_rows[name](ALL32).numpy()
    assert_ulps(y, exact, limit=BOUNDS[name][0], at=ALL32)
    zero = (y == 0) & (exact == 0)
    assert np.array_equal(np.signbit(y[zero]), np.signbit(exact[zero]))


@pytest.mark.parametrize("name", BOUNDS)
def test_float64(name, target):
    rng = np.random.default_rng(5)
    near = np.add.outer((-0.75, 0.0, 0.5, math.pi / 2, 6.0), 2.0 ** -rng.uniform(0, 52, 40)).ravel()
    x = np.concatenate([rng.uniform(-s, s, 200) for s in (1.5, 12, 45)] + [near, rng.uniform(-745, 709, 50)])
    x = np.abs(x) if name == "log" else x[x > -1] if name == "log1p" else x
    high, low = references.exact(references.UNARY[name].f, x)
    limit = BOUNDS[name][2 if active_target() == "base" else 1]
    assert_ulps(unary_rows[name](x).numpy(), high, low, limit=limit, at=x)


def slope(name, wanted):
    """(finite inputs, the row's slope, the exact one)."""
    x = cb.tensor(ALL32[np.isfinite(ALL32)], requires_grad=True)
    unary_rows[name](x).backward(np.ones(x.shape, np.float32))
    with np.errstate(all="ignore"):
        return x.numpy(), x.grad.numpy(), wanted[name](x.numpy().astype(np.float64))


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_are_right_in_saturation(name, target):
    x, got, exact = slope(name, SLOPES)
    assert_ulps(got, exact, at=x)


@pytest.mark.parametrize("name", FROM_Y)
def test_slopes_from_y_are_right_to_an_ulp_of_one_and_their_own_rows_relatively(name, target):
    x, got, exact = slope(name, FROM_Y)
    assert np.abs(got - exact).max() < 2 * np.finfo(np.float32).eps
    assert_ulps(unary_rows[name + "_slope"](x).numpy(), exact, at=x)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the sweep is compiled by GCC")
def test_the_sweep_compiles_against_the_kernel_table():
    tool = SWEEP_FILE.parent
    for source in ("sweep.c", "all32.c", "sample.c"):
        done = subprocess.run(["gcc", "-std=gnu11", "-fsyntax-only", "-Wall", "-Werror", f"-I{tool.parents[1] / 'src'}",
                               str(tool / source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
