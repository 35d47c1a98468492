"""What follows from what a recorded run has read: guards, inputs found again, modules and tensors that are counted."""

import collections
import contextvars
import functools
import types

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Guard, Parts, Tensor
from cybackprop.transforms.reaching import (
    CONTAINERS,
    EMPTY,
    FUNCTIONS,
    MOST,
    NUMBERS,
    Names,
    attribute,
    attribute_holder,
    context_value,
    fingerprint,
    foreign,
    from_class,
    inside,
    is_plain,
)
from cybackprop.transforms.watching import closures, functions_of, places, there

REAL = (int, float, np.floating, np.integer)
MOST_GUARDS = 512                        # beyond, what is only reachable is left to audits
MOST_ALIKE = 8                           # functions of one code: of more, none is looked after


class Findings:
    """The guards that follow from what a Watcher saw.

    Attributes
    ----------
    guards : list of Guard
    arrays : list of (Guard, array or Tensor)
        Arrays outside that were read, and how to find them again.
    modules, tensors : lists
        Whose changes are counted: Modules, and tensors that may take a gradient.
    aliases : list of (Guard, int)
        Places outside that hold an argument, which is counted by its number.
    known : dict
        {id: object} of what was found outside.
    numbers : set
        All numbers that have a source: guards, arguments, literals.
    """

    def __init__(self, watcher, is_module, leaves, function, was_read):
        self.guards, self.arrays, self.modules, self.tensors, self.aliases = [], [], [], [], []
        self.known = {}
        self._is_module, self._was_read, self._done = is_module, was_read, set()
        self._before, self._names = watcher.before, Names(code for code, *_ in watcher.frames)
        self._reached, self._seen = collections.deque(), set()
        literals = [code.co_consts for code, *_ in watcher.frames]
        self.numbers = {x for known in (*literals, leaves) for part in known for x in inside(part, REAL)}
        self._find(watcher, function, leaves)

    def _find(self, watcher, function, leaves):
        self._leaves = {id(x): k for k, x in reversed([*enumerate(leaves)]) if isinstance(x, (Tensor, np.ndarray))}
        for thing in watcher.objects.values():
            self._object(thing)
        functions = functions_of(watcher.frames, function)
        cells_of = closures(watcher.frames, functions)
        for f in [function, *functions]:
            self._brought(f)
        for x in leaves:
            self._reach(x, "an argument")
        known = -1
        while known < len(self.known):   # a place that is found may be the way to an argument of another function
            known = len(self.known)
            for code, names, given, free, before in watcher.frames:
                for cells in cells_of[id(code), *free]:
                    for place in places(code, names, given, cells, self._is_module, self.known):
                        self._value(*place, before)
            while self._reached and len(self.guards) < MOST_GUARDS:
                self._attributes(*self._reached.popleft())
        for code, _, given, *_ in watcher.frames:
            self._method(code, given)
        self._code([getattr(function, "__func__", function), *functions, *self.known.values()], watcher.frames)

    def _brought(self, function):
        """What a callable brings along can't be replaced, but containers may change inside, and so may self."""
        values = []
        if isinstance(function, types.FunctionType):
            values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        elif isinstance(function, functools.partial):
            values = [function.func, *function.args, *function.keywords.values()]
        elif isinstance(function, types.MethodType):
            values = [function.__self__]
        label = f"an argument of {function.__name__ if isinstance(function, types.FunctionType) else 'partial'}"
        for value in values:
            self.known[id(value)] = value
            self._brought(value)
            if id(value) in self._leaves:
                self._alias(value, None, value, label, "self")
            if isinstance(value, CONTAINERS):
                self._value(value, None, value, label, "self", True, True, {})

    def _object(self, thing):
        """An object of this package whose methods ran: Modules are counted, of others the plain numbers are guarded."""
        if self._is_module(thing):
            self.modules.append(thing)
        elif hasattr(thing, "__dict__") and not isinstance(thing, type):
            for name, value in vars(thing).items():
                if isinstance(value, NUMBERS) and not name.startswith("_"):
                    self._add(Guard(vars(thing), name, value, "equal", f"{type(thing).__name__}.{name}", "item"))

    def _alias(self, holder, name, value, label, place):
        """A place that holds an argument is the argument in later calls too, as long as it holds that."""
        self.aliases.append((Guard(holder, name, value, "same", label, place), self._leaves[id(value)]))

    def _value(self, holder, name, value, label, place, counted, end, before):
        """Guard one place by what lies there, unless its changes are counted, or the run itself has changed it.

        What a run changes, a list it appends to, say, changes while recording only; an audit finds out whether more
        depends on it.
        """
        if value is EMPTY or (label in before and before[label] != fingerprint(value)):
            return
        if id(value) in self._leaves:
            if place != "self":          # else it is the argument itself
                self._alias(holder, name, value, label, place)
            return
        if place != "self" and not isinstance(value, types.MethodType):       # a method is made anew when it is read
            self.known[id(value)] = value
        self._names.ask(value)
        self.numbers.update(inside(value, REAL))
        self._brought(value)
        if isinstance(value, CONTAINERS):
            copy = self._copied(value, label, [MOST], end)
            how = "same" if copy is value else "equal"
        elif isinstance(value, (Tensor, np.ndarray)):
            copy, how = value, self._array(holder, name, value, label, place)
        else:
            copy, how = value, "equal" if isinstance(value, (*NUMBERS, types.MethodType)) else "same"
            if self._is_module(value):
                self.modules.append(value)
            if end:
                self._reach(value, label)
        if how == "equal" or (how and not counted and not isinstance(value, types.BuiltinMethodType)):
            self._add(Guard(holder, name, copy, how, label, place))

    def _array(self, holder, name, value, label, place):
        """How a place with an array is guarded; "": by the program that reads it anew at each call."""
        if isinstance(value, Tensor) and (hasattr(value, "assign") or value.requires_grad):
            self.tensors.append(value)
        elif self._was_read(value):
            self.arrays.append((Guard(holder, name, value, "like", label, place), value))
            return ""
        return "same"

    def _copied(self, value, label, left, end):
        """What `agree` compares a container with later; the value itself if there is too much in it."""
        left[0] -= len(value)
        if left[0] < 0 or isinstance(value, (set, frozenset)):
            for part in value if end and left[0] >= 0 else ():
                self._reach(part, label)
            return value if left[0] < 0 else type(value)(value)
        is_dict, copies, holder = isinstance(value, dict), [], None
        for key, part in list(value.items() if is_dict else enumerate(value)):
            self.known[id(part)] = part
            where = f"{label}[{key!r}]"
            if isinstance(part, CONTAINERS):
                copy = self._copied(part, where, left, end)
            elif not isinstance(part, (Tensor, np.ndarray)):
                copy = part
                if self._is_module(part):
                    self.modules.append(part)
                if end:
                    self._reach(part, where)
            elif id(part) in self._leaves:
                copy = part
                self._alias(value, key, part, where, "item")
            elif self._array(value, key, part, where, "item"):
                copy = part
            else:
                copy, holder = Parts(type(part), (part.dtype, part.shape), None), value
            copies.append(copy)
        return value if left[0] < 0 else Parts(type(value), list(value) if is_dict else None, copies, holder)

    # ---- what the bytecode does not say: see `reaching`

    def _reach(self, thing, label):
        """Attributes of that may have been read."""
        if self._is_module(thing):       # what is in itself is counted
            thing = type(thing)
        if id(thing) not in self._seen and is_plain(thing):
            self._seen.add(id(thing))
            self._reached.append((thing, label))

    def _attributes(self, thing, label):
        """Guard the attributes of a plain object whose names were mentioned."""
        before = self._before.get(id(thing))
        if before is None:               # the run has made it, or it is too far away
            return
        if isinstance(thing, contextvars.ContextVar):
            value, label = context_value(thing), f"{label}.get()"
            if thing.get(EMPTY) is EMPTY:                # its default, which stays
                self._add(Guard(thing, None, engine.MISSING, "same", label, "context"))
                self._value(value, None, value, label, "self", True, True, {})
            elif before[None] == fingerprint(value):
                self._value(thing, None, value, label, "context", False, True, {})
            return
        names, own = self._names, getattr(thing, "__dict__", None)
        if (names.everything and isinstance(own, dict) and not isinstance(thing, types.ModuleType)
                and all(before.get(name, EMPTY) == fingerprint(value) for name, value in own.items())):
            self._value(own, None, own, f"{label}.__dict__", "self", False, True, {})
        before = self._before.get(id(type(thing)), {}) | before
        wanted = names.asked if isinstance(thing, types.ModuleType) else names.read | names.called
        for name in sorted(wanted & before.keys()):
            holder, where = attribute_holder(thing, name)
            if where != "none" and before[name] == fingerprint(attribute(thing, name)):
                value = holder[name] if where == "item" else getattr(holder, name)
                if names.fit(name, value):
                    self._value(holder, name, value, f"{label}.{name}", where, False, True, {})
        if not hasattr(type(thing), "__getattr__"):
            for name in sorted(names.asked - before.keys()):
                if not hasattr(thing, name):
                    self._add(Guard(thing, name, engine.MISSING, "same", f"{label}.{name}", "attr"))

    # ---- functions

    def _method(self, code, given):
        """Guard what a class has where the method that was entered lies: it may be replaced there."""
        owner = there(given[code.co_varnames[0]], self.known) if code.co_argcount and given else None
        cls = owner if isinstance(owner, type) else type(owner)
        for c in cls.__mro__:
            for name, found in () if foreign(c.__module__) else [*vars(c).items()]:
                f = getattr(found, "fget", None) or getattr(found, "__func__", found)
                if not isinstance(found, (*FUNCTIONS, property)) or (
                        name != code.co_name and getattr(f, "__code__", None) is not code):
                    continue
                holders = [] if (id(owner), name) in self._done else [cls]
                for holder in holders if from_class(cls, name) is found else [*holders, c]:      # c's: by super()
                    value = getattr(holder, name)
                    how = "equal" if isinstance(value, types.MethodType) else "same"
                    self._add(Guard(holder, name, value, how, f"{holder.__name__}.{name}", "attr"))

    def _code(self, things, frames):
        """Guard what the functions that ran are made of."""
        ran = {id(code) for code, *_ in frames}
        functions = {id(f): f for f in things if isinstance(f, types.FunctionType) and not foreign(f.__module__)
                     and id(f.__code__) in ran}.values()
        alike = collections.Counter(id(f.__code__) for f in functions)
        for f in functions:
            if alike[id(f.__code__)] <= MOST_ALIKE:
                self._add(Guard(f, "__code__", f.__code__, "same", f"the code of {f.__name__}", "code"))
                label = f"the defaults of {f.__name__}"
                if f.__defaults__:       # a tuple: what is in it stays, and containers in it are guarded: _brought
                    self._add(Guard(f, "__defaults__", f.__defaults__, "same", label, "attr"))
                if f.__kwdefaults__:
                    self._value(f, "__kwdefaults__", f.__kwdefaults__, label, "attr", False, False, {})

    def _add(self, guard):
        key = (id(guard.holder), guard.name)
        if key not in self._done:
            self._done.add(key)
            self.guards.append(guard)
