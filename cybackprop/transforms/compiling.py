"""compile: a function recorded once and replayed in C."""

import functools
import types
import warnings

from cybackprop._core.engine import Compiled, Key, build_program, coinciding, leaf_fact
from cybackprop.errors import AuditError
from cybackprop.ops.registry import public
from cybackprop.transforms import explaining  # noqa: F401  (Program.explain calls it)
from cybackprop.transforms.arguments import unpacking
from cybackprop.transforms.auditing import audited
from cybackprop.transforms.recorded import Recorded

MOST_PATHS = 8                           # programs for arguments of one kind; beyond, calls run eagerly
MOST_PROGRAMS = 64
MOST_UNSURE = 8                          # audits of a program that other threads disturb


@public
def compile(function=None, *, audit=0, reuse_results=False):
    """Record a function once and replay it in C from then on, with the same bits.

    Parameters
    ----------
    function : callable
        A training step, a forward, a gradient: anything that computes with tensors.
    audit : int
        Check every audit-th call (each program's second call is checked in any case): it runs eagerly, and a replay on
        copies of all states must agree in every bit.
    reuse_results : bool
        A replay writes its results over those of an earlier one for arguments of that kind: the tensors it returns, and
        NumPy's views of them, change with the next call, which allocates none.  For one thread at a time.  Results
        that take a gradient are new in any case, and so are those of a call that reads an earlier result; a record
        that has kept one which was overwritten since raises TapeError in its sweep.

    Returns
    -------
    Compiled
        Called as the function is.

    Raises
    ------
    TapeError
        The function reads a number out of a tensor, or keeps a tensor that it made; the message has the line.
    AuditError
        A replay differs from the eager run.

    Notes
    -----
    Another shape, dtype or structure of the arguments, another mode of a module, a number in a global, closure,
    attribute or context variable that has changed, a function or method that was replaced, another branch on a
    tensor's value: each records a program of its own.  Learning rates, step counts, random streams, Parameters and
    `State` are read anew at each call.  Other effects (print, append) happen while recording only.  A replay allocates
    nothing but its results and runs without the GIL.

    Of objects that loops, `getattr` or `vars` reach, the attributes are guarded whose names the code mentions, some
    hundreds at most and in containers of up to 256 elements; what lies beyond, and what C code reads (an `attrgetter`,
    a file, a clock), only audits see.  Results are tensors, and lists, tuples, dicts and sets of them; what else the
    function returns (numbers, objects that were there before) stays what it was.

    Each instance has its own programs of a compiled method, unless its class has slots.

    What the function reads of a NumPy argument by NumPy (`a.max()`, `float(a[0])`) is a constant that no guard sees,
    only audits: make it a tensor first.

    Examples
    --------
    >>> import cybackprop as cb
    >>> square = cb.compile(lambda x: x * x)
    >>> [square(cb.tensor([n])).item() for n in (1.0, 2.0, 3.0)]
    [1.0, 4.0, 9.0]
    """
    if function is None:
        return functools.partial(compile, audit=audit, reuse_results=reuse_results)
    if not callable(function):
        raise TypeError(f"compile: a function is needed, not {type(function).__name__}")
    if not isinstance(audit, int) or audit < 0:
        raise ValueError(f"compile: audit is how many calls there are from one audit to the next, not {audit!r}")
    compiled = Compiled(function, _slow, unpacking(function), _method, audit, reuse_results)
    functools.update_wrapper(compiled, function, updated=())
    return compiled


def _method(compiled, instance):
    """Such a compiled method of an instance, with programs of its own."""
    return compile(types.MethodType(compiled.function, instance), audit=compiled.audit_every,
                   reuse_results=compiled.reuse_results)


def _slow(compiled, spec, leaves, args, kwargs, program):
    """A call that runs eagerly: because there is no program for it, or to check one (None: it is not for this call)."""
    if program is not None:
        return _audited(compiled, spec, leaves, args, kwargs, program)
    if _too_many(compiled, spec, leaves):
        return compiled.function(*args, **kwargs)
    return _recorded(compiled, spec, leaves, args, kwargs)


def _audited(compiled, spec, leaves, args, kwargs, program):
    def record():
        return Recorded(compiled.function, spec, leaves, args, kwargs, True)

    try:
        run, sure = audited(_name(compiled), program, leaves, record)
    except AuditError:
        if program in compiled.programs:
            compiled.programs.remove(program)
        raise
    if not sure:
        _unsure(compiled, program)
    return run


def _unsure(compiled, program):
    """Another thread came between: the next call is an audit again, until that has happened too often."""
    program.unsure += 1
    if program.unsure < MOST_UNSURE:
        program.calls -= 1
    elif program.unsure == MOST_UNSURE:
        warnings.warn(f"compile: other threads wrote States of {_name(compiled)} during {MOST_UNSURE} audits, so that "
                      "none of them told anything; from now on it runs without", RuntimeWarning, stacklevel=4)


def _too_many(compiled, spec, leaves):
    """Whether there are so many programs that this call runs eagerly; says so once."""
    if _alike(compiled, spec, leaves) >= MOST_PATHS or len(compiled.programs) >= MOST_PROGRAMS:
        if compiled.state is None:
            compiled.state = "eager"
            warnings.warn(f"compile: {_name(compiled)} has {len(compiled.programs)} programs and this call would need "
                          "another; from now on such calls run eagerly", RuntimeWarning, stacklevel=3)
        return True
    return False


def _recorded(compiled, spec, leaves, args, kwargs):
    facts = [leaf_fact(x) for x in leaves]
    run = Recorded(compiled.function, spec, leaves, args, kwargs)
    program = build_program(run.recorder, run.tensors, run.effects, run.paths, run.derivative())
    program.single = len(run.tensors) == 1 and run.tensors[0] is run.result
    program.result = None if run.result is None else run.make
    program.reuse = compiled.reuse_results
    program.key = Key(spec, facts, run.guards, run.facts(), run.grads, coinciding(leaves), run.aliases)
    program.calls = 1
    compiled.programs.insert(0, program)
    return run.result


def _alike(compiled, spec, leaves):
    """How many programs there are for arrays like these."""
    arrays = [fact for fact in map(leaf_fact, leaves) if fact[0] in ("array", "tensor")]
    return sum(p.key.spec == spec and [f for f in p.key.leaves if f[0] in ("array", "tensor")] == arrays
               for p in compiled.programs)


def _name(compiled):
    return getattr(compiled.function, "__qualname__", repr(compiled.function))
