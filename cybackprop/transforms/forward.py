"""jvp: derivatives along a direction, by a walk up the records."""

from cybackprop._core.engine import operand_like
from cybackprop.errors import ShapeError
from cybackprop.ops.registry import public
from cybackprop.transforms.tree import flatten, leaves_like, unflatten
from cybackprop.transforms.walks import Recording, differentiable, tensors


@public
def jvp(fun, primals, tangents, has_aux=False):
    """fun(*primals) and its derivative along the tangents.

    Parameters
    ----------
    fun : callable
        Returns a tensor or a nest of tensors (with has_aux: and something besides).
    primals, tangents : sequences of Tensor, array-like or nests of them
        Equal structure and shapes.

    Returns
    -------
    (result, tangent) or (result, tangent, aux)

    Notes
    -----
    Costs about two forwards and keeps the whole record until it is done.

    Examples
    --------
    >>> import cybackprop as cb
    >>> y, t = cb.jvp(lambda x: x * x, (3.0,), (1.0,))
    >>> t.item()
    6.0
    """
    leaves, spec = flatten(tuple(primals))
    directions = leaves_like(spec, tuple(tangents), "jvp: tangents")
    leaves = [differentiable(x, "jvp") for x in leaves]
    directions = [operand_like("jvp", x, t) for x, t in zip(leaves, directions, strict=True)]
    for x, t in zip(leaves, directions, strict=True):
        if x.shape != t.shape:
            raise ShapeError(f"jvp: a primal has shape {x.shape}, its tangent {t.shape}")
    recording = Recording(lambda fresh: fun(*unflatten(spec, fresh)), leaves)
    result, aux = recording.result if has_aux else (recording.result, None)
    outputs, out_spec = flatten(result)
    outputs = tensors(outputs, "jvp")
    moved = unflatten(out_spec, recording.push(outputs, directions))
    seen = unflatten(out_spec, recording.outward(outputs))
    return (seen, moved, aux) if has_aux else (seen, moved)
