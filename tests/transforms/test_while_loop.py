"""while_loop: the bits of Python's while, and the derivatives of a scan of as many steps."""

import gc

import numpy as np
import pytest
import unrolled

import cybackprop as cb
from cybackprop import nn
from cybackprop._core import engine

W = np.random.default_rng(0).normal(size=(3, 3)) * 0.4


def f64(*x):
    return cb.tensor(np.array(x[0] if len(x) == 1 else x, "float64"))


def root(loop, a):
    return loop(lambda x: cb.abs(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, a)


def fixed_point(loop, w, b):
    """x = tanh(x w) + b, a number of steps beside it."""
    def go_on(c):
        return (cb.sum((c["x"] - c["old"]) ** 2) > 1e-18) & (c["n"] < 200.0)

    start = {"x": b, "old": b + 1, "n": f64(0.0), "no": None}
    return loop(go_on, lambda c: {"x": cb.tanh(c["x"] @ w) * 0.5 + b, "old": c["x"], "n": c["n"] + 1, "no": None},
                start)


def collatz(loop, n):
    def step(c):
        n, k = c
        return cb.where(n - 2 * cb.floor(n / 2) > 0, 3 * n + 1, n / 2), k + 1
    return loop(lambda c: c[0] != 1, step, (n, f64(0.0)))


PROGRAMS = {"root": (root, f64(7.0)), "fixed point": (fixed_point, cb.tensor(W), f64(0.1, -0.2, 0.3)),
            "collatz": (collatz, f64(27.0)), "no step": (root, f64(1.0))}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_bits_of_the_loop(name):
    program, *args = PROGRAMS[name]
    expected = unrolled.bits(program(unrolled.while_loop, *args))
    assert [unrolled.bits(program(cb.while_loop, *args)) == expected for _ in range(4)] == [True] * 4
    whole = cb.compile(lambda *args: program(cb.while_loop, *args))
    assert [unrolled.bits(whole(*args)) == expected for _ in range(4)] == [True] * 4


def test_steps_are_counted_anew_in_each_replay():
    whole = cb.compile(lambda n: collatz(cb.while_loop, n))
    assert [whole(f64(n))[1].item() for n in (6.0, 27.0, 1.0, 97.0, 6.0)] == [8, 111, 0, 118, 8]
    assert len(whole.programs) == 1


def number(f):
    """sum of squares of all that takes a gradient."""
    return lambda *args: sum((cb.sum(t * t) for t in unrolled.leaves(f(*args)) if t.requires_grad), f64(0.0))


DERIVATIVES = {
    "grad": lambda f, n: cb.grad(f, tuple(range(n))),
    "jvp": lambda f, n: lambda *a: cb.jvp(f, a, tuple(cb.sin(x + 1) for x in a))[1],
    "grad of grad": lambda f, n: cb.grad(
        lambda *a: sum((cb.sum(g * g) for g in cb.grad(f, tuple(range(n)))(*a)), f64(0.0)), tuple(range(n))),
    "jvp of grad": lambda f, n: lambda *a: cb.jvp(cb.grad(f, tuple(range(n))), a, tuple(cb.cos(x) for x in a))[1],
    "grad of jvp": lambda f, n: cb.grad(lambda *a: cb.jvp(f, a, tuple(cb.cos(x) for x in a))[1], tuple(range(n))),
    "jvp of jvp": lambda f, n: lambda *a: cb.jvp(lambda *a: cb.jvp(f, a, tuple(cb.cos(x) for x in a))[1], a, a)[1],
}


@pytest.mark.parametrize("derivative", DERIVATIVES)
@pytest.mark.parametrize("name", ["root", "fixed point", "no step"])
def test_derivatives(name, derivative):
    program, *args = PROGRAMS[name]
    found, expected = [DERIVATIVES[derivative](number(lambda *a, w=w: program(w, *a)), len(args))(*args)
                       for w in (cb.while_loop, unrolled.while_loop)]
    unrolled.close(found, expected, 1e-8)


def test_tangents_inside_a_program():
    whole = cb.compile(lambda a: cb.jvp(lambda a: root(cb.while_loop, a), (a,), (f64(1.0),))[1])
    for a in (2.0, 3.0, 1e6, 5.0):
        assert whole(f64(a)).item() == pytest.approx(0.5 * a ** -0.5, rel=1e-6)


def test_no_sweep_inside_a_program_without_a_bound():
    with pytest.raises(cb.TapeError, match=r"while_loop: inside cb\.compile.*max_steps=.*cb\.scan"):
        cb.compile(cb.grad(lambda a: root(cb.while_loop, a)))(f64(2.0))
    with pytest.raises(cb.TapeError, match="while_loop: inside cb.compile, scan"):
        cb.grad(lambda a: cb.scan(lambda c, _: (root(cb.while_loop, c), None), a, length=2)[0])(f64(2.0))


def bounded(condition, body, init):
    return cb.while_loop(condition, body, init, max_steps=130)


@pytest.mark.parametrize("derivative", DERIVATIVES)
@pytest.mark.parametrize("name", ["root", "fixed point", "no step"])
def test_derivatives_inside_a_program(name, derivative):
    """With a bound, recorded, audited, replayed; alone, and as the body of a scan."""
    program, *args = PROGRAMS[name]
    inside = lambda f: DERIVATIVES[derivative](number(f), len(args))             # noqa: E731
    whole = cb.compile(inside(lambda *a: program(bounded, *a)))
    expected = inside(lambda *a: program(unrolled.while_loop, *a))
    for _ in range(3):
        unrolled.close(whole(*args), expected(*args), 1e-8)
    found = inside(lambda *a: cb.scan(lambda c, _: (c, program(bounded, *a)), None, length=2)[1])
    unrolled.close(found(*args), inside(lambda *a: unrolled.scan(
        lambda c, _: (c, program(unrolled.while_loop, *a)), None, length=2)[1])(*args), 1e-8)


def test_a_bound():
    limit = cb.State(5.0)
    count = lambda c: cb.while_loop(lambda c: c < limit, lambda c: c + 1, c, max_steps=20)      # noqa: E731
    for f in (count, cb.compile(count), cb.grad(count), cb.compile(cb.grad(count))):
        limit.assign(5.0)
        assert len({f(cb.tensor(0.0)).item() for _ in range(3)}) == 1
        for steps in (20.0, 21.0, 3.0, np.inf):
            limit.assign(steps)
            if steps <= 20:
                f(cb.tensor(0.0))
            else:
                with pytest.raises(cb.TapeError, match="still holds after max_steps=20 steps"):
                    f(cb.tensor(0.0))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_condition_on_a_state_that_the_body_writes(compiled):
    count = cb.State(0.0)

    def double(c):
        count.assign(count + 1)
        return 2 * c

    f = lambda c: cb.while_loop(lambda c: count < 5, double, c, max_steps=9)     # noqa: E731
    f = cb.compile(f) if compiled else f
    for _ in range(3):
        count.assign(0.0)
        assert (f(cb.tensor(1.0)).item(), count.item()) == (32.0, 5.0)


def test_parameters_get_gradients():
    grads = []
    for loop in (cb.while_loop, unrolled.while_loop):
        layer = nn.Dense(3, 3, activation="tanh", rng=0)
        x = loop(lambda c, m=layer: cb.sum(c * c) < 40.0, lambda c, m=layer: c + cb.abs(m(c)) + 0.25, cb.zeros((2, 3)))
        cb.sum(x).backward()
        grads.append([p.grad for p in layer.parameters()])
    unrolled.close(*grads, 1e-5)


def test_states_go_from_step_to_step():
    results = []
    for loop in (cb.while_loop, unrolled.while_loop):
        drop, count = nn.Dropout(0.5, rng=1), cb.State(0.0)

        def step(c, drop=drop, count=count):
            count.assign(count + 1)
            return drop(c) + count

        results.append((unrolled.bits(loop(lambda c: cb.sum(c) < 100, step, cb.ones(5))), count.item(), drop.rng.state))
    assert results[0] == results[1]


def test_a_step_that_refuses():
    table = cb.tensor([1, 2, 5, 7])
    count = cb.State(0.0)

    def step(i):
        count.assign(count + 1)
        return cb.take(table, i)

    for _ in range(4):
        with pytest.raises(IndexError, match="take: index 5"):
            cb.while_loop(lambda i: i < 100, step, cb.tensor(0))
        assert count.item() == 0


def test_memory_returns():
    def run():
        a = cb.tensor(np.full(1000, 2.0), requires_grad=True)
        x = cb.while_loop(lambda x: cb.max(cb.abs(x * x - a)) > 1e-6, lambda x: (x + a / x) / 2, a)
        cb.sum(x).backward()

    run()
    gc.collect()
    gc.disable()
    before = engine.bytes_in_use()
    run()
    after = engine.bytes_in_use()
    gc.enable()
    assert after == before
