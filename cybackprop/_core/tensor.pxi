# Tensor: an immutable value and the record of how it came to be.  Parameter: the one thing that changes in place.

cdef dict operators = {}                 # operators that structured ops provide: filled by cybackprop.ops
cdef long long structure = 0
cdef bint wrapping = False               # a Tensor is being made whose value comes next: see `wrap`


def structure_version():
    """A counter that every change of a module, a parameter's status or a container increases."""
    return structure


def structure_changed():
    """Tell programs that modules, parameters or containers are not what they were."""
    global structure
    structure += 1


@cython.no_gc
@cython.binding(False)                   # methods then refuse a self of another type
@cython.freelist(512)
cdef class Tensor:
    """An n-dimensional array of float32, float64, int64 or bool whose value never changes.

    Made by `cybackprop.tensor` and by operations.  NumPy reads it without a copy (``np.asarray(t)``, read-only).
    """

    def __cinit__(self):
        global wrapping
        if wrapping:
            wrapping = False             # `wrap` brings the value
        else:
            self.a = scalar_array(0, CBP_F32)

    def __init__(self):
        raise TypeError("make tensors with cybackprop.tensor(data)")

    def __hash__(self):
        return <Py_hash_t>(<size_t><void *>self >> 4)

    def __dealloc__(self):
        if self.record is not None and self.record.owner == <PyObject *>self:
            self.record.owner = NULL
        cbp_array_drop(self.a)

    # ---- what it is

    @property
    def shape(self):
        """Length of each axis."""
        see_shape(self.a)
        return array_shape(self.a)

    @property
    def dtype(self):
        """The NumPy dtype."""
        return DTYPES[self.a.dtype]

    @property
    def ndim(self):
        """Number of axes."""
        return self.a.ndim

    @property
    def size(self):
        """Number of elements."""
        see_shape(self.a)
        return self.a.size

    @property
    def nbytes(self):
        """Bytes of the values."""
        return self.a.size * cbp_itemsize(<cbp_dtype>self.a.dtype)

    @property
    def grad(self):
        """The gradient that backward left here, a Tensor, or None."""
        return (<Recorder>cbp_recorder).see_grad(self, True) if recording() else self.grad_

    @grad.setter
    def grad(self, value):
        if value is not None:
            value = as_operand(value, self.a.dtype, "grad")
            if (<Tensor>value).a.dtype != self.a.dtype:
                raise DTypeError(f"grad is {value.dtype}, the tensor is {self.dtype}")
            if array_shape((<Tensor>value).a) != array_shape(self.a):
                raise ShapeError(f"grad has shape {value.shape}, the tensor {self.shape}")
            value = own_value(with_weakness(value, self.a.weak))
        if recording():
            (<Recorder>cbp_recorder).see_grad(self, False)
        self.grad_ = value

    @grad.deleter
    def grad(self):
        self.grad = None

    @property
    def requires_grad(self):
        """Whether operations on this tensor are recorded.  Settable on leaves."""
        return self.record is not None

    @requires_grad.setter
    def requires_grad(self, value):
        if bool(value) == (self.record is not None):
            return
        if value and self.a.dtype > CBP_F64:
            raise DTypeError(f"only float32 and float64 tensors take gradients, this one is {self.dtype}")
        if not value and self.record.row is not leaf_row:
            raise TapeError(f"requires_grad: this tensor is the result of {self.record.row.name}; use detach()")
        structure_changed()
        if value:
            self.record = new_record(leaf_row, 0, self.a)
            self.record.owner = <PyObject *>self
        else:
            if self.record.owner == <PyObject *>self:
                self.record.owner = NULL
            self.record = None

    @requires_grad.deleter
    def requires_grad(self):
        raise AttributeError("requires_grad can't be deleted; set it to False")

    @property
    def is_leaf(self):
        """Whether no recorded operation made it."""
        return self.record is None or self.record.row is leaf_row

    # ---- values

    def numpy(self):
        """The values as a read-only NumPy array over the same memory."""
        value_read("numpy", self.a)
        return np.asarray(self)

    def __array__(self, dtype=None, copy=None):
        """What NumPy asks for where it does not get the memory itself: while recording."""
        value_read("numpy", self.a)
        values = np.asarray(memoryview(self), dtype)
        return values.copy() if copy else values

    def item(self, *place):
        """The value of a tensor with one element, or of one at a place, as a Python number.

        Parameters
        ----------
        *place : int, or one tuple of int
            One index for each axis; one alone counts through all elements.
        """
        value_read("item", self.a)
        if place:
            return np.asarray(self).item(*place)
        if self.a.size != 1:
            raise ShapeError(f"item: the tensor has shape {self.shape}; only one element makes a number")
        return only_number(self.a)

    def tolist(self):
        """The values as nested lists."""
        return np.asarray(self).tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __format__(self, str spec):
        return format(self.item(), spec) if spec else str(self)

    def __bool__(self):
        if self.a.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous")
        cdef bint truth = only_number(self.a)
        if recording():                  # a program takes this branch again only if the truth is the same
            (<Recorder>cbp_recorder).guard(self.a, truth, 1)
        return truth

    def __index__(self):
        if self.a.dtype < CBP_I64 or self.a.ndim != 0:
            raise TypeError("only an int64 tensor without axes can be an index")
        return int(self.item())

    def __len__(self):
        if self.a.ndim == 0:
            raise TypeError("a tensor without axes has no length")
        see_shape(self.a)
        return self.a.shape[0]

    def __iter__(self):
        if self.a.ndim == 0:
            raise TypeError("a tensor without axes can't be iterated")
        see_shape(self.a)
        return (self[i] for i in range(self.a.shape[0]))

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a tensor's memory is read-only; copy it with np.array(t)")
        value_read("numpy", self.a)
        fill_view(view, self, self.a, flags)

    def __releasebuffer__(self, Py_buffer *view):
        release_view(view)

    def __repr__(self):
        if recording():
            return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype}, being recorded)"
        text = np.array2string(np.asarray(self), separator=", ", prefix=type(self).__name__ + "(", threshold=60)
        note = "" if self.record is None or type(self) is Parameter else (
            ", requires_grad=True" if self.record.row is leaf_row else f", op={self.record.row.name}")
        return f"{type(self).__name__}({text}, dtype={self.dtype}{note})"

    def __reduce__(self):
        return _rebuild, (type(self), np.array(self), self.is_leaf and self.record is not None)

    def __copy__(self):
        return with_weakness(self, False)

    def __deepcopy__(self, memo):
        return _rebuild(type(self), self, self.is_leaf and self.record is not None)

    # ---- gradients

    def detach(self):
        """The same values without a history; shares memory and, for a Parameter, its version."""
        return wrap(cbp_array_hold(self.a))

    def backward(self, gradient=None, *, retain_graph=False, create_graph=False):
        """Differentiate with respect to every leaf it depends on and add the results to their ``.grad``.

        Parameters
        ----------
        gradient : array-like, optional
            The cotangent, of this tensor's shape; may be left out for a tensor with one element (then 1).
        retain_graph : bool
            Keep the records, so that backward can run again.
        create_graph : bool
            Record the sweep itself, so that gradients can be differentiated again.

        Raises
        ------
        TapeError
            Nothing was recorded, the records were freed, or a Parameter has changed since the forward.
        ShapeError
            The tensor has several elements and no gradient was given.
        """
        run_backward(self, gradient, retain_graph, create_graph)

    def retain_grad(self):
        """Keep the gradient of this intermediate result in ``.grad`` when backward passes."""
        if self.record is None:
            raise TapeError("retain_grad: this tensor takes no gradient")
        self.record.owner = <PyObject *>self

    def register_hook(self, hook):
        """Call ``hook(g)`` with the finished gradient; a Tensor it returns takes the gradient's place.

        Returns a function that removes the hook.
        """
        if self.record is None:
            raise TapeError("register_hook: this tensor takes no gradient")
        if self.record.hooks is None:
            self.record.hooks = []
        record = self.record
        entry = [hook]                   # the same function may be registered twice
        (<list>record.hooks).append(entry)
        if record.row is leaf_row:       # else this run's own
            structure_changed()

        def remove():
            if (<Record>record).hooks is not None:
                (<Record>record).hooks = [e for e in (<Record>record).hooks if e is not entry]
                if (<Record>record).row is leaf_row:
                    structure_changed()
        return remove

    @property
    def hooks(self):
        """The functions that `register_hook` was given, a tuple."""
        return () if self.record is None or self.record.hooks is None else tuple([e[0] for e in self.record.hooks])

    # ---- operators: Python's names for the rows

    def __add__(self, other): return binary(ADD, self, other)
    def __radd__(self, other): return binary(ADD, other, self)
    def __sub__(self, other): return binary(SUB, self, other)
    def __rsub__(self, other): return binary(SUB, other, self)
    def __mul__(self, other): return binary(MUL, self, other)
    def __rmul__(self, other): return binary(MUL, other, self)
    def __truediv__(self, other): return binary(DIV, self, other)
    def __rtruediv__(self, other): return binary(DIV, other, self)
    def __floordiv__(self, other): return binary(FLOOR_DIVIDE, self, other)
    def __rfloordiv__(self, other): return binary(FLOOR_DIVIDE, other, self)
    def __mod__(self, other): return binary(REMAINDER, self, other)
    def __rmod__(self, other): return binary(REMAINDER, other, self)
    def __pow__(self, other, modulo): return NotImplemented if modulo is not None else operators["pow"](self, other)
    def __rpow__(self, other, modulo): return NotImplemented if modulo is not None else operators["pow"](other, self)
    def __matmul__(self, other): return operators["matmul"](self, other)
    def __rmatmul__(self, other): return operators["matmul"](other, self)
    def __neg__(self): return unary(NEG, self, 0, 0)
    def __pos__(self): return self
    def __abs__(self): return unary(ABS, self, 0, 0)
    def __invert__(self): return operators["invert"](self)
    def __and__(self, other): return operators["and"](self, other)
    def __rand__(self, other): return operators["and"](other, self)
    def __or__(self, other): return operators["or"](self, other)
    def __ror__(self, other): return operators["or"](other, self)
    def __xor__(self, other): return operators["xor"](self, other)
    def __rxor__(self, other): return operators["xor"](other, self)
    def __eq__(self, other): return NotImplemented if other is None else compare(EQUAL, self, other)
    def __ne__(self, other): return NotImplemented if other is None else compare(NOT_EQUAL, self, other)
    def __lt__(self, other): return compare(LESS, self, other)
    def __le__(self, other): return compare(LESS_EQUAL, self, other)
    def __gt__(self, other): return compare(GREATER, self, other)
    def __ge__(self, other): return compare(GREATER_EQUAL, self, other)
    def __getitem__(self, key): return operators["getitem"](self, key)

    def __setitem__(self, key, value):
        raise TypeError("the values of a tensor never change, x[i] = v neither: make a new tensor with cb.where, "
                        "concatenate or stack; a State or Parameter takes whole new values with assign")

    def __delitem__(self, key):
        raise TypeError("elements of a tensor can't be deleted; choose those that stay: x[key]")


