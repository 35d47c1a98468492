"""Public functions of the elementwise rows: made from the tables, one for each row."""

import inspect
import math

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, binary_rows, unary_rows
from cybackprop.ops import integer as integer
from cybackprop.ops.movement import as_tensor
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
    x : Tensor or array-like, float32 or float64{", or int64 or bool" if row.integers else ""}
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
        Arrays and numbers are cast to the dtype of the tensor they meet; two tensors are never cast, but for bool
        beside int64.

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
    {derivative}{INTEGERS if row.has_integers else ""}
    """
    return finish(function, row.name)


INTEGERS = """
    Integers wrap; an integer divided by 0 gives 0, a negative power of one raises ValueError."""
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
    """a ** b; the exponents 2, 1, 0.5 and -1 of floats take their own, exact rows."""
    if isinstance(b, (int, float)) and isinstance(a, Tensor):
        if a.dtype.kind != "f" and not isinstance(b, float):
            if b < 0:
                raise ValueError(f"pow: an integer to the power {b} is no integer; use astype('float32') first, or "
                                 f"the exponent {float(b)}")
            return binary_rows["pow"](a, b)
        a = engine.floats_of(a)
        short = {2: "square", 0.5: "sqrt", -1: "reciprocal"}.get(b)
        if short:
            return unary_rows[short](a)
        if b == 1:
            return a
    return binary_rows["pow"](a, b)


engine.attach_operator("pow", power)


def _as_bool(test):
    def function(x):
        return test(as_tensor(x).detach())

    function.__name__ = function.__qualname__ = test.__name__[1:]
    function.__doc__ = f"""{test.__doc__}

    Parameters
    ----------
    x : Tensor or array-like, any dtype

    Returns
    -------
    Tensor, bool, shape of x
    """
    return public(function, method=True)


def _isnan(x):
    """Where an element is NaN."""
    return x != x


def _isfinite(x):
    """Where an element is neither infinite nor NaN."""
    return functions["abs"](x) < math.inf if x.dtype.kind == "f" else x == x


def _isinf(x):
    """Where an element is infinite, of either sign."""
    return functions["abs"](x) == math.inf if x.dtype.kind == "f" else x != x


isnan, isfinite, isinf = map(_as_bool, (_isnan, _isfinite, _isinf))
