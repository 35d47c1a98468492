# Structured rows: forward and rules are given by cybackprop.ops as functions.

@cython.final
@cython.binding(False)
cdef class StructuredRow(Row):
    """An op that is not elementwise.

    Parameters
    ----------
    name : str
    shape : str
        The rule of shapes, e.g. "(B, I), (I, O), (O) -> (B, O)".
    forward : callable
        (*inputs, **attrs) -> Tensor, or (Tensor, saved); works on values, records nothing.
    vjp : callable
        (record, g) -> a cotangent or None an input, in tensor operations, so that it differentiates again.
    jvp : callable
        (record, tangents) -> Tensor; a tangent is None where the input has none.
    keeps : sequence of (int, frozenset)
        Input i is kept if one of these inputs takes a gradient.
    keeps_output : bool
    fused_vjp : callable, optional
        As vjp, for a sweep that is not recorded.
    """
    cdef readonly str shape
    cdef readonly object forward, fused_vjp
    cdef readonly tuple keeps
    cdef readonly bint keeps_output

    def __init__(self, name, shape, forward, vjp, jvp, keeps=(), keeps_output=False, fused_vjp=None):
        self.name = name
        self.shape = shape
        self.forward = forward
        self.vjp_rule = vjp
        self.jvp_rule = jvp
        self.keeps = tuple(keeps)
        self.keeps_output = keeps_output
        self.fused_vjp = vjp if fused_vjp is None else fused_vjp

    cdef int sweep(self, Record r, Sweep s) except -1:
        return give_all(self, r, s, self.fused_vjp(r, wrap(cbp_array_hold(r.cot))))


def apply(StructuredRow row, tuple inputs, dict attrs):
    """The door of structured ops: run the forward, record it if a gradient is wanted.

    inputs: Tensors, or None for an optional one.  attrs: what else the forward takes.
    """
    global cbp_no_grad
    cdef Record r
    cdef int i, n = len(inputs)
    cdef bint wanted = False
    cdef Tensor out
    cbp_no_grad += 1                     # a forward may be made of other ops: the record is this one's
    try:
        result = row.forward(*inputs, **attrs)
    finally:
        cbp_no_grad -= 1
    out, saved = result if type(result) is tuple else (result, None)
    if not cbp_no_grad:
        for x in inputs:
            if x is not None and (<Tensor>x).record is not None:
                wanted = True
    if not wanted:
        return out
    r = new_record(row, n, out.a)
    r.attrs = attrs
    r.saved = saved
    for i in range(n):
        if inputs[i] is not None:
            set_edge(r, i, <Tensor>inputs[i])
    for kept, readers in row.keeps:
        i = kept
        if inputs[i] is None:
            continue
        for reader in readers:
            if inputs[reader] is not None and (<Tensor>inputs[reader]).record is not None:
                keep_value(r, i, <Tensor>inputs[i])
                break
    for i in range(n):
        if r.edges[i] != NULL:
            keep_shape(r, i, <Tensor>inputs[i])
    if row.keeps_output:
        r.out = cbp_array_hold(out.a)
    out.record = r
    return out
