# Loops and branches: bodies as programs, and the one door to the operations that run them (src/loop.h).

@cython.final
@cython.binding(False)
cdef class BodyProgram:
    """A body as a program, on its way into a Loop.

    Attributes
    ----------
    fixed : list of Tensor
        The arrays from outside that it reads, the last of its inputs.
    source : tuple or None
        For a file: values and instructions as they were recorded, and the numbers of the results among them.
    """
    cdef cbp_program *p
    cdef readonly list ins               # values
    cdef list outs
    cdef readonly list lines, recorded, constants
    cdef readonly tuple source
    cdef public list fixed
    cdef dict loops

    def __dealloc__(self):
        cbp_program_free(self.p)

    cdef dict from_outside(self, BodyRecorder r):
        """{value: the array that it is} of what may be read but is no input so far."""
        cdef int32_t v
        cdef cbp_value *x
        found, known = {}, set(self.ins)
        for v in range(self.p.n_values):
            x = &self.p.values[v]
            if v not in known and v not in r.own and (x.place == CBP_CONST or (x.place == CBP_STATE and x.of < 0)):
                found[v] = wrap(cbp_array_hold(x.held))
        return found

    cdef int give(self, int32_t v) except -1:
        """A result, in memory that the loop brings."""
        cdef cbp_op op
        cdef cbp_array like_
        cdef cbp_value *x = &self.p.values[v]
        cdef int32_t out
        cdef int i
        like_.dtype, like_.ndim, like_.size = x.dtype, x.ndim, x.size
        for i in range(x.ndim):
            like_.shape[i] = x.shape[i]
        out = cbp_program_value(self.p, CBP_OUTPUT, &like_, NULL, -1)
        clear(&op, CBP_OP_copy)
        if out < 0 or cbp_program_instr(self.p, &op, &v, 1, &out, 1, -1):
            raise MemoryError
        self.outs.append(out)
        return 0

    cdef int take(self, dict held) except -1:
        """What is read from outside becomes an input; the others are let go."""
        cdef int32_t i, v
        used = {cbp_root(self.p, self.p.args[self.p.instrs[i].ins + k])
                for i in range(self.p.n_instrs) for k in range(self.p.instrs[i].n_in)
                if self.p.args[self.p.instrs[i].ins + k] >= 0}
        for number, t in held.items():
            v = number
            cbp_array_drop(self.p.values[v].held)
            self.p.values[v].held = NULL
            self.p.values[v].place = CBP_INPUT
            if v in used:
                self.ins.append(v)
                self.fixed.append(t)
        return 0


def build_body(BodyRecorder r, list ins, list outs):
    """The program from inputs to results, values of r; -1 for an input that it does not have."""
    cdef BodyProgram made = BodyProgram.__new__(BodyProgram)
    made.recorded, made.constants = r.recorded(), r.constants(r.outside())
    made.lines, made.loops = r.lines, dict(r.loops)
    made.ins, made.outs, made.fixed = list(ins), [], []
    if r.saves:
        made.source = recorded_values(r), recorded_instructions(r), outs
    made.p = cbp_program_clone(r.p)
    if made.p == NULL:
        raise MemoryError
    held = made.from_outside(r)
    if cbp_body_detach(made.p) != CBP_OK:
        raise MemoryError
    for v in outs:
        made.give(v)
    if cbp_drop_dead(made.p) != CBP_OK:
        raise MemoryError
    made.take(held)
    if cbp_program_build(made.p, r.plain) != CBP_OK:
        raise MemoryError
    return made


@cython.final
@cython.binding(False)
cdef class LoopFrame:
    cdef cbp_loop_frame *f

    def __dealloc__(self):
        cbp_loop_frame_free(self.f)


@cython.final
@cython.binding(False)
cdef class Loop:
    """What a scan, a while_loop or a cond runs.

    Parameters
    ----------
    kind : str
        "scan", "while_loop" or "cond".
    first, second : BodyProgram
        Body and, of a while_loop, condition; the branches of a cond.
    ins : list of list of int
        By program and input: its value there, or -1.
    n_carry, n_x : int
        How many of the inputs are carries, and slices.
    """
    cdef cbp_loop *l
    cdef list frames                     # those that nobody uses
    cdef readonly str name
    cdef readonly tuple facts            # ins, n_carry, n_x
    cdef int kind
    cdef readonly list bodies            # what the programs were made of

    def __init__(self, kind, BodyProgram first, BodyProgram second or None, list ins, int n_carry, int n_x):
        cdef BodyProgram body
        cdef int i, k
        self.name, self.frames, self.facts = kind, [], (ins, n_carry, n_x)
        self.kind = {"scan": CBP_OP_scan, "while_loop": CBP_OP_while_loop, "cond": CBP_OP_cond}[kind]
        self.bodies = [first] if second is None else [first, second]
        self.l = cbp_loop_new(first.p, NULL if second is None else second.p, len(ins[0]), len(first.outs), n_carry, n_x)
        first.p = NULL
        if second is not None:
            second.p = NULL
        if self.l == NULL:
            raise MemoryError
        self.l.poll = poll_signals
        for i in range(len(self.bodies)):
            body = self.bodies[i]
            for k in range(len(ins[i])):
                self.l.ins[i][k] = ins[i][k]
            for k in range(len(body.outs)):
                self.l.outs[i][k] = body.outs[k]

    def __dealloc__(self):
        self.frames = None
        cbp_loop_drop(self.l)

    @property
    def recorded(self):
        """What the bodies did, for audits; without lines, which are those of the call where a sweep was recorded."""
        return [[(op, *rest) for op, _, *rest in body.recorded] for body in self.bodies]

    @property
    def constants(self):
        """Those of the bodies."""
        return [row for body in self.bodies for row in body.constants]

    @property
    def n_results(self):
        """How many results a step leaves."""
        return self.l.n_out

    cdef LoopFrame frame(self):
        cdef LoopFrame frame
        if self.frames:
            return <LoopFrame>self.frames.pop()
        frame = LoopFrame.__new__(LoopFrame)
        frame.f = cbp_loop_frame_new(self.l)
        if frame.f == NULL:
            raise MemoryError("no memory for what a loop runs")
        return frame


