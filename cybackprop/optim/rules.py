"""The optimizers.  Each is a row of optim.def with its defaults; semantics are torch's but for decay_bias."""

from cybackprop.optim.optimizer import Optimizer, with_aliases


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum by choice.

    Parameters
    ----------
    params : iterable of Parameter or of groups
    lr : float
        Learning rate (alias learning_rate); there is no default.
    momentum, dampening : float
    nesterov : bool
    weight_decay : float
        Adds weight_decay * w to the gradient.
    decay_bias : bool
        Whether parameters with fewer than two axes (biases) decay too.

    Notes
    -----
    buf = g at the first step, then momentum * buf + (1 - dampening) * g;  w -= lr * buf,
    nesterov: w -= lr * (g + momentum * buf).

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import optim
    >>> w = cb.Parameter([1.0])
    >>> opt = optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward(); opt.step(); w.item()
    0.0
    """

    row = "sgd"
    switches = ("momentum",)

    @with_aliases
    def __init__(self, params, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, *, decay_bias=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov,
                                  "weight_decay": weight_decay, "decay_bias": decay_bias})

    def check(self, group):
        """Nesterov needs momentum and no dampening."""
        super().check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs momentum > 0 and dampening = 0")


class RMSprop(Optimizer):
    """Gradient over its running root mean square.

    Parameters
    ----------
    params : iterable of Parameter or of groups
    lr : float
    alpha : float
        Decay of the running mean square.
    eps : float
        Outside the root.
    momentum : float
    centered : bool
        Subtract the square of the running mean.
    weight_decay, decay_bias
        As in `SGD`.

    Notes
    -----
    v = alpha v + (1 - alpha) g^2;  w -= lr g / (sqrt(v) + eps).  Source: Tieleman, Hinton (2012), lecture 6.5.
    """

    row = "rmsprop"
    switches = ("centered", "momentum")

    @with_aliases
    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, weight_decay=0.0, *,
                 decay_bias=False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered,
                                  "weight_decay": weight_decay, "decay_bias": decay_bias})


class Adagrad(Optimizer):
    """Gradient over the root of the sum of its squares.

    Parameters
    ----------
    params : iterable of Parameter or of groups
    lr, lr_decay : float
    initial_accumulator : float
    eps : float
    weight_decay, decay_bias
        As in `SGD`.

    Notes
    -----
    s += g^2;  w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).  Source: Duchi, Hazan, Singer (2011).
    """

    row = "adagrad"

    @with_aliases
    def __init__(self, params, lr=1e-2, lr_decay=0.0, initial_accumulator=0.0, eps=1e-10, weight_decay=0.0, *,
                 decay_bias=False):
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "initial_accumulator": initial_accumulator,
                                  "eps": eps, "weight_decay": weight_decay, "decay_bias": decay_bias})

    def new_moments(self, group, p):
        """The sum starts from initial_accumulator."""
        moments = super().new_moments(group, p)
        if group["initial_accumulator"]:
            moments[0].assign(moments[0].numpy() + group["initial_accumulator"])
        return moments


class Adam(Optimizer):
    """Adaptive moments.

    Parameters
    ----------
    params : iterable of Parameter or of groups
    lr : float
        Learning rate (alias learning_rate).
    betas : (float, float)
    eps : float
        Outside the root (alias epsilon).
    weight_decay : float
        Adds weight_decay * w to the gradient; AdamW decays the weights themselves.
    amsgrad : bool
        Divide by the largest second moment so far.
    decay_bias : bool
        Whether parameters with fewer than two axes (biases) decay too.

    Notes
    -----
    w -= lr (m / bc1) / (sqrt(v / bc2) + eps), bc = 1 - beta^t.  One pass over w, g, m, v: 28 bytes a float32 parameter.
    Source: Kingma, Ba (2015), https://arxiv.org/abs/1412.6980.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import optim
    >>> w = cb.Parameter([1.0])
    >>> opt = optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); opt.step(); round(w.item(), 4)
    0.9
    """

    row = "adam"
    switches = ("amsgrad",)

    @with_aliases
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, *,
                 decay_bias=False):
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "decay_bias": decay_bias})


class AdamW(Adam):
    """Adam with decoupled weight decay, w *= 1 - lr * weight_decay, 1e-2 by default; see `Adam`.

    Source: Loshchilov, Hutter (2019), https://arxiv.org/abs/1711.05101.
    """

    row = "adamw"

    @with_aliases
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *,
                 decay_bias=False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, decay_bias=decay_bias)


OPTIMIZERS = {cls.row: cls for cls in (SGD, RMSprop, Adagrad, Adam, AdamW)}
