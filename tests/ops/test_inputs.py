"""What may come in: any layout, byte order, alignment and protection; the promotion table; nothing is written."""

import ctypes
import hashlib
import mmap
import os

import numpy as np
import pytest

import cybackprop as cb

BASE = np.random.default_rng(11).normal(size=(6, 5))


def misaligned(x):
    raw = bytearray(x.nbytes + 1)
    view = np.frombuffer(raw, x.dtype, x.size, offset=1).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def packed_field(x):
    record = np.zeros(x.shape, np.dtype([("a", "i1"), ("x", x.dtype)]))
    record["x"] = x
    return record["x"]


LAYOUTS = {
    "plain": lambda x: x.copy(),
    "fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "strided": lambda x: np.repeat(np.repeat(x, 3, 0), 2, 1)[::3, ::2],
    "negative strides": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "misaligned": misaligned,
    "packed field": packed_field,
    "read-only": read_only,
    "subclass": lambda x: x.copy().view(type("Mine", (np.ndarray,), {})),
}
READS = {
    "tensor": cb.tensor,
    "parameter": lambda x: cb.Parameter(x),
    "assign": lambda x: (lambda p: (p.assign(x), p)[1])(cb.Parameter(np.zeros(x.shape, x.dtype.newbyteorder("=")))),
    "add": lambda x: x + cb.zeros((), dtype=x.dtype.newbyteorder("=")),
    "exp": lambda x: cb.log(cb.exp(x)),
    "matmul": lambda x: cb.matmul(x, np.eye(x.shape[1])),
    "dense": lambda x: cb.dense(x, cb.tensor(np.eye(x.shape[1], dtype=x.dtype.newbyteorder("=")))),
    "sum": lambda x: cb.sum(x[None], axis=0),
    "concatenate": lambda x: cb.concatenate([x[:2], x[2:]]),
    "where": lambda x: cb.where(x == x, x, 0),
    "take": lambda x: cb.take(x, np.arange(len(x))),
    "grad": lambda x: cb.grad(lambda t: cb.sum(t * t) / 2)(x),
    "grad setter": lambda x: (lambda t: (setattr(t, "grad", x), t.grad)[1])(cb.zeros(x.shape,
                                                                                     x.dtype.newbyteorder("="))),
    "cotangent": lambda x: (lambda t: ((t + 0).backward(x), t.grad)[1])(
        cb.tensor(np.zeros(x.shape, x.dtype.newbyteorder("=")), requires_grad=True)),
    "tangent": lambda x: cb.jvp(lambda t: t * 1, (np.zeros(x.shape, x.dtype.newbyteorder("=")),), (x,))[1],
}


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("read", READS)
def test_layouts_are_read_alike_never_written_never_shared(read, layout, dtype):
    """Any layout is taken as its copy would be, nothing is written, nothing is aliased."""
    x = LAYOUTS[layout](BASE.astype(dtype))
    before = hashlib.sha256(x.tobytes()).digest()
    y = READS[read](x)
    assert y.dtype == dtype and y.shape == x.shape
    np.testing.assert_allclose(y.numpy(), BASE.astype(dtype), rtol=1e-5, atol=1e-6)
    assert hashlib.sha256(x.tobytes()).digest() == before
    kept = y.numpy().copy()
    if x.flags.writeable:
        x[...] = 77
    assert np.array_equal(y.numpy(), kept) and not np.shares_memory(y.numpy(), x)


@pytest.mark.parametrize("read", READS)
def test_a_page_that_may_only_be_read(read, tmp_path):
    """Not the flag of the array but the protection of the page: a write would end the process."""
    path = tmp_path / "x.bin"
    path.write_bytes(BASE.tobytes())
    x = np.memmap(path, dtype="float64", mode="r", shape=BASE.shape)
    np.testing.assert_allclose(READS[read](x).numpy(), BASE, rtol=1e-12, atol=1e-12)
    del x


