"""Optimizer rows: GB/s beside a plain loop that reads four and writes three such arrays, as Adam does.

Kernels run over one array, some of them several times a call, so that small ones show the kernel and not Python;
`opt.step()` of one parameter stands beside it as users call it, with torch's fused step.
"""

import numpy as np
import torch
from native import library
from peers import numpy_hand
from report import table
from timing import alternate

import cybackprop as cb
from cybackprop import optim
from cybackprop._core import engine

SIZES = {"10 kB": 2_500, "1 MB": 250_000, "30 MB": 7_500_000}
RULES = {"sgd": (optim.SGD, {"lr": 1e-9}, 3, torch.optim.SGD, {"fused": True}),
         "sgd momentum": (optim.SGD, {"lr": 1e-9, "momentum": 0.9}, 5, torch.optim.SGD, {"fused": True}),
         "rmsprop": (optim.RMSprop, {"lr": 1e-9}, 5, torch.optim.RMSprop, {"foreach": True}),
         "adagrad": (optim.Adagrad, {"lr": 1e-9}, 5, torch.optim.Adagrad, {"fused": True}),
         "adam": (optim.Adam, {"lr": 1e-9}, 7, torch.optim.Adam, {"fused": True}),
         "adamw": (optim.AdamW, {"lr": 1e-9}, 7, torch.optim.AdamW, {"fused": True})}
PLAIN = 7                                # arrays that the plain loop moves
WORN = 2000                              # steps with a seventh of the gradients zero
SMALL = 250_000                          # larger arrays repeat the first so many gradients
TURN_US, WARM_S = 2000, 0.01


def gradient(n, worn):
    """Normal numbers; a seventh of them exactly 0 where the moments are to fade."""
    g = np.random.default_rng(0).standard_normal(min(n, SMALL), np.float32)
    g = np.resize(g, n)
    if worn:
        g[::7] = 0
    return g


class Ours:
    """One parameter, its optimizer, and the same update as a bare call of the engine."""

    def __init__(self, cls, options, n, worn):
        # moments of dead units must have been alive: a first step with a full gradient, then the seventh is dead
        self.p = cb.Parameter(np.random.default_rng(1).standard_normal(n, np.float32))
        self.opt = cls([self.p], **options)
        self.p.grad = gradient(n, False)
        self.opt.step()
        self.p.grad = gradient(n, worn)
        self.repeats = 64 if n < 10_000 else 1
        if worn:
            self.wear(cls, options, n)
        group, count = self.opt.param_groups[0], self.opt.steps[id(self.p)]
        count.assign(1000)
        member = (self.p, count, *self.opt.moments[id(self.p)])
        self.calls = [(tuple(map(group.cell, self.opt.numbers)), False, [member] * self.repeats)]
        self.row = self.opt.row

    def wear(self, cls, options, n):
        """2,000 steps; a large parameter takes over what a smaller one of the same gradients went through."""
        if n <= SMALL:
            for _ in range(WORN):
                self.opt.step()
            return
        small = Ours(cls, options, SMALL, True)
        for mine, theirs in zip(self.opt.moments[id(self.p)], small.opt.moments[id(small.p)], strict=True):
            if mine is not None:
                mine.assign(np.resize(theirs.numpy(), n))

    def kernel(self):
        engine.update(self.row, self.calls)


def plain(n, repeats):
    """The yardstick over n elements, as often a call."""
    arrays = [np.zeros(n, np.float32) + 0.5 for _ in range(4)]
    pointers = [a.ctypes.data for a in arrays]

    def run(arrays=arrays):              # held here, or their memory would go
        library.plain_loop(repeats, n, *pointers)
    return run


def torchs(cls, options, extra, n, worn):
    p = torch.nn.Parameter(torch.from_numpy(np.random.default_rng(1).standard_normal(n, np.float32)))
    opt = cls([p], **options, **extra)
    p.grad = torch.from_numpy(gradient(n, False))
    opt.step()
    p.grad = torch.from_numpy(gradient(n, worn))
    for _ in range(WORN if worn and n <= SMALL else 0):
        opt.step()
    return opt.step


