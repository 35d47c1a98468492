"""What a file of programs says, and its bytes; the format is described in src/saved.h.

A file is safetensors: states and constants by name, and a tensor "program" of 64-bit integers, always the first.
"""

import dataclasses
import struct

import numpy as np

from cybackprop.io.programs import PROGRAM
from cybackprop.io.safetensors import in_file_order, pack_tensors

MAGIC = b"cbp-prog"
DTYPES = [np.dtype(name) for name in ("float32", "float64", "int64", "bool")]     # cbp_dtype
TEMP, INPUT_PLACE, OUTPUT, CONST, STATE = range(5)                                # cbp_place
DEPTH = 16                                                                        # CBP_SAVED_DEPTH


@dataclasses.dataclass
class Value:
    """A value of a program; a number is (c, d) for c + d B."""

    place: int
    dtype: int
    lengths: tuple                       # numbers
    of: int = -1
    array: str | None = None             # a state's or constant's name in the file
    form: tuple | None = None            # a constant without array: (form, c, d), see src/saved.h


@dataclasses.dataclass
class Instruction:
    """An instruction of a program; rows of tables by name, of comparisons by number."""

    kind: str
    row: str | int | None
    flags: int
    dtype: int
    p: tuple                             # the bits of the doubles
    attributes: tuple                    # numbers
    inputs: tuple
    outputs: tuple
    loop: tuple | None = None            # carries, slices, a Description of each program that it runs


@dataclasses.dataclass
class Description:
    """A program as a file has it.

    batch: the size it was recorded at, 0 if it runs at that alone.  What a loop runs has no name and no batch, and its
    inputs are those of the loop, -1 where it does not read one.
    """

    name: str
    batch: int
    values: list
    instructions: list
    inputs: list                         # (name, value)
    results: list

    def everything(self):
        """The instructions, those of bodies among them."""
        for i in self.instructions:
            yield i
            for body in i.loop[2] if i.loop else ():
                yield from body.everything()


class Words:
    """A growing list of 64-bit integers."""

    def __init__(self):
        self.list = []

    def put(self, *numbers):
        """Append integers."""
        self.list += numbers

    def text(self, text):
        """Append a text: its length in bytes, its bytes, zeros up to whole integers, at least one."""
        data = text.encode("utf-8")
        self.put(len(data), *struct.unpack(f"<{len(data) // 8 + 1}q", data.ljust(len(data) // 8 * 8 + 8, b"\0")))

    def each(self, items, put):
        """Append how many there are, then each."""
        self.put(len(items))
        for item in items:
            put(item)


def pack_programs(descriptions, states, constants):
    """The bytes of a file.

    Parameters
    ----------
    descriptions : list of Description
    states, constants : dict of str to ndarray
        By the names that values have.
    """
    arrays = {**states, **constants}
    names = in_file_order(arrays)
    every = [i for d in descriptions for i in d.everything()]
    symbols = sorted({x for i in every for x in (i.kind, i.row) if isinstance(x, str)})
    version = 2 if any(i.loop for i in every) else 1         # readers of 1 know no bodies
    end = 0
    for _ in range(2):                   # offsets count from the end of the integers, whose number they don't change
        words = Words()
        words.put(struct.unpack("<q", MAGIC)[0], version, end, end * 8 + sum(a.nbytes for a in arrays.values()))
        words.each(symbols, words.text)
        offset = 8 * end
        words.put(len(names))
        for name in names:
            a = arrays[name]
            words.put(int(name in constants))
            words.text(name)
            words.put(DTYPES.index(a.dtype), a.ndim, *a.shape, offset)
            offset += a.nbytes
        put = _Programs(words, symbols, names)
        words.each(descriptions, put.program)
        end = len(words.list)
    tensors = {PROGRAM: np.array(words.list, np.int64), **arrays}
    return b"".join(bytes(chunk) for chunk in pack_tensors(tensors, {"cybackprop.programs": str(version)}))


class _Programs:
    """Puts programs; they name operations, rows and arrays by their places in these lists."""

    def __init__(self, words, symbols, arrays):
        self.words, self.symbols, self.arrays = words, symbols, arrays

    def program(self, d):
        """One that has a name."""
        self.words.text(d.name)
        self.words.put(d.batch)
        self._course(d)
        for ports in (d.inputs, d.results):
            self.words.put(len(ports))
            for name, value in ports:
                self.words.text(name)
                self.words.put(value)

    def _course(self, d):
        self.words.each(d.values, self._value)
        self.words.each(d.instructions, self._instruction)

    def _value(self, v):
        self.words.put(v.place, v.dtype, len(v.lengths), *(x for number in v.lengths for x in number), v.of,
                       -1 if v.array is None else self.arrays.index(v.array))
        if v.form is not None:
            self.words.put(*v.form)

    def _instruction(self, i):
        row = -1 if i.row is None else self.symbols.index(i.row) if isinstance(i.row, str) else i.row
        self.words.put(self.symbols.index(i.kind), row, i.flags, i.dtype, len(i.inputs), len(i.outputs), *i.inputs,
                       *i.outputs, *i.p)
        used = max((k + 1 for k, number in enumerate(i.attributes) if number != (0, 0)), default=0)
        self.words.put(used, *(x for number in i.attributes[:used] for x in number))
        if i.loop is not None:
            carries, slices, bodies = i.loop
            self.words.put(carries, slices, len(bodies[0].results))
            for body in bodies:
                self._course(body)
                self.words.put(*(v for _, v in body.inputs), *(v for _, v in body.results))
