# Places: what a compiled function can name outside of its arguments, compared before each replay in one flat C array.
#
# No comparison runs code of the user's: dicts, lists, cells, slots and types are read as they lie in memory, and `==`
# is asked of built-in types alone.

cdef extern from *:
    """
    static PyObject *cbp_type_lookup(PyObject *type, PyObject *name)     /* borrowed; NULL: nowhere in the MRO */
    {
        return _PyType_Lookup((PyTypeObject *)type, name);
    }
    static unsigned cbp_type_tag(PyObject *type)         /* another after each change of the class or a base; 0: none */
    {
        if (PY_VERSION_HEX < 0x030D0000 && !PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_VALID_VERSION_TAG))
            return 0;
        return ((PyTypeObject *)type)->tp_version_tag;
    }
    static int cbp_function_is(PyObject *f, PyObject *code, PyObject *defaults, PyObject *keywords)
    {
        PyFunctionObject *x = (PyFunctionObject *)f;
        return x->func_code == code && (x->func_defaults ? x->func_defaults : Py_None) == defaults
            && (x->func_kwdefaults ? x->func_kwdefaults : Py_None) == keywords;
    }
    static PyObject *cbp_referent(PyObject *ref)         /* new; None where it is dead */
    {
    #if PY_VERSION_HEX >= 0x030D0000
        PyObject *x = NULL;
        if (PyWeakref_GetRef(ref, &x) < 0) return NULL;
        return x ? x : Py_NewRef(Py_None);
    #else
        PyObject *x = PyWeakref_GetObject(ref);
        return x ? Py_NewRef(x) : NULL;
    #endif
    }
    static int cbp_type_is(PyObject *x, PyObject *type, PyObject *own)   /* x: or a reference; own: its dict, or None */
    {
        PyObject *found, *dict = own;
        if (PyWeakref_Check(x)) {
            found = cbp_referent(x);
            if (!found) { PyErr_Clear(); return 0; }
        } else found = Py_NewRef(x);
        int same = (PyObject *)Py_TYPE(found) == type;
        if (same && own != Py_None) {
            dict = PyObject_GenericGetDict(found, NULL);
            if (dict) Py_DECREF(dict); else PyErr_Clear();
        }
        Py_DECREF(found);
        return same && dict == own;
    }
    """
    bint cbp_type_is(PyObject *x, PyObject *type, PyObject *own)
    PyObject *cbp_type_lookup(PyObject *type, PyObject *name)
    unsigned cbp_type_tag(PyObject *type)
    bint cbp_function_is(PyObject *f, PyObject *code, PyObject *defaults, PyObject *keywords)
    object cbp_referent(object ref)


cdef extern from "Python.h":
    bint PyFunction_Check(object x)
    bint PyMethod_Check(object x)
    object PyObject_GenericGetDict(object x, void *context)
    int PyObject_GenericSetAttr(object x, object name, object value) except -1
    PyObject *PyCell_GET(PyObject *cell)
    PyObject *PyList_GET_ITEM(PyObject *x, Py_ssize_t i)
    PyObject *PyTuple_GET_ITEM(PyObject *x, Py_ssize_t i)
    Py_ssize_t PyList_GET_SIZE(PyObject *x)
    Py_ssize_t PyDict_Size(object x)
    int PyDict_Next(object x, Py_ssize_t *at, PyObject **key, PyObject **value)
    int Py_EnterRecursiveCall(const char *where)
    void Py_LeaveRecursiveCall()
    void PyErr_Clear()


class Absent:
    """What lies where nothing is."""

    def __repr__(self):
        return "nothing"


ABSENT = Absent()
cdef tuple BY_CONTENT = (list, dict, set)               # others have attributes too, a factory, a length at most
cdef tuple STATIC = (bool, int, float, complex, str, bytes, type(None), type(...), np.generic)
cdef tuple ARRAYS = (Tensor, np.ndarray)
cdef tuple NAMING = (*STATIC, enum_type)


