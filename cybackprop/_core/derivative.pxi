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
    sweeps : list of tuple
        Which of the outputs each recorded sweep starts from: those that nobody sweeps from have no cotangent, not 0.
    cotangents : list of lists of Tensor or None
        As the recorded sweeps left them.
    rules : (vjp, jvp)
        Of the record, in tensor operations: they run the function again.
    states : list of State
        What the function writes: a rule that runs it again puts them back first.
    errors : list of str or None
        What a sweep raises: the function changes something that its own history has kept.
    """
    cdef readonly list outputs, sources, states, sweeps, errors
    cdef list cotangents
    cdef list values                     # for each sweep the value of each cotangent, -1: None
    cdef dict inputs                     # (sweep, output) -> value
    cdef list swept                      # for each sweep places in Program.states of those that it reads
    cdef Row row, part
    cdef object rules

    def __init__(self, outputs, sources, sweeps, cotangents, rules, states, errors):
        self.outputs, self.sources, self.sweeps, self.cotangents = outputs, sources, sweeps, cotangents
        self.states, self.errors = states, errors
        self.inputs, self.values = {}, []
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
            self.swept = [swept_states(program, k) for k in range(len(self.sweeps))]
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
        for k, i in enumerate(self.outputs):
            t = <Tensor>made[i]
            p = new_record(self.part, 1, t.a)
            p.attrs = {"at": total, "of": r.size, "shape": t.shape, "number": k}
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
    cdef list versions                   # of the states
    cdef long long read                  # the versions of all tensors that it was given: they may be reused results
    cdef set present                     # which of the outputs the sweep under way comes from
    cdef object sweeper

    def mark(self, number, sweeper=None):
        """The sweep comes from an output of that number."""
        if self.present is None or self.sweeper is not sweeper:          # another was abandoned
            self.present, self.sweeper = set(), sweeper
        self.present.add(number)

    def come_from(self):
        """Numbers of the outputs that the sweep comes from; forgets them."""
        found = tuple(range(len(self.program.derivative.outputs))) if not self.present else tuple(sorted(self.present))
        self.present = self.sweeper = None
        return found

    def __dealloc__(self):
        if self.program is not None and self.frame is not None:
            self.program.leave(self.frame)

    @property
    def states(self):
        """What the function wrote, to be put back before it runs again."""
        return self.program.derivative.states

    cdef int take_versions(self) except -1:
        """What the sweep reads must be what it was."""
        cdef int k
        self.versions = [cbp_array_version(self.program.states[k]) for k in range(self.program.n_states)]
        self.read = self.versions_read()
        return 0

    cdef long long versions_read(self) except -1:
        cdef long long total = 0
        for given in (self.leaves, () if self.copies is None else self.copies.values()):
            for t in given:
                if isinstance(t, Tensor) and not (<Tensor>t).a.mutable:
                    total += cbp_array_version((<Tensor>t).a)
        return total

    def check(self, int number=-1):
        """Raise TapeError if a sweep is impossible: something that it reads has changed since.

        number: of the recorded sweep; -1: the function shall run again, so nothing that it reads may have changed.
        """
        cdef Program program = self.program
        cdef cbp_array *a
        cdef int k, i
        if number >= 0 and program.derivative.errors[number] is not None:
            raise TapeError(program.derivative.errors[number])
        for k in range(program.n_written, program.n_states) if number < 0 else program.derivative.swept[number]:
            a = program.states[k]
            if cbp_array_version(a) != self.versions[k]:
                raise TapeError(f"compiled: a state of shape {array_shape(a)} was read at version {self.versions[k]}, "
                                f"but it is at version {cbp_array_version(a)} now{last_write(a)}; call backward before "
                                "it changes")
        if self.versions_read() != self.read:
            raise TapeError("compiled: an argument is the result of a function that reuses its results, and was "
                            "overwritten since; call backward before, or copy it")
        if number >= 0:
            return
        if not program.key.stands():
            raise TapeError("compiled: a number, a mode or an object that the function reads outside has changed "
                            "since; take second derivatives before it changes")
        for i in range(program.n_inputs):
            if program.inputs[i].kind == FROM_PATH:
                now = (<Place>program.others[i]).current()
                if not same_bits((<Tensor>self.copies[i]).a, host_tensor(now, program.inputs[i].dtype).a):
                    raise TapeError(f"compiled: {(<Place>program.others[i]).label} has changed since; take second "
                                    "derivatives before it changes")


cdef (int32_t, int32_t) sweep_bounds(const cbp_program *p, int number) noexcept:
    """The instructions of a recorded sweep: segments follow one another."""
    cdef int32_t begin = p.forward, end
    while begin < p.n_instrs and p.instrs[begin].segment < 1 + number:
        begin += 1
    end = begin
    while end < p.n_instrs and p.instrs[end].segment == 1 + number:
        end += 1
    return begin, end


cdef list swept_states(Program program, int number):
    """Places in program.states of those that a sweep reads."""
    cdef cbp_program *p = program.p
    cdef int32_t i, k, v, begin, end
    places, found = {<size_t>program.states[k]: k for k in range(program.n_states)}, {}
    begin, end = sweep_bounds(p, number)
    for i in range(begin, end):
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
        present = run.come_from()
        if present not in d.sweeps:
            for k in present:
                run.mark(k)
            return give_all(self, r, s, self.vjp_rule(r, wrap(cbp_array_hold(r.cot))))
        number = d.sweeps.index(present)
        results = []
        begin_turn(program)
        try:
            run.check(number)
            for k, i in enumerate(d.outputs):
                if k in present:
                    cbp_frame_array(run.frame.f, d.inputs[number, k]).data = at
                a = (<Tensor>run.made[i]).a
                at += a.size * cbp_itemsize(<cbp_dtype>a.dtype)
            for v in <list>d.values[number]:
                t = None if v < 0 else wrap(new_array(program.p.values[v].dtype, program.p.values[v].ndim,
                                                      program.p.values[v].shape))
                if t is not None:
                    cbp_frame_array(run.frame.f, v).data = (<Tensor>t).a.data
                results.append(t)
            program.run_sweep(run.frame, number)
        finally:
            end_turn(program)
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
        (<Run>(<Record>r.edges[0]).saved).mark(r.attrs["number"], s)
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
