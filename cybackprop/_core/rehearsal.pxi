# Rehearsals: a replay on copies of the states, and where it differs from the eager run.

cdef bint same_bits(const cbp_array *a, const cbp_array *b) noexcept:
    """Equal bits; but one NaN is as good as another: which of two an instruction hands on is not a promise."""
    cdef Py_ssize_t i
    cdef const float *f = <const float *>a.data
    cdef const float *g = <const float *>b.data
    cdef const double *d = <const double *>a.data
    cdef const double *e = <const double *>b.data
    if a.size != b.size or a.dtype != b.dtype:
        return False
    if memcmp(a.data, b.data, a.size * cbp_itemsize(<cbp_dtype>a.dtype)) == 0:
        return True
    if a.dtype > CBP_F64:
        return False
    for i in range(a.size):
        if a.dtype == CBP_F32 and memcmp(f + i, g + i, 4) and (f[i] == f[i] or g[i] == g[i]):
            return False
        if a.dtype == CBP_F64 and memcmp(d + i, e + i, 8) and (d[i] == d[i] or e[i] == e[i]):
            return False
    return True


@cython.final
@cython.binding(False)
cdef class Before:
    """What an eager run of an audited call will change: copies of the states, by value, and the gradients."""
    cdef dict states, grads

    def __init__(self, Program p):
        cdef int32_t v
        self.states = {v: copied_tensor(state_of(p.p.values[v].held)) for v in range(p.p.n_values)
                       if p.p.values[v].place == CBP_STATE and p.p.values[v].of < 0}
        self.grads = {id(t): (<Tensor>t).grad_ for t in p.others if isinstance(t, Tensor)}


def rehearse(Program p, object leaves):
    """Replay on copies of the states: (Before, frame afterwards, outputs, copies), or None if it refuses."""
    cdef Frame frame = p.new_frame(True)
    cdef list made = [None] * p.n_outputs
    cdef call_view *views = <call_view *>calloc(len(leaves) + 1, sizeof(call_view))
    if views == NULL:
        raise MemoryError
    before = Before(p)
    try:
        copies = p.bind(frame, leaves, views)
        p.bind_outputs(frame, made)
        if p.run(frame) != CBP_OK:
            return None
    finally:
        free(views)
    frame.spare = None
    return before, frame, made, copies


def versions(Program p):
    """Of the States that it reads or writes, for `written_by_others`."""
    return [cbp_array_version(p.states[k]) for k in range(p.n_states)]


def written_by_others(Program p, list versions, Before before, Recorder r, list effects):
    """Whether a State of p or a gradient was written since by someone who is not the run that r has recorded."""
    cdef int k
    for t, grad, _ in r.grads.values():
        if before.grads.get(id(t), grad) is not grad:
            return True
    for _, grad in effects:
        if grad is not None and not r.known(grad):
            return True
    for k in range(p.n_states):
        own = r.writes.get(<size_t>cbp_array_root(p.states[k]), 0)
        if cbp_array_version(p.states[k]) != <long long>versions[k] + <long long>own:
            return True
    return False


def differences(Program p, Frame frame, list made, list results, list effects):
    """The first output or state in which a rehearsal differs from what is there now, or None."""
    cdef int32_t v
    cdef int k
    cdef dict grads = {id(t): (<Tensor>t).grad_ for t, _ in p.effects}
    cdef list now
    if any([id(t) not in grads for t, _ in effects]):
        return "set of gradients", "its sweeps"
    grads |= {id(t): g for t, g in effects}
    if any([(number is None) != (grads[id(t)] is None) for t, number in p.effects]):
        return "set of gradients", "its sweeps"
    now = [*results, *[grads[id(t)] for t, number in p.effects if number is not None]]
    for k in range(len(made)):
        if not same_bits((<Tensor>made[k]).a, (<Tensor>now[k]).a):
            return ("result" if k < p.n_results else "gradient"), maker(p, p.output_values[k])
    for v in range(p.p.n_values):
        if p.p.values[v].place == CBP_STATE and p.p.values[v].of < 0:
            if not same_bits(cbp_frame_array(frame.f, v), p.p.values[v].held):
                return "state", last_writer(p, v)
    return None


def first_difference(Program p, Before before, Recorder r, object leaves):
    """Where the instructions, run one by one on the states of `before`, leave what r saw.

    (op, how many instructions but guards come before it), or None.
    """
    cdef Frame frame = p.new_frame(True)
    cdef int32_t v, i, k
    cdef cbp_array *a
    cdef list made = [None] * p.n_outputs
    cdef call_view *views = <call_view *>calloc(len(leaves) + 1, sizeof(call_view))
    if views == NULL:
        raise MemoryError
    for v in range(p.p.n_values):
        if p.p.values[v].place == CBP_STATE and p.p.values[v].of < 0:
            a = (<Tensor>before.states[v]).a
            memcpy(cbp_frame_array(frame.f, v).data, a.data, a.size * cbp_itemsize(<cbp_dtype>a.dtype))
    try:
        copies = p.bind(frame, leaves, views, before.grads)
        p.bind_outputs(frame, made)
        p.run(frame)
    finally:
        free(views)
    seen = {r.ids[<size_t>r.held[i]]: i for i in range(r.n_held) if <size_t>r.held[i] in r.ids}
    for i in range(r.n_held):            # what was written through a view is not what the view was made of
        if r.held[i].is_view and r.p.values[<int32_t>r.ids[<size_t>r.held[i]]].of < 0:
            seen.pop(r.ids.get(<size_t>cbp_array_root(r.held[i])), None)
    guards = 0
    for i in range(p.p.n_instrs):
        guards += p.p.instrs[i].op.kind == CBP_OP_guard
        for k in range(p.p.instrs[i].n_out):
            v = cbp_out(p.p, &p.p.instrs[i])[k]
            if v in seen and p.p.values[v].place == CBP_TEMP:
                if not same_bits(cbp_frame_array(frame.f, v), r.held[<int>seen[v]]):
                    return op_name(&p.p.instrs[i].op), i - guards
    return None


def other_constant(Program p, Program twin):
    """What reads the first constant that another recording has with other values, or None."""
    for (mine, op, line), (other, _, _) in zip(p.constants, twin.constants):
        if not same_bits((<Tensor>mine).a, (<Tensor>other).a):
            return f"{op} at {line}"
    return None


cdef str maker(Program p, int32_t v):
    cdef int32_t i, k
    for i in range(p.p.n_instrs):
        for k in range(p.p.instrs[i].n_out):
            if cbp_out(p.p, &p.p.instrs[i])[k] == v:
                return describe(p.p, i, p.lines)
    return "a value"


cdef str last_writer(Program p, int32_t state):
    cdef int32_t i, k, v
    for i in range(p.p.n_instrs - 1, -1, -1):
        for k in range(p.p.instrs[i].n_out):
            v = cbp_out(p.p, &p.p.instrs[i])[k]
            if v < 0 or cbp_root(p.p, v) != state:
                continue
            if p.p.instrs[i].line >= 0:
                return describe(p.p, i, p.lines)
            state = cbp_root(p.p, cbp_in(p.p, &p.p.instrs[i])[0])    # copied back from the slab: who wrote it there?
    return "nothing in the program: something outside wrote it during the call"