cpdef bint is_name(key) except -1:
    """Whether the key of an entry is one that runs no code of the user's: the entry can be a place then."""
    if type(key) is tuple:
        return all([is_name(part) for part in <tuple>key])
    return issubclass(type(key), NAMING)


def dict_items(x):
    """(keys, values) of a dict as its own iteration gives them; runs no code of its class."""
    if isinstance(x, OrderedDict):       # its order is not that of the dict inside
        keys = list(OrderedDict.keys(x))
        return keys, [dict.__getitem__(x, key) for key in keys]
    return list(dict.keys(x)), list(dict.values(x))


def own_dict(x):
    """The dict of an object's own attributes, or None; runs no code of its class."""
    try:
        return PyObject_GenericGetDict(x, NULL)
    except AttributeError:
        return None


def type_lookup(cls, str name):
    """What a class or one of its bases has under a name, as it lies there; ABSENT: nothing."""
    cdef PyObject *found = cbp_type_lookup(<PyObject *>cls, <PyObject *>name)
    return ABSENT if found == NULL else <object>found


def referent(ref):
    """What a weak reference or a proxy leads to; None: it is dead."""
    return cbp_referent(ref)


cdef enum:
    AT_ITEM, AT_CELL, AT_SLOT, AT_ELEMENT, AT_PROBE, THE_TYPE, THE_FUNCTION, THE_CLASS, THE_CONTENT, THE_BYTES

WHERE = ("item", "cell", "slot", "element", "probe", "type", "function", "class", "content", "bytes")


@cython.final
@cython.binding(False)
cdef class Place:
    """One place and what was there.

    Parameters
    ----------
    where : str
        "item" of a dict; "cell": in a closure's cell; "slot": of an object, by its descriptor; "element" of a list;
        "probe": what a function of this package returns.  "type" of an object or of what a weak reference leads to,
        key its dict or None; "function": code and defaults; "class":
        what it has under some names; "content": the elements of a container; "bytes" of an array.
    holder, key : object
    expected : object
        What was there; ABSENT: nothing.
    label : str
        What a person calls it.
    """
    cdef readonly object holder, key, expected
    cdef readonly str label
    cdef readonly int where

    def __init__(self, where, holder, key, expected, label):
        self.where = WHERE.index(where)
        self.holder, self.key, self.expected, self.label = holder, key, expected, label

    cpdef object current(self):
        """What is there now, of the first five kinds."""
        cdef PyObject *found = NULL
        if self.where == AT_ITEM:
            found = PyDict_GetItemWithError(self.holder, self.key)
        elif self.where == AT_CELL:
            found = PyCell_GET(<PyObject *>self.holder)
        elif self.where == AT_ELEMENT and <Py_ssize_t>self.key < PyList_GET_SIZE(<PyObject *>self.holder):
            found = PyList_GET_ITEM(<PyObject *>self.holder, self.key)
        elif self.where == AT_SLOT:
            try:
                return self.key.__get__(self.holder)
            except AttributeError:
                return ABSENT
        elif self.where == AT_PROBE:
            return self.holder()
        return ABSENT if found == NULL else <object>found


