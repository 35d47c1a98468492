"""cybackprop, one eager step, as README writes it."""

import cybackprop as cb
from cybackprop import nn, optim

NAME = f"cybackprop {cb.__version__}, eager"
cb.set_num_threads(1)


class Step:
    def __init__(self, network, weights, batches, lr):
        pairs = list(zip(network.sizes[:-1], network.sizes[1:], strict=True))
        self.model = nn.Sequential(*[nn.Dense(i, o, activation=network.activation) for i, o in pairs[:-1]],
                                   nn.Dense(*pairs[-1]))
        for layer, (weight, bias) in zip(self.model.layers, weights, strict=True):
            layer.weight.assign(weight)
            layer.bias.assign(bias)
        self.loss = nn.mse if network.loss == "mse" else nn.cross_entropy
        self.opt = optim.Adam(self.model.parameters(), lr=lr)
        self.batches = [(cb.tensor(x), cb.tensor(y)) for x, y in batches]

    def step(self, i):
        x, y = self.batches[i]
        loss = self.loss(self.model(x), y)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss
