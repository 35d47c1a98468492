# Written by tools/stubs.py (make stubs); not for editing.
from typing import Any

def dense_forward(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    activation: str | None = None,
    parameters: Any = None,
    out: Any = None,
) -> tuple[Any, ...]: ...
def dense_backward(
    x: Any,
    weight: Any,
    kept: Any,
    g: Any,
    *,
    activation: str | None = None,
    parameters: Any = None,
    need_x: bool = True,
    previous: str | None = None,
    previous_parameters: Any = None,
    previous_kept: Any = None,
) -> tuple[Any, ...]: ...
def activation_forward(name: str, x: Any, *, parameters: Any = None, out: Any = None) -> Any: ...
def activation_backward(name: str, kept: Any, g: Any, *, parameters: Any = None, out: Any = None) -> Any: ...
def keeps(name: str) -> str: ...
