"""The derivative of a compiled function in tensor operations: its function runs again, recorded, and is walked.

The ordinary sweep of a compiled result is a part of its program and needs none of this; derivatives of derivatives,
tangents, and sweeps inside another recording do.
"""

import contextlib

from cybackprop._core import engine
from cybackprop.ops.creation import zeros
from cybackprop.ops.movement import concatenate, reshape
from cybackprop.transforms.walks import Recording


class Again(Recording):
    """Runs a function again with its own arguments, whose records are exchanged meanwhile for fresh ones."""

    def __init__(self, record, function, outputs):
        run = record.saved
        self.recorded = engine.is_grad_enabled()
        self.mark = engine.last_number()
        sources = [run.leaves[s] if isinstance(s, int) else s for s in run.sources]
        self.inputs = [engine.alias(x) for x in sources]
        self.outer = [True] * len(sources)
        with contextlib.ExitStack() as undo:
            undo.callback(engine.detour, sources, engine.detour(sources, [x.record for x in self.inputs]))
            for state, value in zip(run.states, run.entry, strict=True):
                undo.callback(state.assign, engine.tensor(state))
                state.assign(value)
            with engine.enable_grad():
                tensors = function(run.leaves)
        self.result = [tensors[k] for k in outputs]


def rules(function, outputs):
    """(vjp, jvp) of the record of a compiled function: leaves -> the tensors of its result, of which outputs count."""

    def vjp(record, g):
        again = Again(record, function, outputs)
        parts, at = [], 0
        for y in again.result:
            parts.append(reshape(g, y.shape) if len(outputs) == 1 else reshape(reshape(g, -1)[at:at + y.size], y.shape))
            at += y.size
        return again.pull(again.result, parts)

    def jvp(record, tangents):
        again = Again(record, function, outputs)
        known = [engine.tensor(0, x.dtype) * x.detach() if t is None else t
                 for x, t in zip(again.inputs, tangents, strict=True)]
        moved = again.push(again.result, known)
        return moved[0] if len(moved) == 1 else concatenate([reshape(t, -1) for t in moved])

    return vjp, jvp


def _part_vjp(record, g):
    at, total = record.attrs["at"], record.attrs["of"]
    return (concatenate([zeros(at, g.dtype), reshape(g, -1), zeros(total - at - g.size, g.dtype)]),)


def _part_jvp(record, tangents):
    shape, at = record.attrs["shape"], record.attrs["at"]
    size = 1
    for n in shape:
        size *= n
    return reshape(reshape(tangents[0], -1)[at:at + size], shape)


engine.set_part_rules(_part_vjp, _part_jvp)
