"""Facts about modules and optimizers, which count their changes: asked for only when the count has moved."""

import weakref

from cybackprop._core import engine
from cybackprop._core.engine import Tensor

LOST = object()


class Facts:
    """Whether modules, optimizers and tensors are as they were when this was made.

    Modules are held weakly: a program of a model goes with it.  version: `structure_version` at that time.
    """

    def __init__(self, modules, counted, tensors):
        found = {}
        for top in modules:
            if id(top) not in found:
                found |= {id(m): m for _, m in top.named_modules()}
        self._begin(tensors, found.values(), [thing for thing in counted if hasattr(thing, "program_facts")])

    def of_twins(self, twin):
        """Those of others, given a function from a thing to its twin."""
        made = Facts.__new__(Facts)
        made._begin([twin(t) for t in self._tensors], [twin(ref()) for ref in self._modules],
                    [twin(thing) for thing in self._counted])
        return made

    def are_those_of(self, others, twin):
        """Whether these are to twins what others are to those whose twins they are."""
        then = [weakref.ref(twin(x())) if type(x) is weakref.ref else twin(x) for x in others._before]
        return len(then) == len(self._before) and all(map(engine.agree, self._before, then))

    def _begin(self, tensors, modules, counted):
        self._tensors, self._counted = tensors, counted
        self._modules = [weakref.ref(m) for m in modules]
        self.version = engine.structure_version()
        self._before = self._now()

    def _now(self):
        out = []
        for tensor in self._tensors:
            out += (tensor.requires_grad, *tensor.hooks)
        for thing in self._counted:
            _add(out, thing.program_facts())
        for ref in self._modules:
            module = ref()
            if module is None:
                return [LOST]
            facts = {"training": module.training, **vars(module)}        # it may be the class's
            out += facts
            _add(out, facts.values())
        return out

    def __call__(self):
        now = self._now()
        return len(now) == len(self._before) and all(map(engine.agree, now, self._before))

    def changed(self):
        """What is not as it was, as text."""
        now = self._now()
        if len(now) != len(self._before):
            return "a module or an optimizer"
        k = next(k for k, (x, y) in enumerate(zip(now, self._before, strict=True)) if not engine.agree(x, y))
        names = [x for x in now[:k] if isinstance(x, str)]
        return names[-1] if names else "a module or an optimizer"


def _add(out, values):
    """Append what of some attributes a program depends on."""
    for value in values:
        if isinstance(value, Tensor):
            out += (value, value.requires_grad, *value.hooks)
        elif isinstance(value, (list, tuple, dict)):
            out.append(len(value))
            if isinstance(value, dict):
                out += value
                value = value.values()
            _add(out, value)
        else:
            out.append(weakref.ref(value) if hasattr(type(value), "named_modules") else value)