def numpys(n, worn):
    """Adam of the NumPy peer, in its chunks."""
    hand = object.__new__(numpy_hand.Step)
    flat = np.zeros((5, n), np.float32)
    flat[1] = gradient(n, False)
    hand.lr, hand.t = np.float32(1e-9), 0
    hand.chunks = [tuple(row[i:i + numpy_hand.CHUNK] for row in flat) for i in range(0, n, numpy_hand.CHUNK)]
    hand.adam()
    flat[1] = gradient(n, worn)
    for _ in range(WORN if worn and n <= SMALL else 0):
        hand.adam()
    return hand.adam


def agrees(name, shape=(25, 40)):        # two axes: vectors do not decay with us, and do with torch
    """Whether a few real steps of ours and of torch end at the same parameters."""
    cls, options, _, peer, extra = RULES[name]
    options = {**options, "lr": 1e-2}
    rng = np.random.default_rng(2)
    value, gradients = rng.standard_normal(shape, np.float32), rng.standard_normal((5, *shape), np.float32)
    mine, theirs = cb.Parameter(value), torch.nn.Parameter(torch.from_numpy(value.copy()))
    ours, torchs_ = cls([mine], **options), peer([theirs], **options, **extra)
    for g in gradients:
        mine.grad, theirs.grad = g, torch.from_numpy(g.copy())
        ours.step()
        torchs_.step()
    return np.allclose(mine.numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def line(out, name, size, worn, quick):
    """Measure a rule at a size; its row of the table."""
    cls, options, arrays, peer, extra = RULES[name]
    n, label = SIZES[size], f"{name} {size}" + (", worn" if worn else "")
    out.progress(f"optim {label}")
    ours = Ours(cls, options, n, worn)
    calls = {"kernel": ours.kernel, "plain": plain(n, ours.repeats), "step": ours.opt.step}
    if not (worn and n > SMALL):         # their large ones would take a minute to wear
        calls["torch"] = torchs(peer, options, extra, n, worn)
        if name == "adam":
            calls["numpy"] = numpys(n, worn)
    got = alternate(calls, 7 if quick or n > SMALL else 21, TURN_US, WARM_S)
    moved = {"kernel": arrays, "plain": PLAIN}
    rate = {k: 4e-3 * n * moved[k] * ours.repeats / got[k].median for k in moved}
    share = arrays / PLAIN * got["plain"].over(got["kernel"])
    for k in calls:
        if k in rate:
            out.record("optim", label, k, "GB/s", rate[k])
        else:
            out.measured(k, "optim", label, "us a step", got[k])
    return [label, f"{rate['kernel']:.1f}", f"{rate['plain']:.1f}", f"{share:.2f}",
            *[f"{got[k].median:,.1f}" if k in got else "-" for k in ("step", "torch", "numpy")],
            *[f"{got[k].over(got['step']):.2f}" if k in got else "-" for k in ("torch", "numpy")]]


def measure(out, quick):
    """Print the table; returns whether our steps are torch's."""
    names = ("sgd", "adam") if quick else tuple(RULES)
    wrong = [name for name in names if not agrees(name)]
    rows = [line(out, name, size, worn, quick) for name in names for size in SIZES for worn in (False, True)
            if not (worn and name == "sgd")]             # sgd has no moments to wear
    out.say(table(["rule", "kernel GB/s", "plain GB/s", "of plain", "step() us", "torch us", "numpy us",
                   "torch/step()", "numpy/step()"], rows))
    out.say("sizes: bytes of the parameter; traffic: every array read and every one written, Adam 28 bytes a number\n"
            f"worn: after {WORN:,} steps with a seventh of the gradients zero\n"
            "torch: fused, RMSprop foreach; numpy: in pieces that stay in L2")
    if wrong:
        out.say("WRONG RESULTS: " + ", ".join(wrong))
    return not wrong
