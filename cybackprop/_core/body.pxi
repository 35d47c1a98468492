# Bodies: what a loop or a branch runs, recorded apart from the run that it is part of.

def swap_recorder(recorder):
    """This thread's recorder from now on, or None; returns the one so far."""
    global cbp_recorder
    before = None if cbp_recorder == NULL else <object>cbp_recorder
    cbp_recorder = NULL if recorder is None else <PyObject *>recorder
    return before


cdef class BodyRecorder(Recorder):
    """Records a body, inside another recording or not; that one waits meanwhile.

    Arrays that were there before are not constants but inputs, found by `outside`; what the body writes into a State is
    undone.  It may go on recording later, to derive something of what it has: its arrays are a pattern then, only what
    was done to them matters.

    Parameters
    ----------
    what : str
        For messages, "scan".
    """
    cdef object outer, __weakref__
    cdef readonly str what
    cdef readonly long long mark         # records up to this number were there before
    cdef set own                         # values: constants that the body made
    cdef readonly set inside             # addresses of the arrays that came with them
    cdef readonly dict edges             # records from before that the body's lead to -> (shape, dtype)
    cdef list alive                      # arrays of other recorders, whose addresses must stay theirs

    def __init__(self, what):
        self.what, self.mark = what, next_number
        self.own, self.inside, self.before, self.edges, self.alive = set(), set(), {}, {}, []

    def __dealloc__(self):
        for record in self.edges or ():      # not from here, record by record: a chain of bodies may be long
            Py_INCREF(record)
            doom(<PyObject *>record)
        self.edges = None
        drain()

    def __enter__(self):
        global n_recording
        self.outer = swap_recorder(self)
        if self.outer is not None:
            (<Recorder>self.outer).bodies.append(weakref.ref(self))
            self.plain, self.saves = (<Recorder>self.outer).plain, (<Recorder>self.outer).saves
        n_recording += 1

    def __exit__(self, *exc):
        global n_recording
        swap_recorder(self.outer)
        n_recording -= 1
        self.outer = None

    # ---- what it is told while recording

    cdef int hold(self, cbp_array *a) except -1:
        if a.recorded and <size_t>a not in self.ids:
            self.alive.append(wrap(cbp_array_hold(a)))
            return 0
        return Recorder.hold(self, a)

    cdef int constant(self, cbp_array *a) except -1:
        cdef int32_t v = self.new_value(CBP_CONST, a, a, -1)
        self.ids[<size_t>a] = v
        self.own.add(v)
        return 0

    cdef int from_host(self, object arr, cbp_array *a) except -1:
        self.inside.add(<size_t>a)
        if self.outer is not None:       # whose inputs or constants it may be
            return (<Recorder>self.outer).from_host(arr, a)
        self.host[<size_t>a] = arr
        return self.constant(a)

    cdef bint is_argument(self, object arr) except -1:
        return self.outer is not None and (<Recorder>self.outer).is_argument(arr)

    cdef object see_grad(self, Tensor t, bint read):
        if id(t) not in self.grads:
            self.grads[id(t)] = [t, t.grad_, read]
        return t.grad_ if self.outer is None else (<Recorder>self.outer).see_grad(t, read)

    cdef int see_shape(self, const cbp_array *a) except -1:
        return 0 if self.outer is None else (<Recorder>self.outer).see_shape(a)

    cdef int end(self, str why) except -1:
        raise TapeError(f"{self.what}: {why}, which a body can't do")

    cdef int read(self, str what, cbp_array *a, str cure="compute with tensors (cb.where, cb.cond, ...), or return the "
                  "tensor and read it outside") except -1:
        raise TapeError(f"{self.what}: `{what}` reads a value at {self.place()}, another in every step; {cure}")

    cdef int guard(self, cbp_array *a, double value, int flags) except -1:
        raise TapeError(f"{self.what}: the body asks for the value of a tensor, which is another in every step; "
                        "choose with cb.where or cb.cond, or compute with tensors")

    cdef int see_edge(self, Tensor x) except -1:
        if x.record.number <= self.mark and x.record not in self.edges:
            self.edges[x.record] = (array_shape(x.a), x.dtype)
        return 0

    cdef int see_record(self, Record edge, tuple shape, dtype) except -1:
        if edge.number <= self.mark:
            self.edges.setdefault(edge, (shape, dtype))
        return 0

    # ---- for the one who records

    def new_input(self, shape, dtype, Tensor values=None, bint linked=False):
        """Something that each step is given: a tensor with a copy of the values, or zeros."""
        cdef Py_ssize_t dims[8]
        cdef Tensor t = wrap(new_array(dtype_code(dtype), shape_of(shape, dims), dims))
        if values is None:
            memset(t.a.data, 0, t.nbytes)
        else:
            t.a.weak = values.a.weak
            memcpy(t.a.data, values.a.data, t.nbytes)
        self.input(t.a, None)
        if linked:
            t.record = new_record(leaf_row, 0, t.a)
        return t

    def number_of(self, Tensor t, bint first=False):
        """The value that a tensor holds; first: that a State held at first."""
        v = self.id_of(t.a)
        return cbp_root(self.p, v) if first else v

    def outside(self):
        """The values that are arrays from outside, but not States."""
        cdef int32_t v
        return {v for v in range(self.p.n_values)
                if self.p.values[v].place == CBP_CONST and v not in self.own}

    def borrowed(self):
        """Addresses of the arrays from outside that the recording holds."""
        cdef int32_t v
        held = [<size_t>self.p.values[<int32_t>v].held for v in self.outside()]
        return held + [<size_t>(<Tensor>t).a for t in self.alive]

    def leads_to(self, results):
        """Where a result is a tensor from outside, its record is an edge."""
        for t in results:
            if (<Tensor>t).record is not None:
                self.see_edge(t)

    def put_state_back(self, Tensor state, Tensor values, version):
        """A State is what it was."""
        memcpy(state.a.data, values.a.data, values.nbytes)
        state.a.version = version

    def settle(self, records, ends=()):
        """The values that these records keep are a pattern: nobody asks whether they have been written since.

        ends: versions, by `address`, of States when the body ended.  Returns the shape of one that a record keeps as it
        was before the body wrote it, which the pattern does not hold; or None.
        """
        cdef Record r
        cdef int i
        cdef size_t at
        stale = None
        for r in records:
            for i in range(r.n):
                at = <size_t>cbp_array_root(r.kept[i]) if r.kept[i] != NULL and r.versions[i] >= 0 else 0
                if at in ends and ends[at] != r.versions[i]:
                    stale = array_shape(r.kept[i])
                r.versions[i] = -1
        return stale
