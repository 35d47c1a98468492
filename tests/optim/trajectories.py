"""The update rules in plain NumPy, one function each, from the papers and torch's documentation.

rule(w, g, s, t, o) returns the new w; s is the state (a dict, empty at first), t counts from 1, o holds the options.
Imports nothing of ours.
"""

import numpy as np


def coupled(w, g, o):
    return g + o["weight_decay"] * w


def sgd(w, g, s, t, o):
    g = coupled(w, g, o)
    if o["momentum"]:
        s["buf"] = g if t == 1 else o["momentum"] * s["buf"] + (1 - o["dampening"]) * g
        g = g + o["momentum"] * s["buf"] if o["nesterov"] else s["buf"]
    return w - o["lr"] * g


def rmsprop(w, g, s, t, o):
    g = coupled(w, g, o)
    s["v"] = o["alpha"] * s.get("v", 0) + (1 - o["alpha"]) * g * g
    v = s["v"]
    if o["centered"]:
        s["mean"] = o["alpha"] * s.get("mean", 0) + (1 - o["alpha"]) * g
        v = v - s["mean"] ** 2
    step = g / (np.sqrt(v) + o["eps"])
    if o["momentum"]:
        step = s["buf"] = o["momentum"] * s.get("buf", 0) + step
    return w - o["lr"] * step


def adagrad(w, g, s, t, o):
    g = coupled(w, g, o)
    s["sum"] = s.get("sum", o["initial_accumulator"]) + g * g
    return w - o["lr"] / (1 + (t - 1) * o["lr_decay"]) * g / (np.sqrt(s["sum"]) + o["eps"])


def adam(w, g, s, t, o):
    return adam_step(w, coupled(w, g, o), s, t, o)


def adamw(w, g, s, t, o):
    return adam_step(w * (1 - o["lr"] * o["weight_decay"]), g, s, t, o)


def adam_step(w, g, s, t, o):
    b1, b2 = o["betas"]
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    s["max"] = np.maximum(s.get("max", 0), s["v"])
    v = s["max"] if o["amsgrad"] else s["v"]
    return w - o["lr"] * (s["m"] / (1 - b1 ** t)) / (np.sqrt(v / (1 - b2 ** t)) + o["eps"])


# torch's defaults, where lr is not required; decay_bias is ours
DEFAULTS = {
    "SGD": (sgd, {"momentum": 0, "dampening": 0, "nesterov": False, "weight_decay": 0}),
    "RMSprop": (rmsprop, {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0, "centered": False, "weight_decay": 0}),
    "Adagrad": (adagrad, {"lr": 1e-2, "lr_decay": 0, "initial_accumulator": 0, "eps": 1e-10, "weight_decay": 0}),
    "Adam": (adam, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}),
    "AdamW": (adamw, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "amsgrad": False}),
}


class Run:
    """What an optimizer of that name does to parameters (a list of arrays), step by step."""

    def __init__(self, name, params, **options):
        self.rule, defaults = DEFAULTS[name]
        self.options = {**defaults, "decay_bias": False, **options}
        self.w = [np.array(p, dtype=np.float64) for p in params]
        self.state, self.t = [{} for _ in params], [0] * len(params)

    def step(self, gradients, **changed):
        """One step; None in the place of a gradient leaves its parameter alone."""
        self.options.update(changed)
        for i, g in enumerate(gradients):
            if g is not None:
                self.t[i] += 1
                o = dict(self.options)
                if self.w[i].ndim < 2 and not o["decay_bias"]:
                    o["weight_decay"] = 0
                self.w[i] = self.rule(self.w[i], np.asarray(g, dtype=np.float64), self.state[i], self.t[i], o)
        return self.w
