"""c = a b, a b^T, a^T b through `cybackprop.kernels.matmul`, beside NumPy and torch with `out`, and the FMA peak.

A layer (I, O) at batch B is three products: NN its forward (B,I) (I,O), NT its dx (B,O) (I,O)^T, TN its dw
(B,I)^T (B,O).  Sizes M, N, K are those of the product: c is (M, N), sums are over K.
"""

import statistics
import textwrap
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from native import PEAK_FLOPS, peak
from networks import GRID
from report import table
from timing import alternate

from cybackprop import kernels

LAYOUTS = ("NN", "NT", "TN")
WIDTHS = (1, 4, 10, 16, 64, 256, 784, 1024, 2048)
BATCHES = (1, 8, 32, 128, 512)
CLASSES = {"to 64": 64, "to 256": 256, "beyond": float("inf")}           # by the largest of M, N, K
TURN_US, WARM_S, BUDGET_US = 800, 0.004, 15_000
# a cell below these in its first few turns is measured again, longer; the second measurement counts
DOUBTFUL, DOUBTFUL_PEAK, AGAIN = 0.9, 0.8, 4
SHOWN = 30                               # losers with all their figures; the others by name


@dataclass
class Cell:
    """One product and what it took."""

    layout: str
    B: int
    fan_in: int
    fan_out: int
    ours: float = 0                      # us
    numpy: float = 0                     # times ours
    torch: float = 0
    peak: float = 0                      # share of it
    us_peers: tuple = ()

    @property
    def sizes(self):
        B, i, o = self.B, self.fan_in, self.fan_out
        return {"NN": (B, o, i), "NT": (B, i, o), "TN": (i, o, B)}[self.layout]

    @property
    def flops(self):
        return 2 * self.B * self.fan_in * self.fan_out

    @property
    def ratio(self):
        """Of the better peer."""
        return min(self.numpy, self.torch)

    @property
    def size_class(self):
        return next(name for name, most in CLASSES.items() if max(self.sizes) <= most)

    @property
    def large(self):
        """From 256 x 256 x 256 up: bound by arithmetic."""
        return min(self.sizes) >= 256

    @property
    def excepted(self):
        """A few dot products: memory alone decides."""
        M, N, K = self.sizes
        return N == 1 and M <= 8 and K >= 1024

    def __str__(self):
        return f"{self.layout} {'x'.join(map(str, self.sizes))}"


def cells(quick):
    """Every product of the table once."""
    layers = {pair for network in GRID for pair in zip(network.sizes[:-1], network.sizes[1:], strict=True)}
    pairs, batches = layers | set(product(WIDTHS, WIDTHS)), BATCHES
    if quick:
        pairs, batches = set(product((1, 10, 64, 256, 784), (10, 64, 256))), (1, 32, 256)
    every = {(B, *pair) for pair in pairs for B in batches}
    if not quick:
        every |= {(n.batch, *pair) for n in GRID for pair in zip(n.sizes[:-1], n.sizes[1:], strict=True)}
    by_size = sorted(every, key=lambda shape: (np.prod(shape), shape))
    return [Cell(layout, *shape) for shape in by_size for layout in LAYOUTS]


def candidates(cell):
    """The callables of a cell, after a look at what they compute."""
    rng = np.random.default_rng(0)
    B, i, o = cell.B, cell.fan_in, cell.fan_out
    a, b = {"NN": ((B, i), (i, o)), "NT": ((B, o), (i, o)), "TN": ((B, i), (B, o))}[cell.layout]
    a, b = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in (a, b))
    turned = {"NN": (a, b), "NT": (a, b.T), "TN": (a.T, b)}[cell.layout]
    outs = [np.empty(cell.sizes[:2], np.float32) for _ in range(3)]
    ta, tb = (torch.from_numpy(x) for x in (a, b))
    calls = {"ours": partial(kernels.matmul, a, b, layout=cell.layout, out=outs[0]),
             "numpy": partial(np.matmul, *turned, out=outs[1]),
             "torch": partial(torch.mm, ta.t() if cell.layout == "TN" else ta, tb.t() if cell.layout == "NT" else tb,
                              out=torch.from_numpy(outs[2]))}
    for f in calls.values():
        f()
    bound = 4e-7 * cell.sizes[2] + 1e-6
    return calls, max(float(np.abs(outs[0] - other).max()) for other in outs[1:]) <= bound


def time_cell(cell, turns):
    """Fill the cell; False if results differ."""
    calls, agrees = candidates(cell)
    guess = cell.flops / 5e4                             # us, at 50 GFLOP/s
    samples = int(min(turns, max(turns / 3, BUDGET_US / max(TURN_US, guess)))) | 1
    got = alternate({**calls, "peak": peak}, samples, TURN_US, WARM_S)
    cell.ours = got["ours"].median
    cell.numpy, cell.torch = (got[name].over(got["ours"]) for name in ("numpy", "torch"))
    cell.us_peers = got["numpy"].median, got["torch"].median
    cell.peak = cell.flops / PEAK_FLOPS * got["peak"].over(got["ours"])
    return agrees


