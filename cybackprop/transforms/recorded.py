"""One recorded call: the function ran eagerly, and all it did is written down."""

import contextlib
import functools
import gc
import operator
import types
import weakref

from cybackprop._core import engine
from cybackprop._core.engine import Derivative, Places, Recorder, Tensor
from cybackprop.errors import TapeError
from cybackprop.transforms.arguments import CHANGES, CONSTANT, call, changed, given, others, pack, results, strong
from cybackprop.transforms.environment import Environment
from cybackprop.transforms.facts import Facts
from cybackprop.transforms.names import leaf_names
from cybackprop.transforms.opaque import array_digest, is_of_state
from cybackprop.transforms.rerun import rules

MOST_SWEEPS = 8                          # results that get a sweep of their own; from others the function runs again


class Surroundings:
    """What a function can name outside, before a run, and what the run has changed there.

    Attributes
    ----------
    environment : Environment
    places : Places
    facts : Facts
    """

    def __init__(self, function, leaves, borrowed=(), spec=None):
        self.environment = Environment(function, leaves, borrowed, kinds(spec))
        self.places = Places(self.environment.places)
        self.facts = Facts(self.environment.modules, self.environment.counted, self.environment.tensors)
        self._version = engine.structure_version()
        self._large = [(place, array_digest(place.holder)) for place in self.environment.places
                       if place.expected is None and engine.is_bytes(place)]

    def changed(self):
        """Labels of what is no longer what it was."""
        others = {id(place) for place, _ in self._large}
        found = [p.label for p in self.places.changed(exact=True) if id(p) not in others and not is_of_state(p.holder)]
        found += [place.label for place, digest in self._large if array_digest(place.holder) != digest]
        found += self.environment.appeared()
        if not found and self._version != engine.structure_version() and not self.facts():
            found = [self.facts.changed()]
        return found

    def known(self):
        """Tensors that a run may use: those that lie in places, and those of the arguments."""
        return [t for _, t in self.environment.arrays if isinstance(t, Tensor)] + self.environment.tensors


