"""Layers: each is a sentence, its state, its constructor, its forward."""

from cybackprop._core.engine import Parameter, Tensor, tensor
from cybackprop.nn import init
from cybackprop.nn.containers import ModuleList
from cybackprop.nn.module import Module
from cybackprop.ops.product import activation_row, dense
from cybackprop.ops.random import as_generator, dropout
from cybackprop.ops.registry import public_functions


class Dense(Module):
    """Affine map of the last axis and activation, y = f(x @ weight + bias).

    Parameters
    ----------
    in_features, out_features : int
    activation : str or callable, optional
        Name of an elementwise op, fused with the product, or a function of a tensor.
    bias : bool
    init : {"torch", "auto"}
        "torch": weight and bias U(+-1 / sqrt(in)).  "auto": by activation, bias 0.
    dtype : {"float32", "float64"}
    rng : int or Generator, optional

    Examples
    --------
    >>> from cybackprop import nn
    >>> nn.Dense(4, 2, activation="relu")
    Dense(4, 2, activation='relu')
    """

    weight: Parameter                    # (in_features, out_features)
    bias: Parameter | None               # (out_features,)

    def __init__(self, in_features, out_features, *, activation=None, bias=True, init="torch", dtype="float32",
                 rng=None):
        if in_features < 0 or out_features < 0:
            raise ValueError(f"Dense: {in_features} inputs and {out_features} outputs; neither can be negative")
        if isinstance(activation, str):
            activation_row(activation)
        weight, start = initial(init, in_features, out_features, activation, dtype, as_generator(rng))
        self.activation = activation
        self.weight = Parameter(weight)
        self.bias = Parameter(start) if bias else None

    def forward(self, x):
        """f(x @ weight + bias) for x of shape (..., in_features)."""
        return dense(x, self.weight, self.bias, activation=self.activation)

    def extra_repr(self):
        """Sizes and what differs from the defaults."""
        named = "" if self.activation is None else f", activation={self.activation!r}"
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}{named}{'' if self.bias is not None else ', bias=False'}"


def initial(rule, fan_in, fan_out, activation, dtype, rng):
    """Weight and bias of a dense layer by one of the rules."""
    if rule == "torch":
        return (init.torch_default(fan_in, (fan_in, fan_out), dtype, rng),
                init.torch_default(fan_in, (fan_out,), dtype, rng))
    if rule == "auto":
        return init.auto((fan_in, fan_out), activation, dtype, rng), init.zeros(fan_out, dtype)
    raise ValueError(f"Dense: init is {rule!r}, it must be 'torch' or 'auto'")


class Sequential(Module):
    """Modules one after the other; their list is ``layers``.

    Examples
    --------
    >>> from cybackprop import nn
    >>> model = nn.Sequential(nn.Dense(64, 100, activation="relu"), nn.Dense(100, 10))
    >>> model.layers[1].weight.shape
    (100, 10)
    """

    layers: ModuleList

    def __init__(self, *layers):
        self.layers = ModuleList(layers)

    def forward(self, x):
        """layers[-1](... layers[0](x))."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self):
        return "Sequential(\n" + "".join(f"  {layer!r},\n" for layer in self.layers) + ")"


class Activation(Module):
    """An elementwise function as a layer.

    Parameters
    ----------
    function : str or callable
        Name of a public op ("relu", "softmax", ...) or a function of a tensor.
    **options
        What else the function takes, e.g. ``negative_slope=0.2``.
    """

    def __init__(self, function, **options):
        if isinstance(function, str) and function not in public_functions:
            raise ValueError(f"Activation: no function is called {function!r}")
        self.function, self.options = function, options

    def forward(self, x):
        """function(x)."""
        f = public_functions[self.function] if isinstance(self.function, str) else self.function
        return f(x, **self.options)

    def extra_repr(self):
        """The function and its options."""
        return ", ".join([repr(self.function), *(f"{k}={v!r}" for k, v in self.options.items())])


class Dropout(Module):
    """In training each element is zeroed with probability p and the others grow by 1 / (1 - p); else nothing happens.

    Parameters
    ----------
    p : float in [0, 1)
        The share dropped.
    rng : int or Generator, optional
        By default the process's generator.
    """

    def __init__(self, p=0.5, *, rng=None):
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p is {p}, it must be in [0, 1)")
        self.p = p
        self.rng = None if rng is None else as_generator(rng)

    def forward(self, x):
        """x with holes in training, x otherwise."""
        if not self.training:
            return x if isinstance(x, Tensor) else tensor(x)
        return dropout(x, self.p, self.rng)

    def extra_repr(self):
        """The share."""
        return f"p={self.p}"