def measure(out, quick):
    """Measure all cells and print the summary; returns whether all results agree."""
    every, turns, again, wrong = cells(quick), 9 if quick else 15, [], []
    for i, cell in enumerate(every):
        out.progress(f"gemm {i + 1} of {len(every)}: {cell}")
        if not time_cell(cell, turns):
            wrong.append(cell)
        if cell.ratio < DOUBTFUL or (cell.large and cell.peak < DOUBTFUL_PEAK):
            again.append(cell)
    for i, cell in enumerate(again):
        out.progress(f"gemm again, {i + 1} of {len(again)}: {cell}")
        time_cell(cell, AGAIN * turns)
    for cell in every:
        for name, figure, value in (
                ("ours", "us", cell.ours), ("numpy", "us", cell.us_peers[0]), ("torch", "us", cell.us_peers[1]),
                ("numpy", "times ours", cell.numpy), ("torch", "times ours", cell.torch),
                ("ours", "share of peak", cell.peak)):
            out.record("gemm", f"{cell} (B{cell.B} I{cell.fan_in} O{cell.fan_out})", name, figure, value)
    summary(out, every)
    networks(out, every)
    worst(out, every)
    out.say(f"{len(every)} products; {len(again)} were below {DOUBTFUL} of the better peer or {DOUBTFUL_PEAK:.0%} of"
            f" the peak and\nwere measured again, {AGAIN} times as long: that counts")
    if wrong:
        out.say("WRONG RESULTS: " + ", ".join(map(str, wrong)))
    return not wrong


def geomean(values):
    return statistics.geometric_mean(values)


def summary(out, every):
    """Geometric means by size, shares of the peak."""
    rows = []
    for (name, most), layout in product(CLASSES.items(), (*LAYOUTS, "all")):
        group = [c for c in every if c.size_class == name and layout in (c.layout, "all")]
        if not group:
            continue
        low = min(group, key=lambda c: c.ratio)
        rows.append([f"{name} {layout}", len(group), f"{geomean([c.ratio for c in group]):.2f}",
                     f"{geomean([c.numpy for c in group]):.2f}", f"{geomean([c.torch for c in group]):.2f}",
                     sum(c.ratio < 1 for c in group), sum(c.ratio < 0.85 and not c.excepted for c in group),
                     f"{low.ratio:.2f}", str(low)])
        if layout == "all":
            out.figures[f"gemm.{most if name != 'beyond' else 'beyond'}"] = geomean([c.ratio for c in group])
    out.say(table(["largest size", "cells", "better peer", "numpy", "torch", "< 1", "< .85", "worst", "which"], rows))
    out.say("better peer, numpy, torch: its time over ours, geometric mean")
    rows = []
    for layout in LAYOUTS:
        group = sorted((c for c in every if c.large and c.layout == layout), key=lambda c: c.peak)
        if group:
            rows.append([layout, len(group), *[f"{group[i].peak:.0%} {'x'.join(map(str, group[i].sizes))}"
                                               for i in (0, len(group) // 2, -1)],
                         sum(c.peak < 0.75 for c in group), sum(c.peak < 0.85 for c in group)])
    if rows:
        out.say("\n" + table(["share of peak from 256x256x256", "cells", "lowest", "median", "highest", "< 75 %",
                              "< 85 %"], rows))
        out.figures["gemm.peak"] = min(c.peak for c in every if c.large)
        rate = statistics.median(c.flops / c.ours / c.peak for c in every if c.large) / 1e3
        out.say(f"the register-only loop beside them: {rate:.0f} GFLOP/s")
    out.figures["gemm.worst"] = min(c.ratio for c in every if not c.excepted)


def networks(out, every):
    """The layers of the training grid at their own batch."""
    at, rows, seen = {(c.layout, c.B, c.fan_in, c.fan_out): c for c in every}, [], set()
    for network in GRID:
        for i, o in zip(network.sizes[:-1], network.sizes[1:], strict=True):
            found = [at.get((layout, network.batch, i, o)) for layout in LAYOUTS]
            if None in found or (network.batch, i, o) in seen:
                continue
            seen.add((network.batch, i, o))
            rows.append([f"{network.name} {i}-{o} b{network.batch}",
                         *[f"{c.ours:,.1f} {c.flops / c.ours / 1e3:4.0f} {c.peak:4.0%} {c.numpy:5.2f} {c.torch:5.2f}"
                           for c in found]])
    if rows:
        out.say("\n" + table(["layer", *LAYOUTS], rows))
        out.say("each: us, GFLOP/s, share of the FMA peak, numpy / ours, torch / ours")


def worst(out, every):
    """Cells that miss, and those that may."""
    def row(c):
        return [str(c), f"{c.ours:,.1f}", *[f"{us:,.1f}" for us in c.us_peers], f"{c.numpy:.2f}", f"{c.torch:.2f}",
                f"{c.peak:.0%}"]
    head = ["M x N x K", "ours", "numpy", "torch", "numpy/ours", "torch/ours", "of peak"]
    below = sorted((c for c in every if c.ratio < 0.85 and not c.excepted), key=lambda c: c.ratio)
    if below:
        out.say(f"\n{len(below)} below 0.85 of the better peer")
        out.say(table(head, [row(c) for c in below[:SHOWN]]))
    if below[SHOWN:]:
        out.say("and " + textwrap.fill(", ".join(f"{c} {c.ratio:.2f}".replace(" ", "\0") for c in below[SHOWN:]),
                                       116).replace("\0", " "))
    excepted = sorted((c for c in every if c.excepted), key=lambda c: c.ratio)
    if excepted:
        out.say("\nexcepted: n = 1, m <= 8, k >= 1024")
        out.say(table(head, [row(c) for c in excepted]))
    out.say()
