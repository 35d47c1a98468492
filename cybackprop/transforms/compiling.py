"""compile: a function recorded once and replayed in C."""

import functools
import gc
import warnings

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Compiled, Derivative, Key, Program, Recorder, Tensor, leaf_fact
from cybackprop.errors import AuditError, TapeError
from cybackprop.ops.registry import public
from cybackprop.transforms import explaining  # noqa: F401  (Program.explain calls it)
from cybackprop.transforms.auditing import audited
from cybackprop.transforms.rerun import rules
from cybackprop.transforms.watching import NUMBERS, Findings, Watcher

MOST_PATHS = 8                           # programs for arguments of one kind; beyond, calls run eagerly
MOST_PROGRAMS = 64


@public
def compile(function=None, *, audit=0):
    """Record a function once and replay it in C from then on, with the same bits.

    Parameters
    ----------
    function : callable
        A training step, a forward, a gradient: anything that computes with tensors.
    audit : int
        Check every audit-th call (each program's second call is checked in any case): it runs eagerly, and a replay on
        copies of all states must agree in every bit.

    Returns
    -------
    Compiled
        Called as the function is.

    Raises
    ------
    TapeError
        The function reads a number out of a tensor, or keeps a tensor that it made; the message has the line.
    AuditError
        A replay differs from the eager run.

    Notes
    -----
    Another shape, dtype or structure of the arguments, another mode of a module, a number in a global, closure or
    attribute that has changed, another branch on a tensor's value: each records a program of its own.  Learning rates,
    step counts, random streams, Parameters and `State` are read anew at each call.  Other effects (print, append) happen
    while recording only.  A replay allocates nothing but its results and runs without the GIL.

    Examples
    --------
    >>> import cybackprop as cb
    >>> square = cb.compile(lambda x: x * x)
    >>> [square(cb.tensor([n])).item() for n in (1.0, 2.0, 3.0)]
    [1.0, 4.0, 9.0]
    """
    if function is None:
        return functools.partial(compile, audit=audit)
    if not callable(function):
        raise TypeError(f"compile: a function is needed, not {type(function).__name__}")
    compiled = Compiled(function, _slow, _unpack, audit)
    functools.update_wrapper(compiled, function, updated=())
    return compiled


# ---- arguments and results

def _is_data(tree):
    """A list of numbers, however nested, is one array."""
    while isinstance(tree, (list, tuple)) and tree:
        tree = tree[0]
    return isinstance(tree, (bool, int, float, np.generic))


def _flatten(tree, leaves, originals):
    """Append the leaves; returns what says how they hang together."""
    if isinstance(tree, dict):
        return ("dict", tuple((k, _flatten(v, leaves, originals)) for k, v in tree.items()))
    if isinstance(tree, (list, tuple)) and not _is_data(tree):
        return (type(tree), tuple(_flatten(v, leaves, originals) for v in tree))
    originals.append(tree)
    leaves.append(np.asarray(tree) if isinstance(tree, (list, tuple)) else tree)
    return None


def _unpack(args, kwargs):
    leaves, originals = [], []
    spec = _flatten((args, {k: kwargs[k] for k in sorted(kwargs)}), leaves, originals)
    return spec, leaves, originals


def _results(tree):
    """The tensors of a nest, and a function that makes the nest of others; what is no tensor stays as it was."""
    tensors = []

    def take(node):
        if isinstance(node, dict):
            return ("dict", list(node), [take(v) for v in node.values()])
        if isinstance(node, (list, tuple)):
            return (type(node), None, [take(v) for v in node])
        if isinstance(node, Tensor) and not hasattr(node, "assign"):
            tensors.append(node)
            return ("tensor", len(tensors) - 1, None)
        if isinstance(node, (np.ndarray, np.generic)):
            raise TapeError("compile: the function returned a NumPy array, which later runs would not compute again; "
                            "start with cb.tensor(x), so that it is made of tensors")
        return ("other", node, None)

    def make(spec, new):
        kind, what, children = spec
        if children is None:
            return new[what] if kind == "tensor" else what
        parts = [make(c, new) for c in children]
        if kind == "dict":
            return dict(zip(what, parts, strict=True))
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)

    spec = take(tree)
    return tensors, (lambda new: make(spec, new))


def _pack(spec, leaves):
    """The arguments that _unpack, or a call with leaves alone, made these of."""
    if isinstance(spec, int):
        return tuple(leaves), {}
    left = iter(leaves)

    def make(node):
        if node is None:
            return next(left)
        kind, children = node
        if kind == "dict":
            return {k: make(v) for k, v in children}
        parts = [make(v) for v in children]
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)

    return make(spec)


# ---- recording

def _slow(compiled, spec, leaves, originals, args, kwargs, program):
    """A call that runs eagerly: because there is no program for it, or to check one."""
    if program is not None:
        done = _audit(compiled, program, leaves, originals, args, kwargs)
        if done is not None:
            return done[0]
    if _alike(compiled, spec, leaves) >= MOST_PATHS or len(compiled.programs) >= MOST_PROGRAMS:
        if compiled.state is None:
            compiled.state = "eager"
            warnings.warn(f"compile: {_name(compiled)} has {len(compiled.programs)} programs and this call would need "
                          "another; from now on such calls run eagerly", RuntimeWarning, stacklevel=3)
        return compiled.function(*args, **kwargs)
    facts = [leaf_fact(x) for x in leaves]
    result, make, tensors, effects, recorder, findings, watcher, mark = _run(compiled, leaves, originals, args, kwargs)
    found = _paths(recorder, findings)
    grads = [(t, before is None) for t, before, read in recorder.grads.values() if read]
    derivative = _derivative(compiled, spec, leaves, tensors, recorder, mark)
    program = Program.build(recorder, tensors, effects, found, derivative)
    program.single, program.result = isinstance(result, Tensor), make
    arrays = list({id(g): g for g in found.values()}.values())
    program.key = Key(spec, facts, findings.guards + arrays, Facts(findings, watcher), grads)
    program.calls = 1
    compiled.programs.insert(0, program)
    return result