def address(Tensor t):
    """What tells two arrays apart while both are there."""
    return <size_t>t.a


class LoopRefused(Exception):
    """(step, carries): a step refused its data."""


def run_bodies(Loop loop, inputs, wanted, int64_t steps=0, int flags=0):
    """Run it: the results that are wanted, None for the others.

    Parameters
    ----------
    inputs : list of Tensor or None
        What the body is given, then what comes from outside; a carry that is None starts as zeros.
    wanted : list of bool
    steps, flags
        Of a scan, or of a while_loop that is bounded; see src/op.def.

    Raises
    ------
    LoopRefused
        A step refused its data, a label out of range, say.
    """
    cdef cbp_op op
    cdef int i, n_in = len(inputs), n_out = len(wanted)
    cdef cbp_array **arrays = <cbp_array **>calloc(n_in + 2 * n_out + 1, sizeof(cbp_array *))
    cdef cbp_array *shapes
    cdef cbp_status status = CBP_OUT_OF_RANGE
    shapes = <cbp_array *>calloc(n_out + 1, sizeof(cbp_array))
    clear(&op, loop.kind)
    op.loop, op.a[0], op.flags = loop.l, steps, flags
    try:
        if arrays == NULL or shapes == NULL:
            raise MemoryError
        for i in range(n_in):
            arrays[i] = NULL if inputs[i] is None else (<Tensor>inputs[i]).a
        for i in range(n_out):
            arrays[n_in + i] = &shapes[i] if wanted[i] else NULL
        if cbp_loop_shape(&op, arrays + n_in) != CBP_OK:
            raise ShapeError(f"scan: a stack of {CBP_MAX_DIMS} axes would have one too many")
        results = []
        for i in range(n_out):
            t = None if not wanted[i] else wrap(new_array(shapes[i].dtype, shapes[i].ndim, shapes[i].shape))
            arrays[n_in + i] = array_of(t)
            if t is not None:
                arrays[n_in + i].weak = weak_output(&op, arrays, n_in, shapes[i].dtype)
            results.append(t)
        run_in_frame(loop, &op, arrays, n_in)
        if recording():
            (<Recorder>cbp_recorder).loops[<size_t>loop.l] = loop
            note(&op, arrays, n_in, arrays + n_in, n_out)
    finally:
        free(arrays)
        free(shapes)
    return results


cdef int run_in_frame(Loop loop, cbp_op *op, cbp_array **arrays, int n_in) except -1:
    """Run without the GIL; what is read stays where and what it is meanwhile."""
    cdef LoopFrame frame = loop.frame()
    cdef cbp_status status
    begin_reading(arrays, n_in)
    with nogil:
        status = cbp_loop_run(op, arrays, arrays + n_in, frame.f)
    end_reading(arrays, n_in)
    if status == CBP_STOPPED:
        raise_stopped()
    if status != CBP_OK:
        raise LoopRefused(frame.f.at, [carry_at(frame.f, arrays[n_in + i], i) for i in range(loop.l.n_carry)])
    loop.frames.append(frame)
    return 0


cdef Tensor carry_at(cbp_loop_frame *f, cbp_array *like_, int k):
    """A carry as it was when the loop stopped."""
    cdef Tensor t = wrap(like(like_))
    memcpy(t.a.data, f.now[k], t.nbytes)
    return t


# ---- signals, while a loop runs

cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) double cbp_last_poll = 0;
    #else
    static _Thread_local double cbp_last_poll = 0;
    #endif
    """
    double cbp_last_poll

cdef dict stopped = {}                   # thread -> what a signal handler raised


cdef int poll_signals() noexcept nogil:
    """Not 0 where a signal handler, Ctrl-C's say, raised something."""
    global cbp_last_poll
    cdef double now = monotonic()
    if now - cbp_last_poll < POLL_EVERY:
        return 0
    cbp_last_poll = now
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as error:
            stopped[threading.get_ident()] = error
            return 1
    return 0


cdef object take_stopped():
    """What stopped this thread's run, or None."""
    return stopped.pop(threading.get_ident(), None)


cdef int raise_stopped() except -1:
    raise take_stopped()
