"""Tiles: programs that run block of rows by block of rows have the bits of the eager run, on any number of threads."""

import numpy as np
import pytest
from samples import same_bits

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop._core import engine

CLASSES = 5


@pytest.fixture(autouse=True)
def as_before():
    threads = cb.get_num_threads()
    yield
    cb.set_num_threads(threads)
    engine.use_tiles(True)


def network(widths, activation, dtype, dropout=0.0):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        last = i == len(widths) - 2
        layers.append(nn.Dense(a, b, activation=None if last else activation, dtype=dtype,
                               rng=cb.Generator(i)))
        if dropout and not last:
            layers.append(nn.Dropout(dropout, rng=cb.Generator(90 + i)))
    return nn.Sequential(*layers)


def crossed(model, x, y):
    return nn.cross_entropy(model(x), y)


def squared(model, x, y):
    x = cb.tensor(x)
    z = cb.sigmoid(model(x)) * x[0, :1]
    return ((z - x[:, 1:2]) ** 2).mean()


def weighted(model, x, y):
    return (nn.cross_entropy(model(x), y, reduction="none") * cb.tensor(x)[:, 0] ** 2).sum()


# name: (widths, activation, loss, rows)
STEPS = {
    "two groups": ((4, 8, CLASSES), "tanh", crossed, 257),
    "a last group of one row": ((4, 8, CLASSES), "relu", crossed, 5 * 256 + 1),
    "sixteen groups": ((4, 32, 16, CLASSES), "tanh", crossed, 10_000),
    "groups in blocks": ((7, 128, 120, CLASSES), "relu", crossed, 5_000),
    "an activation that keeps x": ((4, 33, 9, CLASSES), "gelu", crossed, 1_000),
    "a layer that is too large": ((20, 200, 190, CLASSES), "tanh", crossed, 700),
    "elementwise loss": ((4, 8, CLASSES), "silu", squared, 900),
    "a weight for each row": ((4, 16, CLASSES), "tanh", weighted, 2_000),
    "one column": ((1, 1, CLASSES), "tanh", crossed, 600),
}


def step_of(name, dtype, dropout=0.0):
    widths, activation, loss, rows = STEPS[name]
    model = network(widths, activation, dtype, dropout)
    opt = optim.Adam(model.parameters())

    def step(x, y):
        value = loss(model, x, y)
        opt.zero_grad()
        value.backward()
        opt.step()
        return value

    return step, model, rows


def data(rows, columns, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)).astype(dtype), rng.integers(0, CLASSES, rows)


def tiles(compiled):
    return [what for p in compiled.programs for what, *_ in p.instructions() if what.startswith("tile")]


@pytest.mark.parametrize("threads", (1, 2, 10))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("name", STEPS)
def test_a_tiled_step_has_the_bits_of_the_eager_one(name, dtype, threads):
    cb.set_num_threads(threads)
    step, model, rows = step_of(name, dtype)
    eager, twin, _ = step_of(name, dtype)
    compiled = cb.compile(step)
    for call in range(4):
        x, y = data(rows, STEPS[name][0][0], dtype, call)
        assert same_bits(compiled(x, y), eager(x, y))
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert same_bits(a, b) and same_bits(a.grad, b.grad)
    assert tiles(compiled)


def test_dropout_and_what_it_needs_stay_outside():
    step, model, rows = step_of("sixteen groups", "float32", dropout=0.3)
    eager, twin, _ = step_of("sixteen groups", "float32", dropout=0.3)
    compiled = cb.compile(step)
    for call in range(4):
        x, y = data(rows, 4, "float32", call)
        assert same_bits(compiled(x, y), eager(x, y))
    assert tiles(compiled)


