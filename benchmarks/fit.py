"""`Trainer.fit`: what an epoch adds to its steps, and scikit-learn's fit of the digits."""

import numpy as np
import timing
from networks import GRID, Network, Part
from once import TIMED_LR
from peers import ours, ours_compiled
from report import table
from sklearn.neural_network import MLPClassifier
from timing import alternate

import cybackprop as cb
from cybackprop import data, nn, optim, train

ROWS = 60_000
LONG_TURN_US = 100_000
DIGITS, EPOCHS, LR = Network("digits", (64, 100, 10), 200), 50, 1e-3


def measure(out, quick):
    """Print both comparisons; returns whether both trainings of the digits succeed."""
    epoch(out, ROWS // 6 if quick else ROWS, 3 if quick else 5)
    return digits(out, 3 if quick else 7)


def epoch(out, rows, samples):
    """One epoch beside as many steps on a hot batch."""
    network = next(n for n in GRID if n.name == "mnist")
    out.progress(f"fit: {rows:,} rows")
    x, y = network.rows(rows)
    loop = ours.Loop(network, network.weights(), [Part(x, y)], TIMED_LR)
    step = ours_compiled.Step(network, network.weights(), [(x[:network.batch], y[:network.batch])], TIMED_LR).step
    got = alternate({"fit": lambda: loop.run(0), "step": lambda: step(0)}, samples, LONG_TURN_US)
    steps = rows / network.batch
    ratio = float(np.median(got["fit"].turns / got["step"].turns)) / steps
    out.figures["fit.epoch"] = ratio
    out.measured("ours fit", "fit", "mnist", f"us an epoch of {rows} rows", got["fit"])
    out.measured("ours", "fit", "mnist", "us a step", got["step"])
    out.say(table([f"{network.shape} b{network.batch}", "rows", "one epoch, ms", "step, us", "steps x step, ms",
                   "epoch / steps"],
                  [["fit", f"{rows:,}", f"{got['fit'].median / 1e3:,.0f} [{got['fit'].spread:.0%}]", got["step"],
                    f"{got['step'].median * steps / 1e3:,.0f}", f"{ratio:.3f}"]]))
    out.say("step: cb.compile, one call a step on one hot batch\n")


def digits(out, samples):
    """50 epochs from nothing to a trained network, both with shuffled rows, so that losses agree only roughly."""
    out.progress("fit: digits")
    x, y = data.digits()
    last = {}

    def trainer():
        cb.seed(0)
        model = nn.Sequential(nn.Dense(64, 100, activation="relu"), nn.Dense(100, 10))
        run = train.Trainer(model, loss="cross_entropy", optimizer=optim.Adam(model.parameters(), lr=LR))
        last["ours fit"] = run.fit(x, y, epochs=EPOCHS, batch_size=DIGITS.batch).history["loss"][-1]

    def sklearn():
        net = MLPClassifier((100,), alpha=0.0, batch_size=DIGITS.batch, learning_rate_init=LR, max_iter=EPOCHS,
                            n_iter_no_change=EPOCHS + 1, random_state=0)
        last["sklearn fit"] = net.fit(x, y).loss_

    got = alternate({"ours fit": trainer, "sklearn fit": sklearn}, samples, timing.TURN_US)
    ratio = got["sklearn fit"].over(got["ours fit"])
    out.figures["fit.digits.sklearn"] = ratio
    for name, m in got.items():
        out.measured(name, "fit", "digits", f"us for {EPOCHS} epochs", m)
    out.say(table([f"digits {DIGITS.shape} b{DIGITS.batch}, {EPOCHS} epochs", "ms", "last loss"],
                  [[name, f"{m.median / 1e3:,.1f} [{m.spread:.0%}]", f"{last[name]:.4f}"] for name, m in got.items()]))
    out.say(f"scikit-learn / ours: {ratio:.1f}; each its own initial weights and its own order of rows")
    low, high = sorted(last.values())
    if not high < 2 * low:
        out.say("DIFFERENT: one of the two has not learned what the other has")
    return bool(high < 2 * low)
