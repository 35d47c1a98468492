"""Lint of the tables themselves: names, letters, kinks, ranges, and one oracle line a row."""

import ast
import math
import re
from pathlib import Path

import pytest
import references
from samples import case_id, kinks, parameter_sets

from cybackprop._core.engine import binary_rows, optimizer_facts, unary_rows
from cybackprop.ops import structured_rows
from cybackprop.ops.registry import public_functions

UNARY, BINARY = list(unary_rows.values()), list(binary_rows.values())
NUMBER = r"-?(?:\d+(?:\.\d+)?|inf)"
CALLS = {f"cbp_{name}" for name in unary_rows | binary_rows} | {"K", "where"}
NODES = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr, ast.UnaryOp, ast.USub,
         ast.Compare, ast.Eq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.NotEq, ast.Call, ast.Name, ast.Load, ast.Constant)
each_unary = pytest.mark.parametrize("row", UNARY, ids=case_id)
each_binary = pytest.mark.parametrize("row", BINARY, ids=case_id)


def read(formula, allowed):
    """Parse a formula: only what C and Python share, only the names in scope; no quotient of two integers."""
    tree = ast.parse(formula, mode="eval")
    names = set()
    for node in ast.walk(tree):
        assert isinstance(node, NODES), f"{type(node).__name__} in {formula}"
        if isinstance(node, ast.Compare):
            assert len(node.ops) == 1, f"a chained comparison in {formula}"
        if isinstance(node, ast.Call):
            assert node.func.id in CALLS, f"{node.func.id} in {formula} is no row"
            assert len(node.args) == {"where": 3, "K": 1}.get(node.func.id, len(node.args))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            sides = (node.left, node.right)
            assert not all(isinstance(s, ast.Constant) and isinstance(s.value, int) for s in sides), formula
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            assert f"K({ast.unparse(node)}" in formula or "K(-" in formula, f"a bare {node.value} in {formula}"
        if isinstance(node, ast.Name) and node.id not in CALLS:
            names.add(node.id)
    assert names <= set(allowed), f"{formula} reads {names - set(allowed)}"
    return names


def test_names_are_unique():
    # a name met twice would have taken a place and left a gap
    for rows in (UNARY, BINARY):
        assert [row.place for row in rows] == list(range(len(rows)))
        assert all(row.facts["name"] == row.name for row in rows)
    names = [*unary_rows, *binary_rows, *structured_rows]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_public_rows_are_public_functions():
    for row in [*UNARY, *BINARY]:
        hidden = row.facts.get("strong") or not row.facts.get("public", True)
        assert (row.name in public_functions) == (not hidden), row.name


@each_unary
def test_letters_and_formulas(row):
    f = row.facts
    assert f["keeps"] in ("X", "Y", "N")
    names = [name for name, _ in f["params"]]
    assert len(set(names)) == len(names) <= 2 and not {"x", "y", "g", "a", "b"} & set(names)
    assert all(isinstance(value, float) and not math.isnan(value) for _, value in f["params"])
    read(f["f"], {"x", *names})
    kept = {"X": {"x"}, "Y": {"y"}, "N": set()}[f["keeps"]]
    assert read(f["df"], {*kept, *names}) >= kept, "the row keeps what its derivative does not read"


@each_unary
def test_ranges_and_kinks(row):
    f = row.facts
    assert math.isfinite(f["low"]) and math.isfinite(f["high"]) and f["low"] < f["high"]
    names = "|".join([NUMBER, *(name for name, _ in f["params"])])
    assert f["kinks"] == "NO_KINK" or re.fullmatch(rf"(at\(({names}), ({names})\) ?)+", f["kinks"]), f["kinks"]
    for p in parameter_sets(row, "float64"):
        assert all(f["low"] < x < f["high"] for x in kinks(row, p)), "a kink where nobody samples"


@each_binary
def test_binary_letters_and_formulas(row):
    f = row.facts
    read(f["f"], {"a", "b"})
    for keeps, slope in ((f["keeps_a"], f["da"]), (f["keeps_b"], f["db"])):
        assert keeps in ("N", "A", "B", "Y", "AB", "AY", "BY", "ABY")
        kept = set() if keeps == "N" else set(keeps.lower())
        assert read(slope, kept) == kept, "a side keeps what its derivative does not read"
    assert f["a_low"] < f["a_high"] and f["b_low"] < f["b_high"]
    assert not (f["compares"] and f["strong"])


def test_the_products_that_decide_about_zero():
    assert [row.name for row in BINARY if row.facts["strong"]] == ["strong_mul", "zero_mul"]


def test_every_row_has_one_oracle_and_every_oracle_a_row():
    assert references.UNARY.keys() == unary_rows.keys()
    assert references.BINARY.keys() == binary_rows.keys()
    for name, oracle in references.UNARY.items():
        assert len(oracle.at) == 4
        assert all(len(p) == len(unary_rows[name].facts["params"]) for p in oracle.params)
        assert bool(oracle.params) == bool(unary_rows[name].facts["params"]), "parameters beside the defaults"


def test_no_oracle_borrows_from_the_package():
    tree = ast.parse(Path(references.__file__).read_text(encoding="utf-8"))
    tables = {}
    for node in ast.walk(tree):
        imported = [a.name for a in node.names] if isinstance(node, ast.Import) else (
            [node.module or "", *(a.name for a in node.names)] if isinstance(node, ast.ImportFrom) else [])
        assert not any(name.split(".")[0] in ("cybackprop", "samples", "importlib") for name in imported)
        assert not (isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval"))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            tables[node.targets[0].id] = [key.value for key in node.value.keys]
    for name in ("UNARY", "BINARY"):             # a dict would hide a second line of the same name
        assert len(set(tables[name])) == len(tables[name]) == len(getattr(references, name))


def test_optimizers():
    for name, (options, moments, always) in optimizer_facts().items():
        assert re.fullmatch("[a-z]+", name) and options[:2] == ("scale", "lr") and "weight_decay" in options
        assert 0 <= always <= len(moments) <= 3 and len(set(moments)) == len(moments)
        assert all(re.fullmatch("[a-z][a-z0-9_]*", x) for x in (*options, *moments))
        assert len(set(options)) == len(options)


def test_structured_rows_say_their_shapes():
    for name, row in structured_rows.items():
        assert row.name == name and re.fullmatch(r"\(.*\)(, \.\.\.)? -> \(.*\)", row.shape), name
        assert callable(row.forward) and callable(row.vjp_rule) and callable(row.jvp_rule) and callable(row.fused_vjp)
