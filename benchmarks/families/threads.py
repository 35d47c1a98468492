"""Full training steps on one thread and on two, in turns, beside what two FMA loops gain on two cores.

Not pinned: the system places our threads.  The two loops of the yardstick are, one to a core, and share nothing, so
their gain is what this machine gives today; it is measured in the same turns.
"""

import numpy as np
from cores import loops, two_of, unpinned
from networks import GRID
from once import TIMED_LR
from peers import ours
from report import table
from timing import alternate

import cybackprop as cb

ALTERNATIONS = 30
PROMISED = ("mnist", "wide", "large")


def steps(network):
    """{"one": ..., "two": ...}: the same model's step on one thread and on two."""
    step = ours.Step(network, network.weights(), network.batches()[:1], TIMED_LR).step

    def on(threads):
        cb.set_num_threads(threads)
        step(0)
    return {"one": lambda: on(1), "two": lambda: on(2)}


def measure(out, quick):
    """Print the table; True, since nothing here can be wrong."""
    with unpinned() as cores:
        if len(cores) < 2:
            out.say("not measured: the process may use one core only")
        else:
            both(out, quick, two_of(cores))
    return True


def both(out, quick, pair):
    rows, slower, alternations = [], {}, 10 if quick else ALTERNATIONS
    for network in GRID:
        if quick and network.mflop > 10_000:
            continue
        out.progress(f"threads {network.name}")
        got = alternate({**steps(network), "loop": loops(pair[:1]), "loops": loops(pair)}, alternations)
        gain = got["one"].over(got["two"])
        possible = float(np.median(2 * got["loop"].turns / got["loops"].turns))
        slower[network.name] = gain
        if network.name in PROMISED:
            out.figures[f"threads.{network.name}"] = gain / possible
        for name in ("one", "two"):
            out.measured(name, "threads", network.name, "us a step", got[name])
        out.record("threads", network.name, "ours", "gain", gain)
        out.record("threads", network.name, "FMA loops", "gain", possible)
        rows.append([f"{network.name} {network.shape} b{network.batch}", got["one"], got["two"], f"{gain:.2f}",
                     f"{possible:.2f}", f"{gain / possible:.2f}"])
    out.say(table(["network", "one thread, us", "two threads, us", "gain", "two FMA loops", "share"], rows))
    out.say(f"median [interquartile range] of {alternations} alternations; gain: one over two, turn by turn;\n"
            f"FMA loops: two independent register-only loops, pinned to cores {pair[0]} and {pair[1]}, over one")
    out.figures["threads.worst"] = min(slower.values())
