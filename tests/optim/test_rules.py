"""Every optimizer with every option against trajectories in plain NumPy."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import optim

spec = importlib.util.spec_from_file_location("trajectories", Path(__file__).with_name("trajectories.py"))
trajectories = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trajectories)
Run = trajectories.Run

SHAPES = ((4, 3), (3,), ())
CASES = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "weight_decay": 0.2}), ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}), ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.3, "decay_bias": True}),
    ("RMSprop", {}), ("RMSprop", {"alpha": 0.9, "eps": 1e-3}), ("RMSprop", {"centered": True}),
    ("RMSprop", {"momentum": 0.9}), ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.2}),
    ("Adagrad", {}), ("Adagrad", {"lr": 0.3, "lr_decay": 0.5}), ("Adagrad", {"initial_accumulator": 0.4, "eps": 0.1}),
    ("Adagrad", {"weight_decay": 0.2, "decay_bias": True}),
    ("Adam", {}), ("Adam", {"lr": 0.05, "betas": (0.5, 0.8), "eps": 0.01}), ("Adam", {"amsgrad": True, "lr": 0.1}),
    ("Adam", {"weight_decay": 0.3}), ("Adam", {"weight_decay": 0.3, "decay_bias": True, "amsgrad": True}),
    ("Adam", {"betas": (0.0, 0.0)}),
    ("AdamW", {}), ("AdamW", {"lr": 0.1, "weight_decay": 0.5}), ("AdamW", {"lr": 0.1, "decay_bias": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5, "amsgrad": True, "betas": (0.6, 0.7)}),
]
CASE = pytest.mark.parametrize("name, options", CASES, ids=[f"{n} {o}" for n, o in CASES])
ONE_EACH = pytest.mark.parametrize("name", trajectories.DEFAULTS)


def parameters(rng, dtype="float64"):
    return [cb.Parameter(rng.normal(size=s).astype(dtype)) for s in SHAPES]


def make(name, params, **options):
    return getattr(optim, name)(params, **({"lr": 0.1} if name == "SGD" else {}) | options)


def oracle(name, params, **options):
    return Run(name, [p.numpy() for p in params], **({"lr": 0.1} if name == "SGD" else {}) | options)


def give(params, gradients):
    for p, g in zip(params, gradients, strict=True):
        p.grad = g


def gradients(rng):
    """Large and small ones; the second step's are the first's, shrunk, so that amsgrad's maximum counts."""
    return [rng.normal(size=s) * 3.0 ** rng.integers(-3, 3) for s in SHAPES]


def far(params, wanted):
    return max(np.max(abs(p.numpy() - w) / np.maximum(abs(w), 1e-2)) for p, w in zip(params, wanted, strict=True))


@CASE
@pytest.mark.parametrize("dtype, limit", [("float64", 1e-12), ("float32", 2e-5)], ids=["float64", "float32"])
def test_trajectory(name, options, dtype, limit, rng):
    params = parameters(rng, dtype)
    opt, run = make(name, params, **options), oracle(name, params, **options)
    for t in range(10):
        g = [x.astype(dtype) for x in gradients(rng)]
        if t == 4:
            opt.param_groups[0]["lr"] = 0.03
        give(params, g)
        opt.step()
        wanted = run.step(g, **({"lr": 0.03} if t >= 4 else {}))
        assert far(params, wanted) < limit, f"step {t + 1}"


@ONE_EACH
def test_the_first_step_by_hand(name):
    w = cb.Parameter(np.array([2.0, -3.0]))
    opt = make(name, [w], lr=0.5)
    w.grad = np.array([4.0, -0.25])
    opt.step()
    shares = {"SGD": (4.0, -0.25), "RMSprop": (10.0, -10.0)}.get(name, (1.0, -1.0))      # g, g / sqrt(.01 g^2), sign(g)
    assert w.tolist() == pytest.approx([2 - 0.5 * shares[0], -3 - 0.5 * shares[1]], rel=1e-4)


@CASE
def test_parameters_without_a_gradient_wait(name, options, rng):
    params = parameters(rng)
    opt, run = make(name, params, **options), oracle(name, params, **options)
    for absent in ((), (0,), (1, 2), (0, 1, 2), (), (2,)):
        g = [None if i in absent else x for i, x in enumerate(gradients(rng))]
        before = [(p.version, p.tolist()) for p in params]
        give(params, g)
        opt.step()
        assert far(params, run.step(g)) < 1e-12
        assert all((params[i].version, params[i].tolist()) == before[i] for i in absent)
    assert opt.state_dict()["steps"] == run.t == [4, 4, 3]


