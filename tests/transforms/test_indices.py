"""Indices that are data: x[key], take and gather with tensors, eagerly and in programs, loops and files.

The oracle of a row is NumPy's x[key] on numbers of places; derivatives are sums over these places by np.add.at.
"""

import numpy as np
import pytest
import unrolled

import cybackprop as cb
from cybackprop import nn

B = 6
PICKED = np.array([True, False, True, True])

# of x (B, 4, 3), i (B,) and s (), integers in [-3, 3); NumPy arrays or tensors
KEYS = {
    "rows": lambda i, s: i,
    "rows of rows": lambda i, s: i[None, :, None],
    "a row": lambda i, s: s,
    "a number": lambda i, s: (s, s, s),
    "one of each row": lambda i, s: (np.arange(len(i)), i),
    "two indices": lambda i, s: (i, i),
    "three indices": lambda i, s: (i, s, i),
    "an outer product": lambda i, s: (i[:, None], i[None]),
    "a middle axis": lambda i, s: (slice(None), i),
    "the last axis": lambda i, s: (..., i),
    "one of a middle axis": lambda i, s: (slice(None), s),
    "the last two axes": lambda i, s: (slice(None), i[:, None], i),
    "apart": lambda i, s: (i, slice(None), i),
    "apart, broadcast": lambda i, s: (i[:2, None], slice(1, 3), i),
    "apart, one a number": lambda i, s: (1, slice(None), i),
    "apart, one a tensor": lambda i, s: (i, slice(None), s),
    "beside a number": lambda i, s: (slice(None), 1, i),
    "beside a number from the end": lambda i, s: (slice(None), i, -1),
    "between slices": lambda i, s: (slice(1, None), i, slice(None, None, -2)),
    "before slices": lambda i, s: (i, slice(2), 1),
    "behind a slice backwards": lambda i, s: (slice(None, None, -1), slice(3, 0, -1), i),
    "new axes": lambda i, s: (None, i, None, ..., None),
    "new axes between": lambda i, s: (i, None, i),
    "an Ellipsis of nothing between": lambda i, s: (slice(None), i, ..., i),
    "an Ellipsis between": lambda i, s: (i, ..., i),
    "lists": lambda i, s: ([0, 2, -1], i[:3]),
    "a mask outside": lambda i, s: (slice(None), PICKED, s),
    "a mask and an index": lambda i, s: (i[:3], PICKED),
    "True": lambda i, s: (True, i),
    "False, apart": lambda i, s: (i[:1], slice(None), False),
    "nothing": lambda i, s: i[:0],
    "nothing, twice": lambda i, s: (i[:0], 1, i[:0, None]),
}
FUNCTIONS = {
    **{name: (lambda x, i, s, key=key: x[key(i, s)],) * 2 for name, key in KEYS.items()},
    **{f"take {axis}": (lambda x, i, s, a=axis: cb.take(x, i, a), lambda x, i, s, a=axis: np.take(x, i, a))
       for axis in (0, 1, -1)},
    "take one": (lambda x, i, s: cb.take(x, s, 1), lambda x, i, s: np.take(x, s, 1)),
}


def spread(i, n, axis):
    """An index as gather wants it: i along x's first axis, the others repeated, n along `axis`."""
    shape = [len(i), 4, 3]
    shape[axis] = n
    column = i.reshape(-1, 1, 1)[:shape[0]]
    return (np if isinstance(i, np.ndarray) else cb).broadcast_to(column, shape)


for at, n in ((0, 2), (1, 5), (-1, 1)):
    FUNCTIONS[f"gather {at}"] = (lambda x, i, s, a=at, n=n: cb.gather(x, spread(i, n, a), a),
                                 lambda x, i, s, a=at, n=n: np.take_along_axis(x, spread(i, n, a), a))


