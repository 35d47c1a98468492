"""Results that are written over those of the call before, by choice: values are right, no reader is misled."""

import numpy as np
import pytest
from samples import same_bits

import cybackprop as cb

F = np.random.default_rng(9)
W = cb.Parameter(F.normal(size=(3, 3)))


def draw(*shape):
    return cb.tensor(F.normal(size=shape or (4, 3)))


def detached(x):
    return cb.tanh(x @ W.detach())


def warm(f, *args, calls=17, **options):
    """Compiled, recorded, audited, replayed; the next audit, whose results are new, is that of call 32."""
    compiled = cb.compile(f, reuse_results=True, **options)
    for _ in range(calls):
        compiled(*(args or (draw(),)))
    return compiled


NESTS = {
    "one": detached,
    "two": lambda x: (detached(x), cb.exp(x)),
    "a nest": lambda x: {"a": [detached(x)], "b": cb.sum(x), "x": x},
    "the same twice": lambda x: (lambda y: [y, y])(cb.exp(x)),
    "a view": lambda x: (lambda y: (y, y.reshape(-1)))(cb.exp(x)),
    "a constant": lambda x: (cb.ones(3) * 2, cb.exp(x)),
}


def tensors(tree):
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else None
    return [tree] if parts is None else [t for part in parts for t in tensors(part)]


@pytest.mark.parametrize("name", NESTS)
def test_the_same_tensors_with_new_values(name):
    compiled, first = warm(NESTS[name]), None
    for _ in range(4):
        x = draw()
        results = [t for t in tensors(compiled(x)) if t is not x]
        assert all(map(same_bits, results, [t for t in tensors(NESTS[name](x)) if t is not x]))
        first = first or results
        assert all(a is b for a, b in zip(first, results, strict=True))
    assert [p.calls for p in compiled.programs] == [21]


def test_they_are_new_by_default():
    compiled = cb.compile(detached)
    kept = [(compiled(x), x) for x in (draw() for _ in range(6))]
    assert len({id(y) for y, _ in kept}) == 6 and all(same_bits(y, detached(x)) for y, x in kept)


def test_numpy_sees_the_new_values():
    compiled = warm(detached)
    seen = compiled(draw()).numpy()
    x = draw()
    compiled(x)
    assert same_bits(seen, detached(x))


def test_each_shape_has_its_own():
    compiled = warm(detached)
    for n in (5, 6):
        for _ in range(3):
            compiled(draw(n, 3))
    inputs = [draw(n, 3) for n in (4, 5, 6)]
    assert all(map(same_bits, [compiled(x) for x in inputs], map(detached, inputs)))


# how an earlier result comes back as an argument
BACK = {"itself": lambda y: y, "a view": lambda y: y.reshape(4, 3), "numpy": lambda y: y.numpy(),
        "a part": lambda y: np.concatenate([y.numpy(), y.numpy()])[2:6] * 1.0, "rows": lambda y: y.numpy()[::-1],
        "turned around": lambda y: cb.tensor(y.numpy()[::-1])}


@pytest.mark.parametrize("way", BACK)
def test_a_result_that_is_the_next_argument(way):
    """y = f(y): it is read while the next result is written."""
    f = lambda x: cb.tensor(x)[::-1]                                     # noqa: E731
    compiled, x = warm(f, BACK[way](draw())), draw()
    y, z = x, x
    for _ in range(8):
        y, z = compiled(BACK[way](y)), f(BACK[way](z))
        assert same_bits(y, z)


def test_a_result_that_the_function_finds_outside():
    last = [draw()]
    f = lambda: last[0][::-1]                                            # noqa: E731
    compiled = cb.compile(f, reuse_results=True)
    for _ in range(8):
        wanted = f()
        last[0] = compiled()
        assert same_bits(last[0], wanted)


def test_results_with_a_history_are_new():
    compiled = warm(lambda x: cb.tanh(x @ W))
    x, z = draw(), draw()
    y = compiled(x)
    assert compiled(z) is not y and same_bits(y.detach(), detached(x))
    cb.sum(y).backward()
    mine, W.grad = W.grad, None
    cb.sum(cb.tanh(x @ W)).backward()
    assert same_bits(mine, W.grad)
    W.grad = None
    with cb.no_grad():
        for _ in range(5):
            y = compiled(x)
        assert compiled(z) is y


KEEPERS = {
    "a record": lambda y: cb.sum(y * W[0]),
    "a view in a record": lambda y: cb.sum(cb.exp(y.reshape(3, 4).reshape(4, 3) * W[0]) * y),
    "a compiled function": cb.compile(lambda y: cb.sum(y * W[0])),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_history_that_has_kept_one_refuses(keeper):
    compiled = warm(detached)
    for _ in range(4):                   # also the keeper is recorded, audited, replayed
        y = KEEPERS[keeper](compiled(draw()))
        y.backward()                     # fine
        y = KEEPERS[keeper](compiled(draw()))
        compiled(draw())
        with pytest.raises(cb.TapeError, match="overwritten|kept its input"):
            y.backward()
    W.grad = None


def test_a_result_that_became_a_leaf_is_left_alone():
    compiled = warm(detached)
    y = compiled(draw())
    before = y.numpy().copy()
    y.requires_grad = True
    assert compiled(draw()) is not y and same_bits(y.detach(), before)


def test_a_branch_that_the_program_refuses():
    f = lambda x: detached(x) if cb.sum(x) > 0 else cb.exp(x)           # noqa: E731
    compiled = cb.compile(f, reuse_results=True)
    for k in range(12):
        x = cb.abs(draw()) * (-1) ** k
        assert same_bits(compiled(x), f(x))


def test_a_step_that_reuses_its_loss():
    params = [cb.Parameter(np.ones((3, 3))) for _ in range(2)]

    def make(w):
        def step(x):
            loss = cb.sum(cb.tanh(x @ w) ** 2)
            w.grad = None
            loss.backward()
            w.assign(w - 0.1 * w.grad)
            return loss.detach()
        return step

    compiled, step = cb.compile(make(params[0]), reuse_results=True, audit=4), make(params[1])
    for _ in range(10):
        x = draw()
        assert same_bits(compiled(x), step(x)) and same_bits(*params) and same_bits(params[0].grad, params[1].grad)
