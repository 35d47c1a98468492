"""Bodies of loops and branches: recorded once, on the first step's values, and what can be derived from that.

A body's recording stays as it is, tape and all, while somebody may want its derivative: then a sweep over its tape, or
a climb, goes on in the same recording, and what has to be run for the derivative is another program of it.  Those
records are on the tape too, so that there is no highest order.  A derivative of a derivative ... is named by a recipe,
a tuple of Vjp and Jvp.
"""

import gc
from typing import NamedTuple

from cybackprop._core import engine
from cybackprop._core.engine import BodyRecorder, Loop, Sweep, Tensor, build_body
from cybackprop.errors import TapeError
from cybackprop.ops.creation import zeros_like
from cybackprop.transforms.walks import climb


class Graph(NamedTuple):
    """One step as tensors of the recording."""

    carries: list[Tensor]                # what a step is given: carries, slices, and what is the same in all steps
    xs: list[Tensor]
    same: list[Tensor]
    next: list[Tensor]                   # what it leaves: the next carries, and what is stacked
    ys: list[Tensor]
    linked: tuple[list[int], list[int], list[int]]       # numbers of the carries, xs and same that take gradients
    results: tuple[list[int], list[int]]                 # numbers of next and ys that do

    def values(self, recorder):
        """(inputs, results) as values of the recording; a State is what it was first, and what it is at the end."""
        given = (*self.carries, *self.xs, *self.same)
        return ([recorder.number_of(t, first=True) for t in given],
                [recorder.number_of(t) for t in (*self.next, *self.ys)])


class Vjp(NamedTuple):
    """Step of a recipe: cotangents of the carries and, summed up, of what is the same, from step to step."""

    ys: tuple[int, ...]                  # results with a cotangent
    stacks: tuple[int, ...]              # carries whose stack, as a result, has one
    xs: tuple[int, ...]                  # slices that want one


class Jvp(NamedTuple):
    """Step of a recipe: carries and their tangents, from step to step."""

    xs: tuple[int, ...]                  # slices, what is the same, records from outside that have a tangent
    same: tuple[int, ...]
    edges: tuple[int, ...]
    ys: tuple[int, ...]                  # results whose tangent is wanted


