"""cybackprop.kernels: dense layers and activations over NumPy arrays, with guard values around every output."""

import numpy as np
import pytest
from references import UNARY as ORACLES
from samples import parameter_sets

import cybackprop as cb
from cybackprop import kernels
from cybackprop._core.engine import unary_rows

ROWS = [row for row in unary_rows.values() if row.facts["public"]]
SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 67)      # both sides of every vector width
DTYPES = ("float32", "float64")
GUARD = 12345.0


def guarded(rows, columns, dtype):
    """An output array between guard values, and a check that they are untouched."""
    room = np.full(64 + rows * columns + 64, GUARD, dtype)
    out = room[64:64 + rows * columns].reshape(rows, columns)

    def untouched():
        return (room[:64] == GUARD).all() and (room[64 + rows * columns:] == GUARD).all()

    return out, untouched


def sample(row, n, dtype, rng):
    low, high = row.facts["low"], row.facts["high"]
    return (low + (high - low) * rng.random((1, n))).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_activations_stay_in_their_output_and_agree_with_the_tape(row, dtype, rng, target):
    p = parameter_sets(row, dtype)[0]
    for n in SIZES:
        x, g = sample(row, n, dtype, rng), rng.normal(size=(1, n)).astype(dtype)
        g[:, ::5] = 0
        out, untouched = guarded(1, n, dtype)
        y = kernels.activation_forward(row.name, x, parameters=p, out=out)
        assert y is out and untouched()
        t = cb.tensor(x, requires_grad=True)
        taped = row(t, *p)
        assert np.array_equal(taped.numpy(), y)
        out, untouched = guarded(1, n, dtype)
        dx = kernels.activation_backward(row.name, x if kernels.keeps(row.name) == "X" else y, g, parameters=p, out=out)
        assert untouched()
        taped.backward(g)
        assert np.array_equal(t.grad.numpy(), dx)


@pytest.mark.parametrize("name", [None, "relu", "tanh", "gelu", "silu", "leaky_relu"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (17, 33, 16), (5, 2, 67), (0, 3, 2), (4, 0, 3), (300, 9, 10)])
def test_dense_against_numpy(name, shape, rng):
    rows, fan_in, fan_out = shape
    x, w, b = rng.normal(size=(rows, fan_in)), rng.normal(size=(fan_in, fan_out)), rng.normal(size=fan_out)
    g = rng.normal(size=(rows, fan_out))
    z = x @ w + b
    act = (lambda v: v) if name is None else lambda v: kernels.activation_forward(name, np.ascontiguousarray(v))
    h = 1e-6
    slope = np.ones_like(z) if name is None else (act(z + h) - act(z - h)) / (2 * h)
    out, untouched = guarded(rows, fan_out, "float64")
    y, kept = kernels.dense_forward(x, w, b, activation=name, out=out)
    assert untouched() and np.allclose(y, act(z), rtol=1e-12, atol=1e-12)
    dx, dw, db = kernels.dense_backward(x, w, kept, g, activation=name)
    near_kink = np.abs(z) < 1e-4
    gz = np.where(near_kink, 0, g * slope)
    if not near_kink.any():
        for got, wanted in ((dx, gz @ w.T), (dw, x.T @ gz), (db, gz.sum(0))):
            assert np.allclose(got, wanted, rtol=1e-6, atol=1e-6)
    assert kernels.dense_backward(x, w, kept, g, activation=name, need_x=False)[0] is None


def test_read_only_inputs_work_and_stay(rng):
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    before = x.copy(), w.copy()
    x.flags.writeable = w.flags.writeable = False
    kernels.dense_forward(x, w)
    assert np.array_equal(x, before[0]) and np.array_equal(w, before[1])


CAST = (TypeError, ValueError)           # what typed memoryviews raise
WRONG = {
    "inner": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((4, 5))), cb.ShapeError, r"\(2, 3\).*\(4, 5\)"),
    "bias": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((3, 5)), np.ones(4)), cb.ShapeError, "bias"),
    "out": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((3, 5)), out=np.ones((2, 4))), cb.ShapeError, "out"),
    "name": (lambda: kernels.activation_forward("tanhh", np.ones((1, 1))), ValueError, "tanhh"),
    "kept": (lambda: kernels.activation_backward("tanh", np.ones((1, 1)), np.ones((1, 2))), cb.ShapeError, "kept"),
    "g": (lambda: kernels.dense_backward(np.ones((2, 3)), np.ones((3, 5)), np.ones((2, 5)), np.ones((1, 5))),
          cb.ShapeError, "g"),
    "mixed dtypes": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((3, 5), "f")), CAST, "(?i)match|expected"),
    "integers": (lambda: kernels.dense_forward(np.ones((2, 3), int), np.ones((3, 5), int)), CAST, "(?i)match|expected"),
    "strided": (lambda: kernels.activation_forward("tanh", np.ones((4, 4))[:, ::2]), ValueError, "contiguous"),
}


@pytest.mark.parametrize("call, error, message", WRONG.values(), ids=WRONG)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_every_row_here_has_an_oracle():
    assert {row.name for row in ROWS} <= set(ORACLES)
