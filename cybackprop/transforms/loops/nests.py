"""The nests that loops carry: dicts, lists and tuples of tensors, or None where there is nothing."""

from cybackprop._core.engine import Tensor, is_weak, operand_like
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.movement import as_tensor
from cybackprop.transforms.arguments import rebuilt

LEAF = "leaf"


def take(tree, path=""):
    """(leaves, spec): the leaves as (tensor or what becomes one, where it is) and what puts others together."""
    if tree is None:
        return [], None
    if isinstance(tree, dict):
        parts = [take(v, f"{path}[{k!r}]") for k, v in tree.items()]
        return [leaf for leaves, _ in parts for leaf in leaves], ("dict", tuple(tree), tuple(spec for _, spec in parts))
    if isinstance(tree, (list, tuple)) and not _is_numbers(tree):
        parts = [take(v, f"{path}[{i}]") for i, v in enumerate(tree)]
        return [leaf for leaves, _ in parts for leaf in leaves], (type(tree), None, tuple(spec for _, spec in parts))
    return [(tree, path)], LEAF


def _is_numbers(tree):
    """A list of plain numbers is data for one tensor, not a nest."""
    return isinstance(tree, list) and all(isinstance(x, (int, float)) for x in tree) and len(tree) > 0


def tensors(tree):
    """(leaves as tensors, spec)."""
    leaves, spec = take(tree)
    return [as_tensor(x) for x, _ in leaves], spec


def put(spec, leaves):
    """The nest with these leaves."""
    return _make(spec, iter(leaves))


def _make(node, left):                   # no function of its own for each call: that would be a cycle
    if node is None:
        return None
    if node == LEAF:
        return next(left)
    kind, keys, children = node
    parts = [_make(child, left) for child in children]
    return dict(zip(keys, parts, strict=True)) if kind == "dict" else rebuilt(kind, parts)


def require_functions(what, *functions):
    """Raise TypeError for what can't be called."""
    for f in functions:
        if not callable(f):
            raise TypeError(f"{what}: a function is needed, not {type(f).__name__}")


def shown(spec):
    """A structure for people: {'h': *, 'c': (*, *)}."""
    if spec is None or spec == LEAF:
        return "None" if spec is None else "*"
    kind, keys, children = spec
    parts = [shown(c) for c in children]
    if kind == "dict":
        return "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(keys, parts, strict=True)) + "}"
    text = ", ".join(parts) + ("," if kind is tuple and len(parts) == 1 else "")
    return f"[{text}]" if kind is list else f"({text})" if kind is tuple else f"{kind.__name__}({text})"


def alike(what, name, tree, spec, like):
    """The leaves of a nest as tensors that have the shapes and dtypes of others, numbers cast to them.

    Raises
    ------
    ShapeError, DTypeError
        The structure, a shape or a dtype is another; the message has both.
    """
    leaves, mine = take(tree)
    if mine != spec:
        raise ShapeError(f"{what}: {name} was {shown(spec)} and the body returned {shown(mine)}; it must stay as it is")
    out = []
    for (x, path), t in zip(leaves, like, strict=True):
        y = operand_like(what, t, x) if not isinstance(x, Tensor) or is_weak(x) else x
        if y.shape != t.shape:
            raise ShapeError(f"{what}: {name}{path} had shape {t.shape} and the body returned {y.shape}; "
                             "it must stay as it is")
        if y.dtype != t.dtype:
            raise DTypeError(f"{what}: {name}{path} was {t.dtype} and the body returned {y.dtype}; use astype, or "
                             f"start with {y.dtype}")
        out.append(y)
    return out
