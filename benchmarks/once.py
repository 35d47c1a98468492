"""One full training step with Adam, called from Python on one hot batch: ours beside every peer."""

from peers import ONCE, present
from races import ONE_CALL, fastest, own
from report import table
from timing import alternate

# NOTE: thousands of steps on one batch would learn it by heart; moments of dead units would then sink into subnormal
# numbers, which cost ten times more.  A rate this small does the same arithmetic and leaves the weights alone.
TIMED_LR = 1e-9


def steps(network, modules):
    """{name: a callable that runs one step}."""
    weights, batches = network.weights(), network.batches()[:1]
    made = {name: module.Step(network, weights, batches, TIMED_LR).step for name, module in modules.items()}
    return {name: lambda step=step: step(0) for name, step in made.items()}


def measure(networks, out, share=1.0, names=ONCE, section=ONE_CALL):
    """Print the table; share scales the number of samples."""
    rows, lost = [], 0
    for network in networks:
        out.progress(f"timing {network.name}")
        got = alternate(steps(network, present(names, network)), max(3, round(network.samples * share)))
        if section == ONE_CALL:
            out.races.setdefault(network.name, {})[ONE_CALL] = got
        for name, m in got.items():
            out.measured(name, section, network.name, "us a step", m)
            if name != "ours":
                out.record(section, network.name, name, "times our eager step", m.over(got["ours"]))
        name, _, times = fastest(got)
        lost += times < 1
        rows.append([network.name, f"{network.mflop:,.{0 if network.mflop >= 10 else 3}f}",
                     *[got.get(name, "-") for name in present(names)], name, f"{times:.2f}",
                     f"{network.mflop * 1e3 / own(got).median:.1f}", got["ours"].samples])
    out.say(table(["network", "MFLOP", *present(names), "fastest peer", "its/ours", "GFLOP/s", "n"], rows))
    out.say(f"us a step: median [interquartile range] of n turns;\n"
            f"its/ours: median of the turns' ratios, above 1 ours is faster; lost: {lost}")
