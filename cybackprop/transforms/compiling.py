"""compile: a function recorded once and replayed in C."""

import functools
import inspect

from cybackprop._core import engine
from cybackprop._core.engine import Compiled, Key, build_program, coinciding, leaf_fact
from cybackprop.errors import AuditError, TapeError
from cybackprop.ops.registry import public
from cybackprop.transforms import explaining  # noqa: F401  (Program.explain calls it)
from cybackprop.transforms.arguments import run_eagerly
from cybackprop.transforms.auditing import InputsSeen, audited
from cybackprop.transforms.batches import sample_of, share
from cybackprop.transforms.history import History
from cybackprop.transforms.names import leaf_names
from cybackprop.transforms.recorded import Recorded, Surroundings, changed_text

MOST_UNSURE = 8                          # audits of a program that other threads disturb
DEPENDS = ("what it depends on is neither an argument, nor anything that its code names, nor a cb.State (a file, a clock, "
           "the inside of a C extension?)")

public(engine.eager)


@public
def compile(function=None, *, audit=0, reuse_results=False, strict=False, max_programs=64):
    """Record a function of tensors once and replay it in C from then on, with the same bits.

    Every array among the arguments is a Tensor inside the function, in each call.  Python in the function runs at
    recordings and audits only; what the function can name outside (globals, closures, attributes, containers) is
    compared before each replay, and a change is another recording.  What remains unseen are files, clocks, the memory of
    other processes and the hidden state of C extensions.

    Parameters
    ----------
    function : callable
        A training step, a forward, a gradient: anything that computes with tensors.
    audit : int
        Check every audit-th call.  Calls 2, 4, 8, 16, ... of each program are checked in any case: they run eagerly,
        and a replay on copies of all states must agree in every bit.
    reuse_results : bool
        A replay writes its results over those of an earlier one for arguments of that kind: the tensors it returns, and
        NumPy's views of them, change with the next call, which allocates none.  For one thread at a time.  Results
        that take a gradient are new in any case, and so are those of a call that reads an earlier result; a record
        that has kept one which was overwritten since raises TapeError in its sweep.
    strict : bool
        Raise TapeError, with States, gradients and generators as they were, where a call can't become a program; by
        default the call goes on eagerly, with one warning.
    max_programs : int
        How many there are at most; the least recently used ones leave.

    Returns
    -------
    Compiled
        Called as the function is.  ``reset()`` forgets all programs.

    Raises
    ------
    AuditError
        A replay differs from the eager run, at the fourth call or later; the eager run's results and states stand.

    Notes
    -----
    Numbers, strings, slices and the like are static: another value is another program.  Lists, tuples, dicts and
    dataclasses are taken apart; any other object counts by its identity, and its attributes as what lies outside does.
    Arrays keep their dtype and are cast to that of a tensor they meet.

    Reading a value (``item``, ``float``, ``numpy``) gives it and ends the recording.  What the call itself changes
    outside is no program: `cb.State` is for that.  Learning rates, step counts, random streams, Parameters and States
    are read anew at each call.  A replay allocates nothing but its results and runs without the GIL.

    Examples
    --------
    >>> import cybackprop as cb
    >>> square = cb.compile(lambda x: x * x)
    >>> [square(cb.tensor([n])).item() for n in (1.0, 2.0, 3.0)]
    [1.0, 4.0, 9.0]
    """
    options = {"audit": audit, "reuse_results": reuse_results, "strict": strict, "max_programs": max_programs}
    if function is None:
        return functools.partial(compile, **options)
    if not callable(function):
        raise TypeError(f"compile: a function is needed, not {type(function).__name__}")
    if not isinstance(audit, int) or audit < 0:
        raise ValueError(f"compile: audit is how many calls there are from one audit to the next, not {audit!r}")
    if not isinstance(max_programs, int) or max_programs < 1:
        raise ValueError(f"compile: max_programs is how many there are at most, not {max_programs!r}")
    return _made(function, options)


def _made(function, options, owner=None):
    """A Compiled; owner: a weak reference to self, of a method."""
    name = getattr(function, "__qualname__", type(function).__name__)
    compiled = Compiled(function, _slow, run_eagerly, _sees_order(function), options, History(name), owner)
    functools.update_wrapper(compiled, function, updated=())
    return compiled


engine.set_compile(_made)


def _sees_order(function):
    """Whether a function sees in which order its keywords come."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_VARKEYWORDS)


def _slow(compiled, spec, leaves, args, kwargs, program):
    """A call that runs eagerly: because there is no program for it, or to check one (None: it is not for this call)."""
    if not compiled.begin_recording(program):            # another thread records, or the function itself has called it
        if program is not None:
            program.calls -= 1           # the audit is still to come
        return run_eagerly(compiled, args, kwargs) if program is None else _Eager(run_eagerly(compiled, args, kwargs))
    try:
        if program is not None:
            return _audited(compiled, spec, leaves, args, kwargs, program)
        return _recorded(compiled, spec, leaves, args, kwargs)
    finally:
        compiled.end_recording()


class _Eager:
    """A call in the place of an audit that can't be made now."""

    def __init__(self, result):
        self.result = result


