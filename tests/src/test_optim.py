"""The rows of optim.def against trajectories written out in NumPy, float64, from torch's semantics."""

import functools
import math

import numpy as np
import pytest
from samples import DTYPES, SIZES, same_bits, step

import cybackprop as cb
from cybackprop._core import engine

STEPS, CHANGE = 30, 15                           # the learning rate halves after CHANGE steps
TINY = 1e-30


# ---- the rules, one NumPy function a row: w, g, state and hyper-parameters to the new w

def sgd(w, g, s, h, t):
    g = h["scale"] * g + h["weight_decay"] * w
    if h.get("momentum"):
        s["buf"] = g if t == 1 else h["momentum"] * s["buf"] + (1 - h["dampening"]) * g
        g = g + h["momentum"] * s["buf"] if h["nesterov"] else s["buf"]
    return w - h["lr"] * g


def rmsprop(w, g, s, h, t):
    g = h["scale"] * g + h["weight_decay"] * w
    v = s["v"] = h["alpha"] * s.get("v", 0) + (1 - h["alpha"]) * g ** 2
    if h["centered"]:
        s["mean"] = h["alpha"] * s.get("mean", 0) + (1 - h["alpha"]) * g
        v = v - s["mean"] ** 2
    g = g / (np.sqrt(v) + h["eps"])
    if h.get("momentum"):
        g = s["buf"] = h["momentum"] * s.get("buf", 0) + g
    return w - h["lr"] * g


def adagrad(w, g, s, h, t):
    g = h["scale"] * g + h["weight_decay"] * w
    s["sum"] = s.get("sum", 0) + g ** 2
    return w - h["lr"] / (1 + (t - 1) * h["lr_decay"]) * g / (np.sqrt(s["sum"]) + h["eps"])


def adam(w, g, s, h, t, decoupled=False):
    g = h["scale"] * g
    if decoupled:
        w = w * (1 - h["lr"] * h["weight_decay"])
    else:
        g = g + h["weight_decay"] * w
    s["m"] = h["beta1"] * s.get("m", 0) + (1 - h["beta1"]) * g
    v = s["v"] = h["beta2"] * s.get("v", 0) + (1 - h["beta2"]) * g ** 2
    if h["amsgrad"]:
        v = s["max"] = np.maximum(s.get("max", 0), v)
    return w - h["lr"] * (s["m"] / (1 - h["beta1"] ** t)) / (np.sqrt(v / (1 - h["beta2"] ** t)) + h["eps"])


adamw = functools.partial(adam, decoupled=True)

BASE = {"scale": 1.0, "lr": 0.05, "weight_decay": 0.0}
ADAM = dict(BASE, beta1=0.9, beta2=0.99, eps=1e-8, amsgrad=False)
RMS = dict(BASE, alpha=0.9, eps=1e-8, centered=False)
# row, rule, hyper-parameters, which moments are there, the names of the rule's state beside them
CASES = [
    ("sgd", sgd, BASE, [0], ["buf"]),
    ("sgd", sgd, dict(BASE, weight_decay=0.1, scale=0.7), [0], ["buf"]),
    ("sgd", sgd, dict(BASE, momentum=0.9, dampening=0, nesterov=False), [1], ["buf"]),
    ("sgd", sgd, dict(BASE, momentum=0.8, dampening=0.3, nesterov=False, weight_decay=0.1), [1], ["buf"]),
    ("sgd", sgd, dict(BASE, momentum=0.9, dampening=0, nesterov=True, weight_decay=0.02, scale=0.5), [1], ["buf"]),
    ("rmsprop", rmsprop, RMS, [1, 0, 0], ["v", "mean", "buf"]),
    ("rmsprop", rmsprop, dict(RMS, weight_decay=0.1, eps=0.3), [1, 0, 0], ["v", "mean", "buf"]),
    ("rmsprop", rmsprop, dict(RMS, centered=True, eps=1e-3), [1, 1, 0], ["v", "mean", "buf"]),
    ("rmsprop", rmsprop, dict(RMS, momentum=0.9), [1, 0, 1], ["v", "mean", "buf"]),
    ("rmsprop", rmsprop, dict(RMS, momentum=0.9, centered=True, eps=1e-2, scale=0.5, weight_decay=0.1), [1, 1, 1],
     ["v", "mean", "buf"]),
    ("adagrad", adagrad, dict(BASE, eps=1e-10, lr_decay=0), [1], ["sum"]),
    ("adagrad", adagrad, dict(BASE, eps=0.2, lr_decay=0.05, weight_decay=0.1, scale=0.5), [1], ["sum"]),
    ("adam", adam, ADAM, [1, 1, 0], ["m", "v", "max"]),
    ("adam", adam, dict(ADAM, weight_decay=0.1, eps=0.1, scale=0.5), [1, 1, 0], ["m", "v", "max"]),
    ("adam", adam, dict(ADAM, amsgrad=True, beta2=0.5), [1, 1, 1], ["m", "v", "max"]),
    ("adamw", adamw, dict(ADAM, weight_decay=0.3), [1, 1, 0], ["m", "v", "max"]),
    ("adamw", adamw, dict(ADAM, weight_decay=0.3, amsgrad=True, beta2=0.5, scale=2.0, eps=1e-2), [1, 1, 1],
     ["m", "v", "max"]),
]
each_case = pytest.mark.parametrize("name, rule, hyper, switches, states", CASES,
                                    ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])


