"""The rows of optim.def against trajectories written out in NumPy, float64, from torch's semantics."""

import functools
import math

import mpmath
import numpy as np
import pytest
import references
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
        step(name, [w], m, h, t)
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
                step(name, [w], m, hyper, t)
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
        step(name, [w], m, hyper, t)
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
        step(name, [w], m, hyper, 1)
        assert not np.isfinite(w.numpy()[3]) and np.isfinite(np.delete(w.numpy(), 3)).all()


def test_every_row_is_here_and_its_facts_hold():
    facts = engine.optimizer_facts()
    assert {c[0] for c in CASES} == set(facts)
    for name, _, hyper, switches, _ in CASES:
        names, moments, always = facts[name]
        assert len(switches) == len(moments) and all(switches[:always])
        assert set(names) <= set(hyper) | {"momentum", "dampening", "nesterov"}


# ---- what is computed from options and the count of steps

def exact(name, o, t):
    """What a first moment that stands still makes of a gradient of 1 at step t: -dw, in as many bits as mpmath has."""
    lr, beta1, decay, momentum, dampening = (
        mpmath.mpf(o.get(n, 0)) for n in ("lr", "beta1", "lr_decay", "momentum", "dampening"))
    if name in ("adam", "adamw"):                             # m = g = 1, v = g^2 = 1, beta2 = 0: lr / bc1
        return lr / (1 - beta1 ** t)
    if name == "adagrad":                                     # s = 1 after the step
        return lr / (1 + (t - 1) * decay)
    return lr * (1 if t == 1 else momentum + 1 - dampening)   # sgd, buffer 1


@pytest.mark.parametrize("name, options, moments", [
    ("adam", {"beta1": 0.9}, [1.0, 1.0, None]), ("adam", {"beta1": 0.999}, [1.0, 1.0, None]),
    ("adamw", {"beta1": 0.5}, [1.0, 1.0, None]), ("adam", {"beta1": 1 - 2.0 ** -40}, [1.0, 1.0, None]),
    ("adagrad", {"lr_decay": 0.3}, [0.0]), ("adagrad", {"lr_decay": 1e-5}, [0.0]),
    ("sgd", {"momentum": 0.7, "dampening": 0.2}, [1.0])])
@pytest.mark.parametrize("t", [1, 2, 3, 4, 7, 8, 100, 1023, 12_345, 10 ** 6 + 1])
def test_numbers_of_a_step(name, options, moments, t):
    """Against arithmetic in hundreds of bits; of a power of beta as many roundings as repeated squaring has."""
    options = {"scale": 1.0, "lr": 0.37, **options}
    w = cb.Parameter(np.zeros(1))
    w.grad = np.ones(1)
    step(name, [w], [None if m is None else [cb.Parameter(np.full(1, m))] for m in moments], options, t)
    limit = 4 + (1 / (1 - options["beta1"]) if "beta1" in options else 0)
    with mpmath.workprec(references.VALUE_BITS):
        assert abs(-w.item() / exact(name, options, t) - 1) <= limit * 2.0 ** -53


def squared(x, t):
    """x^t as doubles multiply, from the lowest bit of t up."""
    y = 1.0
    while t:
        y, x, t = y * x if t & 1 else y, x * x, t >> 1
    return y


def test_powers_are_made_by_squaring():
    """The same bits on every machine: one rounding a product, none of libm's."""
    for beta in (0.9, 0.99, 0.999, 0.5, 1 / 3):
        for t in (*range(1, 70), 1000, 65_535, 10 ** 9, 2 ** 52 + 1):
            w = cb.Parameter(np.zeros(1))
            w.grad = np.ones(1)
            step("adam", [w], [[cb.Parameter(np.ones(1))], [cb.Parameter(np.ones(1))], None],
                 {"scale": 1.0, "lr": 1.0, "beta1": beta}, t)
            assert w.item() == -1.0 / (1 - squared(beta, t)), (beta, t)


@each_case
def test_without_decay(name, rule, hyper, switches, states, rng):
    w0, g = rng.normal(size=(2, 9))
    ends = []
    for options, decays in ((dict(hyper, weight_decay=0.3), False), (dict(hyper, weight_decay=0.0), True)):
        w, m = cb.Parameter(w0), moments_for(switches, 9, "float64")
        w.grad = g
        step(name, [w], m, options, 3, decays)
        ends.append([w.numpy(), *(x[0].numpy() for x in m if x is not None)])
    assert all(same_bits(a, b) for a, b in zip(*ends, strict=True))


