"""The order of every sum, against a plain model of the order that src/cbp.h and src/reduce.h write down.

Products are of numbers so short that they are exact in the dtype: then a fused multiply-add is one rounded addition,
which NumPy can do, on every instruction set.
"""

import numpy as np
import pytest
from samples import DTYPES, same_bits

import cybackprop as cb
from cybackprop._core import engine

LANES, BLOCK, ONE_GROUP_ABOVE = 16, 1024, 16384
LENGTHS = (0, 1, 2, 15, 16, 17, 23, 24, 25, 33, 255, 256, 257, 1023, 1024, 1025, 2049, 5000, 7000)


def group_rows(rows):
    """About sixteen groups in whole multiples of 64, of at least 256 and at most 1024 rows."""
    return min(max((rows // 16 + 63) // 64 * 64, 256), 1024)


def tree(values):
    """s[i] += s[i + d] for d = 1, 2, 4, ..."""
    s, d = list(values), 1
    while d < len(s):
        for i in range(0, len(s) - d, 2 * d):
            s[i] = s[i] + s[i + d]
        d *= 2
    return s[0]


def chain(terms, start):
    for term in terms:
        start = start + term
    return start


def lanes_sum(x):
    """One row: sixteen lanes in blocks of 1,024, then the tree over the blocks."""
    blocks = []
    for from_ in range(0, max(x.size, 1), BLOCK):
        block = x[from_:from_ + BLOCK]
        padded = np.zeros((block.size + LANES - 1) // LANES * LANES, x.dtype)
        padded[:block.size] = block
        s = chain(padded.reshape(-1, LANES), np.zeros(LANES, x.dtype))
        for d in (8, 4, 2, 1):
            s = s[:d] + s[d:2 * d]
        blocks.append(s[0])
    return tree(blocks)


def groups_sum(terms, like, groups=True):
    """Rows, or products of them: one chain from 0 in each group of rows, then the tree over the groups."""
    size = group_rows(len(terms)) if groups else max(len(terms), 1)
    return tree([chain(terms[k:k + size], np.zeros_like(like)) for k in range(0, max(len(terms), 1), size)])


def product_sum(terms, start, layout):
    """NN or NT: one chain over k from the bias; a few where it is a few dot products of long rows, added in order."""
    columns = {"NN": 1, "NT": 12}[layout]
    chains = 16 // start.itemsize if len(terms) >= 256 and start.shape[1] <= columns else 1
    s = chain(terms[::chains], start)
    for i in range(1, chains):
        s = s + chain(terms[i::chains], np.zeros_like(start))
    return s


def short_numbers(shape, dtype, rng):
    """Numbers with so few bits that the product of two is exact."""
    bits = 11 if dtype == "float32" else 25
    return (rng.integers(-(2 ** bits), 2 ** bits, shape) / 2 ** (bits - 2)).astype(dtype)


def outer_sum(a, b, groups=True):
    """a^T b: the sum over rows of outer products, in the order of the rows."""
    terms = [a[k][:, None] * b[k] for k in range(len(a))]
    return groups_sum(terms, np.zeros((a.shape[1], b.shape[1]), a.dtype), groups)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", LENGTHS)
def test_sum_over_the_last_axis(K, dtype, target, rng):
    x = rng.normal(size=(3, K)).astype(dtype)
    assert same_bits(cb.sum(x, 1), np.array([lanes_sum(row) for row in x], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", LENGTHS)
def test_sum_over_the_first_axis(K, dtype, target, rng):
    for N in (1, 5, 300):
        x = rng.normal(size=(K, N)).astype(dtype)
        assert same_bits(cb.sum(x, 0), groups_sum(list(x), np.zeros(N, dtype)))
    x = rng.normal(size=K).astype(dtype)
    assert same_bits(cb.sum(x), groups_sum(list(x), np.zeros((), dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_over_everything_takes_rows_first(dtype, target, rng):
    for shape in ((700, 30), (3000, 7, 5), (5, 2000)):
        x = rng.normal(size=shape).astype(dtype)
        rows = [lanes_sum(row.ravel()) for row in x]
        assert same_bits(cb.sum(x), np.asarray(groups_sum(rows, np.zeros((), dtype))))
        mean = np.asarray(groups_sum(rows, np.zeros((), dtype))) / np.dtype(dtype).type(x.size)
        assert same_bits(cb.mean(x), np.asarray(mean))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_over_a_middle_axis(dtype, target, rng):
    x = rng.normal(size=(3, 600, 4)).astype(dtype)
    assert same_bits(cb.sum(x, 1), np.stack([groups_sum(list(part), np.zeros(4, dtype)) for part in x]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M, N, K", [
    (1, 1, 1), (3, 5, 40), (17, 33, 1100), (70, 19, 3), (2, 200, 600), (9, 1, 2000), (5, 1, 255), (40, 1, 256),
    (1, 1, 783), (3, 12, 257), (3, 13, 257), (15, 12, 259), (1, 7, 255), (30, 2, 1030)])
def test_product_is_one_chain_or_a_few(M, N, K, dtype, target, rng):
    a, b = short_numbers((M, K), dtype, rng), short_numbers((K, N), dtype, rng)
    terms, zero = [a[:, k, None] * b[k] for k in range(K)], np.zeros((M, N), dtype)
    assert same_bits(cb.matmul(a, b), product_sum(terms, zero, "NN"))
    assert same_bits(engine.raw_matmul(cb.tensor(a), cb.tensor(b.T), False, True), product_sum(terms, zero, "NT"))
    bias = rng.normal(size=N).astype(dtype)
    wanted = product_sum(terms, np.array(np.broadcast_to(bias, (M, N))), "NN")
    assert same_bits(cb.dense(a, cb.tensor(b), cb.tensor(bias)), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", (1, 255, 256, 257, 700, 5000, 20000))
def test_product_over_rows_is_cut_into_groups(K, dtype, target, rng):
    a, b = short_numbers((K, 5), dtype, rng), short_numbers((K, 7), dtype, rng)
    wanted = outer_sum(a, b)
    assert same_bits(engine.raw_matmul(cb.tensor(a), cb.tensor(b), True, False), wanted)
    # the same in a dense layer's backward, with the bias beside it; old + tree where it accumulates
    w, bias = cb.Parameter(np.zeros((5, 7), dtype)), cb.Parameter(np.zeros(7, dtype))
    db = groups_sum(list(b), np.zeros(7, dtype))
    for old, old_bias in ((0 * wanted, 0 * db), (wanted, db)):
        cb.dense(a, w, bias).backward(b)
        assert same_bits(w.grad, old + wanted) and same_bits(bias.grad, old_bias + db)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M, N", [(128, 128), (128, 129), (1, 16385), (150, 150)])
def test_a_large_weight_takes_one_group(M, N, dtype, target, rng):
    K = 600
    a, b = short_numbers((K, M), dtype, rng), short_numbers((K, N), dtype, rng)
    wanted = outer_sum(a, b, groups=M * N <= ONE_GROUP_ABOVE)
    assert same_bits(engine.raw_matmul(cb.tensor(a), cb.tensor(b), True, False), wanted)


def test_the_model_can_tell_orders_apart(rng):
    x = rng.normal(size=3000).astype("float32")
    orders = {lanes_sum(x).tobytes(), groups_sum(list(x), np.float32(0)).tobytes(), chain(x, np.float32(0)).tobytes()}
    assert len(orders) == 3
