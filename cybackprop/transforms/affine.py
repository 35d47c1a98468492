"""One program of any batch size from recordings at several.

A recording is a list of kernel calls with numbers in it: lengths, starts, counts, the divisor of a mean.  Recordings of
one function at other batch sizes differ in such numbers alone, and each must be c + d B with whole c and d, or 1 / (c +
d B) where it is the value of a constant.  Two sizes give c and d, a third must agree.  A constant may also count: its
element i is c + d i then, as many as it has.
"""

import dataclasses
import struct
from typing import NamedTuple

import numpy as np

from cybackprop._core import engine
from cybackprop.errors import TapeError
from cybackprop.io import packing
from cybackprop.io.packing import CONST, DTYPES, INPUT_PLACE, OUTPUT, STATE, TEMP, Description, Instruction, Value


class Call(NamedTuple):
    """An instruction as `engine.recorded_instructions` has it."""

    kind: str
    row: str | int | None
    flags: int
    dtype: int
    p: tuple                             # the bits of the doubles
    attributes: tuple
    inputs: tuple
    outputs: tuple
    optional: int                        # bits of the outputs that it leaves out when asked to
    text: str
    loop: tuple = (0, 0, ())             # carries, slices, the Recordings that it runs

    @classmethod
    def of(cls, kind, row, flags, dtype, p, attributes, inputs, outputs, optional, text, loop, depth):
        """Of an instruction of the engine, in that many loops."""
        if kind is None:
            raise TapeError(f"save: {text} is an operation that no file can hold yet")
        runs = cls.loop_of(loop, text, depth + 1) if loop is not None else (0, 0, ())
        return cls(kind, row, flags, dtype, _numbers("q", p), _numbers("q", attributes), _numbers("i", inputs),
                   _numbers("i", outputs), optional, text, runs)

    @staticmethod
    def loop_of(loop, text, depth):
        """What a Loop of the engine runs."""
        if depth > packing.DEPTH:
            raise TapeError(f"save: {text} is a loop in {depth - 1} others, a file holds {packing.DEPTH} in each "
                            "other; unroll one")
        if any(body.source is None for body in loop.bodies):
            raise TapeError(f"save: {text} belongs to a loop that ran before the function was called; run it inside")
        ins, carries, slices = loop.facts
        return carries, slices, tuple(Recording.of_body(*body.source, given, text, depth)
                                      for body, given in zip(loop.bodies, ins, strict=True))


def _numbers(code, data):
    """Bytes as numbers of that code of `struct`."""
    return struct.unpack(f"{len(data) // struct.calcsize(code)}{code}", data)


