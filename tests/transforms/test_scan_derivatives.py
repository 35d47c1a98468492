"""Derivatives of scan: those of the loop in Python, to the third order, whatever the body closes over."""

import gc
import threading

import numpy as np
import pytest
import unrolled

import cybackprop as cb
from cybackprop import nn
from cybackprop._core import engine


def array(*shape, seed=0, scale=1.0):
    return cb.tensor(np.random.default_rng(seed).normal(size=shape) * scale)


ROWS, SIZE = 5, 3
W0 = np.random.default_rng(11).normal(size=(SIZE, SIZE)) * 0.6
OUTSIDE = array(SIZE, seed=12)
C, X, Z = array(2, SIZE), array(ROWS, 2, SIZE, seed=1), array(SIZE, seed=2)


def plain(scan, w, c, xs, z):
    zz = cb.sin(z)                       # has a history of its own

    def body(c, x):
        h = cb.tanh(c @ w + x * zz + OUTSIDE)
        return h, h * h + x

    last, ys = scan(body, c, xs)
    return cb.sum(last * last) + cb.mean(ys ** 3)


def only_the_last_carry(scan, w, c, xs, z):
    return cb.sum(scan(lambda c, x: (cb.sin(c @ w) * z + x, None), c, xs)[0] ** 2)


def only_the_stack(scan, w, c, xs, z):
    return cb.sum(scan(lambda c, x: (cb.sin(c @ w), cb.sum(c * z) * x), c, xs)[1])


def backwards(scan, w, c, xs, z):
    last, ys = scan(lambda c, x: (cb.tanh(c * z + x), cb.sum(c @ w)), c, xs, reverse=True)
    return cb.sum(last) + cb.sum(ys * ys)


def in_segments(scan, w, c, xs, z):
    last, ys = scan(lambda c, x: (cb.tanh(c @ w + x), cb.sum(c * z)), c, xs, checkpoint=True)
    return cb.sum(last * last) + cb.sum(ys * ys * ys)


def segments_backwards(scan, w, c, xs, z):
    last, ys = scan(lambda c, x: (cb.tanh(c @ w + x), cb.sum(c * z)), c, xs, checkpoint=True, reverse=True)
    return cb.sum(last * last) + cb.sum(ys * ys * ys)


def swapping(scan, w, c, xs, z):
    (a, b, n), ys = scan(lambda c, x: ((c[1] * z, c[0] @ w + x, c[2]), (c[0], x)), (c, c * 2, 3), xs)
    return cb.sum(a * b) + cb.sum(ys[0] * ys[0]) + cb.sum(ys[1] * ys[1]) * n.astype("float64")


def detaching(scan, w, c, xs, z):
    def body(c, x):
        with cb.no_grad():
            slow = cb.sin(c @ w)
        return cb.tanh(c * z + x.detach()) + slow * x, c.detach() * z

    last, ys = scan(body, c, xs)
    return cb.sum(last) + cb.sum(ys * ys)


def a_gradient_inside(scan, w, c, xs, z):
    """Steps along the gradient of an energy: the body's derivative is one of second order."""
    def energy(c, x):
        return cb.sum(cb.exp(c * z * 0.1) + (c @ w) * x) + cb.sum(OUTSIDE * c)

    last, ys = scan(lambda c, x: (c - 0.1 * cb.grad(energy)(c, x), cb.jvp(energy, (c, x), (x, c))[1]), c, xs)
    return cb.sum(last * last) + cb.sum(ys * ys)


def nested(scan, w, c, xs, z):
    def outer(c, x):
        def inner(c, x):
            return cb.tanh(c * z + x), cb.sum(c) * z
        last, ys = scan(inner, c @ w, cb.stack([x, x * 2, c]))
        return last, cb.sum(ys)

    last, ys = scan(outer, c, xs)
    return cb.sum(last) + cb.sum(ys * ys)


def scan_of_a_scan(scan, w, c, xs, z):
    last, ys = scan(lambda c, x: (cb.tanh(c @ w + x), c), c, xs)
    again, more = scan(lambda c, y: (c * cb.sin(y) + last * z, c), last, ys)
    return cb.sum(again * again) + cb.sum(more)


def parts_of_nothing(scan, w, c, xs, z):
    """Carries and results that depend on nothing, or that nothing depends on."""
    def body(c, x):
        a, t, unused = c
        return (cb.sin(a * z), t + 0.5, x), (t * cb.ones((2,), "float64"), cb.ones((3,), "float64"), a)

    (a, t, _), ys = scan(body, (c, cb.tensor(0.0, "float64"), c), xs)
    return cb.sum(a) * t + cb.sum(ys[0]) + cb.sum(ys[2] * ys[2]) + cb.sum(w) * 0


PROGRAMS = [plain, only_the_last_carry, only_the_stack, backwards, in_segments, segments_backwards, swapping, detaching,
            a_gradient_inside, nested, scan_of_a_scan, parts_of_nothing]
ARGUMENTS = (cb.tensor(W0), C, X, Z)
EVERY = tuple(range(len(ARGUMENTS)))
DIRECTIONS = tuple(array(*t.shape, seed=20 + i) for i, t in enumerate(ARGUMENTS))
each = pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)


