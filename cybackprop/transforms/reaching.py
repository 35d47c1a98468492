"""What a run can read beside the paths in its bytecode: by loops, unpacking, `getattr`, `vars`, dynamic subscripts.

Which object is read there the bytecode doesn't say, but under which names it does.  So what may have been read is an
attribute of that name, of an object that could be reached as the run began.
"""

import collections
import contextvars
import dis
import functools
import sys
import threading
import types

import numpy as np

NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.generic, type(...))
CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque)
FUNCTIONS = (types.FunctionType, classmethod, staticmethod)
LIBRARIES = ("cybackprop", "numpy")
MOST = 256                               # elements of a container that is compared at each call
MOST_OBJECTS = 1024                      # whose attributes are remembered while recording
HEAP_TYPE = 1 << 9                       # Py_TPFLAGS_HEAPTYPE: a class that Python code has made, mostly
METHOD = sys.version_info >= (3, 12)     # LOAD_ATTR loads methods too, and its argument is odd then
ASKING = {"getattr", "hasattr", "vars", "dir", "__dict__", "attrgetter"}
EMPTY = object()


def in_library(name):
    """Whether a module is this package or NumPy."""
    return isinstance(name, str) and name.partition(".")[0] in LIBRARIES


def foreign(name):
    """Whether a module is of a library whose functions nobody replaces: this package, NumPy, the standard library."""
    return in_library(name) or not isinstance(name, str) or name.partition(".")[0] in sys.stdlib_module_names


def fingerprint(value, left=MOST):
    """What tells later whether the run itself has changed a container; holds nothing of it."""
    if isinstance(value, NUMBERS):
        return value
    if isinstance(value, types.MethodType):
        return id(value.__func__), id(value.__self__)
    if not isinstance(value, (list, tuple, dict)) or len(value) > left:
        return id(value)
    parts = [fingerprint(part, left // 4) for part in (value.values() if isinstance(value, dict) else value)]
    return (list(value), parts) if isinstance(value, dict) else parts


# ---- attributes

def from_class(cls, name):
    """What lies in a class or its bases, as it lies there; EMPTY: nothing, or a function of a library."""
    for c in cls.__mro__:
        if name in vars(c):
            found = vars(c)[name]
            return EMPTY if isinstance(found, FUNCTIONS) and foreign(c.__module__) else found
    return EMPTY


def attribute_holder(value, name):
    """Where an attribute lies: (dict or object, place); place "none": reading it runs code, or it is not there."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict) and name in own:            # of a threading.local it is the dict of one thread
        return (value, "attr") if isinstance(value, threading.local) else (own, "item")
    for cls in () if isinstance(value, types.ModuleType) else (value, type(value)):
        found = from_class(cls, name) if isinstance(cls, type) else EMPTY
        if found is not EMPTY:
            if isinstance(found, property) and cls is not value:         # its getter is entered
                return cls, "attr"
            plain = isinstance(found, (*FUNCTIONS, types.MemberDescriptorType)) or not hasattr(type(found), "__get__")
            return value, "attr" if plain else "none"
    return value, "none"


def attribute(thing, name):
    """An attribute as it lies in an object or its class, but for slots, of which it is the value; or EMPTY."""
    own = getattr(thing, "__dict__", {})
    if name in own:
        return own[name]
    found = from_class(thing if isinstance(thing, type) else type(thing), name)
    slot = isinstance(found, types.MemberDescriptorType) and not isinstance(thing, type)
    return getattr(thing, name, EMPTY) if slot else found


def is_plain(thing):
    """Whether a thing's attributes may be what a run reads: people's own objects, classes and modules."""
    if isinstance(thing, type):
        return bool(thing.__flags__ & HEAP_TYPE) and not in_library(thing.__module__)
    if isinstance(thing, types.ModuleType):
        return not foreign(thing.__name__)
    functions = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    return not isinstance(thing, (*NUMBERS, *CONTAINERS, *functions)) and not in_library(type(thing).__module__)


def context_value(var):
    """What a context variable is in this thread; EMPTY: nothing."""
    try:
        return var.get()
    except LookupError:
        return EMPTY


def elements(container):
    """All that lies in a container, the keys of a dict too."""
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


def remember(before, things):
    """Add to {id: {name: fingerprint}} what can be reached from some things, the nearest first; holds nothing of it."""
    left = collections.deque(things)
    while left and len(before) < MOST_OBJECTS:
        thing = left.popleft()
        if id(thing) in before:
            continue
        found = {}
        if isinstance(thing, CONTAINERS):
            left.extend(elements(thing) if len(thing) <= MOST else ())
        elif isinstance(thing, contextvars.ContextVar):
            found = {None: context_value(thing)}
        elif is_plain(thing):
            cls = thing if isinstance(thing, type) else type(thing)
            names = {name for c in cls.__mro__ if is_plain(c) for name in vars(c)}
            if cls is not thing:
                names = {name for name in names if isinstance(from_class(cls, name), types.MemberDescriptorType)}
                left.append(cls)
            found = {name: attribute(thing, name) for name in names.union(getattr(thing, "__dict__", ()))}
        else:
            continue
        before[id(thing)] = {name: fingerprint(value) for name, value in found.items()}
        left.extend(found.values())


# ---- names

class Names:
    """Under which names some codes read attributes.

    Attributes
    ----------
    read, called : sets of str
        Attributes, and methods.
    asked : set of str
        Strings that `getattr` may have got; empty where nobody asks.
    everything : bool
        Whether `vars` or its like is named, which sees all attributes.
    """

    def __init__(self, codes):
        self.read, self.called, self.asked, names = set(), set(), set(), set()
        for code in codes:
            read, called, asked = names_in(code)
            self.read |= read | asked
            self.called |= called
            self.asked |= asked
            names.update(code.co_names)
        self.asks, self.everything = bool(ASKING & names), not names.isdisjoint(("vars", "dir", "__dict__"))

    def ask(self, value):
        """A value that was read; its strings may be names."""
        if self.asks:
            found = set(strings(value))
            self.asked |= found
            self.read |= found

    def fit(self, name, value):
        """Whether an attribute may have been read; what is only called is no number."""
        return name in self.read or (name in self.called and callable(value))


@functools.lru_cache(maxsize=1024)
def names_in(code):
    """(attributes that are read, that are called as methods, strings that may be asked for) in a code."""
    read, called, asks = set(), set(), bool(ASKING & {*code.co_names})
    for ins in dis.get_instructions(code):
        if ins.opname == "LOAD_METHOD" or (METHOD and ins.opname == "LOAD_ATTR" and ins.arg & 1):
            called.add(ins.argval)
        elif ins.opname in ("LOAD_ATTR", "LOAD_SUPER_ATTR"):
            read.add(ins.argval)
        asks = asks or ins.opname == "MATCH_CLASS"
    return read, called, set(strings(code.co_consts)) if asks else set()


def strings(value):
    """The strings in a value that may be names."""
    return [text for text in inside(value, str) if text.isidentifier()]


def inside(value, kinds, left=MOST):
    """What of these kinds is in a value: itself, or in containers."""
    if isinstance(value, kinds):
        return [value]
    if not isinstance(value, CONTAINERS) or len(value) > left:
        return []
    return [found for part in elements(value) for found in inside(part, kinds, left // 4)]
