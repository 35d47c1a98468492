"""`train.fit_many`: networks side by side on two cores, beside what two register-only loops gain there."""

import numpy as np
from cores import LOOP_ROUNDS, loops, two_of, unpinned
from native import FLOPS_A_ROUND
from networks import GRID, Network, Part
from peers import ours, ours_many
from report import table
from timing import alternate

import cybackprop as cb
from cybackprop import data

LR = 1e-3
FEW, EPOCHS = 8, 50                      # epochs: what training the digits takes, as in fit.py
MANY, TINY = 1000, Network("many", (4, 16, 2), 32)
TINY_ROWS = 512


def measure(out, quick):
    """Print the tables."""
    with unpinned() as cores:
        if len(cores) < 2:
            out.say("not measured: the process may use one core only")
            return
        pair = two_of(cores)
        digits(out, pair, 5 if quick else 15)
        thousand(out, pair, 3 if quick else 10)


def on(threads, f):
    def run():
        cb.set_num_threads(threads)
        f()
    return run


def digits(out, pair, samples):
    """Eight networks: one after another, and at once on one thread and on two."""
    network = next(n for n in GRID if n.name == "digits")
    out.progress(f"{FEW} networks")
    x, y = data.digits()
    singles = [ours.Loop(network, network.weights(seed), [Part(x, y, EPOCHS)], LR) for seed in range(FEW)]
    many = ours_many.Many(network, FEW, x, y, LR, EPOCHS)
    candidates = {"one after another": on(1, lambda: [single.run(0) for single in singles]),
                  "fit_many, one thread": on(1, many.run), "fit_many, two": on(2, many.run)}
    got = alternate({**candidates, "loop": loops(pair[:1]), "loops": loops(pair)}, samples)
    possible = float(np.median(2 * got["loop"].turns / got["loops"].turns))
    rows = []
    for name in candidates:
        out.measured(name, "many", "digits", "us", got[name])
        rows.append([name, f"{got[name].median / 1e3:,.1f} [{got[name].spread:.0%}]"])
    out.say(table([f"{FEW} x {network.shape} b{network.batch}, {EPOCHS} epochs", "ms"], rows))
    out.say(f"two FMA loops, on cores {pair[0]} and {pair[1]}, gain {possible:.2f} over one")
    out.record("many", "digits", "FMA loops", "gain", possible)
    # the better of two ways to use one core, so that a slow single thread cannot make two look good
    alone = np.minimum(got["one after another"].turns, got["fit_many, one thread"].turns)
    gain = float(np.median(alone / got["fit_many, two"].turns))
    out.figures["many.digits"] = gain / possible
    out.say(f"fit_many gains {gain:.2f}: {gain / possible:.2f} of that")


def thousand(out, pair, samples):
    """A thousand tiny networks on one data set: the share of two cores' peak."""
    out.progress(f"{MANY:,} networks")
    many = ours_many.Many(TINY, MANY, *TINY.rows(TINY_ROWS), LR, 1)
    got = alternate({"many": on(2, many.run), "loops": loops(pair)}, samples)
    rate = 2 * LOOP_ROUNDS * FLOPS_A_ROUND / got["loops"].median
    flops = MANY * TINY_ROWS / TINY.batch * TINY.mflop * 1e6
    out.measured("ours", "many", "thousand", "us", got["many"])
    out.say(f"{MANY:,} x {TINY.shape} b{TINY.batch} on {TINY_ROWS} shared rows, one epoch: "
            f"{got['many'].median / 1e3:,.1f} ms [{got['many'].spread:.0%}], "
            f"{flops / got['many'].median / rate:.1%} of two cores' FMA peak")
