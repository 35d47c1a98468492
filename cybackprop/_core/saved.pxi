# Saved programs: what a recorder has written down as Python objects, for whoever writes a file of it, and such files in
# memory (src/saved.h).

# ---- from a recorder

cdef object row_name(const cbp_op *op):
    """The row of its table that an operation means, by name; a number for comparisons; None."""
    if op.kind in (CBP_OP_compare_i64, CBP_OP_logic):
        return op.row
    if op.row < 0 or op.kind not in (CBP_OP_unary, CBP_OP_unary_vjp, CBP_OP_binary, CBP_OP_binary_vjp, CBP_OP_dense,
                                     CBP_OP_dense_vjp, CBP_OP_optim, CBP_OP_integer):
        return None
    if op.kind == CBP_OP_integer:
        return cbp_integer_rows[op.row].name.decode()
    if op.kind == CBP_OP_optim:
        return cbp_optim_rows[op.row].name.decode()
    if op.kind in (CBP_OP_binary, CBP_OP_binary_vjp):
        return cbp_binary_rows[op.row].name.decode()
    return cbp_unary_rows[op.row].name.decode()


def recorded_values(Recorder r):
    """[(place, dtype, shape as bytes, of, what)]; what: a constant's Tensor, a state's State, an input's source.

    Of a body constants that it made have one, all else is from outside, and must not be kept.
    """
    cdef int32_t v
    cdef cbp_value *x
    found = []
    own = (<BodyRecorder>r).own if isinstance(r, BodyRecorder) else None
    for v in range(r.p.n_values):
        x = &r.p.values[v]
        what = None
        if own is not None and v not in own:
            pass
        elif x.place == CBP_CONST:
            what = wrap(cbp_array_hold(x.held))
        elif x.place == CBP_STATE and x.of < 0:
            what = state_of(x.held)
        elif x.place == CBP_INPUT:
            what = r.sources[v]
        found.append((x.place, x.dtype, (<char *>x.shape)[:x.ndim * sizeof(ptrdiff_t)], x.of, what))
    return found


def recorded_instructions(Recorder r):
    """[(kind, row, flags, dtype, p, a, inputs, outputs, optional, text, Loop or None)] of all instructions.

    p, a, inputs, outputs: as bytes.  optional: bit k is set where the kernel leaves output k out when asked to.  text:
    what it is, and the line that ran it.
    """
    cdef int32_t i, k, optional
    cdef cbp_instr *x
    found = []
    for i in range(r.p.n_instrs):
        x = &r.p.instrs[i]
        optional = 0
        for k in range(min(x.n_out, 30)):
            optional |= (cbp_optional(&x.op, k) != 0) << k
        found.append((cbp_op_infos[x.op.kind].name.decode() if cbp_savable(x.op.kind) else None, row_name(&x.op),
                      x.op.flags, x.op.dtype, (<char *>x.op.p)[:sizeof(x.op.p)], (<char *>x.op.a)[:sizeof(x.op.a)],
                      (<char *>cbp_in(r.p, x))[:x.n_in * sizeof(int32_t)],
                      (<char *>cbp_out(r.p, x))[:x.n_out * sizeof(int32_t)], optional, describe(r.p, i, r.lines),
                      None if x.op.loop == NULL else r.loops[<size_t>x.op.loop]))
    return found


def kept_recording(Recorder r, dict inputs):
    """What r has recorded, without the arrays that were made meanwhile: r can be built, this can be looked at.

    inputs: constant value -> the number of the input that it is; the arguments come first.
    """
    cdef Recorder kept = Recorder()
    cdef int32_t v
    cbp_program_free(kept.p)
    kept.p = cbp_program_clone(r.p)
    if kept.p == NULL:
        kept.p = cbp_program_new()
        raise MemoryError
    kept.lines, kept.loops = r.lines, r.loops
    kept.sources = {value: (source[0], source[1]) for value, source in r.sources.items()}
    for v in inputs:
        cbp_array_drop(kept.p.values[v].held)
        kept.p.values[v].held = NULL
        kept.p.values[v].place = CBP_INPUT
        kept.sources[v] = "arg", inputs[v]
    return kept


