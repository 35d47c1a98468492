"""JAX at its best: gradient and Adam in one jit with donated state, and the same step under scan.

Small networks keep parameters and moments in one array each: a call pays for every array it takes and returns.  Large
ones keep a tree, since there the copies cost more.  Dispatch is synchronous: on one core the thread that would run
beside Python only adds a switch.
"""

import math
import os
from functools import partial

os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false").strip()

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_enable_async_dispatch", False)
NAME = f"jax {jax.__version__}, jit with donated buffers"
COMPILES = True
FLAT = 200_000                           # parameters; measured: above, a tree is as fast or faster
UNROLL = 2                               # steps of a scan; measured: a tenth for the smallest network, more is slower
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def takes(network):
    return network.dtype == "float32"


def forward(network, p, x):
    def layer(k, h, activation):
        z = h @ p[k][0] + p[k][1]
        return ACTIVATIONS[activation](z) if activation else z
    return network.walk(x, layer)


def score(network, z, y):
    if network.loss == "mse":
        return jnp.mean(jnp.square(z - y))
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])


class Training:
    """State and step; the step is not compiled yet."""

    def __init__(self, network, weights, lr):
        self.network, self.lr = network, jnp.float32(lr)
        # copies: a donated buffer must not be the caller's array
        p = [tuple(jnp.array(a, copy=True) for a in pair) for pair in weights]
        self.tree = lambda p: p
        if sum(a.size for pair in weights for a in pair) <= FLAT:
            p, self.tree = ravel_pytree(p)
        zeros = partial(jax.tree.map, jnp.zeros_like)
        self.state = p, zeros(p), zeros(p), jnp.float32(0)

    def update(self, state, x, y, lr):
        p, m, v, t = state
        loss, g = jax.value_and_grad(lambda p: score(self.network, forward(self.network, self.tree(p), x), y))(p)
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        # expm1: 1 - 0.999^t in float32 would be 6e-5 off at the first step
        size, root = lr / -jnp.expm1(t * math.log(BETA1)), jnp.sqrt(-jnp.expm1(t * math.log(BETA2)))
        p = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + EPS), p, m, v)
        return (p, m, v, t), loss


def on_device(x, y):
    return jnp.asarray(x), jnp.asarray(y if y.dtype == np.float32 else y.astype(np.int32))


class Step(Training):
    def __init__(self, network, weights, batches, lr):
        super().__init__(network, weights, lr)
        self.batches = [on_device(*batch) for batch in batches]
        self.program = jax.jit(self.update, donate_argnums=0)

    def step(self, i):
        self.state, loss = self.program(self.state, *self.batches[i], self.lr)
        return loss


class Loop(Training):
    def __init__(self, network, weights, parts, lr):
        super().__init__(network, weights, lr)
        self.parts = [on_device(*self.cut(part)) for part in parts]
        self.passes = parts[0].passes
        self.program = jax.jit(self.epochs, donate_argnums=0)

    def cut(self, part):
        """Rows as (steps, batch, ...); one batch alone stays as it is and is not cut out in every step."""
        B = self.network.batch
        if len(part.x) == B:
            return part.x, part.y
        steps = len(part.x) // B
        return part.x.reshape(steps, B, -1), part.y.reshape(steps, B, *part.y.shape[1:])

    def epochs(self, state, x, y, lr):
        def epoch(state, _):
            if x.ndim == 2:
                return self.update(state, x, y, lr)
            state, losses = jax.lax.scan(lambda state, batch: self.update(state, *batch, lr), state, (x, y),
                                         unroll=UNROLL)
            return state, jnp.mean(losses)
        return jax.lax.scan(epoch, state, None, length=self.passes, unroll=UNROLL)

    def run(self, i):
        self.state, losses = self.program(self.state, *self.parts[i], self.lr)
        return losses


class Predict:
    def __init__(self, network, weights):
        self.p = [tuple(jnp.asarray(a) for a in pair) for pair in weights]
        self.program = jax.jit(lambda p, x: forward(network, p, x))

    def predict(self, row):
        return np.asarray(self.program(self.p, row))


class Chain:
    def __init__(self, links, value):
        def chain(x):
            y = x
            for _ in range(links):
                y = jnp.tanh(y * x + x)
            return y.sum()
        self.program, self.value = jax.jit(jax.grad(chain)), jnp.asarray(value)

    def run(self):
        return np.asarray(self.program(self.value))
