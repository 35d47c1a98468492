"""Options of an optimizer that a compiled function reads and writes: weak float64 tensors, in each of its calls."""

import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop._core import engine

X = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")
Y = np.arange(6) % 2


class Agent:
    """A network, its optimizer and a step that changes the options."""

    def __init__(self, change, make=lambda p: optim.SGD(p, lr=0.3, momentum=0.5)):
        self.model = nn.Dense(3, 2, rng=0)
        self.opt, self.change = make(self.model.parameters()), change
        self.group = self.opt.param_groups[0]

    def step(self, x, y):
        self.opt.zero_grad()
        loss = nn.cross_entropy(self.model(x), y)
        loss.backward()
        self.change(self.opt.param_groups[0], loss)
        self.opt.step()
        return loss

    def eagerly(self, x, y):
        """The compiled step without a program."""
        with cb.eager():
            return cb.compile(self.step)(x, y)

    def bits(self):
        cells = {name: self.group.cell(name).item().hex() for name in self.opt.numbers}
        return [p.numpy().tobytes() for p in self.model.parameters()], cells


def put(group, **options):
    group.update(options)


def two_writes(group):
    """What was read before a write is the number that it was."""
    lr = group["lr"]
    group["lr"] = lr * 0.5
    group["lr"] = lr * 0.25 + group["lr"] * 0.5


def by_hand(group):
    """It meets a float32 tensor as a float does."""
    for p in group["params"]:
        p.assign(p - group["lr"] * p.grad)
        p.assign(p - p.grad * (group["lr"] / 3))


