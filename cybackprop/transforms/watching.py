"""What a recorded run read from outside: globals, cells, attributes and items in the functions it entered.

A program may be replayed as long as these are what they were.  Functions of this package are not looked into: what they
read are Modules, whose changes are counted, and states.
"""

import dis
import gc
import sys
import types
import weakref

import numpy as np

from cybackprop._core.engine import Guard, Tensor

NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.generic, type(...))
LIBRARIES = ("cybackprop", "numpy")
MOST = 256                               # elements of a container that is compared at each call


class Watcher:
    """Collects the Python functions that run inside ``with watcher:``, and the library objects whose methods do."""

    def __init__(self, is_module):
        self.frames, self.objects = [], {}
        self.before = {}                 # (id of a holder, name) -> what was there when the function was entered
        self._seen, self._is_module = set(), is_module

    def __enter__(self):
        self._before = sys.getprofile()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *exc):
        sys.setprofile(self._before)

    def _look(self, frame, event, arg):
        if self._before is not None:
            self._before(frame, event, arg)
        if event != "call":
            return
        code, library = frame.f_code, in_library(frame.f_globals.get("__name__"))
        first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if library:
            if getattr(type(first), "guarded_by_programs", False):
                self.objects[id(first)] = first
        elif (code, id(first)) not in self._seen:        # a method once for each object
            self._seen.add((code, id(first)))
            names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
            given = {name: weak(frame.f_locals[name]) for name in names if name in frame.f_locals}
            frame = code, frame.f_globals, given, cells_of(code, frame.f_locals)
            self.frames.append(frame)
            for holder, name, value, *_ in places(*frame, self._is_module):
                copy, count = snapshot(value)
                if copy is not EMPTY and count <= MOST:
                    self.before.setdefault((id(holder), name), copy)


def weak(thing):
    """A way to an argument if it outlives the run: what was made meanwhile is no place to guard."""
    try:
        return None if isinstance(thing, (Tensor, np.ndarray, list, tuple, dict, set)) else weakref.ref(thing)
    except TypeError:
        return None


def in_library(name):
    """Whether a module is this package or NumPy."""
    return isinstance(name, str) and name.partition(".")[0] in LIBRARIES


def cells_of(code, values):
    """{name: cell} of the variables that a function closes over."""
    if not code.co_freevars:
        return {}
    for function in gc.get_referrers(code):
        if isinstance(function, types.FunctionType) and function.__closure__:
            cells = dict(zip(code.co_freevars, function.__closure__, strict=True))
            if all(filled(cell) is values.get(name, EMPTY) for name, cell in cells.items()):
                return cells
    return {}


EMPTY = object()


