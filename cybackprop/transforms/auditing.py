"""Audits: a program must do, bit for bit, what the eager run does.

In an audited call the eager run is the call: its writes and effects happen once.  The program is replayed first, on
copies of the states; then results, gradients and states are compared.
"""

from zlib import crc32

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import build_program
from cybackprop.transforms.arguments import difference

LOOKED_AT = 1 << 15                      # bytes at each end of an input


class InputsSeen:
    """Which inputs of a program had other values in an audit than when it was recorded: `explain` says so.

    An input that never varied tells little of whether the program is right for other values.
    """

    def __init__(self, names, leaves, key):
        self._names = [name for name, x in zip(names, leaves, strict=True) if is_input(x)]
        self._names += [f"`{place.label}`" for place in key.inputs()]
        self._first, self._varied = self._digests(leaves, key), set()

    @staticmethod
    def _digests(leaves, key):
        found = [x for x in leaves if is_input(x)] + [place.current() for place in key.inputs()]
        return [digest(x) for x in found]

    def look(self, leaves, key):
        """An audit with these arguments."""
        self._varied |= {k for k, (x, y) in enumerate(zip(self._digests(leaves, key), self._first, strict=True)) if x != y}

    def text(self):
        """For `explain`; "" where there are no inputs."""
        varied = [name for k, name in enumerate(self._names) if k in self._varied]
        still = [name for k, name in enumerate(self._names) if k not in self._varied]
        return "; ".join(filter(None, [varied and f"seen to vary in audits: {', '.join(varied)}",
                                       still and f"not seen to vary: {', '.join(still)}"]))


def is_input(x):
    """Whether an argument is one whose values a program reads."""
    return engine.is_array(x) or (isinstance(x, engine.Tensor) and not hasattr(x, "assign"))


def digest(x):
    """What says whether an array has other values, of a large one both ends."""
    flat = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    ends = flat if flat.size <= 2 * LOOKED_AT else np.concatenate([flat[:LOOKED_AT], flat[-LOOKED_AT:]])
    return x.shape, crc32(ends)


def audited(program, leaves, record):
    """An eager call, as a Recorded, after a replay on copies; None: the program refused, the call is not for it.

    And what differed, as text or None; and whether that is sure: not where another thread wrote a State of the program
    or a gradient between the copy and the end.

    record: runs the function and records it.
    """
    versions = engine.versions(program)
    rehearsal = engine.rehearse(program, leaves)
    if rehearsal is None:                # another branch: this call is not for the program
        return None, None, True
    run = record()

    def written():
        return engine.written_by_others(program, versions, rehearsal[0], run.recorder, run.effects)

    disturbed = written()                # before they are compared, and below while they were
    wrong = _compared(program, leaves, rehearsal, run)
    return run, wrong, wrong is None or not (disturbed or written())


def _compared(program, leaves, rehearsal, run):
    before, after, made, _ = rehearsal
    other = program.result and difference(program.result, run.make, leaves)
    if other:
        return f"it returned {other[0]!r} where it had returned {other[1]!r}"
    if program.result is None and run.result is not None:
        return "it returned something where it had returned None"
    wrong = engine.differences(program, after, made, run.tensors, run.effects)
    if not wrong:
        return None
    paths = {v: place for place in program.key.inputs() for v in run.recorder.constant_of(place.current())}
    plain = build_program(run.recorder, run.tensors, run.effects, paths, None, plain=True)
    why = _other_instructions(program, plain)
    if why is None:
        first = engine.first_difference(plain, before, run.recorder, leaves)
        why = "one by one its operations agree, so the plan of the program is wrong" if first is None else \
            f"the first operation that differs is {first[0]}" + "".join(f" at {x[1]}" for x in program.recorded[first[1]:][:1])
    return f"it replays with other bits than it runs, in the {wrong[0]} that comes from {wrong[1]}; {why}"


def _other_instructions(program, again):
    """What the run did that the program does not, as text, or None."""
    if program.family is not None:       # what it has of a recording is at another batch size
        return None
    for (op, line, *what), (op2, _, *what2) in zip(program.recorded, again.recorded, strict=False):
        if (op, what) != (op2, what2):
            return f"it ran {op2} in the place of {op} at {line}"
    if len(program.recorded) != len(again.recorded):
        return f"it ran {len(again.recorded)} operations where it had run {len(program.recorded)}"
    line = engine.other_constant(program, again)
    return f"it used another constant in {line}" if line else None
