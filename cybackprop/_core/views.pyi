# Written by tools/stubs.py (make stubs); not for editing.
from collections.abc import Sequence
from typing import Any

def matmul(
    a: Any,
    b: Any,
    *,
    layout: str = 'NN',
    bias: Any = None,
    out: Any = None,
    add: bool = False,
) -> Any: ...
def matmul_ref(
    a: Any,
    b: Any,
    *,
    layout: str = 'NN',
    bias: Any = None,
    out: Any = None,
    add: bool = False,
) -> Any: ...
def dense_forward(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    parameters: Sequence[float] | None = None,
    out: Any = None,
) -> tuple[Any, ...]: ...
def dense_backward(
    x: Any,
    weight: Any,
    kept: Any,
    g: Any,
    *,
    activation: str | None = None,
    parameters: Sequence[float] | None = None,
    need_x: bool = True,
    out: Sequence[Any] | None = None,
    add: bool = False,
    previous: str | None = None,
    previous_parameters: Any = None,
    previous_kept: Any = None,
) -> tuple[Any, ...]: ...
def activation_forward(
    name: str,
    x: Any,
    *,
    parameters: Sequence[float] | None = None,
    out: Any = None,
) -> Any: ...
def activation_backward(
    name: str,
    kept: Any,
    g: Any,
    *,
    parameters: Sequence[float] | None = None,
    out: Any = None,
) -> Any: ...
def keeps(name: str) -> str: ...