def _audited(compiled, spec, leaves, args, kwargs, program):
    def record():
        return Recorded(compiled.function, spec, leaves, args, kwargs, plain=True)

    run, wrong, sure = audited(program, leaves, record)
    if run is None:
        return None
    if not sure:
        _unsure(compiled, program)
        return run
    program.unsure, program.audited = 0, program.audited or not wrong
    if program.inputs_seen is not None:
        program.inputs_seen.look(leaves, program.key)
    changed = program.key.changed()
    if (wrong or changed) and program in compiled.programs:
        compiled.programs.remove(program)
    if wrong and program.calls > 2:
        stale = program.calls - program.calls // 2 - 1
        raise AuditError(f"compile: {compiled.history.name}: {wrong}; {DEPENDS}.  Up to {stale} replays since the last "
                         "audit may have been stale; this call ran eagerly, and what it did stands", run.result)
    if wrong:
        compiled.history.give_up(f"{wrong}; {DEPENDS}")
    elif changed:
        compiled.history.changes(changed, changed_text(changed))
    return run


def _unsure(compiled, program):
    """Another thread came between: the next call is an audit again, until that has happened too often."""
    program.unsure += 1
    if program.unsure < MOST_UNSURE:
        program.calls -= 1
        return
    program.unsure = 0
    if not program.audited:
        compiled.history.warn_once(f"other threads wrote its States during {MOST_UNSURE} audits, so that none of them has "
                                   "told yet whether a replay does what the function does")


def _recorded(compiled, spec, leaves, args, kwargs):
    history, strict, function = compiled.history, compiled.options["strict"], compiled.function
    facts = [leaf_fact(x) for x in leaves]
    before = next((p for p in compiled.programs if p.key.spec == spec and _alike(p.key.leaves, facts)), None)
    why = _why(compiled, spec, leaves, before)
    borrowed = [x for x in leaves if not isinstance(x, engine.Tensor)] + [getattr(function, "__self__", None)]
    surroundings = Surroundings(function, leaves, borrowed)
    obstacle = surroundings.environment.obstacle
    if obstacle is not None:
        if strict:
            raise TapeError(f"compile: {history.name}: {obstacle}")
        history.recorded(None, obstacle)
        history.warn_once(obstacle)
        return run_eagerly(compiled, args, kwargs)
    run = _run(function, spec, leaves, args, kwargs, surroundings, strict, bool(compiled.programs))
    program = None
    if run.unusable is None:
        try:
            program = _program(compiled, spec, facts, leaves, run)
        except TapeError as error:
            run.unusable = str(error)
    if run.unusable is not None:
        if strict:
            run.recorder.put_back()
            raise TapeError(f"compile: {history.name}: {run.unusable}")
        history.recorded(None, run.unusable)
        if run.changed:
            history.changes(run.changed, run.unusable)
        else:
            history.warn_once(run.unusable, ".  This call went on eagerly")
        return run.result
    compiled.programs.insert(0, program)
    share(compiled, program)
    del compiled.programs[compiled.options["max_programs"]:]
    history.recorded(program, why, before)
    return run.result


def _run(function, spec, leaves, args, kwargs, surroundings, strict, again):
    """A recorded call; strict: one that can't be used leaves States and gradients as they were.

    again: there are other programs, so which code reads shapes matters (`batches`).
    """
    recorder = engine.Recorder()
    recorder.watches_shapes, recorder.saves = again, True
    if strict:
        recorder.before = {}
    try:
        return Recorded(function, spec, leaves, args, kwargs, surroundings, recorder=recorder, strict=strict)
    except BaseException:
        if strict:
            recorder.put_back()
        raise


def _program(compiled, spec, facts, leaves, run):
    places, paths = run.places()
    derivative = run.derivative()
    sample = sample_of(run, paths, derivative)
    program = build_program(run.recorder, run.tensors, run.effects, paths, derivative)
    program.sample = sample
    program.single = len(run.tensors) == 1 and run.tensors[0] is run.result
    program.result = None if run.result is None else run.make
    program.reuse = compiled.reuse_results
    program.key = Key(spec, facts, places, run.facts, run.grads, coinciding(leaves), run.aliases())
    program.calls = 1
    program.inputs_seen = InputsSeen(leaf_names(compiled.function, spec, len(leaves)), leaves, program.key)
    return program


def _why(compiled, spec, leaves, before):
    """What the call needs a program of its own for, as text.  before: a program for such arguments."""
    if not compiled.programs:
        return ""
    names = leaf_names(compiled.function, spec, len(leaves))
    key = (before or compiled.programs[0]).key
    return key.differs(spec, leaves, names) or "another branch on a tensor's value"


def _alike(facts, others):
    """Whether arguments are of one kind; objects are not compared, which might run code of theirs."""
    return len(facts) == len(others) and all(
        x[0] == y[0] and (x[0] == "object" or engine.agree(x, y)) for x, y in zip(facts, others, strict=True))
