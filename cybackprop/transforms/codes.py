"""What the code of a function says without running, and whose code it is."""

import abc
import enum
import functools
import opcode
import os
import re
import sys
import types
import typing
from typing import NamedTuple

import numpy as np

HEAP_TYPE = 1 << 9                       # Py_TPFLAGS_HEAPTYPE: a class that Python code has made, mostly
# how far the place of a name in co_names is shifted in the argument of those instructions that name a global or a module
GLOBAL = {opcode.opmap[name]: shift for name, shift in (
    ("LOAD_GLOBAL", 1), ("LOAD_NAME", 0), ("STORE_GLOBAL", 0), ("DELETE_GLOBAL", 0), ("LOAD_FROM_DICT_OR_GLOBALS", 0))
    if name in opcode.opmap}
IMPORT, EXTENDED = opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]
EVERYTHING = {"getattr", "hasattr", "setattr", "delattr", "vars", "dir", "globals", "locals", "eval", "exec",
              "attrgetter", "methodcaller", "import_module", "__import__", "__getattribute__", "asdict", "astuple"}
ANY_GLOBAL = {"globals", "eval", "exec"}
IMPORTING = {"import_module", "__import__", "modules"}
# instructions of `except X:`, and of what begins a handler: that of `except:` goes on with POP_TOP
CATCH = {opcode.opmap[name] for name in ("CHECK_EXC_MATCH", "CHECK_EG_MATCH")}
HANDLER, POP_TOP = opcode.opmap["PUSH_EXC_INFO"], opcode.opmap["POP_TOP"]
LIBRARIES = (os.path.dirname(np.__file__), os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NO_ATTRIBUTES = (abc.ABC, typing.Generic, typing.Protocol, enum.Enum)
STANDARD = os.path.dirname(os.path.abspath(os.__file__))


class Names(NamedTuple):
    """What a code and those inside it name.

    loaded: globals; `co_names` has attributes among them, and a global that bears the name of one is read by nobody.
    everything: whether attributes are asked for by computed names; any_global: whether globals are.
    catches: whether an error may be caught.
    """

    loaded: frozenset
    imported: frozenset
    mentioned: frozenset
    everything: bool
    any_global: bool
    catches: bool


@functools.lru_cache(maxsize=4096)
def names_in(code):
    """The Names of a code."""
    loaded, imported, mentioned, catches, todo = set(), set(), set(), False, [code]
    while todo:
        code = todo.pop()
        mentioned.update(code.co_names)
        catches |= "suppress" in code.co_names
        importing = not IMPORTING.isdisjoint(code.co_names)
        high = before = 0
        for op, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
            arg, high = high | low, (high | low) << 8 if op == EXTENDED else 0
            if op in GLOBAL:
                loaded.add(code.co_names[arg >> GLOBAL[op]])
            elif op == IMPORT:
                imported.add(code.co_names[arg])
            catches |= op in CATCH or (before == HANDLER and op == POP_TOP)
            before = op
        for x in code.co_consts:
            if isinstance(x, types.CodeType):
                todo.append(x)
            elif isinstance(x, str) and "{" in x and "format" in code.co_names:
                mentioned.update(re.findall(r"\.(\w+)", " ".join(re.findall(r"\{[^{}:!]*", x))))
            elif importing and isinstance(x, str) and x in sys.modules:
                imported.add(x)
            elif isinstance(x, tuple):   # the names of a class pattern
                mentioned.update(name for name in x if isinstance(name, str) and name.isidentifier())
    return Names(frozenset(loaded), frozenset(imported), frozenset(mentioned), not EVERYTHING.isdisjoint(mentioned),
                 not ANY_GLOBAL.isdisjoint(loaded), catches)


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
        above = package or ""
        while above:                     # how many dots there are is not asked
            found.append(f"{above}.{name}" if name else above)
            above = above.rpartition(".")[0]
    return [name for k, name in enumerate(found) if name in sys.modules or k == 0 or "." not in name]


def slots(x):
    """Names of the slots of an object."""
    return [name for c in type(x).__mro__ for name, found in vars(c).items()
            if isinstance(found, types.MemberDescriptorType) and name != "__dict__" and c.__flags__ & HEAP_TYPE]


def inherits_code(cls):
    """Whether methods of a user's class are a library's, which name other attributes than the user's code does."""
    return is_users(cls) and any(c.__flags__ & HEAP_TYPE and not is_users(c) and c not in NO_ATTRIBUTES
                                 for c in cls.__mro__)