def test_predictions_and_derivatives_by_rows():
    model = network((4, 32, 16, CLASSES), "tanh", "float32")
    x, _ = data(3_000, 4, "float32")
    for f in (lambda x: cb.softmax(model(x)), lambda x: cb.argmax(model(x), axis=-1), cb.grad(lambda x: model(x).sum()),
              lambda x: (model(x), cb.tensor(x).sum(axis=1)), lambda x: cb.logsumexp(model(x).reshape(1_000, -1))):
        compiled = cb.compile(f)
        for _ in range(3):
            now, then = compiled(cb.tensor(x)), f(cb.tensor(x))
            pairs = zip(now, then, strict=True) if isinstance(now, tuple) else [(now, then)]
            assert all(same_bits(a, b) for a, b in pairs)
        assert tiles(compiled)


def test_a_sweep_from_outside():
    model = network((4, 32, 16, CLASSES), "tanh", "float32")
    compiled = cb.compile(lambda x, y: crossed(model, x, y))
    for call in range(3):
        x, y = data(3_000, 4, "float32", call)
        compiled(x, y).backward()
        mine = [p.grad for p in model.parameters()]
        model.zero_grad()
        crossed(model, x, y).backward()
        assert all(same_bits(a, p.grad) for a, p in zip(mine, model.parameters(), strict=True))
        model.zero_grad()


def test_a_label_outside_stops_the_step_before_it_writes():
    step, model, rows = step_of("sixteen groups", "float32")
    compiled = cb.compile(step)
    x, y = data(rows, 4, "float32")
    for _ in range(3):
        compiled(x, y)
    before = [np.array(p) for p in model.parameters()]
    y[9_000] = CLASSES
    with pytest.raises(ValueError, match="target 5 in row 9000"):
        compiled(x, y)
    assert all(same_bits(a, p) for a, p in zip(before, model.parameters(), strict=True))


def test_elementwise_work_on_many_rows():
    def f(x):
        for _ in range(6):
            x = cb.tanh(x * 1.5 + 0.1)
        return x, cb.where(x > 0.2, x, -x)

    compiled = cb.compile(f)
    x = cb.tensor(np.random.default_rng(0).normal(size=(50_000, 3)).astype("float32"))
    for _ in range(3):
        assert all(same_bits(a, b) for a, b in zip(compiled(x), f(x), strict=True))
    assert tiles(compiled)


@pytest.mark.parametrize("case", ("few rows", "large layers", "parameters"))
def test_what_is_no_tile(case):
    if case == "parameters":
        w = cb.Parameter(np.ones((700, 40), "float32"))
        compiled = cb.compile(lambda: cb.tanh(w * 2.0) + 1.0)
        calls = [()] * 3
    else:
        widths, rows = ((4, 8, CLASSES), 256) if case == "few rows" else ((200, 100, 300), 512)
        model = network(widths, "tanh", "float32")
        compiled = cb.compile(lambda x: model(x))
        calls = [data(rows, widths[0], "float32")[:1]] * 3
    for args in calls:
        compiled(*args)
    assert compiled.programs and not tiles(compiled)


def test_explain_shows_tiles_and_their_steps(capsys):
    step, _, rows = step_of("groups in blocks", "float32")
    compiled = cb.compile(step)
    compiled(*data(rows, 7, "float32"))
    compiled.programs[0].explain()
    text = capsys.readouterr().out
    assert "tile of 7: 16 x 320 rows, 128 at a time" in text and text.count("     dense relu") == 2
    engine.use_tiles(False)
    untiled = cb.compile(step)
    untiled(*data(rows, 7, "float32"))
    assert not tiles(untiled)


def test_an_audit_notices_rows_of_another_block():
    engine.plant_fault(4)
    try:
        step, _, rows = step_of("sixteen groups", "float32")
        compiled = cb.compile(step)
        compiled(*data(rows, 4, "float32", 0))
        with pytest.warns(RuntimeWarning, match="replays with other bits"):
            compiled(*data(rows, 4, "float32", 1))
        assert compiled.programs == []
    finally:
        engine.plant_fault(0)
