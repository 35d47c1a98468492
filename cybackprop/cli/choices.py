"""Names of optimizers and activations, asked of the library that has them."""

import difflib
import functools
import inspect

from cybackprop import optim
from cybackprop.cli import modelfile
from cybackprop.cli.errors import CommandError

_LR_WITHOUT_DEFAULT = 0.01  # for optimizers that leave it to the user


def find_optimizer(name, lr):
    """A function from parameters to the optimizer of that name; `lr` None means its own default."""
    if name.lower() not in optim.OPTIMIZERS:
        raise CommandError(f"there is no optimizer {name!r}; {_hint(name.lower(), optim.OPTIMIZERS)}")
    kind = optim.OPTIMIZERS[name.lower()]
    if lr is None and inspect.signature(kind).parameters["lr"].default is inspect.Parameter.empty:
        lr = _LR_WITHOUT_DEFAULT
    return kind if lr is None else functools.partial(kind, lr=lr)


def check_activation(name):
    """Raise CommandError if a dense layer doesn't take this activation."""
    try:
        modelfile.build((1, 1, 1), name)
    except ValueError as error:
        raise CommandError(f"--activation: {error}") from None


def _hint(name, known):
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
