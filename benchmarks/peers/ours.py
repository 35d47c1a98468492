"""cybackprop: an eager step as README writes it, and `Trainer.fit`."""

import inspect

import cybackprop as cb
from cybackprop import nn, optim, train

NAME = f"cybackprop {cb.__version__}"
TILED = True
cb.set_num_threads(1)
# rows in the order of the other loops, where fit can be told so; else in a random one, which is more work
ORDER = {"shuffle": False} if "shuffle" in inspect.signature(train.Trainer.fit).parameters else {}


class Blocks(nn.Module):
    """Blocks of two layers, x + second(first(x)), and a last layer."""

    def __init__(self, layers):
        self.layers = layers

    def forward(self, x):
        *hidden, last = self.layers
        for first, second in zip(hidden[::2], hidden[1::2], strict=True):
            x = x + second(first(x))
        return last(x)


def model(network, weights):
    """The network with these weights."""
    layers = [nn.Dense(*weight.shape, activation=activation, dtype=network.dtype)
              for (weight, _), (activation, _) in zip(weights, network.plan, strict=True)]
    for layer, (weight, bias) in zip(layers, weights, strict=True):
        layer.weight.assign(weight)
        layer.bias.assign(bias)
    return Blocks(layers) if network.residual else nn.Sequential(*layers)


class Step:
    def __init__(self, network, weights, batches, lr):
        self.model = model(network, weights)
        self.loss = nn.mse if network.loss == "mse" else nn.cross_entropy
        self.opt = optim.Adam(self.model.parameters(), lr=lr)
        self.batches = [(cb.tensor(x), cb.tensor(y)) for x, y in batches]

    def train(self, x, y):
        loss = self.loss(self.model(x), y)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss

    def step(self, i):
        return self.train(*self.batches[i])


class Loop:
    def __init__(self, network, weights, parts, lr):
        net = model(network, weights)
        self.trainer = train.Trainer(net, loss=network.loss, optimizer=optim.Adam(net.parameters(), lr=lr))
        self.parts, self.batch = parts, network.batch

    def run(self, i):
        part = self.parts[i]
        history = self.trainer.fit(part.x, part.y, epochs=part.passes, batch_size=self.batch, **ORDER)
        return history.history["loss"][-part.passes:]


class Predict:
    def __init__(self, network, weights):
        self.model = model(network, weights)
        self.model.eval()

    def predict(self, row):
        with cb.no_grad():
            return self.model(row).numpy()
