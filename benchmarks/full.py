"""All rows at once: 10,000 of them through a tiny network, a full training step with Adam."""

from native import PEAK_FLOPS, peak
from networks import FULL_BATCH
from once import steps
from peers import ONCE, present
from report import table
from timing import alternate


def measure(out, share=1.0):
    """Print microseconds and the share of the FMA peak."""
    network = FULL_BATCH
    out.progress(f"timing {network.name}")
    got = alternate({**steps(network, present(ONCE, network))[0], "peak": peak}, max(5, round(30 * share)))
    rate = PEAK_FLOPS / got.pop("peak").median           # flops a microsecond
    rows = []
    for name, m in got.items():
        out.measured(name, "full", network.name, "us a step", m)
        rows.append([name, m, f"{network.mflop * 1e3 / m.median:.1f}", f"{network.mflop * 1e6 / m.median / rate:.2f}"])
    out.figures["full.us"] = got["compiled"].median
    out.say(table([f"{network.shape} b{network.batch:,}", "us a step", "GFLOP/s", "share of peak"], rows))
    out.say(f"share: of the {rate / 1e3:.0f} GFLOP/s of a register-only loop in the same turns; products alone count, "
            f"{network.mflop:.1f} MFLOP, not tanh")
