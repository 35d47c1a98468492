"""One program, one result: AVX2 and AVX-512, any number of threads, one row or the whole batch."""

import numpy as np
import pytest
from samples import DTYPES, SPECIAL, everywhere, parameter_sets, points, same_bits, same_values, step

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.ops.softmax import softmax_cross_entropy

wide_targets = [name for name in engine.runnable_targets() if name != "base"]
needs_two = pytest.mark.skipif(len(wide_targets) < 2, reason="this CPU runs only one of AVX2 and AVX-512")
pytestmark = pytest.mark.usefixtures("quiet")

ACTIVATIONS = (None, *(name for name, row in engine.unary_rows.items() if row.facts["public"]))
PRODUCTS = [(1, 1, 1), (3, 5, 7), (8, 16, 33), (17, 67, 31), (65, 100, 64), (200, 10, 100), (1, 300, 700),
            (130, 130, 600)]


def normal(rng, dtype, *shape):
    return rng.normal(size=shape).astype(dtype)


def unary_rows(rng, dtype):
    for row in engine.unary_rows.values():
        for p in parameter_sets(row, dtype):
            x = np.concatenate([points(row, dtype, p, 512), everywhere(256, dtype, rng), SPECIAL, [np.nan]])
            a = cb.tensor(x.astype(dtype), requires_grad=True)
            y = row(a, *p)
            y.backward(normal(rng, dtype, x.size))
            yield from ((row.name, y), (row.name + "'", a.grad))


def binary_rows(rng, dtype):
    specials = [v.ravel() for v in np.meshgrid([*SPECIAL, np.nan, 1, -2.5], [*SPECIAL, np.nan, 1, -2.5])]
    x = [np.concatenate([normal(rng, dtype, 300) * 3, everywhere(100, dtype, rng), s]).astype(dtype) for s in specials]
    for row in engine.binary_rows.values():
        a, b = (cb.tensor(v, requires_grad=True) for v in x)
        y = row(a, b)
        yield row.name, y
        if not row.facts["compares"]:
            y.backward(normal(rng, dtype, y.size))
            yield from ((row.name + " da", a.grad), (row.name + " db", b.grad))


def reductions(rng, dtype):
    for shape in ((1, 1), (5, 17), (33, 24), (33, 25), (300, 67), (3, 2100), (2100, 3), (4, 300, 5)):
        x = normal(rng, dtype, *shape)
        for axis in (None, 0, 1, -1):
            for f in (cb.sum, cb.mean, cb.var, cb.max, cb.min, cb.argmax):
                yield f"{f.__name__} {shape} {axis}", f(x, axis)


def products(rng, dtype):
    for M, N, K in PRODUCTS:
        for ta, tb in ((False, False), (False, True), (True, False)):
            a, b = normal(rng, dtype, *((K, M) if ta else (M, K))), normal(rng, dtype, *((N, K) if tb else (K, N)))
            yield f"matmul {M} {N} {K} {ta} {tb}", engine.raw_matmul(cb.tensor(a), cb.tensor(b), ta, tb)


def layer(rng, dtype, B, n_in, n_out):
    shapes = ((B, n_in), (n_in, n_out), (n_out,))
    return [cb.tensor(normal(rng, dtype, *s), requires_grad=True) for s in shapes]


def dense_layers(rng, dtype):
    for activation in ACTIVATIONS:
        for B, n_in, n_out in ((1, 5, 3), (33, 17, 20), (300, 8, 67)):
            x, w, b = layer(rng, dtype, B, n_in, n_out)
            y = cb.dense(x, w, b, activation)
            y.backward(normal(rng, dtype, B, n_out))
            yield from ((f"{activation} {B} {i}", t) for i, t in enumerate((y, x.grad, w.grad, b.grad)))


def rows_loss(x, target):
    return engine.apply(softmax_cross_entropy, (x,), {"target": cb.tensor(target), "ignore_index": -100})


def softmaxes(rng, dtype):
    for shape in ((1, 1), (5, 3), (33, 24), (33, 25), (7, 1030), (3, 2500)):
        x = (normal(rng, dtype, *shape) * 5).astype(dtype)
        x[-1, :1] = -np.inf
        for f in (cb.softmax, cb.log_softmax, cb.logsumexp):
            yield f"{f.__name__} {shape}", f(x)
        a = cb.tensor(x, requires_grad=True)
        loss = rows_loss(a, rng.integers(0, shape[1], shape[0]))
        loss.backward(normal(rng, dtype, shape[0]))
        yield from ((f"loss {shape}", loss), (f"dx {shape}", a.grad))


