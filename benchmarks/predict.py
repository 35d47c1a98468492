"""One row through a network, from Python: NumPy array in, NumPy array out."""

import numpy as np
from networks import Network
from peers import PREDICT, present
from races import own
from report import table
from timing import alternate

NETWORKS = [Network("small", (4, 64, 64, 2), 1), Network("mnist", (784, 256, 128, 10), 1)]


def measure(out, share=1.0):
    """Print the table; returns whether all predict the same."""
    rows, fine = [], True
    for network in NETWORKS:
        out.progress(f"predict {network.shape}")
        row, weights = network.batches()[0][0], network.weights()
        made = {name: module.Predict(network, weights).predict for name, module in present(PREDICT).items()}
        answers = {name: predict(row) for name, predict in made.items()}
        wrong = [name for name, y in answers.items()
                 if y.shape != (1, network.sizes[-1]) or not np.allclose(y, answers["numpy"], rtol=1e-4, atol=1e-5)]
        if wrong:
            out.say(f"{network.shape}: DIFFERENT outputs from {', '.join(wrong)}")
            fine = False
            continue
        got = alternate({name: lambda f=predict, row=row: f(row) for name, predict in made.items()},
                        max(5, round(30 * share)))
        for name, m in got.items():
            out.measured(name, "predict", network.shape, "us a row", m)
        times = got["onnxruntime"].over(own(got))
        out.figures[f"predict.{network.name}.onnxruntime"] = times
        rows.append([network.shape, *got.values(), f"{times:.2f}"])
    out.say(table(["one row", *present(PREDICT), "onnxruntime/ours"], rows))
    out.say("us a row: median [interquartile range]; outputs agree to 1e-4")
    return fine