@pytest.mark.skipif(os.name != "posix", reason="mprotect")
def test_kernels_do_not_write_to_a_protected_page():
    page = mmap.mmap(-1, mmap.PAGESIZE)
    x = np.frombuffer(page, "float64", 30).reshape(6, 5)
    x[...] = BASE
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert protect(x.ctypes.data, mmap.PAGESIZE, mmap.PROT_READ) == 0
    try:
        for name, read in READS.items():
            np.testing.assert_allclose(read(x).numpy(), BASE, rtol=1e-12, atol=1e-12, err_msg=name)
    finally:
        protect(x.ctypes.data, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


def test_one_array_as_everything_at_once():
    x = BASE.copy()
    w = cb.Parameter(x)
    loss = cb.sum((x @ w.T + cb.tensor(x) @ x.T) * (x @ x.T))
    loss.backward(np.float64(1.5))
    x_dot = 1.5 * (x @ x.T).T @ x
    np.testing.assert_allclose(w.grad.numpy(), x_dot, rtol=1e-12)
    assert np.array_equal(x, BASE) and not np.shares_memory(w.numpy(), x)


# ---- what becomes of which dtype: float32 and float64 stay, everything else by this table

COMES_IN_AS = {"float16": "float32", "float32": "float32", "float64": "float64", ">f4": "float32", ">f8": "float64",
               "int8": "int64", "uint8": "int64", "int16": "int64", "uint16": "int64", "int32": "int64",
               "uint32": "int64",
               "int64": "int64", ">i2": "int64", "bool": "bool"}
REFUSED = ("uint64", "complex64", "complex128", "longdouble", "object", "U3", "S3", "datetime64[s]", "V4")


class ArrayLike:
    """What offers __array__ and is no ndarray."""

    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x if dtype is None else self.x.astype(dtype)


@pytest.mark.parametrize("shape", ((), (3,), (0,), (2, 2)))
@pytest.mark.parametrize("dtype", COMES_IN_AS)
def test_promotion_of_what_comes_in(dtype, shape):
    x = np.ones(shape).astype(dtype)
    for form in (x, ArrayLike(x)):
        y = cb.tensor(form)
        assert y.dtype == COMES_IN_AS[dtype] and y.shape == shape and np.array_equal(y.numpy(), x)
    if shape == ():
        assert cb.tensor(x[()]).dtype == COMES_IN_AS[dtype]


@pytest.mark.parametrize("dtype", REFUSED)
def test_dtypes_without_a_tensor(dtype):
    x = np.zeros(3, dtype)
    for form in (x, ArrayLike(x)):
        with pytest.raises(cb.DTypeError, match="tensor"):
            cb.tensor(form)
    for act in (lambda: cb.tensor([1.0]) + x, lambda: cb.Parameter([1.0, 2, 3]).assign(x)):
        if dtype not in ("uint64", "longdouble"):
            with pytest.raises(cb.DTypeError):
                act()


@pytest.mark.parametrize("data, dtype", [(1, "int64"), (1.0, "float32"), (True, "bool"), ([1, 2.5], "float32"),
                                         ([], "float32"),
                                         ([[True], [False]], "bool"), ((1, 2), "int64"), (range(3), "int64"),
                                         (np.float32(2), "float32"), (np.float64(2), "float64")], ids=str)
def test_python_data(data, dtype):
    y = cb.tensor(data)
    assert y.dtype == dtype and np.array_equal(y.numpy(), np.asarray(data))


def test_buffers_keep_their_dtype():
    import array
    for data in (array.array("d", [1.0, 1e-300]), memoryview(np.array([1.0, 1e-300])), [cb.tensor(np.array(1e-300))]):
        assert cb.tensor(data).dtype == "float64" and cb.tensor(data).tolist()[-1] == 1e-300


@pytest.mark.parametrize("tensor", ("float32", "float64"))
@pytest.mark.parametrize("other", ("float16", "float32", "float64", "int8", "int64", "uint64", "bool", ">f8"))
def test_arrays_are_cast_to_the_tensor_they_meet(tensor, other):
    t, a = cb.ones(3, dtype=tensor), np.ones(3).astype(other)
    for y in (t + a, a + t, t * a.tolist(), a / t, t - 1, 2 ** t, cb.maximum(a, t), cb.where([True] * 3, a, t), t @ a,
              a @ t,
              cb.concatenate([a, t]), cb.stack([t, a]), cb.atan2(t, a)):
        assert type(y) is cb.Tensor and y.dtype == tensor
    assert (a < t).dtype == "bool"


def test_two_tensors_are_never_cast():
    wide, narrow, count = cb.ones(3, dtype="float64"), cb.ones(3), cb.arange(3)
    for act in (lambda a, b: a + b, cb.maximum, cb.matmul, lambda a, b: cb.where([True] * 3, a, b), cb.dense,
                lambda a, b: cb.concatenate([a, b]), lambda a, b: a < b, lambda a, b: a == b):
        for pair in ((wide, narrow), (narrow, count), (count, wide)):
            with pytest.raises(cb.DTypeError, match="meets|is float|is int"):
                act(*pair)


def test_integers_do_not_wrap_and_truths_are_not_rounded():
    assert (cb.tensor([True, False]) == np.array([2, 0])).tolist() == [False, True]
    big = np.array([2**64 - 1], np.uint64)
    for act in (lambda: cb.tensor([-1]) == big, lambda: cb.tensor(big, "int64")):
        try:
            y = act()
        except (cb.DTypeError, OverflowError, ValueError):
            continue
        assert y.dtype == bool and y.tolist() == [False]