def number(Tensor t):
    """The only element of a state as a Python number; in a recording, later runs must find the same one."""
    if recording():
        (<Recorder>cbp_recorder).guard(t.a, only_number(t.a), 0)
    return only_number(t.a)


def live_number(State t):
    """The only element of a float64 State as a Python float; in a compiled function a weak tensor, its value now.

    An option of an optimizer is read so: a program computes with the number of each call.
    """
    cdef Tensor now
    if not cbp_inside:
        return only_number(t.a)
    now = wrap(copied(t.a))
    now.a.weak = 1
    return now


cdef object only_number(const cbp_array *a):
    """The only element as a Python number."""
    if a.dtype == CBP_F32:
        return (<float *>a.data)[0]
    if a.dtype == CBP_F64:
        return (<double *>a.data)[0]
    if a.dtype == CBP_I64:
        return (<int64_t *>a.data)[0]
    return bool((<uint8_t *>a.data)[0])


ctypedef struct export:                  # what one buffer export holds
    cbp_array *a
    Py_ssize_t strides[8]

cdef const char *FORMATS[4]
FORMATS[:] = ["f", "d", "q", "?"]


cdef int fill_view(Py_buffer *view, object owner, cbp_array *a, int flags) except -1:
    """Export an array read-only; it stays where it is (pinned) and alive until the view is released."""
    cdef Py_ssize_t itemsize = cbp_itemsize(<cbp_dtype>a.dtype), step = itemsize
    cdef export *e = <export *>malloc(sizeof(export))
    cdef int i
    if e == NULL:
        raise MemoryError
    for i in range(a.ndim - 1, -1, -1):
        e.strides[i] = step
        step *= a.shape[i]
    e.a = cbp_array_hold(a)
    a.pins += 1
    view.buf = a.data
    view.obj = owner
    view.len = a.size * itemsize
    view.itemsize = itemsize
    view.readonly = 1
    view.ndim = a.ndim
    view.format = <char *>FORMATS[a.dtype] if flags & PyBUF_FORMAT else NULL
    view.shape = a.shape if flags & PyBUF_ND else NULL
    view.strides = e.strides if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
    view.suboffsets = NULL
    view.internal = e
    return 0


cdef void release_view(Py_buffer *view) noexcept:
    cdef export *e = <export *>view.internal
    e.a.pins -= 1
    cbp_array_drop(e.a)
    free(e)


def _rebuild(cls, values, requires_grad):
    if cls is Parameter:
        return Parameter(values, requires_grad=requires_grad)
    made = State(values) if cls is State else tensor(values)
    made.requires_grad = requires_grad
    return made


def attach_method(str name, function):
    """Give Tensor a method: called by cybackprop.ops for the rows that are methods too."""
    PyDict_SetItem(<object>(<PyTypeObject *>Tensor).tp_dict, name, function)
    PyType_Modified(Tensor)


def attach_operator(str name, function):
    """Set the function behind one of Tensor's operators."""
    operators[name] = function
