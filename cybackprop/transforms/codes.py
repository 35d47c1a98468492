"""What the code of a function says without running, and whose code it is."""

import functools
import opcode
import os
import sys
import types
from typing import NamedTuple

import numpy as np

HEAP_TYPE = 1 << 9                       # Py_TPFLAGS_HEAPTYPE: a class that Python code has made, mostly
# how far the place of a name in co_names is shifted in the argument of those instructions that name a global or a module
GLOBAL = {opcode.opmap[name]: shift for name, shift in (
    ("LOAD_GLOBAL", 1), ("LOAD_NAME", 0), ("STORE_GLOBAL", 0), ("DELETE_GLOBAL", 0), ("LOAD_FROM_DICT_OR_GLOBALS", 0))
    if name in opcode.opmap}
IMPORT, EXTENDED = opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]
EVERYTHING = {"getattr", "hasattr", "setattr", "delattr", "vars", "dir", "globals", "locals", "eval", "exec",
              "attrgetter", "import_module", "__import__", "__getattribute__", "asdict", "astuple"}
CATCHING = {"AttributeError", "NameError", "KeyError", "LookupError", "ImportError", "ModuleNotFoundError", "Exception",
            "BaseException", "suppress", "contextlib"}
LIBRARIES = (os.path.dirname(np.__file__), os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STANDARD = os.path.dirname(os.path.abspath(os.__file__))


class Names(NamedTuple):
    """What a code and those inside it name.

    loaded: globals; `co_names` has attributes among them, and a global that bears the name of one is read by nobody.
    everything: whether attributes are asked for by computed names.  catches: whether an error may be caught.
    """

    loaded: frozenset
    imported: frozenset
    mentioned: frozenset
    everything: bool
    catches: bool


@functools.lru_cache(maxsize=4096)
def names_in(code):
    """The Names of a code."""
    loaded, imported, mentioned, catches, todo = set(), set(), set(), False, [code]
    while todo:
        code = todo.pop()
        mentioned.update(code.co_names)
        catches |= bool(code.co_exceptiontable) and not CATCHING.isdisjoint(code.co_names)
        high = 0
        for op, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
            arg, high = high | low, (high | low) << 8 if op == EXTENDED else 0
            if op in GLOBAL:
                loaded.add(code.co_names[arg >> GLOBAL[op]])
            elif op == IMPORT:
                imported.add(code.co_names[arg])
        for x in code.co_consts:
            if isinstance(x, types.CodeType):
                todo.append(x)
            elif isinstance(x, tuple):   # the names of a class pattern
                mentioned.update(name for name in x if isinstance(name, str) and name.isidentifier())
    return Names(frozenset(loaded), frozenset(imported), frozenset(mentioned), not EVERYTHING.isdisjoint(mentioned), catches)


def in_library(namespace):
    """Whether a module, by its globals, is this package, NumPy or the standard library: told by where its file lies."""
    place = namespace.get("__file__")
    if isinstance(place, str):
        return is_library_file(place)
    name = namespace.get("__name__")
    return name in sys.builtin_module_names or getattr(namespace.get("__spec__"), "origin", None) == "frozen"


@functools.lru_cache(maxsize=4096)
def is_library_file(path):
    """Whether a file is of a library whose functions nobody replaces."""
    path = os.path.abspath(path)
    if any(path.startswith(folder + os.sep) for folder in LIBRARIES):
        return True
    return path.startswith(STANDARD + os.sep) and "site-packages" not in path and "dist-packages" not in path


def is_users(cls):
    """Whether a class is the user's, or an installed package's, whose code is looked at."""
    if not cls.__flags__ & HEAP_TYPE:
        return cls is types.SimpleNamespace
    module = sys.modules.get(cls.__module__) if isinstance(cls.__module__, str) else None
    return module is None or not in_library(vars(module))


def is_plain(cls):
    """Whether all that an object of a class is lies in its dict and its slots."""
    return cls.__flags__ & HEAP_TYPE and all(c.__flags__ & HEAP_TYPE or c in (object, BaseException, Exception)
                                             for c in cls.__mro__) and (
        any("__slots__" in vars(c) or "__dict__" in vars(c) for c in cls.__mro__))


def imports(names, package):
    """Full names of the modules that a function of a package imports under such names."""
    found = []
    for name in sorted(names):
        parts = name.split(".")
        found += [".".join(parts[:k + 1]) for k in range(len(parts)) if name]
        if package:
            found += [f"{package}.{name}"] if name else [package]
    return [name for k, name in enumerate(found) if name in sys.modules or k == 0 or "." not in name]


def slots(x):
    """Names of the slots of an object."""
    return [name for c in type(x).__mro__ for name, found in vars(c).items()
            if isinstance(found, types.MemberDescriptorType) and name != "__dict__" and c.__flags__ & HEAP_TYPE]
