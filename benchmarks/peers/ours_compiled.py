"""cybackprop with `cb.compile`: a step, a model or a gradient recorded once and replayed in C."""

import cybackprop as cb
from peers import ours

COMPILES = True
NAME = f"cybackprop {cb.__version__}, cb.compile"


class Step:
    def __init__(self, network, weights, batches, lr):
        eager = ours.Step(network, weights, batches, lr)
        self.program, self.batches = cb.compile(eager.train), eager.batches

    def step(self, i):
        return self.program(*self.batches[i])


class Predict:
    def __init__(self, network, weights):
        model = ours.model(network, weights)
        model.eval()
        with cb.no_grad():
            self.program = cb.compile(model)

    def predict(self, row):
        with cb.no_grad():
            return self.program(row).numpy()


class Chain:
    def __init__(self, links, value):
        def chain(x):
            y = x
            for _ in range(links):
                y = cb.tanh(y * x + x)
            return y.sum()
        self.program, self.value = cb.compile(cb.grad(chain)), cb.tensor(value)

    def run(self):
        return self.program(self.value).numpy()
