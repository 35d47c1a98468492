"""Ten training steps of a three-layer network in plain NumPy, float64: forward, chain rule and update written out.

Shares nothing with the library: run it alone (python golden_numpy.py) to see the losses.
"""

import numpy as np

STEPS, SIZES, BATCH = 10, (6, 9, 7, 4), 16


def data():
    """Inputs and classes, one batch a step."""
    rng = np.random.default_rng(12)
    return rng.normal(size=(STEPS, BATCH, SIZES[0])), rng.integers(0, SIZES[-1], size=(STEPS, BATCH))


def weights():
    """w1, b1, w2, b2, w3, b3; a weight is (in, out)."""
    rng = np.random.default_rng(34)
    return [rng.normal(size=s) * 0.5 for i, o in zip(SIZES, SIZES[1:], strict=False) for s in ((i, o), (o,))]


def loss_and_gradients(w, x, y):
    """tanh, sigmoid, softmax; the mean negative log-likelihood of the classes y."""
    w1, b1, w2, b2, w3, b3 = w
    a1 = np.tanh(x @ w1 + b1)
    a2 = 1 / (1 + np.exp(-(a1 @ w2 + b2)))
    z3 = a2 @ w3 + b3
    p = np.exp(z3 - z3.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()

    d3 = p.copy()
    d3[rows, y] -= 1
    d3 /= len(y)
    d2 = (d3 @ w3.T) * a2 * (1 - a2)
    d1 = (d2 @ w2.T) * (1 - a1 ** 2)
    return loss, [x.T @ d1, d1.sum(0), a1.T @ d2, d2.sum(0), a2.T @ d3, d3.sum(0)]


def sgd(w, g, memory, t):
    """lr 0.1, momentum 0.9."""
    memory["buf"] = 0.9 * memory.get("buf", 0) + g
    return w - 0.1 * memory["buf"]


def adam(w, g, memory, t):
    """lr 0.01, betas 0.9 and 0.999, eps 1e-8."""
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0) + (1 - 0.999) * g ** 2
    return w - 0.01 * (memory["m"] / (1 - 0.9 ** t)) / (np.sqrt(memory["v"] / (1 - 0.999 ** t)) + 1e-8)


def run(rule):
    """Losses of the steps, and the weights after each."""
    w = weights()
    memories, losses, states = [{} for _ in w], [], []
    for t, (x, y) in enumerate(zip(*data(), strict=True), 1):
        loss, grads = loss_and_gradients(w, x, y)
        w = [rule(*args, t) for args in zip(w, grads, memories, strict=True)]
        losses.append(loss)
        states.append(w)
    return losses, states


if __name__ == "__main__":
    for rule in (sgd, adam):
        print(rule.__name__, run(rule)[0])
