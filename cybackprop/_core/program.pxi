# Programs: recorded runs that replay in C.  How a call becomes a key: cybackprop.transforms.compiling.

@cython.final
@cython.binding(False)
cdef class Frame:
    """The memory of one execution."""
    cdef cbp_frame *f
    cdef list spare                      # tensors that the gradients of the next run are written into

    def __dealloc__(self):
        cbp_frame_free(self.f)


cdef enum:
    FROM_ARRAY, FROM_TENSOR, FROM_GRAD, FROM_PATH


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
    cdef list frames                     # those that nobody uses
    cdef program_input *inputs
    cdef int n_inputs
    cdef list others                     # by input: the tensor whose grad, or the path, it is
    cdef list outputs                    # values that the caller gets: results, then gradients
    cdef int n_results
    cdef list effects                    # (tensor, number of the output or None): what .grad is afterwards
    cdef cbp_array **written
    cdef int n_written
    cdef public object result            # numbers of outputs -> what the function returned
    cdef public bint single              # the function returned one tensor
    cdef readonly bint writes

    def __dealloc__(self):
        self.frames = None
        free(self.inputs)
        free(self.written)
        cbp_program_free(self.p)

    @staticmethod
    def build(Recorder r, results, effects, paths, bint fuse=True):
        """The program of what r recorded.

        Parameters
        ----------
        results : list of Tensor
        effects : list of (Tensor, Tensor or None)
            Owners and the gradients they have afterwards.
        paths : dict
            Address of a constant array -> path to find it again.
        """
        cdef Program self = Program.__new__(Program)
        cdef Tensor t
        self.lines, self.frames, self.others, self.outputs, self.effects = r.lines, [], [], [], []
        for t in results:
            self.outputs.append(r.result(t.a))
        self.n_results = len(results)
        for owner, g in effects:
            self.effects.append((owner, None if g is None else len(self.outputs)))
            if g is not None:
                self.outputs.append(r.result((<Tensor>g).a))
        self.p = r.p
        r.p = cbp_program_new()          # the recorder has done its work
        self.take_inputs(r, paths)
        if cbp_program_build(self.p, fuse) != CBP_OK:
            raise MemoryError
        self.find_written()
        return self

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
            else:
                self.inputs[n].kind = FROM_GRAD
                self.others.append(source[1])
            n += 1
        self.n_inputs = n
        return 0

    cdef int find_written(self) except -1:
        cdef int32_t i, k, o
        seen = {}
        for i in range(self.p.split, self.p.n_instrs):
            for k in range(self.p.instrs[i].n_out):
                o = cbp_out(self.p, &self.p.instrs[i])[k]
                if o >= 0 and self.p.values[o].place == CBP_STATE:
                    seen[<size_t>self.p.values[o].held] = o
        self.n_written = len(seen)
        self.writes = self.n_written > 0
        self.written = <cbp_array **>calloc(self.n_written + 1, sizeof(cbp_array *))
        if self.written == NULL:
            raise MemoryError
        for k, o in enumerate(seen.values()):
            self.written[k] = self.p.values[o].held
        return 0

    cdef Frame frame(self):
        if self.frames:
            return <Frame>self.frames.pop()
        return self.new_frame(False)

    cdef Frame new_frame(self, bint private_state):
        cdef Frame f = Frame.__new__(Frame)
        f.f = cbp_frame_new(self.p, private_state)
        if f.f == NULL:
            raise MemoryError("no memory for a program's slab")
        f.spare = [None] * len(self.effects)
        return f

    # ---- running

    cdef object replay(self, list leaves):
        """What the function returns, or NOT_THIS where a guard or an operation refuses: nothing has changed then."""
        cdef Frame frame = self.frame()
        cdef Tensor t
        cdef int status
        cdef list made = []
        cdef list buffers = []
        try:
            self.bind(frame, leaves, buffers)
            self.bind_outputs(frame, made)
            status = self.run(frame)
            if status != CBP_OK:
                return NOT_THIS
            self.commit(frame, made)
        finally:
            self.frames.append(frame)
        if self.single:
            return made[0]
        return self.result(made)

    cdef int bind(self, Frame frame, list leaves, list buffers) except -1:
        cdef int i
        cdef program_input *x
        cdef Tensor t
        for i in range(self.n_inputs):
            x = &self.inputs[i]
            if x.kind == FROM_TENSOR:
                t = <Tensor>leaves[x.leaf]
            elif x.kind == FROM_ARRAY:
                t = <Tensor>host_tensor(leaves[x.leaf], x.dtype)
                buffers.append(t)
            elif x.kind == FROM_GRAD:
                t = (<Tensor>self.others[i]).grad_
            else:
                t = <Tensor>self.others[i]()
                buffers.append(t)
            cbp_frame_array(frame.f, x.value).data = t.a.data
        return 0

    cdef int bind_outputs(self, Frame frame, list made) except -1:
        cdef int k
        cdef int32_t v
        cdef Tensor t
        for k in range(len(self.outputs)):
            v = self.outputs[k]
            t = self.room(frame, k, v)
            made.append(t)
            cbp_frame_array(frame.f, v).data = t.a.data
        return 0

    cdef Tensor room(self, Frame frame, int k, int32_t v):
        """A tensor for output k: for gradients the one that the run before the last left, if nobody else has it."""
        cdef Tensor t
        cdef cbp_value *value = &self.p.values[v]
        if k >= self.n_results:
            t = <Tensor>frame.spare[k - self.n_results]
            if t is not None and (<PyObject *>t).ob_refcnt == 2 and t.a.refs == 1 and t.a.pins == 0:
                return t
        return wrap(new_array(value.dtype, value.ndim, value.shape))

    cdef int run(self, Frame frame) except -1:
        cdef cbp_status status
        cdef int i
        cdef int32_t split = self.p.split, n = self.p.n_instrs
        with nogil:
            status = cbp_frame_run(frame.f, 0, split)
            if status == CBP_OK:
                status = cbp_frame_run(frame.f, split, n)
        return status

    cdef int commit(self, Frame frame, list made) except -1:
        cdef int i
        cdef Tensor owner
        for i in range(self.n_written):
            self.written[i].version += 1
        for i, (t, number) in enumerate(self.effects):
            owner = <Tensor>t
            if number is None:
                owner.grad_ = None
            else:
                frame.spare[<int>number - self.n_results] = owner.grad_
                owner.grad_ = made[<int>number]
        return 0

    # ---- looking inside

    def instructions(self):
        """[(op, inputs, outputs, line)]: the values by number."""
        cdef int32_t i, k
        cdef cbp_instr *x
        rows = []
        for i in range(self.p.n_instrs):
            x = &self.p.instrs[i]
            rows.append((op_name(&x.op), [cbp_in(self.p, x)[k] for k in range(x.n_in)],
                         [cbp_out(self.p, x)[k] for k in range(x.n_out)],
                         "" if x.line < 0 else self.lines[x.line]))
        return rows


cdef object NOT_THIS = object()


cdef Tensor host_tensor(object data, int code):
    """An argument as a tensor of that dtype."""
    return wrap(from_numpy(numpy_of(data), code))


@cython.binding(False)
cdef class Compiled:
    """A function that is recorded once and replayed in C; see `cybackprop.compile`."""
    cdef readonly object function
    cdef list entries
    cdef object slow

    def __init__(self, function, slow):
        self.function, self.slow, self.entries = function, slow, []

    def __call__(self, *args, **kwargs):
        if recording():                  # part of a larger program
            return self.function(*args, **kwargs)
        if self.entries:
            result = (<Program>self.entries[0]).replay(list(args))
            return result
        return self.slow(self, args, kwargs)

    def add(self, Program program):
        self.entries.append(program)
