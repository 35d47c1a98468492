"""The training grid: one row a network; every peer, check and table reads it from here."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

BATCHES = 4          # batches that the equality check walks through in order; timing stays on the first, hot one


@dataclass(frozen=True)
class Network:
    """A stack of dense layers with relu between them, trained with Adam.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input and of each layer.
    batch : int
    samples : int
        How many times a step is timed; big networks are long enough to need few.
    equal_lr : float
        Learning rate of the equality check: enough to learn, little enough that 100 steps stay away from chaos: at
        1e-3 one relu on its kink sends torch 8 % away from float64 on `deep`, and us with other initial weights.
    """

    name: str
    sizes: tuple
    batch: int
    samples: int = 40
    equal_lr: float = 1e-3
    activation: str = "relu"

    @property
    def loss(self):
        """One output is regression, more are classes."""
        return "mse" if self.sizes[-1] == 1 else "cross_entropy"

    @property
    def shape(self):
        """Like 64-100-10; repeated widths as 3x64."""
        runs = [(width, len(list(run))) for width, run in groupby(self.sizes)]
        return "-".join(f"{n}x{width}" if n > 2 else "-".join([str(width)] * n) for width, n in runs)

    @property
    def mflop(self):
        """Of one step: forward, dW and dX, without the first layer's dX."""
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return 2e-6 * self.batch * (3 * sum(i * o for i, o in pairs) - pairs[0][0] * pairs[0][1])

    def weights(self, seed=0):
        """[(weight (in, out), bias (out,)), ...], float32, U(+-1 / sqrt(in))."""
        rng = np.random.default_rng(seed)
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return [tuple(rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(i**0.5) for shape in ((i, o), (o,)))
                for i, o in pairs]

    def batches(self, seed=1):
        """[(x, y), ...]: noise to learn by heart, so that gradients do not die out within a check."""
        rng = np.random.default_rng(seed)
        xs = [rng.standard_normal((self.batch, self.sizes[0]), np.float32) for _ in range(BATCHES)]
        if self.loss == "mse":
            return [(x, rng.standard_normal((self.batch, 1), np.float32)) for x in xs]
        return [(x, rng.integers(0, self.sizes[-1], self.batch)) for x in xs]


GRID = [
    Network("online", (16, 32, 1), 1, equal_lr=3e-4),
    Network("tiny-rl", (4, 64, 64, 2), 32),
    Network("tabular", (30, 128, 128, 2), 64),
    Network("digits", (64, 100, 10), 200),
    Network("deep", (64, *[64] * 16, 10), 64, equal_lr=1e-4),
    Network("tiny-rl-256", (17, 256, 256, 6), 256, equal_lr=1e-4),
    Network("mnist", (784, 256, 128, 10), 128, equal_lr=3e-5),
    Network("wide", (784, 1024, 1024, 10), 256, samples=12, equal_lr=3e-5),
    Network("large", (1024, 2048, 2048, 1000), 512, samples=4, equal_lr=3e-5),
]
