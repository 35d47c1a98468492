"""thinc: a chain of Relu and Softmax layers with its own Adam, products by NumPy's OpenBLAS.

What differs, and what makes it equal: its Adam has scikit-learn's eps beside the uncorrected root, so eps is a schedule
eps sqrt(1 - b2^t), which is torch's rule.  Its C rounds b2 to float32 before it takes 1 - b2, which is 1.3e-5 too
little and would be seen in the losses: the learning rate makes up for the root of that.  L2, gradient clipping and
averages are off.  Its products by BLIS, the default, are slower here.  It always computes the first layer's dX.
"""

import numpy as np
import thinc
from thinc.api import Adam, Linear, NumpyOps, Relu, Softmax, chain, residual, set_current_ops
from thinc.schedules import Schedule

NAME = f"thinc {thinc.about.__version__}"
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
ROUNDED = float((1 - np.float32(BETA2)) / (1 - BETA2)) ** 0.5


def takes(network):
    return network.activation == "relu" and network.dtype == "float32"


def corrected(schedule, step, **_):
    return EPS * (1 - BETA2 ** (step + 1)) ** 0.5


def model(network, weights):
    """The network with these weights; a Softmax layer's backward takes the cotangent of what goes into the softmax."""
    kinds = [Relu if activation else Linear for activation, _ in network.plan]
    if network.loss != "mse":
        kinds[-1] = Softmax
    layers = [kind(*weight.shape[::-1]) for kind, (weight, _) in zip(kinds, weights, strict=True)]
    for layer, (weight, bias) in zip(layers, weights, strict=True):
        layer.set_param("W", weight.T.copy())            # thinc's weights are (out, in)
        layer.set_param("b", bias.copy())
    if network.residual:
        pairs = zip(layers[:-1:2], layers[1:-1:2], strict=True)
        return chain(*[residual(chain(*pair)) for pair in pairs], layers[-1])
    return chain(*layers)


class Step:
    def __init__(self, network, weights, batches, lr):
        set_current_ops(NumpyOps(use_blis=False))
        self.model, self.mse, self.batches = model(network, weights), network.loss == "mse", batches
        self.opt = Adam(lr * ROUNDED, L2=0.0, beta1=BETA1, beta2=BETA2, eps=Schedule("eps", corrected), grad_clip=0.0,
                        use_averages=False)
        self.rows = np.arange(network.batch)

    def step(self, i):
        x, y = self.batches[i]
        out, backward = self.model.begin_update(x)
        if self.mse:
            d = out - y
            loss = np.vdot(d, d) / d.size
            d *= 2 / d.size
        else:
            loss = -np.log(out[self.rows, y]).mean()
            d = out.copy()
            d[self.rows, y] -= 1
            d *= 1 / len(y)
        backward(d)
        self.model.finish_update(self.opt)
        self.opt.step_schedules()
        return loss
