"""Write the type stubs from the rows, the signatures and the docstrings; --check shows what differs and fails.

cybackprop/__init__.pyi holds the public functions: those of elementwise rows from the facts of the rows, the others
from their signatures and the types their docstrings name.  The stubs of compiled modules are read from their sources.
"""

import ast
import difflib
import inspect
import re
import sys
import types
from pathlib import Path

import cybackprop
from cybackprop._core.engine import Tensor, binary_rows, unary_rows
from cybackprop.ops.registry import public_functions

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, CORE = ROOT / "cybackprop", ROOT / "cybackprop/_core"
HEAD = "# Written by tools/stubs.py (make stubs); not for editing.\n"

# ---- types: what docstrings, C declarations and names mean

WORDS = {"int": "int", "bool": "bool", "float": "float", "number": "float", "str": "str", "None": "None",
         "Tensor": "Tensor", "bool Tensor": "Tensor", "int64 Tensor": "Tensor", "array-like": "_TensorLike",
         "int array-like": "_TensorLike", "nested lists": "_TensorLike", "dtype-like": "DTypeLike",
         "tuple of int": "tuple[int, ...]", "callable": "Callable[..., Any]", "Generator": "Generator",
         "Module": "nn.Module", "Config": "Config"}
C_TYPES = {"bint": "bool", "int": "int", "double": "float", "str": "str", "dict": "dict[Any, Any]",
           "list": "list[Any]", "tuple": "tuple[Any, ...]", "long long": "int", "Py_ssize_t": "int", "int64_t": "int",
           "uint64_t": "int"}
# members of the engine that say in words, or not at all, what they are
MEMBERS = {"shape": "tuple[int, ...]", "dtype": "np.dtype[Any]", "ndim": "int", "size": "int", "nbytes": "int",
           "grad": "Tensor | None", "requires_grad": "bool", "is_leaf": "bool", "numpy": "np.ndarray[Any, Any]",
           "item": "float", "detach": "Tensor", "backward": "None", "retain_grad": "None", "assign": "None",
           "register_hook": "Callable[[], None]", "version": "int", "op": "str", "needs": "bool", "has_input": "bool",
           "input": "Tensor", "output": "Tensor", "check_alive": "None", "__init__": "None", "__enter__": "Self",
           "__exit__": "None", "__repr__": "str", "__hash__": "int", "__len__": "int", "__bool__": "bool",
           "__int__": "int", "__index__": "int", "__float__": "float", "__iter__": "Iterator[Tensor]",
           "is_grad_enabled": "bool", "is_recording": "bool", "structure_version": "int", "get_num_threads": "int",
           "set_num_threads": "None", "last_number": "int", "bytes_in_use": "int", "active_target": "str",
           "built_targets": "list[str]",
           "runnable_targets": "list[str]", "apply": "Tensor", "as_operands": "tuple[Tensor, ...]", "alias": "Tensor",
           "seed_cotangent": "Tensor", "keeps": "str"}
GLOBALS = {"ABSENT": "Any", "unary_rows": "dict[str, UnaryRow]", "binary_rows": "dict[str, BinaryRow]"}
NAMES = {"x": "_TensorLike", "a": "_TensorLike", "b": "_TensorLike", "shape": "int | Sequence[int]",
         "dtype": "DTypeLike", "gradient": "_TensorLike | None", "n": "int", "values": "_TensorLike",
         "hook": "Callable[[Tensor], Any]", "modulo": "None"}


def meaning(words):
    """The annotation of a docstring's type, "int or tuple of int, optional"; Any where it can't tell."""
    words = re.sub(r",? ?\b(optional|default|shape|one dtype|any shape|float32 or float64)\b.*| in [\[(].*", "", words)
    if words.startswith("sequence of "):
        return f"Sequence[{meaning(words.removeprefix('sequence of '))}]"
    if words.startswith("dict of str to "):
        return f"dict[str, {meaning(words.removeprefix('dict of str to '))}]"
    if words.startswith("("):
        return "tuple[Any, ...]"
    parts = [meaning(p) if p.startswith("sequence of ") else WORDS.get(p.removeprefix("one "), "Any")
             for p in re.split(r",? or |, ", words)]
    if "Any" in parts:
        return "Any"
    if "_TensorLike" in parts:           # tensors and numbers are array-like too
        parts = ["_TensorLike", *(p for p in parts if p not in ("Tensor", "float"))]
    return " | ".join(dict.fromkeys(parts))


