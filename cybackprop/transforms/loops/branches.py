"""cond: one of two branches."""

from typing import Any, NamedTuple

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import LoopRefused, SeveralRow, Tensor, build_body
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.creation import zeros_like
from cybackprop.ops.registry import public
from cybackprop.transforms.loops import nests
from cybackprop.transforms.loops.bodies import Vjp, loop_of, unrecorded
from cybackprop.transforms.loops.recording import raise_as_eager, recorded, write_states
from cybackprop.transforms.loops.rules import Parts


class Branches:
    """Two bodies that are given and leave the same: what one reads or writes outside is the other's too."""

    def __init__(self, first, second):
        self.bodies = first, second
        self._loops = {}
        self.states = list({engine.address(s): s for body in self.bodies for s in body.states}.values())
        self.edges = list({edge[0]: edge for body in self.bodies for edge in body.edges}.values())
        ys = sorted({k for body in self.bodies for k in body.results(())[1]})
        for body in self.bodies:
            body.join(self.states, self.edges, ys)
        self.graph = first.graph

    def loop(self, recipe):
        """(Loop, the arrays that it reads from outside)."""
        if recipe not in self._loops:
            programs = []
            for body in self.bodies:
                ins, outs = body.step(recipe).values(body.recorder)
                programs.append(build_body(body.recorder, [-1, *ins], outs))
            self._loops[recipe] = loop_of("cond", *programs, 0, 0)
        return self._loops[recipe]


class Run(NamedTuple):
    """What the record of a cond remembers besides its inputs."""

    body: Branches
    recipe: tuple[Any, ...]


def _run(branches, recipe, pred, carries, xs, same, edges):
    """What the branch leaves: next carries, then results."""
    loop, fixed = branches.loop(recipe)
    given = [pred, *carries, *xs, *same]
    wanted = engine.is_grad_enabled() and (edges or any(t.requires_grad for t in given))
    out = engine.run_bodies(loop, given + fixed, [True] * loop.n_results)
    after, ys = branches.graph(recipe).results if wanted else ([], [])
    if after or ys:
        on = {*after, *(len(carries) + k for k in ys)}
        engine.record_several(_cond, given, fixed, edges, [t if k in on else None for k, t in enumerate(out)],
                              Run(branches, recipe))
    return out


def _or_zeros(given, like):
    """Cotangents or tangents, zeros where there is none."""
    return [zeros_like(t) if g is None else g for g, t in zip(given, like, strict=True)]


def _cond_vjp(record, cotangents):
    """A cond of what is derived from the branches; each gives a cotangent to all that either of them reads."""
    p = Parts(record, 1)
    n = len(p.carries)
    carries, xs, same = p.graph.linked
    step = Vjp(tuple(k for k, g in enumerate(cotangents[n:]) if g is not None), (),
               tuple(k for k in xs if record.needs(p.places[1][k])))
    g = _or_zeros([cotangents[k] for k in carries], [p.graph.next[k] for k in carries])
    sums = [zeros_like(p.same[k]) for k in same] + [zeros_like(np.empty(shape, dtype)) for _, shape, dtype in p.edges]
    out = _run(p.saved.body, (*p.saved.recipe, step), record.input(0), [*g, *sums],
               [*p.carries, *p.xs, *(cotangents[n + k] for k in step.ys)], p.same, p.edges)
    return p.pulled(step, out, len(record.inputs))


def _cond_jvp(record, tangents):
    p = Parts(record, 1)
    carries, n = p.graph.linked[0], len(p.carries)
    step, first, slices, same = p.pushed(tangents, p.graph.results[1])
    out = _run(p.saved.body, (*p.saved.recipe, step), record.input(0),
               [*p.carries, *_or_zeros(first, [p.graph.carries[k] for k in carries])], [*p.xs, *slices], same, p.edges)
    found = dict(zip([*carries, *(n + k for k in step.ys)], out[n:], strict=True))
    return [found.get(k) for k in range(n + len(p.graph.ys))]


_cond = SeveralRow("cond", _cond_vjp, _cond_jvp)


# ---- as people write it

