# Products, dense layers, softmax: kernels behind structured ops.

def raw_matmul(Tensor a, Tensor b, bint ta, bint tb):
    """op(a) op(b) over the last two axes, NumPy's broadcasting over the others; op transposes where asked.

    Layouts are NN, NT and TN; TT does not occur (cbp.h: gemm).
    """
    cdef cbp_op op
    cdef int na = a.a.ndim, nb = b.a.ndim
    cdef Py_ssize_t K = a.a.shape[na - 2 if ta else na - 1], KB = b.a.shape[nb - 1 if tb else nb - 2]
    cdef Py_ssize_t shape[8]
    cdef cbp_array lead_a, lead_b
    cdef cbp_array *inputs[2]
    cdef cbp_array *outputs[1]
    need_float("matmul", a.a)
    if a.a.dtype != b.a.dtype:
        raise DTypeError(f"matmul: {a.dtype} meets {b.dtype}; tensors are not cast silently, use astype")
    if K != KB:
        raise ShapeError(f"matmul: {a.shape}{' transposed' if ta else ''} @ {b.shape}{' transposed' if tb else ''}: "
                         f"the inner lengths {K} and {KB} differ")
    lead_a = a.a[0]
    lead_b = b.a[0]
    lead_a.ndim -= 2
    lead_b.ndim -= 2
    if broadcast_shape("matmul", &lead_a, &lead_b, shape) + 2 > 8:
        raise ShapeError("matmul: the result would have more than 8 axes")
    clear(&op, CBP_OP_matmul)
    op.flags = ta | 2 * tb
    inputs[:] = [a.a, b.a]
    outputs[0] = wanted()
    run_op(&op, inputs, 2, outputs)
    return wrap(outputs[0])


def raw_product(str layout, Tensor a, Tensor b, Tensor bias or None, Tensor c or None, bint reference):
    """(c, column sums of b) of one product "NN", "NT" or "TN", added to c where one is given; the sums are TN's.

    reference: by the plain loops, the oracle of the fast kernels.
    """
    cdef bint ta = layout == "TN", tb = layout == "NT"
    cdef Py_ssize_t M = a.a.shape[1 if ta else 0], K = a.a.shape[0 if ta else 1], N = b.a.shape[0 if tb else 1]
    cdef Py_ssize_t shape[2]
    cdef const cbp_kernels *k = cbp_active[a.a.dtype]
    cdef cbp_layout code = CBP_TN if ta else CBP_NT if tb else CBP_NN
    cdef cbp_array *scratch = scratch_of(k.gemm_scratch(code, M, N, K))
    shape[:] = [M, N]
    cdef Tensor to = wrap(new_array(a.a.dtype, 2, shape)), sums = wrap(new_array(a.a.dtype, 1, &N))
    memset(sums.a.data, 0, N * cbp_itemsize(<cbp_dtype>a.a.dtype))
    if c is not None:
        memcpy(to.a.data, c.a.data, M * N * cbp_itemsize(<cbp_dtype>a.a.dtype))
    (k.gemm_ref if reference else k.gemm)(code, M, N, K, a.a.data, M if ta else K, b.a.data, K if tb else N,
                                          data_of(array_of(bias)), to.a.data, N, c is not None, sums.a.data,
                                          data_of(scratch))
    cbp_array_drop(scratch)
    return to, sums


def raw_dense(Tensor x, Tensor w, Tensor b or None, UnaryRow act or None, double p0, double p1):
    """act(x w + b); returns (y, z) with z = x w + b where the slope of act reads its input, else None."""
    cdef cbp_op op
    cdef cbp_array *inputs[3]
    cdef cbp_array *outputs[2]
    check_dense(x, w, b)
    clear(&op, CBP_OP_dense)
    activate(&op, act, p0, p1)
    inputs[:] = [x.a, w.a, array_of(b)]
    outputs[:] = [wanted(), wanted(act is not None and act.keeps_x)]
    run_op(&op, inputs, 3, outputs, <double>x.a.size * w.a.shape[1])
    return wrap(outputs[0]), None if outputs[1] == NULL else wrap(outputs[1])


cdef inline void activate(cbp_op *op, UnaryRow act, double p0, double p1) noexcept:
    op.row = -1 if act is None else act.place
    op.p[0], op.p[1] = p0, p1


