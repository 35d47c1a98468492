"""Group: the options of some parameters, its numbers in cells."""

from collections.abc import MutableMapping

from cybackprop._core.engine import State, Tensor, live_number, structure_changed
from cybackprop.nn.containers import ModuleList

PAIRS = {"betas": ("beta1", "beta2")}    # options that are several numbers of the update rule


class Group(MutableMapping):
    """The options of a group of parameters: a mapping whose numbers can be changed at any time.

    A number that the update rule reads lives in a cell, a float64 State: ``group["lr"]`` reads it,
    ``group["lr"] = 0.1`` writes it, and whoever holds the cell, a compiled program for one, finds the new value there.
    Everything else ("params", decay_bias, amsgrad) is kept as it is given; changing that is a change of structure.

    ``group["lr"]`` is a Python float.  In a function that is being compiled it stands for the float that each run finds
    there: ``group["lr"] = group["lr"] * 0.5`` halves it in every run.

    Parameters
    ----------
    options : dict
        "params" and the options, by name.
    numbers : sequence of str
        What the update rule reads, each a cell; 1 where there is no such option.
    switches : sequence of str
        Options that decide whether a moment is there: between zero and not zero they change the structure.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import optim
    >>> group = optim.Adam([cb.Parameter([1.0])]).param_groups[0]
    >>> group["lr"] = 0.5
    >>> group["lr"], group.cell("lr").item(), group["betas"]
    (0.5, 0.5, (0.9, 0.999))
    """

    def __init__(self, options, numbers, switches=()):
        self._numbers = {}               # option: what it reads as, its cells
        self._others = {}
        self._switches = switches
        self._keys = dict.fromkeys(options)
        cells, known = {}, set(numbers)
        for key, value in options.items():
            names = PAIRS.get(key, (key,))
            if known.issuperset(names):
                kind = tuple if key in PAIRS else bool if isinstance(value, bool) else float
                self._numbers[key] = kind, names
                cells |= {n: State(v, "float64") for n, v in zip(names, self._parsed(key, value), strict=True)}
                self._numbers[key] = kind, [cells[n] for n in names]
            else:
                self[key] = value
        self._cells = {name: cells[name] if name in cells else State(1.0, "float64") for name in numbers}

    def cell(self, name):
        """The State of a number: of "lr", or of "beta1" and "beta2", which make up "betas"."""
        return self._cells[name]

    def __getitem__(self, key):
        if key not in self._numbers:
            return self._others[key]
        kind, cells = self._numbers[key]
        if kind is bool:                 # programs branch on it
            return bool(cells[0])
        return tuple(map(live_number, cells)) if kind is tuple else live_number(cells[0])

    def __setitem__(self, key, value):
        if key in self._numbers:
            _, cells = self._numbers[key]
            switch = key in self._switches           # only of those a program asks whether they are on
            was_on = switch and bool(cells[0])
            for c, v in zip(cells, self._parsed(key, value), strict=True):
                c.assign(v)
            if switch and bool(cells[0]) != was_on:
                structure_changed()
        elif key not in self._others or not _same(self._others[key], value):
            self._keys[key] = None
            self._others[key] = ModuleList(value) if key == "params" else value
            structure_changed()

    def _parsed(self, key, value):
        """What the cells of an option take for a value: floats, or tensors of one number."""
        kind, cells = self._numbers[key]
        values = tuple(value) if kind is tuple else (value,)
        if len(values) != len(cells):
            raise ValueError(f"{key}: {len(cells)} numbers are needed, not {value}")
        return [v if isinstance(v, Tensor) and v.ndim == 0 else float(v) for v in values]

    def facts(self):
        """What of it is a matter of structure: all but the numbers."""
        return [part for key, value in self._others.items() for part in (key, value)] + list(self["params"])

    def merged(self, options):
        """A dict of what `update` would make of the group; it fails as that would, and changes nothing."""
        for key in options.keys() & self._numbers.keys():
            self._parsed(key, options[key])
        return {**self, **options}

    def __delitem__(self, key):
        if key == "params" or key in self._numbers:
            raise TypeError(f"{key} is an option of the update rule and stays")
        del self._others[key], self._keys[key]
        structure_changed()

    def __iter__(self):
        return iter(self._keys)

    def __len__(self):
        return len(self._keys)

    def __repr__(self):
        return f"Group({dict(self)})"


def _same(old, new):
    return old is new or (isinstance(new, (bool, int, float, str)) and type(new) is type(old) and new == old)
