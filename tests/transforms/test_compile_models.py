"""Models and steps written by hand, compiled: every loss, weight, moment and state has the bits of the eager run."""

import numpy as np
import pytest
from samples import same_bits

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop._core import engine

CALLS, BATCHES = 6, (1, 3, 17, 200)


class Residual(nn.Module):
    """x + f(norm(x)), a few times; running statistics of each block are kept as it trains."""

    def __init__(self, width, dtype):
        self.stem = nn.Dense(5, width, dtype=dtype, rng=1)
        self.blocks = [nn.Sequential(nn.Dense(width, 2 * width, activation="gelu", dtype=dtype, rng=10 + k),
                                     nn.Dropout(0.1, rng=20 + k), nn.Dense(2 * width, width, dtype=dtype, rng=30 + k))
                       for k in range(3)]
        self.scales = [cb.Parameter(np.ones(width, dtype)) for _ in range(3)]
        self.means = [cb.State(np.zeros(width, dtype)) for _ in range(3)]
        self.head = nn.Dense(width, 4, dtype=dtype, rng=2)

    def forward(self, x):
        h = self.stem(x)
        for block, scale, mean in zip(self.blocks, self.scales, self.means, strict=True):
            centred = h - cb.mean(h, axis=-1, keepdims=True)
            normed = centred / cb.sqrt(cb.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)
            mean.assign(mean * 0.9 + cb.mean(h, axis=0).detach() * 0.1)
            h = h + block(normed * scale) + h * 0.125
        return self.head(h)


class Gated(nn.Module):
    """A gated recurrent cell over three slices of x, its first state learned, and a highway out."""

    def __init__(self, width, dtype):
        self.update, self.reset, self.new = (nn.Dense(5 + width, width, dtype=dtype, rng=k) for k in range(3))
        self.first = cb.Parameter(np.linspace(-1, 1, width).astype(dtype))
        self.carry, self.head = nn.Dense(5, width, dtype=dtype, rng=4), nn.Dense(width, 4, dtype=dtype, rng=5)

    def forward(self, x):
        h = self.first + cb.zeros((len(x), len(self.first)), x.dtype)
        for k in range(3):
            part = x * (k + 1) if k % 2 else cb.tanh(x)
            both = cb.concatenate([part, h], axis=-1)
            z, r = cb.sigmoid(self.update(both)), cb.sigmoid(self.reset(both))
            new = cb.tanh(self.new(cb.concatenate([part, r * h], axis=-1)))
            h = (1 - z) * h + z * new
        t = cb.sigmoid(self.carry(x))
        return self.head(t * h + (1 - t) * cb.where(h > 0, h, cb.exp(h) - 1))


def supervised(kind):
    def make(dtype):
        model = kind(12, dtype)
        opt = optim.AdamW(model.parameters(), lr=0.01)
        schedule = optim.CosineLR(opt, 20)

        def step(x, labels):
            loss = nn.cross_entropy(model(x), labels)
            opt.zero_grad()
            loss.backward()
            norm = optim.clip_grad_norm(model.parameters(), 1.0)
            opt.step()
            schedule.step()
            return loss.detach(), norm

        return step, [model], [opt], [m.rng for _, m in model.named_modules() if isinstance(m, nn.Dropout)]

    return make


