# Parameter: a leaf that an optimizer changes in place.

# The last write of each array that has been written, so that a TapeError can name it: address -> (what, where).
cdef dict writers = {}


cdef str last_write(cbp_array *a):
    while a.is_view:
        a = a.base
    what = writers.get(<size_t>a)
    return "" if what is None else f" (written by {what})"


cdef void note_write(cbp_array *a, object what):
    """Count a write in place and remember who did it."""
    while a.is_view:
        a = a.base
    a.version += 1
    writers[<size_t>a] = what


cdef str caller_place(int depth):
    """file:line of the first frame outside this package."""
    frame = sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("cybackprop"):
        frame = frame.f_back
    return "" if frame is None else f" at {frame.f_code.co_filename}:{frame.f_lineno}"


@cython.binding(False)
cdef class Parameter(Tensor):
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
        cdef Tensor value
        if self.a.mutable:
            raise TypeError("this Parameter has its value; write another with assign")
        value = tensor(data)
        if value.a.dtype > CBP_F64:
            raise DTypeError(f"a Parameter is float32 or float64, not {value.dtype}")
        cbp_array_drop(self.a)
        self.a = cbp_array_hold(value.a)
        self.a.mutable = 1
        self.requires_grad = requires_grad

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
        """
        cdef cbp_array *new
        arr = numpy_of(values)
        if arr.shape != self.shape:
            raise ShapeError(f"assign: the parameter has shape {self.shape}, the values {arr.shape}")
        if arr.dtype.kind not in "fiub":
            raise DTypeError(f"assign: can't write {arr.dtype} data into a {self.dtype} parameter")
        new = from_numpy(arr, self.a.dtype)
        memcpy(self.a.data, new.data, self.nbytes)
        cbp_array_drop(new)
        note_write(self.a, "assign" + caller_place(0))
