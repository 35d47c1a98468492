"""Lists and dicts of modules that tell programs when they change."""

from cybackprop._core.engine import State, structure_changed


def is_member(value):
    """Whether a value is, or holds, a State or something with parameters."""
    if isinstance(value, (list, tuple)):
        return any(map(is_member, value))
    if isinstance(value, dict):
        return any(map(is_member, value.values()))
    return isinstance(value, State) or hasattr(value, "named_parameters")


def tracked(value):
    """Lists, tuples and dicts with members as containers that note their edits; anything else as it is."""
    if type(value) in (list, tuple) and is_member(value):
        return ModuleList(value)
    if type(value) is dict and is_member(value):
        return ModuleDict(value)
    return value


def noting(kind, names):
    """Methods of a built-in container that track what comes in and note a change of structure."""

    def wrap(original):
        def method(self, *args, **kwargs):
            result = original(self, *args, **kwargs)
            self.track()
            structure_changed()
            return result

        method.__name__, method.__doc__ = original.__name__, original.__doc__
        return method

    return {name: wrap(getattr(kind, name)) for name in names}


class ModuleList(list):
    """A list of modules, parameters or other States; Module makes one of every list or tuple of them that it is given.

    Edits count as a change of structure, so that compiled programs notice them.
    """

    vars().update(noting(list, ["__init__", "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
                                "__setitem__", "__delitem__", "__iadd__", "__imul__"]))

    def track(self):
        """Make containers inside note their edits too."""
        for i, value in enumerate(self):
            list.__setitem__(self, i, tracked(value))


class ModuleDict(dict):
    """A dict of modules, parameters or other States by name; see `ModuleList`."""

    vars().update(noting(dict, ["__init__", "clear", "pop", "popitem", "setdefault", "update", "__setitem__",
                                "__delitem__", "__ior__"]))

    def track(self):
        """Make containers inside note their edits too."""
        for key, value in list(self.items()):
            dict.__setitem__(self, key, tracked(value))