def _audit(compiled, program, leaves, originals, args, kwargs):
    def record():
        result, _, tensors, effects, recorder, findings, _, mark = _run(compiled, leaves, originals, args, kwargs)
        found = _paths(recorder, findings)
        return result, tensors, effects, found, recorder, lambda: _derivative(compiled, program.key.spec, leaves, tensors,
                                                                              recorder, mark)

    try:
        return audited(_name(compiled), program, leaves, record)
    except AuditError:
        compiled.programs.remove(program)
        raise


def _alike(compiled, spec, leaves):
    """How many programs there are for arrays like these."""
    arrays = [fact for fact in map(leaf_fact, leaves) if fact[0] in ("array", "tensor")]
    return sum(p.key.spec == spec and [f for f in p.key.leaves if f[0] in ("array", "tensor")] == arrays
               for p in compiled.programs)


def _name(compiled):
    return getattr(compiled.function, "__qualname__", repr(compiled.function))


def _run(compiled, leaves, originals, args, kwargs):
    """Run the function while recording it."""
    recorder, watcher, mark = Recorder(), Watcher(_is_module), engine.last_number()
    recorder.start(originals)
    try:
        with watcher:
            result = compiled.function(*args, **kwargs)
    finally:
        recorder.stop()
    tensors, make = _results(result)
    effects = _gradients(recorder)
    if not any(map(engine.can_be_swept, tensors)):       # else their history holds what it needs
        _refuse_survivors(recorder, [*tensors, *(g for _, g in effects if g is not None)])
    return result, make, tensors, effects, recorder, Findings(watcher, _is_module, leaves), watcher, mark


def _derivative(compiled, spec, leaves, tensors, recorder, mark):
    """How the results hang on what is outside, its sweep recorded too; None where nobody can sweep them."""
    outputs = [k for k, t in enumerate(tensors) if engine.can_be_swept(t)]
    if not outputs or len({tensors[k].dtype for k in outputs}) > 1:
        return None
    edge = {}                            # records where the sweep ends: older ones, and leaves
    for r in engine.reachable([tensors[k].record for k in outputs], mark):
        for i in r.inputs:
            if i is not None and (i.number <= mark or i.is_leaf):
                edge[i] = None
    known = {x.record: k for k, x in enumerate(leaves) if isinstance(x, Tensor) and x.record is not None}
    sources = [known[r] if r in known else engine.owner_of(r) for r in edge]
    if not sources or any(s is None for s in sources):
        return None
    cotangents = recorder.sweep([tensors[k] for k in outputs], list(edge))
    states = recorder.written_states()

    def again(values):
        args, kwargs = _pack(spec, values)
        return _results(compiled.function(*args, **kwargs))[0]

    return Derivative(outputs, sources, cotangents, rules(again, outputs), states)


def _paths(recorder, findings):
    """{constant value: the Guard that finds it again}."""
    return {v: guard for guard, thing in findings.arrays for v in recorder.constant_of(thing)}


def _gradients(recorder):
    """[(tensor, its gradient now)] where the run changed it; what the run made itself is nobody's business."""
    return [(t, t.grad) for t, before, _ in recorder.grads.values() if t.grad is not before and not recorder.made(t)]


def _refuse_survivors(recorder, wanted):
    left = recorder.survivors(wanted)
    if left:
        gc.collect()
        left = recorder.survivors(wanted)
    if left:
        raise TapeError("compile: a tensor made while recording is kept outside: " + "; ".join(left[:3])
                        + "; later runs would not change it.  Return it, or assign it to a cybackprop.State")


# ---- modules

def _is_module(thing):
    return callable(getattr(type(thing), "named_modules", None))


class Facts:
    """Whether modules and Parameters are as they were when this was made."""

    def __init__(self, findings, watcher):
        self.modules = list({id(m): m for top in findings.modules for _, m in top.named_modules()}.values())
        self.others = [thing for thing in watcher.objects.values() if hasattr(thing, "program_facts")]
        self.before = self._now()

    def _now(self):
        out = []
        for thing in self.others:
            out += [f for value in thing.program_facts() for f in _fact(value)]
        for module in self.modules:
            for name, value in vars(module).items():
                out += [name, *_fact(value)]
        return out

    def __call__(self):
        now = self._now()
        return len(now) == len(self.before) and all(
            a is b or (type(a) is type(b) and isinstance(a, NUMBERS) and a == b)
            for a, b in zip(now, self.before, strict=True))


def _fact(value):
    """What of an attribute a program depends on."""
    if isinstance(value, (list, tuple)):
        return [len(value), *(part for v in value for part in _fact(v))]
    if isinstance(value, dict):
        return [len(value), *(part for k, v in value.items() for part in (k, *_fact(v)))]
    return [value, value.requires_grad] if isinstance(value, Tensor) else [value]
