"""Programs from files that `Compiled.save` or `save_programs` wrote.

C reads the tensor "program" alone, and checks all of it; what the header of the file says must agree.
"""

import os
from functools import lru_cache, partial

import numpy as np

from cybackprop._core.engine import SavedPrograms, Tensor, end_recording, run_loaded, tensor
from cybackprop.errors import DTypeError, ModelFileError, ShapeError, TapeError
from cybackprop.io.atomic import atomic_write
from cybackprop.io.safetensors import parse_tensors

# names in such a file: of the tensor that describes the programs, and what those of constants and inputs begin with
PROGRAM, CONSTANT, INPUT = "program", "constant/", "batch/"
TAKES = {"b": "b", "i": "biu", "f": "biuf"}              # kinds of data that are cast to an input of a kind


def save_packed(path, data):
    """Write a file's bytes, all or nothing, once a reader has found nothing wrong with them."""
    ProgramFile(data)
    atomic_write(path, [data])


def load_program(path):
    """Read a file of programs that `Compiled.save` or `save_programs` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    ProgramFile
        Its programs are called with named arrays, at any batch size.

    Raises
    ------
    ModelFileError
        The file is damaged, of a later version, or holds no programs.  A file is data: nothing in it is run but
        operations that have been checked.
    OSError
        The file can't be read.

    Examples
    --------
    >>> import cybackprop as cb
    >>> total = cb.State(0.0)
    >>> @cb.compile
    ... def add(x):
    ...     total.assign(total + x.sum())
    ...     return total / len(x)
    >>> add.save("add.safetensors", cb.ones(4))
    >>> file = cb.load_program("add.safetensors")
    >>> file(x=[1.0, 2.0]).item(), file(x=[1.0, 2.0, 3.0]).item(), file.states["total"].item()
    (1.5, 3.0, 9.0)
    """
    try:
        with open(os.fspath(path), "rb") as file:
            return ProgramFile(file.read())
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


class ProgramFile:
    """Programs from a file; they share its states.

    Attributes
    ----------
    programs : dict of str to LoadedProgram
    states : dict of str to State
        By path: "model/layers/0/weight", "opt/lr".  What the programs read and write: an `assign` counts at once.

    Notes
    -----
    A pickle or a deep copy is what `save` would write: the programs, and the states as they are at that moment.  The
    file and its programs, pickled together, go on sharing states; a State that is pickled with them is a copy of its
    own.
    """

    def __init__(self, data):
        tensors, _ = parse_tensors(data)
        self._saved = SavedPrograms(bytes(data))
        self.states = self._saved.states
        mine = {**self.states, **self._saved.constants}
        if next(iter(tensors), None) != PROGRAM or sorted(tensors) != sorted([PROGRAM, *mine]):
            raise ModelFileError("its header names other tensors than its programs do")
        for name, t in mine.items():
            if (tensors[name].dtype, tensors[name].shape) != (t.dtype, t.shape) or tensors[name].tobytes() != \
                    t.numpy().tobytes():
                raise ModelFileError(f"tensor {name!r} is another one in the header than for its programs")
        self.programs = {name: LoadedProgram(self._saved, k) for k, (name, *_) in enumerate(self._saved.programs)}

    def __getstate__(self):
        """For pickles and copies, which are a file in memory too."""
        return {"_saved": self._saved, "programs": self.programs}

    def __setstate__(self, state):
        vars(self).update(state, states=state["_saved"].states)

    def __getitem__(self, name):
        return self.programs[name]

    def __call__(self, *args, **arrays):
        """Run the program of a file that has one."""
        if len(self.programs) != 1:
            raise TypeError(f"the file has several programs, {', '.join(self.programs)}; call one of .programs")
        return next(iter(self.programs.values()))(*args, **arrays)

    def save(self, path):
        """Write the file again with the states as they are now, all of it or nothing."""
        atomic_write(path, [self._saved.contents()])

    def __repr__(self):
        return f"ProgramFile({', '.join(map(repr, self.programs.values()))}, {len(self.states)} states)"


