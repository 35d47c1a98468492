"""scan: the bits of the loop in Python, whatever the body, the nests, the dtypes, the states."""

import collections
import gc
import os
import signal
import threading
import time
import zlib

import numpy as np
import pytest
import unrolled
from notes import secret
from samples import UNARY, case_id, points, same_values
from structured import CASES

import cybackprop as cb
from cybackprop import nn
from cybackprop._core import engine
from cybackprop._core.engine import binary_rows

Pair = collections.namedtuple("Pair", "a b")


def array(*shape, seed=0, dtype="float32"):
    return cb.tensor(np.random.default_rng(seed).normal(size=shape), dtype)


W = cb.Parameter(np.random.default_rng(5).normal(size=(3, 3)).astype("float32") * 0.5)
CONSTANT = array(3, seed=6)
HOST = np.random.default_rng(7).normal(size=3).astype("float32")


def rnn(h, x):
    h = cb.tanh(h @ W + x)
    return h, h * h


def swap(c, _):
    return (c[1], c[0]), c[0]


def rotate(c, x):
    a, b, d = c
    return (b, d, a), (a, x, d)


def nest(c, x):
    h, (u, v) = c["h"], c["uv"]
    new = cb.tanh(h + x["x"])
    return {"h": new, "uv": Pair(v, u * 0.5 + cb.sum(new))}, {"y": (new, [u, None]), "z": None}


def integers(c, x):
    return cb.where(x > c, x, c), x == c


def mixed(c, x):
    i, f, flag, d = c
    flag = flag ^ (f[0] > 0)
    return (cb.where(flag, i, x[0]), cb.where(flag, f * 1.5, f + x[1]), flag, d - f.astype("float64")), (flag, i)


def closing(c, x):
    return cb.sin(c * CONSTANT + HOST + [0.5, 1.0, -2.0]) + x, c @ W


def views(c, x):
    y = (c.reshape(3, 2).T @ x.reshape(3, 1)).reshape(2)
    return cb.concatenate([c[2:], y]).reshape(2, 3).reshape(6), y[::-1]


def long_numbers(c, x):
    return c + cb.exp(-x * x), cb.softmax(c)


