"""One full training step with Adam, called from Python, on a hot batch and on rows from memory: ours and every peer."""

import itertools

import numpy as np
from native import PEAK_FLOPS, peak
from peers import ONCE, present
from races import ONE_CALL, ONE_CALL_EPOCH, fastest, own
from report import table
from timing import alternate

# NOTE: thousands of steps on one batch would learn it by heart; moments of dead units would then sink into subnormal
# numbers, which cost ten times more.  A rate this small does the same arithmetic and leaves the weights alone.
TIMED_LR = 1e-9


EPOCH_BYTES = 64 << 20                   # of X; more than the caches of most machines
MOST = 16_384                            # batches: beyond, the peers' array objects take gigabytes


def from_memory(network):
    """Batches that together are larger than the cache, their arrays' heads included."""
    n = min(MOST, max(2, EPOCH_BYTES // (network.batch * network.sizes[0] * 4)))
    x, y = network.rows(n * network.batch)
    return [(x[i:i + network.batch], y[i:i + network.batch]) for i in range(0, len(x), network.batch)]


def steps(network, modules, more=()):
    """{name: a callable that runs one step on a hot batch}, {name: one on the next of `more`}."""
    batches = [*network.batches()[:1], *more]
    made = {name: module.Step(network, network.weights(), batches, TIMED_LR).step for name, module in modules.items()}
    turns = {name: itertools.cycle(range(1, len(batches))) for name in made}
    return ({name: lambda step=step: step(0) for name, step in made.items()},
            {name: lambda step=step, turn=turns[name]: step(next(turn)) for name, step in made.items()})


def measure(networks, out, share=1.0, names=ONCE, section=ONE_CALL):
    """Print the table, of one call a step also the one on rows from memory; share scales the number of samples."""
    tables = {section: []}
    if section == ONE_CALL:
        tables[ONE_CALL_EPOCH] = []
    for network in networks:
        out.progress(f"timing {network.name}")
        runs = steps(network, present(names, network), from_memory(network) if section == ONE_CALL else ())
        for (which, rows), callables, part in zip(tables.items(), runs, (1, 0.25), strict=False):
            got = alternate({**callables, "peak": peak}, max(3, round(network.samples * share * part)))
            at_peak = network.mflop * 1e6 / PEAK_FLOPS * got.pop("peak").median * np.dtype(network.dtype).itemsize / 4
            if section == ONE_CALL:
                out.races.setdefault(network.name, {})[which] = got
                out.at_peak[network.name] = at_peak
            for name, m in got.items():
                out.measured(name, which, network.name, "us a step", m)
                if name != "ours":
                    out.record(which, network.name, name, "times our eager step", m.over(got["ours"]))
            rows.append(row_of(network, got, names, at_peak))
    for which, rows in tables.items():
        if which == ONE_CALL_EPOCH:
            out.say("\n64 MB of rows, batch after batch:")
        out.say(table(["network", "MFLOP", *present(names), "fastest peer", "its/ours", "GFLOP/s", "of peak", "n"],
                      rows))
    out.say("us a step: median [interquartile range] of n turns;\n"
            "its/ours: median of the turns' ratios, above 1 ours is faster;\n"
            "of peak: share of a register-only FMA loop in the same turns, products alone counted")


def row_of(network, got, names, at_peak):
    """One row of the table; at_peak: us of the products at the FMA peak."""
    name, _, times = fastest(got)
    return [network.name, f"{network.mflop:,.{0 if network.mflop >= 10 else 3}f}",
            *[got.get(name, "-") for name in present(names)], name, f"{times:.2f}",
            f"{network.mflop * 1e3 / own(got).median:.1f}", f"{at_peak / own(got).median:.2f}", got["ours"].samples]
