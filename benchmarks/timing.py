"""Take turns, measure often, keep the median: what is slow for a moment is slow for everybody."""

import gc
import time
from dataclasses import dataclass, field

import numpy as np

TURN_US = 4000                           # a turn: long against a call of the clock, short against a hiccup
WARM_S = 0.03
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
    turns: np.ndarray = field(repr=False, compare=False)     # us a call in each turn

    def __str__(self):
        return f"{self.median:,.{1 if self.median < 1000 else 0}f} [{self.spread:.0%}]"

    @property
    def spread(self):
        """Interquartile range as a share of the median."""
        return (self.high - self.low) / self.median

    def per(self, n):
        """The same for one of the n things that a call does."""
        return Measured(self.median / n, self.low / n, self.high / n, self.samples, self.turns / n)

    def over(self, other):
        """How many times another one's time this is: the median over turns, which stood side by side."""
        return float(np.median(self.turns / other.turns))


def alternate(candidates, samples, turn_us=TURN_US, warm_s=WARM_S):
    """Time callables in turns.

    Parameters
    ----------
    candidates : dict of str to callable
    samples : int
        Turns of each.
    turn_us, warm_s : float
        How long a turn takes, and the warm-up of each candidate before the first.

    Returns
    -------
    dict of str to Measured

    Notes
    -----
    A turn is as many calls as fit into turn_us, after one that is not counted and brings its data back into the cache.
    """
    calls = {name: max(1, round(turn_us / pace(f, warm_s))) for name, f in candidates.items()}
    times = {name: [] for name in candidates}
    gc.collect()
    gc.disable()                         # as timeit does: no candidate pays for another one's garbage
    before = {name: now() for name, now in CLOCKS.items()}
    try:
        for _ in range(samples):
            for name, f in candidates.items():
                if calls[name] > 1:
                    f()
                times[name].append(turn(f, calls[name], clock))
    finally:
        gc.enable()
        for name, now in CLOCKS.items():
            spent[name] += now() - before[name]
    return {name: Measured(*np.percentile(t, [50, 25, 75]), len(t), np.array(t)) for name, t in times.items()}


def share():
    """How much of its core the process had while it was timed; 1 on a machine of its own."""
    return spent["cpu"] / spent["wall"] if spent["wall"] else 1.0


def turn(f, calls, now):
    """us a call."""
    start = now()
    for _ in range(calls):
        f()
    return (now() - start) * 1e6 / calls


def pace(f, warm_s):
    """us a call, roughly, after a warm-up; by the wall, since the other clock may stand still during one call."""
    f()
    end, best = time.perf_counter() + warm_s, float("inf")
    while time.perf_counter() < end:
        best = min(best, turn(f, 1, time.perf_counter))
    return best if best < float("inf") else turn(f, 1, time.perf_counter)
