"""y = act(x w + b) and its backward through `cybackprop.kernels`, beside the same arithmetic in torch and NumPy.

The peers run it as operations with `out`, without their tapes: torch's addmm, its activation and its slope, two
products and a sum; NumPy's likewise, with no gelu of its own.
"""

import statistics

import numpy as np
import torch
from native import PEAK_FLOPS, peak
from networks import GRID
from report import table
from timing import alternate

from cybackprop import kernels

ACTIVATIONS = ("relu", "tanh", "gelu")
WIDTHS, BATCHES = (16, 64, 128, 256, 512, 1024), (1, 32, 128, 512)
PROMISED_TO = 512
TURN_US, WARM_S = 1000, 0.004
aten = torch.ops.aten


class Layer:
    """One layer with random data and every peer's room for results."""

    def __init__(self, B, i, o, act):
        rng = np.random.default_rng(0)
        self.act, shapes = act, ((B, i), (o,), (B, o), (i, o))
        self.x, self.b, self.g, self.w = (rng.standard_normal(shape, np.float32) for shape in shapes)
        self.w /= np.float32(i**0.5)
        shapes = {"z": (B, o), "y": (B, o), "gz": (B, o), "dx": (B, i), "dw": (i, o), "db": (o,)}
        self.ours, self.numpy, theirs = ({k: np.zeros(s, np.float32) for k, s in shapes.items()} for _ in range(3))
        self.on = np.empty((B, o), bool)
        self.theirs = {k: torch.from_numpy(v) for k, v in theirs.items()}
        self.tx, self.tb, self.tg, self.tw = (torch.from_numpy(v) for v in (self.x, self.b, self.g, self.w))
        self.kept = None

    def forward(self):
        _, self.kept = kernels.dense_forward(self.x, self.w, self.b, activation=self.act, out=self.ours["y"])

    def backward(self):
        r = self.ours
        kernels.dense_backward(self.x, self.w, self.kept, self.g, activation=self.act, out=(r["dx"], r["dw"], r["db"]))

    def torch_forward(self):
        r = self.theirs
        torch.addmm(self.tb, self.tx, self.tw, out=r["z"])
        if self.act == "relu":
            torch.clamp_min(r["z"], 0, out=r["y"])
        elif self.act == "tanh":
            torch.tanh(r["z"], out=r["y"])
        else:
            torch._C._nn.gelu(r["z"], out=r["y"])

    def torch_backward(self):
        r = self.theirs
        if self.act == "relu":
            aten.threshold_backward.grad_input(self.tg, r["y"], 0, grad_input=r["gz"])
        elif self.act == "tanh":
            aten.tanh_backward.grad_input(self.tg, r["y"], grad_input=r["gz"])
        else:
            aten.gelu_backward.grad_input(self.tg, r["z"], grad_input=r["gz"])
        torch.mm(r["gz"], self.tw.t(), out=r["dx"])
        torch.mm(self.tx.t(), r["gz"], out=r["dw"])
        torch.sum(r["gz"], 0, out=r["db"])

    def numpy_forward(self):
        r = self.numpy
        np.matmul(self.x, self.w, out=r["y"])
        np.add(r["y"], self.b, out=r["y"])
        np.maximum(r["y"], 0, out=r["y"]) if self.act == "relu" else np.tanh(r["y"], out=r["y"])

    def numpy_backward(self):
        r = self.numpy
        if self.act == "relu":
            np.greater(r["y"], 0, out=self.on)
            np.multiply(self.g, self.on, out=r["gz"])
        else:
            np.multiply(r["y"], r["y"], out=r["gz"])
            np.subtract(1, r["gz"], out=r["gz"])
            np.multiply(r["gz"], self.g, out=r["gz"])
        np.matmul(r["gz"], self.w.T, out=r["dx"])
        np.matmul(self.x.T, r["gz"], out=r["dw"])
        np.sum(r["gz"], axis=0, out=r["db"])

    def calls(self):
        """{(peer, direction): callable}."""
        every = {("ours", "fwd"): self.forward, ("torch", "fwd"): self.torch_forward,
                 ("ours", "bwd"): self.backward, ("torch", "bwd"): self.torch_backward}
        if self.act != "gelu":
            every |= {("numpy", "fwd"): self.numpy_forward, ("numpy", "bwd"): self.numpy_backward}
        return every

    def agrees(self):
        """Whether all get the same results."""
        for f in self.calls().values():
            f()
        others = [{k: v.numpy() for k, v in self.theirs.items()}] + ([self.numpy] if self.act != "gelu" else [])
        return all(np.abs(self.ours[k] - other[k]).max() <= 2e-4 * max(1, np.abs(other[k]).max())
                   for other in others for k in ("y", "dx", "dw", "db"))


