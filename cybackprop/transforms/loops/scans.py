"""scan: a loop as an operation, as people write it."""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from cybackprop._core.engine import LoopRefused
from cybackprop.errors import ShapeError
from cybackprop.ops.movement import concatenate, reshape
from cybackprop.ops.registry import public
from cybackprop.transforms.loops import nests
from cybackprop.transforms.loops.bodies import Body
from cybackprop.transforms.loops.recording import raise_as_eager, recorded, rows_of, states_of, write_states
from cybackprop.transforms.loops.rules import run


def _length(xs, length):
    """How many steps there are."""
    lengths = {path: x.shape[0] if x.ndim else None for x, path in xs}
    if None in lengths.values():
        path = next(p for p in lengths if lengths[p] is None)
        raise ShapeError(f"scan: xs{path} has no axes, so nothing to go along")
    if len(set(lengths.values())) > 1:
        raise ShapeError("scan: xs differ in length: " + ", ".join(f"xs{p}: {n}" for p, n in lengths.items()))
    found = next(iter(lengths.values()), None)
    if length is not None:
        length = operator.index(length)
        if length < 0:
            raise ValueError(f"scan: length is {length}, it must not be negative")
        if found is not None and found != length:
            raise ShapeError(f"scan: length is {length}, but xs have {found} rows")
    if found is None and length is None:
        raise ValueError("scan: without xs it takes length=, the number of steps")
    return length if found is None else found


def _step(body, carry_spec, x_spec, specs):
    """A user's body on lists of tensors; specs gets the structure of what it returns beside the carry."""
    def function(carries, xs):
        result = body(nests.put(carry_spec, carries), nests.put(x_spec, xs))
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"scan: the body returns (carry, y), not {type(result).__name__}; y may be None")
        after = nests.alike("scan", "carry", result[0], carry_spec, carries)
        ys, spec = nests.tensors(result[1])
        specs[:] = [spec]
        return after, ys

    return function


class _Scan(NamedTuple):
    """A recorded body, and what it needs to run."""

    body: Body
    function: Callable[..., Any]         # (carries, xs) -> (next carries, results)
    reverse: bool

    def run(self, carries, xs, steps):
        """All steps, and the States that the body writes: (last carries, stacks)."""
        body = self.body
        given = [*carries, *states_of(body)]
        try:
            out = run(body, (), given, xs, [], body.edges, steps, self.reverse)
        except LoopRefused as refused:
            at = refused.args[0]
            raise_as_eager("scan", body, self.function, refused, xs, steps - 1 - at if self.reverse else at)
        if steps:
            write_states(body.states, out[len(carries):len(given)])
        return out[:len(carries)], out[len(given):len(given) + body.n_ys]

    def run_in_segments(self, carries, xs, steps):
        """The same as a scan over stretches of about sqrt(steps) steps, each a scan."""
        part = math.isqrt(steps)
        whole = steps // part * part
        cut = [reshape(x[:whole], (whole // part, part, *x.shape[1:])) for x in xs]
        rest, ends = [x[whole:] for x in xs], []
        if self.reverse and whole < steps:
            carries, ends = self.run(carries, rest, steps - whole)

        def segment(carries, xs):
            return self.run(carries, xs, part)

        body = _recorded(segment, carries, cut, self.reverse)
        carries, ys = _Scan(body, segment, self.reverse).run(carries, cut, whole // part)
        ys = [reshape(y, (whole, *y.shape[2:])) for y in ys]
        if not self.reverse and whole < steps:
            carries, ends = self.run(carries, rest, steps - whole)
        return carries, [concatenate([y, end]) for y, end in zip(ys, ends, strict=True)] if ends else ys


def _recorded(function, carries, xs, reverse):
    row = (xs[0].shape[0] if xs else 1) - 1 if reverse else 0
    return recorded("scan", function, carries, rows_of(xs, max(row, 0)), [x.requires_grad for x in xs])


@public
def scan(body, init, xs=None, length=None, *, reverse=False, checkpoint=False):
    """Run a body step after step: one record, however many steps, and no Python between them.

    Parameters
    ----------
    body : callable
        (carry, x) -> (carry, y): from what the last step left and row t of xs to what the next step gets and row t of
        ys.  Dicts, lists and tuples of tensors, or None.
    init : Tensor, array-like or nest of them
        The first carry.  Structure, shapes and dtypes stay.
    xs : Tensor, array-like or nest of them, optional
        Its first axis is that of the steps.
    length : int, optional
        Number of steps; needed without xs.
    reverse : bool
        From the last row to the first.
    checkpoint : bool
        Keep the carries of about sqrt(length) steps instead of all and run the steps between again when a gradient is
        wanted: less memory, about another forward of time.

    Returns
    -------
    (carry, ys)
        The last carry, and what the steps returned, stacked along a new first axis.

    Raises
    ------
    ShapeError
        The body returns a carry of another structure or shape; xs differ in length, or from length.
    DTypeError
        The body returns a carry of another dtype.
    TapeError
        The body asks for the value of a tensor (`bool`, `item`).

    Notes
    -----
    The body runs once, eagerly, on the first step's values; all steps then run in C, without the GIL, with the bits of
    the same loop in Python.  Tensors and Parameters that it closes over receive gradients; a `State` that it writes, a
    stream of random numbers say, goes from step to step.  Derivatives are scans too, to any order; gradients agree with
    the loop's to rounding.  Without checkpoint a backward reads the carry before each step: memory of length carries.
    Recording costs a few hundred microseconds a call; inside `compile` it happens once.

    Examples
    --------
    A pendulum's angle after 1,000 steps of Euler's method, and how it depends on gravity:

    >>> import cybackprop as cb
    >>> def angle(gravity):
    ...     def step(carry, _):
    ...         theta, speed = carry
    ...         return (theta + 0.001 * speed, speed - 0.001 * gravity * cb.sin(theta)), theta
    ...     (theta, _), path = cb.scan(step, (cb.tensor(1.0), cb.tensor(0.0)), length=1000)
    ...     return theta
    >>> value, slope = cb.value_and_grad(angle)(9.81)
    >>> round(value.item(), 3), round(slope.item(), 3)
    (-0.984, -0.03)
    """
    nests.require_functions("scan", body)
    carries, carry_spec = nests.tensors(init)
    leaves, x_spec = nests.take(xs)
    leaves = [(nests.as_tensor(x), path) for x, path in leaves]
    steps, rows = _length(leaves, length), [x for x, _ in leaves]

    specs = []
    step = _step(body, carry_spec, x_spec, specs)
    whole = _Scan(_recorded(step, carries, rows, reverse), step, reverse)
    segments = checkpoint and whole.body.takes_gradients and steps > 3
    last, ys = (whole.run_in_segments if segments else whole.run)(carries, rows, steps)
    return nests.put(carry_spec, last), nests.put(specs[0], ys)
