# What must hold for a program to stand for a call: the key of the arguments, the places outside.

cdef enum:
    LEAF_ARRAY, LEAF_TENSOR, LEAF_STATIC, LEAF_OBJECT

KINDS = ("array", "tensor", "static", "object")


cdef struct leaf_shape:
    int kind, ndim, dtype
    bint linked, follows                 # follows: the length of the first axis is that of the batch
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
    places : Places
    facts : callable
        () -> whether modules are as they were; asked only when `structure_version` has moved.
    grads : list of (Tensor, bool)
        Whether .grad is None, where it is read before it is written.
    same : list of int
        For each leaf the first one that is the same tensor: see `coinciding`.
    aliases : list of (Place, int)
        Places outside that hold the very tensor that is a leaf.
    along : list of int
        Leaves whose first axis may have any length from 2 on, but one for all.
    """
    cdef readonly object spec, facts
    cdef readonly list leaves, grads, same, aliases
    cdef readonly Places places
    cdef leaf_shape *shapes              # the leaves again, for a quick comparison
    cdef Py_ssize_t n, lead              # lead: the first leaf that follows the batch, -1: none
    cdef long long structure
    cdef bint no_grad
    cdef bint odd                        # a dict among the arguments has other keys than strings
    cdef list twice                      # [(leaf, the same one before it)]: recorded as one, so they must be one

    def __cinit__(self, spec, leaves, places, facts, grads, same, aliases, along=()):
        cdef Py_ssize_t i, k
        self.n = len(leaves)
        self.shapes = <leaf_shape *>calloc(self.n + 1, sizeof(leaf_shape))
        if self.shapes == NULL:
            raise MemoryError
        self.spec, self.leaves, self.places, self.facts, self.grads = spec, leaves, places, facts, grads
        self.same, self.aliases = same, aliases
        self.twice = [(i, k) for i, k in enumerate(same) if i != k]
        self.structure = structure
        self.no_grad = cbp_no_grad != 0
        self.odd = has_odd_keys(spec)
        self.lead = along[0] if along else -1
        for i in range(self.n):
            self.shapes[i].follows = i in along
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
        cdef Py_ssize_t i, k
        if self.no_grad != (cbp_no_grad != 0) or self.n != len(leaves) or not self.is_spec(spec):
            return False
        for i in range(self.n):
            if not self.leaf_fits(i, leaves[i], &views[i]):
                return False
        if self.lead >= 0 and not self.one_batch(leaves, views):
            return False
        for i, k in self.twice:
            if (<Tensor?>leaves[i]).a != (<Tensor?>leaves[k]).a:
                return False
        for place, k in self.aliases:
            if (<Place>place).current() is not leaves[k]:
                return False
        return True

    cdef bint is_spec(self, object spec) except -1:
        """Whether arguments have this structure; keys of dicts count by type and value."""
        return self.spec is spec or (self.spec == spec and (not self.odd or agree(spec, self.spec)))

    cdef Py_ssize_t batch_of(self, object leaves, call_view *views) except -1:
        """The batch size of arguments that fit."""
        return length_of(leaves[self.lead], &views[self.lead])

    cdef bint one_batch(self, object leaves, call_view *views) except -1:
        """Whether all that follows the batch has one length, from 2 on."""
        cdef Py_ssize_t i, n = self.batch_of(leaves, views)
        for i in range(self.n):
            if self.shapes[i].follows and length_of(leaves[i], &views[i]) != n:
                return False
        return n > 1

    cdef bint leaf_fits(self, Py_ssize_t i, object x, const call_view *v):
        cdef leaf_shape *s = &self.shapes[i]
        cdef cbp_array *a
        if s.kind == LEAF_ARRAY:
            return (v.held and v.view.ndim == s.ndim and strcmp(v.view.format, s.format) == 0
                    and (s.ndim == 0 or same_lengths(s, v.view.shape)))
        if s.kind == LEAF_TENSOR:
            if not isinstance(x, Tensor):
                return False
            a = (<Tensor>x).a
            return (not a.mutable and a.dtype == s.dtype and a.ndim == s.ndim
                    and ((<Tensor>x).record is not None) == s.linked
                    and same_lengths(s, a.shape))
        then = (<tuple>self.leaves[i])[1]
        if type(then) is weakref.ref:
            then = then()
            if then is None:             # it is gone; None among the arguments is something else
                return False
        return agree(x, then) and (not isinstance(x, Tensor) or ((<Tensor>x).record is not None) == s.linked)

    cdef bint holds(self):
        """The part that does not lie in the arguments."""
        for t, none in self.grads:
            if ((<Tensor>t).grad_ is None) != none:
                return False
        return self.stands()

    cdef bint stands(self):
        """The part that lies outside."""
        if not self.places.holds():
            return False
        if self.structure != structure:
            if not self.facts():
                return False
            self.structure = structure
        return True

    def inputs(self):
        """The Places of arrays that are read anew at each call."""
        return [p for p in self.places.places if (<Place>p).where <= AT_PROBE and (
            isinstance((<Place>p).expected, Tensor) or id((<Place>p).expected) in self.places.inputs)]

    def changed(self):
        """Labels of what is not as it was outside."""
        found = [p.label for p in self.places.changed()]
        return found if found or self.structure == structure or self.facts() else ["a module or an optimizer"]

    def differs(self, spec, leaves, names):
        """In what a call's arguments are others than these, as text, or None; names: of the leaves."""
        cdef call_view view
        cdef Py_ssize_t i
        view.held = False
        if self.no_grad != (cbp_no_grad != 0):
            return "whether gradients are recorded"
        if self.n != len(leaves) or not self.is_spec(spec):
            return "the structure of the arguments"
        for i in range(self.n):
            fact = leaf_fact(leaves[i])
            kind, what, *_ = known = self.leaves[i]
            if kind in ("array", "tensor"):
                if fact != known:
                    return f"`{names[i]}`: {leaf_text(fact)} instead of {leaf_text(known)}"
            elif not self.leaf_fits(i, leaves[i], &view):
                return f"`{names[i]}`: {leaf_text(fact)} instead of {leaf_text(known)}"
        if any([leaves[i] is not leaves[k] for i, k in self.twice]):
            return "which of the arguments are one tensor"
        for t, none in self.grads:
            if ((<Tensor>t).grad_ is None) != none:
                return "whether a gradient is None"
        changed = self.changed()
        return "`" + "`, `".join(changed) + "`" if changed else None


