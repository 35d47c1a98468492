"""Public functions of the elementwise rows: made from the tables, one for each row."""

import inspect

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, binary_rows, unary_rows
from cybackprop.ops.registry import public


def _unary_function(row):
    facts = row.facts
    parameters = facts["params"]

    def with_parameters(x, *values, **named):
        bound = signature.bind(x, *values, **named)
        bound.apply_defaults()
        return row(*bound.args)

    def function(x):
        return row(x)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter("x", kind)] + [
        inspect.Parameter(name, kind, default=value) for name, value in parameters])
    if parameters:
        function = with_parameters
    function.__signature__ = signature
    function.__doc__ = f"""Elementwise y = {readable(facts["f"])}.

    Parameters
    ----------
    x : Tensor or array-like, float32 or float64
    {"".join(f"{name} : float, default {value:g}{chr(10)}    " for name, value in parameters)}
    Returns
    -------
    Tensor, shape and dtype of x

    Notes
    -----
    Derivative {readable(facts["df"])}{kink_note(facts["kinks"])}; keeps {KEEPS[facts["keeps"]]}.
    """
    return finish(function, row.name)


def _binary_function(row):
    facts = row.facts

    def function(a, b):
        return row(a, b)

    derivative = "The result is bool." if facts["compares"] else (
        f"Derivatives {readable(facts['da'])} and {readable(facts['db'])}.")
    function.__doc__ = f"""Elementwise y = {readable(facts["f"])}, operands broadcast as in NumPy.

    Parameters
    ----------
    a, b : Tensor or array-like, one dtype
        Arrays and numbers are cast to the dtype of the tensor they meet; two tensors are never cast.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        The shapes do not broadcast.
    DTypeError
        Two tensors of different dtypes, or integers where floats are needed.

    Notes
    -----
    {derivative}
    """
    return finish(function, row.name)


KEEPS = {"X": "x", "Y": "y", "N": "nothing"}


def readable(formula):
    """Formula text without the spelling that C needs."""
    return formula.replace("cbp_", "").replace("K(", "(")


def kink_note(kinks):
    return "" if kinks == "NO_KINK" else f" (chosen at kinks: {kinks.replace('at', 'df').replace(', ', ') = (')})"


def finish(function, name):
    function.__name__ = function.__qualname__ = name
    return public(function, method=True)


functions = {name: _unary_function(row) for name, row in unary_rows.items() if row.facts["public"]}
functions |= {name: _binary_function(row) for name, row in binary_rows.items() if not row.facts["strong"]}
exp = functions["exp"]


def power(a, b):
    """a ** b; the exponents 2, 1, 0.5 and -1 take their own, exact rows."""
    if isinstance(b, (int, float)) and isinstance(a, Tensor):
        short = {2: "square", 0.5: "sqrt", -1: "reciprocal"}.get(b)
        if short:
            return unary_rows[short](a)
        if b == 1:
            return a
    return binary_rows["pow"](a, b)


engine.attach_operator("pow", power)