@cython.final
@cython.binding(False)
cdef class Content:
    """The elements of a list, dict, set or deque as they were; keys: of a dict."""
    cdef readonly object kind
    cdef readonly list keys, parts

    def __init__(self, x):
        self.kind = type(x)
        if isinstance(x, dict):
            self.keys, self.parts = dict_items(x)
        elif isinstance(x, list):
            self.keys, self.parts = None, list.copy(x)
        elif isinstance(x, tuple):
            self.keys, self.parts = None, list(tuple.__iter__(x))
        else:
            self.keys, self.parts = None, elements(x)

    cdef bint same(self, Places places, object x, bint own) except -1:
        """own: x is the container that was looked at, whose arrays have a Place each, and not another in its place."""
        cdef Py_ssize_t i, at = 0, n = len(self.parts)
        cdef PyObject *key
        cdef PyObject *value
        if type(x) is not self.kind:
            return False
        if self.keys is not None:
            if PyDict_Size(x) != n:
                return False
            if isinstance(x, OrderedDict):
                keys, parts = dict_items(x)
                if not agree(tuple(keys), tuple(self.keys)):
                    return False
                for i in range(n):
                    if parts[i] is not self.parts[i] and not (
                            own and is_name(keys[i]) and issubclass(type(self.parts[i]), ARRAYS)
                            ) and not places.same(parts[i], self.parts[i], False):
                        return False
                return True
            for i in range(n):
                if not PyDict_Next(x, &at, &key, &value):
                    return False
                if key != PyTuple_like(self.keys, i) and not agree(<object>key, self.keys[i]):
                    return False
                if value == PyTuple_like(self.parts, i) or (own and is_name(self.keys[i])
                                                            and issubclass(type(self.parts[i]), ARRAYS)):
                    continue
                if not places.same(<object>value, self.parts[i], False):
                    return False
            return True
        if isinstance(x, list):
            if PyList_GET_SIZE(<PyObject *>x) != n:
                return False
            for i in range(n):
                value = PyList_GET_ITEM(<PyObject *>x, i)
                if value == PyTuple_like(self.parts, i) or (own and issubclass(type(self.parts[i]), ARRAYS)):
                    continue
                if not places.same(<object>value, self.parts[i], False):
                    return False
            return True
        found = elements(x)
        return len(found) == n and self.all_same(places, found)

    cdef bint all_same(self, Places places, list parts) except -1:
        for now, then in zip(parts, self.parts):
            if now is not then and not places.same(now, then, False):
                return False
        return True


cdef list elements(x):
    """What is in a set, deque or tuple, also one of a subclass that iterates otherwise."""
    for kind in (set, frozenset, tuple, deque):
        if isinstance(x, kind):
            return list(kind.__iter__(x))
    raise TypeError(f"{type(x).__name__} is no container")


cdef inline PyObject *PyTuple_like(list parts, Py_ssize_t i) noexcept:
    return PyList_GET_ITEM(<PyObject *>parts, i)


cdef struct place_entry:                 # what `holds` reads of a Place; the Place keeps the objects
    int where
    bint anew                            # the array in it is read at each call, whichever it is
    unsigned tag                         # of a class when its names were last looked up
    PyObject *holder
    PyObject *key
    PyObject *expected


