"""The derivatives of elementwise rows in tensor operations, made from the text of the tables.

The same text is compiled to C for the first-order sweep; here it is read as Python, so that a sweep that is recorded
can be differentiated again.  Both give the same bits.
"""

import ast
import functools
from typing import Any

from cybackprop._core.engine import binary_rows, unary_rows
from cybackprop.ops.creation import zeros_like
from cybackprop.ops.movement import broadcast_to, sum_to
from cybackprop.ops.selection import where

strong_mul, zero_mul = binary_rows["strong_mul"], binary_rows["zero_mul"]

NAMESPACE = {"where": where, "strong_mul": strong_mul, "zero_mul": zero_mul, "zeros_like": zeros_like, "K": float,
             **{f"cbp_{name}": row for name, row in (unary_rows | binary_rows).items()}}


slopes: dict[str, Any] = {}              # name of a unary row -> function of (g, what it keeps, parameters)


def product_text(slope, strong=False):
    """Source of strong_mul(g, slope) as the design has it: where selects, a literal 0 gives 0, a literal 1 gives g."""

    def source(node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "where":
            condition, a, b = node.args
            return f"where({ast.unparse(condition)}, {source(a)}, {source(b)})"
        if isinstance(node, ast.Constant) and node.value == 0:
            return "zeros_like(g)"
        if isinstance(node, ast.Constant) and node.value == 1:
            return "g"
        return f"zero_mul({ast.unparse(node)}, g)" if strong else f"strong_mul(g, {ast.unparse(node)})"

    return source(ast.parse(slope, mode="eval").body)


def product(slope, names, strong=False):
    """A slope's text as a function of (g, *names), compiled when it is first called: imports stay cheap."""

    @functools.cache
    def compiled():
        return eval(f"lambda {', '.join(['g', *names])}: {product_text(slope, strong)}", NAMESPACE)

    return lambda *args: compiled()(*args)


def add_unary_rules(row):
    """Give a row of unary.def its rules for recorded sweeps and for tangents."""
    facts = row.facts
    parameters = [name for name, _ in facts["params"]]
    variable = {"X": ["x"], "Y": ["y"], "N": []}[facts["keeps"]]
    slope = product(facts["df"], variable + parameters)

    def apply_slope(record, g):
        kept = record.input(0) if facts["keeps"] == "X" else record.output() if facts["keeps"] == "Y" else None
        return slopes[row.name](g, kept, record.parameters)

    slopes[row.name] = lambda g, kept, p: slope(g, *[kept] * len(variable), *p[:len(parameters)])
    row.vjp_rule = lambda record, g: (apply_slope(record, g),)
    row.jvp_rule = lambda record, tangents: apply_slope(record, tangents[0])


def add_binary_rules(row):
    """The same for a row of binary.def."""
    facts = row.facts
    sides = []
    for keeps, slope, strong in ((facts["keeps_a"], facts["da"], False),
                                 (facts["keeps_b"], facts["db"], facts["strong"])):
        names = [] if keeps == "N" else list(keeps.lower())
        sides.append((names, product(slope, names, strong)))

    def apply_slope(record, side, g):
        names, slope = sides[side]
        values = {"a": lambda: record.input(0), "b": lambda: record.input(1), "y": record.output}
        return slope(g, *(values[name]() for name in names))

    def vjp(record, g):
        out = []
        for side in (0, 1):
            if not record.needs(side):
                out.append(None)
                continue
            c = apply_slope(record, side, g)
            shape = record.input_shape(side)
            out.append(c if shape is None or shape == c.shape else sum_to(c, shape))
        return tuple(out)

    def jvp(record, tangents):
        parts = [apply_slope(record, side, t) for side, t in enumerate(tangents) if t is not None]
        t = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        shape = record.attrs["shape"] if record.attrs else t.shape
        return t if t.shape == shape else broadcast_to(t, shape)

    row.vjp_rule, row.jvp_rule = vjp, jvp


for _unary in unary_rows.values():
    add_unary_rules(_unary)
for _binary in binary_rows.values():
    if not _binary.facts["compares"]:
        add_binary_rules(_binary)
