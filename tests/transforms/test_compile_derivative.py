"""Derivatives of compiled functions, against those of the functions themselves: in every bit at first order."""

import gc
import itertools

import numpy as np
import programs
import pytest
from notes import secret
from samples import same_bits, same_values

import cybackprop as cb
from cybackprop._core import engine

F = np.random.default_rng(5)


def make(dtype="float64"):
    """A function of (x, c) with parameters, several results, and its parameters."""
    f = np.random.default_rng(6)
    w, b = cb.Parameter(f.normal(size=(3, 4)).astype(dtype)), cb.Parameter(f.normal(size=4).astype(dtype))

    def both(x, c):
        h = cb.dense(x, w, b, activation="tanh")
        return cb.sum(h * h) * 0.5, h @ cb.transpose(w) + c

    return both, [w, b]


def points(dtype="float64", leaf=True):
    """Arguments: a tensor that takes a gradient, and an array."""
    return cb.tensor(F.normal(size=(2, 3)).astype(dtype), requires_grad=leaf), F.normal(size=3).astype(dtype)


def pair(n=4):
    """The same function twice, once compiled and called a few times, with each its parameters."""
    (f, mine), (g, twins) = make(), make()
    compiled = cb.compile(f)
    for _ in range(n):
        compiled(*points())
    return compiled, mine, g, twins


def twin_of(x):
    return cb.tensor(x.numpy(), requires_grad=x.requires_grad)


# ---- backward through the result of a replay

USES = {
    "one result": lambda a, b: a.backward(),
    "the other": lambda a, b: cb.sum(cb.exp(b)).backward(),
    "both": lambda a, b: (a * 2 + cb.sum(b * b)).backward(),
    "one twice": lambda a, b: (a * a + cb.sum(b)).backward(),
    "one after the other": lambda a, b: (a.backward(retain_graph=True), cb.sum(b).backward()),
    "again": lambda a, b: (a.backward(retain_graph=True), a.backward(retain_graph=True), a.backward()),
    "a cotangent": lambda a, b: b.backward(np.arange(6.0).reshape(2, 3)),
    "into itself": lambda a, b: (cb.sum(b * a)).backward(),
}


@pytest.mark.parametrize("use", USES)
def test_gradients_are_those_of_the_function(use):
    compiled, mine, g, twins = pair()
    for _ in range(3):                   # gradients add up
        x, c = points()
        y = twin_of(x)
        USES[use](*compiled(x, c))
        USES[use](*g(y, c))
        assert all(same_bits(p.grad, q.grad) for p, q in zip([*mine, x], [*twins, y], strict=True))
    assert [p.calls for p in compiled.programs] == [7]


def many(n):
    """A function of n results that hang on parameters of their own, and on x."""
    params = [cb.Parameter(np.array([2.0, 3.0]) + k) for k in range(n)]
    return params, lambda x: [cb.sum(-x * p) * 0.5 for p in params]


@pytest.mark.parametrize("n, swept", [(2, (0,)), (2, (1,)), (2, (0, 1)), (3, (1, 2)), (12, (11,)), (12, range(12))])
def test_what_nobody_sweeps_from_has_no_gradient(n, swept):
    """Not one of zeros, and -0.0 + nothing is not -0.0 + 0.0; the last sets of results have no sweep of their own."""
    (mine, f), (twins, g) = many(n), many(n)
    compiled = cb.compile(f)
    for _ in range(4):
        x, y = (cb.tensor(np.array([0.0, -1.0]), requires_grad=True) for _ in range(2))
        for h, t in ((compiled, x), (g, y)):
            results = h(t)
            sum((results[k] for k in swept[1:]), results[swept[0]]).backward()
        assert [p.grad is None for p in mine] == [k not in swept for k in range(n)]
        assert all(same_bits(mine[k].grad, twins[k].grad) for k in swept) and same_bits(x.grad, y.grad)
        for p in [*mine, *twins]:
            p.grad = None
    assert [p.calls for p in compiled.programs] == [4]


