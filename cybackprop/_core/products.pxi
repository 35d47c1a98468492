# Products, dense layers, softmax: kernels behind structured ops.

cdef enum: WORTH_RELEASING = 1 << 20     # multiply-adds: beyond, other threads may have the GIL meanwhile


cdef cbp_array *scratch_of(size_t nbytes) except? NULL:
    """Room for a kernel; NULL if it needs none."""
    cdef Py_ssize_t n = (nbytes + 7) // 8
    return NULL if n == 0 else new_array(CBP_F64, 1, &n)


def raw_matmul(Tensor a, Tensor b, bint ta, bint tb):
    """op(a) op(b) over the last two axes, NumPy's broadcasting over the others; op transposes where asked.

    Layouts are NN, NT and TN; TT does not occur (cbp.h: gemm).
    """
    cdef int na = a.a.ndim, nb = b.a.ndim, i, n
    cdef Py_ssize_t M = a.a.shape[na - 1 if ta else na - 2], K = a.a.shape[na - 2 if ta else na - 1]
    cdef Py_ssize_t N = b.a.shape[nb - 2 if tb else nb - 1], KB = b.a.shape[nb - 1 if tb else nb - 2]
    cdef Py_ssize_t shape[8]
    cdef Py_ssize_t batch = 1, many_a = 1, many_b = 1, j, rest, ia, ib, axis_a, axis_b, step_a, step_b
    cdef cbp_array lead_a, lead_b
    cdef cbp_layout layout = CBP_TN if ta else CBP_NT if tb else CBP_NN
    cdef Py_ssize_t itemsize
    cdef cbp_array *scratch
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
    n = broadcast_shape("matmul", &lead_a, &lead_b, shape)
    for i in range(n):
        batch *= shape[i]
    if n + 2 > 8:
        raise ShapeError("matmul: the result would have more than 8 axes")
    shape[n] = M
    shape[n + 1] = N
    cdef Tensor c = wrap(new_array(a.a.dtype, n + 2, shape))
    if c.a.size == 0:
        return c
    cdef const cbp_kernels *k = cbp_active[a.a.dtype]
    itemsize = cbp_itemsize(<cbp_dtype>a.a.dtype)
    if lead_b.ndim == 0 and not ta:      # one right-hand side for all: all rows in one product
        M *= batch
        batch = lead_a.ndim = n = 1
        lead_a.shape[0] = 1
    for i in range(lead_a.ndim):
        many_a *= lead_a.shape[i]
    for i in range(lead_b.ndim):
        many_b *= lead_b.shape[i]
    scratch = scratch_of(k.gemm_scratch(layout, M, N, K))
    if many_a in (1, batch) and many_b in (1, batch):      # each operand one matrix for all, or one for each
        k.gemm_batch(layout, batch, M, N, K, a.a.data, M if ta else K, 0 if many_a == 1 else M * K,
                     b.a.data, K if tb else N, 0 if many_b == 1 else K * N, c.a.data, N, M * N,
                     NULL if scratch == NULL else scratch.data)
        cbp_array_drop(scratch)
        return c
    for j in range(batch):
        rest = j
        ia = ib = 0
        step_a = step_b = 1
        for i in range(n - 1, -1, -1):
            axis_a = i - (n - lead_a.ndim)
            axis_b = i - (n - lead_b.ndim)
            if axis_a >= 0:
                if lead_a.shape[axis_a] != 1:
                    ia += rest % shape[i] * step_a
                step_a *= lead_a.shape[axis_a]
            if axis_b >= 0:
                if lead_b.shape[axis_b] != 1:
                    ib += rest % shape[i] * step_b
                step_b *= lead_b.shape[axis_b]
            rest //= shape[i]
        k.gemm(layout, M, N, K, <char *>a.a.data + ia * M * K * itemsize, M if ta else K,
               <char *>b.a.data + ib * K * N * itemsize, K if tb else N, NULL,
               <char *>c.a.data + j * M * N * itemsize, N, 0, NULL, NULL if scratch == NULL else scratch.data)
    cbp_array_drop(scratch)
    return c


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


cdef inline Py_ssize_t rows_of(const cbp_array *x) noexcept:
    cdef Py_ssize_t rows = 1
    cdef int i
    for i in range(x.ndim - 1):
        rows *= x.shape[i]
    return rows


ctypedef struct dense_call:              # the arguments of one dense kernel, so that it can run without the GIL
    const cbp_kernels *k
    Py_ssize_t B, I, O
    void *x
    void *w
    void *b
    void *z                              # forward: where x w + b goes;  backward: what the activation kept
    void *y
    void *g
    void *gz
    void *dx
    void *dw
    void *db
    int act
    double p[2]
    cbp_array *scratch


cdef void dense_forward_call(dense_call *c) noexcept nogil:
    c.k.dense_fwd(c.B, c.I, c.O, c.x, c.w, c.b, c.act, c.p, c.z, c.y, data_of(c.scratch))


cdef void dense_backward_call(dense_call *c) noexcept nogil:
    c.k.dense_bwd(c.B, c.I, c.O, c.x, c.w, c.z, c.g, c.act, c.p, c.gz, c.dx, c.dw, c.db, 0, -1,
                  NULL, NULL, data_of(c.scratch))


cdef inline void *data_of(const cbp_array *a) noexcept nogil:
    return NULL if a == NULL else <void *>a.data


cdef inline cbp_array *array_of(Tensor t) noexcept:
    return NULL if t is None else t.a


