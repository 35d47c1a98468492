"""The loop inside: our fit beside JAX's scan and scikit-learn's fit, on one hot batch and on rows from memory."""

import itertools

from networks import Part
from once import TIMED_LR
from peers import LOOP, present
from races import LOOPS, fastest
from report import table
from timing import alternate

HOT_BYTES = 2 << 20                      # about a core's L2
EPOCH_BYTES = 64 << 20                   # of X; more than the caches of most machines
RUN_US, LONGEST = 20_000, 1000           # a run of a loop, about, and its most steps


def length(network, share=1.0):
    """Steps of one run: about 20 ms at 60 GFLOP/s, so that what a run costs once is spread over many."""
    steps = min(LONGEST, max(2, round(RUN_US * share / (20 + network.mflop / 0.06))))
    return steps // 8 * 8 or steps       # divisible, for Part.tiled


def hot(network, steps):
    """One batch, again and again."""
    return [Part(*network.batches()[0], passes=steps)]


def epoch(network, steps):
    """64 MB of rows in parts of one run each; by the time a part's turn comes again, the others have passed."""
    rows = network.batch * steps
    parts = max(len(LOOP), round(EPOCH_BYTES / (rows * network.sizes[0] * 4)))
    x, y = network.rows(rows * parts)
    return [Part(x[i:i + rows], y[i:i + rows]) for i in range(0, len(x), rows)]


def runs(network, parts, modules):
    """{name: a callable that runs the loop over its next part}; none reads what another has just read."""
    callables = {}
    for k, (name, module) in enumerate(modules.items()):
        own = [part.tiled(HOT_BYTES) for part in parts] if getattr(module, "TILED", False) else parts
        loop = module.Loop(network, network.weights(), own, TIMED_LR)
        turns = itertools.cycle([*range(k * len(parts) // len(modules), len(parts)),
                                 *range(k * len(parts) // len(modules))])
        callables[name] = lambda loop=loop, turns=turns: loop.run(next(turns))
    return callables


def measure(networks, out, share=1.0):
    """Print both tables; share scales the number of samples and the length of a run."""
    for which, what, parts in ((LOOPS[0], "one hot batch", hot), (LOOPS[1], "64 MB of rows, in runs", epoch)):
        rows = []
        for network in networks:
            out.progress(f"timing loops over {what}: {network.name}")
            modules, steps = present(LOOP, network), length(network, share)
            got = alternate(runs(network, parts(network, steps), modules),
                            max(3, round(min(network.samples, 10) * share)))
            got = {name: m.per(steps) for name, m in got.items()}
            out.races.setdefault(network.name, {})[which] = got
            for name, m in got.items():
                out.measured(name, f"loop {which}", network.name, "us a step", m)
            name, _, times = fastest(got)
            rows.append([network.name, steps, *[got.get(name, "-") for name in LOOP], name, f"{times:.2f}",
                         got["ours fit"].samples])
        out.say(f"\n{what}:")
        out.say(table(["network", "steps a run", *LOOP, "fastest peer", "its/ours", "n"], rows))
    out.say("us a step: median [interquartile range] of n runs; scan and scikit-learn take rows in order")