def filled(cell):
    """What a cell holds."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def paths(code):
    """The places that a function reads: {(root, steps)}; a root is ("global" | "cell" | "local", name), a step
    ("attr", name) or ("item", key)."""
    found, aliases = set(), {}
    stores = [i.argval for i in dis.get_instructions(code) if i.opname == "STORE_FAST"]
    now = key = None
    for ins in dis.get_instructions(code):
        op, arg = ins.opname, ins.argval
        if op in ("CACHE", "PUSH_NULL", "NOP", "RESUME", "EXTENDED_ARG", "PRECALL", "COPY_FREE_VARS"):
            continue
        if op in ("LOAD_ATTR", "LOAD_METHOD") and now:
            now = (now[0], (*now[1], ("attr", arg)))
        elif op == "LOAD_CONST" and now:
            key = (now, arg)
            continue
        elif op in ("BINARY_SUBSCR", "BINARY_OP") and key and (op == "BINARY_SUBSCR" or arg == 26):
            now = (key[0][0], (*key[0][1], ("item", key[1])))
        else:
            if now:
                found.add(now)
                if op == "STORE_FAST" and stores.count(arg) == 1:
                    aliases[arg] = now
            now = None
            if op in ("LOAD_GLOBAL", "LOAD_NAME"):
                now = (("global", arg), ())
            elif op in ("LOAD_DEREF", "LOAD_CLOSURE"):
                now = (("cell", arg), ())
            elif op.startswith("LOAD_FAST"):
                for name in arg if isinstance(arg, tuple) else (arg,):
                    if now:
                        found.add(now)
                    now = aliases.get(name, (("local", name), ()))
        key = None
    return found | ({now} if now else set())


def places(code, names, given, cells, is_module):
    """[(holder, name, value, label, where, counted)] on all paths of a function; counted: its changes are counted."""
    return [place for root, steps in sorted(paths(code), key=repr)
            for place in along(root, steps, names, given, cells, is_module)]


def along(root, steps, names, given, cells, is_module):
    """The places along one path, as far as reading them runs no code."""
    kind, name = root
    if kind == "global" and name in names:
        value = names[name]
        yield names, name, value, name, "item", False
    elif kind == "cell" and name in cells:
        value = filled(cells[name])
        yield cells[name], None, value, name, "cell", False
    elif kind == "local" and given.get(name) is not None and given[name]() is not None:
        value = given[name]()            # an argument: no place of its own, but the way to its attributes
        yield value, None, value, name, "self", True
    else:
        return                           # a builtin, or a local variable
    label = name
    for step, key in steps:
        if isinstance(value, (Tensor, np.ndarray, *NUMBERS)) or in_library(getattr(value, "__name__", None)):
            return
        label += f".{key}" if step == "attr" else f"[{key!r}]"
        holder, where = attribute_holder(value, key) if step == "attr" else (value, "item")
        if where == "none":
            return
        counted = step == "attr" and is_module(value)
        try:
            value = getattr(holder, key) if where == "attr" else holder[key]
        except (KeyError, IndexError, TypeError, AttributeError):
            return
        yield holder, key, value, label, where, counted


class Findings:
    """The guards that follow from what a Watcher saw.

    Attributes
    ----------
    guards : list of Guard
    arrays : list of (Guard, array or Tensor)
        Arrays outside, and how to find them again.
    modules : list of Module
    """

    def __init__(self, watcher, is_module, leaves):
        self.guards, self.arrays, self.modules = [], [], []
        self._is_module, self._before, self._done = is_module, watcher.before, set()
        leaves = {id(x) for x in leaves}
        for thing in watcher.objects.values():
            self._object(thing)
        for frame in watcher.frames:
            for place in places(*frame, is_module):
                if id(place[2]) not in leaves:
                    self._value(*place)

    def _object(self, thing):
        """An object of this package whose methods ran: Modules are counted, of others the plain numbers are guarded."""
        if self._is_module(thing):
            self.modules.append(thing)
        elif hasattr(thing, "__dict__") and not isinstance(thing, type):
            for name, value in vars(thing).items():
                if isinstance(value, NUMBERS) and not name.startswith("_"):
                    self._add(Guard(vars(thing), name, value, "equal", f"{type(thing).__name__}.{name}", "item"))

    def _value(self, holder, name, value, label, place, counted):
        """Guard one place by what lies there, unless its changes are counted, or the run itself has changed it.

        What a run changes, a list it appends to, say, changes while recording only; an audit finds out whether more
        depends on it.
        """
        make = not counted
        if value is EMPTY:
            return
        if (id(holder), name) in self._before and not same(self._before[id(holder), name], snapshot(value)[0]):
            return
        if isinstance(value, (Tensor, np.ndarray)) and not hasattr(value, "assign"):
            self.arrays.append((Guard(holder, name, value, "like", label, place), value))
        elif self._is_module(value):
            self.modules.append(value)
            if make:
                self._add(Guard(holder, name, value, "same", label, place))
        elif isinstance(value, NUMBERS):
            if make:
                self._add(Guard(holder, name, value, "equal", label, place))
        elif isinstance(value, (list, tuple, dict, set, frozenset)):
            copy, count = snapshot(value)
            if copy is not EMPTY and count <= MOST:
                self._add(Guard(holder, name, copy, "equal", label, place))
            elif make:
                self._add(Guard(holder, name, value, "same", label, place))
        elif make and not isinstance(value, (types.MethodType, types.BuiltinMethodType)):
            self._add(Guard(holder, name, value, "same", label, place))

    def _add(self, guard):
        key = (id(guard.holder), guard.name)
        if key not in self._done:
            self._done.add(key)
            self.guards.append(guard)


def attribute_holder(value, name):
    """Where an attribute lies: (dict or object, place); place "none": reading it runs code, or it is not there."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict) and name in own:
        return own, "item"
    if isinstance(value, types.ModuleType):
        return value, "none"
    for cls in type(value).__mro__:
        if name in vars(cls):
            found = vars(cls)[name]
            plain = isinstance(found, (*NUMBERS, list, tuple, dict, np.ndarray, types.MemberDescriptorType))
            return value, "attr" if plain else "none"
    return value, "none"


def same(a, b):
    """Whether two snapshots agree; NaN agrees with itself."""
    return a is b or (type(a) is type(b) and (a == b or (a != a and b != b)))


def snapshot(value, depth=4):
    """A copy of a container of plain values, and how many there are; EMPTY where something else is inside."""
    if isinstance(value, NUMBERS):
        return value, 1
    if depth == 0 or type(value) not in (list, tuple, dict, set, frozenset):
        return EMPTY, 0
    parts = value.values() if isinstance(value, dict) else value
    copies, count = [], 0
    for part in parts:
        copy, n = snapshot(part, depth - 1)
        count += n
        if copy is EMPTY or count > MOST:
            return EMPTY, count
        copies.append(copy)
    if isinstance(value, dict):
        return dict(zip(value, copies, strict=True)), count
    return type(value)(copies), count
