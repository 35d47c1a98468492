# The one door to the operations of op.def.

cdef cbp_array wanted_mark


cdef inline cbp_array *wanted(bint yes=True) noexcept:
    """What marks an output that run_op shall make."""
    return &wanted_mark if yes else NULL


cdef inline void clear(cbp_op *op, int kind) noexcept:
    memset(op, 0, sizeof(cbp_op))
    op.kind = kind
    op.row = op.prev = -1


cdef inline void *data_of(const cbp_array *a) noexcept nogil:
    return NULL if a == NULL else <void *>a.data


cdef inline cbp_array *array_of(Tensor t) noexcept:
    return NULL if t is None else t.a


cdef int give_shape(cbp_op *op, object shape, int dtype) except -1:
    """For an op whose shape is given: a[0] axes, then their lengths."""
    cdef Py_ssize_t dims[8]
    cdef int i
    op.a[0] = shape_of(shape, dims)
    for i in range(<int>op.a[0]):
        op.a[1 + i] = dims[i]
    op.dtype = dtype
    return 0


cdef cbp_array *scratch_of(size_t nbytes) except NULL:
    """64-byte aligned room for a kernel."""
    cdef Py_ssize_t n = (nbytes + 7) // 8
    return new_array(CBP_F64, 1, &n)


cdef int run_op(cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs, double work=0) except -1:
    """Run an operation.  outputs: wanted(...), new arrays afterwards.

    work: multiply-adds; large ones run without the GIL, while the memory of the operands may not move.
    Returns the kernel's status where it may refuse its data: 0, or CBP_OUT_OF_RANGE, and then there are no outputs.
    """
    cdef const cbp_op_info *info = &cbp_op_infos[op.kind]
    cdef cbp_array shapes[5]
    cdef cbp_array *scratch = NULL
    cdef size_t room
    cdef int i, status, made = 0
    for i in range(info.n_out):
        if outputs[i] != NULL:
            outputs[i] = &shapes[i]
    if info.shape(op, inputs, n_in, outputs) != CBP_OK:
        shown = [str(array_shape(inputs[i])) for i in range(n_in) if inputs[i] != NULL]
        raise ShapeError(f"{info.name.decode()}: shapes {', '.join(shown)} do not fit")
    try:
        for made in range(info.n_out):
            if outputs[made] != NULL:
                outputs[made] = new_array(shapes[made].dtype, shapes[made].ndim, shapes[made].shape)
        made = info.n_out
        if info.scratch != NULL:
            room = info.scratch(op, inputs, n_in, outputs)
            if room:
                scratch = scratch_of(room)
    except BaseException:
        for i in range(made):
            cbp_array_drop(outputs[i])
        raise
    if work > WORTH_RELEASING:
        pin(inputs, n_in, 1)
        with nogil:
            status = info.run(op, inputs, n_in, outputs, data_of(scratch))
        pin(inputs, n_in, -1)
    else:
        status = info.run(op, inputs, n_in, outputs, data_of(scratch))
    cbp_array_drop(scratch)
    if status != CBP_OK:
        for i in range(info.n_out):
            cbp_array_drop(outputs[i])
        return status
    for i in range(info.n_out):
        if outputs[i] != NULL:
            outputs[i].weak = weak_output(op, inputs, n_in, outputs[i].dtype)
    if recording():
        note(op, inputs, n_in, outputs, info.n_out)
    return status


cdef void pin(cbp_array **arrays, int n, int by) noexcept:
    cdef int i
    for i in range(n):
        if arrays[i] != NULL:
            arrays[i].pins += by


cdef cbp_array *run_one(cbp_op *op, cbp_array *a, cbp_array *b=NULL, cbp_array *c=NULL) except NULL:
    """An operation with one output that can't refuse, of up to three inputs."""
    cdef cbp_array *inputs[3]
    cdef cbp_array *outputs[1]
    inputs[:] = [a, b, c]
    outputs[0] = wanted()
    run_op(op, inputs, 3 if c != NULL else 2 if b != NULL else 1 if a != NULL else 0, outputs)
    return outputs[0]


cdef int run_in_place(cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs, int n_out, object what) except -1:
    """An operation that can't refuse and writes into arrays that are there: states, Parameters, moments.

    what: who writes, for the TapeError of a record that kept an older version.
    """
    cdef int i
    cdef cbp_turn t
    t = turn_of(outputs, n_out, n_out)
    if not cbp_turn_fits(&t):
        wait_for(&t)
    for i in range(n_out if recording() else 0):
        if outputs[i] != NULL:
            (<Recorder>cbp_recorder).before_write(outputs[i])
    cbp_op_infos[op.kind].run(op, inputs, n_in, outputs, NULL)
    if recording():
        note(op, inputs, n_in, outputs, n_out)
    for i in range(n_out):
        if outputs[i] != NULL:
            note_write(outputs[i], what)
    return 0