@cython.final
@cython.binding(False)
cdef class Places:
    """All places that a function can name, in the order in which they were found.

    Parameters
    ----------
    places : list of Place
    inputs : set of int
        ids of the arrays among them that operations took whole: their values may change, not their shape and dtype.
    anew : set of int
        ids of the Places whose array is read at each call, and at no other Place: another may lie there.
    """
    cdef readonly list places
    cdef readonly set inputs
    cdef dict contents                   # id of a container -> its Content, of an array -> (dtype, shape, bytes)
    cdef place_entry *entries
    cdef Py_ssize_t n

    def __cinit__(self, list places, inputs=(), anew=()):
        cdef Place p
        cdef Py_ssize_t i
        self.inputs = set(inputs)
        self.places = [p for p in places if (<Place>p).where != THE_BYTES or id((<Place>p).holder) not in self.inputs]
        self.n = len(self.places)
        self.contents = {id((<Place>p).holder): (<Place>p).expected for p in self.places
                         if (<Place>p).where >= THE_CONTENT}
        self.entries = <place_entry *>calloc(self.n + 1, sizeof(place_entry))
        if self.entries == NULL:
            raise MemoryError
        for i in range(self.n):
            p = <Place>self.places[i]
            self.entries[i].where = p.where
            self.entries[i].anew = id(p) in anew
            self.entries[i].holder, self.entries[i].key = <PyObject *>p.holder, <PyObject *>p.key
            self.entries[i].expected = NULL if p.expected is ABSENT else <PyObject *>p.expected

    def __dealloc__(self):
        free(self.entries)

    cdef bint holds(self) except -1:
        return self.first_change(0, False) < 0

    cdef Py_ssize_t first_change(self, Py_ssize_t start, bint exact) except -2:
        """The number of the first place from `start` on where something else is now; -1: there is none.

        exact: another tensor is something else too, also where it would be read anew.
        """
        cdef Py_ssize_t i
        cdef place_entry *e
        for i in range(start, self.n):
            e = &self.entries[i]
            if e.where == AT_ITEM:
                if PyDict_GetItemWithError(<object>e.holder, <object>e.key) == e.expected:
                    continue
            elif e.where == THE_FUNCTION:
                if cbp_function_is(e.holder, PyTuple_GET_ITEM(e.expected, 0), PyTuple_GET_ITEM(e.expected, 1),
                                   PyTuple_GET_ITEM(e.expected, 2)):
                    continue
            elif e.where == AT_CELL:
                if PyCell_GET(e.holder) == e.expected:
                    continue
            elif e.where == THE_TYPE:
                if cbp_type_is(e.holder, e.expected, e.key):
                    continue
            elif e.where == THE_CLASS and e.tag != 0 and cbp_type_tag(e.holder) == e.tag:
                continue
            if not self.entry_holds(e, <Place>self.places[i], exact):
                return i
        return -1

    cdef bint entry_holds(self, place_entry *e, Place p, bint exact) except -1:
        """The slower comparison: by value."""
        cdef Py_ssize_t k
        if p.where == THE_CONTENT:
            return (<Content>p.expected).same(self, p.holder, True)
        if p.where == THE_BYTES:
            return array_bytes(p.holder) == p.expected
        if p.where == THE_CLASS:
            for k in range(len(<list>p.key)):
                if type_lookup(p.holder, (<list>p.key)[k]) is not (<list>p.expected)[k]:
                    return False
            e.tag = cbp_type_tag(e.holder)
            return True
        if p.where == THE_TYPE and type(p.holder) is weakref.ref and p.expected is not weakref.ref:
            return type(cbp_referent(p.holder)) is p.expected
        if p.where == THE_TYPE or p.where == THE_FUNCTION:
            return False
        now = p.current()
        return now is p.expected or (now is not ABSENT and self.same(now, p.expected, e.anew and not exact))

    cdef bint same(self, object now, object then, bint anew) except -1:
        """Whether a program for `then` is right for `now`; anew: it reads the array there at each call."""
        if now is then:
            return True
        if type(now) is not type(then):
            return False
        if isinstance(then, Tensor):     # read anew, unless it changes in place or takes a gradient
            return (anew and not (<Tensor>now).a.mutable and not (<Tensor>then).a.mutable
                    and (<Tensor>then).record is None and (<Tensor>now).record is None
                    and (<Tensor>now).a.dtype == (<Tensor>then).a.dtype
                    and same_shape((<Tensor>now).a, (<Tensor>then).a))
        known = self.contents.get(id(then))
        if issubclass(type(then), np_ndarray):
            if id(then) in self.inputs:
                return anew and now.dtype == then.dtype and now.shape == then.shape
            return known is not None and array_bytes(now) == known
        if type(known) is not Content or type(then) not in BY_CONTENT:
            return agree(now, then)
        if Py_EnterRecursiveCall(b" in a comparison"):           # it holds itself
            PyErr_Clear()
            return False
        try:
            return (<Content>known).same(self, now, False)
        finally:
            Py_LeaveRecursiveCall()

    def changed(self, bint exact=False):
        """The Places where something else is now; exact: another tensor is something else, as after a run."""
        cdef Py_ssize_t i = self.first_change(0, exact)
        found = []
        while i >= 0:
            found.append(self.places[i])
            i = self.first_change(i + 1, exact)
        return found