def both(program, transform, rtol=1e-10):
    """The same of a scan and of the loop."""
    found, expected = [transform(lambda *args, s=s: program(s, *args))(*ARGUMENTS) for s in (cb.scan, unrolled.scan)]
    unrolled.close(found, expected, rtol)


def gradient(f):
    return cb.grad(f, EVERY)


def tangent(f):
    return lambda *args: cb.jvp(f, args, DIRECTIONS)[1]


def along(f):
    """A number of the gradient."""
    def of(*args):
        return sum((cb.sum(g * cb.sin(d)) for g, d in zip(gradient(f)(*args), DIRECTIONS, strict=True)),
                   cb.tensor(0.0, "float64"))
    return of


@each
def test_value(program):
    assert program(cb.scan, *ARGUMENTS).item() == program(unrolled.scan, *ARGUMENTS).item()


@each
def test_gradient(program):
    both(program, gradient)


@each
def test_tangent(program):
    both(program, tangent)


SECOND = {"grad of grad": lambda f: gradient(along(f)), "jvp of grad": lambda f: tangent(along(f)),
          "grad of jvp": lambda f: gradient(tangent(f)), "jvp of jvp": lambda f: tangent(tangent(f))}


@pytest.mark.parametrize("name", SECOND)
@each
def test_second_order(program, name):
    both(program, SECOND[name], 1e-9)


@pytest.mark.parametrize("program", [plain, nested, backwards, in_segments], ids=lambda f: f.__name__)
def test_third_order(program):
    both(program, lambda f: gradient(along(tangent(f))), 1e-8)


@each
def test_inside_a_program(program):
    """value, gradient and a second derivative of a compiled function that is recorded, audited and replayed."""
    def whole(*args):
        f = lambda *args: program(cb.scan, *args)        # noqa: E731
        return f(*args), gradient(f)(*args), tangent(along(f))(*args)

    step, expected = cb.compile(whole), unrolled.bits(whole(*ARGUMENTS))
    assert [unrolled.bits(step(*ARGUMENTS)) == expected for _ in range(4)] == [True] * 4
    assert len(step.programs) == 1


@each
def test_of_a_compiled_function(program):
    """A compiled forward that is differentiated outside."""
    f = cb.compile(lambda *args: program(cb.scan, *args))
    expected = gradient(lambda *args: program(unrolled.scan, *args))(*ARGUMENTS)
    for _ in range(3):
        unrolled.close(gradient(f)(*ARGUMENTS), expected, 1e-10)
    expected = tangent(along(lambda *args: program(unrolled.scan, *args)))(*ARGUMENTS)
    unrolled.close(tangent(along(f))(*ARGUMENTS), expected, 1e-9)


# ---- Parameters and backward

def test_parameters_and_leaves_get_gradients():
    grads = []
    for scan in (cb.scan, unrolled.scan):
        layer, leaf = nn.Dense(4, 4, activation="gelu", rng=0), cb.tensor(np.ones(4, "float32"), requires_grad=True)
        history = leaf * 2
        last, ys = scan(lambda c, x, m=layer, h=history, t=leaf: (m(c) + x * h, m(x) * t), cb.zeros((3, 4)),
                        cb.tensor(np.random.default_rng(0).normal(size=(6, 3, 4)), "float32"))
        (cb.sum(last) + cb.sum(ys * ys)).backward()
        grads.append([p.grad for p in (*layer.parameters(), leaf)])
    unrolled.close(*grads, 1e-5)


def test_gradients_of_gradients_of_parameters():
    """Hessian times vector by backward through a gradient that was recorded."""
    found = []
    for scan in (cb.scan, unrolled.scan):
        w = cb.Parameter(W0)
        last, _ = scan(lambda c, x, w=w: (cb.tanh(c @ w + x), None), C, X)
        cb.sum(last * last).backward(create_graph=True)
        g, w.grad = w.grad, None
        cb.sum(g * g).backward()
        found.append(w.grad)
    unrolled.close(*found, 1e-9)


def test_a_bit_exact_gradient():
    """Not promised, but so it is: contributions add up from the last step to the first, as in the loop."""
    grads = [gradient(lambda *args, s=s: plain(s, *args))(*ARGUMENTS) for s in (cb.scan, unrolled.scan)]
    assert unrolled.bits(grads[0]) == unrolled.bits(grads[1])


def test_frozen_parameters_and_no_grad():
    w = cb.Parameter(W0, requires_grad=False)
    last, _ = cb.scan(lambda c, x: (cb.tanh(c @ w + x), None), C, X)
    assert not last.requires_grad
    w.requires_grad = True
    with cb.no_grad():
        assert not cb.scan(lambda c, x: (cb.tanh(c @ w + x), None), C, X)[0].requires_grad
    last, ys = cb.scan(lambda c, x: (cb.tanh(c @ w + x), (x, c.detach())), C, X)
    assert last.requires_grad and not ys[0].requires_grad and not ys[1].requires_grad