class LoadedProgram:
    """A program from a file: called with its inputs by name, or in order.

    Attributes
    ----------
    name : str
    inputs, results : dict of str to (dtype, shape)
        Lengths that follow the batch size are texts: "B", "2 B + 1".

    Notes
    -----
    It pickles and copies as its whole file does, see `ProgramFile`.
    """

    def __init__(self, saved, number):
        self._of = saved, number
        self.name, self._batch, inputs, results = saved.programs[number]
        self._ports = inputs
        self._at = lru_cache(maxsize=8)(partial(_bound, saved, number, [name for name, *_ in results]))
        self.inputs = {n: (dtype, tuple(map(_length, lengths))) for n, dtype, lengths in inputs}
        self.results = {n: (dtype, tuple(map(_length, lengths))) for n, dtype, lengths in results}

    def __reduce__(self):
        return LoadedProgram, self._of

    def __call__(self, *args, **arrays):
        """Run it.

        The first call at a batch size plans it; the plans of the last eight sizes are kept, with their memory.

        Returns
        -------
        Tensor, or a dict of them by name where the function returned several, or a dict
            They have no history: nothing can be swept back through the program.

        Raises
        ------
        TypeError
            An input is missing or unknown.
        ShapeError, DTypeError
            An input does not fit.  Arrays, lists and numbers are cast, but no floats to integers; a Tensor is not.
        TapeError, ValueError
            The data take another branch than the recorded ones, or an operation refuses them.  States are as before.
        """
        end_recording(f"a loaded program, {self.name}, is called, which can't be a part of another one,")
        values = self._named(args, arrays)
        tensors = [self._tensor(name, dtype, values[name]) for name, dtype, _ in self._ports]
        program = self._at(self._batch_of(tensors))
        made = run_loaded(program, tensors)
        if type(made) is int:
            what, _, bound = program.instructions()[made][0].partition(" of ")
            raise TapeError(f"{self.name}: these data take another branch than the recorded one") if what == "guard" \
                else ValueError(f"{self.name}: {what} refuses a label or index" + (
                    ", or its condition still holds after max_steps" if bound and what == "while_loop" else ""))
        return made

    def explain(self, batch=None):
        """Print its instructions at a batch size, by default the one of the example: see `compile`."""
        self._at(batch or self._batch).explain()

    def _named(self, args, arrays):
        """The inputs by full name; one that the program reads in two dtypes is given once."""
        names = list(self.inputs)
        first = [n for n in names if not any(n == f"{other}.{self.inputs[n][0]}" for other in names)]
        if len(args) > len(first):
            raise TypeError(f"{self.name}: {len(args)} inputs are given, there are {', '.join(names) or 'none'}")
        values = dict(zip(first, args, strict=False))
        for name, value in arrays.items():
            full = name if name in self.inputs else INPUT + name
            if full not in self.inputs or full in values:
                raise TypeError(f"{self.name}: {name} is " + ("given twice" if full in values else
                                f"no input; there are {', '.join(names) or 'none'}"))
            values[full] = value
        for name in names:
            if name not in values and name.rpartition(".")[0] in values:
                values[name] = values[name.rpartition(".")[0]]
        missing = [n for n in names if n not in values]
        if missing:
            raise TypeError(f"{self.name}: {', '.join(missing)} is missing")
        return values

    def _tensor(self, name, dtype, value):
        if isinstance(value, Tensor):
            if value.dtype != dtype:
                raise DTypeError(f"{self.name}: {name} is {dtype}, the tensor {value.dtype}; use astype")
            return value
        try:
            data = value if isinstance(value, (np.ndarray, np.generic)) else tensor(value)
            if data.size and data.dtype.kind not in TAKES[dtype.kind]:
                raise DTypeError(f"data of {data.dtype} are not cast to {dtype}; use astype")
            return tensor(value, dtype)
        except (DTypeError, ShapeError) as error:
            raise type(error)(f"{self.name}: {name}: {error}") from None

    def _batch_of(self, tensors):
        """The batch size that the shapes of the inputs mean."""
        lengths = [(n - c, d) for (_, _, port), t in zip(self._ports, tensors, strict=True)
                   for (c, d), n in zip(port, t.shape, strict=False) if d]
        size = lengths[0][0] // lengths[0][1] if lengths else self._batch
        for (name, _, port), t in zip(self._ports, tensors, strict=True):
            if t.shape != tuple(c + d * size for c, d in port) or (lengths and size < 1):
                raise ShapeError(f"{self.name}: {name} has shape {t.shape}, it needs {self.inputs[name][1]}"
                                 + (f", B is {size} here and must be at least 1" if lengths else ""))
        return size

    def __repr__(self):
        inputs = ", ".join(f"{n}: {d} {s}" for n, (d, s) in self.inputs.items())
        return f"LoadedProgram({self.name}: {inputs} -> {', '.join(self.results) or 'nothing'})"


def _bound(saved, number, names, size):
    """The program at a batch size; plans are kept, each with its memory."""
    program = saved.bind(number, size)
    program.single = names == ["result"]
    program.result = lambda made, _: dict(zip(names, made, strict=True))
    return program


def _length(number):
    c, d = number
    follows = ("B" if d == 1 else f"{d} B") if d else ""
    return c if not d else follows if not c else f"{follows} {'-' if c < 0 else '+'} {abs(c)}"
