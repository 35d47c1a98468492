"""What a recorded run read from outside: globals, cells, attributes and items in the functions it entered.

A program may be replayed as long as these are what they were.  Functions of this package are not looked into: what they
read are Modules, whose changes are counted, and states.
"""

import contextvars
import dis
import functools
import gc
import inspect
import sys
import threading
import types
import weakref

import numpy as np

from cybackprop._core.engine import Tensor, functions_with
from cybackprop.transforms.reaching import (
    CONTAINERS,
    EMPTY,
    NUMBERS,
    attribute_holder,
    fingerprint,
    in_library,
    remember,
)


class Collection(threading.local):
    """Whether one runs in this thread.  What callbacks and finalizers do then is nothing that the function does."""

    runs = False


COLLECTION = Collection()


def collection_begins(phase, info):
    """The first of `gc.callbacks`."""
    if phase == "start":
        COLLECTION.runs = True


def collection_ends(phase, info):
    """The last of them."""
    if phase == "stop":
        COLLECTION.runs = False


def surround_collections():
    """Put these two around the callbacks of others.

    They stay: another thread may be going through the list, and whoever takes one out makes it pass over the next.
    """
    around = [collection_begins, *(f for f in gc.callbacks if f not in (collection_begins, collection_ends)),
              collection_ends]
    if gc.callbacks != around:
        gc.callbacks[:] = around


class Watcher:
    """Collects the Python functions that run inside ``with watcher:``, and the library objects whose methods do.

    Attributes
    ----------
    before : dict
        What could be reached as functions were entered; see `reaching.remember`.
    """

    def __init__(self, is_module):
        self.frames, self.objects, self.before = [], {}, {}
        self._seen, self._is_module = set(), is_module

    def __enter__(self):
        surround_collections()
        COLLECTION.runs = False          # a finalizer may call what is recorded
        self._before = sys.getprofile()
        if not callable(self._before or len):            # a profiler written in C, cProfile say, rests meanwhile
            self._before.disable()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *exc):
        if callable(self._before or len):
            sys.setprofile(self._before)
        else:
            sys.setprofile(None)
            self._before.enable()

    def _look(self, frame, event, arg):
        if callable(self._before):
            self._before(frame, event, arg)
        if event != "call" or COLLECTION.runs:
            return
        code, library = frame.f_code, in_library(frame.f_globals.get("__name__"))
        first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if library:
            if getattr(type(first), "guarded_by_programs", False):
                self.objects[id(first)] = first
        else:                            # a method once for each object, a function once for each closure
            free = [id(frame.f_locals.get(name, EMPTY)) for name in code.co_freevars]
            if (id(code), id(first), *free) not in self._seen:       # equal codes may have other globals
                self._seen.add((id(code), id(first), *free))
                self._enter(code, frame, free)

    def _enter(self, code, frame, free):
        several = (code.co_flags & inspect.CO_VARARGS > 0) + (code.co_flags & inspect.CO_VARKEYWORDS > 0)
        names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount + several]
        given = {name: way_to(frame.f_locals[name]) for name in names if name in frame.f_locals}
        values = {name: types.SimpleNamespace(cell_contents=frame.f_locals[name]) for name in code.co_freevars
                  if name in frame.f_locals}
        before, ends = {}, [frame.f_locals[name] for name in names if name in frame.f_locals]
        for _, _, value, label, _, _, end in places(code, frame.f_globals, given, values, self._is_module):
            before[label] = fingerprint(value)
            ends += [value] if end else []
        remember(self.before, ends)
        self.frames.append((code, frame.f_globals, given, free, before))


def way_to(thing):
    """How to find an argument afterwards if it has outlived the run: what was made meanwhile is no place to guard.

    Containers and objects with slots are found by their number among what places outside hold; see `findings`.
    """
    try:
        return id(thing) if isinstance(thing, (Tensor, np.ndarray)) else weakref.ref(thing)
    except TypeError:
        return id(thing)


def functions_of(frames, function):
    """The functions that may have run, as far as they are still there; `function` was called first."""
    found, lost, runs = [], set(), {}
    for code, *_ in frames:
        runs[id(code)] = runs.get(id(code), 0) + 1
    for code, names, given, *_ in frames:
        own = getattr(function, "__code__", None) is code and runs[id(code)] == 1        # else other closures ran too
        known = function if own else _named(code, names, given)
        if known is not None:
            found.append(known)
        elif code.co_freevars or code.co_argcount or code.co_kwonlyargcount:       # else it can't bring anything along
            lost.add(id(code))
    return found + (_holders(lost) if lost else [])


