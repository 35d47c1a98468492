"""Every fast product against the plain loops of gemm_ref, bit by bit: tails, layouts, blocks, batches, threads."""

import time

import numpy as np
import pytest
from samples import DTYPES, same_bits

import cybackprop as cb
from cybackprop import kernels
from cybackprop._core import engine

LAYOUTS = ("NN", "NT", "TN")
TAILS = (1, 2, 3, 7, 8, 9, 10, 16, 17, 30, 33, 48, 49, 100)
# (M, N, K): column blocks and waiting sums, long streams, gathered tiles, one group and many, columns of one vector
BIG = [(70, 200, 1100), (1, 2100, 1030), (2, 1100, 2000), (129, 130, 700), (40, 300, 600), (300, 10, 784),
       (6, 20, 5000), (1, 700, 300), (700, 1, 40), (5, 500, 513), (1, 1, 2050), (33, 600, 520), (13, 3, 256),
       (9, 12, 257), (2, 13, 259), (50, 1, 1023)]


def normal(rng, dtype, *shape):
    return cb.tensor(rng.normal(size=shape).astype(dtype))


def operands(rng, dtype, layout, M, N, K):
    return (normal(rng, dtype, *((K, M) if layout == "TN" else (M, K))),
            normal(rng, dtype, *((N, K) if layout == "NT" else (K, N))))


def arguments(rng, dtype, layout, shape, bias=False, add=False):
    M, N, K = shape
    return (layout, *operands(rng, dtype, layout, M, N, K), normal(rng, dtype, N) if bias and layout != "TN" else None,
            normal(rng, dtype, M, N) if add else None)


def product(arguments, reference=False):
    """c and then the column sums."""
    return np.concatenate([t.numpy().ravel() for t in engine.raw_product(*arguments, reference)])


def assert_same(rng, dtype, layout, shapes):
    for shape in shapes:
        for bias, add in ((False, False), (True, False), (True, True)):
            given = arguments(rng, dtype, layout, shape, bias, add)
            assert same_bits(product(given), product(given, True)), (shape, bias, add)


@pytest.fixture
def threads():
    """Sets the number of threads, for one test."""
    before = engine.get_num_threads()
    yield cb.set_num_threads
    cb.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tails_equal_the_reference(layout, dtype, target, rng):
    shapes = [(M, N, K) for M in TAILS for N in TAILS for K in rng.choice([1, 2, 3, 5, 15, 16, 31, 64, 100], 1)]
    assert_same(rng, dtype, layout, shapes + [(0, 5, 3), (3, 5, 0), (0, 5, 0)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_equal_the_reference(layout, dtype, target, rng):
    assert_same(rng, dtype, layout, BIG)


def same_on_threads(run, wanted, threads):
    """Whether run() gives the wanted bits on 1, 2, 3 and 7 threads, and more than one had a share where there are more.

    Again and again for up to a minute, because a worker that wakes too late on a busy machine finds nothing left to do;
    falling, because the number that an older region left behind would be too many.
    """
    for n in (7, 3, 2):
        threads(n)
        end = time.monotonic() + 60
        while True:
            if not same_bits(run(), wanted) or time.monotonic() > end:
                return False
            if 1 < engine.workers_used() <= n:
                break
    threads(1)
    return same_bits(run(), wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_equal_the_reference(layout, threads, target, rng):
    for shape in ((300, 390, 300), (70, 2000, 260), (4000, 33, 600)):
        given = arguments(rng, "float32", layout, shape, add=layout == "TN")
        assert same_on_threads(lambda given=given: product(given), product(given, True), threads), shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ta, tb", [(False, False), (False, True), (True, False)])
def test_a_batch_is_its_matrices(ta, tb, dtype, target, rng):
    layout = "TN" if ta else "NT" if tb else "NN"
    for M, N, K in ((1, 1, 1), (4, 4, 4), (3, 10, 30), (16, 2, 9), (5, 7, 300), (30, 31, 64)):
        for lead_a, lead_b in (((6,), (6,)), ((2, 3), (1,)), ((1,), (6,)), ((2, 1), (1, 3)), ((6,), ()), ((), (6,))):
            a = normal(rng, dtype, *lead_a, *((K, M) if ta else (M, K)))
            b = normal(rng, dtype, *lead_b, *((N, K) if tb else (K, N)))
            got = engine.raw_matmul(a, b, ta, tb).numpy()
            lead = np.broadcast_shapes(lead_a, lead_b)
            each = [np.broadcast_to(t.numpy(), lead + t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in (a, b)]
            for i, part in enumerate(got.reshape(-1, M, N)):
                x, y = (cb.tensor(np.ascontiguousarray(t[i])) for t in each)
                assert same_bits(part, engine.raw_product(layout, x, y, None, None, True)[0].numpy())


def test_a_large_batch_is_shared_out(threads, target, rng):
    a, b = normal(rng, "float32", 700, 30, 30), normal(rng, "float32", 700, 30, 33)
    each = [engine.raw_product("NN", a[i], b[i], None, None, True)[0].numpy() for i in range(700)]
    assert same_on_threads(lambda: engine.raw_matmul(a, b, False, False).numpy(), np.stack(each), threads)


def reference_layer(x, w, kept, g, activation, previous, previous_kept):
    """(dx, dw, db) of a dense layer, put together from plain products and elementwise rows."""
    gz = g if activation is None else kernels.activation_backward(activation, kept, g)
    dw, db = engine.raw_product("TN", cb.tensor(x), cb.tensor(gz), None, None, True)
    dx = engine.raw_product("NT", cb.tensor(gz), cb.tensor(w), None, None, True)[0].numpy()
    if previous is not None:
        dx = kernels.activation_backward(previous, previous_kept, np.ascontiguousarray(dx))
    return dx, dw.numpy(), db.numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation, previous", [("relu", "tanh"), (None, "gelu"), ("silu", "relu"), ("tanh", None)])
def test_dense_equals_the_reference(activation, previous, dtype, threads, target, rng):
    for B, n_in, n_out in ((1, 30, 2), (33, 10, 100), (300, 100, 10), (7, 1, 1), (5, 300, 700), (600, 150, 140)):
        for n in (1, 3):
            threads(n)
            x, w, b, g = (rng.normal(size=s).astype(dtype) for s in ((B, n_in), (n_in, n_out), (n_out,), (B, n_out)))
            g[:, ::3] = 0
            y, kept = kernels.dense_forward(x, w, b, activation=activation)
            z = engine.raw_product("NN", cb.tensor(x), cb.tensor(w), cb.tensor(b), None, True)[0].numpy()
            assert same_bits(y, z if activation is None else kernels.activation_forward(activation, np.array(z)))
            got = kernels.dense_backward(x, w, kept, g, activation=activation, previous=previous,
                                         previous_kept=None if previous is None else x)
            wanted = reference_layer(x, w, kept, g, activation, previous, x)
            assert [same_bits(p, q) for p, q in zip(got, wanted, strict=True)] == [True] * 3
