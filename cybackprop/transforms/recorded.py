"""One recorded call: the function ran eagerly, and all it did is written down."""

import gc
import operator

from cybackprop._core import engine
from cybackprop._core.engine import Derivative, Recorder, Tensor
from cybackprop.errors import TapeError
from cybackprop.transforms.arguments import CONSTANT, others, pack, results
from cybackprop.transforms.findings import Findings
from cybackprop.transforms.rerun import rules
from cybackprop.transforms.watching import Watcher

MOST_SWEEPS = 8                          # results that get a sweep of their own; from others the function runs again


class Recorded:
    """Runs a function while recording it; plain: loops run their bodies as they were recorded, without a plan.

    Attributes
    ----------
    result : object
        What it returned.
    tensors, make
        The tensors in that, and what makes the same nest of others.
    effects : list of (Tensor, Tensor or None)
        Whose gradient the run changed, and what it is now.
    """

    def __init__(self, function, spec, leaves, args, kwargs, plain=False, recorder=None):
        self.function, self.spec, self.leaves = function, spec, leaves
        self.recorder, self._watcher, self._mark = recorder or Recorder(), Watcher(is_module), engine.last_number()
        self.recorder.plain = plain
        try:
            self.recorder.start(leaves)
            with self._watcher:
                self.result = function(*args, **kwargs)
            self.tensors, self.make = results(self.result, leaves, self._mark)
            owned = [engine.own_value(t) for t in self.tensors]
            if any(map(operator.is_not, owned, self.tensors)):       # views of States: later runs would change them
                self.tensors, self.result = owned, self.make(owned, leaves)
        finally:
            self.recorder.stop()
        self.effects = [(t, t.grad) for t, before, _ in self.recorder.grads.values()
                        if t.grad is not before and not self.recorder.made(t)]
        self._refuse_survivors()
        self._findings = Findings(self._watcher, is_module, leaves, function, self.recorder.constant_of)
        self._refuse_others()
        # constant values that are arrays outside, and how to find those again
        self.paths = {v: guard for guard, thing in self._findings.arrays for v in self.recorder.constant_of(thing)}

    def _refuse_survivors(self):
        wanted = [*self.tensors, *(g for _, g in self.effects if g is not None)]
        history = engine.reachable([t.record for t in wanted], self._mark)
        left = self.recorder.survivors(wanted, history)
        if left:
            gc.collect()
            left = self.recorder.survivors(wanted, history)
        if left:
            raise TapeError("compile: a tensor made while recording is kept outside: " + "; ".join(left)
                            + "; later runs would not change it.  Return it (lists, tuples and dicts may hold it), or "
                            "assign it to a cybackprop.State")

    def _refuse_others(self):
        """What a run makes that is no tensor can't be made anew: one generator, say, would serve all calls."""
        unknown = [x for x in others(self.make) if not isinstance(x, CONSTANT)]
        if not unknown:
            return
        outside = {*self._findings.known, *self._watcher.objects, *map(id, self.leaves)}
        outside.update(id(m) for top in self._findings.modules for _, m in top.named_modules())
        for x in unknown:
            if id(x) not in outside:
                raise TapeError(f"compile: the function returned an object of type {type(x).__name__}, which later "
                                "calls could not make anew; return tensors, numbers, and lists, tuples and dicts of "
                                "them, or objects that were there before")

    @property
    def watcher(self):
        """The Watcher that saw the run."""
        return self._watcher

    @property
    def guards(self):
        """What must be as it was."""
        return self._findings.guards + list({id(g): g for g in self.paths.values()}.values())

    @property
    def aliases(self):
        """[(Guard, number of a leaf)]: places outside that hold the very array that is an argument."""
        return [(guard, k % len(self.leaves)) for guard, k in self._findings.aliases]

    @property
    def grads(self):
        """[(tensor, whether its gradient was None)] where that was read before it was written."""
        return [(t, before is None) for t, before, read in self.recorder.grads.values() if read]

    def facts(self):
        """What says later whether modules and optimizers are as they are now."""
        found = self._findings
        return Facts(found.modules, self._watcher.objects.values(), found.tensors, found.numbers)

    def derivative(self):
        """How the results hang on what is outside, its sweep recorded too; None where nobody can sweep them."""
        outputs = [k for k, t in enumerate(self.tensors) if engine.can_be_swept(t)]
        if len({self.tensors[k].dtype for k in outputs}) > 1:
            raise TapeError("compile: results of two dtypes take a gradient, which one record can't; return one dtype "
                            "(astype), or detach some")
        edge = {}                        # records where the sweep ends: older ones; leaves made inside are nobody's
        for r in engine.reachable([self.tensors[k].record for k in outputs], self._mark):
            for i in r.inputs:
                if i is not None and (i.number <= self._mark or hasattr(engine.owner_of(i), "assign")):
                    edge[i] = None
        known = {t.record: t for t in self._findings.tensors}
        known |= {x.record: k for k, x in enumerate(self.leaves) if isinstance(x, Tensor)}
        sources = {r: known[r] if r in known else engine.owner_of(r) for r in edge}
        if not sources:
            return None                  # all leaves were made inside
        for r, source in sources.items():
            if source is None:
                raise TapeError(f"compile: a result depends on a tensor outside with a history ({r.op}, record "
                                f"{r.number}) that later runs would not find; pass it as an argument")
        sources = list(sources.values())
        every = tuple(range(len(outputs)))
        sweeps = [(k,) for k in every[:MOST_SWEEPS]] + ([every] if len(outputs) > 1 else [])
        cotangents, errors = [], []
        for number, chosen in enumerate(sweeps):
            try:
                chosen = {k: self.tensors[outputs[k]] for k in chosen}
                cotangents.append(self.recorder.sweep(chosen, list(edge), number))
                errors.append(None)
            except TapeError as refusal:     # as eagerly: the history is there, but can't be swept
                cotangents.append(len(sources) * [None])
                errors.append(str(refusal))
        function, spec = self.function, self.spec

        def again(values):
            args, kwargs = pack(spec, values)
            mark = engine.last_number()
            return results(function(*args, **kwargs), values, mark)[0]

        return Derivative(outputs, sources, sweeps, cotangents, rules(again, outputs), self.recorder.written_states(),
                          errors)


