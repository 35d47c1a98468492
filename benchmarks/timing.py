"""Take turns, measure often, keep the median: what is slow for a moment is slow for everybody."""

import gc
import time
from dataclasses import dataclass

import numpy as np

TURN_US = 4000                           # a turn: long against a call of the clock, short against a hiccup
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]
spent = dict.fromkeys(CLOCKS, 0.0)      # seconds in turns so far, by both clocks


@dataclass(frozen=True)
class Measured:
    """Median and quartiles of a candidate, in us a call."""

    median: float
    low: float
    high: float
    samples: int

    def __str__(self):
        return f"{self.median:,.{1 if self.median < 1000 else 0}f} [{self.spread:.0%}]"

    @property
    def spread(self):
        """Interquartile range as a share of the median."""
        return (self.high - self.low) / self.median


def alternate(candidates, samples):
    """Time callables in turns.

    Parameters
    ----------
    candidates : dict of str to callable
    samples : int
        Turns of each.

    Returns
    -------
    dict of str to Measured

    Notes
    -----
    A turn is as many calls as fit into 4 ms, after one that is not counted and brings its data back into the cache.
    """
    calls = {name: max(1, round(TURN_US / pace(f))) for name, f in candidates.items()}
    times = {name: [] for name in candidates}
    gc.collect()
    gc.disable()                         # as timeit does: no candidate pays for another one's garbage
    before = {name: now() for name, now in CLOCKS.items()}
    try:
        for _ in range(samples):
            for name, f in candidates.items():
                if calls[name] > 1:
                    f()
                times[name].append(turn(f, calls[name]))
    finally:
        gc.enable()
        for name, now in CLOCKS.items():
            spent[name] += now() - before[name]
    return {name: Measured(*np.percentile(t, [50, 25, 75]), len(t)) for name, t in times.items()}


def share():
    """How much of its core the process had while it was timed; 1 on a machine of its own."""
    return spent["cpu"] / spent["wall"] if spent["wall"] else 1.0


def turn(f, calls):
    """us a call."""
    start = clock()
    for _ in range(calls):
        f()
    return (clock() - start) * 1e6 / calls


def pace(f):
    """us a call, roughly, after a warm-up of 30 ms."""
    f()
    end, best = time.perf_counter() + 0.03, float("inf")
    while time.perf_counter() < end:
        best = min(best, turn(f, 1))
    return best if best < float("inf") else turn(f, 1)
