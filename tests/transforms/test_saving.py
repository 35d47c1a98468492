"""Saved programs: at any batch size the bits of the function that was saved, and nothing changed by saving it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import programs
import pytest
from samples import same_bits, same_values

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop.io import load_tensors, packing, save_tensors
from cybackprop.transforms import jobs

ROWS = np.random.default_rng(5).standard_normal((200, 6)).astype(np.float32)
LABELS = np.random.default_rng(6).integers(0, 3, 200)


class Training:
    """A step with all that a step has."""

    def __init__(self, seed=0):
        self.model = nn.Sequential(nn.Dense(6, 16, activation="gelu", rng=seed), nn.Dropout(0.3, rng=seed + 1),
                                   nn.Dense(16, 3, rng=seed + 2))
        self.opt = optim.Adam(self.model.parameters(), lr=0.02)
        self.schedule = optim.WarmupLR(self.opt, 3, after=lambda opt: optim.CosineLR(opt, 9))

    def step(self, x, y):
        """One step; what is shown of it."""
        self.opt.zero_grad()
        logits = self.model(x)
        loss = nn.cross_entropy(logits, y)
        loss.backward()
        norm = optim.clip_grad_norm(self.model.parameters(), 0.5)
        self.opt.step()
        self.schedule.step()
        return {"loss": loss, "norm": norm, "logits": logits.detach()}

    def everything(self):
        """All state, as bytes by name."""
        states = dict(self.model.named_parameters())
        for p in self.model.parameters():
            states[f"steps {len(states)}"] = self.opt.steps[id(p)]
            states |= {f"moment {len(states)} {k}": m for k, m in enumerate(self.opt.moments[id(p)]) if m is not None}
        states |= {"lr": self.opt.param_groups[0].cell("lr"), "rng": self.model.layers[1].rng.cell,
                   "t": self.schedule._count}
        grads = {f"grad {k}": p.grad for k, p in enumerate(self.model.parameters())}
        return {k: None if v is None else np.array(v).tobytes() for k, v in (states | grads).items()}


def save(tmp_path, function, *args, **options):
    """The function as a loaded file."""
    cb.save_programs(tmp_path / "f", f=(function, *args), **options)
    return cb.load_program(tmp_path / "f")


# ---- the bits

def test_a_training_step_at_other_batch_sizes(tmp_path):
    mine, twin = Training(), Training()
    cb.compile(mine.step).save(tmp_path / "step", ROWS[:32], LABELS[:32])
    file = cb.load_program(tmp_path / "step")
    for n in (20, 1, 7, 20, 64, 2):
        got, wanted = file(x=ROWS[:n], y=LABELS[:n]), twin.step(ROWS[:n], LABELS[:n])
        assert all(np.array(got[k]).tobytes() == np.array(wanted[k]).tobytes() for k in ("loss", "norm", "logits")), n
    for name, p in twin.model.named_parameters():
        path = "model/" + name.replace(".", "/")
        assert same_values(file.states[path], p)
        assert same_values(file.states["opt/exp_avg_sq/" + path], twin.opt.moments[id(p)][1])
    assert file.states["opt/lr"].item() == twin.opt.param_groups[0]["lr"]
    assert file.states["schedule/t"].item() == twin.schedule.t


class Normalised(nn.Module):
    """A network with both kinds of normalisation, written with tensors, and a running mean."""

    def __init__(self):
        self.first, self.last = nn.Dense(6, 8, activation="tanh", rng=0), nn.Dense(8, 3, rng=1)
        self.scale, self.mean = cb.Parameter(np.ones(8, "float32")), cb.State(np.zeros(8, "float32"))

    def forward(self, x):
        h = self.first(x)
        h = h - cb.mean(h, axis=1, keepdims=True)
        h = h / cb.sqrt(cb.mean(h * h, axis=1, keepdims=True) + 1e-5)
        middle = cb.mean(h, axis=0)
        self.mean.assign(self.mean * 0.9 + middle.detach() * 0.1)
        return self.last((h - middle) * self.scale)


class Recurrent(nn.Module):
    """A network that reads a row number by number; its body draws noise and writes a running mean."""

    def __init__(self):
        self.cell, self.last = nn.Dense(6, 5, activation="tanh", rng=0), nn.Dense(5, 3, rng=1)
        self.drop, self.mean = nn.Dropout(0.3, rng=2), cb.State(np.zeros(5, "float32"))

    def forward(self, x):
        def body(h, row):
            h = self.cell(cb.concatenate([self.drop(h), row.reshape(-1, 1)], axis=1))
            self.mean.assign(self.mean * 0.9 + cb.mean(h.detach(), axis=0) * 0.1)
            return h, None

        return self.last(cb.scan(body, cb.zeros((len(x), 5)), cb.transpose(cb.tensor(x)))[0])


LOSSES = {
    "class weights": lambda z, y: nn.cross_entropy(z, y, weight=[0.2, 1.0, 3.0]),
    "label smoothing": lambda z, y: nn.cross_entropy(z, y, weight=[0.2, 1.0, 3.0], label_smoothing=0.1),
    "ignored labels": lambda z, y: nn.cross_entropy(z, y, ignore_index=1),
    "sum": lambda z, y: nn.cross_entropy(z, y, reduction="sum"),
    "binary": lambda z, y: nn.bce_with_logits(z, cb.one_hot(y, 3), pos_weight=2.0),
}


def training_with(rule, loss, network=Normalised):
    """A step, and its model."""
    model = network()
    opt = rule(model.parameters(), lr=0.05)

    def step(x, y):
        opt.zero_grad()
        error = loss(model(x), y)
        error.backward()
        opt.step()
        return error

    return step, model


@pytest.mark.parametrize("rule, loss, network", [*((rule, "class weights", Normalised) for rule in optim.OPTIMIZERS),
                                                 *(("adam", loss, Normalised) for loss in LOSSES),
                                                 ("sgd", "sum", Recurrent), ("adam", "class weights", Recurrent)])
def test_kinds_of_steps(tmp_path, rule, loss, network):
    (mine, _), (twin, model) = (training_with(optim.OPTIMIZERS[rule], LOSSES[loss], network) for _ in range(2))
    file = save(tmp_path, mine, ROWS[:32], LABELS[:32])
    for n in (1, 3, 17, 200, 3):
        assert same_values(file(ROWS[:n], LABELS[:n]), twin(ROWS[:n], LABELS[:n])), n
    assert all(same_values(file.states["model/" + name.replace(".", "/")], p) for name, p in model.named_parameters())
    assert same_values(file.states["model/mean"], model.mean)


def test_saving_changes_nothing(tmp_path):
    a = Training()
    a.step(ROWS[:9], LABELS[:9])
    before = a.everything()
    cb.save_programs(tmp_path / "f", train=(a.step, ROWS[:32], LABELS[:32]))
    assert a.everything() == before
    with pytest.raises(ZeroDivisionError):
        cb.save_programs(tmp_path / "f", train=(lambda x: (a.step(x, LABELS[:len(x)]), 1 / 0), ROWS[:32]))
    assert a.everything() == before


def test_a_saved_file_goes_on_where_it_was(tmp_path):
    mine, twin = Training(), Training()
    file = save(tmp_path, mine.step, ROWS[:8], LABELS[:8])
    for n in (5, 6):
        file(ROWS[:n], LABELS[:n]), twin.step(ROWS[:n], LABELS[:n])
    file.save(tmp_path / "later")
    later = cb.load_program(tmp_path / "later")
    assert same_values(later(ROWS[:5], LABELS[:5])["loss"], twin.step(ROWS[:5], LABELS[:5])["loss"])


FRESH = """
import sys
import numpy as np
import cybackprop as cb
file = cb.load_program(sys.argv[1])
with np.load(sys.argv[2]) as rows:
    for n in (3, 17):
        file(rows["x"][:n], rows["y"][:n])
