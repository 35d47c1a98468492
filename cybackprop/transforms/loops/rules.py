"""A scan as one record, and its derivatives: scans too, of bodies derived from its body."""

from typing import Any, NamedTuple

from cybackprop._core import engine
from cybackprop._core.engine import SeveralRow, Tensor
from cybackprop.transforms.loops.bodies import Body, Jvp, Vjp


class Run(NamedTuple):
    """What the record of a scan remembers besides its inputs."""

    body: Body
    recipe: tuple[Any, ...]
    steps: int
    reverse: bool
    stacks: list[Tensor | None]          # the carries before each step


def run(body, recipe, carries, xs, same, edges, steps, reverse, stacks=()):
    """A scan of a body or of what a recipe derives from it: last carries, stacks, stacks of the carries before steps.

    Parameters
    ----------
    carries, xs, same : list of Tensor or None
        What it is given; a carry that is None starts as zeros.
    edges : list of (Record, shape, dtype)
        The records from outside, in the order of `body.edges`.
    stacks : collection of int
        Of which carries the stacks are wanted even if nobody takes a gradient.
    """
    loop, fixed = body.scan(recipe)
    given = [*carries, *xs, *same]
    wanted = engine.is_grad_enabled() and (edges or any(t is not None and t.requires_grad for t in given))
    linked = body.results(recipe) if wanted else ([], [])
    wanted = any(linked)
    out = engine.run_bodies(loop, given + fixed, [True] * loop.n_results + [
        wanted or k in stacks for k in range(len(carries))], steps, int(reverse))
    if wanted:
        n, m = len(carries), loop.n_results
        on = {*linked[0], *(n + k for k in linked[1]), *(m + k for k in linked[0])}
        saved = Run(body, recipe, steps, reverse, [t.detach() for t in out[m:]])
        engine.record_several(_scan, given, fixed, edges, [t if k in on else None for k, t in enumerate(out)], saved)
    return out


class Parts:
    """The inputs of a loop's record by what they are; the first one is number `at`."""

    def __init__(self, record, at=0):
        self.saved = saved = record.saved
        self.graph = graph = saved.body.graph(saved.recipe)
        n, m, k = len(graph.carries), len(graph.xs), len(graph.same)
        self.places = range(at, at + n), range(at + n, at + n + m), range(at + n + m, at + n + m + k)
        self.carries, self.xs, self.same = (
            [record.input(i) if record.has_input(i) else None for i in places] for places in self.places)
        inputs = record.inputs
        first = len(inputs) - len(saved.body.edges)
        self.edges = [(r, *about) for r, (_, *about) in zip(inputs[first:], saved.body.edges, strict=True)]
        self.edge_places = range(first, len(inputs))

    def pushed(self, tangents, ys=()):
        """(step, tangents of the carries that take gradients, of slices, what is the same) of a climb."""
        first, xs, same, edges = ([tangents[i] for i in places] for places in (*self.places, self.edge_places))
        step = Jvp(*(tuple(k for k, t in enumerate(ts) if t is not None) for ts in (xs, same, edges)), tuple(ys))
        return (step, [first[k] for k in self.graph.linked[0]], [xs[k] for k in step.xs],
                [*self.same, *(same[k] for k in step.same), *(edges[k] for k in step.edges)])

    def pulled(self, step, out, n):
        """What a sweep has left, by input of the record."""
        carries, _, same = self.graph.linked
        places = [*(self.places[0][k] for k in carries), *(self.places[2][k] for k in same), *self.edge_places,
                  *(self.places[1][k] for k in step.xs)]
        found = dict(zip(places, out, strict=False))
        return [found.get(i) for i in range(n)]

    def befores(self, record):
        """The carries before each step, linked to the record."""
        first, carries = len(self.graph.next) + len(self.graph.ys), self.graph.linked[0]
        return [engine.result_of(record, first + k, t) if k in carries else t for k, t in enumerate(self.saved.stacks)]


def _scan_vjp(record, cotangents):
    """A scan in the other direction: its carries are cotangents of the carries and sums for what is the same."""
    p, saved = Parts(record), record.saved
    n, m = len(p.carries), len(p.graph.ys)
    last, ys, stacks = cotangents[:n], cotangents[n:n + m], cotangents[n + m:]
    carries, xs, same = p.graph.linked
    step = Vjp(tuple(k for k in range(m) if ys[k] is not None), tuple(k for k in range(n) if stacks[k] is not None),
               tuple(k for k in xs if record.needs(p.places[1][k])))
    out = run(saved.body, (*saved.recipe, step), [last[k] for k in carries] + [None] * (len(same) + len(p.edges)),
              [*p.befores(record), *p.xs, *(ys[k] for k in step.ys), *(stacks[k] for k in step.stacks)], p.same,
              p.edges, saved.steps, not saved.reverse)
    return p.pulled(step, out, len(record.inputs))


def _scan_jvp(record, tangents):
    """A scan of the body and its tangents beside it."""
    p, saved = Parts(record), record.saved
    carries = p.graph.linked[0]
    step, first, slices, same = p.pushed(tangents, p.graph.results[1])
    n, after = len(p.carries), len(p.carries) + len(carries)
    out = run(saved.body, (*saved.recipe, step), [*p.carries, *first], [*p.xs, *slices], same, p.edges, saved.steps,
              saved.reverse, range(n, after))
    m = len(p.graph.ys)
    places = [*carries, *(n + k for k in step.ys), *(n + m + k for k in carries)]
    moved = out[n:after + len(step.ys)] + out[after + len(step.ys) + n:]
    found = dict(zip(places, moved, strict=True))
    return [found.get(k) for k in range(2 * n + m)]


_scan = SeveralRow("scan", _scan_vjp, _scan_jvp)
