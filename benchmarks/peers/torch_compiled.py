"""torch.compile of the whole step: forward, backward and Adam in one graph, without a break.

The step is a function of its parameters and moments (torch.func), with Adam written out: a compiled step that calls
``loss.backward()`` and ``optimizer.step()`` is cut into several graphs and was slower than the eager one.  The C++
wrapper and max-autotune were tried and gain nothing here.  Guards stay on, as in use.
"""

import atexit
import math
import os
import shutil
import tempfile

import torch
from torch.nn import functional as F

if shutil.which(os.environ.get("CXX", "g++")) is None:
    raise ImportError("torch.compile needs a C++ compiler; install g++ or set CXX")

NAME = f"torch {torch.__version__}, torch.compile of the whole step"
COMPILES = True
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
# a cache of its own, empty at the start: the first call is one, and the second compilation of a network is a short one
CACHE = tempfile.mkdtemp(prefix="inductor-")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = CACHE
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)


def program(network):
    """The compiled step of one network."""
    score = F.mse_loss if network.loss == "mse" else F.cross_entropy

    def layer(p, k, h, activation):
        z = F.linear(h, p[2 * k], p[2 * k + 1])
        return getattr(torch, activation)(z) if activation else z

    def loss(p, x, y):
        return score(network.walk(x, lambda k, h, activation: layer(p, k, h, activation)), y)

    def step(p, ms, vs, t, lr, x, y):
        gradients, value = torch.func.grad_and_value(loss)(p, x, y)
        t.add_(1)
        # expm1: 1 - 0.999^t in float32 would be 6e-5 off at the first step
        size, root = lr / -torch.expm1(t * math.log(BETA1)), (-torch.expm1(t * math.log(BETA2))).sqrt()
        for w, g, m, v in zip(p, gradients, ms, vs, strict=True):
            m.lerp_(g, 1 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            w.sub_(size * m / (v.sqrt() / root + EPS))
        return value
    return torch.compile(step, dynamic=False, fullgraph=True)


class Step:
    def __init__(self, network, weights, batches, lr):
        torch._dynamo.reset()            # the last network's program has been timed; its guards would be tried first
        p = [torch.from_numpy(a.T.copy()) for pair in weights for a in pair]
        self.state = p, [torch.zeros_like(a) for a in p], [torch.zeros_like(a) for a in p]
        self.rest = torch.zeros((), dtype=p[0].dtype), torch.tensor(lr, dtype=p[0].dtype)
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
        self.program = program(network)

    def step(self, i):
        return self.program(*self.state, *self.rest, *self.batches[i])
