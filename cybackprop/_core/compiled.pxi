# A compiled function: which of its programs a call is for, and the way there and back.

cdef extern from "Python.h":
    bint PyFunction_Check(object x)
    bint PyMethod_Check(object x)
    PyObject *PyFunction_GetCode(object f)


@cython.final
@cython.binding(False)
cdef class Guard:
    """A place outside that a recording read: a global, a cell, an attribute, an item.

    Parameters
    ----------
    holder : dict, cell, or any object
    name : object
        Key, attribute, or None.
    expected : object
        What was there; MISSING: nothing.
    how : str
        "same": that very object; "equal": see `agree`; "like": an array of one dtype and shape.
    label : str
        What a person calls it.
    place : str
        "item" or "attr" of the holder, "cell": what is in it, "self": the holder, "code": of a function, "context": the
        value of a context variable.
    """
    cdef readonly object holder, name, expected
    cdef readonly str how, label
    cdef int kind                        # the place: its number in the order above
    cdef int relation                    # 0: same, 1: equal, 2: like

    def __init__(self, holder, name, expected, how, label, place):
        self.holder, self.name, self.expected, self.how, self.label = holder, name, expected, how, label
        self.kind = ("item", "attr", "cell", "self", "code", "context").index(place)
        self.relation = ("same", "equal", "like").index(how)

    cdef object current(self):
        cdef PyObject *found
        try:
            if self.kind == 0 and type(self.holder) is dict:
                found = PyDict_GetItemWithError(self.holder, self.name)
                return NOT_THIS if found == NULL else <object>found
            if self.kind == 0:
                return self.holder[self.name]
            if self.kind == 1:
                return getattr(self.holder, self.name, NOT_THIS)
            if self.kind == 5:
                return self.holder.get(NOT_THIS)
            return self.holder.cell_contents if self.kind == 2 else self.holder
        except (KeyError, IndexError, AttributeError, ValueError, TypeError):
            return NOT_THIS

    cdef bint holds(self):
        if self.kind == 4:               # these two are most guards, and need no `try`
            return PyFunction_GetCode(self.holder) == <PyObject *>self.expected
        if (self.kind == 0 and type(self.holder) is dict
                and PyDict_GetItemWithError(self.holder, self.name) == <PyObject *>self.expected):
            return True
        now = self.current()
        if now is self.expected:         # of a container, expected is a copy
            return True
        if self.relation == 1:
            return agree(now, self.expected)
        if self.relation == 0 or type(now) is not type(self.expected):
            return False
        if isinstance(now, Tensor) and (<Tensor>now).record is not None:
            return False                 # another leaf: gradients go elsewhere
        return now.dtype == self.expected.dtype and now.shape == self.expected.shape


@cython.final
@cython.binding(False)
cdef class Parts:
    """A container as it was: its type, its keys if it is a dict, its parts, which may be Parts too.

    An array that is read anew at each call counts by its type, its dtype and its shape, the keys; its parts are None.
    Where it is read, `holder`, must be the same container.
    """
    cdef object kind, keys, holder
    cdef list parts

    def __init__(self, kind, keys, parts, holder=None):
        self.kind, self.keys, self.parts, self.holder = kind, keys, parts, holder


cpdef bint agree(object now, object then):
    """Whether a value is what it was: the object itself, a number of one type and value, or a container of such."""
    cdef Parts parts
    cdef double x, y
    if now is then:
        return True
    if type(then) is Parts:
        parts = <Parts>then
        if type(now) is not parts.kind:
            return False
        if parts.parts is None:
            return (now.dtype, now.shape) == parts.keys and not getattr(now, "requires_grad", False)
        if len(now) != len(parts.parts) or (parts.holder is not None and now is not parts.holder):
            return False
        if parts.keys is not None and parts.keys != list(now):
            return False
        for part, before in zip(now if parts.keys is None else now.values(), parts.parts):
            if not agree(part, before):
                return False
        return True
    if type(now) is not type(then):
        return False
    if type(then) is float:
        x, y = now, then
        return (x == y and copysign(1, x) == copysign(1, y)) or (x != x and y != y)
    if PyMethod_Check(then):             # a bound method is made anew each time it is read
        return now == then
    if isinstance(then, (np.generic, complex)):
        return bytes(np.asarray(now)) == bytes(np.asarray(then)) or bool(now != now and then != then)
    return isinstance(then, (int, str, bytes, frozenset, set)) and now == then


