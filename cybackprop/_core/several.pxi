# Records of operations with several results: one for the operation, and one for each result, which leads to it.

@cython.final
cdef class ResultRow(Row):
    """One of several results."""

    def __cinit__(self, name):
        self.name = name
        self.jvp_rule = lambda record, tangents: tangents[0][int(record.parameters[0])]

    cdef int sweep(self, Record r, Sweep s) except -1:
        return s.give_result(<Record>r.edges[0], <int>r.p[0], wrap(cbp_array_hold(r.cot)))

    cdef int sweep_recorded(self, Record r, Sweep s) except -1:
        return s.give_result(<Record>r.edges[0], <int>r.p[0], <Tensor>r.cot_tensor)


@cython.final
cdef class SeveralRow(Row):
    """An operation with several results.

    Parameters
    ----------
    name : str
    vjp : callable
        (record, cotangents) -> a cotangent or None an input; a cotangent is None where none came.
    jvp : callable
        (record, tangents) -> a tangent or None a result.
    """
    cdef ResultRow result

    def __init__(self, name, vjp, jvp):
        self.name, self.vjp_rule, self.jvp_rule = name, vjp, jvp
        self.result = ResultRow("result of " + name)

    cdef int sweep(self, Record r, Sweep s) except -1:
        return give_all(self, r, s, self.vjp_rule(r, r.cot_tensor))


def record_several(SeveralRow row, inputs, fixed, edges, results, saved):
    """Record an operation and link its results to it.

    Parameters
    ----------
    inputs : sequence of Tensor or None
        Kept, and linked to where they came from.
    fixed : sequence of Tensor
        Kept.
    edges : sequence of (Record, shape, dtype)
        What its value depends on besides.
    results : sequence of Tensor or None
        None for a result that takes no gradient.
    saved : object
        What the rules need to know besides.
    """
    cdef Record r
    cdef Tensor t
    cdef int i = 0, k
    t = next(t for t in results if t is not None)
    r = new_record(row, len(inputs) + len(fixed) + len(edges), t.a)
    r.saved = saved
    r.p[0] = len(results)
    for x in (*inputs, *fixed):
        if x is not None:
            keep_value(r, i, <Tensor>x)
            if i < len(inputs):
                set_edge(r, i, <Tensor>x)
        i += 1
    for edge, shape, dtype in edges:
        Py_INCREF(edge)
        r.edges[i] = <PyObject *>edge
        if recording():
            (<Recorder>cbp_recorder).see_record(edge, shape, dtype)
        i += 1
    for k in range(len(results)):
        if results[k] is not None:
            (<Tensor>results[k]).record = result_record(r, k, (<Tensor>results[k]).a)


cdef Record result_record(Record r, int k, cbp_array *a):
    cdef Record part = new_record((<SeveralRow>r.row).result, 1, a)
    part.p[0] = k
    Py_INCREF(r)
    part.edges[0] = <PyObject *>r
    return part


def result_of(Record r, int k, Tensor t):
    """t as result k of a record, where only the value was kept."""
    cdef Tensor out = wrap(cbp_array_hold(t.a))
    out.record = result_record(r, k, t.a)
    return out