def recorded_value(Recorder r, Tensor t):
    """The number of the value that a tensor holds."""
    return r.id_of(t.a)


def identity(Tensor t):
    """What two tensors have in common whose memory is the same array."""
    return <size_t>cbp_array_root(t.a)


# ---- files

cdef list ports_of(const cbp_saved *s, const cbp_saved_port *ports, int n):
    cdef int64_t c[8]
    cdef int64_t d[8]
    cdef cbp_dtype dtype
    cdef int i, k, ndim
    found = []
    for i in range(n):
        ndim = cbp_saved_shape(s, &ports[i], &dtype, c, d)
        found.append((ports[i].name.decode(), DTYPES[dtype], tuple([(c[k], d[k]) for k in range(ndim)])))
    return found


cdef int raise_status(cbp_status status, const char *message) except -1:
    """What a status means in Python."""
    if status == CBP_OK:
        return 0
    kind = {CBP_NOMEM: MemoryError, CBP_BAD_FILE: ModelFileError}.get(status, ValueError)
    raise kind(message.decode(errors="replace"))


cdef dict loops_of(cbp_program *p):
    """{address: Loop} of what a program from a file runs: to be looked at, and to stop for signals."""
    cdef int32_t i
    cdef int k
    cdef Loop made
    cdef BodyProgram body
    found = {}
    for i in range(p.n_instrs):
        if p.instrs[i].op.loop == NULL:
            continue
        made = Loop.__new__(Loop)
        made.l = cbp_loop_hold(p.instrs[i].op.loop)
        made.l.poll = poll_signals
        made.name, made.bodies = cbp_op_infos[p.instrs[i].op.kind].name.decode(), []
        for k in range(1 if made.l.program[1] == NULL else 2):
            body = BodyProgram.__new__(BodyProgram)
            body.loops = loops_of(made.l.program[k])
            made.bodies.append(body)
        found[<size_t>made.l] = made
    return found


