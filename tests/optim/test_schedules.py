"""Schedules against their formulas."""

import math

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


def test_a_schedule_of_ones_own():
    class Inverse(optim.Schedule):
        def factor(self, t, base):
            return base / (1 + t)

    opt = optimizer(6.0)
    schedule = Inverse(opt)
    schedule.step()
    schedule.step()
    assert rates(opt) == [2.0] and schedule.state_dict() == {"t": 2, "base": [6.0]}


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
    with pytest.raises((ValueError, KeyError, TypeError)):
        schedule.load_state_dict({"t": 7, "base": [1.0]})
    assert rates(opt) == [0.5, 0.15]
    schedule.step()
    assert rates(opt) == [0.25, 0.075]
