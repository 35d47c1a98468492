# The recorder: an eager run as instructions of a program (src/program.h).
#
# Whoever runs a kernel tells it afterwards: which operation, which arrays it read, which it wrote.  Arrays become
# values: one that was written in place is a new value from then on.  An array that nobody wrote while recording is a
# state where it is mutable, an input where the caller can find it again, else a constant.

cdef int n_recording = 0                 # threads that record: one look at this where nobody does
cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) PyObject *cbp_recorder = NULL;
    static __declspec(thread) int cbp_inside = 0;
    #else
    static _Thread_local PyObject *cbp_recorder = NULL;
    static _Thread_local int cbp_inside = 0;
    #endif
    """
    PyObject *cbp_recorder
    int cbp_inside                       # how many compiled functions run in this thread, recorded or not


def enter_compiled():
    """A compiled function begins to run in this thread."""
    global cbp_inside
    cbp_inside += 1


def leave_compiled():
    """It has ended."""
    global cbp_inside
    cbp_inside -= 1


cdef inline bint recording() noexcept:
    return n_recording > 0 and cbp_recorder != NULL


cdef inline bint exclusive(const cbp_array *a) noexcept:
    """Whether one holder has it and its memory, so that it may be overwritten."""
    while a.refs == 1 + a.recorded:
        if not a.is_view:
            return True
        a = a.base
    return False


cdef int note(cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs, int n_out) except -1:
    return (<Recorder>cbp_recorder).emit(op, inputs, n_in, outputs, n_out)


cdef int value_read(str what, cbp_array *a) except -1:
    """Python sees a value: a program would have this run's in every run, so the recording ends."""
    if recording():
        (<Recorder>cbp_recorder).read(what, a)
    return 0


def end_recording(str why):
    """What comes next is nothing that a program can do: where one is being recorded, the call goes on eagerly."""
    if recording():
        (<Recorder>cbp_recorder).end(f"{why} at {(<Recorder>cbp_recorder).place()}")


def shape_read():
    """What is recorded follows the lengths of tensors in a way of its own."""
    if recording():
        (<Recorder>cbp_recorder).shapes_read = True


cdef inline int see_shape(const cbp_array *a) except -1:
    return (<Recorder>cbp_recorder).see_shape(a) if recording() else 0


def mask_read(Tensor mask):
    """How many elements a mask selects is about to be seen: the length of what is made of them."""
    if recording():
        (<Recorder>cbp_recorder).read("x[mask]", mask.a, "keep all, with zeros elsewhere: cb.where(mask, x, 0)")