@dataclasses.dataclass
class Recording:
    """A recorder's run as lists; what it keeps and leaves is written down as instructions.

    Attributes
    ----------
    values : list of [place, dtype, shape, of, what]
        what: the Tensor of a constant, the key of a state, the source of an input.
    calls : list of Call
    inputs, results : list of (name, value)
    """

    batch: int
    values: list
    calls: list
    inputs: list
    results: list

    @classmethod
    def of(cls, recorder, batch, input_name, results, gradients):
        """The recording of a recorder.

        Parameters
        ----------
        input_name : callable
            (source of an input, its dtype) -> its name.
        results : list of (name, Tensor)
        gradients : dict of id of a tensor -> (it, its gradient after the run or None)
            Those that are states of the program.
        """
        after = {key: engine.recorded_value(recorder, g) for key, (_, g) in gradients.items() if g is not None}
        found = [(name, engine.recorded_value(recorder, t)) for name, t in results]
        return cls.of_values(recorder, batch, input_name, found, after)

    @classmethod
    def of_values(cls, recorder, batch, input_name, found, after):
        """The same of values: found, [(name, value)] of the results; after, {id of a tensor: value of its gradient}."""
        self = cls._taken(batch, engine.recorded_values(recorder), engine.recorded_instructions(recorder), 0)
        left = self._name_places(input_name)
        for key, v in after.items():
            self._leave(key, v, left.get(key))
        self.results = [(name, self._copy(v, OUTPUT, -1)) for name, v in found]
        self._drop_dead({STATE, OUTPUT})
        self._renumber()
        return self

    @classmethod
    def of_body(cls, values, instructions, results, inputs, text, depth):
        """What a loop runs, from what the engine has of it; text: of the loop.

        What it reads from outside are inputs, States as well, which are the body's to write.
        """
        self = cls._taken(0, values, instructions, depth)
        for v in inputs:
            if v >= 0 and self.values[v][0] == CONST:
                self.values[v][0] = INPUT_PLACE
        self.inputs = [(text, v) for v in inputs]
        self.results = [(text, self._copy(v, OUTPUT, -1)) for v in results]
        self._drop_dead({OUTPUT})
        self._renumber()
        return self

    @classmethod
    def _taken(cls, batch, values, instructions, depth):
        values = [[place, dtype, _numbers("n", shape), of, what] for place, dtype, shape, of, what in values]
        return cls(batch, values, [Call.of(*x, depth) for x in instructions], [], [])

    def _name_places(self, input_name):
        """Keys for states, names for inputs; a gradient that was there before is a state: {key: value}."""
        gradients, inputs = {}, []
        for k, v in enumerate(self.values):
            if v[0] == STATE and v[3] < 0:
                v[4] = engine.identity(v[4])
            elif v[0] == INPUT_PLACE and v[4][0] == "grad":
                gradients[id(v[4][1])] = k
                v[0], v[4] = STATE, ("grad", id(v[4][1]))
            elif v[0] == INPUT_PLACE:
                inputs.append((v[4][1], input_name(v[4], DTYPES[v[1]]), k))
        self.inputs = [(name, k) for _, name, k in sorted(inputs)]           # in the order of the arguments
        return gradients

    def _leave(self, key, v, root):
        """A gradient's state holds value v after the run."""
        if root is None:
            root = len(self.values)
            self.values.append([STATE, self.values[v][1], self.values[v][2], -1, ("grad", key)])
        if v != root:
            self._copy(v, STATE, root)

    def _copy(self, v, place, of):
        self.values.append([place, *self.values[v][1:3], of, None])
        made = len(self.values) - 1
        self.calls.append(Call("copy", None, 0, 0, (0, 0), (), (v,), (made,), 0, "the run's end"))
        return made

    def _drop_dead(self, effects):
        """As cbp_drop_dead does: what neither writes these places, nor refuses, nor makes what is needed goes."""
        needed, kept = set(), []
        for x in reversed(self.calls):
            places = [self.values[o][0] if o >= 0 else None for o in x.outputs]
            refuses = x.kind == "guard" or (x.kind == "while_loop" and x.flags)
            if not refuses and not effects & set(places) and not needed & set(x.outputs):
                continue
            drop = [x.optional >> k & 1 and o not in needed and places[k] == TEMP for k, o in enumerate(x.outputs)]
            kept.append(x._replace(outputs=tuple(-1 if d else o for o, d in zip(x.outputs, drop, strict=True))))
            for v in x.inputs:
                while v >= 0:
                    needed.add(v)
                    v = self.values[v][3]
        self.calls = kept[::-1]

    def _renumber(self):
        """Values by first use, so that recordings of one function number them alike."""
        number, order = {-1: -1}, []

        def see(v):
            chain = []
            while v not in number:
                chain.append(v)
                v = self.values[v][3]
            for w in reversed(chain):
                number[w] = len(order)
                order.append(w)

        for _, v in self.inputs:         # also one that nothing needs: its shape tells the batch size
            see(v)
        for x in self.calls:
            for v in (*x.inputs, *x.outputs):
                see(v)
        self.values = [[*self.values[v][:3], number[self.values[v][3]], self.values[v][4]] for v in order]
        self.calls = [x._replace(inputs=tuple(number[v] for v in x.inputs), outputs=tuple(number[v] for v in x.outputs))
                      for x in self.calls]
        self.inputs = [(name, number[v]) for name, v in self.inputs]
        self.results = [(name, number[v]) for name, v in self.results]


# ---- several recordings as one

class Fit:
    """Whole numbers that follow the batch size."""

    def __init__(self, what, batches):
        self.what, self.batches = what, batches

    def number(self, values, text):
        """(c, d) with values c + d B, or a TapeError that says what text is."""
        found = self.whole(values)
        if found is None:
            shown = ", ".join(f"{v} at {b}" for v, b in zip(values, self.batches, strict=True))
            raise TapeError(f"{self.what}: a number in {text} follows the batch size by more than a multiple "
                            f"({shown}); batch=() saves it for one size")
        return found

    def numbers(self, lists, text):
        """A number for each place of lists that have as many."""
        return tuple(self.number(values, text) for values in zip(*lists, strict=True))

    def whole(self, values):
        """(c, d) with values c + d B, or None."""
        if len(set(values)) == 1:
            return values[0], 0
        d, rest = divmod(values[1] - values[0], self.batches[1] - self.batches[0])
        c = values[0] - d * self.batches[0]
        return (c, d) if not rest and all(c + d * b == v for v, b in zip(values, self.batches, strict=True)) else None

    def form(self, values):
        """(form, c, d) of the values of a constant (src/saved.h), or None; values: NumPy scalars of one dtype."""
        dtype = values[0].dtype
        if len({v.tobytes() for v in values}) == 1:
            return 0, bits(float(values[0])) if dtype.kind == "f" else int(values[0]), 0
        back = {1: lambda x: x, 2: lambda x: 1 / float(x)}
        for form in {"f": (1, 2), "i": (1,), "b": ()}[dtype.kind]:
            if not all(np.isfinite(v) and (v or form == 1) for v in values):
                continue
            found = self.whole([round(float(back[form](v))) for v in values])
            made = [] if found is None else [found[0] + found[1] * b for b in self.batches]
            if (all(made) or form == 1) and [dtype.type(back[form](n)) for n in made] == values:
                return form, *found
        return None