cdef enum:
    LEAF_ARRAY, LEAF_TENSOR, LEAF_NUMBER, LEAF_OBJECT

KINDS = ("array", "tensor", "number", "object")


cdef struct leaf_shape:
    int kind, ndim, dtype
    bint linked
    char format[8]
    Py_ssize_t shape[8]


@cython.final
@cython.binding(False)
cdef class Key:
    """What must hold for a program to stand for a call.

    Parameters
    ----------
    spec : object
        Structure of the arguments.
    leaves : list
        For each leaf of the arguments what `leaf_fact` says.
    guards : list of Guard
    facts : callable
        () -> whether modules are as they were; asked only when `structure_version` has moved.
    grads : list of (Tensor, bool)
        Whether .grad is None, where it is read before it is written.
    same : list of int
        For each leaf the first one that is the same array: see `coinciding`.
    aliases : list of (Guard, int)
        Places outside that hold the very array that is a leaf.
    """
    cdef readonly object spec, facts
    cdef readonly list leaves, guards, grads, same, aliases
    cdef list paths                      # the guards of arrays that are read anew
    cdef leaf_shape *shapes              # the leaves again, for a quick comparison
    cdef Py_ssize_t n
    cdef long long structure
    cdef bint no_grad

    def __cinit__(self, spec, leaves, guards, facts, grads, same, aliases):
        cdef Py_ssize_t i, k
        self.n = len(leaves)
        self.shapes = <leaf_shape *>calloc(self.n + 1, sizeof(leaf_shape))
        if self.shapes == NULL:
            raise MemoryError
        self.spec, self.leaves, self.guards, self.facts, self.grads = spec, leaves, guards, facts, grads
        self.same, self.aliases = same, aliases
        self.paths = [g for g in guards if (<Guard>g).relation == 2]
        self.structure = structure
        self.no_grad = cbp_no_grad != 0
        for i in range(self.n):
            kind, what, shape, linked = leaves[i]
            self.shapes[i].kind, self.shapes[i].linked = KINDS.index(kind), linked
            if kind == "tensor" or kind == "array":
                self.shapes[i].ndim = len(shape)
                for k in range(min(len(shape), 8)):
                    self.shapes[i].shape[k] = shape[k]
                if kind == "tensor":
                    self.shapes[i].dtype = what
                else:
                    memcpy(self.shapes[i].format, <const char *><bytes>what, min(len(what), 7))

    def __dealloc__(self):
        free(self.shapes)

    cdef bint fits(self, object spec, object leaves, call_view *views):
        cdef Py_ssize_t i
        if self.no_grad != (cbp_no_grad != 0) or self.n != len(leaves) or not (self.spec is spec or self.spec == spec):
            return False
        for i in range(self.n):
            if not self.leaf_fits(i, leaves[i], &views[i]):
                return False
            if first_alike(leaves, i) != <Py_ssize_t>self.same[i]:
                return False
        for place, k in self.aliases:
            if (<Guard>place).current() is not leaves[k]:
                return False
        for place in self.paths:         # recorded as two arrays, of which results and gradients may depend apart
            now = (<Guard>place).current()
            for i in range(self.n):
                if leaves[i] is now:
                    return False
        return True

    cdef bint leaf_fits(self, Py_ssize_t i, object x, const call_view *v):
        cdef leaf_shape *s = &self.shapes[i]
        cdef cbp_array *a
        if s.kind == LEAF_ARRAY:
            return (v.held and v.view.ndim == s.ndim and strcmp(v.view.format, s.format) == 0
                    and (s.ndim == 0 or memcmp(v.view.shape, s.shape, s.ndim * sizeof(Py_ssize_t)) == 0))
        if s.kind == LEAF_TENSOR:
            if not isinstance(x, Tensor):
                return False
            a = (<Tensor>x).a
            return (not a.mutable and a.dtype == s.dtype and a.ndim == s.ndim
                    and ((<Tensor>x).record is not None) == s.linked
                    and memcmp(a.shape, s.shape, s.ndim * sizeof(Py_ssize_t)) == 0)
        fact = <tuple>self.leaves[i]
        if s.kind == LEAF_NUMBER:
            return agree(x, fact[1])
        return x is fact[1] and (not isinstance(x, Tensor) or ((<Tensor>x).record is not None) == s.linked)

    cdef bint holds(self):
        """The part that does not lie in the arguments."""
        for t, none in self.grads:
            if ((<Tensor>t).grad_ is None) != none:
                return False
        return self.stands()

    cdef bint stands(self):
        """The part that lies outside."""
        cdef Guard g
        for g in self.guards:
            if not g.holds():
                return False
        if self.structure != structure:
            if not self.facts():
                return False
            self.structure = structure
        return True