def kernel_values(hyper, t):
    """What the caller of the row computes in double."""
    h = {**hyper, "first": t == 1}
    if "beta1" in h:
        h["bc1"], h["bc2"] = 1 - h["beta1"] ** t, 1 - h["beta2"] ** t
    if "lr_decay" in h:
        h["lr"] = h["lr"] / (1 + (t - 1) * h["lr_decay"])
    return h


def scheduled(hyper):
    """(t, hyper-parameters of step t)."""
    return [(t, hyper if t <= CHANGE else dict(hyper, lr=hyper["lr"] / 2)) for t in range(1, STEPS + 1)]


def moments_for(switches, n, dtype):
    return [[cb.Parameter(np.zeros(n, dtype))] if on else None for on in switches]


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_trajectory(name, rule, hyper, switches, states, dtype, target, rng):
    n, eps = 67, np.finfo(dtype).eps
    start = rng.normal(size=n).astype(dtype)
    w, m = cb.Parameter(start), moments_for(switches, n, dtype)
    exact, state = start.astype(float), {}
    for t, h in scheduled(hyper):
        g = rng.normal(size=n).astype(dtype)
        w.grad = g
        step(name, [w], m, kernel_values(h, t))
        exact = rule(exact, g.astype(float), state, h, t)
        # eps, errors that grow with the steps, and what a small root magnifies when the square was centred
        np.testing.assert_allclose(w.numpy(), exact, rtol=0, atol=16 * t * eps * (10 if hyper.get("centered") else 1))
    for moment, key in zip(m, states, strict=True):
        if moment is not None:
            np.testing.assert_allclose(moment[0].numpy(), state[key], rtol=1e-4 if dtype == "float32" else 1e-12,
                                       atol=64 * eps * max(1, np.abs(state[key]).max()))
    assert w.version == STEPS and all(moment is None or moment[0].version == STEPS for moment in m)


@each_case
def test_an_element_does_not_depend_on_its_place(name, rule, hyper, switches, states, target, rng):
    for dtype in DTYPES:
        w0, g = rng.normal(size=(2, max(SIZES))).astype(dtype)

        def run(part):
            w, m = cb.Parameter(w0[part]), moments_for(switches, w0[part].size, dtype)   # noqa: B023
            for t in (1, 2):
                w.grad = g[part] * t                                                     # noqa: B023
                step(name, [w], m, kernel_values(hyper, t))
            return [w.numpy(), *(x[0].numpy() for x in m if x is not None)]

        whole = run(slice(None))
        for n in SIZES:
            for a, b in zip(run(slice(max(SIZES) - n, None)), whole, strict=True):
                assert same_bits(a, b[b.size - n:]), n


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_dead_units_do_not_sink_into_subnormals(name, rule, hyper, switches, states, dtype, target):
    hyper = dict(hyper, weight_decay=0.0)
    w, m = cb.Parameter(np.full(19, 0.5, dtype)), moments_for(switches, 19, dtype)
    for t, gradient in enumerate([1e-13] + [0.0] * 1000 + [1e-25, -1e-32, 5e-39], 1):     # 0.9^1000 is 1e-46
        if gradient != 0 or t == 2:
            w.grad = np.full(19, gradient, dtype)
        step(name, [w], m, kernel_values(hyper, t))
        if t % 50 == 0 or t > 1000:
            for moment in (x[0].numpy() for x in m if x is not None):
                assert np.all((moment == 0) | (np.abs(moment) >= TINY)), t
    assert np.isfinite(w.numpy()).all()


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_are_not_hidden(name, rule, hyper, switches, states, dtype, target):
    for bad in (math.nan, math.inf):
        w, m = cb.Parameter(np.ones(19, dtype)), moments_for(switches, 19, dtype)
        g = np.ones(19, dtype)
        g[3] = bad
        w.grad = g
        step(name, [w], m, kernel_values(hyper, 1))
        assert not np.isfinite(w.numpy()[3]) and np.isfinite(np.delete(w.numpy(), 3)).all()


def test_every_row_is_here_and_its_facts_hold():
    facts = engine.optimizer_facts()
    assert {c[0] for c in CASES} == set(facts)
    for name, _, hyper, switches, _ in CASES:
        names, moments, always = facts[name]
        assert len(switches) == len(moments) and all(switches[:always])
        assert set(names) <= set(kernel_values(hyper, 1)) | {"momentum", "dampening", "nesterov"}


def test_a_refused_step_changes_nothing():
    w, v = cb.Parameter(np.ones(3)), cb.Parameter(np.ones(4))
    w.grad = np.ones(3)
    for moments in ([], [None, None]):
        with pytest.raises(ValueError, match="sgd: 1 moments wanted"):
            step("sgd", [w], moments, BASE)
    with pytest.raises(ValueError):                           # the second parameter has no gradient
        step("sgd", [w, v], [None], BASE)
    assert w.tolist() == [1, 1, 1] and w.version == 0
