"""What scan, while_loop and cond share: a function becomes a body; its States; the error of a step."""

from cybackprop._core import engine
from cybackprop.errors import TapeError
from cybackprop.ops.creation import zeros
from cybackprop.transforms.loops.bodies import Body, unrecorded


def rows_of(xs, row):
    """Row `row` of each, zeros where there is none; no part of what is being recorded."""
    with unrecorded(), engine.no_grad():
        return [x[row] if x.shape[0] else zeros(x.shape[1:], x.dtype) for x in xs]


def recorded(what, function, carries, xs, wants):
    """A function as a body; wants: which of xs, whole, take gradients."""
    def record():
        return Body(what, function, carries, xs, [[t.requires_grad for t in carries], wants])

    body = record()
    if not body.takes_gradients and body.recorder.derives:
        with engine.no_grad():           # derivatives inside were recorded so that they could be differentiated
            body = record()
    return body


def states_of(body):
    """The States that a body writes, as carries to start with: where a gradient may be wanted, what they are now."""
    return [engine.tensor(s) if body.takes_gradients else s for s in body.states]


def write_states(states, values):
    """What a loop left in the States that its body writes."""
    for state, value in zip(states, values, strict=True):
        state.assign(value)


def raise_as_eager(what, body, function, refused, xs, row, otherwise=None):
    """The error of the step that refused its data, by running it in Python; row: of xs."""
    step, carries = refused.args
    n, xs = len(carries) - len(body.states), rows_of(xs, row)
    with unrecorded(), engine.no_grad():
        before = [engine.tensor(s) for s in body.states]
        try:
            write_states(body.states, carries[n:])
            function(carries[:n], xs)
        finally:
            write_states(body.states, before)
    raise TapeError(otherwise or f"{what}: step {step} refused its data")
