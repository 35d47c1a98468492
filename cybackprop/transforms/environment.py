"""The environment of a function: all that it can name outside of its arguments, found before it runs.

A function names globals, cells and defaults, and its code says under which names it reads attributes.  So the walk goes
from a function to what it names, from a container to its elements, from an object, class or module to its attributes of
any name that the code reached so far mentions.  No code of the user's runs meanwhile.  What the walk can't read, an
iterator say, is an `obstacle`: there is no program then.  docs/adr/0013-environments.md has the reasons.
"""

import abc
import array
import builtins
import collections
import contextvars
import enum
import functools
import gc
import operator
import os
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import (
    ABSENT,
    Compiled,
    Content,
    Place,
    Tensor,
    array_bytes,
    own_dict,
    referent,
    type_lookup,
)
from cybackprop.transforms import codes, opaque
from cybackprop.transforms.codes import in_library

STATIC = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice)      # nothing else is in them
ARRAYS = (Tensor, np.ndarray)
CONTAINERS = (list, dict, set, frozenset, collections.deque)
LOOKED_INTO = (*CONTAINERS, types.ModuleType, type(os.environ), np.random.RandomState)       # in libraries
MOST = 65536                             # elements of a container, bytes of an array, places in all


class Environment:
    """What a function and the objects among its arguments lead to.

    Parameters
    ----------
    function : callable
    leaves : list
        The arguments; arrays and tensors among them are inputs and are not looked at.
    kinds : sequence of type
        Classes of containers among the arguments, whose methods the function may call.
    borrowed : sequence
        Objects that are alive in each call and must not be kept alive: a method's self, objects among the arguments.

    Attributes
    ----------
    places : list of Place
    arrays : list of (Place, Tensor or ndarray)
        Arrays that lie in places: inputs, if the function hands them to an operation.
    modules, counted, tensors : list
        Modules, other objects of this package that count their changes, and Tensors: see `facts.Facts`.
    roots : list of (label, object)
        What the code knows by a plain name: a saved program calls its states after them.
    obstacle : str or None
        What the walk could not read, and why.
    is_too_large : bool
        Whether it is the number of places, which no later call will change.
    """

    def __init__(self, function, leaves=(), borrowed=(), kinds=()):
        self.places, self.arrays, self.modules, self.counted, self.tensors, self.roots = [], [], [], [], [], []
        self.obstacle, self.is_too_large = None, False
        self._seen, self._done, self._names, self._borrowed = {}, set(), {}, {id(x) for x in borrowed}
        self._several = set()                            # ids of arrays that lie in several places
        self._everything = self._catches = False         # code asks for attributes by computed names; catches errors
        self._left, self._objects, self._classes, self._modules = collections.deque(), [], [], []
        self.see(function, getattr(function, "__name__", type(function).__name__))
        for x in leaves:
            if not engine.is_array(x) and not issubclass(type(x), Tensor):
                self.see(x, "an argument")
        for kind in kinds:
            self.see(kind, kind.__name__)
        self._walk()
        for cls, label in self._classes:
            names = sorted(self._names)
            self.places.append(Place("class", cls, names, [type_lookup(cls, n) for n in names], label))

    def knows(self, x):
        """Whether the walk has met a thing."""
        return id(x) in self._seen

    def lies_once(self, array):
        """Whether an array was found in one place only."""
        return id(array) not in self._several

    def appeared(self):
        """Labels of attributes of mentioned names that were not there when the walk looked."""
        return [f"{label}.{name}" for _, label, own, _ in self._objects if own
                for name in self._names.keys() & own.keys() if (id(own), name) not in self._done]

    def _walk(self):
        """Until there is nothing new: neither things, nor names of attributes for those that are known."""
        names, done = 0, 0
        while self.obstacle is None and (self._left or done < len(self._objects) or names < len(self._names)):
            while self._left and self.obstacle is None:
                self._look(*self._left.popleft())
            if names < len(self._names):
                names, done = len(self._names), 0        # all of them, for the new names
            while done < len(self._objects):
                self._attributes(self._objects[done])
                done += 1
            if len(self.places) > MOST:
                self.is_too_large = True
                self._stop("the code", f"leads to more than {MOST} places")

    def _stop(self, label, why):
        self.obstacle = self.obstacle or f"`{label}` {why}"

    def _name(self, names):
        for name in names:
            self._names.setdefault(name, len(self._names))

    # ---- places and what lies there

    def place(self, where, holder, key, value, label):
        """Note a place, and look at what lies there."""
        if (id(holder), key if issubclass(type(key), (str, int)) else id(key)) in self._done:
            return
        self._done.add((id(holder), key if issubclass(type(key), (str, int)) else id(key)))
        self._seen.setdefault(id(holder), holder)
        place = Place(where, holder, key, value, label)
        self.places.append(place)
        if issubclass(type(value), ARRAYS):
            self.arrays.append((place, value))
        self.see(value, label)

    def probe(self, function, label):
        """A place that is read by a function of ours."""
        self._seen[id(function)] = function
        self.place("probe", function, None, function(), label)

    def see(self, x, label):
        """Something was found: it will be looked at."""
        if id(x) in self._seen:
            if issubclass(type(x), ARRAYS):
                self._several.add(id(x))
        elif type(x) not in STATIC and x is not ABSENT:
            self._seen[id(x)] = x
            self._left.append((x, label if len(label) < 80 else "..." + label[-60:]))

    def _look(self, x, label):
        if type_lookup(type(x), "guarded_by_programs") is True:
            look = E._nn_module if type_lookup(type(x), "named_modules") is not ABSENT else E._counted
        elif type_lookup(type(x), "program_attributes") is not ABSENT:
            look = E._trainer
        else:
            look = next((LOOKS[kind] for kind in type(x).__mro__ if kind in LOOKS), None)
        if look is not None:
            look(self, x, label)
        elif opaque.is_harmless(x):
            return
        elif codes.is_plain(type(x)) or issubclass(type(x), enum.Enum):
            self._object(x, label)
        elif hasattr(type(x), "__next__"):
            self._stop(label, "is an iterator, which moves on when it is read; hand over what it gives as an argument")
        else:
            self._stop(label, f"is a {type(x).__name__}, whose state can't be compared; hand it over as an argument, "
                              "or keep what changes in a cb.State")

    # ---- code

    def _function(self, f, label):
        self.place("function", f, None, (f.__code__, f.__defaults__, f.__kwdefaults__), f"the code of {label}")
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                value = ABSENT
            self.roots.append((name, value))
            self.place("cell", cell, None, value, name)
        for value in f.__defaults__ or ():
            self.see(value, f"a default of {label}")
        self.see(f.__kwdefaults__, f"the defaults of {label}")
        if in_library(f.__globals__):    # its globals are nobody's to change; what it closes over may be
            return
        names = codes.names_in(f.__code__)
        self._name(names.mentioned)
        if names.everything > self._everything or names.catches > self._catches:
            self._everything, self._catches = self._everything | names.everything, self._catches | names.catches
            for entry in self._objects:  # what is absent there is a place now
                entry[3] = 0
            self._name((f"<{len(self._names)}>",))       # a name of nothing: all are looked at again
        self._objects.append([f, label, f.__dict__, 0])
        for name in names.loaded:
            value = f.__globals__.get(name, ABSENT)
            if value is not ABSENT:
                self.roots.append((name, value))
            self.place("item", f.__globals__, name, value, name)
        package = f.__globals__.get("__package__")
        for name in codes.imports(names.imported, package):
            self.place("item", sys.modules, name, sys.modules.get(name, ABSENT), name)
        if names.any_global:
            self._container(f.__globals__, "globals()")

    def _parts(self, x, label):
        """Callables around others."""
        for name in ("__func__", "__self__", "__wrapped__", "fget", "fset", "func", "args", "keywords", "function"):
            part = getattr(x, name, None)
            if part is not None:
                self.see(part, "self" if name == "__self__" else label)
        if issubclass(type(x), functools.partial):
            self._whole(own_dict(x), label)
        if issubclass(type(x), types.MethodType):
            self.roots.append(("self", x.__self__))

    def _builtin(self, x, label):
        if not issubclass(type(x.__self__), (types.ModuleType, type(None))):
            self.see(x.__self__, label)
        if x is os.getenv:
            self.see(os.environ, "os.environ")

    def _cached(self, x, label):
        self.probe(functools.partial(cached, x), f"the cache of {label}")
        for part in cached(x):           # what it has returned so far may be changed
            self.see(part, f"the cache of {label}")

    def _getter(self, x, label):
        self._name(part for name in x.__reduce__()[1] if issubclass(type(name), str) for part in name.split("."))

    # ---- containers

    def _container(self, x, label):
        if x is vars(builtins):
            return
        n = next(kind.__len__(x) for kind in CONTAINERS if issubclass(type(x), kind))
        if n > MOST:
            self._stop(label, f"has {n} elements, and a program compares {MOST} at most; make it an array")
            return
        content = Content(x)
        if type(x) not in (frozenset, tuple):
            self.places.append(Place("content", x, None, content, label))
        keys = content.keys or range(len(content.parts))
        where = "item" if issubclass(type(x), dict) else "element" if issubclass(type(x), list) else None
        for key, part in zip(keys, content.parts, strict=True):
            if engine.is_name(key) and type(part) in STATIC:
                continue
            named = engine.is_name(key)
            inside = f"{label}[{key!r}]" if named else label
            if issubclass(type(part), ARRAYS) and where and named:
                self.place(where, x, key, part, inside)
            else:
                self.see(part, inside)
            self.see(key, label)
        if codes.is_users(type(x)) or (own_dict(x) and type(x) not in (dict, list)):
            self._object(x, label)

    def _tuple(self, x, label):
        for k, part in enumerate(tuple.__iter__(x)):
            if issubclass(type(part), ARRAYS):
                self.probe(functools.partial(tuple.__getitem__, x, k), f"{label}[{k}]")
            else:
                self.see(part, f"{label}[{k}]")
        if codes.is_users(type(x)) and own_dict(x) is not None:
            self._object(x, label)

    def _array(self, x, label):
        """Of its bytes; after the run those go that an operation took whole."""
        if x.dtype.hasobject:
            self._stop(label, "is an array of Python objects; make it a list, or an array of numbers")
        elif x.nbytes <= MOST:
            self.places.append(Place("bytes", x, None, array_bytes(x), label))
        else:
            self.places.append(Place("bytes", x, None, None, label))

    # ---- objects, classes, modules

    def _object(self, x, label):
        cls = type(x)
        own = own_dict(x)
        holder = x
        if id(x) in self._borrowed and type_lookup(cls, "__weakref__") is not ABSENT:
            holder = weakref.ref(x)
        self.places.append(Place("type", holder, own, cls, f"the class of {label}"))
        self.see(cls, cls.__name__)
        self._objects.append([x, label, own, 0])

    def _class(self, cls, label):
        if not codes.is_users(cls):
            return
        self._classes.append((cls, label))
        self._objects.append([cls, label, None, 0])
        if issubclass(type(cls), abc.ABCMeta):
            self.probe(abc.get_cache_token, "the classes that are registered as others'")
        self.see(type(cls), type(cls).__name__)
        for base in cls.__mro__[1:]:     # what `super()` finds
            self.see(base, base.__name__)
        theirs = {name for c in cls.__mro__[:-1] if not codes.is_users(c) for name in vars(c)}
        for c in cls.__mro__:
            if codes.is_users(c):
                for name, found in list(vars(c).items()):        # what the interpreter or a library calls
                    if (name in theirs or name.startswith("__")) and callable(found) and name not in NEVER_READ:
                        self._name((name,))
                        self.see(found, f"{c.__name__}.{name}")

    def _module(self, module, label):
        self._objects.append([module, label, vars(module), 0])
        if module is random or module is np.random:
            self.see(random._inst if module is random else np.random.mtrand._rand, label)

    def _attributes(self, entry):
        """The attributes of a thing under the names that are new since it was looked at."""
        x, label, own, since = entry
        names = list(self._names)[since:]
        entry[3] = len(self._names)
        if issubclass(type(x), type):
            for name in names:
                self.see(type_lookup(x, name), f"{label}.{name}")
            if self._everything or "__dict__" in self._names or codes.inherits_code(x):
                for c in x.__mro__:
                    if codes.is_users(c):
                        self._name(n for n in vars(c) if not n.startswith("__"))
                        if (id(c), "everything") not in self._done:      # others may appear
                            self._done.add((id(c), "everything"))
                            self.probe(functools.partial(class_names, c), f"vars({c.__name__})")
        elif issubclass(type(x), (types.FunctionType, Compiled)):
            if self._everything or "__dict__" in self._names:
                self._whole(own, label)
            for name in names if self._catches else own.keys() & names:
                self.place("item", own, name, own.get(name, ABSENT), f"{label}.{name}")
        elif issubclass(type(x), types.ModuleType):
            self._module_attributes(x, label, own, names)
        else:
            self._instance_attributes(x, label, own, names)

    def _module_attributes(self, module, label, own, names):
        library = in_library(own)
        if (self._everything or "__dict__" in self._names) and not library:
            self._whole(own, label)
        computed = not library and "__getattr__" in own
        if computed:
            self.see(own["__getattr__"], f"{label}.__getattr__")
        for name in names:
            value = own.get(name, ABSENT)
            if value is ABSENT and (library or not (self._catches or computed)):
                continue
            if library and not issubclass(type(value), LOOKED_INTO):
                self._seen.setdefault(id(value), value)          # compared, but not looked into
            self.place("item", own, name, value, f"{label}.{name}")
        if module is os and "getenv" in names:
            self.see(os.environ, "os.environ")

    def _whole(self, own, label):
        """All attributes, entry by entry."""
        if (id(own), "everything") not in self._done:
            self._done.add((id(own), "everything"))
            self._container(own, f"vars({label})")

    def _instance_attributes(self, x, label, own, names):
        cls = type(x)
        everything = (self._everything or not codes.is_users(cls) or "__dict__" in self._names
                      or (codes.inherits_code(cls) and type_lookup(cls, "guarded_by_programs") is ABSENT))
        catches = self._catches or type_lookup(cls, "__getattr__") is not ABSENT
        if everything and own is not None:
            self._whole(own, label)
        for name in (*names, *(codes.slots(x) if everything else ())):
            found = type_lookup(cls, name)
            inside = f"{label}.{name}"
            if issubclass(type(found), types.MemberDescriptorType):
                value = slot(found, x)
                if value is not ABSENT or catches or codes.is_users(cls):
                    self._seen[id(found)] = found
                    self._slot(x, found, value, inside)
                continue
            if own is not None and (name in own or catches or (
                    found is not ABSENT and not hasattr(type(found), "__set__"))):
                self.place("item", own, name, own.get(name, ABSENT), inside)
            self.see(found, inside)

    def _slot(self, x, descriptor, value, label):
        if (id(x), "slot", id(descriptor)) not in self._done:
            self._done.add((id(x), "slot", id(descriptor)))
            place = Place("slot", x, descriptor, value, label)
            self.places.append(place)
            if issubclass(type(value), ARRAYS):
                self.arrays.append((place, value))
            self.see(value, label)

    # ---- things of this package

    def _tensor(self, t, label):
        self.tensors.append(t)
        if codes.is_users(type(t)):
            self._object(t, label)
        for hook in t.hooks:
            self.see(hook, f"a hook of {label}")

    def _nn_module(self, module, label):
        self.modules.append(module)
        for name, value in list(vars(module).items()):
            self.see(value, f"{label}.{name}")
        if codes.is_users(type(module)):
            self._object(module, label)

    def _counted(self, x, label):
        """An optimizer or a schedule: its own numbers, and what else it holds."""
        self.counted.append(x)
        own = vars(x)
        for name, value in list(own.items()):
            if type(value) in STATIC:
                if not name.startswith("_"):
                    self.place("item", own, name, value, f"{label}.{name}")
            elif callable(value):
                self.see(value, f"{label}.{name}")
        for group in getattr(x, "param_groups", ()):
            for p in group["params"]:
                self.see(p, label)
        self.see(type(x), type(x).__name__)
        if codes.is_users(type(x)):
            self._object(x, label)

    def _trainer(self, x, label):
        for name in type(x).program_attributes:
            self.place("item", vars(x), name, vars(x)[name], name)

    def _compiled(self, x, label):
        self.see(x.function, label)
        self._objects.append([x, label, own_dict(x), 0])

    def _static(self, x, label):
        """A number or a string of the user's class, or a member of an enum: it can't change, but has methods."""
        if codes.is_users(type(x)):
            self._object(x, label)

    # ---- what has another state than attributes

    def _variable(self, x, label):
        self.probe(functools.partial(x.get, ABSENT), f"{label}.get()")

    def _local(self, x, label):
        if type(x) is not threading.local:
            self._stop(label, "is of a subclass of threading.local, which runs code when a thread first reads it")
        self.probe(functools.partial(getattr, x, "__dict__"), label)

    def _reference(self, x, label):
        found = referent(x)
        if found is None or isinstance(found, (Tensor, np.ndarray)):
            self.probe(functools.partial(referent, x), label)
        else:
            self._borrowed.add(id(found))
            self.probe(functools.partial(is_alive, x), label)
            self.see(found, label)

    def _buffer(self, x, label):
        if memoryview(x).nbytes > MOST:
            self._stop(label, f"has {memoryview(x).nbytes} bytes, and a program compares {MOST} at most; hand it over "
                              "as an argument")
        else:
            self.probe(functools.partial(opaque.buffer_state, x), label)

    def _view(self, x, label):
        self.probe(functools.partial(dict, x), label)

    def _random(self, x, label):
        self.probe(functools.partial(random.Random.getstate, x), f"the state of {label}")

    def _numpy_random(self, x, label):
        self.probe(functools.partial(opaque.numpy_state, x), f"the state of {label}")

    def _environ(self, x, label):
        self.see(x._data, label)


