"""How an op becomes public: one decorator puts a function into `cybackprop` and, if wanted, onto Tensor."""

from typing import Any

from cybackprop._core import engine
from cybackprop._core.engine import StructuredRow

public_functions: dict[str, Any] = {}    # name -> function: cybackprop/__init__.py exports these
structured_rows: dict[str, StructuredRow] = {}


def public(function=None, *, method=False, operator=None):
    """Export a function; `method` makes it a Tensor method too, `operator` the function behind an operator."""

    def register(f):
        f.__module__ = "cybackprop"
        public_functions[f.__name__] = f
        if method:
            engine.attach_method(f.__name__, f)
        if operator:
            engine.attach_operator(operator, f)
        return f

    return register if function is None else register(function)


def structured(name, shape, forward, vjp, jvp, *, inputs="x", keeps="", fused_vjp=None):
    """Register a structured row and return it.

    inputs names the inputs in order.  keeps says what the derivative reads: "w if x; x if w; y" keeps input w when x
    takes a gradient, x when w does, and the output.  A name alone means: if any input takes one.
    """
    names = inputs.split()
    kept, keeps_output = [], False
    for part in filter(None, (p.strip() for p in keeps.split(";"))):
        value, _, reader = part.partition(" if ")
        if value == "y":
            keeps_output = True
        else:
            readers = [names.index(r) for r in reader.split()] if reader else range(len(names))
            kept.append((names.index(value), frozenset(readers)))
    row = StructuredRow(name, shape, forward, vjp, jvp, kept, keeps_output, fused_vjp)
    structured_rows[name] = row
    return row


def linear(name, shape, forward, vjp):
    """A row of one input that is linear in it: the tangent goes through the same op."""

    def jvp(record, tangents):
        return engine.apply(structured_rows[name], tangents, record.attrs)

    return structured(name, shape, forward, vjp, jvp)
