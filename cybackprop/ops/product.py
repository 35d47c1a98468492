"""Matrix products and the dense layer."""

import math

from cybackprop._core import engine
from cybackprop._core.engine import apply, as_operands, unary_rows
from cybackprop.errors import ShapeError
from cybackprop.ops.formula import slopes
from cybackprop.ops.movement import broadcast_to, reshape, sum_to
from cybackprop.ops.reduction import sum
from cybackprop.ops.registry import public, structured


def _rows(x):
    """All axes but the last as one."""
    return reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def product(a, b, ta=False, tb=False):
    """op(a) op(b) over the last two axes; both have at least two."""
    return apply(_matmul, (a, b), {"ta": ta, "tb": tb})


def _matmul_vjp(record, g):
    # forward: y = A B, A = a or a^T, B = b or b^T   so: dA = g B^T, dB = A^T g.  NN, NT and TN are closed under this.
    ta, tb = record.attrs["ta"], record.attrs["tb"]
    da = db = None
    if record.needs(0):
        b = record.input(1)
        da = product(b, g, tb, True) if ta else product(g, b, False, not tb)
        da = sum_to(da, record.input_shape(0))
    if record.needs(1):
        a = record.input(0)
        shape = record.input_shape(1)
        if len(shape) == 2 and not ta:   # one matrix for all rows: one product over all of them, in the row groups
            a, g = _rows(a), _rows(g)
        db = product(g, a, True, ta) if tb else product(a, g, not ta, False)
        db = sum_to(db, shape)
    return da, db


def _matmul_jvp(record, tangents):
    parts = []
    if tangents[0] is not None:
        parts.append(product(tangents[0], record.input(1), **record.attrs))
    if tangents[1] is not None:
        parts.append(product(record.input(0), tangents[1], **record.attrs))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


_matmul = structured("matmul", "(..., M, K), (..., K, N) -> (..., M, N)", engine.raw_matmul, _matmul_vjp, _matmul_jvp,
                     inputs="a b", keeps="a if b; b if a")


@public(method=True, operator="matmul")
def matmul(a, b):
    """Matrix product by NumPy's rules: the last two axes, the others broadcast, one axis stands for a row or column.

    Parameters
    ----------
    a : Tensor or array-like, shape (..., M, K) or (K,)
    b : Tensor or array-like, shape (..., K, N) or (K,)

    Returns
    -------
    Tensor, shape (..., M, N), without the axis that a 1-d operand lacks

    Raises
    ------
    ShapeError, DTypeError
        The message holds both shapes or dtypes.

    Notes
    -----
    Each element is a chain of fused multiply-adds in the order of K; a few long dot products take several (ADR 1).

    Examples
    --------
    >>> import cybackprop as cb
    >>> (cb.ones((2, 3)) @ cb.ones((3,))).shape
    (2,)
    """
    a, b = as_operands("matmul", a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape}; each operand needs at least one axis")
    if a.ndim > 1 and b.ndim > 1:
        return product(a, b)
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(f"matmul: {a.shape} @ {b.shape}: the inner lengths {a.shape[-1]} and "
                         f"{b.shape[-2 if b.ndim > 1 else 0]} differ")
    left = reshape(a, (1, a.size)) if a.ndim == 1 else a
    right = reshape(b, (b.size, 1)) if b.ndim == 1 else b
    out = product(left, right)
    shape = out.shape[:-2] + (() if a.ndim == 1 else out.shape[-2:-1]) + (() if b.ndim == 1 else out.shape[-1:])
    return reshape(out, shape)


# ---- dense: y = act(x w + b)

def _dense_forward(x, w, b, act, p, shape):
    return engine.raw_dense(x, w, b, act, *p)


def _through_activation(record, g):
    """strong_mul(g, act'(kept)) in tensor operations, as the activation's own row does it."""
    act, p = record.attrs["act"], record.attrs["p"]
    if act is None:
        return g
    if act.facts["keeps"] == "X":        # z again, by the same chain, this time linked to x, w and b
        kept = apply(_dense, tuple(record.input(i) if record.has_input(i) else None for i in range(3)),
                     {**record.attrs, "act": None})
    else:
        kept = record.output()
    return slopes[act.name](g, kept, p)


