"""Calls of compiled functions that run eagerly: to be recorded, or to check a program."""

from cybackprop._core import engine
from cybackprop._core.engine import Key, build_program, coinciding, leaf_fact
from cybackprop.errors import AuditError, TapeError
from cybackprop.transforms.arguments import others, run_eagerly
from cybackprop.transforms.auditing import InputsSeen, audited
from cybackprop.transforms.batches import sample_of, share
from cybackprop.transforms.names import leaf_names
from cybackprop.transforms.recorded import Recorded, Surroundings, changed_text

MOST_UNSURE = 8                          # audits of a program that other threads disturb
DEPENDS = ("what it depends on is neither an argument, nor anything that its code names, nor a cb.State (a file, a clock, "
           "the inside of a C extension?)")


def slow(compiled, spec, leaves, args, kwargs, program):
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
    kept = {id(x) for x in others(program.result)} if program.result else ()

    def record():
        return Recorded(compiled.function, spec, leaves, args, kwargs, plain=True, knows=lambda node: id(node) in kept)

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
    surroundings = Surroundings(function, leaves, borrowed, spec)
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