cdef inline bint same_lengths(const leaf_shape *s, const Py_ssize_t *shape) noexcept:
    cdef int first = s.follows
    return memcmp(shape + first, s.shape + first, (s.ndim - first) * sizeof(Py_ssize_t)) == 0


cdef Py_ssize_t length_of(object x, const call_view *v) except -1:
    """The length of the first axis of an argument."""
    return v.view.shape[0] if v.held else (<Tensor?>x).a.shape[0]


cdef bint has_odd_keys(spec) except -1:
    if spec is None:
        return False
    _, keys, children = spec
    if type(keys) is tuple and any([type(key) is not str for key in keys]):
        return True
    return any([has_odd_keys(child) for child in children or ()])


def leaf_text(fact):
    """What a leaf is, for a person."""
    kind, what, shape, _ = fact
    if kind in ("array", "tensor"):
        return f"{kind} {DTYPES[what] if kind == 'tensor' else what.decode()} {shape}"
    text = repr(what() if type(what) is weakref.ref else what) if kind == "static" else f"another {shape}"
    return text if len(text) <= 40 else text[:37] + "..."


def coinciding(leaves):
    """For each leaf the first one that is the same tensor, itself mostly: a recording of f(x, x) is none of f(x, y)."""
    first = {}
    return [first.setdefault(<size_t>(<Tensor>x).a, i) if isinstance(x, Tensor) else i for i, x in enumerate(leaves)]


def leaf_fact(x):
    """What a key knows of an argument: (kind, dtype or format, shape, whether it has a history), or itself."""
    if isinstance(x, Tensor) and not (<Tensor>x).a.mutable:
        return "tensor", (<Tensor>x).a.dtype, array_shape((<Tensor>x).a), (<Tensor>x).record is not None
    if is_array(x):
        with memoryview(x) as view:
            return "array", view.format.encode(), x.shape, False
    if issubclass(type(x), STATIC) or type(x) in (range, slice):
        return "static", x, type(x), False
    linked = isinstance(x, Tensor) and (<Tensor>x).record is not None
    try:                                 # a program does not keep what it is for alive
        kept = x if PyFunction_Check(x) or PyMethod_Check(x) or type(x) is functools.partial else weakref.ref(x)
    except TypeError:
        kept = x
    return "object", kept, type(x).__name__, linked
