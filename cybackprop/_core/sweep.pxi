# The reverse sweep: visit records in descending number, hand each input its share of the cotangent.
# It knows rows and records and no op.

sweep_lock = threading.RLock()           # one sweep at a time: graphs of several threads may share Parameters


cdef inline long long rank(Record r) noexcept:
    """Leaves come last, in an order that is the graph's: their own numbers change when requires_grad is set anew."""
    return r.number if r.n else 0


cdef str wrong_cotangent(Record edge, cbp_array *c):
    return (f"the rule of an op that used {edge.row.name} (record {edge.number}) gave a cotangent of {c.size} "
            f"{DTYPES[c.dtype]} elements, shape {array_shape(c)}, for {edge.size} {DTYPES[edge.dtype]} elements")


@cython.binding(False)
cdef class Sweep:
    """One walk from a tensor back to what it was made of.

    Not for direct use: `Tensor.backward`, `cybackprop.grad`, `cybackprop.backward_steps`.
    """

    def __cinit__(self, bint retain_graph=False, bint create_graph=False, targets=None):
        self.retain_graph = retain_graph or create_graph
        self.create_graph = create_graph
        self.results = []
        if targets is not None:
            self.targets = {<size_t><PyObject *>t: i for i, t in enumerate(targets)}
            self.goal_tensors = [None] * len(targets)
            self.goals = <cbp_array **>calloc(len(targets) + 1, sizeof(cbp_array *))
            if self.goals == NULL:
                raise MemoryError
            self.n_goals = len(targets)

    def __dealloc__(self):
        cdef Py_ssize_t i
        while self.count > 0:            # abandoned half way: let the claimed records go
            self.drop(self.pop())
        free(self.heap)
        for i in range(self.n_goals):
            cbp_array_drop(self.goals[i])
        free(self.goals)

    cdef void drop(self, Record r) noexcept:
        r.sweeper = NULL
        r.cot_tensor = None
        cbp_array_drop(r.cot)
        r.cot = NULL

    # ---- the heap: highest number on top

    cdef int push(self, Record edge) except -1:
        cdef PyObject **bigger
        cdef Py_ssize_t i, parent
        if edge.sweeper != NULL:
            raise TapeError(f"backward: {edge.row.name} (record {edge.number}) is part of another backward "
                            "that has not finished; run one at a time")
        if self.count == self.capacity:
            bigger = <PyObject **>realloc(self.heap, (2 * self.capacity + 64) * sizeof(PyObject *))
            if bigger == NULL:
                raise MemoryError
            self.heap = bigger
            self.capacity = 2 * self.capacity + 64
        edge.sweeper = <PyObject *>self
        Py_INCREF(edge)
        i = self.count
        self.count += 1
        while i > 0:
            parent = (i - 1) // 2
            if rank(<Record>self.heap[parent]) >= rank(edge):
                break
            self.heap[i] = self.heap[parent]
            i = parent
        self.heap[i] = <PyObject *>edge
        return 0

    cdef Record pop(self):
        cdef Record top = <Record>self.heap[0], last
        cdef Py_ssize_t i = 0, child
        Py_DECREF(top)                   # `top` itself holds one now
        self.count -= 1
        last = <Record>self.heap[self.count]
        while True:
            child = 2 * i + 1
            if child >= self.count:
                break
            if child + 1 < self.count and rank(<Record>self.heap[child + 1]) > rank(<Record>self.heap[child]):
                child += 1
            if rank(<Record>self.heap[child]) <= rank(last):
                break
            self.heap[i] = self.heap[child]
            i = child
        self.heap[i] = <PyObject *>last
        return top

    # ---- cotangents

    cdef bint skips(self, Record edge):
        return self.needed is not None and <size_t><PyObject *>edge not in self.needed

    cdef int give(self, Record edge, cbp_array *c) except -1:
        """Add c to the cotangent of a record; the reference to c is taken over."""
        cdef cbp_array *sum_
        cdef cbp_array **place
        if self.skips(edge):
            cbp_array_drop(c)
            return 0
        if c.size != edge.size or c.dtype != edge.dtype:
            message = wrong_cotangent(edge, c)
            cbp_array_drop(c)
            raise ShapeError(message)
        try:
            place = self.place(edge)
        except BaseException:
            cbp_array_drop(c)
            raise
        if place[0] == NULL:
            place[0] = c
            return 0
        sum_ = place[0] if exclusive(place[0]) else c if exclusive(c) else like(c)
        sum_.weak = place[0].weak & c.weak
        cbp_active[c.dtype].binary(ADD.place, c.size, place[0].data, 1, c.data, 1, sum_.data)
        if recording():
            note_binary(ADD.place, place[0], c, sum_)
        if sum_ != place[0]:
            cbp_array_drop(place[0])
            place[0] = sum_
        if sum_ != c:
            cbp_array_drop(c)
        return 0

    cdef cbp_array *target(self, Record edge, cbp_array *like_, cbp_array *reuse, int *add) except NULL:
        """Where a kernel may write (add 0) or add (add 1) the cotangent of a record.

        reuse: an array that the kernel may overwrite because nobody reads it afterwards, or NULL.
        """
        cdef cbp_array *fresh
        cdef cbp_array **place
        add[0] = 0
        if self.skips(edge):
            return self.bin(like_)
        place = self.place(edge)
        if place[0] == NULL:
            place[0] = reuse if reuse != NULL and exclusive(reuse) else like(like_)
        elif exclusive(place[0]):
            add[0] = 1
        else:                            # shared with another record: from here on it has its own
            fresh = copied(place[0])
            cbp_array_drop(place[0])
            place[0] = fresh
            add[0] = 1
        return place[0]

    cdef cbp_array **place(self, Record edge) except NULL:
        """Where the cotangent of a record is gathered; it waits for its turn from now on."""
        if self.targets is not None and <size_t><PyObject *>edge in self.targets:
            return &self.goals[<Py_ssize_t>self.targets[<size_t><PyObject *>edge]]
        if edge.sweeper != <PyObject *>self:
            self.push(edge)
        return &edge.cot

    cdef int give_tensor(self, Record edge, Tensor c) except -1:
        """The same while the sweep is recorded."""
        if self.skips(edge):
            return 0
        if c.a.size != edge.size or c.a.dtype != edge.dtype:
            raise ShapeError(wrong_cotangent(edge, c.a))
        if self.targets is not None and <size_t><PyObject *>edge in self.targets:
            goal = self.targets[<size_t><PyObject *>edge]
            before = self.goal_tensors[goal]
            self.goal_tensors[goal] = c if before is None else binary(ADD, before, c)
        elif edge.sweeper != <PyObject *>self:
            self.push(edge)
            edge.cot_tensor = c
        else:
            edge.cot_tensor = binary(ADD, edge.cot_tensor, c)
        return 0

    cdef int give_result(self, Record edge, int k, Tensor c) except -1:
        """Add c to the cotangent of result k of a record that has several."""
        if self.skips(edge):
            return 0
        if edge.sweeper != <PyObject *>self:
            self.push(edge)
            edge.cot_tensor = [None] * <int>edge.p[0]
        before = (<list>edge.cot_tensor)[k]
        (<list>edge.cot_tensor)[k] = c if before is None else binary(ADD, before, c)
        return 0

    # ---- the walk

    def start(self, Tensor root, Tensor g):
        """Begin at a tensor with its cotangent."""
        self.start_at(root.record, g)

    def start_at(self, Record record, Tensor g):
        """Begin at a record with its cotangent."""
        if self.create_graph:
            self.give_tensor(record, g)
        else:
            self.give(record, cbp_array_hold(g.a))

    cdef Tensor cotangent(self, Record r):
        return <Tensor>r.cot_tensor if self.create_graph else wrap(cbp_array_hold(r.cot))

    def step(self):
        """Visit one record; returns (record, its cotangent) or None at the end."""
        if self.count == 0:
            return None
        r = self.visit(True)
        g, self.shown = self.shown, None
        return r, g

    cdef Record visit(self, bint show):
        """Visit the record with the highest number; its cotangent is left in `shown`."""
        cdef Record r = self.pop()
        cdef Tensor g
        try:
            check_alive(r)
            if isinstance(r.row, SeveralRow):
                if show:
                    self.shown = tuple(r.cot_tensor)
            elif show or r.owner != NULL or r.hooks is not None:
                g = self.finish(r)
                if show:
                    self.shown = g
            if self.create_graph:
                r.row.sweep_recorded(r, self)
            else:
                r.row.sweep(r, self)
            if not self.retain_graph and r.n:
                r.release()
        finally:
            self.drop(r)
        return r

    cdef Tensor finish(self, Record r):
        """The complete cotangent of a record: hooks see it, owners get it."""
        cdef Tensor g = self.cotangent(r), new
        if r.hooks is not None:
            for hook, in list(r.hooks):
                result = hook(g)
                if result is not None:
                    new = own_value(with_weakness(as_operand(result, g.a.dtype, "gradient hook"), g.a.weak))
                    if not same_shape(new.a, g.a) or new.a.dtype != g.a.dtype:
                        raise ShapeError(f"gradient hook: returned shape {new.shape}, dtype {new.dtype} for a gradient "
                                         f"of shape {g.shape}, dtype {g.dtype}")
                    g = new
            if self.create_graph:
                r.cot_tensor = g
            elif g.a != r.cot:
                cbp_array_drop(r.cot)
                r.cot = cbp_array_hold(g.a)
        if r.owner != NULL and self.targets is None:
            self.results.append((<Tensor>r.owner, g))
        return g

    cdef int run(self) except -1:
        """Visit everything, first order first: nothing is recorded unless create_graph."""
        global cbp_no_grad
        cdef int outer = cbp_no_grad
        cbp_no_grad = 0 if self.create_graph else 1
        try:
            while self.count > 0:
                self.visit(False)
        finally:
            cbp_no_grad = outer
        return 0

    def run_all(self):
        """Visit everything that is left."""
        with sweep_lock:
            self.run()
        if self.create_graph or self.targets is None:
            return self.goal_tensors
        return [None if self.goals[i] == NULL else wrap(cbp_array_hold(self.goals[i])) for i in range(self.n_goals)]

    def commit(self):
        """Add what was found to the ``.grad`` of leaves: all sums first, so that a failure changes nothing."""
        cdef Tensor t
        new = []
        for owner, g in self.results:
            t = <Tensor>owner
            old = (<Recorder>cbp_recorder).see_grad(t, True) if recording() else t.grad_
            new.append((t, g if old is None else binary(ADD, old, g)))
        for owner, g in new:
            (<Tensor>owner).grad_ = g
        self.results = []

    cdef cbp_array *bin(self, cbp_array *like_) except NULL:
        """Somewhere to write what nobody wants."""
        cbp_array_drop(self.trash)
        self.trash = NULL
        self.trash = like(like_)
        return self.trash