def test_an_abandoned_sweep_is_forgotten():
    params, f = many(2)
    compiled = cb.compile(f)
    for _ in range(4):
        a, b = compiled(cb.ones(2, "float64"))
        steps = cb.backward_steps(b)
        next(steps)
        steps.close()
        a.backward(retain_graph=True)
        assert params[1].grad is None
        params[0].grad = None


def test_backward_twice_is_an_error():
    compiled, *_ = pair()
    a, _ = compiled(*points())
    a.backward()
    with pytest.raises(cb.TapeError, match="was freed by an earlier backward"):
        a.backward()


def test_a_parameter_written_after_the_forward_is_refused():
    compiled, mine, *_ = pair()
    a, b = compiled(*points())
    mine[0].assign(mine[0] * 2)
    for sweep in (lambda: a.backward(retain_graph=True), lambda: cb.sum(b).backward(create_graph=True)):
        with pytest.raises(cb.TapeError, match=r"version 0, but it is at version 1 now.*assign.*py:\d+"):
            sweep()
    assert mine[0].grad is None


def test_a_second_derivative_sees_a_parameter_written_in_between():
    w = cb.Parameter(np.array([2.0]))
    compiled = cb.compile(lambda x: cb.tanh(w * 1 + x))                # its first-order sweep does not read w
    for _ in range(3):                   # the last is a replay
        y = compiled(cb.tensor(np.array([1.0]), requires_grad=True))
    w.assign(w * 2)
    with pytest.raises(cb.TapeError, match="version"):
        cb.sum(y).backward(create_graph=True)


def test_no_history_where_none_is_wanted():
    compiled, *_ = pair()
    x, c = points()
    with cb.no_grad():
        for _ in range(3):
            assert not any(t.requires_grad for t in compiled(x, c))
    assert all(t.requires_grad for t in compiled(x, c)) and len(compiled.programs) == 2
    plain = cb.compile(lambda x: x * 2)
    assert not any(plain(points(leaf=False)[0]).requires_grad for _ in range(4))


def test_hooks_run_once():
    compiled, (w, b), g, (w2, b2) = pair()
    seen = []
    w.register_hook(lambda g: seen.append(g) or g * 2)
    w2.register_hook(lambda g: g * 2)
    for _ in range(2):
        x, c = points()
        y = twin_of(x)
        (compiled(x, c)[0] * 3).backward()
        (g(y, c)[0] * 3).backward()
    assert len(seen) == 2 and same_bits(w.grad, w2.grad) and same_bits(b.grad, b2.grad)


def test_a_hook_on_a_result():
    compiled, mine, g, twins = pair()
    x, c = points()
    for f in (compiled, g):
        a, _ = f(x, c)
        a.register_hook(lambda g: g * 10)
        a.backward()
    assert same_bits(mine[0].grad, twins[0].grad)


def test_histories_go_on_through_a_compiled_function():
    compiled, mine, g, twins = pair()
    x, c = points()
    y = twin_of(x)
    a, b = compiled(cb.exp(x) * 0.1, c)
    cb.sum(cb.tanh(b) * a).backward()
    a, b = g(cb.exp(y) * 0.1, c)
    cb.sum(cb.tanh(b) * a).backward()
    assert same_bits(x.grad, y.grad) and same_bits(mine[0].grad, twins[0].grad)


# ---- transforms and their nestings

def scalar(f):
    """A scalar function of x that uses both results."""
    return lambda x, c: (lambda a, b: a + cb.sum(cb.sin(b) * 0.3))(*f(x, c))


WAYS = {
    "grad": lambda f, v: lambda x, c: cb.grad(f)(x, c),
    "value_and_grad": lambda f, v: lambda x, c: cb.value_and_grad(f)(x, c)[1],
    "jvp": lambda f, v: lambda x, c: cb.jvp(lambda x: f(x, c), (x,), (v,))[1],
    "vjp": lambda f, v: lambda x, c: cb.vjp(lambda x: f(x, c), x)[1](1.5)[0],
}


def twice(f, inner, outer, v):
    """A derivative of a derivative."""
    first = WAYS[inner](scalar(f), v)
    return WAYS[outer](lambda x, c: cb.sum(first(x, c) * v), v)


