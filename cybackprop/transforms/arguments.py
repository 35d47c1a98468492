"""Arguments and results of compiled functions: arrays become tensors, nests are put together again."""

import collections
import copy
import enum
import functools
import types

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Tensor, unpack

STATIC = (bool, int, float, complex, str, bytes, type(None), type(...), np.generic, enum.Enum, range, slice)
CONSTANT = (*STATIC, Tensor, type, np.dtype, types.ModuleType, types.BuiltinFunctionType)
CHANGES = ("the call changes a container among its arguments, and the caller's does not change with it in later calls; "
           "return what is new instead")


def given(leaves):
    """The leaves as a compiled function gets them: arrays are weak tensors, anything else is what it is."""
    return [engine.weak_tensor(x) if engine.is_array(x) else x for x in leaves]


def call(function, args, kwargs, leaves, new):
    """function(*args, **kwargs) with new leaves; a container is the caller's own unless there is another leaf in it.

    Returns the result, and all containers that may change: [(the one that the function has, what was in it, whether it
    was made for the call)].
    """
    made = []
    engine.enter_compiled()
    try:
        return _called(function, args, kwargs, leaves, new, made), made
    finally:
        engine.leave_compiled()


def _called(function, args, kwargs, leaves, new, made):
    if not kwargs and len(args) == len(leaves) and all(x is y for x, y in zip(args, leaves, strict=True)):
        return function(*new)            # all arguments are leaves
    left = iter(new)
    args = tuple(_exchanged(x, left, made) for x in args)
    kwargs = {k: _exchanged(x, left, made) for k, x in kwargs.items()}
    return function(*args, **kwargs)


def run_eagerly(compiled, args, kwargs):
    """A call of a compiled function that is neither recorded nor replayed: as any other, of tensors."""
    _, leaves = unpack(args, kwargs)
    result, made = call(compiled.function, args, kwargs, leaves, given(leaves))
    if changed(x for x in made if x[2]):
        compiled.history.warn_once(CHANGES)
    return strong(result)


def changed(made):
    """Whether a container among a call's arguments is not what it was."""
    return any(not _alike(x, *then) for x, then, _ in made)


def _alike(x, keys, parts):
    _, now, found = _parts(x)
    return now == keys and len(found) == len(parts) and all(map(_is, found, parts))


def _is(x, y):
    return x is y


def strong(tree):
    """A result whose tensors are no longer weak: they are what the function made, of their own dtype."""
    if isinstance(tree, Tensor):
        engine.end_weakness(tree)
    elif isinstance(tree, (list, tuple, set, frozenset)):
        for part in tree:
            strong(part)
    elif isinstance(tree, dict):
        for part in tree.values():
            strong(part)
    return tree


def _exchanged(x, left, made):
    """A nest with the next leaves; itself where they are its own."""
    kind, keys, parts = _parts(x)
    if kind is None:
        return next(left)
    new = [_exchanged(part, left, made) for part in parts]
    own = all(map(_is, new, parts))
    other = x if own else rebuilt(kind, new, keys, x)
    if not isinstance(x, tuple):
        made.append((other, (keys, new), not own))
    return other


def _parts(x):
    """(type, keys or None, parts) of a container as `engine.unpack` sees it; a type of None: a leaf."""
    if isinstance(x, (list, tuple)):
        return type(x), None, list(x)
    if isinstance(x, dict):
        return type(x), *engine.dict_items(x)
    if engine.is_dataclass(x):
        return type(x), list(vars(x)), list(vars(x).values())
    return None, None, None


def pack(spec, leaves):
    """(args, kwargs) with these leaves.  spec: of `unpack`, or None where all arguments are leaves."""
    return (tuple(leaves), {}) if spec is None else _packed(spec, iter(leaves))


def _packed(spec, left):
    if spec is None:
        return next(left)
    kind, keys, children = spec
    n = keys if isinstance(keys, int) else len(keys)
    return rebuilt(kind, [_packed(children and children[k], left) for k in range(n)], keys)