cdef int check_dense(Tensor x, Tensor w, Tensor b) except -1:
    need_float("dense", x.a)
    for t in (w, b):
        if t is not None and (<Tensor>t).a.dtype != x.a.dtype:
            raise DTypeError(f"dense: x is {x.dtype}, a parameter {t.dtype}; use astype, or Dense(dtype=...)")
    if w.a.ndim != 2:
        raise ShapeError(f"dense: the weight has shape {w.shape}; it is (in, out)")
    if x.a.ndim == 0 or x.a.shape[x.a.ndim - 1] != w.a.shape[0]:
        hint = ""
        if x.a.ndim and x.a.shape[x.a.ndim - 1] == w.a.shape[1]:
            hint = "; weights are (in, out), a weight that comes from torch needs .T"
        raise ShapeError(f"dense: x {x.shape} does not fit w {w.shape}: x has "
                         f"{x.a.shape[x.a.ndim - 1] if x.a.ndim else 'no'} columns, w has {w.a.shape[0]} rows{hint}")
    if b is not None and (b.a.ndim != 1 or b.a.shape[0] != w.a.shape[1]):
        raise ShapeError(f"dense: the bias has shape {b.shape}, w {w.shape} asks for ({w.a.shape[1]},)")
    return 0


def raw_dense_backward(Record r, Tensor kept or None, Tensor g, UnaryRow act or None, double p0, double p1):
    """Cotangents (dx, dw, db) of a recorded dense layer; None where not wanted."""
    cdef cbp_op op
    cdef cbp_array *x = r.kept[0]        # NULL where no wanted cotangent reads it
    cdef cbp_array *w = r.kept[1]
    cdef cbp_array *inputs[4]
    cdef cbp_array *outputs[4]
    cdef int i
    clear(&op, CBP_OP_dense_vjp)
    activate(&op, act, p0, p1)
    op.a[0] = w.shape[0] if w != NULL else x.shape[x.ndim - 1] if x != NULL else 0
    op.a[1] = g.a.shape[g.a.ndim - 1]
    inputs[:] = [x, w, array_of(kept), g.a]
    outputs[0] = wanted(act is not None)
    for i in range(3):
        outputs[1 + i] = wanted(r.edges[i] != NULL)
    run_op(&op, inputs, 4, outputs, <double>g.a.size * op.a[0])
    cbp_array_drop(outputs[0])
    return tuple([None if outputs[i] == NULL else wrap(outputs[i]) for i in range(1, 4)])


# ---- softmax and its losses, over the last axis

cdef dict SOFTMAXES = {"softmax": CBP_OP_softmax, "log_softmax": CBP_OP_log_softmax, "logsumexp": CBP_OP_logsumexp}


def raw_softmax(str kind, Tensor x):
    """softmax, log_softmax or logsumexp over the last axis."""
    cdef cbp_op op
    need_float(kind, x.a)
    if x.a.shape[x.a.ndim - 1] == 0:
        raise ShapeError(f"{kind}: the axis is empty, shape {x.shape}")
    clear(&op, SOFTMAXES[kind])
    return wrap(run_one(&op, x.a))


def raw_cross_entropy(Tensor x, Tensor t, int64_t ignore, Tensor g=None):
    """(-log softmax(x)[b, t[b]], softmax(x)) for x (B, C) and t (B,).

    With a cotangent g, (B,) or (1,) for all rows, also what raw_cross_entropy_vjp gives, in the same pass.
    """
    cdef cbp_op op
    cdef cbp_array *inputs[3]
    cdef cbp_array *outputs[3]
    cdef Py_ssize_t B = x.a.shape[0], C = x.a.shape[1], i
    cdef int64_t label
    need_float("cross_entropy", x.a)
    if g is not None and (g.a.dtype != x.a.dtype or g.a.ndim != 1 or g.a.shape[0] not in (1, B)):
        raise ShapeError(f"cross_entropy: the cotangent {g.shape} does not fit x {x.shape}; (1,) or ({B},) does")
    clear(&op, CBP_OP_ce)
    op.a[0] = ignore
    inputs[:] = [x.a, t.a, array_of(g)]
    outputs[:] = [wanted(), wanted(), wanted(g is not None)]
    if run_op(&op, inputs, 3, outputs) != CBP_OK:
        for i in range(B):
            label = (<int64_t *>t.a.data)[i]
            if label != ignore and not 0 <= label < C:
                raise ValueError(f"cross_entropy: target {label} in row {i} is outside [0, {C})")
    if g is None:
        return wrap(outputs[0]), wrap(outputs[1])
    return wrap(outputs[0]), wrap(outputs[1]), wrap(outputs[2])


def raw_cross_entropy_vjp(Tensor p, Tensor t, int64_t ignore, Tensor g):
    """g[b] (p[b, c] - (c == t[b]))."""
    cdef cbp_op op
    clear(&op, CBP_OP_ce_vjp)
    op.a[0] = ignore
    return wrap(run_one(&op, p.a, t.a, g.a))
