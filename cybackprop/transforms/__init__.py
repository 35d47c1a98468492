"""Transforms of functions: derivatives by walks over records, programs, loops of programs."""

from cybackprop.transforms.compiling import compile  # noqa: F401
from cybackprop.transforms.forward import jvp  # noqa: F401
from cybackprop.transforms.loops import cond, scan, while_loop  # noqa: F401
from cybackprop.transforms.reverse import grad, value_and_grad, vjp  # noqa: F401
from cybackprop.transforms.saving import save_programs  # noqa: F401
from cybackprop.transforms.steps import Step, backward_steps  # noqa: F401