def actor_critic(dtype):
    """Two optimizers that share a trunk; actions are drawn inside; the critic follows a slow copy of itself."""
    trunk = nn.Sequential(nn.Dense(5, 16, activation="tanh", dtype=dtype, rng=1))
    actor, critic, slow = (nn.Dense(16, n, dtype=dtype, rng=k) for k, n in ((2, 4), (3, 1), (3, 1)))
    actor_opt = optim.Adam([*trunk.parameters(), *actor.parameters()], lr=0.01)
    critic_opt = optim.RMSprop([*trunk.parameters(), *critic.parameters()], lr=0.02, momentum=0.5)
    noise, average = cb.Generator(5), cb.State(np.zeros((), dtype))

    def step(x, wanted):
        h = trunk(x)
        logits = actor(h)
        gumbel = -cb.log(-cb.log(noise.uniform(logits.shape, dtype=logits.dtype) * 0.98 + 0.01))
        action = cb.argmax(logits.detach() + gumbel, axis=-1)
        reward = (action == wanted).astype(logits.dtype)
        average.assign(average * 0.95 + cb.mean(reward) * 0.05)
        ahead = reward - average + 0.9 * cb.sum(slow(h.detach()), axis=-1)
        value = cb.sum(critic(h), axis=-1)
        advantage = (ahead - value).detach()
        logs = cb.log_softmax(logits)
        chosen = cb.sum(logs * cb.one_hot(action, 4, dtype=logits.dtype), axis=-1)
        policy = -cb.mean(chosen * advantage) + 0.01 * cb.mean(cb.sum(cb.exp(logs) * logs, axis=-1))
        actor_opt.zero_grad()
        policy.backward(retain_graph=True)
        critic_loss = nn.huber(value, ahead.detach())
        for p in critic.parameters():
            p.grad = None
        critic_loss.backward()           # the trunk's gradients add up
        actor_opt.step()
        critic_opt.step()
        for p, q in zip(slow.parameters(), critic.parameters(), strict=True):
            p.assign(p * 0.9 + q.detach() * 0.1)
        return policy.detach(), critic_loss.detach(), action, average

    modules = [trunk, actor, critic, slow]
    return step, modules, [actor_opt, critic_opt], [noise, average]


WORLDS = {"residual": supervised(Residual), "gated": supervised(Gated), "actor-critic": actor_critic}


def left(results, modules, optimizers, states):
    """All that a step leaves behind."""
    out = [*results]
    for module in modules:
        out += [t for _, m in module.named_modules() for t in vars(m).get("means", ())]
        out += [t for p in module.parameters() for t in (p, p.grad)]
    for opt in optimizers:
        state = opt.state_dict()
        out += [m for moments in state["moments"].values() for m in moments] + [np.array(state["steps"])]
    return [t for t in out if t is not None] + [s.cell if isinstance(s, cb.Generator) else s for s in states]


def both(name, dtype, batch, calls=CALLS):
    """Run the step compiled and eagerly; what differs, call by call, and the programs."""
    f = np.random.default_rng(batch)
    (mine, *world), (step, *twin) = WORLDS[name](dtype), WORLDS[name](dtype)
    compiled, found = cb.compile(mine), []
    for call in range(calls):
        x, labels = f.normal(size=(batch, 5)).astype(dtype), f.integers(0, 4, batch)
        args = cb.tensor(x), cb.tensor(labels)
        a, b = left(compiled(*args), *world), left(step(*args), *twin)
        found += [(call, k) for k, (p, q) in enumerate(zip(a, b, strict=True)) if not same_bits(p, q)]
        assert all(np.isfinite(np.asarray(t)).all() for t in b)
    return found, compiled.programs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", WORLDS)
def test_equal_in_every_bit(name, batch, dtype):
    found, programs = both(name, dtype, batch)
    assert found == [] and [p.calls for p in programs] == [CALLS]


@pytest.mark.parametrize("name", WORLDS)
def test_planted_faults_are_caught(name):
    """Memory shared, an addition dropped, a state written too early."""
    for fault in (1, 2, 3):
        engine.plant_fault(fault)
        try:
            with pytest.warns(RuntimeWarning, match=r"eagerly from now on: .*py:\d+.*plan of the program is wrong"):
                found, programs = both(name, "float64", 17)
        finally:
            engine.plant_fault(0)
        assert found == [] and programs == []            # the audited call and all later ones were eager


@pytest.mark.parametrize("name", WORLDS)
def test_batches_come_in_turn(name):
    """Each size has its program, and all of them work on one world."""
    (mine, *world), (step, *twin) = WORLDS[name]("float32"), WORLDS[name]("float32")
    compiled, f = cb.compile(mine), np.random.default_rng(0)
    for _ in range(4):
        for batch in (16, 16, 7):
            x, labels = (cb.tensor(t) for t in (f.normal(size=(batch, 5)).astype("float32"), f.integers(0, 4, batch)))
            assert all(map(same_bits, left(compiled(x, labels), *world), left(step(x, labels), *twin)))
    assert sorted(p.calls for p in compiled.programs) == [4, 8]