class Body:
    """A function that was recorded as a body.

    Parameters
    ----------
    what : str
        For messages, "scan".
    function : callable
        (carries, xs), lists of tensors, -> (list of next carries, list of results).
    carries, xs : list of Tensor
        What the first step is given.
    wants : list of bool, list of bool
        Which carries and slices come from somebody who may want a gradient.

    Attributes
    ----------
    states : list of State
        Those that it writes: carries too, the last ones.
    edges : list of (Record, shape, dtype)
        The records from outside that its results lead to.
    """

    def __init__(self, what, function, carries, xs, wants):
        self.recorder = BodyRecorder(what)
        self._loops = {}
        on = engine.is_grad_enabled()
        with unrecorded():
            carries = [self._copy(t, on and t.dtype.kind == "f") for t in carries]
            xs = [self._copy(t, on and wanted) for t, wanted in zip(xs, wants[1], strict=True)]
        try:
            with self.recorder:
                after, ys = function(carries, xs)
        finally:
            with unrecorded():
                self._undo(what)
        self.recorder.leads_to([*after, *ys])
        self.states = self._written(what)
        self.edges = self._find_edges([t.record for t in (*after, *ys) if t.record is not None])
        linked, results = self._linked(carries, xs, after, ys, wants)
        self.takes_gradients, self.n_ys = bool(results[0] or results[1]), len(ys)
        if not self.takes_gradients:     # nobody needs the tape
            carries, xs, after, ys = ([t.detach() for t in ts] for ts in (carries, xs, after, ys))
        self._refuse_survivors(what, [*carries, *xs, *after, *ys])
        self._graphs = {(): Graph(carries + self.states, xs, [], after + self.states, ys, linked, results)}

    def _copy(self, t, linked):
        return self.recorder.new_input(t.shape, t.dtype, t, linked)

    def _undo(self, what):
        """States are what they were; gradients too, and if the body left others, that is refused."""
        self._ends = {engine.address(state): state.version for state, _, _ in self.recorder.before.values()}
        for state, values, version in self.recorder.before.values():
            self.recorder.put_state_back(state, values, version)
        changed = [(t, before) for t, before, _ in self.recorder.grads.values() if t.grad is not before]
        refused = [t.shape for t, _ in changed if not self.recorder.made(t)]
        for t, before, _ in self.recorder.grads.values():
            t.grad = before
        if refused:
            raise TapeError(f"{what}: the body leaves another .grad in a tensor of shape {refused[0]}; use cb.grad, or "
                            "call backward outside")

    def _written(self, what):
        for place, (state, _, _) in self.recorder.before.items():
            if place in self.recorder.inside:
                raise TapeError(f"{what}: the body makes a {state.dtype} State of shape {state.shape} and writes it; "
                                "make it outside, then it lives from step to step")
        return [state for state, _, _ in self.recorder.before.values()]

    def _find_edges(self, roots):
        mark, found = self.recorder.mark, {}
        records = engine.reachable(roots, mark)
        for r in (*records, *roots):
            found.update((i, self.recorder.edges[i]) for i in (r, *r.inputs) if i is not None and i.number <= mark)
        self._stale = self.recorder.settle(records, self._ends)
        return [(r, *about) for r, about in found.items()]

    def _refuse_survivors(self, what, wanted):
        history = engine.reachable([t.record for t in wanted if t.record is not None], self.recorder.mark)
        left = self.recorder.survivors(wanted, history)
        if left:
            gc.collect()
            left = self.recorder.survivors(wanted, history)
        if left:
            raise TapeError(f"{what}: a tensor that the body makes is kept outside: " + "; ".join(left[:3])
                            + "; it would be the first step's.  Return it, or assign it to a cybackprop.State")

    def require_derivatives(self):
        """Raise TapeError if the body writes a Parameter that its results depend on, or a State that a slope reads."""
        written = {engine.address(s) for s in self.states}
        for r, shape, _ in self.edges:
            owner = engine.owner_of(r)
            if owner is not None and engine.address(owner) in written:
                raise TapeError(f"{self.recorder.what}: the body reads a Parameter of shape {shape} and writes it, so "
                                "each step has another; carry its values instead, then they can be differentiated")
        if self._stale is not None:
            raise TapeError(f"{self.recorder.what}: a derivative needs a State of shape {self._stale} as it was before "
                            "the body wrote it; write it before it is read, or carry its values instead")

    def _linked(self, carries, xs, after, ys, wants):
        """(Graph.linked, Graph.results): what depends, in this step or a later one, on what takes gradients."""
        mark = self.recorder.mark
        sources = {t.record: (group, k) for group, ts in enumerate((carries, xs)) for k, t in enumerate(ts)}

        def reached(t):
            """What a result depends on: (0, carry), (1, slice), or True for something outside."""
            if t.record is None:
                return set()
            found = {True} if t.record.number <= mark else set()
            for r in engine.reachable([t.record], mark):
                found |= {sources[r]} if r in sources else {
                    True for i in r.inputs if i is not None and i.number <= mark}
            return found

        leads = [reached(t) for t in after]
        on = {True} | {(group, k) for group, flags in enumerate(wants) for k, flag in enumerate(flags) if flag}
        while more := {(0, k) for k, found in enumerate(leads) if found & on and carries[k].record is not None} - on:
            on |= more
        linked = [[k for k, t in enumerate(ts) if t.record is not None and (group, k) in on]
                  for group, ts in enumerate((carries, xs))]
        return (*linked, []), (linked[0], [k for k, t in enumerate(ys) if reached(t) & on])

    # ---- derivatives of the recording

    def graph(self, recipe):
        """The step that a recipe names, as tensors that can be differentiated."""
        with engine.sweep_lock:          # which a sweep has already: another lock could be held the other way round
            if recipe not in self._graphs:
                self._graphs[recipe] = self._derive(recipe, True)
            return self._graphs[recipe]

    def _derive(self, recipe, create_graph):
        self.require_derivatives()
        *before, last = recipe
        graph = self.graph(tuple(before))
        mark = engine.last_number()
        with unrecorded(), self.recorder, engine.enable_grad() if create_graph else engine.no_grad():
            made = (self._pull if isinstance(last, Vjp) else self._push)(graph, last, create_graph)
        records = [t.record for t in (*made.next, *made.ys) if t.record is not None]
        self.recorder.settle(engine.reachable(records, mark))
        return made

    def _pull(self, graph, step, create_graph):
        """The step backwards: what it is given are cotangents, sums so far, and the carries and slices of the step."""
        def new(t):
            return self.recorder.new_input(t.shape, t.dtype, None, create_graph)

        carries, _, same = graph.linked
        g = [new(graph.next[k]) for k in carries]
        gy, gs = [new(graph.ys[k]) for k in step.ys], [new(graph.carries[k]) for k in step.stacks]
        sums = [new(graph.same[k]) for k in same]
        sums += [self.recorder.new_input(shape, dtype, None, create_graph) for _, shape, dtype in self.edges]
        goals = [graph.carries[k] for k in carries] + [graph.xs[k] for k in step.xs] + [graph.same[k] for k in same]
        targets = [t.record for t in goals] + [r for r, *_ in self.edges]
        sweep = Sweep(True, create_graph, targets)
        starts = [*zip(targets[len(targets) - len(sums):], sums, strict=True),
                  *((graph.carries[k].record, t) for k, t in zip(step.stacks, gs, strict=True)),
                  *((graph.next[k].record, t) for k, t in zip(carries, g, strict=True)),
                  *((graph.ys[k].record, t) for k, t in zip(step.ys, gy, strict=True))]
        for record, t in starts:
            if record is not None:
                sweep.start_at(record, t)
        found = sweep.run_all()
        found = [zeros_like(t) if c is None else c for t, c in zip(goals, found, strict=False)] + found[len(goals):]
        a, b = len(carries), len(carries) + len(step.xs)
        return _whole([*g, *sums], [*graph.carries, *graph.xs, *gy, *gs], graph.same, found[:a] + found[b:], found[a:b])

    def _push(self, graph, step, create_graph):
        """The step, and its tangents beside it."""
        def new(t):
            return self.recorder.new_input(t.shape, t.dtype, None, create_graph)

        carries = graph.linked[0]
        tc, tx = [new(graph.carries[k]) for k in carries], [new(graph.xs[k]) for k in step.xs]
        ts = [new(graph.same[k]) for k in step.same]
        ts += [self.recorder.new_input(*self.edges[k][1:], None, create_graph) for k in step.edges]
        primals = [*(graph.carries[k] for k in carries), *(graph.xs[k] for k in step.xs),
                   *(graph.same[k] for k in step.same)]
        sources = [t.record for t in primals] + [self.edges[k][0] for k in step.edges]
        known = dict(zip(sources, [*tc, *tx, *ts], strict=True))
        results = [graph.next[k] for k in carries] + [graph.ys[k] for k in step.ys]
        path = engine.reachable([t.record for t in results], self.recorder.mark)
        moved = climb(path, known, results)
        return _whole([*graph.carries, *tc], [*graph.xs, *tx], [*graph.same, *ts],
                      [*graph.next, *moved[:len(carries)]], moved[len(carries):])

    def results(self, recipe):
        """Numbers of next and ys that take gradients."""
        return self.graph(recipe).results

    # ---- programs

    def step(self, recipe):
        """The same to be run only: nobody has to differentiate it, so sweeps in it use fused kernels."""
        return self._graphs.get(recipe) or self._derive(recipe, False)

    def loop(self, name, make):
        """(Loop, the arrays that it reads from outside), made once."""
        with engine.sweep_lock:
            if name not in self._loops:
                self._loops[name] = make()
            return self._loops[name]

    def scan(self, recipe):
        """What a scan of it runs."""
        def make():
            graph = self.step(recipe)
            program = build_body(self.recorder, *graph.values(self.recorder))
            return loop_of("scan", program, None, len(graph.carries), len(graph.xs))

        return self.loop(recipe, make)

    def join(self, states, edges, ys):
        """Be a branch beside another: states and edges of both, and the results that take gradients in one of them."""
        root = self._graphs[()]
        self.states, self.edges = states, edges
        self._graphs[()] = Graph(states, root.xs, [], states, root.ys, root.linked, ([], ys))


def loop_of(kind, first, second, n_carry, n_x):
    """(Loop, the arrays that it reads from outside): programs know the loop, and must not keep the arrays."""
    programs, fixed = [p for p in (first, second) if p is not None], []
    n = len(first.ins) - len(first.fixed)
    total, ins = sum(len(p.fixed) for p in programs), []
    for p in programs:
        before = [-1] * len(fixed)
        ins.append((p.ins[:n] + before + p.ins[n:] + [-1] * total)[:n + total])
        fixed += p.fixed
    for p in programs:
        p.fixed = []
    return Loop(kind, first, second, ins, n_carry, n_x), fixed


class unrecorded:                        # no generator: a program would guard contextlib
    """What runs inside is no part of the program that is being recorded."""

    def __enter__(self):
        self._before = engine.swap_recorder(None)

    def __exit__(self, *exc):
        engine.swap_recorder(self._before)


def _whole(carries, xs, same, after, ys):
    linked = tuple([k for k, t in enumerate(ts) if t.record is not None] for ts in (carries, xs, same))
    results = tuple([k for k, t in enumerate(ts) if t.dtype.kind == "f"] for ts in (after, ys))
    return Graph(carries, xs, same, after, ys, linked, results)