def training(rng, dtype):
    """Twenty steps of each optimizer on a small network."""
    x, target = normal(rng, dtype, 50, 12), rng.integers(0, 4, 50)
    start = [normal(rng, dtype, *s) * 0.3 for s in ((12, 19), (19,), (19, 4), (4,))]
    for name, (_, moments, _) in engine.optimizer_facts().items():
        w = [cb.Parameter(v.astype(dtype)) for v in start]
        m = [[cb.Parameter(np.zeros(p.shape, dtype)) for p in w] for _ in moments]
        for t in range(1, 21):
            options = {"scale": 0.9, "lr": 1e-2, "momentum": 0.9, "dampening": 0.1, "nesterov": 1,
                       "weight_decay": 1e-2, "alpha": 0.9, "eps": 1e-8, "beta1": 0.9, "beta2": 0.99, "lr_decay": 0.1}
            loss = rows_loss(cb.dense(cb.dense(x, w[0], w[1], "tanh"), w[2], w[3]), target)
            loss.backward(np.full(50, 0.02, dtype))
            step(name, w, m, options, t)
            for p in w:
                p.grad = None
            yield f"{name} loss {t}", loss
        yield from ((f"{name} {i}", v) for i, v in enumerate(w + sum(m, [])))


PROGRAMS = {f.__name__: f for f in (unary_rows, binary_rows, reductions, products, dense_layers, softmaxes, training)}


def outcome(program, dtype, seed=3):
    return [(name, np.array(y)) for name, y in program(np.random.default_rng(seed), dtype)]


def differing(a, b):
    assert [name for name, _ in a] == [name for name, _ in b]
    return [name for (name, x), (_, y) in zip(a, b, strict=True) if not same_values(x, y)]


@needs_two
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_avx2_equals_avx512(program, dtype):
    results = []
    try:
        for name in wide_targets:
            engine.select_kernels(name)
            results.append(outcome(PROGRAMS[program], dtype))
    finally:
        engine.select_kernels("")
    assert differing(*results) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_second_run_has_the_same_bits(program, dtype):
    assert differing(outcome(PROGRAMS[program], dtype), outcome(PROGRAMS[program], dtype)) == []


def large(rng, dtype):
    """Work worth sharing out: a layer and its loss, forward and backward, sums over many rows."""
    for B, n_in, n_out in ((3000, 60, 90), (700, 150, 150), (40, 800, 300)):
        x, w, b = layer(rng, dtype, B, n_in, n_out)
        y = cb.dense(x, w, b, "gelu")
        loss = rows_loss(y, rng.integers(0, n_out, B))
        loss.backward(normal(rng, dtype, B))
        yield from ((f"{B} {i}", t) for i, t in enumerate((y, loss, x.grad, w.grad, b.grad)))
    x = normal(rng, dtype, 20000, 30)
    yield from (("sum 0", cb.sum(x, 0)), ("sum", cb.sum(x)), ("softmax", cb.softmax(x)), ("exp", cb.exp(x)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_matter(dtype, target):
    before, results = engine.get_num_threads(), []
    try:
        for n in (1, 2, 3, 7):
            cb.set_num_threads(n)
            assert cb.get_num_threads() == n
            results.append(outcome(large, dtype))
    finally:
        cb.set_num_threads(before)
    assert [differing(results[0], r) for r in results[1:]] == [[], [], []]


BY_ROWS = {                              # functions whose row i needs row i of the batch only
    **{f"dense {a}": lambda x, w, b, a=a: cb.dense(x, w, b, a) for a in (None, "relu", "tanh", "gelu", "mish")},
    "matmul": lambda x, w, b: x @ w,
    "softmax": lambda x, w, b: cb.softmax(x @ w + b),
    "log_softmax": lambda x, w, b: cb.log_softmax(x @ w),
    "logsumexp": lambda x, w, b: cb.logsumexp(x @ w),
    "sum, mean, var": lambda x, w, b: cb.sum(x, 1) + cb.mean(x, 1) * cb.var(x, 1),
    "max, argmax": lambda x, w, b: cb.max(x, 1) + cb.argmax(x, 1).astype(x.dtype),
    "network": lambda x, w, b: cb.dense(cb.dense(x, w, b, "silu"), w.T, None, "sigmoid"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_in, n_out", [(7, 3), (24, 10), (70, 33), (600, 130)])
@pytest.mark.parametrize("name", BY_ROWS)
def test_a_row_alone_equals_the_row_in_its_batch(name, n_in, n_out, dtype, target, rng):
    x, w, b = (t.detach() for t in layer(rng, dtype, 67, n_in, n_out))
    x = x.numpy()

    def run(x):
        return BY_ROWS[name](cb.tensor(x), w, b).numpy()

    whole = run(x)
    assert same_bits(np.concatenate([run(x[i:i + 1]) for i in range(0, 67, 6)]), whole[::6])
    assert same_bits(np.concatenate([run(part) for part in np.split(x, [2, 5, 13, 30, 63])]), whole)
    order = rng.permutation(67)
    assert same_bits(run(x[order]), whole[order])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dx_of_a_row_alone_equals_dx_in_its_batch(dtype, target, rng):
    x, w, b, g = (normal(rng, dtype, *s) for s in ((40, 23), (23, 18), (18,), (40, 18)))

    def run(rows):
        a = cb.tensor(x[rows], requires_grad=True)
        cb.dense(a, cb.tensor(w), cb.tensor(b), "tanh").backward(g[rows])
        return a.grad.numpy()

    whole = run(slice(None))
    assert same_bits(np.concatenate([run(slice(i, i + 1)) for i in range(40)]), whole)
