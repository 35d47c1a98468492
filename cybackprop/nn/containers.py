"""Lists and dicts of modules that tell programs when they change."""

from cybackprop._core.engine import structure_changed


def noting(kind, names):
    """Methods of a built-in container that note a change of structure after they ran."""

    def wrap(original):
        def method(self, *args, **kwargs):
            result = original(self, *args, **kwargs)
            structure_changed()
            return result

        method.__name__, method.__doc__ = original.__name__, original.__doc__
        return method

    return {name: wrap(getattr(kind, name)) for name in names}


class ModuleList(list):
    """A list of modules or parameters; Module makes one of every list of them that it is given.

    Edits count as a change of structure, so that compiled programs notice them.
    """

    vars().update(noting(list, ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
                                "__setitem__", "__delitem__", "__iadd__", "__imul__"]))

    def items(self):
        """(name, member) pairs, named by place."""
        return ((str(i), member) for i, member in enumerate(self))


class ModuleDict(dict):
    """A dict of modules or parameters by name; see `ModuleList`."""

    vars().update(noting(dict, ["clear", "pop", "popitem", "setdefault", "update", "__setitem__", "__delitem__",
                                "__ior__"]))