def seed_cotangent(Tensor root, gradient, str what):
    """The cotangent a sweep starts with: the user's, or 1 for a tensor with one element."""
    cdef Tensor g
    if root.record is None:
        raise TapeError(f"{what}: this tensor takes no gradient; nothing it was made of has requires_grad=True, "
                        "or it was made under no_grad")
    if gradient is None:
        if root.a.size != 1:
            raise ShapeError(f"{what}: the tensor has shape {root.shape}; "
                             "reduce it to one element (a mean, a sum) or pass gradient=")
        g = wrap(like(root.a))
        g.a.weak = root.a.weak
        if root.a.dtype == CBP_F32:
            (<float *>g.a.data)[0] = 1
        else:
            (<double *>g.a.data)[0] = 1
        if recording():
            (<Recorder>cbp_recorder).constant(g.a)
        return g
    g = as_operand(gradient, root.a.dtype, what)
    if g.a.dtype != root.a.dtype:
        raise DTypeError(f"{what}: the gradient is {g.dtype}, the tensor {root.dtype}")
    if not same_shape(g.a, root.a):
        raise ShapeError(f"{what}: the gradient has shape {g.shape}, the tensor {root.shape}")
    return own_value(with_weakness(g, root.a.weak))


cdef run_backward(Tensor root, gradient, bint retain_graph, bint create_graph):
    cdef Sweep s
    cdef Tensor g = seed_cotangent(root, gradient, "backward")
    with sweep_lock:
        s = Sweep(retain_graph, create_graph)
        s.start(root, g)
        s.run()
        s.commit()