BODIES = {                               # body, init, xs, length
    "rnn": (rnn, cb.zeros((2, 3)), array(5, 2, 3), None),
    "one step": (rnn, cb.zeros((2, 3)), array(1, 2, 3), None),
    "two steps": (rnn, cb.zeros((2, 3)), array(2, 2, 3), None),
    "swap": (swap, (array(3), array(3, seed=1)), None, 5),
    "swap once": (swap, (array(3), array(3, seed=1)), None, 1),
    "rotate": (rotate, (array(2), array(2, seed=1), array(2, seed=2)), array(7, 4), None),
    "nest": (nest, {"h": array(3), "uv": Pair(cb.tensor(0.0), cb.tensor(1.0))}, {"x": array(4, 3), "no": None}, None),
    "integers": (integers, cb.tensor(3), cb.tensor(np.random.default_rng(0).integers(0, 9, 20)), None),
    "mixed": (mixed, (cb.tensor(1), array(3), cb.tensor(False), array(3, dtype="float64")),
              (cb.arange(6), array(6, 3)), None),
    "closing": (closing, array(3), array(6, 3), None),
    "views": (views, array(6), array(9, 3), None),
    "long": (long_numbers, array(1000, dtype="float64"), array(3, 1000, dtype="float64"), None),
    "constant": (lambda c, x: (c, 1.5), array(2), None, 3),
    "carry is x": (lambda c, x: (x, c), array(2), array(4, 2), None),
    "outside": (lambda c, x: (CONSTANT, (c, CONSTANT)), array(3), None, 3),
    "parameter": (lambda c, x: (W, c + W), cb.zeros((3, 3)), None, 3),
    "numbers": (lambda c, x: (c * 2 + 1, c), 0.5, None, 10),
    "empty": (lambda c, x: (c, x * 2), cb.zeros((0, 3)), cb.zeros((4, 0, 2)), None),
    "nothing to carry": (lambda c, x: (None, x * x), None, array(4, 3), None),
    "nothing to stack": (lambda c, x: (c + x, None), array(3), array(4, 3), None),
    "scalars": (lambda c, x: (c * x, c), cb.tensor(1.0), array(40), None),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_the_bits_of_the_loop(name, reverse):
    body, init, xs, length = BODIES[name]
    found = cb.scan(body, init, xs, length, reverse=reverse)
    assert unrolled.bits(found) == unrolled.bits(unrolled.scan(body, init, xs, length, reverse=reverse))


@pytest.mark.parametrize("name", BODIES)
def test_inside_a_program(name):
    body, init, xs, length = BODIES[name]
    step = cb.compile(lambda init, xs: cb.scan(body, init, xs, length))
    expected = unrolled.bits(unrolled.scan(body, init, xs, length))
    with cb.no_grad():
        assert [unrolled.bits(step(init, xs)) == expected for _ in range(4)] == [True] * 4     # the second: audited
    assert len(step.programs) == 1


def test_structure_of_the_result():
    (carry, ys) = cb.scan(*BODIES["nest"][:3])
    assert type(carry["uv"]) is Pair and list(ys) == ["y", "z"] and ys["z"] is None
    assert type(ys["y"]) is tuple and type(ys["y"][1]) is list and ys["y"][1][1] is None
    assert ys["y"][0].shape == (4, 3) and ys["y"][1][0].shape == (4,)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_structured_op(case):
    for shapes in (case.shapes[0], case.shapes[-1]):
        rng = np.random.default_rng(zlib.crc32(case.name.encode()))
        n = [3 * int(np.prod(s)) for s in shapes]
        xs = [cb.tensor((rng.permutation(m).reshape(3, *s) + 0.5) / max(m, 1) * 2.5 - 1.2)
              for m, s in zip(n, shapes, strict=True)]

        def body(c, xs):
            y = case.op(*[x * c for x in xs])
            return cb.tanh(c * 0.5 + cb.sum(y) * 0.01), y

        def loss(scan):
            def of(c, *xs):
                last, ys = scan(body, c, list(xs))        # noqa: B023  (called at once)
                return last * 1.3 + cb.sum(ys * cb.sin(ys))
            return of

        c, every = cb.tensor(1.1, "float64"), tuple(range(1 + len(xs)))
        assert unrolled.bits(cb.scan(body, c, xs)) == unrolled.bits(unrolled.scan(body, c, xs))
        unrolled.close(cb.grad(loss(cb.scan), every)(c, *xs), cb.grad(loss(unrolled.scan), every)(c, *xs), 1e-10)


@pytest.mark.parametrize("row, dtype, i", UNARY, ids=case_id)
def test_every_elementwise_row(row, dtype, i):
    if i or not row.facts["public"]:
        return
    x = cb.tensor(points(row, dtype, tuple(v for _, v in row.parameters))[:48].reshape(3, 16))

    def body(c, x):
        y = row(x)
        return c + y * 0.25, y

    c = cb.zeros(16, dtype)
    assert unrolled.bits(cb.scan(body, c, x)) == unrolled.bits(unrolled.scan(body, c, x))
    found, expected = [cb.grad(lambda x, s=s: cb.sum(s(body, c, x)[0]))(x) for s in (cb.scan, unrolled.scan)]
    assert np.array_equal(found.numpy(), expected.numpy(), equal_nan=True)


@pytest.mark.parametrize("name", [n for n, row in binary_rows.items() if not row.facts["compares"]])
def test_every_row_of_two(name):
    row = binary_rows[name]
    a, b = array(3, 5, dtype="float64"), cb.exp(array(3, 5, seed=1, dtype="float64"))

    def body(c, x):
        c = row(cb.abs(c) + 0.5, x[0] * x[1] + 1)
        return cb.tanh(c) + x[0], c

    c = array(5, seed=2, dtype="float64")
    assert unrolled.bits(cb.scan(body, c, (a, b))) == unrolled.bits(unrolled.scan(body, c, (a, b)))


# ---- no steps

def test_no_steps():
    last, ys = cb.scan(rnn, cb.ones((2, 3)), cb.zeros((0, 2, 3)))
    assert last.tolist() == cb.ones((2, 3)).tolist() and ys.shape == (0, 2, 3)
    last, ys = cb.scan(lambda c, _: (c * 2, {"y": c}), 1.0, length=0)
    assert last.item() == 1 and ys["y"].shape == (0,)
    g = cb.grad(lambda c, x: cb.sum(cb.scan(rnn, c, x)[0]), (0, 1))(cb.ones((2, 3)), cb.zeros((0, 2, 3)))
    assert g[0].tolist() == cb.ones((2, 3)).tolist() and g[1].shape == (0, 2, 3)


def test_no_steps_leave_states_alone():
    count = cb.State(0.0)
    cb.scan(lambda c, _: (count.assign(count + 1), (c, None))[1], 1.0, length=0)
    assert count.item() == 0 and count.version == 0


# ---- states

def test_dropout():
    results = []
    for scan in (cb.scan, unrolled.scan):
        drop, count = nn.Dropout(0.4, rng=3), cb.State([0.0, 0.0])

        def body(c, x, drop=drop, count=count):
            count.assign(count + cb.sum(c))
            return drop(c) + x * count[0], count + 0

        results.append((unrolled.bits(scan(body, array(8), array(6, 8))), drop.rng.state, count.tolist()))
        results[-1] += (unrolled.bits(scan(body, array(8), array(6, 8), reverse=True)), drop.rng.state, count.tolist())
    assert results[0] == results[1]


def test_what_a_state_was_set_to_stays_when_the_state_moves_on():
    """The copy in a State that a body assigns and then writes in place is not the original."""
    noise, other = cb.Generator(1), cb.Generator(2)
    key = cb.tensor(np.array([5, 0]), "int64")

    def body(c, x):
        noise.cell.assign(key)
        first = noise.normal((2,))
        other.cell.assign(noise.cell)
        second = noise.normal((2,))
        return c + first, (key.astype("float32"), second, other.normal((2,)))

    c, (seen, second, again) = cb.scan(body, cb.zeros(2), length=3)
    assert key.numpy().tolist() == [5, 0] and seen.numpy().tolist() == [[5, 0]] * 3
    assert (again.numpy() == second.numpy()).all()
    noise.cell.assign(key)
    assert (c.numpy() == sum([noise.normal((2,))] * 3, cb.zeros(2)).numpy()).all()


def test_gradients_through_dropout():
    found = []
    for scan in (cb.scan, unrolled.scan):
        drop = nn.Dropout(0.4, rng=3)

        def loss(c, x, scan=scan, drop=drop):
            last, ys = scan(lambda c, x: (cb.sin(drop(c)) + x, drop(c)), c, x)
            return cb.sum(last * last) + cb.sum(ys)

        found.append(cb.grad(loss, (0, 1))(array(8), array(6, 8)) + (drop.rng.cell,))
    unrolled.close(*found, 1e-6)


def test_a_step_that_refuses_changes_nothing():
    count, labels = cb.State(0.0), cb.tensor([[0, 1], [1, 2], [0, 7], [1, 1]])

    def body(c, t):
        count.assign(count + 1)
        return c + 1, cb.sum(nn.cross_entropy(c * cb.ones((2, 3)), t))

    for _ in range(4):                   # recorded anew and used again
        with pytest.raises(ValueError, match="cross_entropy: target 7 in row 1 is outside"):
            cb.scan(body, cb.tensor(0.0), labels)
        assert count.item() == 0
    whole = cb.compile(lambda labels: cb.scan(body, cb.tensor(0.0), labels))
    for good in (True, True, True, False, False, True):
        if good:
            assert whole(labels[:2])[0].item() == 2 and count.item() == 2
        else:
            with pytest.raises(ValueError, match="cross_entropy: target 7 in row 1 is outside"):
                whole(labels)
            assert count.item() == 0
        count.assign(0.0)


def test_training_in_a_scan():
    """Parameters, moments and counters are States as well."""
    results = []
    for scan in (cb.scan, unrolled.scan):
        w = cb.Parameter(np.ones((3, 1), "float32"))
        opt = cb.optim.Adam([w], lr=0.1)

        def step(_, batch, w=w, opt=opt):
            x, y = batch
            opt.zero_grad()
            loss = cb.mean((x @ w - y) ** 2)
            loss.backward()
            opt.step()
            opt.zero_grad()
            return None, loss.detach()

        _, losses = scan(step, None, (array(20, 8, 3), array(20, 8, 1, seed=1)))
        results.append((losses.tolist(), w.tolist(), opt.state_dict().get("step", 0)))
    assert results[0] == results[1]


# ---- one record

def test_a_body_of_many_rows_runs_in_tiles(capsys):
    """And a state that it reads there and writes later is read before it is written."""
    layer, x = nn.Dense(24, 24, activation="tanh", rng=0), array(3, 700, 24)
    results = []
    for scan in (unrolled.scan, cb.scan):
        mean = cb.State(np.zeros((700, 24), "float32"))

        def step(h, x, mean=mean):
            centred = layer(h + x) - mean
            mean.assign(mean * 0.5 + x)
            return layer(centred) * cb.tanh(centred), cb.sum(h, axis=1)

        run = cb.compile(lambda x, scan=scan, step=step: scan(step, x[0], x))
        with cb.no_grad():
            results.append([unrolled.bits((run(x), mean)) for _ in range(3)])
    run.programs[0].explain()
    assert "tile of" in capsys.readouterr().out
    assert results[0] == results[1]


def test_ten_thousand_steps_are_one_record():
    def step(y, _):
        return y + 0.001 * cb.stack([y[1], -y[0]]), None

    y0 = cb.tensor(np.array([1.0, 0.0], "float32"), requires_grad=True)
    before, in_use = engine.last_number(), engine.bytes_in_use()
    y, _ = cb.scan(step, y0, length=10_000)
    records = engine.reachable([y.record], before)
    assert [r.op for r in records if not r.is_leaf] == ["scan", "result of scan"]
    assert engine.bytes_in_use() - in_use < 10_000 * 8 + 100_000         # the carry before each step
    y.backward(cb.tensor([1.0, 0.0]))
    expected = unrolled.scan(step, y0, length=10_000)[0]
    assert unrolled.bits(y) == unrolled.bits(expected)


def test_nothing_is_allocated_from_step_to_step():
    """Memory does not follow the number of steps where nothing is stacked."""
    import resource
    with cb.no_grad():
        cb.scan(lambda c, _: (cb.sin(c @ W), None), cb.ones((2, 3)), length=10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cb.scan(lambda c, _: (cb.sin(c @ W), None), cb.ones((2, 3)), length=1_000_000)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


# ---- interruption, threads, leaks

def test_an_interrupt_ends_a_long_loop():
    count = cb.State(0.0)

    def stop(*_):
        raise InterruptedError

    def step(c, _):
        count.assign(count + 1)
        return cb.sin(c), None

    whole = cb.compile(lambda c: cb.scan(step, c, length=2_000_000_000)[0])
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for run in (lambda c: cb.scan(step, c, length=2_000_000_000), whole):
            start = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(InterruptedError):
                run(cb.ones(3))
            assert time.perf_counter() - start < 5 and count.item() == 0
    finally:
        signal.signal(signal.SIGALRM, before)


def test_frames_of_one_program_run_at_once():
    step = cb.compile(lambda c, xs: cb.scan(rnn, c, xs))
    with cb.no_grad():
        inputs = [(array(2, 3, seed=i), array(500, 2, 3, seed=i + 10)) for i in range(4)]
        expected = [unrolled.bits(cb.scan(rnn, *given)) for given in inputs]
        step(*inputs[0]), step(*inputs[0])
        found = [[] for _ in inputs]

        def work(i):
            with cb.no_grad():
                for _ in range(20):
                    found[i] += [unrolled.bits(step(*inputs[i])), unrolled.bits(cb.scan(rnn, *inputs[i]))]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads], [t.join() for t in threads]
    assert found == [[e] * 40 for e in expected]


@pytest.mark.parametrize("fault", [1, 2])
def test_an_audit_finds_a_body_whose_plan_is_wrong(fault):
    x = array(20, 6)
    f = lambda x: cb.sum(cb.scan(lambda c, y: (cb.tanh(c * 0.3 + y) * cb.sin(c) - cb.exp(c * y) * c,      # noqa: E731
                                               cb.sum(c * c)), x[0], x)[1])
    expected = cb.value_and_grad(f)(x)
    engine.plant_fault(fault)
    try:
        whole = cb.compile(cb.value_and_grad(f))
        whole(x)
        with pytest.warns(RuntimeWarning, match="other bits.*plan of the program is wrong"):
            result = whole(x)
        assert all(map(same_values, result, expected)) and whole.programs == []
    finally:
        engine.plant_fault(0)


def test_an_audit_finds_another_constant_in_a_body():
    numbers = [2.0]
    number = secret(lambda: numbers[0])
    whole = cb.compile(lambda x: cb.scan(lambda c, _: (c * number(), None), x, length=3)[0])
    assert whole(cb.tensor(1.0)).item() == 8.0
    numbers[0] = 3.0
    with pytest.warns(RuntimeWarning, match="another constant in mul at .*test_scan.py"):
        assert whole(cb.tensor(1.0)).item() == 27.0


def test_numbers_that_the_body_reads_are_guarded():
    factors = [2.0]
    whole = cb.compile(lambda x: cb.scan(lambda c, _: (c * factors[0], None), x, length=3)[0])
    for factor, expected in ((2.0, 8.0), (3.0, 27.0)):
        factors[0] = factor
        assert [whole(cb.tensor(1.0)).item() for _ in range(3)] == [expected] * 3


def test_a_tensor_that_is_kept_outside_though_it_takes_a_gradient():
    kept, w = [], cb.tensor(2.0, requires_grad=True)
    with pytest.raises(cb.TapeError, match="scan.*kept outside.*mul"):
        cb.scan(lambda c, _: (kept.append(c * w), (c * w, None))[1], cb.tensor(1.0), length=3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork():
    def f(x):
        return cb.scan(lambda c, y: (cb.tanh(c * W[0, 0] + y), c), x[0], x)[1]

    x, whole = array(50, 3), cb.compile(f)
    expected = [unrolled.bits(whole(x)) for _ in range(3)][0]
    child = os.fork()
    if child == 0:
        os._exit(0 if unrolled.bits(whole(x)) == expected == unrolled.bits(f(x)) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_another_thread_reads_a_state():
    state = cb.State(np.zeros(3, "float32"))
    thread = threading.Thread(target=lambda: cb.scan(lambda c, _: (cb.sin(c + state), None), state, length=3_000_000))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        signal.alarm(10)                 # a mark of that thread's would be waited for
        state.assign(state + 1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert thread.is_alive() and status == 0
    thread.join()


LAYOUTS = {
    "strided": lambda x: x[::2, ::2], "backwards": lambda x: x[::-1, ::-1], "Fortran": np.asfortranarray,
    "not writeable": lambda x: np.broadcast_to(x[0], x.shape), "NaN": lambda x: np.where(x > 1, np.nan, x),
    "no columns": lambda x: x[:, :0], "no rows but one": lambda x: x[:1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_every_layout(layout):
    x = LAYOUTS[layout](np.random.default_rng(1).normal(size=(8, 6)).astype("float32"))
    results = [unrolled.bits(scan(lambda c, y: (cb.maximum(c * 0.5, y) + x[0], cb.sum(c)), x[-1], x))
               for scan in (cb.scan, unrolled.scan)]
    assert results[0] == results[1]


@pytest.mark.parametrize("name", BODIES)
def test_memory_returns(name):
    body, init, xs, length = BODIES[name]
    init = unrolled.mapped(lambda x: cb.tensor(x, requires_grad=str(cb.tensor(x).dtype).startswith("float")), init)

    def run():
        def own(c, x):                   # a function of its own in each call: nothing is kept for later
            return body(c, x)
        last, ys = cb.scan(own, init, xs, length)
        linked = [t for t in unrolled.leaves((last, ys)) if t.requires_grad]
        total = sum((cb.sum(t.astype("float64")) for t in linked), cb.tensor(0.0, "float64"))
        if total.requires_grad:
            total.backward()

    run()
    gc.collect()
    gc.disable()
    try:
        W.grad = None
        for t in unrolled.leaves(init):
            t.grad = None
        before = engine.bytes_in_use()
        for _ in range(3):
            run()
            W.grad = None
            for t in unrolled.leaves(init):
                t.grad = None
        assert engine.bytes_in_use() == before
    finally:
        gc.enable()
