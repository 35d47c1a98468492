"""Kernels over NumPy arrays, without a tape: for code that does its own bookkeeping."""

from cybackprop._core.engine import (
    activation_backward,
    activation_forward,
    dense_backward,
    dense_forward,
    keeps,
    matmul,
)

__all__ = ["activation_backward", "activation_forward", "dense_backward", "dense_forward", "keeps", "matmul"]
