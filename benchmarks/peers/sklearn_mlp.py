"""scikit-learn's MLPClassifier and MLPRegressor: partial_fit of one batch, and fit; its checks of input are off.

What it computes differently, and what makes it equal:

- Its Adam steps by lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps): eps stands beside the uncorrected root, where it
  weighs 1 / sqrt(1 - b2^t) of torch's.  That is 30 times at the first step, and 3 % of the step of a weight whose
  gradient is 1e-5.  `Corrected` puts eps sqrt(1 - b2^t) there, which is torch's rule, in half a microsecond.
- Its squared error is halved: so are its gradients, which Adam does not notice once eps is halved too.
- Two classes are one logistic output to it.  Given one-hot rows it has two outputs, and ``out_activation_`` makes them
  the softmax that the others have.  One-hot rows are used for more classes too: it need not make them in every call.
- alpha, its L2 penalty, is 0; rows are not shuffled, since the others go through them in order.
"""

import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor, _multilayer_perceptron

NAME = f"scikit-learn {sklearn.__version__}"
TILED = True
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
warnings.filterwarnings("ignore", category=ConvergenceWarning)           # fit stops after the passes that it is given


class Corrected(_multilayer_perceptron.AdamOptimizer):
    """Its Adam with torch's eps."""

    def __init__(self, *args):
        super().__init__(*args)
        self.eps = self.epsilon

    def _get_updates(self, grads):
        self.epsilon = self.eps * (1 - self.beta_2 ** (self.t + 1)) ** 0.5
        return super()._get_updates(grads)


_multilayer_perceptron.AdamOptimizer = Corrected         # the estimators look it up there


def takes(network):
    return not network.residual and network.dtype == "float32"


def targets(network, y):
    return y.ravel() if network.loss == "mse" else np.eye(network.sizes[-1], dtype=int)[y]


def factor(network):
    """Of its loss: our squared error is twice its own."""
    return 2.0 if network.loss == "mse" else 1.0


def estimator(network, weights, batch, lr, **options):
    """An MLP with these weights that has not stepped yet."""
    kind = MLPRegressor if network.loss == "mse" else MLPClassifier
    net = kind(hidden_layer_sizes=network.sizes[1:-1], activation=network.activation, alpha=0.0,
               batch_size=network.batch, shuffle=False, learning_rate_init=lr, beta_1=BETA1, beta_2=BETA2,
               epsilon=EPS / factor(network), tol=0.0, **options)
    if network.loss == "mse":
        net.partial_fit(*batch)
    else:
        net.partial_fit(*batch, classes=np.arange(network.sizes[-1]))
        net.out_activation_ = "softmax"
    for k, (weight, bias) in enumerate(weights):
        net.coefs_[k][...], net.intercepts_[k][...] = weight, bias
    del net._optimizer                   # the next call makes a new one; the moments of this one have been used
    return net


class Step:
    def __init__(self, network, weights, batches, lr):
        self.batches = [(x, targets(network, y)) for x, y in batches]
        self.net, self.factor = estimator(network, weights, self.batches[0], lr), factor(network)

    def step(self, i):
        self.net.partial_fit(*self.batches[i])
        return self.factor * self.net.loss_


class Loop:
    def __init__(self, network, weights, parts, lr):
        self.parts = [(part.x, targets(network, part.y)) for part in parts]
        self.factor, self.passes = factor(network), parts[0].passes
        first = tuple(rows[:network.batch] for rows in self.parts[0])
        self.net = estimator(network, weights, first, lr, max_iter=self.passes, n_iter_no_change=self.passes + 1,
                             warm_start=True)

    def run(self, i):
        self.net.fit(*self.parts[i])
        return [self.factor * loss for loss in self.net.loss_curve_[-self.passes:]]
