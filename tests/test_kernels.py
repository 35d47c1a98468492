"""cybackprop.kernels: dense layers and activations over NumPy arrays, with guard values around every output."""

import contextlib

import numpy as np
import pytest
from references import UNARY as ORACLES
from samples import parameter_sets

import cybackprop as cb
from cybackprop import kernels
from cybackprop._core.engine import matmul_ref, unary_rows

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["NN", "NT", "TN"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (17, 33, 16), (5, 2, 67), (0, 3, 2), (4, 0, 3), (2, 300, 9),
                                   (128, 96, 100)])
def test_matmul_against_numpy(shape, layout, dtype, rng):
    M, K, N = shape
    a, b, bias = (rng.normal(size=s).astype(dtype) for s in ((M, K), (K, N), (N,)))
    product, close = a @ b, dict.fromkeys(("rtol", "atol"), 1e-4 if dtype == "float32" else 1e-12)
    if layout == "TN":
        a = np.ascontiguousarray(a.T)
    if layout == "NT":
        b = np.ascontiguousarray(b.T)
    out, untouched = guarded(M, N, dtype)
    assert kernels.matmul(a, b, layout=layout, out=out) is out and untouched()
    assert np.allclose(out, product, **close)
    new = kernels.matmul(a, b, layout=layout)
    assert new.dtype == dtype and np.array_equal(new, out)
    kernels.matmul(a, b, layout=layout, out=out, add=True)
    assert untouched() and np.array_equal(out, new + new)            # what is added was finished before
    if layout != "TN":
        kernels.matmul(a, b, layout=layout, bias=bias, out=out)
        assert untouched() and np.allclose(out, product + bias, **close)


def test_matmul_has_the_bits_of_the_tensors_product(rng):
    a, b = rng.normal(size=(70, 33)), rng.normal(size=(33, 41))
    assert np.array_equal(kernels.matmul(a, b), (cb.tensor(a) @ cb.tensor(b)).numpy())
    assert np.array_equal(kernels.matmul(a, b), matmul_ref(a, b))


@pytest.mark.parametrize("shape", [(5, 3, 4), (0, 3, 2), (4, 0, 3), (300, 9, 10)])
def test_dense_backward_into_given_arrays(shape, rng, target):
    rows, fan_in, fan_out = shape
    x, w, g = rng.normal(size=(rows, fan_in)), rng.normal(size=(fan_in, fan_out)), rng.normal(size=(rows, fan_out))
    y, kept = kernels.dense_forward(x, w, activation="tanh")
    wanted = kernels.dense_backward(x, w, kept, g, activation="tanh")
    rooms = [guarded(*s, "float64") for s in ((rows, fan_in), (fan_in, fan_out), (1, fan_out))]
    out = rooms[0][0], rooms[1][0], rooms[2][0][0]
    for array in out:
        array[...] = GUARD
    got = kernels.dense_backward(x, w, kept, g, activation="tanh", out=out)
    assert all(a is b and np.array_equal(a, c) for a, b, c in zip(got, out, wanted, strict=True))
    kernels.dense_backward(x, w, kept, g, activation="tanh", out=out, add=True)
    assert np.array_equal(out[0], wanted[0])
    assert np.array_equal(out[1], wanted[1] + wanted[1]) and np.array_equal(out[2], wanted[2] + wanted[2])
    dx, dw, db = kernels.dense_backward(x, w, kept, g, activation="tanh", need_x=False, out=(None, None, out[2]))
    assert dx is None and np.array_equal(dw, wanted[1]) and db is out[2] and np.array_equal(db, wanted[2])
    assert all(untouched() for _, untouched in rooms)


def test_outputs_that_share_memory_are_refused(rng):
    room = rng.normal(size=40)
    a, b, before = room[:9].reshape(3, 3), rng.normal(size=(3, 3)), room.copy()
    with pytest.raises(ValueError, match="shares memory"):
        kernels.matmul(a, b, out=room[8:17].reshape(3, 3))
    with pytest.raises(ValueError, match="shares memory"):
        kernels.dense_forward(b, a, out=a)
    with pytest.raises(ValueError, match="shares memory"):
        kernels.dense_backward(b, b, b, b, out=(None, room[:9].reshape(3, 3), room[8:11]))
    assert np.array_equal(room, before)
    kernels.matmul(a, b, out=room[9:18].reshape(3, 3))               # neighbours are no overlap


def test_buffers_that_are_not_numpys(rng):
    import array
    a = memoryview(array.array("d", range(6))).cast("B").cast("d", (2, 3))
    assert kernels.matmul(a, a, layout="NT").tolist() == [[5.0, 14.0], [14.0, 50.0]]
    assert kernels.activation_forward("relu", array.array("f", [-1, 2])).tolist() == [0, 2]
    t = cb.tensor([[1.0, 2.0]])
    assert kernels.matmul(t, t, layout="NT").tolist() == [[5.0]]


