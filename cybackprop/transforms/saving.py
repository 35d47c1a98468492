"""Saving compiled functions: what users call; `transforms/jobs.py` does it."""

from cybackprop._core import engine
from cybackprop.io.programs import save_packed
from cybackprop.ops.registry import public


@public
def save_programs(path, *, batch=None, **programs) -> None:
    """Save functions as programs that run without Python, at any batch size.

    Parameters
    ----------
    path : str or path-like
        A safetensors file: the programs, and every state that they read or write.
    batch : str or sequence of str, optional
        The parameters whose first axis is the batch, by name; by default all arrays whose first axis has the length of
        the first array's.  ``()``: none; the programs run at the shapes of the examples only.
    **programs : tuple
        By name: a function (compiled or not) and example arguments for it, ``train=(step, X[:32], y[:32])``.

    Raises
    ------
    TapeError
        A function does something else at another batch size, or what `compile` refuses; the message has the line.

    Notes
    -----
    Each function runs four times: on the example, then recorded on batches of three sizes made of its rows.  States,
    gradients and generators are put back afterwards, bit for bit; other effects of Python code (print, append) happen
    each time.  Every number in the recordings must be c + d B of the batch size B, or the value of a constant
    1 / (c + d B).  Branches on shapes (``if len(x) > 32``) are taken as they were at those sizes.

    Inputs are called ``batch/`` and the parameter's name, states by where the function finds them
    (``model/layers/0/weight``, ``opt/exp_avg/model/layers/0/weight``, ``opt/lr``), results ``result``, ``result/0`` or
    by the keys of a dict.  All that is no array is as it was when the file was made.  Gradients are not kept, unless a
    program reads those that a run before it left.  Loops are saved with what they run, up to 16 in each other.
    `src/module.h` runs such files from C.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import nn
    >>> model = nn.Dense(2, 1)
    >>> cb.save_programs("model.safetensors", predict=(model, cb.ones((4, 2))))
    >>> cb.load_program("model.safetensors")(x=cb.ones((7, 2))).shape
    (7, 1)
    """
    if not programs:
        raise TypeError("save_programs: no function was given; train=(step, X, y), say")
    save_packed(path, _packed([(name, f, tuple(args), {}) for name, (f, *args) in programs.items()], batch))


def save(compiled, path, args, kwargs):
    """`Compiled.save`: the one program is called as its function is."""
    batch = kwargs.pop("batch", None)
    name = getattr(compiled.function, "__name__", "")
    save_packed(path, _packed([(name if name.isidentifier() else "program", compiled, args, kwargs)], batch))


def _packed(functions, batch):
    from cybackprop.transforms.jobs import packed  # here: most programs save no function

    return packed(functions, batch)


engine.set_save(save)
