"""cybackprop: train, run and differentiate small and medium neural networks on the CPU."""

import os as _os

from cybackprop._core import engine as _engine
from cybackprop._core.engine import (  # noqa: F401
    Parameter,
    State,
    Tensor,
    get_num_threads,
    is_grad_enabled,
    no_grad,
    set_num_threads,
    structure_version,
)
from cybackprop._version import __version__  # noqa: F401
from cybackprop.errors import AuditError, DTypeError, ModelFileError, ShapeError, TapeError  # noqa: F401

try:
    _engine.select_kernels(_os.environ.get("CYBACKPROP_CPU", ""))
except ValueError as _error:
    raise ImportError(str(_error)) from None

from cybackprop import config as _config  # noqa: F401
from cybackprop import nn, optim, threads, train  # noqa: F401
from cybackprop import ops as _ops
from cybackprop import transforms as _transforms  # noqa: F401
from cybackprop.io.programs import load_program  # noqa: F401

globals().update(_ops.public_functions)