@pytest.mark.parametrize("way", WAYS)
def test_first_derivatives(way):
    compiled, _, g, _ = pair()
    for _ in range(3):
        (x, c), v = points(leaf=False), F.normal(size=(2, 3))
        got, wanted = WAYS[way](scalar(compiled), v)(x, c), WAYS[way](scalar(g), v)(x, c)
        assert same_bits(got, wanted)


@pytest.mark.parametrize("inner, outer", list(itertools.product(WAYS, WAYS)))
def test_second_derivatives(inner, outer):
    compiled, _, g, _ = pair()
    for _ in range(2):
        (x, c), v = points(leaf=False), F.normal(size=(2, 3))
        a, b = (twice(f, inner, outer, v)(x, c) for f in (compiled, g))
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("inner, outer", list(itertools.product(WAYS, WAYS)))
def test_a_compiled_derivative_of_a_compiled_function(inner, outer):
    compiled, _, g, _ = pair()
    v = F.normal(size=(2, 3))

    both = cb.compile(twice(compiled, inner, outer, v))
    for _ in range(4):
        x, c = points(leaf=False)
        np.testing.assert_allclose(both(x, c), twice(g, inner, outer, v)(x, c).numpy(), rtol=1e-12, atol=1e-12)
    assert [p.calls for p in both.programs] == [4]


def test_third_derivatives():
    w = cb.Parameter(np.array(0.7))
    f = cb.compile(lambda x: cb.tanh(x * w))
    for _ in range(4):
        x = cb.tensor(np.array(F.normal()))
        third = [cb.grad(cb.grad(cb.grad(h)))(x).item() for h in (f, lambda x: cb.tanh(x * w))]
        assert third[0] == pytest.approx(third[1], rel=1e-12)


def test_create_graph():
    compiled, mine, g, twins = pair()
    x, c = points()
    y = twin_of(x)
    for f, t, params in ((compiled, x, mine), (g, y, twins)):
        scalar(f)(t, c).backward(create_graph=True)
        first, t.grad = t.grad, None
        for p in params:
            p.grad = None
        cb.sum(first * first).backward()
    assert all(np.allclose(p.grad, q.grad, rtol=1e-12) for p, q in zip([*mine, x], [*twins, y], strict=True))


# ---- noise, states, other programs

def test_a_second_derivative_has_the_mask_of_the_first():
    noise = cb.Generator(3)
    compiled = cb.compile(lambda x: cb.sum(cb.dropout(x, 0.5, noise) ** 3))
    for _ in range(4):
        x = cb.tensor(F.normal(size=50), requires_grad=True)
        y = compiled(x)
        after = noise.state
        y.backward(create_graph=True)
        first, x.grad = x.grad, None
        cb.sum(first).backward()
        assert noise.state == after      # running it again draws nothing anew
        scale = np.where(first.numpy() == 0, 0, 2.0)
        np.testing.assert_allclose(first, 3 * scale ** 3 * x.numpy() ** 2, rtol=1e-12)
        np.testing.assert_allclose(x.grad, 6 * scale ** 3 * x.numpy(), rtol=1e-12)


def test_a_function_that_writes_what_its_history_keeps():
    scale = cb.State(np.array(1.0))

    def f(x):
        y = cb.sum(x * scale)
        scale.assign(scale + 1)
        return y

    compiled, n = cb.compile(f), 0
    x = cb.tensor(F.normal(size=3), requires_grad=True)
    for refused in 3 * [lambda y: y.backward(), lambda y: y.backward(create_graph=True),
                        lambda y: cb.jvp(compiled, (x,), (x.detach(),))]:
        y, n = compiled(x), n + 1        # fine, as long as nobody sweeps it
        assert y.requires_grad and same_bits(y.detach(), cb.sum(x.detach() * cb.tensor(np.array(float(n)))))
        with pytest.raises(cb.TapeError, match=r"kept its input.*assign.*py:\d+"):
            refused(y)
        scale.assign(np.array(n + 1.0))


OUTSIDE = {"factor": 2.0, "array": np.array([1.0, 2.0])}


