# What must hold for a program to stand for a call: guards on places outside, and the key of the arguments.

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