def is_function(Place p):
    """Whether a place is the code of a function."""
    return p.where == THE_FUNCTION


def is_bytes(Place p):
    """Whether a place is that of an array's bytes."""
    return p.where == THE_BYTES


def array_bytes(x):
    """What an array is compared by."""
    return x.dtype.str, x.shape, x.tobytes()


cpdef bint agree(object now, object then, set pairs=None) except -1:
    """Whether a value is what it was: that very object, or one that nothing can distinguish from it.

    Numbers and strings count by type and value (a NaN is a NaN, -0.0 is not 0.0), functions by code, defaults,
    attributes and what they close over, methods and partials by their parts, tuples by their elements.  pairs: of
    functions that are being compared.
    """
    cdef double x, y
    if now is then:
        return True
    if type(now) is not type(then):
        return False
    if type(then) is float:
        x, y = now, then
        return (x == y and copysign(1, x) == copysign(1, y)) or (x != x and y != y)
    if issubclass(type(then), (np.generic, complex)):
        return bytes(np.asarray(now)) == bytes(np.asarray(then)) or bool(now != now and then != then)
    if type(then) in (int, str, bytes, range):
        return now == then
    if type(then) is slice:
        return agree((now.start, now.stop, now.step), (then.start, then.stop, then.step))
    if type(then) is frozenset:
        return agree(tuple(now), tuple(then))            # in their order, which loops see
    if issubclass(type(then), np.dtype):
        return now == then
    if type(then) is type(len):
        return now == then               # append of one list, say
    if Py_EnterRecursiveCall(b" in a comparison"):       # too deep
        PyErr_Clear()
        return False
    try:
        return agree_parts(now, then, set() if pairs is None else pairs)
    finally:
        Py_LeaveRecursiveCall()


cdef bint agree_parts(object now, object then, set pairs) except -1:
    if PyMethod_Check(then):             # a bound method is made anew each time it is read
        return now.__self__ is then.__self__ and agree(now.__func__, then.__func__, pairs)
    if PyFunction_Check(then):
        return same_function(now, then, pairs)
    if type(then) is tuple or (isinstance(then, tuple) and hasattr(type(then), "_fields")
                               and not own_dict(now) and not own_dict(then)):
        return agree_all(tuple.__iter__(now), tuple.__iter__(then), tuple.__len__(now), tuple.__len__(then), pairs)
    if type(then) is functools.partial:
        return (agree(now.func, then.func, pairs) and agree(now.args, then.args, pairs)
                and agree_dicts(now.keywords, then.keywords, pairs) and agree_dicts(vars(now), vars(then), pairs))
    return False


cdef bint agree_all(now, then, Py_ssize_t n, Py_ssize_t m, set pairs) except -1:
    if n != m:
        return False
    for x, y in zip(now, then):
        if not agree(x, y, pairs):
            return False
    return True


cdef bint agree_dicts(dict now, dict then, set pairs) except -1:
    return list(now) == list(then) and agree_all(now.values(), then.values(), len(now), len(then), pairs)


cdef bint same_function(f, g, set pairs) except -1:
    """Whether two functions do the same: made of one code, say, at each call anew.  They may close over themselves."""
    if f.__code__ is not g.__code__ or f.__globals__ is not g.__globals__ or f.__kwdefaults__ or g.__kwdefaults__:
        return False
    if (id(f), id(g)) in pairs:
        return True
    pairs.add((id(f), id(g)))
    if not agree(f.__defaults__, g.__defaults__, pairs) or not agree_dicts(f.__dict__, g.__dict__, pairs):
        return False
    for x, y in zip(f.__closure__ or (), g.__closure__ or ()):
        try:
            if not agree(x.cell_contents, y.cell_contents, pairs):
                return False
        except ValueError:               # an empty cell
            return False
    return True