def counted(arrays):
    """(3, c, d) of arrays whose element i is c + d i, whatever their lengths are; or None."""
    longest = max(arrays, key=np.size).reshape(-1)
    if longest.size < 2 or longest.dtype.kind == "b" or not np.isfinite(longest[:2]).all():
        return None
    c, d = int(longest[0]), int(longest[1]) - int(longest[0])
    if not all(-2**63 <= n < 2**63 for n in (c, d)):
        return None
    made = (c + d * np.arange(longest.size)).astype(longest.dtype)
    return (3, c, d) if all(a.tobytes() == made[:a.size].tobytes() for a in arrays) else None


def bits(value):
    """A double as a 64-bit integer."""
    return int(np.array(value, np.float64).view(np.int64))


def describe(name, recordings, array_name, constant):
    """One Description of recordings at several batch sizes (one: its shapes are fixed).

    Parameters
    ----------
    array_name : callable
        The key of a state -> its name in the file.
    constant : callable
        An ndarray -> its name in the file.
    """
    fit = Fit(f"save: {name}", [r.batch for r in recordings])
    _same_course(fit, recordings)
    return _described(name, recordings, fit, array_name, constant)


def _described(name, recordings, fit, array_name, constant):
    first = recordings[0]
    where = _first_uses(first)
    values = []
    for v, (place, dtype, _, of, what) in enumerate(first.values):
        value = Value(place, dtype, fit.numbers([r.values[v][2] for r in recordings], where[v]), of)
        if place == STATE and of < 0 and what is not None:
            value.array = array_name(what)
        elif place == CONST:
            _constant(value, [r.values[v][4].numpy() for r in recordings], fit, where[v], constant)
        values.append(value)
    instructions = []
    for k, x in enumerate(first.calls):
        numbers = fit.numbers([r.calls[k].attributes for r in recordings], x.text)
        carries, slices, bodies = x.loop
        runs = [_described("", [r.calls[k].loop[2][i] for r in recordings], fit, array_name, constant)
                for i in range(len(bodies))]
        instructions.append(Instruction(x.kind, x.row, x.flags, x.dtype, x.p, numbers, x.inputs, x.outputs,
                                        (carries, slices, runs) if runs else None))
    return Description(name, first.batch if len(recordings) > 1 else 0, values, instructions, first.inputs,
                       first.results)


def _first_uses(recording):
    """What first has to do with each value, as text."""
    where = {v: name for name, v in recording.inputs}
    where |= {v: x.text for x in reversed(recording.calls) for v in (*x.inputs, *x.outputs)}
    for v in reversed(range(len(recording.values))):       # what is only shown in another shape
        where.setdefault(recording.values[v][3], where[v])
    return where


def _same_course(fit, recordings):
    """All that is no length, attribute or constant must agree."""
    for other in recordings[1:]:
        _same_as(recordings[0], other, fit.what, f"at batch size {other.batch}", recordings[0].batch)


def _same_as(first, other, what, at, batch):
    course = "; batch=() saves it for one size"
    for x, y in zip(first.calls, other.calls, strict=False):
        if x[:5] != y[:5] or x[6:8] != y[6:8] or x.loop[:2] != y.loop[:2]:
            raise TapeError(f"{what} runs {y.text} {at} in the place of {x.text} at {batch}, or with other numbers; "
                            f"its course must not follow the batch size{course}")
        for body, twin in zip(x.loop[2], y.loop[2], strict=True):
            _same_as(body, twin, what, at, batch)
    if len(first.calls) != len(other.calls):
        raise TapeError(f"{what} runs {len(other.calls)} operations {at}, {len(first.calls)} at {batch}{course}")
    for v, w in zip(first.values, other.values, strict=True):
        alike = v[0] == w[0] and v[1] == w[1] and len(v[2]) == len(w[2]) and v[3] == w[3]
        if not alike or (v[0] == STATE and v[4] != w[4]):
            raise TapeError(f"{what} reads or writes other states {at} than at {batch}{course}")
    if first.inputs != other.inputs or first.results != other.results:
        raise TapeError(f"{what} has other inputs or results {at} than at {batch}{course}")


def _constant(value, arrays, fit, text, constant):
    """Where a constant's elements come from: a number, or an array in the file."""
    alike = all(a.shape == arrays[0].shape and a.tobytes() == arrays[0].tobytes() for a in arrays)
    if alike and (arrays[0].size != 1 or arrays[0].dtype.kind != "f"):
        value.array = constant(arrays[0])
        return
    uniform = all(a.size and a.tobytes() == np.full_like(a, a.flat[0]).tobytes() for a in arrays)
    value.form = fit.form([a.reshape(-1)[0] for a in arrays]) if uniform else counted(arrays)
    if value.form is None:
        raise TapeError(f"{fit.what}: {text} reads a constant that is another one at each batch size; pass it as an "
                        "argument, or compute it from the arguments with tensors")
