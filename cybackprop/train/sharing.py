"""Networks of one kind share their recordings: one of them records, the programs of the others are twins of its."""

import contextlib
import threading
from types import SimpleNamespace

from cybackprop._core import engine
from cybackprop.ops.random import default_rng
from cybackprop.train.anatomy import Anatomy
from cybackprop.train.trainer import Trainer
from cybackprop.transforms.arguments import run_eagerly


class Sharing:
    """What trainers have in common as long as ``with Sharing(trainers):`` lasts.

    What one of them has recorded is recorded for all of its kind, and audited for all of them: on the second call that
    any of them makes of it.  Twins are made only where everything a recording may depend on is the same, see `Anatomy`
    and `engine.program_twin`; whoever gets none records for himself.  A network with code in it that this package did
    not bring, which may know more than can be seen (a table by id, say), runs its first step eagerly to compare.
    """

    def __init__(self, trainers):
        self._trainers, self._kinds, self._changed = trainers, {}, []

    def __enter__(self):
        for trainer in self._trainers:
            member = _Member(self._kinds, trainer)
            for role, compiled in enumerate(_compiled(trainer)):
                self._changed.append((compiled, compiled.slow))
                compiled.slow = _Slow(member, role, compiled.slow)

    def __exit__(self, *exc):
        for compiled, slow in self._changed:
            compiled.slow = slow


def _compiled(trainer):
    """What a trainer has compiled: its step, its forward."""
    return [x._compiled for x in (trainer._runner, trainer._forward) if x._compiled is not None]


class _Kind:
    """lock: who records or audits has it.  donors: by role, the recordings there are.  closed: there are no twins."""

    def __init__(self, closed=False):
        self.lock, self.donors, self.closed = threading.RLock(), {}, closed


class _Donor:
    """A recording and whose it is; audited: whether it has proved right.  last: its newest program."""

    def __init__(self, program, anatomy):
        self.program, self.anatomy, self.audited, self.last = program, anatomy, False, program


def _around(donor, twins, compiled, leaves):
    """What a twin of a recording depends on: (Places, facts)."""
    key = donor.program.key
    places = None
    if not donor.anatomy.foreign:        # code of this package names nothing but what an Anatomy has
        with contextlib.suppress(LookupError):
            places, facts = twins.places(key.places), key.facts.of_twins(twins)
    if places is None:
        around = Surroundings(compiled.function, leaves)
        if around.environment.obstacle is not None:
            raise LookupError(around.environment.obstacle)
        places, facts = around.places, around.facts
    if not facts.are_those_of(key.facts, twins):
        raise LookupError("modules or optimizers are others")
    return places, facts


class _Member:
    """A trainer, looked at when it needs the first program."""

    __slots__ = ("_kind", "_kinds", "_trainer", "anatomy")

    def __init__(self, kinds, trainer):
        self._kinds, self._trainer, self._kind = kinds, trainer, None

    def kind(self):
        """Its _Kind, in which those of equal anatomy meet."""
        if self._kind is None:
            try:
                self.anatomy = Anatomy([self._trainer._runner._step, default_rng()], (Trainer,))
            except LookupError:
                self._kind = _Kind(closed=True)
                return self._kind
            self._kind = self._kinds.setdefault(self.anatomy.kind, _Kind())
            self.anatomy.kind = None     # a long tuple, and nobody asks again
        return self._kind


class _Slow:
    """The way of a call that no program is for, or one that needs an audit."""

    __slots__ = ("_alone", "_known", "_member", "_role")

    def __init__(self, member, role, alone):
        self._member, self._role, self._alone = member, role, alone
        self._known = {}                 # donor: the twin of its program, its program where that is its own

    def __call__(self, compiled, spec, leaves, args, kwargs, program):
        kind = self._member.kind()
        donor = next((donor for donor, known in self._known.items() if known is program is not None), None)
        if donor is not None and donor.program is not program:
            return self._compared(kind, donor, compiled, leaves, args, kwargs, program)
        if kind.closed:
            return self._alone(compiled, spec, leaves, args, kwargs, program)
        with kind.lock:
            if program is not None:
                run = self._alone(compiled, spec, leaves, args, kwargs, program)
                if donor is not None and run is not None:
                    donor.audited = True
                return run
            if not self._adopts(kind, compiled, spec, leaves):
                return self._records(kind, compiled, spec, leaves, args, kwargs)
        return compiled(*args, **kwargs)

    def _adopts(self, kind, compiled, spec, leaves):
        """Whether there is a twin for a call now that was not there before."""
        from cybackprop.transforms.recorded import Surroundings

        facts, mine = [engine.leaf_fact(x) for x in leaves], self._member.anatomy.things
        for donor in kind.donors.get(self._role, ()):
            if donor in self._known or donor.program.key.spec != spec or donor.program.key.leaves != facts:
                continue
            self._known[donor] = None
            of = donor.anatomy
            try:
                twins = engine.Twins(of.things, mine)
                twin = engine.program_twin(donor.program, twins, *_around(donor, twins, compiled, leaves))
            except LookupError:
                continue
            # audits are for all: the calls of one go on from those of the one before; else the second is compared
            twin.calls = donor.last.calls if donor.audited and not of.foreign else 1
            self._known[donor] = donor.last = twin
            compiled.programs.insert(0, twin)
            return True
        return False

    def _records(self, kind, compiled, spec, leaves, args, kwargs):
        before = len(compiled.programs)
        result = self._alone(compiled, spec, leaves, args, kwargs, None)
        if len(compiled.programs) > before:
            donor = _Donor(compiled.programs[0], self._member.anatomy)
            self._known[donor] = donor.program
            kind.donors.setdefault(self._role, []).append(donor)
        return result

    def _compared(self, kind, donor, compiled, leaves, args, kwargs, twin):
        """An eager call, after a replay of the twin on copies; if their bits differ, twins are not made any more."""
        rehearsal = engine.rehearse(twin, leaves)
        if rehearsal is None:
            return None
        result = run_eagerly(compiled, args, kwargs)
        effects = [(t, None if number is None else t.grad) for t, number in twin.effects]
        if engine.differences(twin, *rehearsal[1:3], [result], effects):
            kind.closed = True
            compiled.programs.remove(twin)
        else:
            donor.audited = True
        return SimpleNamespace(result=result)