def _dense_vjp(record, g):
    # forward: y = act(x w + b)   so: gz = g act', dx = gz w^T, dw = x^T gz, db = sum over rows of gz
    gz = _through_activation(record, g)
    dx = product(gz, record.input(1), False, True) if record.needs(0) and gz.ndim > 1 else None
    if record.needs(0) and gz.ndim == 1:
        dx = reshape(product(reshape(gz, (1, gz.size)), record.input(1), False, True), record.input_shape(0))
    dw = product(_rows(record.input(0)), _rows(gz), True, False) if record.needs(1) else None
    db = sum(_rows(gz), 0) if record.needs(2) else None
    return dx, dw, db


def _dense_fused_vjp(record, g):
    act, p = record.attrs["act"], record.attrs["p"]
    kept = None if act is None else record.saved if record.saved is not None else record.output()
    return engine.raw_dense_backward(record, kept, g, act, *p)


def _dense_jvp(record, tangents):
    tx, tw, tb = tangents
    parts = []
    if tx is not None:
        parts.append(matmul(tx, record.input(1)))
    if tw is not None:
        parts.append(matmul(record.input(0), tw))
    if tb is not None:
        parts.append(tb)
    t = parts[0]
    for part in parts[1:]:
        t = t + part
    return _through_activation(record, broadcast_to(t, record.attrs["shape"]))


_FACTS = {"shape": "(..., I), (I, O), (O) -> (..., O)", "forward": _dense_forward, "vjp": _dense_vjp,
          "jvp": _dense_jvp, "inputs": "x w b", "fused_vjp": _dense_fused_vjp}
_dense = structured("dense", **_FACTS, keeps="x if w; w if x; y")
# where the activation's slope reads its input, a recorded sweep computes that again and reads everything
_dense_z = structured("dense_z", **_FACTS, keeps="x; w; b")


ACTIVATIONS = tuple(name for name, row in unary_rows.items() if row.facts["public"])


def activation_row(activation):
    """The row behind the name of an activation; ValueError names those there are."""
    row = unary_rows.get(activation)
    if row is None or not row.facts["public"]:
        raise ValueError(f"no activation is called {activation!r}; there are {', '.join(ACTIVATIONS)}, "
                         "or pass a function")
    return row


@public
def dense(x, weight, bias=None, activation=None):
    """A dense layer, y = f(x @ weight + bias), as one fused op.

    Parameters
    ----------
    x : Tensor or array-like, shape (..., I)
        An array is cast to the weight's dtype.
    weight : Tensor, shape (I, O)
    bias : Tensor, shape (O,), optional
    activation : str or callable, optional
        Name of an elementwise op ("relu", "tanh", ...), fused with the product; a function is applied afterwards.

    Returns
    -------
    Tensor, shape (..., O)

    Raises
    ------
    ShapeError, DTypeError
        The message holds both shapes or dtypes.

    Notes
    -----
    B*I*O multiply-adds forward, twice that backward.  Keeps x, weight and y (or x weight + bias where the activation's
    slope needs it).  Each element is a chain of fused multiply-adds that starts from the bias; see `matmul`.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.dense(cb.ones((2, 3)), cb.ones((3, 1)), cb.tensor([-5.0]), activation="relu").tolist()
    [[0.0], [0.0]]
    """
    if bias is None:
        weight, x = as_operands("dense", weight, x)
    else:
        weight, x, bias = as_operands("dense", weight, x, bias)
    if activation is not None and not isinstance(activation, str):
        return activation(dense(x, weight, bias))
    act = None if activation is None else activation_row(activation)
    p = (0.0, 0.0) if act is None else (*(value for _, value in act.parameters), 0.0, 0.0)[:2]
    row = _dense_z if act is not None and act.facts["keeps"] == "X" else _dense
    return apply(row, (x, weight, bias), {"act": act, "p": p, "shape": (*x.shape[:-1], weight.shape[-1])})