@ONE_EACH
def test_groups_have_options_of_their_own(name, rng):
    params = parameters(rng)
    own = {"lr": 0.7, "weight_decay": 0.3, "decay_bias": True}
    opt = make(name, [{"params": params[:1]}, {"params": params[1], **own}], lr=0.1)
    opt.add_param_group({"params": params[2:], "learning_rate": 0.2})
    runs = [oracle(name, [p], lr=0.1) for p in params]
    runs[1].options.update(own)
    runs[2].options.update(lr=0.2)
    for _ in range(3):
        g = gradients(rng)
        give(params, g)
        opt.step()
        assert far(params, [run.step([x])[0] for run, x in zip(runs, g, strict=True)]) < 1e-12
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.7, 0.2]


@CASE
def test_state_goes_on_elsewhere(name, options, rng):
    params = parameters(rng, "float32")
    opt = make(name, params, **options)

    def step(params, opt, g):
        give(params, g)
        opt.step()

    for _ in range(3):
        step(params, opt, gradients(rng))
    opt.param_groups[0]["lr"] = 0.01
    twins = [cb.Parameter(p) for p in params]
    other = make(name, twins, **options)
    other.load_state_dict(opt.state_dict())
    for _ in range(3):
        g = gradients(rng)
        step(params, opt, g)
        step(twins, other, g)
    assert [p.tolist() for p in params] == [p.tolist() for p in twins]
    assert str(opt.state_dict()) == str(other.state_dict())


@ONE_EACH
@pytest.mark.parametrize("bad", [
    lambda s: {**s, "groups": s["groups"] * 2},
    lambda s: {**s, "steps": s["steps"][:-1]},
    lambda s: {**s, "steps": [*s["steps"][:-1], "many"]},
    lambda s: {**s, "steps": [*s["steps"][:-1], -1]},
    lambda s: {**s, "groups": [{**s["groups"][0], "lr": -1.0}]},
    lambda s: {**s, "groups": [{**s["groups"][0], "unheard_of": 1}]},
    lambda s: {**s, "groups": [{**s["groups"][0], "weight_decay": [0.1]}]},
    lambda s: {**s, "groups": [{**s["groups"][0], "lr": None}]},
    lambda s: {**s, "moments": {k: [*v[:-1], np.ones(2)] for k, v in s["moments"].items()}},
    lambda s: {**s, "moments": {k: [*v[:-1], np.array(1j)] for k, v in s["moments"].items()}},
    lambda s: {**s, "moments": {k: v[:-1] for k, v in s["moments"].items()}},
    lambda s: {k: v for k, v in s.items() if k != "moments"},
    lambda s: {k: v for k, v in s.items() if k != "groups"},
], ids=["groups", "count", "step", "negative", "lr", "option", "list", "none", "shape", "dtype", "moments",
        "no moments", "no groups"])
def test_a_state_that_does_not_fit_changes_nothing(name, bad, rng):
    options = {"momentum": 0.9} if name == "SGD" else {}
    params = parameters(rng)
    opt = make(name, params, **options)
    give(params, gradients(rng))
    opt.step()
    before, state = str(opt.state_dict()), opt.state_dict()
    state = {**state, "moments": {k: [None if x is None else x + 1 for x in v] for k, v in state["moments"].items()},
             "groups": [{**state["groups"][0], "lr": 0.9}]}
    with pytest.raises((ValueError, TypeError, KeyError)):
        opt.load_state_dict(bad(state))
    assert str(opt.state_dict()) == before


# ---- options

ALIASES = [("Adam", {"learning_rate": 0.2}, "lr", 0.2), ("Adam", {"epsilon": 0.1}, "eps", 0.1),
           ("SGD", {"learning_rate": 0.2}, "lr", 0.2), ("RMSprop", {"epsilon": 0.1}, "eps", 0.1),
           ("Adam", {"beta_1": 0.5, "beta_2": 0.6}, "betas", (0.5, 0.6)),
           ("AdamW", {"beta_2": 0.6}, "betas", (0.9, 0.6))]


@pytest.mark.parametrize("name, options, own, value", ALIASES)
def test_aliases(name, options, own, value):
    assert getattr(optim, name)([cb.Parameter([1.0])], **options).param_groups[0][own] == value
    opt = getattr(optim, name)([{"params": [cb.Parameter([1.0])], **options}], lr=0.7)
    assert opt.param_groups[0][own] == value


def one():
    return [cb.Parameter([1.0])]