def test_no_buffer_is_held_after_a_call(rng):
    room = bytearray(8 * 12)
    for call in (lambda a: kernels.matmul(a, a, layout="NT"), lambda a: kernels.dense_forward(a, a),
                 lambda a: kernels.activation_forward("tanh", a)):
        with contextlib.suppress(cb.ShapeError):
            call(np.frombuffer(room, float).reshape(3, 4))
    room.append(0)                                                   # BufferError while anybody looks at it


def test_read_only_inputs_work_and_stay(rng):
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    before = x.copy(), w.copy()
    x.flags.writeable = w.flags.writeable = False
    kernels.dense_forward(x, w)
    assert np.array_equal(x, before[0]) and np.array_equal(w, before[1])


ONES, SINGLE = np.ones((2, 3)), np.ones((3, 5), "f")
WRONG = {
    "inner": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((4, 5))), cb.ShapeError, r"\(2, 3\).*\(4, 5\)"),
    "bias": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((3, 5)), np.ones(4)), cb.ShapeError, "bias"),
    "out": (lambda: kernels.dense_forward(np.ones((2, 3)), np.ones((3, 5)), out=np.ones((2, 4))), cb.ShapeError, "out"),
    "name": (lambda: kernels.activation_forward("tanhh", np.ones((1, 1))), ValueError, "tanhh"),
    "kept": (lambda: kernels.activation_backward("tanh", np.ones((1, 1)), np.ones((1, 2))), cb.ShapeError, "kept"),
    "g": (lambda: kernels.dense_backward(np.ones((2, 3)), np.ones((3, 5)), np.ones((2, 5)), np.ones((1, 5))),
          cb.ShapeError, "g"),
    "mixed dtypes": (lambda: kernels.dense_forward(ONES, SINGLE), cb.DTypeError, "weight is float32.*first float64"),
    "integers": (lambda: kernels.dense_forward(np.ones((2, 3), int), SINGLE), cb.DTypeError, "x must be float32 or"),
    "big-endian": (lambda: kernels.matmul(ONES.astype(">f8"), ONES), cb.DTypeError, "a must be float32 or float64"),
    "a list": (lambda: kernels.matmul([[1.0]], ONES), TypeError, "a must be an array, not list"),
    "a vector": (lambda: kernels.matmul(np.ones(3), ONES), cb.ShapeError, r"a \(3,\) must have 2 axes"),
    "lengths": (lambda: kernels.matmul(ONES, ONES), cb.ShapeError, r"\(2, 3\).*\(2, 3\).*'NN'.*3 and 2 differ"),
    "lengths NT": (lambda: kernels.matmul(ONES, ONES[:, :2].copy(), layout="NT"), cb.ShapeError, "3 and 2 differ"),
    "lengths TN": (lambda: kernels.matmul(ONES, np.ones((3, 3)), layout="TN"), cb.ShapeError, "2 and 3 differ"),
    "layout": (lambda: kernels.matmul(ONES, ONES, layout="TT"), ValueError, "no layout 'TT'.*'NN', 'NT' and 'TN'"),
    "bias length": (lambda: kernels.matmul(ONES, ONES, layout="NT", bias=np.ones(3)), cb.ShapeError, r"\(3,\).*\(2,\)"),
    "bias TN": (lambda: kernels.matmul(ONES, ONES, layout="TN", bias=np.ones(3)), ValueError, "takes no bias"),
    "no out to add to": (lambda: kernels.matmul(ONES, ONES, layout="NT", add=True), ValueError, "no out is given"),
    "out of matmul": (lambda: kernels.matmul(ONES, ONES, layout="NT", out=np.ones((2, 3))), cb.ShapeError,
                      r"out \(2, 3\) must be \(2, 2\)"),
    "read-only out": (lambda: kernels.activation_forward("exp", ONES, out=np.broadcast_to(1.0, (2, 3))), ValueError,
                      "out"),
    "db": (lambda: kernels.dense_backward(*[np.ones((2, 2))] * 4, out=(None, None, np.ones(3))), cb.ShapeError,
           r"db \(3,\) must be \(2,\)"),
    "nothing to add to": (lambda: kernels.dense_backward(ONES, ONES, ONES, ONES, add=True), ValueError, "must give"),
    "strided": (lambda: kernels.activation_forward("tanh", np.ones((4, 4))[:, ::2]), ValueError, "contiguous"),
}


@pytest.mark.parametrize("call, error, message", WRONG.values(), ids=WRONG)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_every_row_here_has_an_oracle():
    assert {row.name for row in ROWS} <= set(ORACLES)