def rebuilt(kind, parts, keys=None, template=None):
    """A container of a type with other parts; template: the one that it is to be like."""
    if issubclass(kind, dict):
        base = collections.OrderedDict if issubclass(kind, collections.OrderedDict) else dict
        made = kind.__new__(kind) if template is None else copy.copy(template)
        base.clear(made)
        for key, part in zip(keys, parts, strict=True):
            base.__setitem__(made, key, part)
        return made
    if issubclass(kind, list) and kind is not list:
        made = kind.__new__(kind) if template is None else copy.copy(template)
        list.clear(made)
        list.extend(made, parts)
        return made
    if issubclass(kind, tuple) and kind is not tuple:    # a namedtuple, say
        made = tuple.__new__(kind, parts)
        if template is not None and engine.own_dict(template):
            vars(made).update(vars(template))
        return made
    if issubclass(kind, (list, tuple, set, frozenset)):
        return kind(parts)
    made = object.__new__(kind)          # a dataclass
    vars(made).update(zip(keys, parts, strict=True))
    return made


def results(tree, leaves, new, mark, knows=None):
    """The tensors of a nest, and a function (others, leaves) that makes the nest of others.

    A result that is an argument is that argument in later calls too, and one that is there twice is one object.  What
    is no tensor stays as it was, and so do tensors from outside with a history: records up to number mark.  new: the
    leaves as the function got them.  knows: whether a container was there before; it is handed over itself.
    """
    tensors = []
    known = {id(x): ("argument", k, None) for k, x in enumerate(new) if isinstance(x, Tensor) and x is leaves[k]}
    spec = _taken(tree, tensors, known, mark, knows or _nothing)
    return tensors, functools.partial(_nest, spec)


def others(make):
    """What is no tensor in the results of a recorded function."""
    return _others(make.args[0])


def _others(spec):
    kind, what, children = spec
    return [what] if kind == "other" else [x for child in children or () for x in _others(child)]


def difference(make, again, leaves):
    """What of the results that is no tensor another run has made otherwise: (it, what it was), or None."""
    return _difference(make.args[0], again.args[0], leaves)


def _difference(spec, other, leaves):
    (kind, what, children), (kind2, what2, children2) = spec, other
    if type(kind) is not type(kind2) or (isinstance(kind, (str, type)) and kind != kind2):
        return kind2, kind
    if children is None:
        if kind == "argument":           # f(x, x) returns the first and the second
            return None if leaves[what2] is leaves[what] else (f"argument {what2}", f"argument {what}")
        counts = isinstance(what, STATIC) or kind != "other"
        return (what2, what) if counts and not engine.agree(what2, what) else None
    if what != what2 or len(children) != len(children2):
        return what2 or len(children2), what or len(children)
    return next(filter(None, (_difference(x, y, leaves) for x, y in zip(children, children2, strict=True))), None)


# NOTE: functions inside functions that call themselves would be cycles, and hold tensors until the collector comes.

def _nothing(node):
    return False


def _taken(node, tensors, known, mark, knows):
    if not isinstance(node, Tensor) and type(node) is not tuple and knows(node):
        return ("other", node, None)
    if isinstance(node, dict):
        kind = "dict"
        if type(node) is not dict:       # a template of it: copies keep its type, and what else it has
            kind = copy.copy(node)
            kind.clear()
        return kind, list(node), [_taken(v, tensors, known, mark, knows) for v in node.values()]
    if isinstance(node, (list, tuple, set, frozenset)) and not engine.own_dict(node):
        return (type(node), None, [_taken(v, tensors, known, mark, knows) for v in node])
    if engine.is_dataclass(node):
        return (type(node), list(vars(node)), [_taken(v, tensors, known, mark, knows) for v in vars(node).values()])
    if id(node) in known:
        return known[id(node)]
    made = isinstance(node, Tensor) and (node.record is None or node.record.number > mark)
    if made and not hasattr(node, "assign"):
        tensors.append(node)
        return known.setdefault(id(node), ("tensor", len(tensors) - 1, None))
    return ("other", node, None)


def _nest(spec, new, leaves):
    kind, what, children = spec
    if children is None:
        return new[what] if kind == "tensor" else leaves[what] if kind == "argument" else what
    parts = [_nest(c, new, leaves) for c in children]
    if isinstance(kind, type):
        return rebuilt(kind, parts, what)
    made = {} if kind == "dict" else copy.copy(kind)
    made.update(zip(what, parts, strict=True))
    return made
