# The derivative of a compiled function: one record, whose sweep is the second part of its program.

@cython.final
@cython.binding(False)
cdef class Derivative:
    """How the results of a program hang on what it read.

    Parameters
    ----------
    outputs : list of int
        Which results take a gradient; of one dtype.
    sources : list
        What each cotangent is for: a number of a leaf of the arguments, or a Tensor.
    cotangents : list of Tensor or None
        As the recorded sweep left them.
    rules : (vjp, jvp)
        Of the record, in tensor operations: they run the function again.
    states : list of State
        What the function writes: a rule that runs it again puts them back first.
    error : str or None
        What every sweep raises: the function changes something that its own history has kept.
    """
    cdef readonly list outputs, sources, states
    cdef readonly str error
    cdef list cotangents, values, inputs
    cdef list swept                      # places in Program.states of those that the sweep reads
    cdef Row row, part
    cdef object rules

    def __init__(self, outputs, sources, cotangents, rules, states, error=None):
        self.outputs, self.sources, self.cotangents, self.states = outputs, sources, cotangents, states
        self.inputs, self.values, self.error = [], [], error
        self.row = ProgramRow("compiled", rules)
        self.part = PartRow("part of compiled", part_rules)

    cdef object entry(self):
        """The states before the run, for a rule that runs it again."""
        return [copied_tensor(<Tensor>s) for s in self.states] if self.states else ()

    cdef int link(self, Program program, Frame frame, object leaves, object copies, list made, object entry) except -1:
        """Give the results their record: one, or, where there are several, a part of one."""
        cdef Run run = Run.__new__(Run)
        cdef Record r, p
        cdef Tensor t
        cdef Py_ssize_t total = 0, i
        run.program, run.frame, run.leaves, run.copies, run.entry = program, frame, leaves, copies, entry
        if self.swept is None:
            self.swept = swept_states(program)
        run.made = [wrap(cbp_array_hold((<Tensor>x).a)) for x in made]       # the tensors themselves will hold the run
        run.take_versions()
        for i in self.outputs:
            total += (<Tensor>made[i]).a.size
        t = <Tensor>made[self.outputs[0]]
        r = new_record(self.row, len(self.sources), t.a)
        r.size = total
        r.saved = run
        for i in range(len(self.sources)):
            source = self.sources[i]
            if isinstance(source, int):
                source = leaves[<int>source]
            set_edge(r, i, <Tensor>source)
            keep_shape(r, i, <Tensor>source)
        if len(self.outputs) == 1:
            t.record = r
            return 0
        total = 0
        for i in self.outputs:
            t = <Tensor>made[i]
            p = new_record(self.part, 1, t.a)
            p.attrs = {"at": total, "of": r.size, "shape": t.shape}
            Py_INCREF(r)
            p.edges[0] = <PyObject *>r
            t.record = p
            total += t.a.size
        return 0


@cython.final
@cython.binding(False)
cdef class Run:
    """One run of a program that may still be swept: it has the frame to itself."""
    cdef Program program
    cdef Frame frame
    cdef readonly object leaves
    cdef readonly list made
    cdef readonly object copies, entry
    cdef list versions

    def __dealloc__(self):
        if self.program is not None and self.frame is not None:
            self.program.frames.append(self.frame)

    @property
    def states(self):
        """What the function wrote, to be put back before it runs again."""
        return self.program.derivative.states

    cdef int take_versions(self) except -1:
        """States that the sweep reads must be what they were."""
        cdef int k
        self.versions = [cbp_array_version(self.program.states[k]) for k in range(self.program.n_states)]
        return 0

    def check(self, bint again=False):
        """Raise TapeError if the sweep is impossible: something that it reads has changed since.

        again: the function shall run again, so nothing that it reads may have changed.
        """
        cdef Program program = self.program
        cdef cbp_array *a
        cdef int k, i
        if program.derivative.error is not None:
            raise TapeError(program.derivative.error)
        for k in range(program.n_written, program.n_states) if again else program.derivative.swept:
            a = program.states[k]
            if cbp_array_version(a) != self.versions[k]:
                raise TapeError(f"compiled: a state of shape {array_shape(a)} was read at version {self.versions[k]}, "
                                f"but it is at version {cbp_array_version(a)} now{last_write(a)}; call backward before "
                                "it changes")
        if not again:
            return
        if not program.key.stands():
            raise TapeError("compiled: a number, a mode or an object that the function reads outside has changed "
                            "since; take second derivatives before it changes")
        for i in range(program.n_inputs):
            if program.inputs[i].kind == FROM_PATH:
                now = (<Guard>program.others[i]).current()
                if not same_bits((<Tensor>self.copies[i]).a, host_tensor(now, program.inputs[i].dtype).a):
                    raise TapeError(f"compiled: {(<Guard>program.others[i]).label} has changed since; take second "
                                    "derivatives before it changes")


