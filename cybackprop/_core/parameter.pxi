# Parameter: a leaf that an optimizer changes in place.

# The last write of each array that has been written, so that a TapeError can name it: address -> `written_by`.
cdef dict writers = {}


cdef str last_write(cbp_array *a):
    a = cbp_array_root(a)
    write = writers.get(<size_t>a)
    if write is None:
        return ""
    place = line_of(write)
    return f" (written by {write[0]})" if not place else f" (written by {write[0]} at {place})"


cdef str line_of(tuple write):
    """file:line of what `written_by` noted, "" outside Python."""
    what, code, place = write
    if code is None:
        return ""
    line = next((line for first, end, line in code.co_lines() if first <= place < end), None)
    return f"{code.co_filename}:{line}"


cdef void note_write(cbp_array *a, object what):
    """Count a write in place and remember who did it."""
    a = cbp_array_root(a)
    a.version += 1
    writers[<size_t>a] = what


cdef tuple written_by(str what):
    """What writes, and from where: the first frame outside this package.  Lines are looked up when somebody asks."""
    frame = sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("cybackprop"):
        frame = frame.f_back
    return (what, None, 0) if frame is None else (what, frame.f_code, frame.f_lasti)


@cython.binding(False)
cdef class State(Tensor):
    """A tensor that changes in place, by `assign`: a running mean, a counter, a target network's weight.

    A compiled program reads it anew at every call and writes it last, when nothing can fail any more.  `Parameter` is
    the one that is trained.

    Parameters
    ----------
    data : array-like
        Initial values, copied.
    dtype : dtype-like, optional
        As in `cybackprop.tensor`.

    Examples
    --------
    >>> import cybackprop as cb
    >>> calls = cb.State(0.0)
    >>> calls.assign(calls + 1); calls.item()
    1.0
    """

    def __init__(self, data, dtype=None):
        take_value(self, tensor(data, dtype))

    def __dealloc__(self):
        if self.a != NULL and self.a.version > 0 and self.a.refs == 1:
            writers.pop(<size_t>self.a, None)

    @property
    def version(self):
        """How many times the values were written in place."""
        return cbp_array_version(self.a)

    def assign(self, values):
        """Write new values of the same shape in place; the version goes up by one.

        Raises
        ------
        ShapeError
            The shapes differ.  Nothing was written then.
        DTypeError
            The values are of a kind that this dtype does not hold.
        """
        cdef cbp_array *new
        if isinstance(values, Tensor):
            new = assignable(self, <Tensor>values)
        else:
            arr = numpy_of(values)
            if arr.shape != self.shape:
                raise ShapeError(f"assign: the {self.kind()} has shape {self.shape}, the values {arr.shape}")
            if arr.dtype.kind not in "fiub" or (self.a.dtype == CBP_I64 and arr.dtype.kind == "f"):
                raise DTypeError(f"assign: can't write {arr.dtype} data into a {self.dtype} {self.kind()}")
            new = from_numpy(arr, self.a.dtype)
        try:
            assign_array(self.a, new)
        finally:
            cbp_array_drop(new)

    cdef str kind(self):
        return type(self).__name__.lower()


cdef int assign_array(cbp_array *to, cbp_array *values) except -1:
    """Write the values of another array of that shape and dtype."""
    cdef cbp_op op
    clear(&op, CBP_OP_copy)
    return run_in_place(&op, &values, 1, &to, 1, written_by("assign"))


cdef cbp_array *assignable(State s, Tensor value) except NULL:
    """The values that s takes from a tensor, in its dtype."""
    if not same_shape(s.a, value.a):
        raise ShapeError(f"assign: the {s.kind()} has shape {s.shape}, the values {value.shape}")
    if value.a.dtype == s.a.dtype:
        return cbp_array_hold(value.a)
    if value.a.dtype < CBP_I64 and (s.a.dtype == CBP_I64 or (s.a.dtype == CBP_BOOL and not value.a.weak)):
        raise DTypeError(f"assign: can't write {value.dtype} data into a {s.dtype} {s.kind()}; use astype")
    return cbp_array_hold((<Tensor>raw_cast(value, DTYPES[s.a.dtype])).a)


cdef int take_value(State s, Tensor value) except -1:
    if s.a.mutable:
        raise TypeError(f"this {type(s).__name__} has its value; write another with assign")
    cbp_array_drop(s.a)
    s.a = cbp_array_hold(value.a)
    s.a.mutable = 1
    s.a.weak = 0
    return 0


@cython.binding(False)
cdef class Parameter(State):
    """A tensor that is trained: a leaf that optimizers change in place, with a version counter.

    Parameters
    ----------
    data : array-like
        Initial values, copied; float32 or float64 (Python floats become float32).
    requires_grad : bool
        False freezes it.

    Examples
    --------
    >>> import cybackprop as cb
    >>> w = cb.Parameter([1.0, 2.0])
    >>> w.assign([3.0, 4.0]); w.version
    1
    """

    def __init__(self, data, *, requires_grad=True):
        cdef Tensor value = tensor(data)
        if value.a.dtype > CBP_F64:
            raise DTypeError(f"a Parameter is float32 or float64, not {value.dtype}")
        take_value(self, value)
        self.requires_grad = requires_grad
