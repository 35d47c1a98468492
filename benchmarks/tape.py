"""The price of a record: the chain y = tanh(y * x + x), driven from Python, float32."""

import numpy as np
import torch
from peers import CHAIN, present
from report import table
from timing import alternate

import cybackprop as cb

SIZES = (1, 16, 1000)
TAPE = ("ours", "torch", "ours fwd", "numpy fwd")
LINKS = 100
RECORDS = 3 * LINKS                      # mul, add, tanh; x takes a gradient, so every record hands out two or one


def measure(out, samples):
    """Print ns a record, forward and backward; NumPy has forward only.  Then the same recorded once and replayed."""
    rows, replays = [], []
    for size in SIZES:
        out.progress(f"tape {size}")
        value = np.linspace(0.1, 0.9, size, dtype=np.float32)
        replayed = {name: module.Chain(LINKS, value).run for name, module in present(CHAIN).items()}
        candidates = {"ours": ours(value), "torch": torchs(value), "ours fwd": ours_forward(value),
                      "numpy fwd": numpys(value), **replayed}
        for name in ("torch", *replayed):
            np.testing.assert_allclose(candidates["ours"](), candidates[name](), rtol=1e-4, err_msg=name)
        got = alternate(candidates, samples)
        ns = {name: m.median * 1e3 / RECORDS for name, m in got.items()}
        cells = {name: f"{ns[name]:,.{0 if ns[name] > 100 else 1}f} [{m.spread:.0%}]" for name, m in got.items()}
        out.figures[f"tape.{size}.ns"] = ns["ours"]
        out.figures[f"chain.{size}.ns"] = ns["compiled"]
        for name, m in got.items():
            out.measured(name, "tape", size, f"us a chain of {RECORDS} records", m)
            out.record("tape", size, name, "ns a record", ns[name])
        rows.append([size, *[cells[name] for name in TAPE], f"{ns['torch'] / ns['ours']:.1f}",
                     f"{ns['numpy fwd'] / ns['ours fwd']:.1f}"])
        replays.append([size, *[cells[name] for name in CHAIN]])
    out.say(table(["size", *TAPE, "torch/ours", "numpy/ours fwd"], rows))
    out.say(f"ns a record: median [interquartile range] of chains of {RECORDS}; ours and torch record, sweep and free,")
    out.say("the two called fwd run forward only\n")
    out.say(table(["size", *CHAIN], replays))
    out.say("the same chain as one program: ns an operation of the chain, forward and backward together")


def ours(value):
    x = cb.tensor(value)
    x.requires_grad = True

    def run():
        x.grad = None
        y = x
        for _ in range(LINKS):
            y = cb.tanh(y * x + x)
        y.sum().backward()
        return x.grad.numpy()
    return run


def ours_forward(value):
    x = cb.tensor(value)

    def run():
        y = x
        for _ in range(LINKS):
            y = cb.tanh(y * x + x)
    return run


def torchs(value):
    x = torch.tensor(value, requires_grad=True)

    def run():
        x.grad = None
        y = x
        for _ in range(LINKS):
            y = torch.tanh(y * x + x)
        y.sum().backward()
        return x.grad.numpy()
    return run


def numpys(value):
    y, x = np.empty_like(value), value

    def run():
        y[:] = x
        for _ in range(LINKS):
            np.multiply(y, x, out=y)
            np.add(y, x, out=y)
            np.tanh(y, out=y)
    return run
