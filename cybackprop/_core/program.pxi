# Programs: recorded runs that replay in C.  How a call becomes a key: cybackprop.transforms.compiling.

@cython.final
@cython.binding(False)
cdef class Frame:
    """The memory of one execution."""
    cdef cbp_frame *f
    cdef list made                       # results and gradients of the run under way
    cdef list spare                      # by output: the tensor that the next run may write into

    def __dealloc__(self):
        cbp_frame_free(self.f)


cdef enum:
    FROM_ARRAY, FROM_TENSOR, FROM_GRAD, FROM_PATH, FROM_COTANGENT


cdef struct call_view:                   # an argument that is an ndarray, while a call lasts
    Py_buffer view
    bint held


ctypedef struct program_input:
    int32_t value
    int kind, leaf
    uint8_t dtype


@cython.final
@cython.binding(False)
cdef class Program:
    """One recorded run: its instructions, what it reads and what it leaves behind.

    Made by `cybackprop.compile`.
    """
    cdef cbp_program *p
    cdef readonly list lines
    cdef readonly list recorded          # the instructions before anything was fused: (op, line, all of it as bytes)
    cdef readonly list constants         # [(tensor, op, line that reads it first)]
    cdef readonly dict loops             # address of a cbp_loop that an instruction runs -> its Loop
    cdef Frame waiting                   # a frame that nobody uses; a list that shrinks and grows allocates
    cdef list frames                     # more of them
    cdef program_input *inputs
    cdef int n_inputs
    cdef list others                     # by input: the tensor whose grad, or the path, it is
    cdef int32_t *output_values          # what the caller gets: results, then gradients
    cdef Py_ssize_t n_results, n_outputs
    cdef readonly list effects           # (tensor, number of the output or None): what .grad is afterwards
    cdef cbp_array **states              # all that it reads or writes, those first that it writes
    cdef int n_states, n_written, active     # active: runs under way
    cdef int n_taken                     # no other program may read or write so many of them meanwhile
    cdef int32_t refused                 # the instruction that the last replay stopped at
    cdef object __weakref__
    cdef public object result            # (tensors) -> what the function returned; None: nothing
    cdef public bint single              # the function returned one tensor
    cdef public bint reuse               # results without a history are written over those of the run before
    cdef readonly bint writes
    cdef readonly Derivative derivative  # None: the results take no gradient
    cdef public Key key                  # of the calls that it is for
    cdef public Py_ssize_t calls         # so far, the recorded one among them
    cdef public int unsure               # audits in a row that told nothing
    cdef public bint audited             # an audit has found equal bits
    cdef public object inputs_seen       # which inputs have been seen to vary: transforms/auditing.py
    cdef public object sample            # of the recording, until there are three: transforms/batches.py
    cdef public object family            # batch size -> the program at that size; None: it has one size
    cdef public int64_t batch            # its own, where it is of a family

    def __dealloc__(self):
        self.frames = self.waiting = None
        free(self.inputs)
        free(self.output_values)
        free(self.states)
        cbp_program_free(self.p)

    cdef int take_inputs(self, Recorder r, dict paths) except -1:
        cdef int32_t v
        cdef int n = 0
        self.inputs = <program_input *>calloc(len(r.sources) + len(paths) + 1, sizeof(program_input))
        if self.inputs == NULL:
            raise MemoryError
        for value, source in r.sources.items():
            v = value
            self.inputs[n].value = v
            self.inputs[n].dtype = self.p.values[v].dtype
            if source[0] == "arg":
                self.inputs[n].kind = FROM_TENSOR if isinstance(source[2], Tensor) else FROM_ARRAY
                self.inputs[n].leaf = source[1]
                self.others.append(None)
            elif source[0] == "cotangent":
                self.derivative.inputs[source[1]] = v
                continue
            else:
                self.inputs[n].kind = FROM_GRAD
                self.others.append(source[1])
            n += 1
        for value, place in paths.items():
            v = value
            cbp_array_drop(self.p.values[v].held)
            self.p.values[v].held = NULL
            self.p.values[v].place = CBP_INPUT
            self.inputs[n].value = v
            self.inputs[n].dtype = self.p.values[v].dtype
            self.inputs[n].kind = FROM_PATH
            self.others.append(place)
            n += 1
        self.n_inputs = n
        return 0

    cdef int find_states(self) except -1:
        cdef int32_t i, k, o
        seen = {}
        for i in range(self.p.split, self.p.forward):
            for k in range(self.p.instrs[i].n_out):
                o = cbp_out(self.p, &self.p.instrs[i])[k]
                if o >= 0 and self.p.values[o].place == CBP_STATE:
                    seen[<size_t>self.p.values[o].held] = o
        self.n_written = len(seen)
        for owner, _ in self.effects:    # not written, but their gradients are, also by programs that read the same
            seen.setdefault(<size_t>cbp_array_root((<Tensor>owner).a), owner)
        self.n_taken = len(seen)
        self.writes = self.n_written > 0
        for i in range(self.p.n_values):
            if self.p.values[i].place == CBP_STATE:
                seen.setdefault(<size_t>self.p.values[i].held, i)
        self.n_states = len(seen)
        self.states = <cbp_array **>calloc(self.n_states + 1, sizeof(cbp_array *))
        if self.states == NULL:
            raise MemoryError
        for k, owner in enumerate(seen.values()):
            if isinstance(owner, Tensor):
                self.states[k] = cbp_array_root((<Tensor>owner).a)
            else:
                o = owner
                self.states[k] = self.p.values[o].held
        return 0

    cdef Frame frame(self):
        cdef Frame f = self.waiting
        if f is not None:
            self.waiting = None
            return f
        if self.frames:
            return <Frame>self.frames.pop()
        return self.new_frame(False)

    cdef int leave(self, Frame frame) except -1:
        """Nobody uses it any more."""
        if self.waiting is None:
            self.waiting = frame
        else:
            self.frames.append(frame)
        return 0

    cdef Frame new_frame(self, bint private_state):
        cdef Frame f = Frame.__new__(Frame)
        f.f = cbp_frame_new(self.p, private_state)
        if f.f == NULL:
            raise MemoryError("no memory for a program's slab")
        f.spare, f.made = [None] * self.n_outputs, [None] * self.n_outputs
        return f

    def all_states(self):
        """The States that it reads or writes."""
        cdef int k
        return [state_of(self.states[k]) for k in range(self.n_states)]

    cdef Program at_batch(self, object leaves, call_view *views):
        """The program of its family for the batch size of these arguments, which fit its key; None: there is none."""
        cdef int64_t batch
        cdef Program made
        if self.family is None:
            return self
        batch = self.key.batch_of(leaves, views)
        if batch == self.batch:
            return self
        made = self.family(batch)
        if made is not None:
            made.calls, made.unsure = self.calls, self.unsure
        return made

    cdef bint audit_due(self, Py_ssize_t call) noexcept:
        """Whether a call is an audit: 2, 4, 8, 16, ..."""
        return call > 1 and call & (call - 1) == 0

    cdef Py_ssize_t before_audit(self, Py_ssize_t calls) noexcept:
        """How many more calls there are before one that is an audit."""
        cdef Py_ssize_t due = 2
        while due <= calls:
            due *= 2
        return due - calls - 1

    def explain(self):
        """Print the instructions: operation, shapes, bytes, place in the slab, and where each comes from."""
        explain_program(self)

    def instructions(self):
        """[(what, inputs, outputs, line)] of all instructions, values by number."""
        return program_instructions(self)

    def profile(self, *args, int repeat=30):
        """Print the time of each instruction for these arguments; states stay as they are."""
        profile_program([self], args, repeat)

    # ---- running

    cdef object replay(self, object leaves, call_view *views):
        """What the function returns, or NOT_THIS where a guard or an operation refuses: nothing has changed then."""
        cdef Frame frame = self.frame()
        cdef bint linked = False
        cdef list made = frame.made
        try:
            if self.derivative is not None:
                leaves = own_arrays(leaves, views)
            begin_turn(self)             # before anything is looked at: gradients, versions, what a history keeps
            try:
                copies = self.bind(frame, leaves, views)
                self.bind_outputs(frame, made)
                entry = None if self.derivative is None else self.derivative.entry()
                if self.run(frame) != CBP_OK:
                    self.refused = frame.f.at
                    return NOT_THIS
                self.commit(frame, made)
                if self.derivative is not None:
                    self.derivative.link(self, frame, leaves, copies, made, entry)
                    linked = True
            finally:
                end_turn(self)
            if self.single:
                return made[0]
            return None if self.result is None else self.result(made[:self.n_results], leaves)
        finally:
            self.forget(made)
            if not linked:
                self.leave(frame)

    cdef void forget(self, list made) noexcept:
        """A frame that waits holds no results; gradients it may write again."""
        cdef Py_ssize_t i
        for i in range(len(made)):
            made[i] = None

    cdef bint writes_into(self, const call_view *views, Py_ssize_t n) noexcept:
        """Whether an argument shows the memory of a state that is written."""
        cdef Py_ssize_t i, reach
        cdef const char *low
        cdef const char *high
        cdef const char *start
        cdef cbp_array *a
        cdef int k
        for i in range(n):
            if not views[i].held or views[i].view.len == 0:
                continue
            low = high = <const char *>views[i].view.buf
            for k in range(views[i].view.ndim):
                reach = views[i].view.strides[k] * (views[i].view.shape[k] - 1)
                if reach < 0:
                    low += reach
                else:
                    high += reach
            for k in range(self.n_written):
                a = self.states[k]
                start = <const char *>a.data
                if low < start + a.size * cbp_itemsize(<cbp_dtype>a.dtype) and high >= start:
                    return True
        return False

    cdef object bind(self, Frame frame, object leaves, call_view *views, dict grads=None):
        """Point the inputs at the caller's memory; returns the copies where that can't be read in place, by input.

        grads: those from before an eager run, which has left others.
        """
        cdef int i
        cdef program_input *x
        cdef Tensor t
        cdef dict copies = None
        for i in range(self.n_inputs):
            x = &self.inputs[i]
            if x.kind == FROM_ARRAY and self.derivative is None and readable(&views[x.leaf], x.dtype):
                cbp_frame_array(frame.f, x.value).data = views[x.leaf].view.buf
                continue
            if x.kind == FROM_ARRAY and views[x.leaf].held and self.derivative is not None:
                if leaves[x.leaf].dtype == DTYPES[x.dtype]:      # a copy, see `own_arrays`
                    cbp_frame_array(frame.f, x.value).data = memory_of(leaves[x.leaf])
                    continue
            if x.kind == FROM_TENSOR:
                t = <Tensor>leaves[x.leaf]
            elif x.kind == FROM_GRAD:
                t = (<Tensor>self.others[i]).grad_ if grads is None else <Tensor>grads[id(self.others[i])]
            else:
                t = host_tensor(leaves[x.leaf] if x.kind == FROM_ARRAY else (<Place>self.others[i]).current(), x.dtype)
                if copies is None:
                    copies = {}
                copies[i] = t
            cbp_frame_array(frame.f, x.value).data = t.a.data
        return copies

    cdef int bind_outputs(self, Frame frame, list made) except -1:
        """Tensors for the results and gradients; made has a place for each."""
        cdef Py_ssize_t k
        cdef Tensor t
        for k in range(self.n_outputs):
            t = self.room(frame, k, self.output_values[k])
            made[k] = t
            cbp_frame_array(frame.f, self.output_values[k]).data = t.a.data
        return 0

    cdef Tensor room(self, Frame frame, Py_ssize_t k, int32_t v):
        """A tensor for output k.

        For gradients the one that the run before the last left, if nobody else has it.  Where results are reused, the
        one of the last run, whoever has it.
        """
        cdef Tensor t = <Tensor>frame.spare[k]
        cdef cbp_value *value = &self.p.values[v]
        if k >= self.n_results:
            if t is not None and (<PyObject *>t).ob_refcnt == 2 and t.a.refs == 1 and t.a.pins == 0:
                return t
        elif t is not None and t.record is None and not self.reads(frame, t.a):
            t.a.version += 1             # records that have kept it refuse to be swept
            return t
        t = wrap(new_array(value.dtype, value.ndim, value.shape))
        if self.reuse and k < self.n_results and self.derivative is None:
            frame.spare[k] = t
        return t

    cdef bint reads(self, Frame frame, cbp_array *a) noexcept:
        """Whether an input of the run lies in the memory of an array."""
        cdef int i
        cdef cbp_array *x
        cdef size_t start = <size_t>a.data, end = start + a.size * cbp_itemsize(<cbp_dtype>a.dtype)
        for i in range(self.n_inputs):
            x = cbp_frame_array(frame.f, self.inputs[i].value)
            if <size_t>x.data < end and start < <size_t>x.data + x.size * cbp_itemsize(<cbp_dtype>x.dtype):
                return True
        return False

    cdef int run(self, Frame frame) except -1:
        cdef cbp_status status
        cdef int i
        cdef int32_t split = min(self.p.split, self.p.forward), n = self.p.forward
        with nogil:
            status = cbp_frame_run(frame.f, 0, split)
            if status == CBP_OK:
                status = cbp_frame_run(frame.f, split, n)
        if status == CBP_STOPPED:
            raise_stopped()
        return status

    cdef int commit(self, Frame frame, list made) except -1:
        cdef Py_ssize_t i, number
        cdef tuple effect
        cdef Tensor owner
        for i in range(self.n_written):
            self.states[i].version += 1
        for i in range(len(self.effects)):           # in C: a step has one of these for each parameter
            effect = <tuple>self.effects[i]
            owner = <Tensor>effect[0]
            if effect[1] is None:
                owner.grad_ = None
                continue
            number = effect[1]
            frame.spare[number] = owner.grad_
            owner.grad_ = made[number]
        return 0

    cdef int run_sweep(self, Frame frame, int number) except -1:
        cdef int32_t begin, end
        cdef cbp_status status
        begin, end = sweep_bounds(self.p, number)
        with nogil:
            status = cbp_frame_run(frame.f, begin, end)
        if status == CBP_STOPPED:
            raise_stopped()
        return 0
