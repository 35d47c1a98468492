"""cybackprop's `train.fit_many`: many networks on one data set, in C, side by side on the cores."""

from cybackprop import train
from peers import ours


class Many:
    """Several networks of one shape, each with its weights and seed."""

    def __init__(self, network, count, x, y, lr, epochs):
        self.models = [ours.model(network, network.weights(seed)) for seed in range(count)]
        self.data, self.options = (x, y), {"epochs": epochs, "batch_size": network.batch, "lr": lr}

    def run(self):
        train.fit_many(self.models, *self.data, seed=list(range(len(self.models))), **self.options)
