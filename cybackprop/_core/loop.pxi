# The loop over batches: replay after replay in C, the GIL taken back for signals only.

cdef double POLL_EVERY = 0.05            # seconds
cdef Py_ssize_t PATIENT_BELOW = 1 << 18  # bytes of slab: below, a batch takes a millisecond at most


@cython.final
@cython.binding(False)
cdef class Watch:
    """What a loop asks for now and then: signals, and whether its program still stands for what it runs."""
    cdef Key key
    cdef double last
    cdef object error, stop
    cdef bint stopped

    cdef void look(self) noexcept:
        try:
            PyErr_CheckSignals()
            self.stopped = cbp_turns != NULL or self.stop() or not self.key.holds()      # others wait for a turn
        except BaseException as error:
            self.error, self.stopped = error, True
        self.last = monotonic()


cdef int poll(void *ctx) noexcept nogil:
    if monotonic() - (<Watch>ctx).last < POLL_EVERY:
        return 0
    with gil:
        (<Watch>ctx).look()
        return (<Watch>ctx).stopped


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


def run_batches(Compiled compiled, list data, Tensor order, Py_ssize_t start, Py_ssize_t batch, int64_t n, double total,
                stop):
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
    stop : callable
        () -> whether to stop early; asked now and then.

    Returns
    -------
    (int, float, BaseException or None)
        Batches that are done; their losses, each times `batch`, added to the total; what a signal handler raised,
        Ctrl-C say.  Fewer than asked for: call the function itself on the next one, which has no program, needs an
        audit, or takes another branch.
    """
    cdef list leaves = [a[:batch] for a in data]
    cdef call_view *views
    cdef Program p
    cdef Py_ssize_t i
    if never or cbp_eager:
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
                return run_loop(p, data, <int64_t *>order.a.data + start, batch, n, total, stop)
        return 0, total, None
    finally:
        for i in range(len(leaves)):
            if views[i].held:
                PyBuffer_Release(&views[i].view)
        free(views)


cdef bint loops(Program p, list data):
    """Whether all that changes from call to call are rows of the data, in the dtype in which the program reads them."""
    cdef int i
    if p.derivative is not None or not p.single:
        return False
    for i in range(p.n_inputs):
        if p.inputs[i].kind == FROM_GRAD or p.inputs[i].kind == FROM_TENSOR:
            return False
        if p.inputs[i].kind == FROM_ARRAY:
            arr = data[p.inputs[i].leaf]
            if arr.dtype != DTYPES[p.inputs[i].dtype] or not arr.flags.c_contiguous:
                return False
    return p.p.values[<int32_t>p.output_values[0]].size == 1


cdef tuple run_loop(Program p, list data, const int64_t *order, Py_ssize_t batch, int64_t n, double total, stop):
    cdef Frame frame = p.frame()
    cdef cbp_batches b
    cdef Watch watch = Watch.__new__(Watch)
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
        watch.last, watch.key, watch.stop = monotonic(), p.key, stop
        b.frame, b.order, b.batch, b.loss = frame.f, order, batch, (<Tensor>made[0]).a
        b.poll, b.ctx, b.patient = poll, <void *>watch, p.p.slab < <size_t>PATIENT_BELOW
        begin_turn(p)
        try:
            with nogil:
                status = cbp_batches_run(&b, n)
            if b.done:
                p.commit(frame, made)
                for i in range(p.n_written):
                    p.states[i].version += b.done - 1
                for owner, _ in p.effects if status != CBP_OK else ():
                    (<Tensor>owner).grad_ = None     # half of it is of the batch that was not finished
        finally:
            end_turn(p)
        p.calls += b.done
    finally:
        p.leave(frame)
        free(b.gathers)
    return b.done, b.sum, watch.error or take_stopped()


cdef cbp_array *array_like_value(Program p, int32_t v) except NULL:
    cdef cbp_value *x = &p.p.values[v]
    return new_array(x.dtype, x.ndim, x.shape)