file.save(sys.argv[1])
"""


def test_another_process_goes_on_where_training_was(tmp_path):
    """k steps, saved, two steps in a process that has nothing but the file, and on: as without a break."""
    mine, twin = Training(), Training()
    for n in (9, 32, 4):
        mine.step(ROWS[:n], LABELS[:n]), twin.step(ROWS[:n], LABELS[:n])
    cb.save_programs(tmp_path / "f", step=(mine.step, ROWS[:8], LABELS[:8]))
    np.savez(tmp_path / "rows.npz", x=ROWS, y=LABELS)
    subprocess.run([sys.executable, "-c", FRESH, tmp_path / "f", tmp_path / "rows.npz"], check=True,
                   env={**os.environ, "PYTHONPATH": str(Path(cb.__file__).parents[1])})
    for n in (3, 17):
        twin.step(ROWS[:n], LABELS[:n])
    file = cb.load_program(tmp_path / "f")
    got, wanted = file(ROWS[:50], LABELS[:50]), twin.step(ROWS[:50], LABELS[:50])
    assert all(same_values(got[k], wanted[k]) for k in wanted)
    for name, p in twin.model.named_parameters():
        assert same_values(file.states["model/" + name.replace(".", "/")], p)


SEEDS = 60


def wrapped(steps, results, world):
    """A random function that forgets gradients at its start, unless they add up."""
    inner = programs.function_of(steps, results, world)

    def function(a, b, c, labels):
        for p in [] if world.adds_up else world.params:
            p.grad = None
        return inner(a, b, c, labels)

    return function


def compare(tmp_path, seed, dtype, steps, results, at, batch):
    """A random function against its saved program, call after call."""
    mine, twin = programs.World(seed, dtype), programs.World(seed, dtype)
    function = wrapped(steps, results, twin)
    file = save(tmp_path, wrapped(steps, results, mine), *programs.arguments(7 * seed, at[0], dtype), batch=batch)
    for call, n in enumerate(at):
        args = programs.arguments(1000 * seed + call, n, dtype)
        wanted, names = function(*args), list(file.programs["f"].inputs)
        got = file(**{k: v for k, v in zip(("a", "b", "c", "labels"), args, strict=True) if f"batch/{k}" in names})
        assert [t.shape for t in got.values()] == [t.shape for t in wanted]
        assert all(same_values(a, b) for a, b in zip(got.values(), wanted, strict=True))
    places = {"param": "world/params/{}", "grad": "world/params/{}/grad", "state": "world/states/{}",
              "noise": "world/noise"}
    for name, t in twin.tensors().items():
        kind, _, k = name.partition(" ")
        path = places[kind].format(k)
        assert path not in file.states or same_values(file.states[path], t), path
    return file


@pytest.mark.parametrize("kinds", ["KINDS", "LOOPS"])
def test_random_functions(tmp_path, kinds):
    followed = 0
    for seed in range(SEEDS):
        dtype, batch, steps, results = programs.make(seed, getattr(programs, kinds))
        try:
            compare(tmp_path, seed, dtype, steps, results, [batch] * 3, ())
        except cb.TapeError as error:
            assert "reads a gradient" in str(error)
        try:
            compare(tmp_path, seed, dtype, steps, results, [batch, batch + 4, 2 * batch + 3], ("a", "b", "labels"))
            followed += 1
        except (cb.TapeError, cb.ShapeError) as error:       # steps were chosen to fit one size
            assert "batch size" in str(error) or "reads a gradient" in str(error)
    assert followed > SEEDS / 2


NUMBERS = {
    "mean": lambda x: cb.mean(x),
    "len": lambda x: cb.sum(x, axis=0) * len(x),
    "1 / len": lambda x: cb.sum(x, axis=0) * (1 / len(x)),
    "1 / (3 len - 2)": lambda x: cb.sum(x) * (1 / (3 * len(x) - 2)),
    "ones": lambda x: cb.ones((len(x), 2)) + cb.mean(x),
    "spread": lambda x: cb.full((len(x), 2), 1 / len(x)) + cb.mean(x),
    "last": lambda x: x[-1],
    "neighbours": lambda x: x[1:] - x[:-1],
    "backwards": lambda x: cb.concatenate([x, x[::-1]]),
    "gram": lambda x: x @ cb.transpose(x),
    "square": lambda x: cb.mean(x @ cb.transpose(x), axis=1),
    "flat": lambda x: x.reshape(-1),
    "two": lambda x: cb.concatenate([x, x]).reshape(2, -1, 6),
    "count": lambda x: cb.tensor(len(x)).astype("float32") + 1,
    "float64": lambda x: cb.mean(cb.tensor(x, "float64"), axis=0) * (1 / (7 * len(x))),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_that_follow_the_batch_size(tmp_path, case):
    f = NUMBERS[case]
    file = save(tmp_path, lambda x: f(cb.tensor(x)), ROWS[:5])
    for n in (2, 3, 5, 12, 200):
        assert np.array(file(x=ROWS[:n])).tobytes() == np.array(f(cb.tensor(ROWS[:n]))).tobytes(), n


# ---- loops

WEIGHT = cb.Parameter(np.random.default_rng(7).standard_normal((6, 6)).astype("float32") * 0.3)
NOISE, COUNT = cb.Generator(3), cb.State(0.0)


def noisy(x):
    def body(h, _):
        COUNT.assign(COUNT + 1)
        return cb.tanh(h @ WEIGHT) + NOISE.normal(h.shape), COUNT * 1

    h, counts = cb.scan(body, x, length=4)
    return cb.sum(h) + cb.sum(counts)


def runge_kutta(x):
    def step(y, _):
        k = cb.tanh((y + 0.05 * cb.tanh(y @ WEIGHT)) @ WEIGHT)
        return y + 0.1 * k, None

    return cb.scan(step, x, length=10)[0]


def nested(x):
    def body(c, row):
        last, steps = cb.scan(lambda h, k: (cb.tanh(h * k + row), h), c, cb.tensor([0.5, 0.25, 2.0]))
        return last, cb.cond(cb.sum(last) > 0, lambda v: v, lambda v: -v, steps)

    last, ys = cb.scan(body, cb.zeros(6), x)
    return cb.sum(last) + cb.sum(ys)


def newton(most):
    return lambda x: cb.while_loop(lambda y: cb.max(cb.abs(y * y - x * x - 1)) > 1e-3,
                                   lambda y: (y + (x * x + 1) / y) / 2, x * x + 1, max_steps=most)


def looked_up(x):
    table = cb.tensor(np.arange(24.0).reshape(4, 6), "float32")
    return cb.scan(lambda c, row: (c + cb.take(table * c, cb.argmax(row[:4], axis=0)), len(x) * row), cb.ones(6), x)[1]


LOOPS = {
    "states and noise": noisy,
    "an equation": runge_kutta,
    "inside each other": nested,
    "as many steps as rows": lambda x: cb.scan(lambda c, r: (c + r, c * r / len(x)), x[0] * 0, x, reverse=True)[1],
    "bounded": newton(12),
    "a branch": lambda x: cb.cond(cb.sum(x) > 0, lambda x: cb.tanh(x @ WEIGHT), lambda x: x * 2 - cb.ones(6), x),
    "checkpoints": lambda x: cb.scan(lambda c, _: (cb.tanh(c @ WEIGHT), c), x, length=20, checkpoint=True)[0],
    "indices": looked_up,
}
ORDERS = {
    0: lambda f: f,
    1: lambda f: cb.grad(lambda x: cb.sum(f(x) ** 2)),
    2: lambda f: cb.grad(lambda x: cb.sum(cb.grad(lambda x: cb.sum(f(x) ** 2))(x) ** 2)),
}


def both(tmp_path, f):
    """The function, loaded and compiled, each beginning with the same states."""
    def plain(x):
        return f(cb.tensor(x))

    file, compiled, now = save(tmp_path, plain, ROWS[:5]), cb.compile(plain), NOISE.cell.numpy().copy()
    for n in (5, 1, 7, 64):
        COUNT.assign(0.0), NOISE.cell.assign(now)
        for name, start in (("COUNT", 0.0), ("NOISE", now)):
            if name in file.states:
                file.states[name].assign(start)
        assert same_values(file(x=ROWS[:n]), compiled(ROWS[:n])), n
        assert "COUNT" not in file.states or file.states["COUNT"].item() == COUNT.item()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", LOOPS)
def test_loops(tmp_path, case, order):
    both(tmp_path, ORDERS[order](LOOPS[case]))


def test_a_loop_of_unknown_length(tmp_path):
    both(tmp_path, newton(None))


def in_loops(n, x):
    return cb.tanh(x) if n == 0 else cb.scan(lambda c, _: (in_loops(n - 1, c), None), x, length=1)[0]


def test_loops_in_loops_in_loops(tmp_path, monkeypatch):
    both(tmp_path, lambda x: in_loops(16, x))
    with pytest.raises(cb.TapeError, match=r"scan at .*test_saving.py:\d+ is a loop in 16 others"):
        save(tmp_path, lambda x: in_loops(17, cb.tensor(x)), ROWS[:4])
    monkeypatch.setattr(packing, "DEPTH", 17)
    with pytest.raises(cb.ModelFileError, match="nested too deep"):
        save(tmp_path, lambda x: in_loops(17, cb.tensor(x)), ROWS[:4])


def test_a_loop_from_outside_is_refused(tmp_path):
    sweep = cb.vjp(lambda a: cb.scan(lambda c, _: (c * a, None), cb.ones(6), length=3)[0], cb.ones(6))[1]
    with pytest.raises(cb.TapeError, match=r"scan at .*test_saving.py:\d+ belongs to a loop that ran before .* run it"):
        save(tmp_path, lambda x: sweep(cb.tensor(x)), ROWS[0], batch=())


@pytest.mark.parametrize("slope", [False, True])
def test_a_loop_that_takes_too_long_is_refused(tmp_path, slope):
    """Also where it is a scan because a gradient is wanted."""
    total = cb.State(0.0)

    def f(x):
        total.assign(total + 1)
        x = cb.sum(cb.tensor(x))

        def steps(step):
            return cb.while_loop(lambda c: c < x, lambda c: c + step, cb.tensor(0.0), max_steps=4)

        return cb.grad(steps)(cb.tensor(1.0)) if slope else steps(1.0)

    file = save(tmp_path, f, np.zeros(4, "float32"))
    assert file(x=[1.5, 2]).item() == 4 and file.states["total"].item() == 1
    with pytest.raises(ValueError, match="while_loop refuses .* still holds after max_steps"):
        file(x=[5, 2])
    assert file.states["total"].item() == 1


def one_loop(kind, x):
    if kind == "while_loop":
        return cb.while_loop(lambda c: c < 9, lambda c: c + x * x + 1, cb.tensor(1.0))
    if kind == "cond":
        return cb.cond(x > 0, lambda x: x + 1, lambda x: x * 2, x)
    return cb.scan(lambda c, _: (c + x, COUNT.assign(COUNT + c)), cb.tensor(1.0), length=2)[0]


def given(k, value):
    return lambda loop: (*loop[:k], value, *loop[k + 1:])


def again(loop, ports):
    (name, value), (other, _), *more = getattr(loop[2][0], ports)
    setattr(loop[2][0], ports, [(name, value), (other, value), *more])
    return loop


def owned(loop):
    for v in loop[2][0].values:
        v.array = "COUNT" if v.place == packing.STATE and v.of < 0 else v.array
    return loop


FORGED = {                               # what somebody makes of a loop: kind, its loop -> another, the reader's answer
    "a condition that is no bool": ("while_loop", lambda loop: given(2, [loop[2][0], loop[2][0]])(loop), "do not fit"),
    "a while_loop of slices": ("while_loop", given(1, 1), "other numbers of inputs"),
    "a while_loop without carries": ("while_loop", given(0, 0), "other numbers of inputs"),
    "a cond with carries": ("cond", given(0, 1), "ends too early|not there|other numbers"),
    "more carries than results": ("scan", given(0, 3), "other numbers of inputs"),
    "more carries than inputs": ("scan", given(0, 4), "more carries than inputs"),
    "slices that are none": ("scan", given(1, 1), "do not fit"),
    "one result twice": ("scan", lambda loop: again(loop, "results"), "is something else"),
    "one input twice": ("scan", lambda loop: again(loop, "inputs"), "is something else"),
    "a state of the file": ("scan", owned, "has the array of another"),
}


@pytest.mark.parametrize("case", FORGED)
def test_loops_that_no_recorder_writes(tmp_path, monkeypatch, case):
    kind, change, message = FORGED[case]

    def forge(descriptions, states, constants):
        states.setdefault("COUNT", np.zeros((), "float32"))
        for i in descriptions[0].instructions:
            i.loop = i.loop and change(i.loop)
        return packing.pack_programs(descriptions, states, constants)

    monkeypatch.setattr(jobs, "pack_programs", forge)
    with pytest.raises(cb.ModelFileError, match=message):
        save(tmp_path, lambda x: one_loop(kind, cb.sum(cb.tensor(x))), ROWS[:4])


def test_an_interrupt_ends_a_loop(tmp_path):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    def f(x):
        def body(c, _):
            return cb.scan(lambda c, _: (cb.sin(c) + cb.sum(x), None), c, length=10_000)[0], None

        return cb.scan(body, cb.tensor(1.0), length=10)[0]

    cb.save_programs(tmp_path / "f", f=(f, cb.ones(4)))
    tensors, metadata = load_tensors(tmp_path / "f")
    words = tensors["program"]           # a file of more steps than saving would want to run
    words[words == 10] = 1 << 40
    save_tensors(tmp_path / "f", tensors, metadata)
    file, before = cb.load_program(tmp_path / "f"), signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Stop):
            file(x=ROWS[0])
    finally:
        signal.signal(signal.SIGALRM, before)


def test_explain_shows_what_loops_run(tmp_path, capsys):
    cb.save_programs(tmp_path / "f", f=(ORDERS[1](nested), cb.ones((4, 6))))
    compiled = cb.compile(ORDERS[1](nested))
    compiled(cb.ones((4, 6)))
    capsys.readouterr()
    cb.load_program(tmp_path / "f").programs["f"].explain(4)
    mine = capsys.readouterr().out
    compiled.explain()
    bodies = [[line.split()[0] for line in text.splitlines() if line.startswith("      ")]
              for text in (mine, capsys.readouterr().out)]
    assert "if true:" in mine and "carry 6, slice 1, outside 6" in mine and bodies[0] == bodies[1]


# ---- several programs, gradients, guards

def test_programs_share_states(tmp_path):
    a = Training()

    def predict(x):
        a.model.eval()
        out = cb.softmax(a.model(x))
        a.model.train()
        return out

    cb.save_programs(tmp_path / "f", train=(a.step, ROWS[:8], LABELS[:8]), predict=(predict, ROWS[:8]))
    file = cb.load_program(tmp_path / "f")
    first = file["predict"](ROWS[:3])
    assert same_values(first, predict(ROWS[:3]))
    file["train"](ROWS[:50], LABELS[:50]), a.step(ROWS[:50], LABELS[:50])
    second = file["predict"](ROWS[:3])
    assert same_values(second, predict(ROWS[:3])) and not same_values(second, first)
    with pytest.raises(TypeError, match="several programs, train, predict"):
        file(ROWS[:3])


def test_gradients_that_add_up_are_states(tmp_path):
    def world():
        w = cb.Parameter(np.ones(6, "float32"))
        opt = optim.SGD([w], lr=0.1)

        def gather(x):
            (cb.tensor(x) @ w).sum().backward()

        def update():
            opt.step()
            w.grad = cb.zeros(6)

        return w, gather, update

    (w, gather, update), (v, add, apply) = world(), world()
    for p in (w, v):
        p.grad = cb.zeros(6)
    cb.save_programs(tmp_path / "f", gather=(gather, ROWS[:4]), update=(update,))
    file = cb.load_program(tmp_path / "f")
    assert same_values(w.grad, cb.zeros(6)) and same_values(w, cb.ones(6))
    for turn in range(2):
        for n in (3, 9):
            file["gather"](ROWS[:n]), add(ROWS[:n])
        assert same_values(file.states["w/grad"], v.grad)
        file["update"](), apply()
        assert same_values(file.states["w"], v) and same_values(file.states["w/grad"], v.grad), turn


def test_another_branch_is_refused_and_nothing_has_changed(tmp_path):
    total = cb.State(0.0)

    def add(x):
        x = cb.tensor(x)
        total.assign(total + x.sum())
        return total * (2 if x.sum() > 0 else 3)

    file = save(tmp_path, add, np.ones(4, "float32"))
    file(x=[1.0, 2.0])
    with pytest.raises(cb.TapeError, match="another branch"):
        file(x=[-1.0])
    assert file.states["total"].item() == 3.0
    labels = save(tmp_path, lambda x, y: nn.cross_entropy(cb.tensor(x) + total, y), ROWS[:4], LABELS[:4])
    with pytest.raises(ValueError, match="f: ce refuses"):
        labels(ROWS[:2], [0, 6])


# ---- names

def test_names(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            self.body, self.mean = nn.ModuleDict({"a": nn.Dense(6, 2)}), cb.State(np.zeros(2, "float32"))

        def forward(self, x):
            self.mean.assign(self.mean * 0.9 + cb.mean(x @ self.body["a"].weight, axis=0))
            return x @ self.body["a"].weight + self.mean

    net, noise, shift = Net(), cb.Generator(1), cb.State(1.0)

    def f(pair, /, *more, scale, **named):
        y = net(cb.tensor(pair["x"])) * scale + noise.normal((2,)) + cb.dropout(cb.tensor(more[0]), 0.5)
        return {"y": y, "parts": (cb.sum(y), {"z": y * shift})}, [cb.tensor(named["k"]), 3, None, shift]

    cb.compile(f).save(tmp_path / "f", {"x": ROWS[:4]}, np.ones((4, 2), "float32"), scale=2.0, k=np.zeros(3),
                       batch=("pair", "more"))
    program = cb.load_program(tmp_path / "f").programs["f"]
    assert program.inputs == {"batch/pair/x": (np.float32, ("B", 6)), "batch/more/0": (np.float32, ("B", 2)),
                              "batch/k": (np.float64, (3,))}
    assert list(program.results) == ["result/0/y", "result/0/parts/0", "result/0/parts/1/z", "result/1/0"]
    states = cb.load_program(tmp_path / "f").states
    assert set(states) == {"net/body/a/weight", "net/mean", "noise", "shift", "rng"}


def test_a_module_a_method_a_lambda(tmp_path):
    model = nn.Dense(6, 2)
    file = save(tmp_path, model, ROWS[:4])
    assert list(file.states) == ["model/weight", "model/bias"] and list(file.programs["f"].inputs) == ["batch/x"]
    assert same_values(file(ROWS[:9]), model(ROWS[:9]))
    cb.compile(lambda x: model(x)).save(tmp_path / "g", ROWS[:4])
    assert list(cb.load_program(tmp_path / "g").programs) == ["program"]
    a = Training()
    assert "schedule/base/0" in save(tmp_path, a.step, ROWS[:4], LABELS[:4]).states


def test_names_do_not_collide(tmp_path):
    program = cb.State(1.0)

    def pair(weight):
        def f(x):
            return x * weight * program
        return f

    one, two = pair(cb.State(2.0)), pair(cb.State(3.0))
    file = save(tmp_path, lambda x: one(cb.tensor(x)) + two(cb.tensor(x)), ROWS[:4])
    assert {k: v.item() for k, v in file.states.items()} == {"weight": 2.0, "program.2": 1.0, "weight2": 3.0}
    assert same_values(file(ROWS[:2]), one(cb.tensor(ROWS[:2])) + two(cb.tensor(ROWS[:2])))


def test_one_argument_in_two_dtypes(tmp_path):
    def f(x):
        return cb.sum(cb.tensor(x, "float32")), cb.sum(cb.tensor(x, "float64"))

    file = save(tmp_path, f, ROWS[:4])
    assert list(file.programs["f"].inputs) == ["batch/x"]                 # one input, and a cast
    assert [t.item() for t in file(x=ROWS[:9]).values()] == [t.item() for t in f(ROWS[:9])]


# ---- what is refused

REFUSED = {
    "a quadratic number": (lambda x: cb.mean(cb.tensor(x) @ cb.transpose(cb.tensor(x))), "reads a constant"),
    "a quadratic length": (lambda x: (cb.tensor(x) @ cb.transpose(cb.tensor(x))).reshape(-1), "more than a multiple"),
    "a branch": (lambda x: cb.tensor(x) * 2 if len(x) < 9 else cb.tensor(x) + 1, "must not follow the batch size"),
    "more operations": (lambda x: sum((cb.sum(cb.tensor(r)) for r in cb.tensor(x)), cb.zeros(())), "batch"),
    "what NumPy made": (lambda x: cb.tensor(x) * np.sqrt(np.arange(6 * len(x)).reshape(x.shape)).astype("float32"),
                        "pass it as an argument"),
    "what NumPy found": (lambda x: cb.tensor(x) * float(np.exp(len(x))), "pass it as an argument"),
    "one size only": (lambda x: cb.tensor(x).reshape(5, 6), "fails at batch size 6"),
    "a quadratic number of steps": (lambda x: cb.scan(lambda c, _: (c + 1, None), cb.tensor(x), length=len(x) ** 2)[0],
                                    r"a number in scan at .*test_saving.py:\d+ follows the batch size by more"),
    "another number in a body": (lambda x: cb.scan(lambda c, _: (c * 2.0 ** len(x), None), cb.tensor(x), length=2)[0],
                                 r"mul at .*test_saving.py:\d+ reads a constant"),
    "another body": (lambda x: cb.scan(lambda c, _: (c + 1 if len(x) < 9 else c - 1, None), cb.tensor(x), length=2)[0],
                     r"runs sub at .* in the place of add at .*test_saving.py:\d+ at 5"),
    "checkpoints of the rows": (lambda x: cb.value_and_grad(lambda x: cb.sum(cb.scan(
        lambda c, r: (cb.tanh(c * r), None), cb.ones(6), x, checkpoint=True)[0]))(cb.tensor(x))[1], "batch size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_follow_is_refused_and_can_be_saved_for_one_size(tmp_path, case):
    f, message = REFUSED[case]
    with pytest.raises(cb.TapeError, match=message) as caught:
        save(tmp_path, f, ROWS[:5])
    assert "batch=()" in str(caught.value) or "pass it" in str(caught.value)
    file = save(tmp_path, f, ROWS[:5], batch=())
    assert same_values(file(ROWS[5:10]), f(ROWS[5:10])) and file.programs["f"].inputs["batch/x"][1] == (5, 6)
    with pytest.raises(cb.ShapeError, match="shape"):
        file(ROWS[:6])


def test_errors(tmp_path):
    w = cb.Parameter([1.0])

    def adds(x):
        (cb.tensor(x) * w).sum().backward()

    def forgets(x):
        adds(x)
        w.grad = None

    with pytest.raises(cb.TapeError, match="forget gradients at the start"):
        save(tmp_path, adds, ROWS[:4])
    w.grad = cb.zeros(1)
    with pytest.raises(cb.TapeError, match="is there before the run and not afterwards"):
        save(tmp_path, forgets, ROWS[:4])
    with pytest.raises(ValueError, match="no rows"):
        save(tmp_path, lambda x: x, ROWS[:0])
    with pytest.raises(ValueError, match=r"first axes of lengths \[4, 5\]"):
        save(tmp_path, lambda x, y: x, ROWS[:4], ROWS[:5], batch=("x", "y"))
    with pytest.raises(TypeError, match="no function"):
        cb.save_programs(tmp_path / "f")
    with pytest.raises(cb.TapeError, match="part of another one"):
        file = save(tmp_path, lambda x: cb.tensor(x) * 1, ROWS[:4])
        cb.compile(lambda x: file(x), strict=True)(cb.tensor(ROWS[:4]))
    with pytest.warns(RuntimeWarning, match="a loaded program, f, is called, which can't be a part of another one"):
        assert same_bits(cb.compile(lambda x: file(x))(cb.tensor(ROWS[:4])), ROWS[:4])
    assert not (tmp_path / "none").exists()