@cython.binding(False)
cdef class Recorder:
    """Writes down what one thread runs, from `start` to `stop`."""
    cdef cbp_program *p
    cdef dict ids                        # address of an array -> its value
    cdef cbp_array **held                # arrays that were made meanwhile, counted: their addresses stay theirs
    cdef Py_ssize_t n_held, room
    cdef readonly list lines             # where instructions came from, as text
    cdef dict line_numbers
    cdef readonly set bases              # ids of the arrays of which NumPy's views were copied
    cdef dict host                       # address -> the NumPy array that was copied there
    cdef readonly dict sources           # input value -> ("arg", leaf) or ("grad", tensor) or ("path", ...)
    cdef readonly dict grads             # id of a tensor -> [tensor, its grad before, read before written]
    cdef public int segment
    cdef readonly dict loops             # address of a cbp_loop that was run -> its Loop
    cdef readonly list bodies            # weak references to the recorders of bodies
    cdef public bint plain               # an audit: bodies are built plain, lines are not noted
    cdef public bint saves               # for a file: bodies keep what they were recorded as
    cdef public bint derives             # a derivative was taken meanwhile
    cdef public dict before              # address of a state -> (it, its values, version) before; None: nobody asks
    cdef public object ended             # why the recording ended before the run did, as text; None: it did not
    cdef public bint strict              # an end is an error
    cdef public bint watches_shapes, shapes_read         # whether code outside this package reads lengths of tensors
    cdef public object names             # () -> the names of the arguments, for messages
    cdef set visible              # addresses of the arrays that the environment holds; None: any tensor is allowed
    cdef dict writes                     # address of a state -> how often this run has written it

    def __cinit__(self):
        self.p = cbp_program_new()
        if self.p == NULL:
            raise MemoryError
        self.ids, self.lines, self.line_numbers, self.bases = {}, [], {}, set()
        self.host, self.sources, self.grads, self.loops, self.bodies = {}, {}, {}, {}, []
        self.writes = {}

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_held):
            self.held[i].recorded = 0
            cbp_array_drop(self.held[i])
        free(self.held)
        cbp_program_free(self.p)

    cdef int hold(self, cbp_array *a) except -1:
        cdef cbp_array **bigger
        if a.recorded:
            return 0
        if self.n_held == self.room:
            bigger = <cbp_array **>realloc(self.held, (2 * self.room + 64) * sizeof(cbp_array *))
            if bigger == NULL:
                raise MemoryError
            self.held = bigger
            self.room = 2 * self.room + 64
        self.held[self.n_held] = cbp_array_hold(a)
        self.n_held += 1
        a.recorded = 1
        return 0

    cdef int32_t new_value(self, cbp_place place, cbp_array *like_, cbp_array *held, int32_t of) except -1:
        cdef int32_t v = cbp_program_value(self.p, place, like_, held, of)
        if v < 0:
            raise MemoryError
        return v

    cdef int32_t id_of(self, cbp_array *a) except -1:
        """The value that an array holds now."""
        cdef int32_t v
        known = self.ids.get(<size_t>a)
        if known is not None:
            return known
        if a.is_view and cbp_array_root(a).mutable:    # a state's memory is another value after each write
            return self.new_value(CBP_TEMP, a, NULL, self.id_of(a.base))
        if (not a.mutable and not a.recorded and self.visible is not None
                and <size_t>cbp_array_root(a) not in self.visible):
            self.end(f"a tensor of shape {array_shape(a)} is used at {self.place()} that is neither an argument, nor "
                     "anything that the function names; hand it over as an argument")
        v = self.new_value(CBP_STATE if a.mutable else CBP_CONST, a, a, -1)
        self.ids[<size_t>a] = v
        return v

    cdef int see_view(self, cbp_array *a) except -1:
        """a was made, a view.  One that was there before is what any other array is that was."""
        cdef int32_t v
        if not cbp_array_root(a).mutable:
            v = self.new_value(CBP_TEMP, a, NULL, self.id_of(a.base))
            self.hold(a)
            self.ids[<size_t>a] = v
        return 0

    cdef int32_t define(self, cbp_array *a) except -1:
        """A new value for an array that is written."""
        cdef int32_t v
        if a.mutable:
            v = self.new_value(CBP_STATE, a, a, self.id_of(a))
        else:
            self.hold(a)
            v = self.new_value(CBP_TEMP, a, NULL, -1)
        self.ids[<size_t>a] = v
        return v

    cdef int emit(self, cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs, int n_out) except -1:
        cdef int32_t *v = <int32_t *>malloc((n_in + n_out + 1) * sizeof(int32_t))
        cdef int i
        if v == NULL:
            raise MemoryError
        try:
            for i in range(n_in):
                v[i] = -1 if inputs[i] == NULL else self.id_of(inputs[i])
            for i in range(n_out):
                v[n_in + i] = -1 if outputs[i] == NULL else self.define(outputs[i])
            self.append(op, v, n_in, v + n_in, n_out)
        finally:
            free(v)
        return 0

    cdef int append(self, cbp_op *op, int32_t *ins, int n_in, int32_t *outs, int n_out) except -1:
        if cbp_program_instr(self.p, op, ins, n_in, outs, n_out, self.line()):
            raise MemoryError
        self.p.instrs[self.p.n_instrs - 1].segment = self.segment
        return 0

    cdef int32_t line(self) except -2:
        if self.plain:                   # an audit: its program knows the lines
            return -1
        place = written_by("")
        number = self.line_numbers.get(place)
        if number is None:
            number = self.line_numbers[place] = len(self.lines)
            self.lines.append(line_of(place))
        return number

    # ---- where values come from

    cdef int32_t input(self, cbp_array *a, object source) except -1:
        """An array that the caller brings at each run."""
        cdef int32_t v = self.new_value(CBP_INPUT, a, NULL, -1)
        self.hold(a)
        self.ids[<size_t>a] = v
        self.sources[v] = source
        return v

    cdef int from_host(self, object arr, cbp_array *a) except -1:
        """A NumPy array was copied into a."""
        base = arr
        while base is not None:
            shown = getattr(base, "obj", None)           # of a memoryview: NumPy's view of a State has one
            if isinstance(shown, Tensor) and self.wrote((<Tensor>shown).a):
                self.end(f"NumPy's view of a State is read at {self.place()} after the State was written; read "
                         "the State itself")
            if base is not arr:
                self.bases.add(id(base))
            base = getattr(base, "base", None)
        self.hold(a)
        self.host[<size_t>a] = arr
        return 0

    cdef bint wrote(self, cbp_array *a) except -1:
        """Whether the run has written the memory of an array that was there before."""
        v = self.ids.get(<size_t>cbp_array_root(a))
        return v is not None and self.p.values[<int32_t>v].of >= 0

    cdef object see_grad(self, Tensor t, bint read):
        """t.grad, which is about to be read or written; another thread may put another one there at any time."""
        grad = t.grad_
        if id(t) not in self.grads:
            self.grads[id(t)] = [t, grad, read]
            if read and grad is not None and <size_t>(<Tensor>grad).a not in self.ids:
                self.input((<Tensor>grad).a, ("grad", t))
        return grad

    # ---- what only a body's recorder wants to know: body.pxi

    cdef int constant(self, cbp_array *a) except -1:
        """a was made of a Python number."""
        return self.hold(a)

    cdef int before_write(self, cbp_array *a) except -1:
        """a, or the array that it is a view of, is about to be written in place."""
        cdef Tensor copy
        a = cbp_array_root(a)
        self.writes[<size_t>a] = self.writes.get(<size_t>a, 0) + 1
        if self.before is not None and a.mutable and <size_t>a not in self.before:
            copy = wrap(like(a))
            memcpy(copy.a.data, a.data, copy.nbytes)
            self.before[<size_t>a] = (state_of(a), copy, a.version)
        return 0

    cdef int see_shape(self, const cbp_array *a) except -1:
        """The lengths of a tensor are read."""
        if self.watches_shapes and not a.mutable and not self.shapes_read:
            self.shapes_read = not sys._getframe(0).f_globals.get("__name__", "").startswith("cybackprop.")
        return 0

    cdef int see_edge(self, Tensor x) except -1:
        """A record was made that leads to x's."""
        return 0

    cdef int see_record(self, Record edge, tuple shape, dtype) except -1:
        return 0

    # ---- guards

    cdef int guard(self, cbp_array *a, double value, int flags) except -1:
        """A later run may go on only if the number in a is this one."""
        cdef cbp_op op
        clear(&op, CBP_OP_guard)
        op.flags = flags
        op.p[0] = value
        return self.emit(&op, &a, 1, NULL, 0)

    # ---- for the one who records

    def start(self, given, leaves, known=None):
        """Record what this thread runs.

        Parameters
        ----------
        given : list
            The arguments as the function gets them; leaves: as the caller brings them.
        known : list of Tensor, optional
            What else it may use of tensors that are there before; any other ends the recording.
        """
        global n_recording, cbp_recorder
        for i, leaf in enumerate(given):
            if isinstance(leaf, Tensor):
                if not (<Tensor>leaf).a.mutable and <size_t>(<Tensor>leaf).a not in self.ids:
                    self.input((<Tensor>leaf).a, ("arg", i, leaves[i]))
        if known is not None:
            self.visible = {<size_t>cbp_array_root((<Tensor>t).a) for t in known}
        if cbp_recorder != NULL:
            raise TapeError("a program is being recorded already")
        cbp_recorder = <PyObject *>self
        n_recording += 1

    cdef int end(self, str why) except -1:
        """Nothing more is recorded: the run goes on eagerly.  strict: it is an error instead."""
        if self.ended is None:
            self.ended = why
            if self.strict:
                raise TapeError(f"compile: {why}")
        self.stop()
        return 0

    cdef int read(self, str what, cbp_array *a, str cure="compute with tensors (cb.where, cb.maximum, ...), or return "
                  "the tensor and read it outside") except -1:
        """Python sees the value of a, by a method of that name."""
        v = self.ids.get(<size_t>a)
        source = None if v is None else self.sources.get(v)
        whose = f"`{self.names()[source[1]]}`" if source is not None and source[0] == "arg" else "a tensor"
        return self.end(f"`{what}` reads the value of {whose} at {self.place()}, which would be the same in every "
                        f"later call; {cure}")

    cdef str place(self):
        """file:line of the code that runs."""
        return line_of(written_by("")) or "an unknown line"

    def read_as_cast(self, results):
        """Inputs that are only ever cast to one float dtype, and no results, are read as that: the caller's memory,
        without a copy."""
        cdef int32_t i, k, v
        cdef cbp_instr *x
        casts = {v: None for v, source in self.sources.items()
                 if source[0] == "arg" and isinstance(source[2], np_ndarray)
                 and not (source[2].dtype.kind == "u" and source[2].dtype.itemsize == 8)}
        for t in results:
            casts.pop(self.ids.get(<size_t>(<Tensor?>t).a), None)
        for i in range(self.p.n_instrs if casts else 0):
            x = &self.p.instrs[i]
            for k in range(x.n_in):
                v = cbp_in(self.p, x)[k]
                if v in casts:
                    casts[v] = x.op.dtype if x.op.kind == CBP_OP_cast and casts[v] in (None, x.op.dtype) else -1
        for i in range(self.p.n_values):
            casts.pop(self.p.values[i].of, None)         # seen in another shape
        for i in range(self.p.n_instrs if casts else 0):
            x = &self.p.instrs[i]
            v = cbp_in(self.p, x)[0] if x.n_in else -1
            if x.op.kind == CBP_OP_cast and v in casts and casts[v] in (CBP_F32, CBP_F64):
                self.p.values[v].dtype = casts[v]
                x.op.kind, x.op.dtype = CBP_OP_copy, 0

    def reads_gradients(self):
        """Whether a gradient is read that was there before."""
        return any([source[0] == "grad" for source in self.sources.values()])

    def put_back(self):
        """States and gradients are what they were before the run, where that was noted."""
        for state, values, _ in self.before.values():
            state.assign(values)
        for t, before, _ in self.grads.values():
            t.grad = before

    # ---- at the end

    cdef int32_t result(self, cbp_array *a) except -1:
        """A value that the caller gets after each run, in memory that it brings."""
        cdef cbp_op op
        cdef int32_t v = self.id_of(a), out = self.new_value(CBP_OUTPUT, a, NULL, -1)
        clear(&op, CBP_OP_copy)
        self.append(&op, &v, 1, &out, 1)
        return out

    def sweep(self, tensors, boundary, number):
        """Record a reverse sweep of what was run.

        tensors: number of an output -> the result, whose record is alive.  boundary: the records where it ends.
        number: of the sweep, from 0.
        Returns the cotangents of the boundary, a Tensor or None each.
        """
        cdef Tensor t, g
        cdef Sweep s = Sweep(True, False, boundary)
        self.segment = 1 + number
        self.start((), ())
        try:
            for k, t in tensors.items():
                g = wrap(like(t.a))
                memset(g.a.data, 0, g.nbytes)
                self.input(g.a, ("cotangent", (number, k)))
                s.start(t, g)
            return s.run_all()
        finally:
            self.stop()

    def constant_of(self, thing):
        """The values that were taken from a Tensor or NumPy array outside as constants."""
        if isinstance(thing, Tensor):
            v = self.ids.get(<size_t>(<Tensor>thing).a)
            found = [] if v is None else [v]
        else:
            found = [self.ids[at] for at, arr in self.host.items() if arr is thing and at in self.ids]
        return [v for v in found if self.p.values[<int32_t>v].place == CBP_CONST]

    def written_states(self):
        """The states that the run wrote, as tensors."""
        cdef int32_t i
        found = {}
        for i in range(self.p.n_values):
            if self.p.values[i].place == CBP_STATE and self.p.values[i].of >= 0:
                found[<size_t>self.p.values[i].held] = i
        return [state_of(self.p.values[<int32_t>i].held) for i in found.values()]

    def known(self, Tensor t):
        """Whether the run made, read or was given this tensor's value."""
        return <size_t>t.a in self.ids

    def made(self, Tensor t):
        """Whether the run made this tensor's value."""
        v = self.ids.get(<size_t>t.a)
        return v is not None and self.p.values[<int32_t>v].place == CBP_TEMP

    def survivors(self, wanted, records):
        """Lines of three values that somebody outside still holds, apart from tensors in wanted and these records."""
        cdef Py_ssize_t i
        cdef int k
        cdef int64_t more
        cdef cbp_array *a
        cdef Record r
        expected, views = {}, {<size_t>self.held[i]: None for i in range(self.n_held)}
        tensors, holders = {id(t): t for t in wanted}, []
        for r in records:
            holders += tensors_in((r.saved, r.attrs))
            for k in range(-1, r.n):
                a = r.out if k < 0 else r.kept[k]
                if a != NULL:
                    views[<size_t>a] = None
                    expected[<size_t>a] = expected.get(<size_t>a, 0) + 1
        for t in [*wanted, *{id(t): t for t in holders if id(t) not in tensors}.values()]:
            a = (<Tensor>t).a
            views[<size_t>a] = None
            expected[<size_t>a] = expected.get(<size_t>a, 0) + 1
        for at in list(views):           # nobody may have read a view that is returned
            a = <cbp_array *><size_t>at
            while a.is_view:
                views[<size_t>a] = None
                a = a.base
        for at in views:
            a = <cbp_array *><size_t>at
            if a.is_view:
                expected[<size_t>a.base] = expected.get(<size_t>a.base, 0) + 1
        found, lent = [], set()
        for body in self.bodies:
            lent.update(() if body() is None else body().borrowed())
        for i in range(self.n_held):
            a = self.held[i]
            more = a.refs - 1 - expected.get(<size_t>a, 0)
            if more <= 0 or <size_t>a in lent or <size_t>a not in self.ids:
                continue
            if self.p.values[<int32_t>self.ids[<size_t>a]].place == CBP_TEMP:
                found.append(self.place_of(cbp_root(self.p, self.ids[<size_t>a])))
                if len(found) == 3:      # each is looked for among all instructions
                    break
        return found

    cdef str place_of(self, int32_t v):
        """op at file:line of the instruction that made a value."""
        cdef int32_t i, k
        for i in range(self.p.n_instrs):
            for k in range(self.p.instrs[i].n_out):
                if cbp_out(self.p, &self.p.instrs[i])[k] == v:
                    return describe(self.p, i, self.lines)
        return "a value"

    def recorded(self):
        """[(op, line, the operation as bytes, its values, what it runs)] of the run's instructions but guards.

        Values are numbered in order of use; what a loop runs is a list of the same kind for each of its programs.
        """
        cdef int32_t i, k
        cdef cbp_instr *x
        cdef cbp_op op
        rows, seen = [], {-1: -1}
        for i in range(self.p.n_instrs):
            x = &self.p.instrs[i]
            if x.op.kind != CBP_OP_guard and x.segment == 0:
                values = [seen.setdefault(cbp_in(self.p, x)[k], len(seen)) for k in range(x.n_in + x.n_out)]
                memcpy(&op, &x.op, sizeof(cbp_op))
                op.loop = NULL           # another recording has another
                rows.append((op_name(&x.op), self.lines[x.line] if x.line >= 0 else "",
                             (<char *>&op)[:sizeof(cbp_op)], values,
                             None if x.op.loop == NULL else self.loops[<size_t>x.op.loop].recorded))
        return rows

    def constants(self, but):
        """[(tensor, op, line that reads it first)] of the run's constants but those values, in order of use."""
        cdef int32_t i, k, v
        cdef cbp_instr *x
        found = {}
        for i in range(self.p.n_instrs):
            x = &self.p.instrs[i]
            if x.segment > 0:            # a sweep that comes later, if at all
                continue
            if x.op.loop != NULL:
                for row in self.loops[<size_t>x.op.loop].constants:
                    found[id(row)] = row
            for k in range(x.n_in):
                v = cbp_in(self.p, x)[k]
                if v < 0 or v in found or v in but or x.op.kind == CBP_OP_guard:
                    continue
                if self.p.values[v].place == CBP_CONST:
                    found[v] = (wrap(cbp_array_hold(self.p.values[v].held)), op_name(&x.op),
                                self.lines[x.line] if x.line >= 0 else "")
        return list(found.values())

    def stop(self):
        """Stop recording."""
        global n_recording, cbp_recorder
        if cbp_recorder == <PyObject *>self:
            cbp_recorder = NULL
            n_recording -= 1


cdef list tensors_in(tree):
    """The tensors in a nest."""
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [t for part in parts for t in tensors_in(part)]


cdef State state_of(cbp_array *a):
    """Another State with the same memory and version."""
    cdef State s = State.__new__(State)
    cbp_array_drop(s.a)
    s.a = cbp_array_hold(a)
    return s


def is_recording():
    """Whether this thread's operations are being recorded into a program."""
    return recording()
