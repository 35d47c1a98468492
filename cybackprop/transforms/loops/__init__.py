"""Loops and branches as operations: their bodies are programs, and so are the derivatives of those."""

from cybackprop.transforms.loops.branches import cond  # noqa: F401
from cybackprop.transforms.loops.scans import scan  # noqa: F401
from cybackprop.transforms.loops.while_loops import while_loop  # noqa: F401
