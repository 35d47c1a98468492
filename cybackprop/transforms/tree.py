"""Nested dicts, lists and tuples of tensors: take the leaves out, put others in."""

from cybackprop.errors import ShapeError


def flatten(tree):
    """The leaves, and what rebuilds the nest from as many others."""
    if isinstance(tree, dict):
        parts = [flatten(tree[k]) for k in tree]
        children = [(len(leaves), spec) for leaves, spec in parts]
        return [leaf for leaves, _ in parts for leaf in leaves], ("dict", list(tree), children)
    if isinstance(tree, (list, tuple)) and not _is_numbers(tree):
        parts = [flatten(part) for part in tree]
        return [leaf for leaves, _ in parts for leaf in leaves], (type(tree), None, [(len(le), sp) for le, sp in parts])
    return [tree], None


def _is_numbers(tree):
    """A list of plain numbers is data for one tensor, not a nest."""
    return isinstance(tree, list) and all(isinstance(x, (int, float)) for x in tree) and len(tree) > 0


def leaves_like(spec, tree, what):
    """The parts of a nest at the places where another nest has leaves; a part may be a nested list of numbers."""
    if spec is None:
        return [tree]
    kind, keys, children = spec
    if kind == "dict":
        if not isinstance(tree, dict) or list(tree) != keys:
            raise ShapeError(f"{what}: a dict with the keys {keys} is needed")
        parts = list(tree.values())
    else:
        if not isinstance(tree, (list, tuple)) or len(tree) != len(children):
            given = f"{len(tree)} parts" if isinstance(tree, (list, tuple)) else type(tree).__name__
            raise ShapeError(f"{what}: {given} for a {kind.__name__} of {len(children)}")
        parts = tree
    return [leaf for part, (_, child) in zip(parts, children, strict=True) for leaf in leaves_like(child, part, what)]


def unflatten(spec, leaves):
    """The nest with these leaves."""
    leaves = list(leaves)
    if spec is None:
        return leaves[0]
    kind, keys, children = spec
    parts, start = [], 0
    for n, child in children:
        parts.append(unflatten(child, leaves[start:start + n]))
        start += n
    if kind == "dict":
        return dict(zip(keys, parts, strict=True))
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def tree_map(function, tree):
    """Apply a function to every leaf."""
    leaves, spec = flatten(tree)
    return unflatten(spec, map(function, leaves))