# ---- the engine's door

def cells(**options):
    """Options of sgd, the others 0."""
    names = engine.optimizer_facts()["sgd"][0]
    return tuple(cb.State(options.get(n, float(n == "scale")), "float64") for n in names)


def member(n=3, t=0, gradient=True, moment=None):
    p = cb.Parameter(np.ones(n))
    p.grad = np.ones(n) if gradient else None
    return p, cb.State(t), moment


def test_counts_go_up_and_a_parameter_without_a_gradient_waits():
    members = [member(t=4), member(gradient=False, t=7), member(n=0, t=1)]
    engine.update("sgd", [(cells(lr=0.5), 3, members), (cells(lr=0.25), 1, [member_b := member()])])
    assert [t.item() for _, t, _ in members] == [5, 7, 2] and member_b[1].item() == 1
    assert [p.tolist() for p, _, _ in members] == [[0.5] * 3, [1.0] * 3, []] and member_b[0].tolist() == [0.75] * 3
    assert [(p.version, t.version) for p, t, _ in members] == [(1, 1), (0, 0), (1, 1)]
    engine.update("sgd", [])
    engine.update("sgd", [(cells(), 0, [])])


def test_weight_decay_is_for_the_members_in_front():
    members = [member(), member(gradient=False), member(), member(t=4), member()]
    engine.update("sgd", [(cells(lr=0.5, weight_decay=0.5), 3, members)])
    assert [p.tolist()[0] for p, *_ in members] == [0.25, 1.0, 0.25, 0.5, 0.5]
    engine.update("sgd", [(cells(lr=0.5, weight_decay=0.5), 0, only := [member()])])
    assert only[0][0].tolist() == [0.5] * 3


REFUSED = {
    "no parameter": (lambda: (cells(), 1, [(None, *member()[1:])]), "no Parameter"),
    "no moments": (lambda: (cells(), 1, [member()[:2]]), "1 moments wanted, 0 given"),
    "two moments": (lambda: (cells(), 1, [(*member(), None)]), "1 moments wanted, 2 given"),
    "an option too few": (lambda: (cells()[1:], 1, [member()]), "6 options wanted, 5 given"),
    "no option": (lambda: ((*cells()[:5], None), 1, [member()]), "an option is a State"),
    "float32 option": (lambda: ((*cells()[:5], cb.State(0.0)), 1, [member()]), "an option is a State"),
    "two numbers": (lambda: ((*cells()[:5], cb.State(np.zeros(2))), 1, [member()]), "an option is a State"),
    "no count": (lambda: (cells(), 1, [(member()[0], None, None)]), "a count of steps is a State"),
    "fractional count": (lambda: (cells(), 1, [(member()[0], cb.State(0.5), None)]), "a count of steps"),
    "shape": (lambda: (cells(), 1, [member(moment=cb.Parameter(np.ones(4)))]), "a moment of shape"),
    "dtype": (lambda: (cells(), 1, [member(moment=cb.Parameter([1.0] * 3))]), "a moment of shape"),
    "tensor": (lambda: (cells(), 1, [member(moment=cb.ones(3))]), "Parameter"),
    "options in a list": (lambda: (list(cells()), 1, [member()]), "tuple"),
}


@pytest.mark.parametrize("call, words", REFUSED.values(), ids=REFUSED)
def test_a_refused_step_changes_nothing(call, words):
    good = member()
    with pytest.raises((ValueError, TypeError), match=words):
        engine.update("sgd", [(cells(lr=1.0), 1, [good]), call()])
    assert good[0].tolist() == [1, 1, 1] and good[0].version == good[1].version == 0


def test_moments_that_are_always_there_are_asked_for():
    numbers = tuple(cb.State(0.5, "float64") for _ in engine.optimizer_facts()["adam"][0])
    p, t, _ = member()
    with pytest.raises(ValueError, match="adam: moment 2 is missing"):
        engine.update("adam", [(numbers, 1, [(p, t, cb.Parameter(np.ones(3)), None, None)])])
    assert p.version == 0
