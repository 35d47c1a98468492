# From a recording to a Program; what a replay reads its arguments by.

def build_program(Recorder r, results, effects, paths, Derivative derivative=None, bint plain=False):
    """The program of what r recorded.

    Parameters
    ----------
    results : list of Tensor
    effects : list of (Tensor, Tensor or None)
        Owners and the gradients they have afterwards.
    paths : dict
        Constant value -> Place that finds it again.
    plain : bool
        Leave the instructions as they are and each value its own memory; the recorder can build another.
    """
    cdef Program made = Program.__new__(Program)
    cdef Tensor t
    cdef cbp_program *whole = NULL
    cdef Py_ssize_t i
    if plain:
        whole = cbp_program_clone(r.p)
        if whole == NULL:
            raise MemoryError
    made.lines, made.frames, made.others, made.effects, made.loops = r.lines, [], [], [], dict(r.loops)
    outputs = []
    r.segment = 0
    for t in results:
        outputs.append(r.result(t.a))
    made.n_results = len(results)
    for owner, g in effects:
        made.effects.append((owner, None if g is None else len(outputs)))
        if g is not None:
            outputs.append(r.result((<Tensor>g).a))
    made.n_outputs = len(outputs)
    made.output_values = <int32_t *>calloc(made.n_outputs + 1, sizeof(int32_t))
    if made.output_values == NULL:
        raise MemoryError
    for i in range(made.n_outputs):
        made.output_values[i] = outputs[i]
    made.derivative = derivative
    if derivative is not None:
        for i, cotangents in enumerate(derivative.cotangents):
            r.segment = 1 + i
            derivative.values.append([-1 if g is None else r.result((<Tensor>g).a) for g in cotangents])
        derivative.cotangents = None
    made.recorded, made.constants = r.recorded(), r.constants(paths)
    made.p = r.p
    r.p = whole if plain else cbp_program_new()
    made.take_inputs(r, paths)
    if cbp_program_build(made.p, plain) != CBP_OK:
        raise MemoryError
    made.find_states()
    programs.add(made)
    return made


cdef object NOT_THIS = object()


def plant_fault(int kind):
    """For tests of audits: programs made from now on have a fault of that kind (program.h), 0: none."""
    global cbp_plant_fault
    cbp_plant_fault = kind


def use_tiles(bint yes):
    """For measurements: whether programs made from now on run row-wise instructions in tiles."""
    global cbp_no_tiles
    cbp_no_tiles = not yes


cdef list own_arrays(object leaves, call_view *views):
    """The arguments with copies of the arrays: a run that may be swept later keeps what it has read."""
    cdef Py_ssize_t i
    return [leaves[i].copy() if views[i].held else leaves[i] for i in range(len(leaves))]


cdef void *memory_of(object arr) except? NULL:
    """Where the elements of an array lie that is contiguous and outlives the pointer."""
    cdef Py_buffer view
    PyObject_GetBuffer(arr, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return view.buf


cdef Tensor host_tensor(object data, int code):
    """An array as a tensor of that dtype."""
    return <Tensor>data if isinstance(data, Tensor) else wrap(from_numpy(data, code))


cdef bint readable(const call_view *v, int code) noexcept:
    """Whether a program may read the argument where it lies: contiguous, aligned, of the very dtype."""
    cdef const Py_buffer *b = &v.view
    cdef Py_ssize_t step
    cdef int i
    if not v.held or b.format == NULL or b.format[1] != 0:
        return False
    if not (b.format[0] == FORMATS[code][0] or (code == CBP_I64 and b.format[0] == b"l" and b.itemsize == 8)):
        return False
    step = b.itemsize
    if <size_t>b.buf % <size_t>step:
        return False
    for i in range(b.ndim - 1, -1, -1):
        if b.shape[i] > 1 and b.strides[i] != step:
            return False
        step *= b.shape[i]
    return True
