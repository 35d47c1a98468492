"""Batch sizes that keep changing share a program, unless the function's own code looks at them.  The oracle is the same
function under `cb.eager()`."""

import warnings

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train

SIZES = (5, 9, 13, 30, 5, 2, 64, 9, 3, 100, 17, 1, 1, 1, 30, 31, 33, 40, 8, 200)
F = np.random.default_rng(5)
W = cb.tensor(F.normal(size=(3, 4)).astype("float32"))
TABLE = np.arange(10.0, dtype="float32")


def training(seed):
    model = nn.Sequential(nn.Dense(3, 8, activation="tanh", rng=seed), nn.Dense(8, 4, rng=seed + 1))
    opt = optim.Adam(model.parameters(), lr=1e-2)

    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        optim.clip_grad_norm(opt.parameters(), 0.5)
        opt.step()
        return loss

    return step


def counting():
    total = cb.State(0.0)

    def f(x, y):
        total.assign(total + cb.mean(x))
        return x * total
    return f


def noisy():
    noise = cb.Generator(3)
    return lambda x, y: cb.where(noise.mask((3,), 0.5), x, 0.0)


def branching(x, y):
    return x * 2 if len(x) > 20 else x * 3


def iterating(x, y):
    return sum((row for row in x), cb.zeros(3))


def through_numpy(x, y):
    return x * (2.0 if np.shape(x)[0] % 2 else 3.0)


def at_twenty(x, y):
    return x[:20] * 2


# name: (what makes the function of x (B, 3) and y (B,), how many programs there are after SIZES); 1 rows have their own
CASES = {
    "a row by itself": (lambda: lambda x, y: cb.tanh(x @ W), 2),
    "means": (lambda: lambda x, y: cb.mean(x * x) + cb.std(x) + cb.mean(x, 0).sum(), 2),
    "softmax of labels": (lambda: lambda x, y: nn.cross_entropy(x @ W, y), 2),
    "a training step": (lambda: training(0), 2),
    "a State": (counting, 2),
    "random numbers": (noisy, 2),
    "joined": (lambda: lambda x, y: cb.concatenate([x, x[1:], W[:, :3]]), 2),
    "reversed, transposed": (lambda: lambda x, y: (x[::-1].T @ x, x.reshape(-1)), 2),
    "labels as places": (lambda: lambda x, y: cb.tensor(TABLE)[y], 2),
    "a scan over rows": (lambda: lambda x, y: cb.scan(lambda c, row: (c * 0.5 + row, c.sum()), cb.zeros(3), x), 2),
    "a gradient inside": (lambda: lambda x, y: cb.grad(lambda w: cb.mean((x @ w) ** 2))(W), 2),
    "two results": (lambda: lambda x, y: {"a": x + 1, "b": (y * 2, x.sum())}, 2),
    "len": (lambda: branching, None),
    "iteration": (lambda: iterating, None),
    "NumPy's shape": (lambda: through_numpy, None),
    "shape": (lambda: lambda x, y: x / x.shape[0], None),
    "size": (lambda: lambda x, y: x / x.size, None),
    "a slice that may reach out": (lambda: at_twenty, None),
}


def pair(n):
    return F.normal(size=(n, 3)).astype("float32"), F.integers(0, 4, n)


def bits(tree):
    if isinstance(tree, dict):
        return [bits(v) for v in tree.values()]
    if isinstance(tree, (tuple, list)):
        return [bits(v) for v in tree]
    return tree.numpy().tobytes(), tree.shape, tree.dtype


@pytest.mark.parametrize("name", CASES)
def test_every_size_has_its_bits(name):
    make, programs = CASES[name]
    compiled, oracle = cb.compile(make()), cb.compile(make())
    with warnings.catch_warnings():
        if programs is None:             # many programs of their own: it may give up, and says so
            warnings.simplefilter("ignore")
        for n in SIZES:
            x, y = pair(n)
            with cb.eager():
                wanted = bits(oracle(x, y))
            assert bits(compiled(x, y)) == wanted, n
    if programs is not None:
        assert len(compiled.programs) == programs


def test_audits_go_on_across_sizes():
    """The program that sizes share counts its calls as one."""
    compiled = cb.compile(lambda x, y: cb.tanh(x))
    for n in SIZES[:11]:
        compiled(*pair(n))
    shared, = compiled.programs
    assert shared.calls == 1 + 11 - 3 and shared.family is not None


@pytest.mark.parametrize("other", ["of other lengths", "of other widths", "of another dtype"])
def test_only_the_batch_may_differ(other):
    compiled = cb.compile(lambda x, y: cb.tanh(x).sum() + cb.sum(y))
    for n in (4, 6, 9, 12):
        compiled(*pair(n))
    x, y = pair(7)
    x, y = {"of other lengths": (x, y[:5]), "of other widths": (x[:, :2], y),
            "of another dtype": (x.astype("f8"), y)}[other]
    before = compiled.programs[0].calls
    with cb.eager():
        wanted = bits(compiled(x, y))
    assert bits(compiled(x, y)) == wanted and len(compiled.programs) == 2 and compiled.programs[1].calls == before


def test_batches_of_fit_at_odd_sizes():
    """fit with parts of a batch, whose number of rows is no multiple of the batch."""
    X, y = pair(400)

    def run(compile):
        model = nn.Dense(3, 4, rng=0)
        trainer = train.Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.1), accumulate=4,
                                compile=compile)
        for n in (20, 25, 30, 57, 101, 102, 400):
            trainer.fit(X, y, epochs=1, batch_size=n)
        return [p.numpy().tobytes() for p in model.parameters()]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(True) == run(False)
