"""softmax and its kin, over one axis; the fused loss over rows."""

from cybackprop._core import engine
from cybackprop._core.engine import apply
from cybackprop.ops.elementwise import exp
from cybackprop.ops.formula import strong_mul
from cybackprop.ops.indexing import one_hot
from cybackprop.ops.movement import as_tensor, broadcast_to, move_last, normal_axis, reshape, transpose
from cybackprop.ops.reduction import kept_shape, sum
from cybackprop.ops.registry import public, structured
from cybackprop.ops.selection import where


def _softmax_product(y, g):
    # y_i = e^x_i / sum   so: dx = y (g - sum(g y)); symmetric, so this is the tangent too
    return y * (g - sum(g * y, -1, keepdims=True))


_softmax = structured("softmax", "(..., C) -> (..., C)", lambda x: engine.raw_softmax("softmax", x),
                      lambda record, g: (_softmax_product(record.output(), g),),
                      lambda record, tangents: _softmax_product(record.output(), tangents[0]), keeps="y")

_log_softmax = structured(
    "log_softmax", "(..., C) -> (..., C)", lambda x: engine.raw_softmax("log_softmax", x),
    lambda record, g: (g - exp(record.output()) * sum(g, -1, keepdims=True),),
    lambda record, tangents: tangents[0] - sum(exp(record.output()) * tangents[0], -1, keepdims=True), keeps="y")

_logsumexp = structured(
    "logsumexp", "(..., C) -> (...)", lambda x: engine.raw_softmax("logsumexp", x),
    lambda record, g: (softmax(record.input(0)) * reshape(g, (*g.shape, 1)),),
    lambda record, tangents: sum(softmax(record.input(0)) * tangents[0], -1), keeps="x")


def _along(row, x, axis, op):
    """Apply a row that works on the last axis to another one."""
    x = as_tensor(x)
    axis = normal_axis(axis, x.ndim, op)
    if axis == x.ndim - 1:
        return apply(row, (x,), {})
    moved, back = move_last(x, axis)
    out = apply(row, (moved,), {})
    return transpose(out, back) if out.ndim == x.ndim else out


@public(method=True)
def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) along an axis, safe for large inputs.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.softmax(cb.tensor([0.0, 0.0]))
    Tensor([0.5, 0.5], dtype=float32)
    """
    return _along(_softmax, x, axis, "softmax")


@public(method=True)
def log_softmax(x, axis=-1):
    """Logarithm of softmax along an axis, without forming it."""
    return _along(_log_softmax, x, axis, "log_softmax")


@public(method=True)
def logsumexp(x, axis=-1, keepdims=False):
    """log(sum(exp(x))) along an axis, safe for large inputs; -inf where all are -inf."""
    x = as_tensor(x)
    out = _along(_logsumexp, x, axis, "logsumexp")
    return reshape(out, kept_shape(x.shape, (normal_axis(axis, x.ndim, "logsumexp"),))) if keepdims else out


# ---- -log softmax(x)[b, target[b]] by rows, the classes fused with the softmax

def _rows_forward(x, target, ignore_index):
    loss, p = engine.raw_cross_entropy(x, target, ignore_index)
    return loss, p


def _rows_slope(record):
    """p - one_hot(target), 0 in ignored rows, differentiable."""
    x, target = record.input(0), record.attrs["target"]
    ignored = target == record.attrs["ignore_index"]
    hot = engine.weaken(one_hot(where(ignored, 0, target), x.shape[1], x.dtype))
    return where(reshape(ignored, (-1, 1)), 0, softmax(x) - hot)


def _rows_vjp(record, g):
    slope = _rows_slope(record)
    return (strong_mul(broadcast_to(reshape(g, (-1, 1)), slope.shape), slope),)


def _rows_fused_vjp(record, g):
    return (engine.raw_cross_entropy_vjp(record.saved, record.attrs["target"], record.attrs["ignore_index"], g),)


softmax_cross_entropy = structured(
    "softmax_cross_entropy", "(B, C) -> (B)", _rows_forward, _rows_vjp,
    lambda record, tangents: sum(_rows_slope(record) * tangents[0], -1), keeps="x", fused_vjp=_rows_fused_vjp)
