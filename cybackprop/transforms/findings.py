"""What follows from what a recorded run has read: guards, inputs found again, modules and tensors that are counted."""

import functools
import types

import numpy as np

from cybackprop._core.engine import Guard, Parts, Tensor
from cybackprop.transforms.watching import (
    CALLS,
    EMPTY,
    MOST,
    NUMBERS,
    closures,
    fingerprint,
    functions_of,
    places,
)


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
        Globals and cells of the function that hold an argument, which is counted by its number.
    """

    def __init__(self, watcher, is_module, leaves, function, was_read):
        self.guards, self.arrays, self.modules, self.tensors, self.aliases = [], [], [], [], []
        self._is_module, self._was_read, self._done, self._known = is_module, was_read, set(), {}
        leaves = {id(x): k for k, x in reversed([*enumerate(leaves)]) if isinstance(x, (Tensor, np.ndarray))}
        own = {id(cell) for cell in getattr(function, "__closure__", None) or ()}
        for thing in watcher.objects.values():
            self._object(thing)
        functions = functions_of(watcher.frames, function)
        cells_of = closures(watcher.frames, functions)
        for f in [function, *functions]:
            self._brought(f)
        known = -1
        while known < len(self._known):  # a place that is found may be the way to an argument of another function
            known = len(self._known)
            for code, names, given, free, before in watcher.frames:
                for cells in cells_of[id(code), *free]:
                    for place in places(code, names, given, cells, is_module, self._known):
                        if id(place[2]) not in leaves:
                            self._value(*place, before)
                        elif place[0] is names or id(place[0]) in own:
                            self._alias(*place, before, leaves)

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
            self._known[id(value)] = value
            self._brought(value)
            if isinstance(value, (list, tuple, dict, set)):
                self._value(value, None, value, label, "self", True, {})

    def _object(self, thing):
        """An object of this package whose methods ran: Modules are counted, of others the plain numbers are guarded."""
        if self._is_module(thing):
            self.modules.append(thing)
        elif hasattr(thing, "__dict__") and not isinstance(thing, type):
            for name, value in vars(thing).items():
                if isinstance(value, NUMBERS) and not name.startswith("_"):
                    self._add(Guard(vars(thing), name, value, "equal", f"{type(thing).__name__}.{name}", "item"))

    def _alias(self, holder, name, value, label, place, _, before, leaves):
        """A place that holds an argument is the argument in later calls too, as long as it holds that."""
        if before.get(label) in (None, fingerprint(value)):
            self.aliases.append((Guard(holder, name, value, "same", label, place), leaves[id(value)]))

    def _value(self, holder, name, value, label, place, counted, before):
        """Guard one place by what lies there, unless its changes are counted, or the run itself has changed it.

        What a run changes, a list it appends to, say, changes while recording only; an audit finds out whether more
        depends on it.
        """
        if value is EMPTY or (label in before and before[label] != fingerprint(value)):
            return
        self._known[id(value)] = value
        self._brought(value)
        if isinstance(value, (list, tuple, dict, set)):
            copy = self._copied(value, label, [MOST])
            how = "same" if copy is value else "equal"
        elif isinstance(value, (Tensor, np.ndarray)):
            copy, how = value, self._array(holder, name, value, label, place)
        else:
            copy, how = value, "equal" if isinstance(value, NUMBERS) else "same"
            if self._is_module(value):
                self.modules.append(value)
        if how == "equal" or (how and not counted and not isinstance(value, CALLS)):
            self._add(Guard(holder, name, copy, how, label, place))

    def _array(self, holder, name, value, label, place):
        """How a place with an array is guarded; "": by the program that reads it anew at each call."""
        if isinstance(value, Tensor) and (hasattr(value, "assign") or value.requires_grad):
            self.tensors.append(value)
        elif self._was_read(value):
            self.arrays.append((Guard(holder, name, value, "like", label, place), value))
            return ""
        return "same"

    def _copied(self, value, label, left):
        """What `agree` compares a container with later; the value itself if there is too much in it."""
        left[0] -= len(value)
        if left[0] < 0 or isinstance(value, set):
            return value if left[0] < 0 else set(value)
        is_dict, copies, holder = isinstance(value, dict), [], None
        for key, part in list(value.items() if is_dict else enumerate(value)):
            self._known[id(part)] = part
            if isinstance(part, (list, tuple, dict, set)):
                copy = self._copied(part, f"{label}[{key!r}]", left)
            elif not isinstance(part, (Tensor, np.ndarray)):
                copy = part
                if self._is_module(part):
                    self.modules.append(part)
            elif self._array(value, key, part, f"{label}[{key!r}]", "item"):
                copy = part
            else:
                copy, holder = Parts(type(part), (part.dtype, part.shape), None), value
            copies.append(copy)
        return value if left[0] < 0 else Parts(type(value), list(value) if is_dict else None, copies, holder)

    def _add(self, guard):
        key = (id(guard.holder), guard.name)
        if key not in self._done:
            self._done.add(key)
            self.guards.append(guard)