# ---- modules

def is_module(thing):
    """Whether a thing is a Module; its changes are counted."""
    return callable(getattr(type(thing), "named_modules", None))


class Facts:
    """Whether modules and optimizers are as they were when this was made; asked only when the structure has changed.

    numbers: those that have a source, for `explain`.
    """

    def __init__(self, modules, others, tensors, numbers=()):
        self._tensors, self.numbers = tensors, numbers
        self._modules = list({id(m): m for top in modules for _, m in top.named_modules()}.values())
        self._others = [thing for thing in others if hasattr(thing, "program_facts")]
        self._before = self._now()

    def _now(self):
        out = [tensor.requires_grad for tensor in self._tensors]
        for thing in self._others:
            _add_facts(out, thing.program_facts())
        for module in self._modules:
            facts = {"training": module.training, **vars(module)}        # it may be the class's
            facts.pop(engine.METHODS, None)     # they change nothing
            out += facts
            _add_facts(out, facts.values())
        return out

    def twin(self, twins):
        """The same about the twins of what this is about."""
        other = Facts.__new__(Facts)
        other.numbers = self.numbers
        other._tensors, other._modules = list(map(twins, self._tensors)), list(map(twins, self._modules))
        other._others, other._before = list(map(twins, self._others)), list(map(twins, self._before))
        return other

    def __call__(self):
        now = self._now()
        return len(now) == len(self._before) and all(map(engine.agree, now, self._before))


def _add_facts(out, values):
    """Append what of some attributes a program depends on."""
    for value in values:
        if isinstance(value, Tensor):
            out += (value, value.requires_grad)
        elif isinstance(value, (list, tuple, dict)):
            out.append(len(value))
            if isinstance(value, dict):
                out += value
                value = value.values()
            _add_facts(out, value)
        else:
            out.append(value)