class Recorded:
    """Runs a function while recording it.

    Parameters
    ----------
    surroundings : Surroundings or None
        None: an audit, which has what its program has.
    plain : bool
        Loops run their bodies as they were recorded, without a plan.
    knows : callable, optional
        Of an audit: whether a container that is returned is the program's own.
    strict : bool
        What makes a recording unusable is an error, and what the run has written is put back.

    Attributes
    ----------
    result : object
        What the function returned.
    unusable : str or None
        Why there is no program of it.
    changed : list of str
        What the run changed outside.
    tensors, make
        The tensors in the result, and what makes the same nest of others.
    effects : list of (Tensor, Tensor or None)
        Whose gradient the run changed, and what it is now.
    """

    def __init__(self, function, spec, leaves, args, kwargs, surroundings=None, plain=False, recorder=None,
                 strict=False, knows=None):
        self.function, self.spec, self.leaves, self._surroundings = function, spec, leaves, surroundings
        self.recorder, self._mark = recorder or Recorder(), engine.last_number()
        self.recorder.plain, self.recorder.strict, self.changed, self.unusable = plain, strict, [], None
        self.recorder.names = functools.partial(leaf_names, function, spec, len(leaves))
        self.new = given(leaves)
        self._tensors = [] if surroundings is None else surroundings.environment.tensors
        try:
            self.recorder.start(self.new, leaves, None if surroundings is None else surroundings.known())
            self.result, made = call(function, args, kwargs, leaves, self.new)
            self.tensors, self.make = results(self.result, leaves, self.new, self._mark,
                                              knows if surroundings is None else surroundings.environment.knows)
            owned = [engine.own_value(t) for t in self.tensors]
            if any(map(operator.is_not, owned, self.tensors)):       # views of States: later runs would change them
                self.tensors, self.result = owned, self.make(owned, leaves)
        finally:
            self.recorder.stop()
        strong(self.result)
        self.effects = [(t, t.grad) for t, before, _ in self.recorder.grads.values()
                        if t.grad is not before and not self.recorder.made(t)]
        self.recorder.read_as_cast([*self.tensors, *(g for _, g in self.effects if g is not None)])
        try:
            self._judge(made)
        except TapeError as error:
            self.unusable = str(error)

    def _judge(self, made):
        """Raise TapeError where no program can do what the run did."""
        if self.recorder.ended is not None:
            raise TapeError(self.recorder.ended)
        if self._surroundings is not None:
            self.changed = self._surroundings.changed()
            if self.changed:
                raise TapeError(changed_text(self.changed))
        if changed(made):
            raise TapeError(CHANGES)
        arguments = {id(x) for x in self.new}
        if any(id(t) in arguments and not hasattr(t, "assign") for t, _ in self.effects):
            raise TapeError("the call writes .grad of an argument; use cb.grad, or a Parameter")
        self._refuse_survivors()
        if self._surroundings is not None:
            self._refuse_others()

    def _refuse_survivors(self):
        wanted = [*self.tensors, *(g for _, g in self.effects if g is not None)]
        history = engine.reachable([t.record for t in wanted], self._mark)
        left = self.recorder.survivors(wanted, history)
        if left:
            gc.collect()
            left = self.recorder.survivors(wanted, history)
        if left:
            raise TapeError(f"a tensor that the call made is kept outside: {'; '.join(left)}; later calls would not "
                            "change it.  Return it (lists, tuples and dicts may hold it), or assign it to a cb.State")

    def _refuse_others(self):
        """What a run makes that is no tensor can't be made anew: one generator, say, would serve all calls."""
        made = [x for x in others(self.make) if not isinstance(x, CONSTANT)]
        known = {*map(id, self.leaves), id(self.function), id(getattr(self.function, "__self__", None))}
        if made:
            known.update(id(m) for top in self._surroundings.environment.modules for _, m in top.named_modules())
        for x in made:
            if id(x) not in known and not self._surroundings.environment.knows(x):
                raise TapeError(f"the function returned an object of type {type(x).__name__}, which later calls could "
                                "not make anew; return tensors, numbers, and lists, tuples and dicts of them, or "
                                "objects that were there before")

    # ---- for the program

    def places(self):
        """(Places of the program, {constant value: the Place that finds its array again})."""
        paths, inputs, anew, returned = {}, set(), set(), set(map(id, others(self.make)))
        before = self._surroundings.environment
        for place, thing in before.arrays:
            values = self.recorder.constant_of(thing)
            kept = id(thing) in returned or id(thing) in self.recorder.bases
            if values and not kept and not getattr(thing, "requires_grad", False):
                inputs.add(id(thing))
                paths |= dict.fromkeys(values, place)
            elif not isinstance(thing, Tensor) or self.recorder.known(thing):
                continue
            if before.lies_once(thing):                  # else the program would read one place for another, too
                anew.add(id(place))
        for place in before.places:
            if place.expected is None and engine.is_bytes(place) and id(place.holder) not in inputs:
                raise TapeError(f"`{place.label}` is an array of {place.holder.nbytes} bytes, too large to be compared "
                                "at each call; hand it over as an argument, or to an operation as it is")
        return Places(before.places, inputs, anew), paths

    def aliases(self):
        """[(Place, number of a leaf)]: places outside that hold the very tensor that is an argument."""
        leaves = {id(x): k for k, x in enumerate(self.leaves) if isinstance(x, Tensor)}
        return [(place, leaves[id(t)]) for place, t in self._surroundings.environment.arrays if id(t) in leaves]

    @property
    def grads(self):
        """[(tensor, whether its gradient was None)] where that was read before it was written."""
        return [(t, before is None) for t, before, read in self.recorder.grads.values() if read]

    @property
    def facts(self):
        """What says later whether modules and optimizers are as they are now."""
        return self._surroundings.facts

    def derivative(self):
        """How the results hang on what is outside, its sweep recorded too; None where nobody can sweep them."""
        outputs = [k for k, t in enumerate(self.tensors) if engine.can_be_swept(t)]
        if len({self.tensors[k].dtype for k in outputs}) > 1:
            raise TapeError("results of two dtypes take a gradient, which one record can't; return one dtype "
                            "(astype), or detach some")
        edge = {}                        # records where the sweep ends: older ones; leaves made inside are nobody's
        for r in engine.reachable([self.tensors[k].record for k in outputs], self._mark):
            for i in r.inputs:
                if i is not None and (i.number <= self._mark or hasattr(engine.owner_of(i), "assign")):
                    edge[i] = None
        known = {t.record: t for t in self._tensors if t.record is not None}
        known |= {x.record: k for k, x in enumerate(self.new) if isinstance(x, Tensor) and x.record is not None}
        sources = {r: known[r] if r in known else engine.owner_of(r) for r in edge}
        if not sources:
            return None                  # all leaves were made inside
        for r, source in sources.items():
            if source is None:
                raise TapeError(f"a result depends on a tensor outside with a history ({r.op}, record "
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
        function, spec = weakly(self.function), self.spec

        def again(values):
            new = given(values)
            args, kwargs = pack(spec, new)
            mark = engine.last_number()
            return results(function()(*args, **kwargs), values, new, mark)[0]

        return Derivative(outputs, sources, sweeps, cotangents, rules(again, outputs), self.recorder.written_states(),
                          errors)


def weakly(function):
    """A function that gives a function back, and does not keep the object of a method alive."""
    if isinstance(function, types.MethodType):
        with contextlib.suppress(TypeError):             # slots, without a place for weak references
            return weakref.WeakMethod(function)
    return lambda: function


def kinds(spec):
    """The classes of containers in a structure of arguments."""
    if spec is None:
        return set()
    return {spec[0]}.union(*map(kinds, spec[2] or ()))


def changed_text(labels):
    """What to do about what a call changes."""
    return (f"{', '.join(f'`{label}`' for label in labels[:4])} {'was' if len(labels) == 1 else 'were'} changed by the "
            "call; make it a cb.State, or return it")