def data(seed, n=B, dtype="float64"):
    """x, i, s as NumPy arrays."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4, 3))
    x = x > 0 if dtype == "bool" else (8 * x).astype(dtype)
    return x, rng.integers(-3, 3, n), np.array(rng.integers(-3, 3))


def places(name, x, i, s):
    """Which elements of x.reshape(-1) a row takes."""
    return FUNCTIONS[name][1](np.arange(x.size).reshape(x.shape), i, s)


def added(at, g, shape):
    """The adjoint of taking elements: g summed up where they were."""
    dx = np.zeros(int(np.prod(shape)))
    np.add.at(dx, at, g)
    return dx.reshape(shape)


# ---- what each row is

@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elements(name, dtype):
    """Eagerly and in one program, called with other indices."""
    f = FUNCTIONS[name][0]
    compiled = cb.compile(f)
    for seed in range(4):
        x, i, s = data(seed, dtype=dtype)
        expected = x.reshape(-1)[places(name, x, i, s)]
        for made in (f(*map(cb.tensor, (x, i, s))), compiled(*map(cb.tensor, (x, i, s)))):
            assert made.dtype == dtype and made.shape == expected.shape and (made.numpy() == expected).all()
    assert len(compiled.programs) == 1


def derivatives(name):
    """The function, and x, i, s, v -> gradient of sum f(x)^2, its derivative along v, that of f along v."""
    f = FUNCTIONS[name][0]

    def all_of(x, i, s, v):
        def gradient(x):
            return cb.grad(lambda x: cb.sum(f(x, i, s) ** 2))(x)

        return gradient(x), *cb.jvp(gradient, (x,), (v,))[1:], *cb.jvp(lambda x: f(x, i, s), (x,), (v,))[1:]

    return all_of


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name):
    """Of first and second order; elements that were taken twice add up."""
    f = derivatives(name)
    compiled = cb.compile(f)
    for seed in range(4):
        x, i, s = data(seed)
        v = np.random.default_rng(9).normal(size=x.shape)
        at = places(name, x, i, s)
        expected = [added(at, 2 * x.reshape(-1)[at], x.shape), added(at, 2 * v.reshape(-1)[at], x.shape),
                    v.reshape(-1)[at]]
        eager = f(*map(cb.tensor, (x, i, s, v)))
        for made in (eager, compiled(*map(cb.tensor, (x, i, s, v)))):
            for a, b in zip(made, expected, strict=True):
                np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-12)
            assert unrolled.bits(list(made)) == unrolled.bits(list(eager))
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_a_scan(name):
    """Each step has indices of its own; the carry is what is read."""
    f = FUNCTIONS[name][0]
    x, i, s = (cb.tensor(np.stack(a)) for a in zip(*(data(seed) for seed in range(4)), strict=True))

    def loss(scan, x):
        def body(c, at):
            y = f(c, *at)
            return c * 0.9 + cb.sum(y) * 0.01, y

        last, ys = scan(body, x, (i, s))
        return cb.sum(last * last) + cb.sum(ys * ys), ys

    assert unrolled.bits(loss(cb.scan, x[0])) == unrolled.bits(loss(unrolled.scan, x[0]))
    gradients = [cb.grad(lambda x, scan=scan: loss(scan, x)[0])(x[0]) for scan in (cb.scan, unrolled.scan)]
    unrolled.close(*gradients, 1e-10)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_a_file(tmp_path, name):
    """Value and derivatives, at other batch sizes than it was saved at."""
    f, every = FUNCTIONS[name][0], derivatives(name)

    def both(x, i, v, s):
        return f(x, i, s), *every(x, i, s, v)

    def arguments(seed, n):
        x, i, s = data(seed, n)
        return x, i, np.random.default_rng(9).normal(size=x.shape), s

    cb.save_programs(tmp_path / "f", batch=("x", "i", "v"), f=(both, *map(cb.tensor, arguments(0, 8))))
    file = cb.load_program(tmp_path / "f")
    for seed, n in enumerate((B, 17, 8, 5)):
        args = arguments(seed, n)
        assert unrolled.bits(list(file(*args).values())) == unrolled.bits(list(both(*map(cb.tensor, args))))
        at = places(name, args[0], args[1], args[3])
        assert (next(iter(file(*args).values())).numpy() == args[0].reshape(-1)[at]).all()


# ---- where indices come from

SOURCES = {
    "tensor": cb.tensor, "int32": lambda i: i.astype("int32"), "uint8": lambda i: (i % 3).astype("uint8"),
    "ndarray": lambda i: i, "big-endian": lambda i: i.astype(">i8"), "every second": lambda i: np.repeat(i, 2)[::2],
}


@pytest.mark.parametrize("source", SOURCES)
def test_arguments_of_any_integer_type(source):
    compiled = cb.compile(lambda x, i: (x[i], x[:, i], cb.take(x, i)))
    for seed in range(4):
        x, i, _ = data(seed)
        given = SOURCES[source](i)
        i = np.array(given)
        for made, expected in zip(compiled(cb.tensor(x), given), (x[i], x[:, i], x[i]), strict=True):
            assert (made.numpy() == expected).all()
    assert len(compiled.programs) == 1


def test_states_as_indices():
    """A State is read at each call, where it stands when the call comes to it."""
    x, step, order = data(0)[0], cb.State(0), cb.State(np.array([2, 0, 1]))

    @cb.compile
    def f(x, following):
        before = x[step], x[order], x[:, step]
        step.assign(following)
        return *before, x[step]

    for n, following in enumerate((3, 1, -1, 2, 0)):
        now, rows = int(step.item()), np.roll([2, 0, 1], n)
        order.assign(rows)
        made = f(cb.tensor(x), cb.tensor(following))
        for a, b in zip(made, (x[now], x[rows], x[:, now], x[following]), strict=True):
            assert (a.numpy() == b).all()
    assert len(f.programs) == 1


def test_a_scalar_of_a_carry():
    """Each step of a while_loop reads where the one before has pointed."""
    links = np.array([3, 4, 1, 2, 0])
    chain = cb.compile(lambda links, at: cb.while_loop(lambda at: at != 0, lambda at: links[at], at))
    for start in range(5):
        assert chain(cb.tensor(links), cb.tensor(start)).item() == 0
    x = cb.tensor(np.arange(5.0))
    either = cb.compile(lambda x, i: cb.cond(x[i] > 2, lambda x, i: x[i] * 2, lambda x, i: -x[i], x, i))
    assert [either(x, cb.tensor(i)).item() for i in range(-5, 5)] == [-0.0, -1, -2, 6, 8] * 2


def test_the_loss_of_actions(tmp_path):
    """q[arange(B), a], as deep Q-learning has it: a training step, its file at another batch size."""
    rng = np.random.default_rng(4)
    x, a, r = rng.normal(size=(9, 5)).astype("float32"), rng.integers(0, 4, 9), rng.normal(size=9).astype("float32")
    model = nn.Dense(5, 4, rng=0)

    def loss(x, a, r):
        return cb.mean((model(x)[np.arange(len(x)), a] - r) ** 2)

    def step(x, a, r):
        value = loss(x, a, r)
        value.backward()
        return value

    q = x @ model.weight.numpy() + model.bias.numpy()
    rows = np.arange(9)
    g = np.zeros_like(q)
    g[rows, a] = 2 * (q[rows, a] - r) / 9
    compiled = cb.compile(step)
    for call in (step, compiled, compiled, compiled):
        model.weight.grad = None
        np.testing.assert_allclose(call(x, a, r).item(), np.mean((q[rows, a] - r) ** 2), rtol=1e-5)
        np.testing.assert_allclose(model.weight.grad.numpy(), x.T @ g, rtol=1e-5, atol=1e-6)
    cb.save_programs(tmp_path / "f", loss=(loss, x, a, r))
    file = cb.load_program(tmp_path / "f")
    for n in (2, 5, 9):
        made = file(x=x[:n], a=a[:n], r=r[:n])
        np.testing.assert_allclose(made.item(), np.mean((q[rows[:n], a[:n]] - r[:n]) ** 2), rtol=1e-5)


# ---- refusals

OUTSIDE = {
    "rows": (lambda x, i: x[i], r"index 6 at place 1 is outside \[-6, 6\), axis 0 of shape \(6, 4, 3\)"),
    "a row": (lambda x, i: x[i[1]], r"index 6 is outside \[-6, 6\), axis 0 of shape \(6, 4, 3\)"),
    "a middle axis": (lambda x, i: x[1:, i], r"index 6 at place 1 is outside \[-4, 4\), axis 1 of shape \(6, 4, 3\)"),
    "the second": (lambda x, i: x[cb.tensor([0, 1]), :, i], r"index 6 at place 1 is outside \[-3, 3\), axis 2"),
    "new axes": (lambda x, i: x[None, 0, None, i], r"index 6 at place 1 is outside \[-4, 4\), axis 1"),
    "take": (lambda x, i: cb.take(x, i, -1), r"take: index 6 at place 1 is outside \[-3, 3\), axis 2"),
    "gather": (lambda x, i: cb.gather(x[:2, 0], i[:, None]), r"gather: index 6 at place 1.*\[-3, 3\), axis 1"),
    "swept": (lambda x, i: cb.grad(lambda x: cb.sum(x[:, i] ** 2))(x), r"index 6 at place 1.*\[-4, 4\), axis 1"),
    "in a scan": (lambda x, i: cb.scan(lambda c, k: (c, x[0, 0, k]), x, i)[1], "index 6"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_outside_its_axis(name):
    """An IndexError, eagerly and where a program was replayed; nothing else has happened then."""
    f, message = OUTSIDE[name]
    count = cb.State(0.0)

    def step(x, i):
        y = f(x, i)
        count.assign(count + 1)
        return y

    compiled = cb.compile(step)
    x = cb.tensor(data(0)[0])
    for _ in range(3):
        compiled(x, cb.tensor([0, -3]))
    bad = cb.tensor([0, 6])
    for call in (step, compiled):
        with pytest.raises(IndexError, match=message):
            call(x, bad)
    assert count.item() == 3 and len(compiled.programs) == 1
    with pytest.raises(IndexError, match="-7"):
        compiled(x, cb.tensor([0, -7]))
    compiled(x, cb.tensor([0, -3]))
    assert count.item() == 4


def test_a_file_refuses_an_index_outside(tmp_path):
    cb.save_programs(tmp_path / "f", f=(lambda x, i: x[np.arange(len(x)), i], cb.ones((4, 3)), cb.tensor([0, 1, 2, 0])))
    file = cb.load_program(tmp_path / "f")
    assert file(x=np.eye(3), i=np.array([0, -2, -3])).tolist() == [1, 1, 0]
    for bad in (3, -4, 2**62, -2**63):
        with pytest.raises(ValueError, match="check_index.*index"):
            file(x=np.eye(3), i=np.array([0, bad, 0]))


MASKS = {
    "of values": lambda x, m: x[x > 0], "an argument": lambda x, m: x[m], "a NumPy argument": lambda x, m: x[m],
    "a view of one": lambda x, m: x[m[::1]], "beside an index": lambda x, m: x[m, 0], "a number": lambda x, m: x[m[0]],
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_is_data_ends_a_recording(name):
    """Its count would be the length of an axis."""
    x, m = data(0)[0], np.array([True, False] * 3)
    numpy = "NumPy" in name or "view" in name
    given = m if numpy else cb.tensor(m)
    expected = MASKS[name](x, m)
    assert (MASKS[name](cb.tensor(x), given).numpy() == expected).all()
    compiled = cb.compile(MASKS[name])
    with pytest.warns(RuntimeWarning, match=r"mask.*cb\.where\(mask, x, 0\)") as caught:
        assert all((compiled(cb.tensor(x), given).numpy() == expected).all() for _ in range(3))
    assert len(caught) == 1 and compiled.programs == []
    with pytest.raises(cb.TapeError, match=r"mask.*cb\.where\(mask, x, 0\)"):
        cb.compile(MASKS[name], strict=True)(cb.tensor(x), given)
    with pytest.raises(cb.TapeError, match=r"mask.*cb\.where\(mask, x, 0\)"):
        cb.compile(lambda x, m: cb.scan(lambda c, _: (c, MASKS[name](x, m)), 0.0, length=2))(cb.tensor(x), given)