CHANGES = {
    "half": lambda g, loss: put(g, lr=g["lr"] * 0.5),
    "from the right": lambda g, loss: put(g, lr=1e-3 + 0.7 * g["lr"]),
    "less, over": lambda g, loss: put(g, lr=(1 - g["lr"]) / 7, momentum=0.1 / (3 + g["lr"]) - 1 / 9),
    "minus, abs, plus": lambda g, loss: put(g, lr=abs(-g["lr"] * 0.9) + (+g["lr"]) * 0.01),
    "of two options": lambda g, loss: put(g, lr=g["lr"] * (1 - g["momentum"] / 10), momentum=g["momentum"] * g["lr"]),
    "NumPy's numbers": lambda g, loss: put(g, lr=g["lr"] * np.float64(0.9) + np.int64(1) / 64),
    "ints and bools": lambda g, loss: put(g, lr=g["lr"] * 2 / 3 + True / 8),
    "a tensor of the run": lambda g, loss: put(g, lr=loss.detach() * 0.1),
    "beside a float32 tensor": lambda g, loss: put(g, lr=g["lr"] * 0.9 + loss.detach() * 1e-3 * g["lr"]),
    "beside a float64 tensor": lambda g, loss: put(g, lr=loss.detach().astype("float64") * 1e-3 + g["lr"] * 0.9),
    "functions": lambda g, loss: put(g, lr=cb.maximum(cb.exp(g["lr"] * -0.9), 0.1)),
    "of two": lambda g, loss: put(g, lr=cb.minimum(g["lr"] * 0.7, g["momentum"] * 0.3)),
    "where": lambda g, loss: put(g, lr=cb.where(loss.detach() > 0.1, g["lr"] * 0.9, g["lr"] * 0.1)),
    "tensor, stack": lambda g, loss: put(g, lr=cb.stack([cb.tensor(g["lr"]), cb.tensor(0.1, "float64")]).sum() * 0.5),
    "a State of it": lambda g, loss: put(g, lr=cb.State(g["lr"] * 0.9)),
    "an array": lambda g, loss: put(g, lr=cb.sum(cb.tensor(g["lr"] * 0.1 * np.ones(3)))),
    "written twice": lambda g, loss: two_writes(g),
    "by hand": lambda g, loss: by_hand(g),
    "powers, remainders": lambda g, loss: put(g, lr=(0.5 ** g["lr"] + g["lr"] ** 2) % 0.7, momentum=g["lr"] // 0.2 / 9),
    "its smaller": lambda g, loss: put(g, lr=max(g["lr"] * 0.9, 1e-3)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_bits_of_the_eager_call_with_one_program(name):
    eager, recorded = Agent(CHANGES[name]), Agent(CHANGES[name])
    step = cb.compile(recorded.step)
    seen = set()
    for _ in range(5):
        losses = eager.eagerly(cb.tensor(X), Y), step(cb.tensor(X), Y)
        assert losses[0].item().hex() == losses[1].item().hex() and eager.bits() == recorded.bits()
        seen.add(eager.bits()[1]["lr"])
    assert len(step.programs) == 1 and (len(seen) > 3 or name == "by hand")


@pytest.mark.parametrize("name", ["half", "by hand"])
def test_changes_from_outside_in_between(name):
    """No call has a number of its own: neither one that is written there nor a schedule's."""
    eager, recorded = Agent(CHANGES[name]), Agent(CHANGES[name])
    agents, step = (eager, recorded), cb.compile(recorded.step)
    schedules = [optim.StepLR(a.opt, 1, 0.5) for a in agents]
    for k in range(6):
        for agent, schedule, run in zip(agents, schedules, (eager.eagerly, step), strict=True):
            if k % 2:
                schedule.step()
            else:
                agent.group["lr"] = 0.1 * (4 - k)            # 0 at last
            run(cb.tensor(X), Y)
        assert eager.bits() == recorded.bits()
    assert len(step.programs) == 1


@pytest.mark.parametrize("where", ["cell", "argument", "default"])
def test_a_group_that_the_function_knows(where):
    def make():
        agent = Agent(None)
        group = agent.group

        def closed(x):
            group["lr"] = group["lr"] * 0.5
            return x * group["lr"]

        def given(x, g=group):
            g["lr"] = g["lr"] * 0.5
            return x * g["lr"]

        return agent, closed if where == "cell" else given

    def given(agent):
        return [agent.group] if where == "argument" else []

    (eager, f), (recorded, g) = make(), make()
    step = cb.compile(g)
    for k in range(5):
        with cb.eager():
            made = [cb.compile(f)(cb.tensor(X), *given(eager))]
        made.append(step(cb.tensor(X), *given(recorded)))
        assert made[0].numpy().tobytes() == made[1].numpy().tobytes()
        assert eager.group["lr"] == recorded.group["lr"] == 0.3 * 0.5 ** (k + 1)
    assert len(step.programs) == 1


@pytest.mark.parametrize("read", ["closed", "attribute"])
def test_reading_alone_pins_nothing(read):
    agent = Agent(None)
    group, opt = agent.group, agent.opt
    f = cb.compile((lambda x: x * group["lr"]) if read == "closed" else (lambda x: x * opt.param_groups[0]["lr"]))
    for k in range(5):
        group["lr"] = 0.1 * (k + 1)
        assert f(cb.tensor(X)).numpy().tobytes() == (cb.tensor(X) * (0.1 * (k + 1))).numpy().tobytes()
    assert len(f.programs) == 1


BUILT_IN = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "plain SGD": lambda p: optim.SGD(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1),
    "Adam": lambda p: optim.Adam(p, amsgrad=True),
    "AdamW": optim.AdamW,
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_steps_guard_no_number_but_switches(name):
    """With a schedule of every kind; other rates from outside take the same program."""
    agent = Agent(lambda g, loss: schedule.step(), BUILT_IN[name])
    schedule = optim.WarmupLR(agent.opt, 2, after=lambda o: optim.CosineLR(o, 4))
    step = cb.compile(agent.step)
    for k in range(5):
        schedule.base = [0.1 / (k + 1)]
        agent.group["weight_decay"] = 0.01 * k
        step(cb.tensor(X), Y)
    assert len(step.programs) == 1
    guarded = {tuple(inputs) for what, inputs, *_ in step.programs[0].instructions() if what.startswith("guard")}
    assert len(guarded) == len(agent.opt._watched)


def test_a_branch_on_an_option_is_guarded_by_its_truth():
    def change(group, loss):
        if group["lr"] > 0.1:
            group["lr"] = group["lr"] * 0.5

    eager, recorded = Agent(change), Agent(change)
    step = cb.compile(recorded.step)
    for _ in range(6):
        eager.eagerly(cb.tensor(X), Y), step(cb.tensor(X), Y)
        assert eager.bits() == recorded.bits()
    assert len(step.programs) == 2


def test_a_flag_is_a_bool():
    agent = Agent(None)
    f = cb.compile(lambda x: x * {True: 2.0, False: 3.0}[agent.group["nesterov"]])
    for flag, factor in ((False, 3.0), (False, 3.0), (True, 2.0), (False, 3.0)):
        agent.group["nesterov"] = flag
        assert f(cb.ones(1)).tolist() == [factor]
        with cb.eager():
            assert f(cb.ones(1)).tolist() == [factor]
    assert len(f.programs) == 2


READS = {                                # what needs the number itself
    "float": lambda g: float(g["lr"]),
    "item": lambda g: g["lr"].item(),
    "math": lambda g: math.sqrt(g["lr"]),
    "format": lambda g: float(f"{g['lr']:.3f}"),
}


@pytest.mark.parametrize("name", READS)
def test_reading_the_number_ends_the_recording(name):
    """The call goes on eagerly, with one warning for all of them."""
    agent = Agent(None)
    f = cb.compile(lambda x: x * READS[name](agent.group))
    with pytest.warns(RuntimeWarning, match="reads the value of a tensor at .*test_recorded_options") as found:
        for k in range(12):
            agent.group["lr"] = 0.1 * (k + 1)
            made = f(cb.tensor(X)).numpy().tobytes()
            with cb.eager():
                assert f(cb.tensor(X)).numpy().tobytes() == made
            if name in ("float", "item"):
                assert made == (X * np.float32(0.1 * (k + 1))).tobytes()
    assert len(found) == 1 and len(f.programs) == 0


@pytest.mark.parametrize("name", READS)
def test_strictly_that_is_an_error_that_changes_nothing(name):
    agent = Agent(None)
    before = agent.bits()
    with pytest.raises(cb.TapeError, match="reads the value"):
        cb.compile(lambda x: READS[name](agent.group), strict=True)(cb.ones(1))
    assert agent.bits() == before and not engine.is_recording() and type(agent.group["lr"]) is float


REFUSED = {                              # what no call can do
    "of two elements": (lambda g: put(g, lr=cb.ones(2)), cb.ShapeError, r"shape \(2,\)"),
    "a strong int64 tensor": (lambda g: cb.tensor([1, 2]) * cb.tensor(g["lr"]), cb.DTypeError, "astype"),
    "a string": (lambda g: put(g, lr="fast"), ValueError, "fast"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(name):
    use, error, message = REFUSED[name]
    agent = Agent(None)
    before = agent.bits()
    f = cb.compile(lambda x: use(agent.group))
    for _ in range(2):
        with pytest.raises(error, match=message):
            f(cb.ones(1))
        with cb.eager(), pytest.raises(error, match=message):
            f(cb.ones(1))
    assert agent.bits() == before and not engine.is_recording() and type(agent.group["lr"]) is float


def test_what_comes_back_is_a_tensor():
    agent = Agent(None)
    f = cb.compile(lambda x: (agent.group["lr"], -agent.group["momentum"], x))
    for k in range(4):
        agent.group["lr"] = 0.1 * k
        lr, momentum, _ = f(cb.ones(1))
        assert type(lr) is type(momentum) is cb.Tensor and lr.dtype == momentum.dtype == "float64"
        assert (lr.item(), momentum.item()) == (0.1 * k, -0.5)
    assert len(f.programs) == 1


def test_outside_it_is_a_float():
    agent = Agent(CHANGES["half"], lambda p: optim.Adam(p, lr=0.5))
    assert type(agent.group["lr"]) is float and set(map(type, agent.group["betas"])) == {float}
    agent.step(cb.tensor(X), Y)          # no compiled function
    assert agent.group["lr"] == 0.25
    kinds = []
    with cb.eager():
        cb.compile(lambda: kinds.extend([agent.group["lr"], *agent.group["betas"]]))()
    assert [type(x) for x in kinds] == [cb.Tensor] * 3 and kinds[0].dtype == "float64"
    agent.group["lr"] = cb.tensor(0.125)
    assert agent.group["lr"] == 0.125 and repr(agent.group["lr"]) == "0.125"