@pytest.mark.parametrize("name, changed", [("factor", 3.0), ("array", np.array([3.0, 4.0]))])
def test_second_derivatives_refuse_what_has_changed_outside(name, changed):
    def f(x):
        return cb.sum(cb.exp(x * OUTSIDE["array"]) * OUTSIDE["factor"])

    compiled, before = cb.compile(f), OUTSIDE[name]
    for _ in range(3):
        x = cb.tensor(F.normal(size=2), requires_grad=True)
        y = compiled(x)
    z = cb.tensor(x.numpy(), requires_grad=True)
    f(z).backward()
    try:
        OUTSIDE[name] = changed
        with pytest.raises(cb.TapeError, match="has changed since"):
            y.backward(create_graph=True)
        y.backward()                     # needs nothing but what the run has kept
        assert same_bits(x.grad, z.grad)
    finally:
        OUTSIDE[name] = before


def test_a_compiled_function_inside_another_is_one_program():
    inner, mine, g, twins = pair()
    calls = inner.programs[0].calls
    outer = cb.compile(lambda x, c: scalar(inner)(x, c) * 2)
    for _ in range(4):
        x, c = points()
        y = twin_of(x)
        outer(x, c).backward()
        (scalar(g)(y, c) * 2).backward()
        assert same_bits(x.grad, y.grad)
    assert [p.calls for p in outer.programs] == [4] and inner.programs[0].calls == calls


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_several_results_live_at_once(order):
    compiled, mine, g, twins = pair()
    live = []
    for _ in range(3):
        x, c = points()
        y = twin_of(x)
        live.append((scalar(compiled)(x, c), scalar(g)(y, c), x, y))
    for i in order:
        a, b, x, y = live[i]
        a.backward()
        b.backward()
        assert same_bits(a, b) and same_bits(x.grad, y.grad)
        assert all(same_bits(p.grad, q.grad) for p, q in zip(mine, twins, strict=True))


def frames():
    gc.collect()
    return sum(type(thing) is engine.Frame for thing in gc.get_objects())


def test_memory_and_frames_come_back():
    compiled, mine, *_ = pair(128)       # no audit comes in between
    args, before = points(), frames()
    live = [compiled(*args) for _ in range(5)]
    live[0][0].backward()
    del live
    for t in (*mine, args[0]):
        t.grad = None
    held, made = engine.bytes_in_use(), frames()
    assert made - before <= 5            # one waited
    for turn in range(20):
        live = [compiled(*args) for _ in range(5)]
        if turn % 2:
            live[0][0].backward()
        if turn % 3 == 0:
            live[1][0].backward(create_graph=True)
        del live
        for t in (*mine, args[0]):
            t.grad = None
    assert frames() == made and engine.bytes_in_use() == held


def test_an_array_that_changes_after_the_call():
    w = cb.Parameter(np.array([2.0, 3.0]))
    f = lambda x: cb.sum(cb.exp(w * x))                                   # noqa: E731
    compiled = cb.compile(f)
    for _ in range(4):
        x = F.normal(size=2)
        wanted = cb.grad(lambda v: cb.sum(cb.exp(v * cb.tensor(x))))(w)    # noqa: B023
        for graph in (False, True):
            w.grad, z = None, x.copy()
            y = compiled(z)
            z[:] = 100.0                 # the caller's array is the caller's
            y.backward(create_graph=graph)
            np.testing.assert_allclose(w.grad, wanted.numpy(), rtol=1e-13)


# ---- histories that lead outside

OUTER = cb.Parameter(np.array([2.0, 3.0]))
OLDER = OUTER * 3                        # has a history
OLDERS = [OLDER, cb.tensor(np.array([5.0, 7.0]), requires_grad=True)]
HISTORIES = {
    "an argument": lambda x: x,
    "an argument and more": lambda x: (x, x * 2),
    "the same shape": lambda x: x.reshape(2),
    "a parameter": lambda x: (OUTER, OUTER * x),
    "an older result": lambda x: (OLDER, OLDER * x),
    "older results in a list": lambda x: sum((x * t for t in OLDERS), x),
    "an older result through a view": lambda x: cb.sum(OLDER.reshape(1, 2) * x),
    "a leaf made inside": lambda x: x * cb.Parameter(x.detach()),
    "detached": lambda x: x.detach() * OUTER,
    "constant": lambda x: cb.ones(2, "float64") * x.detach(),
    "gradients inside": lambda x: cb.grad(lambda y: cb.sum(cb.exp(y * OUTER)))(x) * x,
}


