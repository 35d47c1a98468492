"""The derivative of a compiled function in tensor operations: its function runs again, recorded, and is walked.

The ordinary sweep of a compiled result is a part of its program and needs none of this; derivatives of derivatives,
tangents, and sweeps inside another recording do.
"""

import contextlib

from cybackprop._core import engine
from cybackprop._core.engine import Sweep
from cybackprop.ops.creation import zeros
from cybackprop.ops.movement import concatenate, reshape
from cybackprop.transforms.walks import climb


def _again(record, function, outputs):
    """The results of another run, linked to what the first was linked to; states are what they were then."""
    run = record.saved
    run.check()
    with contextlib.ExitStack() as undo:
        for state, value in zip(run.states, run.entry, strict=True):
            undo.callback(state.assign, engine.tensor(state))
            state.assign(value)
        with engine.enable_grad():
            tensors = function(run.leaves)
    return [tensors[k] for k in outputs]


def rules(function, outputs):
    """(vjp, jvp) of the record of a compiled function: leaves -> the tensors of its result, of which outputs count."""

    def vjp(record, g):
        present = record.saved.come_from()
        results = _again(record, function, outputs)
        sweep = Sweep(False, engine.is_grad_enabled(), record.inputs)
        at = 0
        for k, y in enumerate(results):
            part = g if len(outputs) == 1 else reshape(g, -1)[at:at + y.size]
            at += y.size
            if y.record is not None and k in present:
                sweep.start(y, reshape(part, y.shape))
        return sweep.run_all()

    def jvp(record, tangents):
        mark = engine.last_number()
        results = _again(record, function, outputs)
        known = {r: t for r, t in zip(record.inputs, tangents, strict=True) if t is not None}
        moved = climb(engine.reachable([y.record for y in results], mark), known, results)
        return moved[0] if len(moved) == 1 else concatenate([reshape(t, -1) for t in moved])

    return vjp, jvp


def _part_vjp(record, g):
    at, total = record.attrs["at"], record.attrs["of"]
    record.inputs[0].saved.mark(record.attrs["number"])
    return (concatenate([zeros(at, g.dtype), reshape(g, -1), zeros(total - at - g.size, g.dtype)]),)


def _part_jvp(record, tangents):
    shape, at = record.attrs["shape"], record.attrs["at"]
    size = 1
    for n in shape:
        size *= n
    return reshape(reshape(tangents[0], -1)[at:at + size], shape)


engine.set_part_rules(_part_vjp, _part_jvp)
