"""One full training step with Adam, called from Python on one hot batch: ours beside every peer."""

from report import table
from timing import alternate

# NOTE: thousands of steps on one batch would learn it by heart; moments of dead units would then sink into subnormal
# numbers, which cost ten times more.  A rate this small does the same arithmetic and leaves the weights alone.
TIMED_LR = 1e-9


def measure(networks, peers, out, share=1.0):
    """Print the grid; share scales the number of samples."""
    rows = []
    for network in networks:
        out.progress(f"timing {network.name}")
        weights, batches = network.weights(), network.batches()[:1]
        steps = {name: module.Step(network, weights, batches, TIMED_LR).step for name, module in peers.items()}
        got = alternate({name: lambda step=step: step(0) for name, step in steps.items()},
                        max(3, round(network.samples * share)))
        ratios = {name: got[name].median / got["ours"].median for name in peers if name != "ours"}
        for name, m in got.items():
            out.measured(name, "grid", network.name, "us a step", m)
        for name, ratio in ratios.items():
            out.figures[f"grid.{network.name}.{name}"] = ratio
            out.record("grid", network.name, name, "times ours", ratio)
        rows.append([network.name, f"{network.mflop:,.{0 if network.mflop >= 10 else 3}f}", *got.values(),
                     *[f"{ratio:.2f}" for ratio in ratios.values()],
                     f"{network.mflop * 1e3 / got['ours'].median:.1f}", f"{got['ours'].samples}"])
    others = [name for name in peers if name != "ours"]
    out.say(table(["network", "MFLOP", *peers, *[f"{n}/ours" for n in others], "GFLOP/s", "n"], rows))
    lost = sum(float(row[len(peers) + 2 + i]) < 1 for row in rows for i in range(len(others)))
    out.say(f"us a step: median [interquartile range] of n turns; ratio above 1: ours is faster; lost: {lost}")
