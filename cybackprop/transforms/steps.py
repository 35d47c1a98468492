"""backward_steps: the reverse sweep, one record at a time, for people and tools that look."""

from collections.abc import Iterator
from typing import NamedTuple

from cybackprop._core import engine
from cybackprop._core.engine import Record, Sweep, Tensor
from cybackprop.ops.registry import public


class Step(NamedTuple):
    """One visited record: its op, its number, the finished cotangent of its value, the record itself."""

    op: str
    number: int
    cotangent: Tensor
    record: Record


@public
def backward_steps(loss: Tensor, gradient=None, *, retain_graph=False, create_graph=False) -> Iterator[Step]:
    """Run backward one record at a time.

    Yields a `Step` for each record, the newest first, after it has handed its cotangent on; leaves come last and get
    their ``.grad`` when the generator ends.  Abandoned half way, it changes no ``.grad``.

    Parameters
    ----------
    loss, gradient, retain_graph, create_graph
        As in `Tensor.backward`.

    Examples
    --------
    >>> import cybackprop as cb
    >>> w = cb.Parameter([3.0])
    >>> [step.op for step in cb.backward_steps(cb.sum(w * w))]
    ['sum', 'mul', 'leaf']
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"backward_steps: a tensor is needed, not {type(loss).__name__}")
    g = engine.seed_cotangent(loss, gradient, "backward_steps")
    sweep = Sweep(retain_graph, create_graph)
    sweep.start(loss, g)
    while True:
        with engine.enable_grad() if create_graph else engine.no_grad():
            step = sweep.step()
        if step is None:
            break
        record, cotangent = step
        yield Step(record.op, record.number, cotangent, record)
    sweep.commit()