def reachable(roots, long long above):
    """Records that the given records lead back to, with numbers greater than `above`, in ascending order."""
    seen = {}
    todo = [r for r in roots if r is not None]
    cdef Record r
    cdef int i
    while todo:
        r = todo.pop()
        if r.number <= above or r in seen:
            continue
        seen[r] = r.number
        for i in range(r.n):
            if r.edges[i] != NULL:
                todo.append(<Record>r.edges[i])
    return sorted(seen, key=seen.get)


def restrict(Sweep sweep, records):
    """Let a sweep visit the given records only."""
    sweep.needed = {<size_t><PyObject *>r for r in records}


def last_number():
    """The number of the newest record: records made from now on have larger ones."""
    return next_number


def alias(Tensor x):
    """A fresh input with x's value, for a transform to differentiate with respect to; linked to x if x is recorded."""
    cdef Tensor t = wrap(cbp_array_hold(x.a))
    t.record = new_record(alias_row if x.record is not None else leaf_row, 1 if x.record is not None else 0, x.a)
    if x.record is not None:
        set_edge(t.record, 0, x)
    if recording():
        (<Recorder>cbp_recorder).derives = True
    return t


cdef class AliasRow(Row):
    """The row of a transform's inputs: the value itself."""

    def __cinit__(self):
        self.name = "alias"
        self.vjp_rule = lambda record, g: (g,)
        self.jvp_rule = lambda record, tangents: tangents[0]


cdef Row alias_row = AliasRow()
