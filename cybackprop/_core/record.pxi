# Records: what was run, what its derivative needs, where the inputs came from.  Nothing points forward.

cdef long long next_number = 0
cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) int cbp_no_grad = 0;
    #else
    static _Thread_local int cbp_no_grad = 0;
    #endif
    """
    int cbp_no_grad

# Freeing a chain of a million records must not recurse: records hand their edges to this list and whoever
# came first empties it.  The GIL guards it.
cdef PyObject **doomed = NULL
cdef Py_ssize_t n_doomed = 0, doomed_capacity = 0
cdef bint draining = False


cdef void doom(PyObject *edge) noexcept:
    global doomed, n_doomed, doomed_capacity
    cdef PyObject **bigger
    if n_doomed == doomed_capacity:
        bigger = <PyObject **>realloc(doomed, (2 * doomed_capacity + 256) * sizeof(PyObject *))
        if bigger == NULL:               # no memory for the list: recursion is the lesser evil
            Py_DECREF(<object>edge)
            return
        doomed = bigger
        doomed_capacity = 2 * doomed_capacity + 256
    doomed[n_doomed] = edge
    n_doomed += 1


cdef void drain() noexcept:
    global n_doomed, draining
    if draining:
        return
    draining = True
    while n_doomed > 0:
        n_doomed -= 1
        Py_DECREF(<object>doomed[n_doomed])
    draining = False


@cython.final
@cython.no_gc
@cython.freelist(512)
@cython.binding(False)
cdef class Record:
    """One recorded operation: its row, what its derivative reads, and the records of its inputs.

    Attributes
    ----------
    op : str
        Name of the row.
    number : int
        Order of recording: an op's inputs always have smaller numbers.
    """

    def __cinit__(self):
        self.row = leaf_row
        self.edges = self.inline_edges
        self.kept = self.inline_kept
        self.versions = self.inline_versions

    def __init__(self):
        raise TypeError("records are made by operations")

    def __dealloc__(self):
        self.release()
        if self.edges != self.inline_edges:
            free(self.edges)

    cdef void release(self) noexcept:
        """Let go of everything the derivative would read."""
        cdef int i
        self.freed = True
        for i in range(self.n):
            cbp_array_drop(self.kept[i])
            self.kept[i] = NULL
            if self.edges[i] != NULL:
                doom(self.edges[i])
                self.edges[i] = NULL
        cbp_array_drop(self.out)
        self.out = NULL
        cbp_array_drop(self.cot)
        self.cot = NULL
        self.attrs = None
        self.saved = None
        self.hooks = None
        drain()

    @property
    def op(self):
        return self.row.name

    @property
    def is_leaf(self):
        return self.row is leaf_row

    @property
    def parameters(self):
        """The scalar parameters of an elementwise row."""
        return self.p[0], self.p[1]

    @property
    def inputs(self):
        """Records of the inputs, None where an input takes no gradient."""
        return tuple([None if self.edges[i] == NULL else <Record>self.edges[i] for i in range(self.n)])

    def needs(self, int i):
        """Whether input i takes a gradient."""
        return self.edges[self.place(i)] != NULL

    def place(self, int i):
        """i, if there is such an input."""
        if not 0 <= i < self.n:
            raise IndexError(f"{self.row.name}: there is no input {i}, it has {self.n}")
        return i

    def has_input(self, int i):
        """Whether the value of input i was kept."""
        return self.kept[self.place(i)] != NULL

    def input(self, int i):
        """The value of input i as it was kept, linked to the tape."""
        if self.kept[self.place(i)] == NULL:
            raise TapeError(f"{self.row.name}: input {i} was not kept")
        return linked(cbp_array_hold(self.kept[i]), None if self.edges[i] == NULL else <Record>self.edges[i])

    def output(self):
        """The op's own value as it was kept, linked to the tape."""
        if self.out == NULL:
            raise TapeError(f"{self.row.name}: the output was not kept")
        return linked(cbp_array_hold(self.out), self)

    def input_shape(self, int i):
        """Shape of input i; known for the inputs that take a gradient of another shape than the output's."""
        return None if self.kept[self.place(i)] == NULL else array_shape(self.kept[i])

    def check_alive(self):
        """Raise TapeError if the record was freed or a kept Parameter has changed since."""
        check_alive(self)

    def __repr__(self):
        return f"<record {self.number}: {self.row.name}>"