def test_what_takes_gradients_is_what_does_in_the_loop():
    w = cb.Parameter(np.ones(1))

    def body(c, x):
        a, b, t = c
        return (b, a * w + x, t + 1.0), (a, t)

    for scan in (cb.scan, unrolled.scan):
        (a, b, t), (ya, yt) = scan(body, (cb.zeros(1, "float64"),) * 2 + (cb.zeros((), "float64"),), length=3,
                                   xs=cb.ones((3, 1), "float64"))
        assert [v.requires_grad for v in (a, b, t, ya, yt)] == [True, True, False, True, False]


def test_backward_twice_and_after_a_write():
    w = cb.Parameter(W0)
    last, _ = cb.scan(lambda c, x: (cb.tanh(c @ w + x), None), C, X)
    loss = cb.sum(last)
    loss.backward(retain_graph=True)
    first = w.grad
    w.grad = None
    loss.backward()
    assert unrolled.bits(w.grad) == unrolled.bits(first)
    with pytest.raises(cb.TapeError, match="freed"):
        loss.backward()
    last, _ = cb.scan(lambda c, x: (cb.tanh(c @ w + x), None), C, X)
    w.assign(W0 * 2)
    with pytest.raises(cb.TapeError, match="scan.*version"):
        cb.sum(last).backward()


def test_a_parameter_that_the_body_writes():
    w = cb.Parameter(W0)

    def body(c, x):
        c = cb.tanh(c @ w + x)
        w.assign(w * 0.5)
        return c, None

    last, _ = cb.scan(body, C, X)
    np.testing.assert_array_equal(w.numpy(), W0 * 0.5 ** ROWS)
    with pytest.raises(cb.TapeError, match="scan.*reads a Parameter.*writes it"):
        cb.sum(last).backward()


@pytest.mark.parametrize("read_first", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_state_that_the_body_writes_after_a_slope_has_kept_it(read_first, compiled):
    """The loop in Python refuses it too: the record kept another version."""
    def run(c):
        s = cb.State(2.0)

        def body(c, _):
            if read_first:
                c = c * s
            s.assign(s + 1)
            return c if read_first else c * s, None

        return cb.scan(body, c, length=3)[0]

    grad = cb.compile(cb.grad(run)) if compiled else cb.grad(run)
    assert run(cb.tensor(1.0)).item() == (24 if read_first else 60)
    if read_first:
        with pytest.raises(cb.TapeError, match="scan: a derivative needs a State .* before the body wrote it"):
            grad(cb.tensor(1.0))
    else:
        assert grad(cb.tensor(1.0)).item() == 60


def test_strong_zeros():
    """A branch that no step takes stays out of the gradient, beside infinities too."""
    def loss(x):
        return cb.sum(cb.scan(lambda c, x: (cb.where(x > 0, c + cb.log(x), c), None), cb.zeros(2), x)[0])

    x = cb.tensor([[1.0, 0.0], [2.0, -1.0], [4.0, 0.0]])
    assert cb.grad(loss)(x).tolist() == [[1.0, 0.0], [0.5, 0.0], [0.25, 0.0]]
    assert cb.jvp(cb.grad(loss), (x,), (cb.ones((3, 2)),))[1].tolist() == [[-1.0, 0.0], [-0.25, 0.0], [-0.0625, 0.0]]


def test_hooks_and_steps_of_backward():
    w, seen = cb.Parameter(W0), []
    w.register_hook(lambda g: seen.append(g))
    last, ys = cb.scan(lambda c, x: (cb.tanh(c @ w + x), c), C, X)
    last.retain_grad()
    ys.register_hook(lambda g: seen.append(g))
    steps = [step.op for step in cb.backward_steps(cb.sum(last) + cb.sum(ys))]
    assert steps == ["add", "sum", "sum", "result of scan", "result of scan", "scan", "leaf"]
    assert len(seen) == 2 and seen[0].shape == ys.shape and last.grad.tolist() == np.ones((2, SIZE)).tolist()


def test_checkpoints_save_memory():
    n = 2500
    xs = cb.zeros((n, 100))
    w = cb.tensor(np.ones(100, "float32"), requires_grad=True)
    held, grads = [], []
    for checkpoint in (False, True):
        before = engine.bytes_in_use()
        last, _ = cb.scan(lambda c, x: (cb.sin(c * w) + x, None), w, xs, checkpoint=checkpoint)
        held.append(engine.bytes_in_use() - before)
        w.grad = None
        cb.sum(last).backward()
        grads.append(w.grad.tolist())
        del last
    np.testing.assert_allclose(*grads, rtol=1e-5)
    assert held[0] > n * 400 and held[1] < held[0] / 5


def test_a_chain_of_scans_is_freed_without_recursion():
    gc.collect()
    before, size, errors = engine.bytes_in_use(), threading.stack_size(256 * 1024), []

    def work():
        try:
            x = cb.tensor(np.ones(2), requires_grad=True)
            for _ in range(3000):
                x = cb.scan(lambda c, _, x=x: (c * x, None), x, length=2)[0]
            del x
        except BaseException as error:   # handed on
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start(), thread.join()
    threading.stack_size(size)
    assert not errors and engine.bytes_in_use() == before
