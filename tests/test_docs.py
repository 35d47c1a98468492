"""The documents run: code blocks, docstring examples, and whatever they name exists."""

import ast
import contextlib
import doctest
import functools
import importlib
import inspect
import io
import pkgutil
import re
import shlex
import textwrap
import tomllib
import warnings
from pathlib import Path

import click
import pytest

import cybackprop as cb
from cybackprop import kernels
from cybackprop._core import engine
from cybackprop.cli.commands import cybackprop as command_line

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "docs/embedding.md", "docs/compile.md", "docs/reinforcement-learning.md")
BLOCK = re.compile(r"^```(\w+)( measured)?\n(.*?)^```\n", re.S | re.M)
WIDTH = 110                              # of printed lines in documents; a terminal breaks longer ones too


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


# ---- code blocks

def blocks(text):
    """(language, line it starts on, code, the ```text block that follows at once or None, whether that is measured)."""
    found = list(BLOCK.finditer(text))
    for block, after in zip(found, [*found[1:], None], strict=True):
        output, measured = None, False
        if after is not None and after[1] == "text" and not text[block.end():after.start()].strip():
            output, measured = after[3], after[2] is not None
        yield block[1], text.count("\n", 0, block.start()) + 2, block[3], output, measured


def printed_by(code, line, name, namespace):
    """What a block prints, long lines broken; its warnings are printed too, without their places."""
    out = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, category, *_: print(f"{category.__name__}: {message}")
        exec(compile("\n" * (line - 1) + code, str(ROOT / name), "exec"), namespace)    # tracebacks show its lines
    lines = out.getvalue().replace(f"{ROOT}/", "").splitlines(keepends=True)
    return "".join(x if len(x) <= WIDTH else textwrap.fill(x, WIDTH, break_on_hyphens=False) + "\n" for x in lines)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_code_blocks(name, tmp_path, monkeypatch):
    """Each document's blocks run in order in one namespace and print what the ```text block below them says.

    In a block ```text measured the numbers are those of one machine, seconds say, and only the words must agree.
    """
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    ran = 0
    for language, line, code, output, measured in blocks(read(name)):
        if language != "python":
            continue
        printed, wanted = printed_by(code, line, name, namespace), output or ""
        if measured:
            printed, wanted = (re.sub(r"\d[\d,]*(\.\d+)?", "N", text) for text in (printed, wanted))
        assert printed == wanted, f"{name}, line {line}"
        ran += 1
    assert ran


# ---- docstring examples

ROOMS = ("ops", "transforms", "nn", "optim", "train", "io", "data")
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+")


class Tolerant(doctest.OutputChecker):
    """Floats may differ by a relative 1e-5; everything around them must agree."""

    def check_output(self, want, got, optionflags):
        if super().check_output(want, got, optionflags):
            return True
        wanted, found = NUMBER.findall(want), NUMBER.findall(got)
        return len(wanted) == len(found) and all(
            float(a) == pytest.approx(float(b), rel=1e-5, abs=1e-7) for a, b in zip(wanted, found, strict=True)
        ) and super().check_output(NUMBER.sub("0.0", want), NUMBER.sub("0.0", got), optionflags)


def modules():
    for room in ROOMS:
        package = importlib.import_module(f"cybackprop.{room}")
        yield package
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)
    yield from (cb, kernels, importlib.import_module("cybackprop.config"))


@functools.cache
def documented():
    """{name: object}: classes and functions that users meet, with their methods."""
    things = {}
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or not (inspect.isclass(value) or callable(value)):
                continue
            if getattr(value, "__module__", "").split(".")[0] != "cybackprop":
                continue
            things.setdefault(id(value), (f"{value.__module__}.{value.__qualname__}", value))
    for name, value in vars(engine).items():           # compiled: doctest's own finder does not look there
        if not name.startswith("_") and callable(value) and value.__doc__ and ">>>" in value.__doc__:
            things.setdefault(id(value), (f"engine.{name}", value))
    found = dict(things.values())
    for name, value in list(found.items()):
        if inspect.isclass(value):
            for key, member in vars(value).items():
                if not key.startswith("_") and ">>>" in (getattr(member, "__doc__", None) or ""):
                    found[f"{name}.{key}"] = member
    return found


