"""compile: a function recorded once and replayed in C."""

import functools
import inspect

from cybackprop._core import engine
from cybackprop._core.engine import Compiled
from cybackprop.ops.registry import public
from cybackprop.transforms import explaining  # noqa: F401  (Program.explain calls it)
from cybackprop.transforms.arguments import run_eagerly
from cybackprop.transforms.history import History

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
    if type(function) in (staticmethod, classmethod):    # whichever decorator comes first
        return type(function)(compile(function.__func__, **options))
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


def _slow(*call):
    """A call that no program stands for, or one that checks a program."""
    from cybackprop.transforms.calls import slow         # most of what it needs, a process that never records does not

    return slow(*call)
