"""Transforms of functions: derivatives by walks over records."""

from cybackprop.transforms.compiling import compile  # noqa: F401
from cybackprop.transforms.forward import jvp  # noqa: F401
from cybackprop.transforms.reverse import grad, value_and_grad, vjp  # noqa: F401
from cybackprop.transforms.steps import Step, backward_steps  # noqa: F401
