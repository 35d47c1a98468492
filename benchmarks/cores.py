"""Two cores: which ones, and what two register-only loops gain on them."""

import os
import threading
from contextlib import contextmanager

import machine
import timing
from native import fma_loop

LOOP_ROUNDS = 4_000_000                  # about 10 ms


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


@contextmanager
def unpinned():
    """Every core and the wall's clock, for as long as it lasts; gives the cores."""
    import cybackprop as cb

    cores = machine.unpin()
    clock, timing.clock, spent = timing.clock, timing.CLOCKS["wall"], dict(timing.spent)   # process time counts twice
    try:
        yield cores
    finally:
        cb.set_num_threads(1)
        timing.clock = clock
        timing.spent.update(spent)       # here two threads' time says nothing about one core's share
        machine.pin_again()
