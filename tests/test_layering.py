"""Imports point one way, and src/ knows nothing of Python."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cybackprop"

# a room may import from its own and from those before it
ORDER = [{"errors", "_version"}, {"_core"}, {"io", "data"}, {"ops", "config", "kernels", "selftest", "threads"},
         {"transforms"}, {"nn", "optim"}, {"train"}, {"cli"}, {"__main__"}]
RANK = {room: i for i, rooms in enumerate(ORDER) for room in rooms}


def imports(path):
    """Rooms of the package that a Python file imports at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cybackprop":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("cybackprop.")]
        yield from (name for name in names if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists())


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem in RANK)


def room_of(path):
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    assert room in RANK, f"{room} has no place in the order of rooms; give it one in {Path(__file__).name}"
    for other in imports(path):
        assert RANK[other] <= RANK[room], f"{path.name} ({room}) imports {other}, which stands above it"


def test_the_order_names_every_room():
    rooms = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if (p.suffix == ".py" or p.is_dir())}
    assert rooms - {"__init__", "__pycache__"} == set(RANK)


CYTHON = sorted((PACKAGE / "_core").glob("*.p[yx]*"))


@pytest.mark.parametrize("path", CYTHON, ids=lambda p: p.name)
def test_the_core_imports_only_errors_and_itself(path):
    found = set(re.findall(r"cybackprop\.(\w+)", "\n".join(
        line for line in path.read_text().splitlines() if re.match(r"\s*(from|import|cimport)\b", line))))
    assert found <= {"_core", "errors"}


C_FILES = sorted((ROOT / "src").glob("*"))


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: p.name)
def test_c_never_includes_python_prints_or_exits(path):
    code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    assert not re.search(r"Python\.h|\b(v?f?printf|puts|exit|abort)\s*\(", code)


@pytest.mark.plain_build
def test_the_kernels_objects_name_no_python_symbol():
    """What the modules were linked with: the interpreter of programs and all else in src."""
    build = ROOT / "build" / f"temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    objects = sorted(build.glob("*/src/*.o"))
    if not objects or not shutil.which("nm"):
        pytest.skip("no objects of an in-place build here, or no nm to read them")
    assert {p.stem for p in C_FILES if p.suffix == ".c"} <= {o.stem for o in objects}
    found = subprocess.run(["nm", "-u", *objects], capture_output=True, text=True, check=True).stdout
    assert "memcpy" in found and re.findall(r"\bU _?Py\w*", found) == []


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-march=native", "-fopenmp"])
def test_refused_flags_are_nowhere(flag):
    for name in ("setup.py", "pyproject.toml", "Makefile"):
        assert flag not in (ROOT / name).read_text()


ENGINE = ["record.pxi", "sweep.pxi", "structured.pxi"]


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_names_no_op(name):
    """The tape knows rows and records; the one op it must name is the addition of cotangents."""
    ops = {m[1] for table in ("unary", "binary") for m in re.finditer(
        r"^CBP_\w+ *\((\w+)", (ROOT / f"src/{table}.def").read_text(), re.M)}
    code = re.sub(r'""".*?"""|#.*', "", (PACKAGE / "_core" / name).read_text(), flags=re.S)
    assert not set(re.findall(r'["\'](\w+)["\']', code)) & (ops - {"add"})