cdef int run_dense(dense_call *c, void (*call)(dense_call *) noexcept nogil, cbp_array *x, cbp_array *w,
                   cbp_array *b) except -1:
    """Run a dense kernel; large ones without the GIL, while the memory of the operands may not move."""
    cdef cbp_array *operands[3]
    cdef int i
    operands[:] = [x, w, b]
    c.x, c.w, c.b = data_of(x), data_of(w), data_of(b)
    c.scratch = scratch_of(c.k.dense_scratch(c.B, c.I, c.O))
    if c.B * c.I * c.O > WORTH_RELEASING:
        for i in range(3):
            if operands[i] != NULL:
                operands[i].pins += 1
        with nogil:
            call(c)
        for i in range(3):
            if operands[i] != NULL:
                operands[i].pins -= 1
    else:
        call(c)
    cbp_array_drop(c.scratch)
    return 0


def raw_dense(Tensor x, Tensor w, Tensor b or None, UnaryRow act or None, double p0, double p1):
    """act(x w + b); returns (y, z) with z = x w + b where the slope of act reads its input, else None."""
    cdef Py_ssize_t shape[8]
    cdef dense_call c
    cdef int i, n = x.a.ndim
    cdef Tensor y, z = None
    check_dense(x, w, b)
    for i in range(n - 1):
        shape[i] = x.a.shape[i]
    shape[n - 1] = w.a.shape[1]
    y = wrap(new_array(x.a.dtype, n, shape))
    if act is not None and act.keeps_x:
        z = wrap(new_array(x.a.dtype, n, shape))
    c.k = cbp_active[x.a.dtype]
    c.B, c.I, c.O = rows_of(x.a), w.a.shape[0], w.a.shape[1]
    c.act = -1 if act is None else act.place
    c.p[0], c.p[1] = p0, p1
    c.z, c.y = data_of(array_of(z)), y.a.data
    run_dense(&c, dense_forward_call, x.a, w.a, array_of(b))
    return y, z


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
    cdef cbp_array *x = r.kept[0]        # NULL where no wanted cotangent reads it
    cdef cbp_array *w = r.kept[1]
    cdef Tensor gz = None if act is None else wrap(like(g.a))
    cdef Tensor dx = wrap(like(x)) if r.edges[0] != NULL else None
    cdef Tensor dw = wrap(like(w)) if r.edges[1] != NULL else None
    cdef Tensor db = None
    cdef dense_call c
    c.k = cbp_active[g.a.dtype]
    c.B, c.O = rows_of(g.a), g.a.shape[g.a.ndim - 1]
    c.I = w.shape[0] if w != NULL else x.shape[x.ndim - 1] if x != NULL else 0
    if r.edges[2] != NULL:
        db = wrap(new_array(g.a.dtype, 1, &c.O))
    c.act = -1 if act is None else act.place
    c.p[0], c.p[1] = p0, p1
    c.z, c.g, c.gz = data_of(array_of(kept)), g.a.data, data_of(array_of(gz))
    c.dx, c.dw, c.db = data_of(array_of(dx)), data_of(array_of(dw)), data_of(array_of(db))
    run_dense(&c, dense_backward_call, x, w, NULL)
    return dx, dw, db


# ---- softmax and its losses, over the last axis

def raw_softmax(str kind, Tensor x):
    """softmax, log_softmax or logsumexp over the last axis."""
    cdef const cbp_kernels *k
    cdef Tensor y
    cdef Py_ssize_t C
    need_float(kind, x.a)
    k = cbp_active[x.a.dtype]
    C = x.a.shape[x.a.ndim - 1]
    if C == 0:
        raise ShapeError(f"{kind}: the axis is empty, shape {x.shape}")
    if kind == "logsumexp":
        y = wrap(new_array(x.a.dtype, x.a.ndim - 1, x.a.shape))
        k.logsumexp(y.a.size, C, x.a.data, y.a.data)
    else:
        y = wrap(like(x.a))
        (k.softmax if kind == "softmax" else k.log_softmax)(x.a.size // C, C, x.a.data, y.a.data)
    return y


def raw_cross_entropy(Tensor x, Tensor t, int64_t ignore, Tensor g=None):
    """(-log softmax(x)[b, t[b]], softmax(x)) for x (B, C) and t (B,).

    With a cotangent g, (B,) or (1,) for all rows, also what raw_cross_entropy_vjp gives, in the same pass.
    """
    need_float("cross_entropy", x.a)
    cdef Py_ssize_t B = x.a.shape[0], C = x.a.shape[1], i
    if g is not None and (g.a.dtype != x.a.dtype or g.a.ndim != 1 or g.a.shape[0] not in (1, B)):
        raise ShapeError(f"cross_entropy: the cotangent {g.shape} does not fit x {x.shape}; (1,) or ({B},) does")
    cdef Tensor loss = wrap(new_array(x.a.dtype, 1, x.a.shape)), p = wrap(like(x.a))
    cdef Tensor dx = None if g is None else wrap(like(x.a))
    cdef int64_t label
    if cbp_active[x.a.dtype].ce_fwd(B, C, x.a.data, <int64_t *>t.a.data, ignore, loss.a.data, p.a.data,
                                    data_of(array_of(g)), 0 if g is None or g.a.shape[0] == 1 else 1,
                                    data_of(array_of(dx))) != CBP_OK:
        for i in range(B):
            label = (<int64_t *>t.a.data)[i]
            if label != ignore and not 0 <= label < C:
                raise ValueError(f"cross_entropy: target {label} in row {i} is outside [0, {C})")
    return (loss, p) if g is None else (loss, p, dx)


def raw_cross_entropy_vjp(Tensor p, Tensor t, int64_t ignore, Tensor g):
    """g[b] (p[b, c] - (c == t[b]))."""
    cdef Tensor dx = wrap(like(p.a))
    cbp_active[p.a.dtype].ce_vjp(p.a.shape[0], p.a.shape[1], p.a.data, <int64_t *>t.a.data, ignore, g.a.data, dx.a.data)
    return dx