def shapes(quick):
    """(B, in, out, act): squares, then the layers of the networks at their own batch."""
    widths, batches = ((16, 64, 256), (1, 128)) if quick else (WIDTHS, BATCHES)
    found = [(B, n, n, act) for n in widths for B in batches for act in ACTIVATIONS]
    if not quick:
        found += [(n.batch, *pair, "relu") for n in GRID for pair in zip(n.sizes[:-1], n.sizes[1:], strict=True)]
    return list(dict.fromkeys(found))


def measure(out, quick):
    """Print the table; returns whether results agree."""
    rows, promised, wrong = [], {}, []
    for shape in shapes(quick):
        name = f"{shape[1]}-{shape[2]} b{shape[0]} {shape[3]}"
        out.progress(f"dense {name}")
        layer = Layer(*shape)
        if not layer.agrees():
            wrong.append(name)
        slow = shape[0] * shape[1] * shape[2] > 1e8
        got = alternate({**layer.calls(), "peak": peak}, 7 if slow or quick else 15, TURN_US, WARM_S)
        loop = got.pop("peak")
        share = 6 * shape[0] * shape[1] * shape[2] / PEAK_FLOPS * float(np.median(loop.turns / both_ways(got, "ours")))
        ratio = {(peer, d): got[peer, d].over(got["ours", d]) for peer, d in got if peer != "ours"}
        both = {peer: float(np.median(both_ways(got, peer) / both_ways(got, "ours")))
                for peer in ("numpy", "torch") if (peer, "fwd") in got}
        for (peer, d), m in got.items():
            out.measured(peer, "dense", f"{name} {d}", "us", m)
        for peer, value in both.items():
            out.record("dense", name, peer, "times ours, both", value)
        out.record("dense", name, "ours", "share of peak, both", share)
        if max(shape[1:3]) <= PROMISED_TO:
            promised[name] = both["torch"]
        rows.append([name, *[f"{got['ours', d].median:,.1f}" for d in ("fwd", "bwd")],
                     *[f"{got['torch', d].median:,.1f}" for d in ("fwd", "bwd")],
                     *[f"{ratio[peer, d]:.2f}" if (peer, d) in ratio else "-" for peer in ("torch", "numpy")
                       for d in ("fwd", "bwd")],
                     *[f"{both[peer]:.2f}" if peer in both else "-" for peer in ("torch", "numpy")], f"{share:.0%}"])
    out.say(table(["layer", "ours fwd", "bwd", "torch fwd", "bwd", "t/o fwd", "bwd", "n/o fwd", "bwd", "t both",
                   "n both", "peak"], rows))
    low = sorted((value, name) for name, value in promised.items() if value < 1.5)
    out.say("us; t/o, n/o, t, n: the time of torch, of NumPy over ours; both: forward + backward; peak: our share\n"
            f"width to 512, torch / ours: geometric mean {statistics.geometric_mean(promised.values()):.2f}, "
            f"{len(low)} of {len(promised)} below 1.5" + (":" if low else ""))
    for value, name in low:
        out.say(f"  {value:.2f}  {name}")
    out.figures["dense.geomean"] = statistics.geometric_mean(promised.values())
    out.figures["dense.worst"] = min(promised.values())
    if wrong:
        out.say("WRONG RESULTS: " + ", ".join(wrong))
    return not wrong


def both_ways(got, peer):
    """us of forward and backward in each turn."""
    return got[peer, "fwd"].turns + got[peer, "bwd"].turns