cdef Py_ssize_t first_alike(leaves, Py_ssize_t i) except -1:
    """The first leaf that is the same array as leaf i; i where there is none before it."""
    cdef Py_ssize_t k
    x = leaves[i]
    if isinstance(x, Tensor):
        for k in range(i):
            if isinstance(leaves[k], Tensor) and (<Tensor>leaves[k]).a == (<Tensor>x).a:
                return k
    elif isinstance(x, np_ndarray):
        for k in range(i):
            if leaves[k] is x:
                return k
    return i


def coinciding(leaves):
    """For each leaf the first one that is the same array, itself mostly: f(x, x) is another program than f(x, y)."""
    return [first_alike(leaves, i) for i in range(len(leaves))]


def leaf_fact(x):
    """What a key knows of an argument: (kind, dtype or format, shape, whether it has a history), or itself."""
    if isinstance(x, Tensor) and not (<Tensor>x).a.mutable:
        return "tensor", (<Tensor>x).a.dtype, array_shape((<Tensor>x).a), (<Tensor>x).record is not None
    if isinstance(x, np.ndarray) and x.ndim <= 8:
        try:
            with memoryview(x) as view:
                if len(view.format) < 8:
                    return "array", view.format.encode(), x.shape, False
        except (ValueError, BufferError):        # dates, objects: no program reads these
            pass
    if x is None or isinstance(x, (bool, int, float, complex, str, bytes, np.generic)):
        return "number", x, type(x), False
    return "object", x, None, isinstance(x, Tensor) and (<Tensor>x).record is not None