def slot(descriptor, x):
    """What is in a slot; ABSENT: nothing."""
    try:
        return descriptor.__get__(x)
    except AttributeError:
        return ABSENT


def class_names(cls):
    """What a class itself has attributes for."""
    return tuple(name for name in vars(cls) if not name.startswith("__"))      # pickle adds some


def is_alive(reference):
    """Whether there is still what a weak reference leads to."""
    return referent(reference) is not None


def cached(f):
    """What a cache of functools holds, in the order of addresses: a hit moves what it finds."""
    parts = [x for part in gc.get_referents(f) for x in (part.values() if type(part) is dict else (part,))]
    parts = [x for x in parts if type(x).__name__ != "_lru_list_elem" and not isinstance(x, type)]
    return tuple(sorted(parts, key=id))


def _nothing(environment, x, label):
    """What can't change, or is seen to elsewhere."""


NEVER_READ = {"__class__", "__init_subclass__", "__subclasshook__", "__dict__", "__weakref__", "__del__"}
E = Environment
LOOKS: dict[type, Callable[..., None]] = {
    types.FunctionType: E._function, types.MethodType: E._parts, staticmethod: E._parts, classmethod: E._parts,
    property: E._parts, functools.partial: E._parts, functools.partialmethod: E._parts,
    functools.cached_property: E._parts, types.BuiltinFunctionType: E._builtin,
    types.MethodWrapperType: E._parts, type(functools.lru_cache(len)): E._cached,
    operator.attrgetter: E._getter, operator.methodcaller: E._getter, operator.itemgetter: _nothing,
    list: E._container, dict: E._container, set: E._container, frozenset: E._container, collections.deque: E._container,
    tuple: E._tuple, np.ndarray: E._array, types.SimpleNamespace: E._object, type: E._class,
    types.ModuleType: E._module, Tensor: E._tensor,
    Compiled: E._compiled, contextvars.ContextVar: E._variable, threading.local: E._local,
    weakref.ReferenceType: E._reference, weakref.ProxyType: E._reference, weakref.CallableProxyType: E._reference,
    types.MappingProxyType: E._view, random.Random: E._random, np.random.RandomState: E._numpy_random,
    np.random.Generator: E._numpy_random, np.random.BitGenerator: E._numpy_random, type(os.environ): E._environ,
    types.CodeType: _nothing, np.dtype: _nothing, np.generic: _nothing,
    **dict.fromkeys((int, float, complex, str, bytes, enum.Enum), E._static),
    **dict.fromkeys((memoryview, bytearray, array.array), E._buffer),
}