EXAMPLES = {name: thing for name, thing in documented().items() if ">>>" in (thing.__doc__ or "")}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing = EXAMPLES[name]
    scope = {**vars(inspect.getmodule(thing) or cb), "__name__": "__main__"}
    scope.pop("__file__", None)          # the example is a user's code, not this package's
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(thing), scope, name, None, None)
    report = io.StringIO()
    runner = doctest.DocTestRunner(Tolerant(), optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.write)
    assert runner.summarize(verbose=False).failed == 0, report.getvalue()


def test_examples_are_found_where_users_look():
    short = {name.rpartition(".")[2] for name in EXAMPLES}
    assert {"tensor", "Parameter", "no_grad", "grad", "jvp", "backward_steps", "matmul", "dense", "cross_entropy",
            "Dense", "Adam", "Trainer", "digits"} <= short


# ---- what the documents name

INVARIANT = re.compile(r"^- \*\*Invariant:\*\* (.*(?:\n  .*)*)", re.M)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@functools.cache
def names_in(path):
    tree = ast.parse(read(path))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_invariant_names_a_test_that_exists():
    text = read("ARCHITECTURE.md")
    found = INVARIANT.findall(text)
    assert len(found) == text.count("**Invariant:**") - text.count("`**Invariant:**`") > 10
    for invariant in found:
        named = TEST.findall(invariant)
        assert named, f"no test: {invariant}"
        for path, test in named:
            assert (ROOT / path).exists() and test in names_in(path), f"{path}::{test}"


PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md",
         *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_named_tests_links_and_files_exist(name):
    text = read(name)
    for path, test in TEST.findall(text):
        assert (ROOT / path).exists() and test in names_in(path), f"{path}::{test}"
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / name).parent / link).exists(), link
    folders = r"src|cybackprop|tests|tools|docs|benchmarks"
    for path in re.findall(rf"`((?:{folders})/[\w./]+\.(?:c|h|def|py|pyx|pxi|pxd|md|sh|toml))[:`]", text):
        assert (ROOT / path).exists(), path


def test_the_map_names_every_file_of_c_and_cython():
    files = [p for folder in ("src", "cybackprop/_core") for p in (ROOT / folder).iterdir()
             if p.suffix in (".c", ".h", ".def", ".pyx", ".pxd", ".pxi")]
    text = read("ARCHITECTURE.md")
    missing = [p.name for p in files if f"`{p.relative_to(ROOT)}`" not in text]
    assert not [name for name in missing if name != "engine.pyx"]      # named by the sentence above its table


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_make_targets_exist(name):
    targets = set(re.findall(r"^([a-z][\w-]*):", read("Makefile"), re.M))
    named = set(re.findall(r"(?:`|^    |^)make ([a-z][\w-]*)", read(name), re.M))
    assert named <= targets, named - targets
    assert named or name == "ARCHITECTURE.md"


def shell_lines(text):
    for language, _, code, *_ in blocks(text):
        if language == "sh":
            yield from (shlex.split(line, comments=True) for line in code.splitlines() if line.split("#")[0].strip())


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_shell_blocks_name_commands_and_options_that_exist(name):
    project = tomllib.loads(read("pyproject.toml"))["project"]
    for program, *args in shell_lines(read(name)):
        if program == "cybackprop":
            assert program in project["scripts"]
            command = command_line.commands[args[0]]
            with click.Context(command, info_name=args[0]) as context:      # parsing only; nothing is run
                command.parse_args(context, args[1:])
        elif program == "pip":
            assert args[0] == "install" and args[1].startswith(".")
            extras = args[1].strip(".[]")
            assert all(e in project["optional-dependencies"] for e in extras.split(",") if e)
        else:
            assert program in ("make", "sh", ".venv/bin/python"), program


def test_help_of_every_command():
    for name, command in command_line.commands.items():
        with click.Context(command, info_name=name) as context:
            assert command.get_help(context).startswith(f"Usage: {name}")


@pytest.mark.parametrize("name", PAGES)
def test_lines_are_short(name):
    assert [line for line in read(name).splitlines() if len(line) > 120 and not line.startswith("|")] == []