def documented(doc):
    """{name: annotation} of a numpydoc Parameters section, and the annotation of what is returned or None."""
    parts = re.split(r"^(\w+)\n-+\n", inspect.cleandoc(doc or ""), flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = {}
    for names, words in re.findall(r"^(\*{0,2}\w[\w, *]*?) : (.*)$", sections.get("Parameters", ""), re.M):
        for name in names.split(", "):
            annotation = meaning(words)
            optional = "optional" in words and annotation != "Any"
            found[name.lstrip("*")] = annotation + (" | None" if optional else "")
    first = sections.get("Returns", "").partition("\n")[0]
    returns = meaning(first) if first else None
    other = re.search(r"\b[Ss]ee `(\w+)`", parts[0])
    if other and other[1] in public_functions:       # "see `sum`": what is not said here is said there
        more, there = documented(public_functions[other[1]].__doc__)
        found, returns = {**more, **found}, returns or there
    return found, returns


def type_name(annotation):
    """An annotation of the source, without the modules in front of its names."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"[\w.]+\.(\w+)", r"\1", text)


def shown(value):
    """A default as it may stand in a stub."""
    plain = value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and abs(value) < 1e300)
    return repr(value) if plain else "..."


def guess(name, default, known):
    """The annotation of a parameter: from its docstring, else from its default, else from its name."""
    if name in known:
        annotation = known[name]
    elif name in NAMES:
        annotation = NAMES[name]
    elif default is not inspect.Parameter.empty and default is not None:
        annotation = type(default).__name__ if type(default) in (bool, int, float, str) else "Any"
    else:
        annotation = "Any"
    if default is None and annotation != "Any" and "None" not in annotation:
        annotation += " | None"
    return annotation


def written(name, parameters, returns, indent=""):
    """`def name(...) -> ...: ...` of inspect.Parameters whose annotations are text, broken at 120 columns."""
    items, star, slash = [], False, False
    for p in parameters:
        if slash and p.kind is not p.POSITIONAL_ONLY:
            items.append("/")
        slash = p.kind is p.POSITIONAL_ONLY
        if p.kind is p.KEYWORD_ONLY and not star:
            items.append("*")
        star = star or p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        text += f": {p.annotation}" if p.annotation is not p.empty else ""
        text += "" if p.default is p.empty else f" = {p.default}" if p.annotation is not p.empty else f"={p.default}"
        items.append(text)
    items += ["/"] if slash else []
    line = f"{indent}def {name}({', '.join(items)}) -> {returns}: ..."
    if len(line) <= 110:
        return line
    inner = "".join(f"{indent}    {item},\n" for item in items)
    return f"{indent}def {name}(\n{inner}{indent}) -> {returns}: ..."


# ---- public functions

def public_parameters(name, function):
    """Parameters with annotations, and what is returned: rows say it themselves."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if name in unary_rows and function is public_functions[name]:
        scalars = [inspect.Parameter(p, kind, default=shown(value), annotation="float")
                   for p, value in unary_rows[name].facts["params"]]
        return [inspect.Parameter("x", kind, annotation="_TensorLike"), *scalars], "Tensor"
    if name in binary_rows:
        return [inspect.Parameter(p, kind, annotation="_TensorLike") for p in ("a", "b")], "Tensor"
    signature = inspect.signature(function)
    known, returns = documented(function.__doc__)
    parameters = []
    for p in signature.parameters.values():
        annotation = guess(p.name, p.default, known) if p.annotation is p.empty else type_name(p.annotation)
        parameters.append(p.replace(annotation=annotation,
                                    default=p.default if p.default is p.empty else shown(p.default)))
    if signature.return_annotation is not signature.empty:
        returns = type_name(signature.return_annotation)
    elif returns is None:                # an op gives a tensor
        returns = "Tensor" if Path(inspect.unwrap(function).__code__.co_filename).parent.name == "ops" else "Any"
    return parameters, returns


def home(cls):
    """The module that defines a public class: `public` has changed its __module__."""
    code = getattr(cls.__init__, "__code__", None)
    if code is None:                     # compiled
        return "cybackprop._core.engine"
    path = Path(code.co_filename).resolve().relative_to(ROOT).with_suffix("")
    return ".".join(path.parts)


def package_stub():
    """cybackprop/__init__.pyi."""
    exports = []
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names = [a.name for a in node.names if a.asname is None]
            exports += [f"from {node.module} import {name} as {name}" for name in names]
    classes = [f for f in public_functions.values() if isinstance(f, type)]
    exports += [f"from {home(c)} import {c.__name__} as {c.__name__}" for c in classes]
    functions = []
    for name, f in public_functions.items():
        if isinstance(f, types.FunctionType):
            functions.append(written(name, *public_parameters(name, f)))
        elif f not in classes:           # compiled: its own stub has it
            exports.append(f"from cybackprop._core.engine import {name} as {name}")
    used = "\n".join(functions)
    return HEAD + imports(used, exports) + "\n".join(sorted(exports)) + "\n\n" + used + "\n"


PLACES = [("collections.abc", ["Callable", "Iterator", "Sequence"]), ("typing", ["Any", "Self", "TypeAlias", "final"]),
          ("numpy.typing", ["ArrayLike", "DTypeLike"]), ("cybackprop._core.engine", ["Tensor", "_TensorLike"]),
          ("cybackprop.config", ["Config"]), ("cybackprop.transforms.steps", ["Step"])]


def imports(text, exports=()):
    """Import lines of the names that a stub uses and neither defines nor exports."""
    lines = ["import numpy as np"] if re.search(r"\bnp\.", text) else []
    for place, names in PLACES:
        needed = [n for n in names if re.search(rf"\b{n}\b", text) and f"from {place} import {n} as {n}" not in exports
                  and not re.search(rf"^(class )?{n}[:(]", text, re.M)]
        if needed:
            lines.append(f"from {place} import {', '.join(needed)}")
    return "\n".join(lines) + "\n"


# ---- compiled modules, read from their sources

def source(path):
    """The text of a Cython module with its includes in place."""
    return re.sub(r'^include "(.*)"$', lambda m: source(path.parent / m[1]), path.read_text(), flags=re.M)


def split(text):
    """Parts between commas that stand in no brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [" ".join(p.split()) for p in parts if p.strip()]


def c_type(text):
    """The annotation of a C declaration."""
    return C_TYPES.get(text, text if re.fullmatch("[A-Z]\\w+", text) else "Any")


def cython_parameters(text, known):
    """Parameters of a `def` line of Cython."""
    kind, out = inspect.Parameter.POSITIONAL_OR_KEYWORD, []
    for part in split(text):
        if part == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
            continue
        stars, declared, name, nullable, default = re.fullmatch(
            r"(\*{0,2})(?:(.*?) )??(\w+)( or None)?(?: ?= ?(.*))?", part).groups()
        value = inspect.Parameter.empty if default is None else ast.literal_eval(default)
        if name == "modulo":             # Cython gives it a default of its own
            value = None
        annotation = c_type(declared) if declared else guess(name, value, known)
        if (nullable or value is None) and "None" not in annotation and annotation != "Any":
            annotation += " | None"
        out.append(inspect.Parameter(
            name, {"*": inspect.Parameter.VAR_POSITIONAL, "**": inspect.Parameter.VAR_KEYWORD}.get(stars, kind),
            default=value if value is inspect.Parameter.empty else shown(value),
            annotation=inspect.Parameter.empty if name == "self" else annotation))
        kind = inspect.Parameter.KEYWORD_ONLY if stars == "*" else kind
    return out


DEFINITION = re.compile(r'^(?P<indent>(?:    )?)def (?P<name>\w+)\((?P<args>.*?)\):(?P<rest>[^\n]*)'
                        r'(?:\n\s*"""(?P<doc>.*?)""")?', re.M | re.S)
HIDDEN = {"__array__", "__dealloc__", "__getbuffer__", "__releasebuffer__", "__reduce__", "__copy__", "__deepcopy__",
          "__get__", "__setitem__", "__delitem__"}       # the last two only raise


def members(body, owner, class_doc=""):
    """Stub lines of the `def`s in the text of a class (or, without an owner, of a module)."""
    indent, lines, seen = "    " if owner else "", [], set()
    for m in DEFINITION.finditer(body):
        name, before = m["name"], body[:m.start()].rstrip("\n").rpartition("\n")[2].strip()
        private = not owner and name.startswith("_")
        if m["indent"] != indent or name in HIDDEN or private or before.endswith(".deleter"):
            continue
        name = "__init__" if name == "__cinit__" else name
        if name in seen and not before.endswith(".setter"):
            continue
        seen.add(name)
        known, returns = documented(class_doc if name == "__init__" else m["doc"])
        returns = returns or MEMBERS.get(name, "Any")
        parameters = cython_parameters(m["args"], known)
        if name == "__init__" and owner in ("Record", "LeafRow", "AliasRow"):
            continue                     # nobody makes them by hand
        note = ""
        if owner == "Tensor" and m["rest"].strip().startswith("return"):      # an operator
            returns = "Tensor"
            annotation = "object" if name in ("__eq__", "__ne__") else "_TensorLike"
            parameters = [p.replace(annotation=annotation) if p.name == "other" else p for p in parameters]
            parameters = [p.replace(kind=p.POSITIONAL_ONLY) for p in parameters]
            note = "  # type: ignore[override]" if annotation == "object" else ""
        if before == "@property":
            lines.append("    @property")
        elif before.endswith(".setter"):
            lines.append("    " + before)
            annotation = {"grad": "_TensorLike | None"}.get(name, MEMBERS.get(name, "Any"))
            parameters, returns = [parameters[0], parameters[1].replace(annotation=annotation)], "None"
        lines.append(written(name, parameters, returns, indent) + note)
    return lines


def attached_methods():
    """The methods that cybackprop.ops gives Tensor."""
    lines = ["    @property", written("T", [self_parameter()], "Tensor", "    ")]
    for name, f in vars(Tensor).items():
        if isinstance(f, types.FunctionType):
            parameters, returns = public_parameters(name, f)
            lines.append(written(name, [self_parameter(), *parameters[1:]], returns, "    "))
    return lines


def self_parameter():
    """`self`, as it stands in a stub."""
    return inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def module_stub(name):
    """The stub of one compiled module."""
    text = source(CORE / f"{name}.pyx")
    header = CORE / f"{name}.pxd"
    declared = header.read_text() if header.exists() else ""
    classes = re.compile(r"^(?:cdef )?class (\w+)(?:\((\w+)\))?:\n((?:(?: {4}.*)?\n)*)", re.M)
    fields = {}
    for cls, _, body in [*classes.findall(declared), *classes.findall(text)]:
        for access, c, names in re.findall(r"^    cdef (readonly|public) (long long|\w+) (\w[\w, ]*\b)", body, re.M):
            fields.setdefault(cls, {}).update({f: (access, c_type(c)) for f in names.split(", ")})
    lines = []
    for found in classes.finditer(text):
        cls, base, body = found.groups()
        doc = re.match(r'\s*"""(.*?)"""', body, re.S)
        final = ["@final"] if re.search(rf"^@cython\.final\n(?:@.*\n)*cdef class {cls}\b", text, re.M) else []
        lines += ["", *final, f"class {cls}({base}):" if base else f"class {cls}:"]
        inner = []
        for field, (access, annotation) in fields.get(cls, {}).items():
            annotation += " | None" if (cls, field) == ("Tensor", "record") else ""
            inner += [f"    {field}: {annotation}"] if access == "public" else [
                "    @property", f"    def {field}(self) -> {annotation}: ..."]
        inner += members(body, cls, doc[1] if doc else "")
        inner += attached_methods() if cls == "Tensor" else []
        lines += inner or ["    ..."]
    lines += ["", *members(classes.sub("", text), "")]
    lines += [f"{g}: {t}" for g, t in GLOBALS.items() if re.search(rf"^{g} = ", text, re.M)]
    body = "\n".join(lines)
    if name == "engine":
        body = "\n_TensorLike: TypeAlias = Tensor | ArrayLike | Sequence[Any]\n" + body
    return HEAD + imports(body) + body + "\n"


def stubs():
    """{path: text} of all stubs."""
    modules = {path.with_suffix(".pyi"): module_stub(path.stem) for path in sorted(CORE.glob("*.pyx"))}
    return {PACKAGE / "__init__.pyi": package_stub(), **modules}


def main(arguments):
    if Path(cybackprop.__file__).resolve().parent != PACKAGE:
        sys.exit(f"stubs: {cybackprop.__file__} is imported, not the package in {ROOT}")
    different = False
    for path, text in stubs().items():
        old = path.read_text() if path.exists() else ""
        if "--check" in arguments:
            diff = list(difflib.unified_diff(old.splitlines(), text.splitlines(), str(path), "as the rows say",
                                             lineterm=""))
            different |= bool(diff)
            print("\n".join(diff), end="\n" if diff else "")
        elif old != text:
            path.write_text(text)
    return int(different)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
