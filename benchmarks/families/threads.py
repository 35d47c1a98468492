"""Full training steps on one thread and on two, in turns, beside what two FMA loops gain on two cores.

Not pinned: the system places our threads.  The two loops of the yardstick are, one to a core, and share nothing, so
their gain is what this machine gives today; it is measured in the same turns.
"""

import os
import threading

import machine
import numpy as np
import timing
from native import fma_loop
from networks import GRID
from peers import ours
from report import table
from timing import alternate

import cybackprop as cb

ALTERNATIONS = 30
PROMISED = ("mnist", "wide", "large")
LOOP_ROUNDS = 4_000_000                  # about 10 ms
TIMED_LR = 1e-9                          # as in grid.py


def two_of(cores):
    """Two cores that are not one core's two threads, where there are such."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cores[0]}/topology/thread_siblings_list", encoding="ascii") as f:
            ends = [[int(n) for n in part.split("-")] for part in f.read().strip().split(",")]
        siblings = {n for run in ends for n in range(run[0], run[-1] + 1)}
    except OSError:
        siblings = set()
    return [cores[0], next((c for c in cores[1:] if c not in siblings), cores[1])]


def loop_on(core):
    """The register-only loop on one core; the GIL is released while it runs."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})  # of the calling thread
    fma_loop(LOOP_ROUNDS)


def loops(cores):
    """A callable that runs one loop on each of the cores at once, in threads of its own."""
    def run():
        threads = [threading.Thread(target=loop_on, args=(core,)) for core in cores]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    return run


def steps(network):
    """{"one": ..., "two": ...}: the same model's step on one thread and on two."""
    step = ours.Step(network, network.weights(), network.batches()[:1], TIMED_LR).step

    def on(threads):
        cb.set_num_threads(threads)
        step(0)
    return {"one": lambda: on(1), "two": lambda: on(2)}


def measure(out, quick):
    """Print the table; True, since nothing here can be wrong."""
    cores = machine.unpin()
    clock, timing.clock, spent = timing.clock, timing.CLOCKS["wall"], dict(timing.spent)   # process time counts twice
    try:
        if len(cores) < 2:
            out.say("not measured: the process may use one core only")
            return True
        rows, slower, alternations, pair = [], {}, 10 if quick else ALTERNATIONS, two_of(cores)
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
    finally:
        cb.set_num_threads(1)
        timing.clock = clock
        timing.spent.update(spent)       # here two threads' time says nothing about one core's share
        machine.pin_again()
    return True