cdef Tensor linked(cbp_array *a, Record record):
    cdef Tensor t = wrap(a)
    t.record = record
    return t


cdef Record new_record(Row row, int n, const cbp_array *value):
    """A record of an op with n inputs and that value, its edges not yet filled."""
    global next_number
    cdef Record r = Record.__new__(Record)
    cdef char *room
    r.row = row
    r.size = value.size
    r.dtype = value.dtype
    if n > 3:
        room = <char *>calloc(n, 2 * sizeof(void *) + sizeof(long long))
        if room == NULL:
            raise MemoryError
        r.edges = <PyObject **>room
        r.kept = <cbp_array **>(room + n * sizeof(void *))
        r.versions = <long long *>(room + 2 * n * sizeof(void *))
    r.n = n
    next_number += 1
    r.number = next_number
    return r


cdef int set_edge(Record r, int i, Tensor x) except -1:
    if x.record is not None:
        Py_INCREF(x.record)
        r.edges[i] = <PyObject *>x.record
        if recording():
            (<Recorder>cbp_recorder).see_edge(x)
    return 0


cdef inline void keep_value(Record r, int i, Tensor x) noexcept:
    r.kept[i] = cbp_array_hold(x.a)
    r.versions[i] = cbp_array_version(x.a)


cdef inline void keep_shape(Record r, int i, Tensor x) noexcept:
    if r.kept[i] == NULL:
        r.kept[i] = cbp_array_hold(x.a)
        r.versions[i] = -1


cdef int check_alive(Record r) except -1:
    cdef int i
    if r.freed:
        raise TapeError(
            f"{r.row.name} (record {r.number}) was freed by an earlier backward; "
            "pass retain_graph=True to the first one, or run the forward again")
    for i in range(r.n):
        if r.kept[i] != NULL and r.versions[i] >= 0 and cbp_array_version(r.kept[i]) != r.versions[i]:
            raise TapeError(
                f"{r.row.name} (record {r.number}) kept its input {i}, shape {array_shape(r.kept[i])}, at version "
                f"{r.versions[i]}, but it is at version {cbp_array_version(r.kept[i])} now"
                f"{last_write(r.kept[i])}; call backward before the parameter changes, or run the forward again")
    return 0


@cython.binding(False)
@cython.freelist(8)
cdef class no_grad:
    """Record nothing inside: a context manager and a decorator.

    Examples
    --------
    >>> import cybackprop as cb
    >>> w = cb.Parameter([1.0, 2.0])
    >>> with cb.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    cdef readonly object function
    cdef dict __dict__                   # of a decorator: the function's name and docstring

    def __init__(self, function=None):
        self.function = function
        if function is not None:
            functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        if self.function is None:
            function, = args
            if not callable(function):
                raise TypeError(f"no_grad decorates functions, not {type(function).__name__}")
            return no_grad(function)
        with no_grad():
            return self.function(*args, **kwargs)

    def __get__(self, instance, owner):
        return self if instance is None or self.function is None else functools.partial(self, instance)

    def __enter__(self):
        global cbp_no_grad
        cbp_no_grad += 1
        return self

    def __exit__(self, kind, error, trace):
        global cbp_no_grad
        cbp_no_grad -= 1


class enable_grad:
    """Record inside, even within `no_grad`: what the transforms use."""

    def __enter__(self):
        global cbp_no_grad
        self.outer = cbp_no_grad
        cbp_no_grad = 0
        return self

    def __exit__(self, *exc):
        global cbp_no_grad
        cbp_no_grad = self.outer


def is_grad_enabled():
    """Whether operations are recorded in this thread."""
    return cbp_no_grad == 0
