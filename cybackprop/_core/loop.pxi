# The loop over batches: replay after replay in C.  Python never runs inside; the loop ends now and then instead, so
# that signal handlers and other threads have their turn, and each beginning compares the key and reads all inputs anew.

cdef double POLL_EVERY = 0.05            # seconds
cdef Py_ssize_t PATIENT_BELOW = 1 << 18  # bytes of slab: below, a batch takes a millisecond at most


cdef extern from *:
    """
    #include <time.h>
    #if defined(_WIN32)
    static double monotonic(void) { return (double)clock() / CLOCKS_PER_SEC; }
    #else
    static double monotonic(void)
    {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    #endif
    """
    double monotonic() noexcept nogil


cdef int poll(void *ctx) noexcept nogil:
    """Whether the loop's time is over."""
    return monotonic() > (<double *>ctx)[0]


def run_batches(Compiled compiled, list data, Tensor order, Py_ssize_t start, Py_ssize_t batch, int64_t n,
                double total):
    """Run a compiled step over batches of rows of the data, in C as long as one program stands for them.

    Parameters
    ----------
    compiled : Compiled
        A function of as many arrays as `data` that returns a tensor with one element, the loss.
    data : list of ndarray
        C-contiguous, first axis samples.
    order : Tensor of int64
        Sample numbers.
    start, batch, n : int
        n batches of so many rows, the first from order[start] on.
    total : float
        The sum of losses so far.

    Returns
    -------
    (int, float, BaseException or None)
        Batches that are done; their losses, each times `batch`, added to the total; what a signal handler raised inside
        a loop of the step.  None is done: call the function itself on the next one, which has no program, needs an
        audit, or takes another branch.  Fewer than asked for: it was time to look around, or one of those is next.
    """
    cdef list leaves = [a[:batch] for a in data]
    cdef call_view *views
    cdef Program p
    cdef Py_ssize_t i
    if never or cbp_eager or compiled.history.given_up is not None:
        return 0, total, None
    views = <call_view *>calloc(len(leaves) + 1, sizeof(call_view))
    if views == NULL:
        raise MemoryError
    try:
        look(leaves, views)
        for p in compiled.programs:
            if p.key.fits(None, leaves, views) and p.key.holds():
                p = compiled.at_batch(p, leaves, views)
                if p is None:
                    break
                n = min(n, p.before_audit(p.calls))
                if n < 1 or compiled.audit_every or not loops(p, data):
                    break
                if p is not compiled.programs[0] and p in compiled.programs:
                    compiled.programs.remove(p)
                    compiled.programs.insert(0, p)
                return run_loop(p, data, <int64_t *>order.a.data + start, batch, n, total)
        return 0, total, None
    finally:
        for i in range(len(leaves)):
            if views[i].held:
                PyBuffer_Release(&views[i].view)
        free(views)


cdef bint loops(Program p, list data):
    """Whether all that changes from call to call are rows of the data, in the dtype in which the program reads them."""
    cdef int i
    if p.derivative is not None or not p.single or p.key.grads:
        return False
    for i in range(p.n_inputs):
        if p.inputs[i].kind == FROM_GRAD or p.inputs[i].kind == FROM_TENSOR:
            return False
        if p.inputs[i].kind == FROM_ARRAY:
            arr = data[p.inputs[i].leaf]
            if arr.dtype != DTYPES[p.inputs[i].dtype] or not arr.flags.c_contiguous:
                return False
    return p.p.values[<int32_t>p.output_values[0]].size == 1


cdef tuple run_loop(Program p, list data, const int64_t *order, Py_ssize_t batch, int64_t n, double total):
    cdef Frame frame = p.frame()
    cdef cbp_batches b
    cdef double until
    cdef list made = [None] * p.n_outputs, room = []
    cdef cbp_status status
    cdef int i
    memset(&b, 0, sizeof(b))
    b.sum = total
    b.gathers = <cbp_gather *>calloc(p.n_inputs + 1, sizeof(cbp_gather))
    if b.gathers == NULL:
        raise MemoryError
    try:
        for i in range(p.n_inputs):
            if p.inputs[i].kind != FROM_ARRAY:
                t = host_tensor((<Place>p.others[i]).current(), p.inputs[i].dtype)
                cbp_frame_array(frame.f, p.inputs[i].value).data = (<Tensor>t).a.data
                room.append(t)
                continue
            arr = data[p.inputs[i].leaf]
            t = wrap(array_like_value(p, p.inputs[i].value))
            room.append(t)
            b.gathers[b.n_gathers].slot = cbp_frame_array(frame.f, p.inputs[i].value)
            b.gathers[b.n_gathers].rows = <const char *><size_t>arr.ctypes.data
            b.gathers[b.n_gathers].bytes = (<Tensor>t).nbytes // batch
            b.gathers[b.n_gathers].room = <char *>(<Tensor>t).a.data
            b.n_gathers += 1
        p.bind_outputs(frame, made)
        b.frame, b.order, b.batch, b.loss = frame.f, order, batch, (<Tensor>made[0]).a
        b.poll, b.ctx = poll, &until
        b.patient = p.p.slab < <size_t>PATIENT_BELOW and not p.loops     # loops let signal handlers run
        begin_turn(p)
        until = monotonic() + POLL_EVERY
        try:
            with nogil:
                status = cbp_batches_run(&b, n)
            if b.done:
                p.commit(frame, made)
                for i in range(p.n_written):
                    p.states[i].version += b.done - 1
                if status != CBP_OK and first_gradient(p) <= frame.f.at:
                    for owner, _ in p.effects:       # half of it is of the batch that was not finished
                        (<Tensor>owner).grad_ = None
        finally:
            end_turn(p)
        p.calls += b.done
    finally:
        p.leave(frame)
        free(b.gathers)
    return b.done, b.sum, take_stopped()


cdef int32_t first_gradient(Program p):
    """The first instruction that writes a gradient."""
    cdef set roots = set()
    cdef int32_t i, k
    for _, number in p.effects:
        if number is not None:
            roots.add(root_of(p, p.output_values[<int>number]))
    for i in range(p.p.n_instrs):
        for k in range(p.p.instrs[i].n_out):
            if root_of(p, cbp_out(p.p, &p.p.instrs[i])[k]) in roots:
                return i
    return p.p.n_instrs


cdef int32_t root_of(Program p, int32_t v):
    """The value whose memory a value is, -1: none."""
    while v >= 0 and p.p.values[v].of >= 0:
        v = p.p.values[v].of
    return v


cdef cbp_array *array_like_value(Program p, int32_t v) except NULL:
    cdef cbp_value *x = &p.p.values[v]
    return new_array(x.dtype, x.ndim, x.shape)