@cython.binding(False)
cdef class Compiled:
    """A function that is recorded once and replayed in C; see `cybackprop.compile`.

    Attributes
    ----------
    function : callable
        The function itself, as it was given.
    programs : list of Program
        What has been recorded, the last used first.
    """
    cdef readonly object function
    cdef readonly list programs
    # (compiled, spec, leaves, args, kwargs, None) -> result
    # with a program: -> the run that has checked it, or None if it refuses
    cdef public object slow
    cdef object unpack                   # (args, kwargs) -> spec, leaves
    cdef object bind                     # (compiled, instance) -> the method of that instance
    cdef readonly Py_ssize_t audit_every
    cdef readonly bint reuse_results
    cdef public object state             # what `slow` wants to remember
    cdef Tensor door                     # who records has it: see `take_turn`
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, function, slow, unpack, bind, audit_every, reuse_results):
        self.function, self.slow, self.unpack, self.bind, self.programs = function, slow, unpack, bind, []
        self.audit_every, self.reuse_results = audit_every, reuse_results
        self.door = wrap(new_array(CBP_BOOL, 0, NULL))

    def explain(self):
        """Print what each program does, the last used first: `Program.explain`."""
        if not self.programs:
            print("nothing is recorded yet: call it first")
        for program in self.programs:
            explain_program(program)

    def profile(self, *args, int repeat=30):
        """Print the time of each instruction of the program for such arguments: `Program.profile`."""
        profile_program(self.programs, args, repeat)

    def save(self, path, *args, **kwargs):
        """Save the function as a program that runs without Python, at any batch size: `save_programs` with one.

        Parameters
        ----------
        path : str or path-like
        *args, **kwargs
            Example arguments; and batch, which of them follow the batch size (see `save_programs`).
        """
        save_compiled(self, path, args, kwargs)

    def __get__(self, instance, owner):
        return self if instance is None else self.bind(self, instance)

    def __call__(self, *args, **kwargs):
        cdef object leaves, spec
        cdef call_view few[8]
        cdef call_view *views = few
        cdef Py_ssize_t i, n
        if recording():                  # part of a larger program
            return self.function(*args, **kwargs)
        if kwargs or not plain(args):
            spec, leaves = self.unpack(args, kwargs)
        else:
            leaves = args
            spec = None                  # all of them are leaves
        n = len(leaves)
        if n > 8:
            views = <call_view *>malloc(n * sizeof(call_view))
            if views == NULL:
                raise MemoryError
        for i in range(n):
            views[i].held = False
        try:
            look(leaves, views)
            return self.answer(spec, leaves, views, args, kwargs)
        finally:
            for i in range(n):
                if views[i].held:
                    PyBuffer_Release(&views[i].view)
            if views != few:
                free(views)

    cdef object answer(self, spec, leaves, call_view *views, tuple args, dict kwargs):
        cdef Program program
        result = NOT_THIS
        if self.programs:                # mostly the first is for it, and a copy of the list would be an allocation
            result = self.attempt(<Program>self.programs[0], spec, leaves, views, args, kwargs)
        if result is NOT_THIS:
            for program in self.programs[1:]:            # other threads may change it while guards run Python
                result = self.attempt(program, spec, leaves, views, args, kwargs)
                if result is not NOT_THIS:
                    if program in self.programs:
                        self.programs.remove(program)
                        self.programs.insert(0, program)
                    return result
            return self.slow(self, spec, leaves, args, kwargs, None)
        return result

    cdef object attempt(self, Program program, spec, leaves, call_view *views, tuple args, dict kwargs):
        """What the program makes of the call, or NOT_THIS."""
        if not program.key.fits(spec, leaves, views) or not program.key.holds():
            return NOT_THIS
        if program.writes and program.writes_into(views, len(leaves)):
            return NOT_THIS              # eagerly, what is read there depends on when it is read
        program.calls += 1
        if program.calls == 2 or (self.audit_every and program.calls % self.audit_every == 0):
            run = self.slow(self, spec, leaves, args, kwargs, program)
            result = NOT_THIS if run is None else run.result
        else:
            result = program.replay(leaves, views)
        if result is NOT_THIS:
            program.calls -= 1
        return result


cdef object save_compiled = None


def set_save(save):
    """What `Compiled.save` calls: from `cybackprop.transforms`."""
    global save_compiled
    save_compiled = save


cdef bint plain(tuple args):
    """Whether every argument is a leaf."""
    for x in args:
        if isinstance(x, (list, tuple, dict)):
            return False
    return True


cdef int look(object leaves, call_view *views) except -1:
    """Open the arguments that are NumPy arrays."""
    cdef Py_ssize_t i
    for i in range(len(leaves)):
        x = leaves[i]
        if type(x) is np_ndarray or (not isinstance(x, Tensor) and isinstance(x, np_ndarray)):
            try:
                PyObject_GetBuffer(x, &views[i].view, PyBUF_FORMAT | PyBUF_STRIDES)
            except (ValueError, BufferError):        # dates, objects: no program reads these
                continue
            views[i].held = True
    return 0


def functions_with(set codes):
    """All functions there are whose code has one of these ids.  A million objects take some milliseconds."""
    cdef list everything = gc.get_objects(), found = []
    cdef Py_ssize_t i
    cdef size_t code, some = 0           # bit k: one of the codes has k there; few functions go past that
    for code in codes:
        some |= <size_t>1 << (code >> 6 & 31)
    for i in range(len(everything)):
        x = everything[i]
        if PyFunction_Check(x):
            code = <size_t>PyFunction_GetCode(x)
            if some >> (code >> 6 & 31) & 1 and code in codes:
                found.append(x)
    return found


cdef object np_ndarray = np.ndarray
