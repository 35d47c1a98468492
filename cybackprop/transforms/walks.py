"""The two walks over recorded records: down with cotangents, up with tangents.  Both append records, so they nest.

A transform differentiates with respect to fresh inputs of its own and visits only records that lead from them to the
result, so nested transforms never confuse their perturbations.
"""

from cybackprop._core import engine
from cybackprop._core.engine import Sweep, Tensor, tensor
from cybackprop.errors import DTypeError, TapeError
from cybackprop.ops.creation import zeros_like


class Recording:
    """Run a function on fresh inputs and know what leads from them to its results."""

    def __init__(self, function, inputs):
        self.recorded = engine.is_grad_enabled()      # does anybody outside record us?
        self.mark = engine.last_number()
        self.inputs = [engine.alias(x) for x in inputs]
        self.outer = [x.record is not None for x in inputs]
        with engine.enable_grad():
            self.result = function(self.inputs)

    def between(self, outputs):
        """Records from the inputs to the outputs in ascending order; also finds out whether others matter too."""
        sources = {x.record for x in self.inputs}
        records = engine.reachable([y.record for y in outputs], self.mark)
        path, self.outside = set(), any(self.outer)
        for r in records:
            if r in sources:
                path.add(r)
                continue
            before = [i for i in r.inputs if i is not None]
            if r.is_leaf or any(i.number <= self.mark for i in before):
                self.outside = True      # a Parameter, or a tensor of an enclosing transform
            if any(i in path for i in before):
                path.add(r)
        return [r for r in records if r in path]

    def pull(self, outputs, cotangents, retain=False):
        """Cotangents of the inputs."""
        path = self.between(outputs)
        linked = any(g.record is not None for g in cotangents)
        again = self.recorded and (self.outside or linked)
        sweep = Sweep(retain or again, again, [x.record for x in self.inputs])
        engine.restrict(sweep, path)
        on_path = set(path)
        for y, g in zip(outputs, cotangents, strict=True):
            if y.record in on_path:
                sweep.start(y, g)
        return [zeros_like(x) if g is None else g for x, g in zip(self.inputs, sweep.run_all(), strict=True)]

    def push(self, outputs, tangents):
        """Tangents of the outputs."""
        path = self.between(outputs)
        known = {x.record: t for x, t in zip(self.inputs, tangents, strict=True)}
        again = self.recorded and (self.outside or any(t.record is not None for t in tangents))
        with engine.enable_grad() if again else engine.no_grad():
            return climb(path, known, outputs)

    def outward(self, outputs):
        """The results as the caller sees them: with a history only if that leads further out."""
        return [y if self.recorded and self.outside else y.detach() for y in outputs]


def climb(path, known, outputs):
    """Tangents of the outputs from those that are known, by records in ascending order; others have none."""
    for r in path:
        if r in known:
            continue
        tangents = tuple(None if i is None else known.get(i) for i in r.inputs)
        if any(t is not None for t in tangents):
            r.check_alive()
            moved = r.row.jvp_rule(r, tangents)
            if moved is not None:
                known[r] = moved
    return [known[y.record] if y.record in known else zeros_like(y) for y in outputs]


def tensors(results, what):
    """What a differentiated function returned, if those are tensors."""
    for y in results:
        if not isinstance(y, Tensor):
            raise TapeError(f"{what}: the function returned {type(y).__name__}, not a tensor; "
                            "use operations of cybackprop inside it")
    return results


def differentiable(x, what):
    """An argument as a float tensor."""
    t = x if isinstance(x, Tensor) else tensor(x)
    if t.dtype.kind != "f":
        raise DTypeError(f"{what}: an argument is {t.dtype}; derivatives are with respect to float32 or float64")
    return t