def _predicate(pred):
    """True, False, or a bool tensor of one element that is to be asked later."""
    if not isinstance(pred, Tensor):
        if np.ndim(pred) == 0:
            return bool(pred)
        raise ShapeError(f"cond: the predicate has shape {np.shape(pred)}; it is one bool")
    if pred.dtype != np.bool_:
        raise DTypeError(f"cond: the predicate is {pred.dtype}, not bool; compare (x < y)")
    if pred.size != 1:
        raise ShapeError(f"cond: the predicate has shape {pred.shape}; it is one bool (any, all, max)")
    return pred if engine.is_recording() else bool(pred)


def _record(branch, spec, leaves, tensors, specs, taken):
    """A branch as a body, recorded on these operands."""
    def function(carries, xs):
        fresh = iter(xs)
        given = [next(fresh) if isinstance(x, Tensor) else x for x in leaves]
        ys, found = nests.tensors(branch(*nests.put(spec, given)))
        specs.append(found)
        return [], ys

    wants = [t.requires_grad for t in tensors]
    try:
        return recorded("cond", function, [], tensors, wants)
    except (IndexError, ValueError):     # data that this branch refuses, while the other one is the one that runs
        if taken:
            raise
    return recorded("cond", function, [], [zeros_like(t) for t in tensors], wants)


def _require_alike(first, second, specs):
    a, b = specs[0], specs[-1]
    if a != b:
        raise ShapeError(f"cond: the true branch returns {nests.shown(a)} and the false branch {nests.shown(b)}; "
                         "both leave the same structure")
    for s, t in zip(first.graph(()).ys, second.graph(()).ys, strict=True):
        if s.shape != t.shape:
            raise ShapeError(f"cond: the true branch returns shape {s.shape} and the false branch {t.shape}")
        if s.dtype != t.dtype:
            raise DTypeError(f"cond: the true branch returns {s.dtype} and the false branch {t.dtype}; use astype")


@public
def cond(pred, true_fn, false_fn, *operands):
    """true_fn(*operands) if the predicate holds, else false_fn(*operands).

    Parameters
    ----------
    pred : bool Tensor of one element, or bool
    true_fn, false_fn : callable
        Return a tensor or a nest of tensors.
    *operands
        Handed on.

    Returns
    -------
    Tensor or nest of Tensor

    Raises
    ------
    DTypeError, ShapeError
        The predicate is not one bool; inside `compile`, `scan` or `while_loop`, the branches return different
        structures, shapes or dtypes.

    Notes
    -----
    Eagerly the branch is a call like any other.  Inside `compile`, and in the body of a `scan` or a `while_loop`, both
    branches are recorded and the choice is one operation, made anew in each run, or step.  Only the branch that was
    taken contributes to gradients.

    Examples
    --------
    >>> import cybackprop as cb
    >>> @cb.compile
    ... def step(x):
    ...     return cb.cond(x > 0, lambda x: cb.sqrt(x), lambda x: -x, x)
    >>> step(cb.tensor(4.0)).item(), step(cb.tensor(-4.0)).item()
    (2.0, 4.0)
    """
    nests.require_functions("cond", true_fn, false_fn)
    pred = _predicate(pred)
    if isinstance(pred, bool):
        return (true_fn if pred else false_fn)(*operands)
    leaves, spec = nests.take(operands)
    leaves = [x for x, _ in leaves]
    tensors, specs = [x for x in leaves if isinstance(x, Tensor)], []
    with unrecorded():
        truth = bool(pred)
    first = _record(true_fn, spec, leaves, tensors, specs, truth)
    del specs[1:]
    second = _record(false_fn, spec, leaves, tensors, specs, not truth)
    _require_alike(first, second, specs)
    branches = Branches(first, second)
    given = [engine.tensor(s) if first.takes_gradients or second.takes_gradients else s for s in branches.states]
    try:
        out = _run(branches, (), pred, given, tensors, [], branches.edges)
    except LoopRefused as refused:
        raise_as_eager("cond", first, lambda carries, xs: (true_fn if truth else false_fn)(*operands), refused, [], 0)
    write_states(branches.states, out[:len(given)])
    return nests.put(specs[0], out[len(given):])
