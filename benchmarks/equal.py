"""Before anything is timed: equal weights, equal data in equal order, equal losses."""

import time

import numpy as np
from networks import EQUAL_STEPS, Part
from peers import LOOP, ONCE, present
from report import table

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}          # relative


def steps(networks, out, names=ONCE):
    """Train every network with every peer, a call a step; returns whether all losses agree."""
    rows = []
    for network in networks:
        out.progress(f"equal losses: {network.name}")
        batches = network.batches()
        curves = {}
        for name, module in present(names, network).items():
            peer, start = module.Step(network, network.weights(), batches, network.equal_lr), time.perf_counter()
            curve = [float(peer.step(0))]
            if hasattr(module, "COMPILES"):
                out.first_calls.setdefault(name, {})[network.name] = time.perf_counter() - start
            curves[name] = curve + [float(peer.step(i % len(batches))) for i in range(1, EQUAL_STEPS)]
        rows.append(compare(network, curves, out))
    return report(rows, names, out)


def loops(networks, out):
    """The same for the loops: passes over one batch, which have the losses of as many calls."""
    rows = []
    for network in networks:
        out.progress(f"equal losses of loops: {network.name}")
        part = Part(*network.batches()[0], passes=EQUAL_STEPS)
        step = present(ONCE)["ours"].Step(network, network.weights(), [(part.x, part.y)], network.equal_lr).step
        curves = {"ours": [float(step(0)) for _ in range(part.passes)]}
        for name, module in present(LOOP, network).items():
            peer, start = module.Loop(network, network.weights(), [part], network.equal_lr), time.perf_counter()
            curves[name] = np.asarray(peer.run(0)).tolist()
            if hasattr(module, "COMPILES"):
                out.first_calls.setdefault(name, {})[network.name] = time.perf_counter() - start
        rows.append(compare(network, curves, out))
    return report(rows, LOOP, out)


def compare(network, curves, out):
    """(network, our losses, {name: largest relative difference from them}, whether all agree)."""
    ours = np.array(curves.pop("ours"))
    worst = {name: float(np.max(np.abs(np.array(curve) - ours) / np.abs(ours))) for name, curve in curves.items()}
    for name, difference in worst.items():
        out.record("equal", network.name, name, "worst relative difference", difference)
    fine = all(difference <= TOLERANCE[network.dtype] for difference in worst.values())        # NaN is not equal
    return network, ours, worst, fine


def report(rows, names, out):
    """Print the table; whether all agree."""
    others = [name for name in names if any(name in worst for _, _, worst, _ in rows)]
    out.say(table(["network", "steps", "first loss", "last loss", *others, ""],
                  [[f"{n.name} {n.shape} b{n.batch}", len(ours), f"{ours[0]:.4f}", f"{ours[-1]:.4f}",
                    *[f"{worst[name]:.1e}" if name in worst else "-" for name in others], "equal" if fine else "DIFFER"]
                   for n, ours, worst, fine in rows]))
    out.say("largest relative difference from our eager step's losses; up to "
            + " and ".join(f"{TOLERANCE[d]:g} in {d}" for d in dict.fromkeys(n.dtype for n, *_ in rows))
            + " is equal; -: the peer has no such network")
    return all(fine for *_, fine in rows)


def first_calls(out):
    """What compiling took: seconds from the first call to its loss, apart from the steps."""
    if not out.first_calls:
        return
    names = list(dict.fromkeys(name for calls in out.first_calls.values() for name in calls))
    out.say(table(["first call, s", *names], [[who, *[f"{calls[n]:.1f}" if n in calls else "-" for n in names]]
                                              for who, calls in out.first_calls.items()]))
    for who, calls in out.first_calls.items():
        for name, seconds in calls.items():
            out.record("first call", name, who, "s", seconds)