cdef list swept_states(Program program):
    """Places in program.states of those that its sweep reads."""
    cdef cbp_program *p = program.p
    cdef int32_t i, k, v
    places, found = {<size_t>program.states[k]: k for k in range(program.n_states)}, {}
    for i in range(p.forward, p.n_instrs):
        for k in range(p.instrs[i].n_in):
            v = cbp_in(p, &p.instrs[i])[k]
            if v >= 0 and p.values[cbp_root(p, v)].place == CBP_STATE:
                found[places[<size_t>p.values[cbp_root(p, v)].held]] = None
    return list(found)


@cython.final
cdef class ProgramRow(Row):
    """The row of a compiled function."""

    def __cinit__(self, name, rules):
        self.name = name
        self.vjp_rule, self.jvp_rule = rules

    cdef int sweep(self, Record r, Sweep s) except -1:
        cdef Run run = <Run>r.saved
        cdef Program program = run.program
        cdef Derivative d = program.derivative
        cdef cbp_array *a
        cdef int i
        cdef int32_t v
        cdef char *at = <char *>r.cot.data
        if recording():                  # inside another program: operation by operation
            return give_all(self, r, s, self.vjp_rule(r, wrap(cbp_array_hold(r.cot))))
        run.check()
        for k, i in enumerate(d.outputs):
            a = cbp_frame_array(run.frame.f, d.inputs[k])
            a.data = at
            at += a.size * cbp_itemsize(<cbp_dtype>a.dtype)
        results = []
        for i in range(r.n):
            v = d.values[i]
            if v < 0:
                results.append(None)
                continue
            t = wrap(new_array(program.p.values[v].dtype, program.p.values[v].ndim, program.p.values[v].shape))
            cbp_frame_array(run.frame.f, v).data = t.a.data
            results.append(t)
        program.run_sweep(run.frame)
        return give_all(self, r, s, results)


@cython.final
cdef class PartRow(Row):
    """One of several results of a compiled function: a stretch of the record's value."""

    def __cinit__(self, name, rules):
        self.name = name
        self.vjp_rule, self.jvp_rule = rules

    cdef int sweep(self, Record r, Sweep s) except -1:
        cdef Py_ssize_t n = r.attrs["of"], item = cbp_itemsize(<cbp_dtype>r.dtype)
        if recording():
            return give_all(self, r, s, self.vjp_rule(r, wrap(cbp_array_hold(r.cot))))
        cdef cbp_array *c = new_array(r.dtype, 1, &n)
        memset(c.data, 0, n * item)
        memcpy(<char *>c.data + <Py_ssize_t>r.attrs["at"] * item, r.cot.data, r.size * item)
        return s.give(<Record>r.edges[0], c)


def owner_of(Record r):
    """The tensor, a Parameter say, that a leaf record belongs to; None for others."""
    return None if r.owner == NULL or r.row is not leaf_row else <object>r.owner


cdef object part_rules = (None, None)


def set_part_rules(vjp, jvp):
    """The rules of a part in tensor operations: from `cybackprop.transforms`."""
    global part_rules
    part_rules = (vjp, jvp)


def can_be_swept(Tensor t):
    """Whether a tensor is a result with a history that nobody has freed."""
    return t.record is not None and t.record.row is not leaf_row and not t.record.freed


cdef Tensor copied_tensor(Tensor t):
    return wrap(copied(t.a))
