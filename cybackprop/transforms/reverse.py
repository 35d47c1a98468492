"""grad, value_and_grad, vjp: derivatives by the reverse sweep."""

import functools
import operator

from cybackprop._core.engine import seed_cotangent
from cybackprop.errors import ShapeError
from cybackprop.ops.registry import public
from cybackprop.transforms.tree import flatten, leaves_like, unflatten
from cybackprop.transforms.walks import Recording, differentiable, tensors


def _split(argnums, args):
    """The arguments to differentiate with respect to: their leaves, and a function that puts others in their place."""
    single = not isinstance(argnums, (tuple, list))
    numbers = [operator.index(argnums)] if single else [operator.index(n) for n in argnums]
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise TypeError(f"grad: argnums {n}, but the function was called with {len(args)} positional arguments")
    if len({n % len(args) for n in numbers}) != len(numbers):
        raise TypeError(f"grad: argnums {argnums} names an argument twice")
    leaves, spec = flatten(tuple(args[n] for n in numbers))

    def rebuild(new):
        parts, full = unflatten(spec, new), list(args)
        for n, part in zip(numbers, parts, strict=True):
            full[n] = part
        return full

    def shape_like(new):
        parts = unflatten(spec, new)
        return parts[0] if single else tuple(parts)

    return [differentiable(x, "grad") for x in leaves], rebuild, shape_like


@public
def value_and_grad(fun, argnums=0, has_aux=False):
    """A function that returns (fun's value, its gradient).

    Parameters
    ----------
    fun : callable
        Returns a tensor with one element, or (tensor, aux) with has_aux.
    argnums : int or sequence of int
        Which positional arguments to differentiate with respect to; each may be a nest of dicts, lists and tuples.
    has_aux : bool
        fun returns something besides that is handed through: the result is ((value, aux), gradient).

    Returns
    -------
    callable

    Notes
    -----
    Costs one forward and one reverse sweep.  Nests to any order, with `jvp` too.

    Examples
    --------
    >>> import cybackprop as cb
    >>> value, slope = cb.value_and_grad(lambda x: x ** 3)(2.0)
    >>> value.item(), slope.item()
    (8.0, 12.0)
    """

    @functools.wraps(fun)
    def wrapped(*args, **kwargs):
        leaves, rebuild, shape_like = _split(argnums, args)
        recording = Recording(lambda fresh: fun(*rebuild(fresh), **kwargs), leaves)
        value, aux = recording.result if has_aux else (recording.result, None)
        value, = tensors([value], "grad")
        if value.size != 1:
            raise ShapeError(f"grad: the function returned shape {value.shape}; it must return one element "
                             "(use vjp, or sum the result)")
        one = [] if value.record is None else [seed_cotangent(value, None, "grad")]
        gradients = recording.pull([value] if one else [], one)
        value, = recording.outward([value])
        return ((value, aux) if has_aux else value), shape_like(gradients)

    return wrapped


@public
def grad(fun, argnums=0, has_aux=False):
    """A function that returns the gradient of `fun`; see `value_and_grad`.

    With has_aux the result is (gradient, aux).

    Examples
    --------
    >>> import cybackprop as cb
    >>> f = lambda x: cb.sin(x)
    >>> cb.grad(cb.grad(f))(0.5).item() == -cb.sin(0.5).item()
    True
    """
    both = value_and_grad(fun, argnums, has_aux)

    @functools.wraps(fun)
    def wrapped(*args, **kwargs):
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


@public
def vjp(fun, *primals, has_aux=False):
    """fun(*primals) and the function that pulls a cotangent of the result back to the primals.

    Parameters
    ----------
    fun : callable
        Returns a tensor or a nest of tensors (with has_aux: and something besides).
    *primals : Tensor, array-like or nests of them

    Returns
    -------
    (result, pull) or (result, pull, aux)
        pull(cotangent) returns a tuple, one part a primal; it may be called more than once.

    Examples
    --------
    >>> import cybackprop as cb
    >>> y, pull = cb.vjp(lambda x: x * x, cb.tensor([1.0, 2.0]))
    >>> pull([1.0, 10.0])[0].tolist()
    [2.0, 40.0]
    """
    leaves, rebuild, shape_like = _split(list(range(len(primals))), primals)
    recording = Recording(lambda fresh: fun(*rebuild(fresh)), leaves)
    result, aux = recording.result if has_aux else (recording.result, None)
    outputs, spec = flatten(result)
    outputs = tensors(outputs, "vjp")

    def pull(cotangent):
        given = leaves_like(spec, cotangent, "vjp: cotangents")
        linked = [(y, seed_cotangent(y, g, "vjp")) for y, g in zip(outputs, given, strict=True) if y.record is not None]
        return shape_like(recording.pull([y for y, _ in linked], [g for _, g in linked], retain=True))

    recording.between(outputs)
    seen = unflatten(spec, recording.outward(outputs))
    return (seen, pull, aux) if has_aux else (seen, pull)