@cython.final
@cython.binding(False)
cdef class SavedPrograms:
    """A file of programs in memory: what `cybackprop.load_program` stands on.

    Parameters
    ----------
    data : bytes
        The file.
    checked : bool
        Whether its checksum must be right.

    Attributes
    ----------
    states : dict of str to State
    constants : dict of str to Tensor
    programs : list
        (name, batch size when recorded, inputs, results); of those (name, dtype, ((c, d), ...)): the length of an axis
        is c + d B.
    """
    cdef cbp_saved s
    cdef readonly dict states, constants
    cdef readonly list programs

    def __cinit__(self, bytes data, bint checked=True):
        cdef char message[CBP_MESSAGE]
        raise_status(cbp_saved_open(&self.s, <const char *>data, len(data), checked, message), message)
        cdef cbp_saved_program *e
        cdef int i
        self.states, self.constants, self.programs = {}, {}, []
        try:
            for i in range(self.s.n_arrays):
                if self.s.arrays[i].state:
                    self.states[self.s.arrays[i].name.decode()] = state_of(self.s.arrays[i].array)
                else:
                    self.constants[self.s.arrays[i].name.decode()] = wrap(cbp_array_hold(self.s.arrays[i].array))
            for i in range(self.s.n_programs):
                e = &self.s.programs[i]
                self.programs.append((e.name.decode(), e.batch, ports_of(&self.s, e.inputs, e.n_inputs),
                                      ports_of(&self.s, e.results, e.n_results)))
        except UnicodeDecodeError as error:
            raise ModelFileError(f"a name is no text ({error})") from None

    def __dealloc__(self):
        cbp_saved_close(&self.s)

    def __reduce__(self):
        """Copies and pickles are the file, with the states as they are now."""
        end_recording("a loaded program is pickled, which reads its States")
        return SavedPrograms, (self.contents(),), [name for name, s in self.states.items() if s.requires_grad]

    def __setstate__(self, taking_gradients):
        for name in taking_gradients:
            self.states[name].requires_grad = True

    def contents(self):
        """The file with the states as they are now, between two runs."""
        cdef bytearray data = bytearray(self.s.size)
        cdef int i = 0
        cdef cbp_turn t
        while i < self.s.n_arrays:
            t = turn_of(&self.s.arrays[i].array, 1, 0)
            i += 1
            if not cbp_turn_fits(&t):    # meanwhile others may begin: look at all of them again
                wait_for(&t)
                i = 0
        cbp_saved_write(&self.s, <char *>data)
        return bytes(data)

    def adopt(self, dict states):
        """Programs bound from now on read and write these States, by their names in the file."""
        cdef int i
        cdef State s
        for i in range(self.s.n_arrays):
            if self.s.arrays[i].state:
                s = states[self.s.arrays[i].name.decode()]
                cbp_array_drop(self.s.arrays[i].array)
                self.s.arrays[i].array = cbp_array_hold(s.a)
        self.states = states

    def bind(self, int k, int64_t batch, size_t most=0, Program like_=None, places=()):
        """Program number k at a batch size, its memory planned; all its values take `most` bytes, 0: any number.

        like_: the program that it is of at another batch size; its inputs are called after the leaves of the arguments,
        those behind them are read from places.
        """
        cdef char message[CBP_MESSAGE]
        cdef Program made = Program.__new__(Program)
        cdef cbp_saved_program *e
        cdef int i
        if not 0 <= k < self.s.n_programs:
            raise IndexError(k)
        e = &self.s.programs[k]
        raise_status(cbp_saved_bind(&self.s, e, batch, most, &made.p, message), message)
        made.lines, made.frames, made.effects, made.recorded, made.constants = [], [], [], [], []
        made.loops = loops_of(made.p)
        made.others = [e.inputs[i].name.decode() for i in range(e.n_inputs)]
        made.inputs = <program_input *>calloc(e.n_inputs + 1, sizeof(program_input))
        made.output_values = <int32_t *>calloc(e.n_results + 1, sizeof(int32_t))
        if made.inputs == NULL or made.output_values == NULL:
            raise MemoryError
        made.n_inputs, made.n_results, made.n_outputs = e.n_inputs, e.n_results, e.n_results
        for i in range(e.n_inputs):
            made.inputs[i].value = e.inputs[i].value
            made.inputs[i].kind, made.inputs[i].leaf = FROM_TENSOR, i
        for i in range(e.n_results):
            made.output_values[i] = e.results[i].value
        if like_ is not None:
            made.others = [None] * e.n_inputs
            for i in range(e.n_inputs):
                made.inputs[i].leaf = int(e.inputs[i].name)
                made.inputs[i].dtype = made.p.values[e.inputs[i].value].dtype
                if made.inputs[i].leaf >= like_.key.n:
                    made.inputs[i].kind, made.others[i] = FROM_PATH, places[made.inputs[i].leaf - like_.key.n]
                    continue
                made.inputs[i].kind = FROM_TENSOR if KINDS[like_.key.shapes[made.inputs[i].leaf].kind] == "tensor" \
                    else FROM_ARRAY
            made.n_results, made.effects, made.single, made.result, made.reuse, made.key = (
                like_.n_results, like_.effects, like_.single, like_.result, like_.reuse, like_.key)
        made.find_states()
        programs.add(made)
        return made


def run_loaded(Program p, list tensors):
    """Run a program of `SavedPrograms.bind` on tensors, one an input.

    Returns what its `result` makes of the results, or the number of the instruction that refused: nothing has changed.
    """
    cdef cbp_value *x
    cdef Tensor t
    cdef int i
    for i in range(p.n_inputs):
        t = tensors[i]
        x = &p.p.values[p.inputs[i].value]
        if t.a.dtype != x.dtype or t.a.size != x.size:
            raise ShapeError(p.others[i])
        if cbp_array_root(t.a).mutable:    # the run may write it before it reads it here
            tensors[i] = wrap(like(t.a))
            memcpy((<Tensor>tensors[i]).a.data, t.a.data, t.nbytes)
    result = p.replay(tensors, NULL)
    return p.refused if result is NOT_THIS else result
