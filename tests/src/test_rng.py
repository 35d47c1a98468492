"""Philox: known answers, streams as functions of the position alone, distributions with fixed seeds."""

import copy
import math
import pickle

import numpy as np
import pytest
import scipy.stats
from samples import DTYPES, same_bits

import cybackprop as cb
from cybackprop._core import engine

# Random123, kat_vectors: counter, key, output of philox4x32-10
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]
UNIFORM, NORMAL, MASK, BELOW = 1, 2, 3, 4        # the kind of number, last word of the counter: rng.c
KEYS = (0, 1, 0xDEADBEEF12345678)
OFFSETS = (0, 1, 2, 3, 127, 128, 129, 2 ** 32 - 1, 2 ** 33 + 1, 2 ** 40 + 3, 2 ** 63 - 4)
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 127, 128, 129, 300)


def philox(counter, key):
    """Philox4x32-10 as the paper has it (Salmon, Moraes, Dror, Shaw 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ k[0], q & 0xFFFFFFFF, p >> 32 ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def block(key, number, kind):
    return philox([number & 0xFFFFFFFF, number >> 32, 0, kind], [key & 0xFFFFFFFF, key >> 32])


def word(key, position, kind):
    """64 bits, two positions a block."""
    w = block(key, position // 2, kind)[position % 2 * 2:][:2]
    return w[0] | w[1] << 32


def stream(key, offset):
    """The bits of key and offset as int64."""
    return cb.State([x - 2 ** 64 * (x >= 2 ** 63) for x in (key, offset)])


DRAWS = {                                        # kind -> (key, offset, n) -> array
    **{f"{k} {dtype}": lambda key, at, n, k=k, dtype=dtype: engine.raw_random(stream(key, at), k, n, dtype).numpy()
       for k in ("uniform", "normal") for dtype in DTYPES},
    "mask": lambda key, at, n: engine.raw_mask(stream(key, at), n, 0.3).numpy(),
    "integers": lambda key, at, n: engine.raw_integers(stream(key, at), n, 10).numpy(),
    "retried integers": lambda key, at, n: engine.raw_integers(stream(key, at), n, 3 * 2 ** 61).numpy(),
}


@pytest.mark.parametrize("counter, key, out", KNOWN)
def test_the_reference_gives_the_known_answers(counter, key, out):
    assert philox(counter, key) == out


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_engine_gives_the_reference(key, offset):
    n = 9
    words = [word(key, offset + i, UNIFORM) for i in range(n)]
    wide = engine.raw_random(stream(key, offset), "uniform", n, "float64").numpy()
    assert wide.tolist() == [(w >> 11) / 2 ** 53 for w in words]
    narrow = engine.raw_random(stream(key, offset), "uniform", n, "float32").numpy()
    assert narrow.tolist() == [(w >> 40) / 2 ** 24 for w in words]
    kept = [block(key, (offset + i) // 4, MASK)[(offset + i) % 4] >= int(0.3 * 2 ** 32) for i in range(n)]
    assert engine.raw_mask(stream(key, offset), n, 0.3).tolist() == kept
    below = engine.raw_integers(stream(key, offset), n, 10).tolist()
    assert below == [word(key, offset + i, BELOW) % 10 for i in range(n)]
    normal = []
    for i in range(offset, offset + n):          # Box-Muller, two a block
        u, v = ((word(key, i // 2 * 2 + j, NORMAL) >> 11) for j in (0, 1))
        radius, angle = math.sqrt(-2 * math.log((u + 1) / 2 ** 53)), 2 * math.pi * (v / 2 ** 53)
        normal.append(radius * (math.sin(angle) if i % 2 else math.cos(angle)))
    got = engine.raw_random(stream(key, offset), "normal", n, "float64").numpy()
    np.testing.assert_allclose(got, normal, rtol=1e-12, atol=1e-14)
    assert same_bits(engine.raw_random(stream(key, offset), "normal", n, "float32"), got.astype("float32"))


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("offset", (0, 1, 5, 126, 2 ** 32 - 2))
def test_n_and_then_m_equal_n_plus_m(kind, offset):
    draw = DRAWS[kind]
    whole = draw(7, offset, 700)
    for n in SIZES:
        assert same_bits(np.concatenate([draw(7, offset, n), draw(7, offset + n, 700 - n)]), whole), n
    assert not same_bits(draw(8, offset, 700), whole)


def test_kinds_and_seeds_are_streams_of_their_own():
    draws = [engine.raw_random(stream(key, 0), "uniform", 64, "float64").tolist() for key in range(50)]
    draws += [cb.Generator(seed).uniform(64, dtype="float64").tolist() for seed in range(-5, 50)]
    assert len({tuple(d) for d in draws}) == len(draws)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_is_uniform(dtype):
    u = cb.Generator(1).uniform(200_000, dtype=dtype).numpy()
    assert u.min() >= 0 and u.max() < 1
    for x in (u, u * 1000 % 1):                  # leading digits and later ones
        counts = np.histogram(x, 256, (0, 1))[0]
        assert scipy.stats.chisquare(counts).pvalue > 1e-3
    pairs = np.histogram2d(u[::2], u[1::2], 16, [[0, 1]] * 2)[0]
    assert scipy.stats.chisquare(pairs.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_is_normal(dtype):
    z = cb.Generator(2).normal(200_000, dtype=dtype).numpy().astype(float)
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.01 and np.abs(z).max() <= 8.6
    assert abs(z.mean()) < 0.01 and abs(z.var() - 1) < 0.02


@pytest.mark.parametrize("bound", (1, 2, 7, 10, 1000))
def test_integers_are_equally_likely(bound):
    x = cb.Generator(3).integers(bound, 100_000).numpy()
    assert x.dtype == np.int64 and x.min() >= 0 and x.max() < bound
    if bound > 1:
        assert scipy.stats.chisquare(np.bincount(x, minlength=bound)).pvalue > 1e-3


def test_large_bounds_stay_in_range():
    for bound in (2 ** 62 + 1, 3 * 2 ** 61, 2 ** 63 - 1):
        x = cb.Generator(4).integers(bound, 5000).numpy()
        assert x.min() >= 0 and x.max() < bound and abs(x.astype(float).mean() / bound - 0.5) < 0.02


@pytest.mark.parametrize("n", (0, 1, 2, 3, 10, 127, 128, 129, 5000))
def test_permutation_is_one(n):
    p = cb.Generator(5).permutation(n).numpy()
    assert p.dtype == np.int64 and np.array_equal(np.sort(p), np.arange(n))
    assert n < 10 or not np.array_equal(p, np.arange(n))


def test_permutations_are_equally_likely():
    generator = cb.Generator(6)
    counts = {}
    for _ in range(6000):
        p = tuple(generator.permutation(4).tolist())
        counts[p] = counts.get(p, 0) + 1
    assert len(counts) == 24 and scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("p", (0.0, 0.1, 0.5, 0.9, 1.0))
def test_mask_drops_its_share(p):
    keep = cb.Generator(7).mask(100_000, p).numpy()
    dropped = int((~keep).sum())
    assert scipy.stats.binomtest(dropped, keep.size, p).pvalue > 1e-3 if 0 < p < 1 else dropped == p * keep.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype, rng):
    x, g = rng.normal(size=(2, 200, 50)).astype(dtype)
    a = cb.tensor(x, requires_grad=True)
    y = cb.dropout(a, 0.25, rng=3)
    y.backward(g)
    kept = y.numpy() != 0
    scale = np.dtype(dtype).type(1 / 0.75)
    assert abs(kept.mean() - 0.75) < 0.02
    assert np.array_equal(y.numpy(), np.where(kept, x * scale, 0))
    assert np.array_equal(a.grad.numpy(), np.where(kept, g * scale, 0))
    assert same_bits(cb.dropout(a, 0.25, rng=3), y) and not same_bits(cb.dropout(a, 0.25, rng=4), y)
    assert cb.dropout(a, 0.0) is a
    for p in (-0.1, 1.0, 2, math.nan):
        with pytest.raises(ValueError, match="dropout: p is"):
            cb.dropout(a, p)


def test_generators_are_their_state():
    a = cb.Generator(11)
    a.uniform((3, 5)), a.permutation(4)
    assert a.state[1] == 19
    b = pickle.loads(pickle.dumps(a))
    c = cb.Generator()
    c.state = a.state
    assert a.normal(6).tolist() == b.normal(6).tolist() == c.normal(6).tolist()
    assert a.spawn().state != a.spawn().state
    cb.seed(5)
    first = cb.default_rng().uniform(3).tolist()
    cb.seed(5)
    assert cb.default_rng().uniform(3).tolist() == first == cb.Generator(5).uniform(3).tolist()
    low = cb.Generator(1).uniform(1000, -2.0, 3.0, dtype="float64").numpy()
    assert low.min() >= -2 and low.max() < 3


@pytest.mark.parametrize("call, words", [(lambda g: g.integers(0), "bound is 0"), (lambda g: g.permutation(-1), "-1"),
                                         (lambda g: g.uniform(3, dtype="int64"), "float32 or float64"),
                                         (lambda g: g.normal((2, -3)), "negative")])
def test_a_failed_call_leaves_the_stream_where_it_was(call, words):
    generator = cb.Generator(0)
    generator.uniform(4)
    before = generator.state
    with pytest.raises((ValueError, TypeError), match=words):
        call(generator)
    assert generator.state == before


TAKEN = {                                        # how many places of the stream a call takes
    "uniform": (lambda g: g.uniform((3, 5)), 15), "normal": (lambda g: g.normal(7, 1.0, 2.0), 7),
    "mask": (lambda g: g.mask((2, 1, 3), 0.5), 6), "integers": (lambda g: g.integers(9, 4), 4),
    "one integer": (lambda g: g.integers(9), 1), "permutation": (lambda g: g.permutation(11), 11),
    "nothing": (lambda g: g.uniform((0, 4)), 0), "spawn": (lambda g: g.spawn(), 1),
    "dropout": (lambda g: cb.dropout(cb.ones((2, 3)), 0.5, rng=g), 6),
}


@pytest.mark.parametrize("offset", (0, 2 ** 63 - 2, 2 ** 64 - 3))
@pytest.mark.parametrize("call, taken", TAKEN.values(), ids=TAKEN)
def test_a_draw_moves_the_cell(call, taken, offset):
    generator = cb.Generator(0)
    cell, key = generator.cell, generator.key
    generator.state = key, offset
    call(generator)
    assert generator.cell is cell and generator.state == (key, (offset + taken) % 2 ** 64)
    assert np.array_equal(cell.numpy(), stream(*generator.state).numpy()) and cell.dtype == "int64"


@pytest.mark.parametrize("key, offset", [(0, 0), (2 ** 63 - 1, 2 ** 63), (2 ** 64 - 1, 2 ** 64 - 4), (5, 2 ** 40)])
def test_every_key_and_offset_is_held(key, offset):
    generator = cb.Generator(0)
    generator.key, generator.offset = key, offset
    assert generator.state == (generator.key, generator.offset) == (key, offset)
    assert pickle.loads(pickle.dumps(generator)).state == copy.deepcopy(generator).state == (key, offset)
    words = [word(key, offset + i, UNIFORM) >> 11 for i in range(3)]
    assert generator.uniform(3, dtype="float64").tolist() == [w / 2 ** 53 for w in words]


def test_whoever_writes_the_cell_moves_the_stream():
    a, b = cb.Generator(3), cb.Generator(4)
    a.uniform(9)
    b.cell.assign(a.cell)
    assert b.state == a.state and b.normal(5).tolist() == a.normal(5).tolist()
    twin = copy.deepcopy(a)
    twin.uniform(1)
    assert twin.offset == a.offset + 1


@pytest.mark.parametrize("state", [(-1, 0), (0, 2 ** 64), (0.5, 0), (0,), (0, 0, 0)])
def test_a_state_that_is_none_changes_nothing(state):
    generator = cb.Generator(1)
    before = generator.state
    with pytest.raises((TypeError, ValueError)):
        generator.state = state
    assert generator.state == before


@pytest.mark.parametrize("cell", [cb.State([1, 2, 3]), cb.State(1), cb.State([1.0, 2.0])])
def test_a_stream_is_two_integers(cell):
    with pytest.raises(ValueError, match="a stream is key and offset"):
        engine.raw_mask(cell, 3, 0.5)
    with pytest.raises(TypeError):
        engine.raw_mask(cb.tensor([1, 2]), 3, 0.5)


# ---- places drawn by logits

LOGITS = np.array([[0.0, 1.0, -2.0, -np.inf, 0.5], [-np.inf, -np.inf, 3.0, -np.inf, -np.inf],
                   [700.0, 0.0, 701.0, -np.inf, 699.0], [-1e30, 0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_categorical_has_the_probabilities_of_softmax(dtype, seed):
    n = 20_000
    g = cb.Generator(seed)
    drawn = g.categorical(np.broadcast_to(LOGITS, (n, *LOGITS.shape)).astype(dtype))
    assert drawn.dtype == np.int64 and drawn.shape == (n, len(LOGITS)) and g.offset == n * len(LOGITS)
    for places, row in zip(drawn.numpy().T, LOGITS, strict=True):
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        counts = np.bincount(places, minlength=row.size)
        assert counts.size == row.size and not counts[p == 0].any()          # -inf is never drawn
        if (p > 0).sum() > 1:
            assert scipy.stats.chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-4


def test_categorical_is_the_first_place_whose_sum_is_larger():
    x = np.random.default_rng(3).normal(size=(50, 7))
    u = engine.raw_random(stream(cb.Generator(5).key, 0), "uniform", 50, "float64").numpy()
    sums = np.cumsum(np.exp(x) / np.exp(x).sum(1, keepdims=True), 1)
    wanted = (sums <= u[:, None] * sums[:, -1:]).sum(1)
    for given, axis in ((x, 1), (x, -1), (x.T, 0)):
        assert np.array_equal(cb.Generator(5).categorical(given, axis).numpy(), wanted)
    a = cb.Generator(5)
    halves = [a.categorical(x[:20]).numpy(), a.categorical(x[20:]).numpy()]
    assert np.array_equal(np.concatenate(halves), wanted)
    assert cb.Generator(5).categorical(x[0]).shape == () and cb.Generator(5).categorical(np.zeros((0, 3))).shape == (0,)
    parameter = cb.Parameter(x)
    assert not cb.Generator(5).categorical(parameter).requires_grad


@pytest.mark.parametrize("row", ([-math.inf] * 3, [0, math.nan, 0], [0, math.inf, 0]), ids=str)
def test_categorical_refuses_what_is_no_distribution(row):
    g = cb.Generator(1)
    compiled = cb.compile(lambda x: g.categorical(x))
    for _ in range(3):
        compiled(np.zeros((2, 3)))
    before = g.state
    for draw in (g.categorical, compiled):
        with pytest.raises(ValueError, match="categorical: no class"):
            draw(np.array([[0.0, 1.0, 2.0], row]))
        assert g.state == before


def test_categorical_in_programs(tmp_path):
    x = np.random.default_rng(3).normal(size=(6, 9))
    g, twin, third = (cb.Generator(8) for _ in range(3))
    compiled = cb.compile(lambda x: g.categorical(x))
    wanted = [twin.categorical(x * k) for k in range(5)]
    for k in range(5):
        assert same_bits(compiled(x * k), wanted[k])
    assert g.state == twin.state
    cb.save_programs(tmp_path / "f", f=(lambda x: third.categorical(x), x))
    file = cb.load_program(tmp_path / "f")
    for k in range(5):
        assert same_bits(file(x=x * k), wanted[k])