@pytest.mark.parametrize("name", HISTORIES)
def test_results_hang_on_what_the_function_hung_on(name):
    f = HISTORIES[name]
    compiled, leaves = cb.compile(f), [OUTER, OLDERS[1]]
    for _ in range(4):
        found = []
        for g in (compiled, f):
            x = cb.tensor(np.array([0.5, -1.5]), requires_grad=True)
            y = g(x * 2)
            results = y if isinstance(y, tuple) else (y,)
            kinds = [(t.requires_grad, t is OUTER, t is OLDER) for t in results]
            for t in results:
                if t.requires_grad:
                    cb.sum(t * t).backward(retain_graph=True)
            found.append([kinds, *((t.grad is not None and t.grad.numpy().tobytes()) for t in [x, *leaves])])
            for t in leaves:
                t.grad = None
        assert found[0] == found[1]
    assert [p.calls for p in compiled.programs] == [4]


def test_results_of_two_dtypes_that_take_a_gradient_are_no_program():
    narrow = cb.Parameter([1.0, 2.0])
    f = lambda x: (x * OUTER, narrow * 2)                                # noqa: E731
    compiled = cb.compile(f)
    with pytest.warns(RuntimeWarning, match="results of two dtypes") as caught:
        for _ in range(3):
            a, b = compiled(cb.ones(2, "float64"))
            cb.sum(a).backward(), cb.sum(b).backward()
            assert OUTER.grad.tolist() == [1.0, 1.0] and narrow.grad.tolist() == [2.0, 2.0]
            OUTER.grad = narrow.grad = None
    assert len(caught) == 1 and compiled.programs == []
    with pytest.raises(cb.TapeError, match="results of two dtypes"):
        cb.compile(f, strict=True)(cb.ones(2, "float64"))


def test_an_older_result_that_comes_from_nowhere_ends_the_recording():
    older = secret(lambda: OLDER)
    f = lambda x: x * older()            # noqa: E731
    compiled, x = cb.compile(f), cb.ones(2, "float64")
    with pytest.warns(RuntimeWarning, match=r"a tensor of shape \(2,\) .*test_compile_derivative.py:\d+"):
        for _ in range(3):
            y = compiled(x)
            cb.sum(y).backward(retain_graph=True)
            assert same_bits(y.detach(), OLDER.detach()) and OUTER.grad.tolist() == [3.0, 3.0]
            OUTER.grad = None
    assert compiled.programs == []
    with pytest.raises(cb.TapeError, match="is used at .*neither an argument"):
        cb.compile(f, strict=True)(x)


# ---- random programs

@pytest.mark.parametrize("seed", range(300, 360))
def test_a_random_function_swept_outside(seed):
    dtype, batch, steps, results = programs.make(seed, kinds=programs.PURE)
    mine, twin = programs.World(seed, dtype), programs.World(seed, dtype)
    compiled, eager = (programs.forward_of(steps, results, w) for w in (mine, twin))
    compiled = cb.compile(compiled)
    for call in range(4):
        a, b, c, labels = programs.arguments(1000 * seed + call, batch, dtype)
        found = []
        for f, world in ((compiled, mine), (eager, twin)):
            x = cb.tensor(b.numpy(), requires_grad=True)
            world.next_call()
            for k, y in enumerate(f(a, x, c, labels)):
                if y.requires_grad and y.size:
                    (cb.mean(y) * (k + 1)).backward(retain_graph=True)
            found.append({"x": x.grad} | world.tensors())
        left, right = found
        assert not [k for k in left if (left[k] is None) != (right[k] is None)
                    or (left[k] is not None and not same_values(left[k], right[k]))], (seed, steps)