def _holders(codes):
    frozen = gc.get_freeze_count()       # what gc.freeze has set aside is not looked through
    gc.unfreeze()
    found = functions_with(codes)
    if frozen:
        gc.collect()
        gc.freeze()
    return found


def _named(code, names, given):
    """The function or method of a module or a class that has that code and is found by its name, or None."""
    first = given.get(code.co_varnames[0]) if code.co_argcount else None
    owner = first() if isinstance(first, weakref.ref) else None
    for place in ([names] if owner is None else [names, *map(vars, type(owner).__mro__)]):
        f = place.get(code.co_name)
        f = getattr(f, "fget", None) or getattr(f, "__func__", f)                  # a property, a class method
        while f is not None and getattr(f, "__code__", None) is not code:
            f = getattr(f, "__wrapped__", None)
        if f is not None and set(code.co_freevars) <= {"__class__"}:
            return f
    return None


def closures(frames, functions):
    """{(id of the code, *ids of what its free variables were): [{name: cell}]} of those functions.

    Only those that are still there: what a run makes for itself is no place to guard.  Several that closed over the
    same can't be told apart, nor any where a variable was bound anew: then the cells of all are guarded.
    """
    found = {}
    for code, _, _, free, _ in frames:
        cells = [dict(zip(code.co_freevars, f.__closure__ or (), strict=True)) for f in functions if f.__code__ is code]
        same = [c for c in cells if [id(filled(cell)) for cell in c.values()] == free]
        found[id(code), *free] = same or cells or [{}]
    return found


def filled(cell):
    """What a cell holds."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


@functools.lru_cache(maxsize=1024)
def paths(code):
    """The places that a function reads: [(root, steps)]; a root is ("global" | "cell" | "local", name), a step
    ("attr", name) or ("item", key)."""
    found, aliases = set(), {}
    stores = [name for i in dis.get_instructions(code) if i.opname.startswith("STORE_FAST")
              for name in (i.argval if isinstance(i.argval, tuple) else (i.argval,))]
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
            if op.startswith("STORE_FAST") and isinstance(arg, tuple):         # two instructions in one, 3.13's
                arg, rest = arg
            else:
                rest = None
            if now and op.startswith("STORE_FAST") and stores.count(arg) == 1:
                aliases[arg] = now       # another name of it, no use yet
            elif now:
                found.add(now)
            now = aliases.get(rest, (("local", rest), ())) if op == "STORE_FAST_LOAD_FAST" else None
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
    return sorted(found | ({now} if now else set()), key=repr)


def places(code, names, given, cells, is_module, known=None):
    """[(holder, name, value, label, where, counted, end)] on all paths of a function.

    counted: its changes are counted.  end: what is done with the value the path doesn't say; see `reaching`.
    known: {id: object} of what may be an argument and can't be found by a weak reference.
    """
    given = {name: there(way, known or {}) for name, way in given.items()}
    return [place for root, steps in paths(code)
            for place in along(root, steps, names, given, cells, is_module)]


def there(way, known):
    """What `way_to` leads to, or None."""
    return known.get(way) if isinstance(way, int) else way()


def along(root, steps, names, given, cells, is_module):
    """The places along one path, as far as reading them runs no code."""
    kind, name = root
    if kind == "global" and name in names:
        value = names[name]
        yield names, name, value, name, "item", False, ends(value, steps)
    elif kind == "cell" and name in cells:
        value = filled(cells[name])
        yield cells[name], None, value, name, "cell", False, ends(value, steps)
    elif kind == "local" and given.get(name) is not None:
        value = given[name]              # an argument: no place of its own, but the way to its attributes
        yield value, None, value, name, "self", True, ends(value, steps)
    else:
        return                           # a builtin, or a local variable
    label = name
    for k, (step, key) in enumerate(steps):
        if isinstance(value, (Tensor, np.ndarray, *NUMBERS)):
            return
        if isinstance(value, types.ModuleType) and in_library(value.__name__):
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
        yield holder, key, value, label, where, counted, ends(value, steps[k + 1:])


def ends(value, steps):
    """Whether a path says no more of what is read of a value: only steps into what it holds do."""
    return not steps or steps[0] == ("attr", "__dict__") or (
        steps[0][0] == "attr" and isinstance(value, (*CONTAINERS, contextvars.ContextVar)))
