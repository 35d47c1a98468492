"""PyTorch, one eager step, at its best: one thread, fused Adam, gradients set to None, tensors preloaded."""

import torch
from torch import nn

NAME = f"torch {torch.__version__}, eager, Adam(fused=True)"
torch.set_num_threads(1)
torch.set_num_interop_threads(1)
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Blocks(nn.Module):
    def __init__(self, blocks, last):
        super().__init__()
        self.blocks, self.last = nn.ModuleList(blocks), last

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def linear(weight, bias):
    layer = nn.Linear(*weight.shape, dtype=torch.from_numpy(weight).dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))                   # torch's weights are (out, in)
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def model(network, weights):
    layers = [linear(*pair) for pair in weights]
    act = ACTIVATIONS[network.activation]
    if network.residual:
        pairs = zip(layers[:-1:2], layers[1:-1:2], strict=True)
        return Blocks([nn.Sequential(first, act(), second) for first, second in pairs], layers[-1])
    return nn.Sequential(*[m for layer in layers for m in (layer, act())][:-1])


class Step:
    def __init__(self, network, weights, batches, lr):
        self.model = model(network, weights)
        self.loss = nn.functional.mse_loss if network.loss == "mse" else nn.functional.cross_entropy
        self.opt = torch.optim.Adam(self.model.parameters(), lr=lr, fused=True)
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]

    def step(self, i):
        x, y = self.batches[i]
        loss = self.loss(self.model(x), y)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        self.opt.step()
        return loss.detach()


class Predict:
    def __init__(self, network, weights):
        self.model = model(network, weights).eval()

    def predict(self, row):
        with torch.inference_mode():
            return self.model(torch.from_numpy(row)).numpy()
