"""Schedules against their formulas."""

import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import optim


def optimizer(*rates):
    return optim.SGD([{"params": [cb.Parameter([1.0])], "lr": r} for r in rates], lr=1.0)


def rates(opt):
    return [group["lr"] for group in opt.param_groups]


def cosine(t, base, T, low):
    return low + (base - low) * (1 + math.cos(math.pi * min(t, T) / T)) / 2


def ramp(t, base, n, start):
    return base * (start + (1 - start) * min(t / n, 1))


CASES = {
    "step": (lambda o: optim.StepLR(o, 3), lambda t, b: b * 0.1 ** (t // 3)),
    "step, gamma": (lambda o: optim.StepLR(o, step_size=2, gamma=0.5), lambda t, b: b * 0.5 ** (t // 2)),
    "cosine": (lambda o: optim.CosineLR(o, 10), lambda t, b: cosine(t, b, 10, 0)),
    "cosine, low": (lambda o: optim.CosineLR(o, T_max=7, eta_min=0.05), lambda t, b: cosine(t, b, 7, 0.05)),
    "cosine, short": (lambda o: optim.CosineLR(o, 1), lambda t, b: cosine(t, b, 1, 0)),
    "warm-up": (lambda o: optim.WarmupLR(o), lambda t, b: ramp(t, b, 5, 1 / 3)),
    "warm-up from 0": (lambda o: optim.WarmupLR(o, total_iters=4, start_factor=0.0), lambda t, b: ramp(t, b, 4, 0)),
    "warm-up, cosine": (lambda o: optim.WarmupLR(o, 4, 0.1, after=lambda o: optim.CosineLR(o, 6, 0.01)),
                        lambda t, b: ramp(t, b, 4, 0.1) if t < 4 else cosine(t - 4, b, 6, 0.01)),
    "warm-up, step": (lambda o: optim.WarmupLR(o, 2, 0.5, after=lambda o: optim.StepLR(o, 2, 0.5)),
                      lambda t, b: ramp(t, b, 2, 0.5) if t < 2 else b * 0.5 ** ((t - 2) // 2)),
    "two warm-ups": (lambda o: optim.WarmupLR(o, 2, 0.5, after=lambda o: optim.WarmupLR(o, 4, 0.2)),
                     lambda t, b: ramp(t, b, 2, 0.5) if t < 2 else ramp(t - 2, b, 4, 0.2)),
}
CASE = pytest.mark.parametrize("make, formula", CASES.values(), ids=CASES)


@CASE
def test_formula(make, formula):
    opt = optimizer(1.0, 0.3)
    schedule = make(opt)
    for t in range(15):
        assert rates(opt) == pytest.approx([formula(t, 1.0), formula(t, 0.3)], rel=1e-14, abs=1e-17)
        schedule.step()


@CASE
@pytest.mark.parametrize("at", [0, 3, 4, 9])
def test_state_goes_on_elsewhere(make, formula, at):
    schedule = make(optimizer(1.0, 0.3))
    for _ in range(at):
        schedule.step()
    opt = optimizer(9.0, 9.0)
    other = make(opt)
    other.load_state_dict(schedule.state_dict())
    for t in range(at, 14):
        assert rates(opt) == pytest.approx([formula(t, 1.0), formula(t, 0.3)], rel=1e-14, abs=1e-17)
        other.step()


def test_the_rate_is_used():
    w = cb.Parameter([0.0])
    opt = optim.SGD([w], lr=1.0)
    schedule = optim.StepLR(opt, 1, 0.5)
    for _ in range(4):
        w.grad = [-1.0]
        opt.step()
        schedule.step()
    assert w.tolist() == [1 + 0.5 + 0.25 + 0.125]


@CASE
def test_built_in_formulas_never_ask_for_a_value(make, formula):
    """Of many times at once there is no value to ask for."""
    schedule = make(optimizer(1.0))
    times, base = cb.arange(15, dtype="float64"), cb.tensor(np.linspace(0.2, 3.0, 15))
    assert type(schedule).traced and schedule.t == 0
    got = schedule.factor(times, base).numpy()
    wanted = [formula(t, b) for t, b in enumerate(base.tolist())]
    assert got.tolist() == pytest.approx(wanted, rel=1e-14, abs=1e-17)
    assert [float(schedule.factor(t, b)) for t, b in enumerate(base.tolist())] == got.tolist()


EXACT = {
    "step": (lambda o: optim.StepLR(o, 3, 0.5), lambda t, b: b * 0.5 ** (t // 3)),
    "step to 0": (lambda o: optim.StepLR(o, 2, 0.0), lambda t, b: b * 0.0 ** (t // 2)),
    "warm-up": (lambda o: optim.WarmupLR(o, 7), lambda t, b: b * (1 / 3 + (1 - 1 / 3) * min(t, 7) / 7)),
    "cosine's ends": (lambda o: optim.CosineLR(o, 1, 0.1), lambda t, b: 0.1 if t else b),
}


@pytest.mark.parametrize("make, formula", EXACT.values(), ids=EXACT)
def test_to_the_bit(make, formula):
    opt = optimizer(1.0, 0.3)
    schedule = make(opt)
    for t in range(12):
        assert rates(opt) == [formula(t, 1.0), formula(t, 0.3)]
        schedule.step()


def test_a_step_writes_the_cells():
    opt = optimizer(1.0, 0.3)
    cells = [group.cell("lr") for group in opt.param_groups]
    schedule = optim.StepLR(opt, 1, 0.5)
    before, version = [c.version for c in cells], cb.structure_version()
    schedule.step()
    assert [c.item() for c in cells] == [0.5, 0.15] and [c.version for c in cells] == [v + 1 for v in before]
    assert cb.structure_version() == version and type(schedule.t) is int and schedule.base == [1.0, 0.3]
    schedule.t, schedule.base = 2, [4.0, 8]
    schedule.apply()
    assert rates(opt) == [1.0, 2.0] and schedule.state_dict() == {"t": 2, "base": [4.0, 8.0]}


class Inverse(optim.Schedule):
    """One that a user wrote."""

    def factor(self, t, base):
        assert type(t) is int and type(base) is float and t >= 0
        return base / (1 + t)


class TracedInverse(optim.Schedule):
    """The same, for programs."""

    traced = True

    def factor(self, t, base):
        assert isinstance(t, cb.Tensor) and isinstance(base, cb.Tensor) and t.dtype == base.dtype == "float64"
        return base / (1 + t)


@pytest.mark.parametrize("cls", [Inverse, TracedInverse])
def test_a_schedule_of_ones_own(cls):
    opt = optimizer(6.0)
    schedule = cls(opt)
    schedule.step()
    schedule.step()
    assert rates(opt) == [2.0] and schedule.state_dict() == {"t": 2, "base": [6.0]}


@pytest.mark.parametrize("cls", [Inverse, TracedInverse])
def test_a_schedule_of_ones_own_after_a_warm_up(cls):
    opt = optimizer(6.0)
    schedule = optim.WarmupLR(opt, 2, 0.5, after=cls)
    seen = []
    for _ in range(5):
        seen += rates(opt)
        schedule.step()
    assert seen == [3.0, 4.5, 6.0, 3.0, 2.0]


def test_a_built_in_one_changed():
    class Half(optim.StepLR):
        def factor(self, t, base):
            return float(super().factor(t, base)) / 2 if t > 0 else base

    opt = optimizer(1.0)
    schedule = Half(opt, 1, 0.5)
    schedule.step()
    assert rates(opt) == [0.25]


@pytest.mark.parametrize("make", [lambda o: optim.StepLR(o, 0), lambda o: optim.CosineLR(o, 0),
                                  lambda o: optim.WarmupLR(o, 0)])
def test_refusals(make):
    opt = optimizer(1.0)
    with pytest.raises(ValueError, match="at least 1"):
        make(opt)
    assert rates(opt) == [1.0]


def test_a_state_of_another_optimizer_changes_nothing():
    opt = optimizer(1.0, 0.3)
    schedule = optim.StepLR(opt, 1, 0.5)
    schedule.step()
    for t, base in ((7, [1.0]), (7, [1.0, None]), (0.5, [2.0, 2.0]), (None, [2.0, 2.0])):
        with pytest.raises((ValueError, KeyError, TypeError)):
            schedule.load_state_dict({"t": t, "base": base})
        assert rates(opt) == [0.5, 0.15] and schedule.state_dict() == {"t": 1, "base": [1.0, 0.3]}
    schedule.step()
    assert rates(opt) == [0.25, 0.075]
