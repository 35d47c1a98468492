"""while_loop: as many steps as a condition wants.  Its derivative is that of a scan of that many."""

import operator
from typing import Any, NamedTuple

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import LoopRefused, SeveralRow, Sweep, build_body
from cybackprop.errors import DTypeError, ShapeError, TapeError
from cybackprop.ops.movement import as_tensor
from cybackprop.ops.registry import public
from cybackprop.transforms.loops import nests, recording, rules
from cybackprop.transforms.loops.bodies import Body, loop_of
from cybackprop.transforms.loops.branches import cond
from cybackprop.transforms.loops.scans import scan


class Run(NamedTuple):
    """What the record of a while_loop remembers besides its inputs."""

    condition: Body
    body: Body
    recipe: tuple[Any, ...]
    most: int | None                     # steps at most
    steps: int | None                    # None: decided anew in each run of the program that this is part of


def _run(condition, body, recipe, carries, same, edges, most):
    """Last carries, and how many steps there were, an int64 tensor."""
    given = [*carries, *same]
    loop, fixed = body.loop((recipe, condition), lambda: _programs(condition, body, recipe, len(given)))
    wanted = engine.is_grad_enabled() and (edges or any(t is not None and t.requires_grad for t in given))
    linked = body.results(recipe)[0] if wanted else ()
    out = engine.run_bodies(loop, given + fixed, [True] * (len(carries) + 1), most or 0, int(most is not None))
    if linked:
        steps = None if engine.is_recording() else int(out[len(carries)])
        results = [t if k in linked else None for k, t in enumerate(out[:len(carries)])]
        engine.record_several(_while, given, fixed, edges, results, Run(condition, body, recipe, most, steps))
    return out


def _programs(condition, body, recipe, n_given):
    ins, outs = condition.graph(()).values(condition.recorder)
    ins += [condition.recorder.number_of(s, first=True) for s in body.states]        # as the body leaves them
    test = build_body(condition.recorder, ins + [-1] * (n_given - len(ins)), outs)
    step = body.step(recipe)
    program = build_body(body.recorder, *step.values(body.recorder))
    return loop_of("while_loop", program, test, len(step.carries), 0)


def _while_vjp(record, cotangents):
    """The loop again, as a scan of as many steps, and its sweep."""
    p, saved = rules.Parts(record), record.saved
    if saved.steps is None:
        raise TapeError("while_loop: inside cb.compile, scan or another loop nobody knows how many steps it will take, "
                        "so a reverse sweep has nothing to keep the steps in; give max_steps=, use cb.scan, or call it "
                        "under cb.no_grad() where no gradient is wanted")
    with engine.enable_grad():
        out = rules.run(saved.body, saved.recipe, p.carries, [], p.same, p.edges, saved.steps, False)
    places = [i for i, r in enumerate(record.inputs) if r is not None]
    sweep = Sweep(False, engine.is_grad_enabled(), [record.inputs[i] for i in places])
    for y, g in zip(out, cotangents, strict=False):
        if g is not None and y.record is not None:
            sweep.start(y, g)
    found = dict(zip(places, sweep.run_all(), strict=True))
    return [found.get(i) for i in range(len(record.inputs))]


def _while_jvp(record, tangents):
    """The same loop with tangents beside its carries."""
    p, saved = rules.Parts(record), record.saved
    step, first, _, same = p.pushed(tangents)
    out = _run(saved.condition, saved.body, (*saved.recipe, step), [*p.carries, *first], same, p.edges, saved.most)
    n = len(p.carries)
    found = dict(zip(p.graph.linked[0], out[n:], strict=False))
    return [found.get(k) for k in range(n)]


_while = SeveralRow("while_loop", _while_vjp, _while_jvp)


def _test(condition, spec):
    """A user's condition on lists of tensors."""
    def function(carries, xs):
        flag = as_tensor(condition(nests.put(spec, carries)))
        if flag.dtype != np.bool_:
            raise DTypeError(f"while_loop: the condition is {flag.dtype}, not bool; compare (x < y)")
        if flag.size != 1:
            raise ShapeError(f"while_loop: the condition has shape {flag.shape}; it is one element (any, all, max)")
        return [], [flag]

    return function


def _bounded(condition, body, init, max_steps):
    """The loop as a scan, which can be swept in a program; at the end the condition must not hold any more."""
    last, _ = scan(lambda c, _: (cond(condition(c), body, lambda c: c, c), None), init, length=max_steps)
    with engine.no_grad():
        _loop(condition, body, last, 0, max_steps)
    return last


def _loop(condition, body, init, most, said):
    """The loop itself; said: how many steps at most, in the message."""
    carries, spec = nests.tensors(init)

    def step(carries, xs):
        return nests.alike("while_loop", "carry", body(nests.put(spec, carries)), spec, carries), []

    test = _test(condition, spec)

    with engine.no_grad():
        tested = Body("while_loop", test, carries, [], [[False] * len(carries), []])
    found = recording.recorded("while_loop", step, carries, [], [])
    if tested.states:
        raise TapeError("while_loop: the condition writes a State; let the body do that")
    if most is not None and found.takes_gradients and engine.is_recording():
        return _bounded(condition, body, init, most)
    given = [*carries, *recording.states_of(found)]
    try:
        out = _run(tested, found, (), given, [], found.edges, most)
    except LoopRefused as refused:
        if refused.args[0] == most:
            recording.raise_as_eager("while_loop", tested, test, refused, [], 0,
                                     f"while_loop: the condition still holds after max_steps={said} steps")
        recording.raise_as_eager("while_loop", found, lambda carries, xs: (test(carries, xs), step(carries, xs)),
                                 refused, [], 0)
    recording.write_states(found.states, out[len(carries):len(given)])
    return nests.put(spec, out[:len(carries)])


@public
def while_loop(condition, body, init, max_steps=None):
    """Run a body step after step as long as a condition holds, without Python between the steps.

    Parameters
    ----------
    condition : callable
        carry -> bool Tensor of one element.
    body : callable
        carry -> the next carry.
    init : Tensor, array-like or nest of them
        The first carry; dicts, lists, tuples and None.  Structure, shapes and dtypes stay.
    max_steps : int, optional
        More are an error.

    Returns
    -------
    nest of Tensor
        The first carry that the condition does not hold for.

    Raises
    ------
    ShapeError, DTypeError
        The body returns another structure, shape or dtype; the condition is not one bool.
    TapeError
        The condition holds after max_steps; the body or the condition asks for the value of a tensor (`bool`, `item`);
        the condition writes a State; a reverse sweep inside `compile`, `scan` or another loop without max_steps.
    ValueError
        max_steps is negative.

    Notes
    -----
    As `scan`, recorded on the first carry.  A reverse sweep runs the steps again, as a scan of as many.  Inside a
    program their number is not known: where a gradient is wanted there, the loop is a scan of max_steps steps, of which
    those that are too many do nothing.

    Examples
    --------
    The square root of 2 by Newton's method, and its derivative:

    >>> import cybackprop as cb
    >>> def root(a):
    ...     return cb.while_loop(lambda x: cb.abs(x * x - a) > 1e-5, lambda x: (x + a / x) / 2, a)
    >>> value, slope = cb.value_and_grad(root)(2.0)
    >>> round(value.item(), 4), round(slope.item(), 4)
    (1.4142, 0.3536)
    """
    nests.require_functions("while_loop", condition, body)
    if max_steps is not None and operator.index(max_steps) < 0:
        raise ValueError(f"while_loop: max_steps is {max_steps}, it must not be negative")
    return _loop(condition, body, init, max_steps, max_steps)
