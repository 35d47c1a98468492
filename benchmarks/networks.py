"""The training grid: one row a network; every peer, check and table reads it from here."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

BATCHES = 4          # batches that the equality check walks through in order; timing stays on the first, hot one
EQUAL_STEPS = 100    # of that check


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
    residual: bool = False
    dtype: str = "float32"

    @property
    def plan(self):
        """[(activation or None, whether the input of the layer before is added), ...], one a layer.

        A residual network has blocks x + W2 f(W1 x + b1) + b2 of two layers, and a last layer by itself.
        """
        hidden = len(self.sizes) - 2
        if self.residual:
            return [(None, True) if k % 2 else (self.activation, False) for k in range(hidden)] + [(None, False)]
        return [(self.activation, False)] * hidden + [(None, False)]

    def walk(self, x, layer):
        """The network of x; ``layer(k, h, activation)`` is its k-th dense layer of h."""
        before, h = None, x
        for k, (activation, skip) in enumerate(self.plan):
            z = layer(k, h, activation)
            before, h = h, z + before if skip else z
        return h

    @property
    def loss(self):
        """One output is regression, more are classes."""
        return "mse" if self.sizes[-1] == 1 else "cross_entropy"

    @property
    def shape(self):
        """Like 64-100-10; repeated widths as 3x64, blocks as 4x[64-64]."""
        if self.residual:
            _, *hidden, last = self.sizes
            return f"{self.sizes[0]}-{len(hidden) // 2}x[{hidden[0]}-{hidden[1]}]-{last}"
        runs = [(width, len(list(run))) for width, run in groupby(self.sizes)]
        return "-".join(f"{n}x{width}" if n > 2 else "-".join([str(width)] * n) for width, n in runs)

    @property
    def mflop(self):
        """Of one step: forward, dW and dX, without the first layer's dX."""
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return 2e-6 * self.batch * (3 * sum(i * o for i, o in pairs) - pairs[0][0] * pairs[0][1])

    def weights(self, seed=0):
        """[(weight (in, out), bias (out,)), ...], U(+-1 / sqrt(in)); the same float32 numbers in both dtypes."""
        rng = np.random.default_rng(seed)
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return [tuple((rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(i**0.5)).astype(self.dtype)
                      for shape in ((i, o), (o,))) for i, o in pairs]

    def rows(self, n, seed=1):
        """x (n, in) and y of n rows: noise to learn by heart, so that gradients do not die out within a check."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, self.sizes[0]), np.float32).astype(self.dtype, copy=False)
        if self.loss == "mse":
            return x, rng.standard_normal((n, 1), np.float32).astype(self.dtype, copy=False)
        return x, rng.integers(0, self.sizes[-1], n)

    def batches(self):
        """[(x, y), ...] of a batch each."""
        return [self.rows(self.batch, seed=1 + i) for i in range(BATCHES)]


@dataclass(frozen=True)
class Part:
    """Rows that one call of a loop goes through: whole batches in order, so many times."""

    x: np.ndarray
    y: np.ndarray
    passes: int = 1

    def tiled(self, room):
        """The same steps over copies of the rows, as many as divide the passes and fit into so many bytes."""
        copies = max(n for n in range(1, self.passes + 1)
                     if self.passes % n == 0 and (n == 1 or n * self.x.nbytes <= room))
        if copies == 1:
            return self
        return Part(np.concatenate([self.x] * copies), np.concatenate([self.y] * copies), self.passes // copies)


GRID = [
    Network("online", (16, 32, 1), 1, equal_lr=3e-4),
    Network("tiny-rl", (4, 64, 64, 2), 32),
    Network("tabular", (30, 128, 128, 2), 64),
    Network("digits", (64, 100, 10), 200),
    Network("deep", (64, *[64] * 16, 10), 64, equal_lr=1e-4),
    Network("residual", (64, *[64] * 8, 10), 64, equal_lr=1e-4, residual=True),
    Network("tiny-rl-256", (17, 256, 256, 6), 256, equal_lr=1e-4),
    Network("mnist", (784, 256, 128, 10), 128, equal_lr=3e-5),
    Network("wide", (784, 1024, 1024, 10), 256, samples=12, equal_lr=3e-5),
    Network("large", (1024, 2048, 2048, 1000), 512, samples=3, equal_lr=3e-5),
]
FULL_BATCH = Network("full batch", (4, 32, 16, 4), 10_000, activation="tanh")
