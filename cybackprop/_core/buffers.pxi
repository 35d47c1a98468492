# Arrays of other people, or any other buffers: what a call over them holds until it ends, and room for its kernel.

cdef enum: MOST_BUFFERS = 8

ctypedef struct held_buffers:
    Py_buffer views[MOST_BUFFERS]
    int count
    int dtype                            # the first array's; all others must have it

cdef bint LITTLE_ENDIAN = sys.byteorder == "little"


cdef Py_buffer *take_buffer(held_buffers *all, str op, str name, x, int ndim, bint write=False) except NULL:
    """The buffer of an array with ndim axes (0: any number); `release_buffers` gives it back."""
    cdef Py_buffer *v = &all.views[all.count]
    cdef const char *format
    cdef int dtype
    try:
        PyObject_GetBuffer(x, v, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if write else 0))
    except TypeError:
        raise TypeError(f"{op}: {name} must be an array, not {type(x).__name__}") from None
    except (ValueError, BufferError) as error:           # strided, or read-only where it is written
        raise ValueError(f"{op}: {name}: {error}") from None
    all.count += 1
    format = v.format
    if format[0] == c"@" or format[0] == c"=" or (format[0] == c"<" and LITTLE_ENDIAN):
        format += 1
    dtype = -1 if format[1] else CBP_F32 if format[0] == c"f" else CBP_F64 if format[0] == c"d" else -1
    if dtype < 0:
        raise DTypeError(f"{op}: {name} must be float32 or float64, its items are {v.format.decode()!r}; "
                         f"nothing is cast here")
    if all.count > 1 and dtype != all.dtype:
        raise DTypeError(f"{op}: the dtypes of the arrays must match, {name} is {DTYPES[dtype]} "
                         f"and the first {DTYPES[all.dtype]}; nothing is cast here")
    all.dtype = dtype
    if ndim and v.ndim != ndim:
        raise ShapeError(f"{op}: {name} {buffer_shape(v)} must have {ndim} ax{'i' if ndim == 1 else 'e'}s")
    return v


cdef void release_buffers(held_buffers *all) noexcept:
    cdef int i
    for i in range(all.count):
        PyBuffer_Release(&all.views[i])


cdef tuple buffer_shape(const Py_buffer *v):
    cdef int i
    return tuple([v.shape[i] for i in range(v.ndim)])


cdef Py_buffer *take_sized_buffer(held_buffers *all, str op, str name, x, Py_ssize_t rows, Py_ssize_t columns,
                                  bint write=False) except NULL:
    """The buffer of an array of shape (rows, columns); (columns,) where rows is negative."""
    cdef Py_buffer *v = take_buffer(all, op, name, x, 1 if rows < 0 else 2, write)
    if v.shape[v.ndim - 1] != columns or (rows >= 0 and v.shape[0] != rows):
        raise ShapeError(f"{op}: {name} {buffer_shape(v)} must be "
                         + (f"({rows}, {columns})" if rows >= 0 else f"({columns},)"))
    return v


cdef int buffers_apart(held_buffers *all, str op, int inputs) except -1:
    """ValueError if an array beyond the first `inputs` shares memory with another: products read while they write."""
    cdef Py_buffer *v
    cdef Py_buffer *w
    cdef int i, j
    for i in range(inputs, all.count):
        v = &all.views[i]
        for j in range(i):
            w = &all.views[j]
            if <char *>v.buf < <char *>w.buf + w.len and <char *>w.buf < <char *>v.buf + v.len:
                raise ValueError(f"{op}: an output shares memory with another array of the call")
    return 0


cdef inline Tensor room_of(size_t nbytes):
    """Room for a kernel from the engine's pool, as long as the Tensor lives."""
    return wrap(scratch_of(nbytes))


# ---- activation_facts by name

# name: (place, whether the slope reads the input, defaults of the parameters)
cdef dict activation_facts = {row.name: (row.place, row.facts["keeps"] == "X", tuple([d for _, d in row.parameters]))
                              for row in unary_rows.values()}


cdef tuple facts_of_activation(str name, parameters, double *p):
    """Facts of an activation, its scalar parameters in p."""
    cdef int i
    cdef tuple facts = activation_facts.get(name)
    if facts is None:
        unary_place(name)                # says which there are
    for i, value in enumerate(parameters or facts[2]):
        if i < 2:
            p[i] = value
    return facts


cdef Py_ssize_t same_size(str op, str name, const Py_buffer *x, const Py_buffer *y) except -1:
    """How many items both have; ShapeError if their shapes differ."""
    cdef int i
    if x.ndim != y.ndim or any([x.shape[i] != y.shape[i] for i in range(x.ndim)]):
        raise ShapeError(f"{op}: {name} {buffer_shape(y)} must be {buffer_shape(x)}")
    return x.len // x.itemsize
