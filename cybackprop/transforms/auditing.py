"""Audits: a program must do, bit for bit, what the eager run does.

In an audited call the eager run is the call: its writes and effects happen once.  The program is replayed first, on
copies of the states; then results, gradients and states are compared.
"""

from cybackprop._core import engine
from cybackprop._core.engine import build_program
from cybackprop.errors import AuditError
from cybackprop.transforms.arguments import difference


def audited(name, program, leaves, record):
    """An eager call, as a Recorded, after a replay on copies has proved to have the same bits; None: it refused.

    And whether that is known: not where another thread wrote a State of the program between the copy and the end, and
    the bits differ.

    record: runs the function and records it.
    """
    versions = engine.versions(program)
    rehearsal = engine.rehearse(program, leaves)
    if rehearsal is None:                # another branch: this call is not for the program
        return None, True
    run = record()
    try:
        _compare(name, program, leaves, rehearsal, run)
    except AuditError:
        if not engine.written_by_others(program, versions, run.recorder):
            raise
        return run, False
    return run, True


def _compare(name, program, leaves, rehearsal, run):
    before, after, made, _ = rehearsal
    plain = build_program(run.recorder, run.tensors, run.effects, run.paths, run.derivative(), plain=True)
    _compare_instructions(name, program, plain)
    other = program.result and difference(program.result, run.make)
    if other:
        raise AuditError(f"compile: {name} returned {other[0]!r} where it had returned {other[1]!r}; what is no tensor "
                         "stays what it was in a replay")
    wrong = engine.differences(program, after, made, run.tensors, run.effects)
    if wrong:
        first = engine.first_difference(plain, before, run.recorder, leaves)
        what = (f"the first operation that differs is {first}" if first else
                "one by one its operations agree, so the plan of the program is wrong")
        raise AuditError(f"compile: {name} replays with other bits than it runs, in the {wrong[0]} that comes from "
                         f"{wrong[1]}; {what}")


def _compare_instructions(name, program, again):
    """A function that does something else the second time depends on what no guard sees."""
    why = "what it depends on is neither an argument, nor a number that can be guarded, nor a cb.State"
    for (op, line, *what), (op2, line2, *what2) in zip(program.recorded, again.recorded, strict=False):
        if (op, what) != (op2, what2):
            raise AuditError(f"compile: {name} ran {op2} at {line2} in the place of {op} at {line}; {why}")
    if len(program.recorded) != len(again.recorded):
        raise AuditError(f"compile: {name} ran {len(again.recorded)} operations where it had run "
                         f"{len(program.recorded)}; {why}")
    line = engine.other_constant(program, again)
    if line:
        raise AuditError(f"compile: {name} used another constant in {line}; {why}")
