"""Where parameters lie: one flat store, from which nothing moves again; optimizers that share parameters."""

import copy
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim

spec = importlib.util.spec_from_file_location("trajectories", Path(__file__).with_name("trajectories.py"))
trajectories = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trajectories)

LINE = 64
SHAPES = ((5, 3), (3,), (), (17,), (0, 4), (2, 2))


def address(p):
    return p.numpy().__array_interface__["data"][0]


def parameters(rng, dtype="float32"):
    return [cb.Parameter(rng.normal(size=s).astype(dtype)) for s in SHAPES]


def assert_in_one_line(params):
    """One after the other, each on a cache line of its own."""
    held = [p for p in params if p.size]
    for p, q in zip(held, held[1:], strict=False):
        assert address(p) % LINE == 0 and address(q) - address(p) == -(-p.nbytes // LINE) * LINE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_optimizer_lays_parameters_together(dtype, rng):
    params = parameters(rng, dtype)
    values, versions = [p.tolist() for p in params], [p.version for p in params]
    cb.optim.SGD(params, lr=0.1)
    assert_in_one_line(params)
    assert [p.tolist() for p in params] == values and [p.version for p in params] == versions
    assert [p.shape for p in params] == list(SHAPES)


def test_one_store_for_each_dtype(rng):
    params = [p for pair in zip(parameters(rng), parameters(rng, "float64"), strict=True) for p in pair]
    values = [p.tolist() for p in params]
    optim.Adam(params)
    assert_in_one_line(params[::2])
    assert_in_one_line(params[1::2])
    assert [p.tolist() for p in params] == values


def test_a_second_optimizer_moves_nothing(rng):
    params = parameters(rng)
    optim.SGD(params, lr=0.1)
    before = [address(p) for p in params]
    new = cb.Parameter([1.0])
    optim.Adam([new, *reversed(params)])
    optim.Adam(params[1:3])
    assert [address(p) for p in params] == before and new.tolist() == [1.0]


def test_nothing_moves_later(rng):
    params = parameters(rng)
    opt = optim.Adam(params)
    before = [address(p) for p in params]
    for p in params:
        p.grad = np.ones(p.shape)
    opt.step()
    params[0].assign(np.zeros((5, 3)))
    opt.load_state_dict(opt.state_dict())
    assert [address(p) for p in params] == before


@pytest.mark.parametrize("pin", [lambda p: p.numpy(), memoryview, lambda p: p.reshape(-1).numpy()],
                         ids=["numpy", "memoryview", "reshape"])
def test_a_viewed_parameter_stays_where_it_is(pin, rng):
    params = parameters(rng)
    before, view = address(params[0]), pin(params[0])
    opt = optim.SGD(params, lr=1.0)
    assert address(params[0]) == before
    assert_in_one_line(params[1:])
    params[0].grad = np.ones((5, 3))
    old = np.array(params[0])
    opt.step()
    assert np.array_equal(params[0], old - 1) and np.array_equal(np.asarray(view).reshape(5, 3), params[0])
    del view
    optim.SGD(params, lr=1.0)
    assert np.array_equal(params[0], old - 1)


def test_aliases_move_along(rng):
    params = parameters(rng)
    alias, flat = params[0].detach(), params[1].reshape(3)
    opt = optim.SGD(params, lr=1.0)
    for p in params:
        p.grad = np.ones(p.shape)
    opt.step()
    assert np.array_equal(alias, params[0]) and np.array_equal(flat, params[1])
    assert alias.detach().tolist() == params[0].tolist()


def test_a_parameter_outlives_store_and_optimizer(rng):
    params = parameters(rng)
    values = [p.tolist() for p in params]
    opt = optim.Adam(params)
    last = params[3]
    del opt, params
    assert last.tolist() == values[3]
    optim.SGD([last], lr=0.5)
    assert last.tolist() == values[3]


# ---- two optimizers, one trunk

def grads_of_tanh_net(x, w, heads, outs):
    """Gradients of sum over heads of mean((tanh(x w) h - out)^2), for w and each head."""
    a = np.tanh(x @ w)
    residuals = [2 * (a @ h - out) / out.size for h, out in zip(heads, outs, strict=True)]
    dw = x.T @ (sum(r @ h.T for r, h in zip(residuals, heads, strict=True)) * (1 - a ** 2))
    return dw, [a.T @ r for r in residuals]


def test_actor_and_critic_share_a_trunk(rng):
    """Each optimizer has its own moments for the trunk and updates it in its turn."""
    x, outs = rng.normal(size=(6, 3)), [rng.normal(size=(6, 2)), rng.normal(size=(6, 1))]
    trunk, actor, critic = (nn.Dense(i, o, bias=False, dtype="float64", rng=i) for i, o in ((3, 4), (4, 2), (4, 1)))
    layers, opts = (actor, critic), (optim.Adam([trunk.weight, actor.weight], lr=0.05),
                                     optim.SGD([trunk.weight, critic.weight], lr=0.1, momentum=0.9))
    weights = [m.weight.numpy().copy() for m in (trunk, actor, critic)]
    runs = (trajectories.Run("Adam", [weights[0], weights[1]], lr=0.05),
            trajectories.Run("SGD", [weights[0], weights[2]], lr=0.1, momentum=0.9))
    for _ in range(5):
        for k in (0, 1):
            opts[k].zero_grad()
            nn.mse(layers[k](cb.tanh(trunk(x))), outs[k]).backward()
            opts[k].step()
            runs[k].w[0] = weights[0]
            dw, (dh,) = grads_of_tanh_net(x, weights[0], [runs[k].w[1]], [outs[k]])
            weights[0] = runs[k].step([dw, dh])[0]
    for layer, wanted in zip((trunk, *layers), (weights[0], runs[0].w[1], runs[1].w[1]), strict=True):
        assert np.max(abs(layer.weight.numpy() - wanted)) < 1e-13
    assert opts[0].state_dict()["steps"] == opts[1].state_dict()["steps"] == [5, 5]


def test_one_loss_two_optimizers(rng):
    """One backward, then both step: the trunk is in both."""
    x, outs = rng.normal(size=(6, 3)), [rng.normal(size=(6, 2)), rng.normal(size=(6, 1))]
    trunk, actor, critic = (nn.Dense(i, o, bias=False, dtype="float64", rng=i) for i, o in ((3, 4), (4, 2), (4, 1)))
    first, second = optim.SGD([trunk.weight, actor.weight], lr=0.1), optim.SGD([trunk.weight, critic.weight], lr=0.3)
    w, h0, h1 = (m.weight.numpy().copy() for m in (trunk, actor, critic))
    for _ in range(4):
        first.zero_grad()
        second.zero_grad()
        a = cb.tanh(trunk(x))
        (nn.mse(actor(a), outs[0]) + nn.mse(critic(a), outs[1])).backward()
        first.step()
        second.step()
        dw, (d0, d1) = grads_of_tanh_net(x, w, [h0, h1], outs)
        w, h0, h1 = w - 0.1 * dw - 0.3 * dw, h0 - 0.1 * d0, h1 - 0.3 * d1
    for layer, wanted in ((trunk, w), (actor, h0), (critic, h1)):
        assert np.max(abs(layer.weight.numpy() - wanted)) < 1e-13


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_a_generator_and_its_critic(rng):
    """GAN steps: the critic learns from a detached sample, the generator through the critic, which stays."""
    made, judge = nn.Dense(2, 3, dtype="float64", rng=1), nn.Dense(3, 1, dtype="float64", rng=2)
    opt_g, opt_d = optim.Adam(made.parameters(), lr=0.1), optim.RMSprop(judge.parameters(), lr=0.1)
    run_g = trajectories.Run("Adam", [p.numpy().copy() for p in made.parameters()], lr=0.1)
    run_d = trajectories.Run("RMSprop", [p.numpy().copy() for p in judge.parameters()], lr=0.1)
    ones, zeros = np.ones((5, 1)), np.zeros((5, 1))
    for _ in range(5):
        z, real = rng.normal(size=(5, 2)), rng.normal(size=(5, 3))
        opt_d.zero_grad()
        fake = made(z).detach()
        (nn.bce_with_logits(judge(real), ones) + nn.bce_with_logits(judge(fake), zeros)).backward()
        opt_d.step()
        opt_g.zero_grad()
        nn.bce_with_logits(judge(made(z)), ones).backward()
        opt_g.step()

        (w, b), (v, c) = run_g.w, run_d.w
        fakes = z @ w + b
        d_real, d_fake = (sigmoid(real @ v + c) - 1) / 5, sigmoid(fakes @ v + c) / 5
        v, c = run_d.step([real.T @ d_real + fakes.T @ d_fake, (d_real + d_fake).sum(0)])
        dz = (sigmoid(fakes @ v + c) - 1) / 5 @ v.T
        run_g.step([z.T @ dz, dz.sum(0)])
    for model, run in ((made, run_g), (judge, run_d)):
        for p, wanted in zip(model.parameters(), run.w, strict=True):
            assert np.max(abs(p.numpy() - wanted)) < 1e-12


# ---- copies: of an agent, say, that holds a model, its optimizer, a schedule and compiled methods

class Agent:
    """Two groups, one of which has no moment yet for a parameter without gradients."""

    def __init__(self, name, **options):
        self.model = nn.Sequential(nn.Dense(3, 4, activation="tanh"), nn.Dense(4, 1))
        first, second = (layer.parameters() for layer in self.model.layers)
        self.optimizer = getattr(optim, name)([{"params": first}, {"params": second, "lr": 0.5}], lr=0.1, **options)
        self.schedule = optim.StepLR(self.optimizer, 2)

    @cb.compile
    def step(self, x):
        loss = (self.model(x) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss

    def values(self):
        return [p.tolist() for p in self.model.parameters()], str(self.optimizer.state_dict())


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda agent: pickle.loads(pickle.dumps(agent))}


@pytest.mark.parametrize("clone", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("name, options", [("Adam", {"amsgrad": True}), ("SGD", {"momentum": 0.5}), ("SGD", {}),
                                           ("RMSprop", {})])
def test_a_copy_goes_on_by_itself_with_the_same_bits(name, options, clone, rng):
    agent, x = Agent(name, **options), cb.tensor(rng.normal(size=(5, 3)).astype("float32"))
    for _ in range(3):
        agent.step(x)
    twin, before = clone(agent), agent.values()
    assert twin.values() == before
    losses = [twin.step(x).item() for _ in range(4)]
    assert agent.values() == before and losses[0] > losses[-1]
    assert [agent.step(x).item() for _ in range(4)] == losses and agent.values() == twin.values()
    held = {address(p) for p in agent.optimizer.parameters()}
    assert held.isdisjoint(map(address, twin.optimizer.parameters()))
    twin.optimizer.param_groups[0]["lr"] = 0.0
    twin.optimizer.add_param_group({"params": [cb.Parameter([1.0])]})
    assert agent.optimizer.param_groups[0]["lr"] != 0 and len(agent.optimizer.param_groups) == 2


def test_a_shallow_copy_shares_what_it_updates(rng):
    params = parameters(rng)
    opt = optim.Adam(params)
    twin = copy.copy(opt)
    before = [address(p) for p in params]
    for p in params:
        p.grad = np.ones(p.shape)
    twin.step()
    assert str(opt.state_dict()) == str(twin.state_dict()) and opt.state_dict()["steps"] == [1] * len(params)
    assert [address(p) for p in params] == before