REFUSED = [
    ("SGD", one, {}, TypeError, "lr"),
    ("SGD", one, {"lr": 1, "learning_rate": 1}, TypeError, "learning_rate"),
    ("Adam", one, {"eps": 1, "epsilon": 1}, TypeError, "epsilon"),
    ("Adam", lambda: [{"params": one(), "lr": 1, "learning_rate": 2}], {}, TypeError, "learning_rate"),
    ("Adam", one, {"momentum": 0.9}, TypeError, "momentum"),
    ("Adam", lambda: [{"params": one(), "momentum": 0.9}], {}, TypeError, "momentum.*amsgrad"),
    *((name, one, {"lr": -0.1}, ValueError, "lr") for name in trajectories.DEFAULTS),
    *((name, one, {"lr": 0.1, "weight_decay": -0.1}, ValueError, "weight_decay") for name in trajectories.DEFAULTS),
    *((name, one, {"eps": -0.1}, ValueError, "eps") for name in ("RMSprop", "Adagrad", "Adam", "AdamW")),
    ("Adam", one, {"lr": float("nan")}, ValueError, "lr"),
    ("Adam", one, {"betas": (1.0, 0.9)}, ValueError, "1.0"),
    ("Adam", one, {"betas": (0.9, -0.1)}, ValueError, "-0.1"),
    ("Adam", lambda: [{"params": one(), "lr": -1.0}], {}, ValueError, "lr"),
    ("SGD", one, {"lr": 0.1, "momentum": -0.9}, ValueError, "momentum"),
    ("SGD", one, {"lr": 0.1, "nesterov": True}, ValueError, "nesterov"),
    ("SGD", one, {"lr": 0.1, "nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "nesterov"),
    ("RMSprop", one, {"alpha": -0.1}, ValueError, "alpha"),
    ("Adagrad", one, {"lr_decay": -0.1}, ValueError, "lr_decay"),
    ("Adagrad", one, {"initial_accumulator": -0.1}, ValueError, "initial_accumulator"),
    ("Adam", list, {}, ValueError, "no parameters"),
    ("Adam", lambda: cb.Parameter([[1.0]]), {}, TypeError, "Parameter"),
    ("Adam", lambda: [cb.tensor([1.0])], {}, TypeError, "Tensor"),
    ("Adam", lambda: [np.ones(1)], {}, TypeError, "ndarray"),
    ("Adam", lambda: one() * 2, {}, ValueError, "two|twice|once"),
    ("Adam", lambda: [{"params": p} for p in [one()] * 2], {}, ValueError, "two|twice|once"),
]


@pytest.mark.parametrize("name, params, options, error, message", REFUSED)
def test_refusals(name, params, options, error, message):
    with pytest.raises(error, match=message):
        getattr(optim, name)(params(), **options)


# ---- a failed step changes nothing

def everything(params, opt):
    return [(p.version, p.tolist()) for p in params], str(opt.state_dict())


@ONE_EACH
@pytest.mark.parametrize("value", ["fast", None, [0.1, 0.2]], ids=str)
def test_a_senseless_option_is_refused(name, value, rng):
    params = parameters(rng)
    opt = make(name, [{"params": params[:1]}, {"params": params[1:]}])
    before = everything(params, opt)
    with pytest.raises((TypeError, ValueError)):
        opt.param_groups[1]["lr"] = value
    assert everything(params, opt) == before


@ONE_EACH
def test_a_wrong_gradient_changes_nothing(name, rng):
    params = parameters(rng)
    opt = make(name, params)
    give(params, gradients(rng))
    for wrong, error in ((np.ones((3, 4)), cb.ShapeError), (np.ones(12), cb.ShapeError), (1.0, cb.ShapeError),
                         (cb.zeros((4, 3)), cb.DTypeError), ("text", cb.DTypeError)):
        before = everything(params, opt), params[0].grad.tolist()
        with pytest.raises(error):
            params[0].grad = wrong
        assert (everything(params, opt), params[0].grad.tolist()) == before


def test_moments_of_dead_units_go_to_zero():
    """Not into subnormals, whose arithmetic is a hundred times slower."""
    w = cb.Parameter([1.0, 1.0])
    opt = optim.Adam([w], lr=0.1, betas=(0.5, 0.5))
    for t in range(150):
        w.grad = [1.0, 1.0 if t == 0 else 0.0]
        opt.step()
    moments = opt.state_dict()["moments"]
    assert moments["exp_avg"][0][1] == 0 and moments["exp_avg_sq"][0][1] == 0 and np.isfinite(w.numpy()).all()
    assert repr(opt).startswith("Adam(1 parameters, lr=0.1")
