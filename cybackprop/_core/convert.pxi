# Between Python objects, NumPy arrays and our arrays.

cdef object F32 = np.dtype("float32")
cdef object F64 = np.dtype("float64")
cdef object I64 = np.dtype("int64")
cdef object BOOL = np.dtype("bool")
cdef tuple DTYPES = (F32, F64, I64, BOOL)


cdef tuple array_shape(const cbp_array *a):
    return tuple([a.shape[i] for i in range(a.ndim)])


cdef cbp_array *new_array(int dtype, int ndim, const Py_ssize_t *shape) except NULL:
    cdef cbp_array *a
    if ndim > CBP_MAX_DIMS:
        raise ShapeError(f"tensors have at most {CBP_MAX_DIMS} axes, this one would have {ndim}")
    a = cbp_array_new(<cbp_dtype>dtype, ndim, shape)
    if a == NULL:
        raise MemoryError(f"no memory for a tensor of shape {tuple([shape[i] for i in range(ndim)])}")
    return a


cdef inline cbp_array *like(const cbp_array *a) except NULL:
    return new_array(a.dtype, a.ndim, a.shape)


cdef Tensor wrap(cbp_array *a):
    global wrapping
    cdef Tensor t
    wrapping = True
    t = Tensor.__new__(Tensor)
    t.a = a
    return t


cpdef Tensor own_value(Tensor x):
    """x, or a copy if its memory is a Parameter's and may change."""
    if not cbp_array_root(x.a).mutable:
        return x
    return linked(copied(x.a), x.record)


cdef cbp_array *copied(cbp_array *a) except NULL:
    cdef cbp_op op
    clear(&op, CBP_OP_copy)
    return run_one(&op, a)


cdef int shape_of(object shape, Py_ssize_t *out) except -1:
    """Read a shape (an int or a sequence of ints) into out; returns the number of axes."""
    cdef int n = 0
    if isinstance(shape, (int, np.integer)):
        shape = (shape,)
    shape = tuple(shape)
    if len(shape) > CBP_MAX_DIMS:
        raise ShapeError(f"tensors have at most {CBP_MAX_DIMS} axes, shape {shape} has {len(shape)}")
    for length in shape:
        out[n] = operator.index(length)
        if out[n] < 0:
            raise ShapeError(f"shape {shape} has a negative length")
        n += 1
    return n


cdef int dtype_code(object dtype) except -1:
    dtype = np.dtype(dtype)
    for code in range(4):
        if DTYPES[code] == dtype:
            return code
    raise DTypeError(f"tensors are float32, float64, int64 or bool, not {dtype}")


cdef int natural_code(object arr) except -1:
    """The dtype a NumPy array comes in as: floats keep their width where we have it, integers become int64."""
    kind = arr.dtype.kind
    if kind == "f":
        if arr.dtype.itemsize > 8:
            raise DTypeError(f"{arr.dtype} has no tensor type; convert it to float64 first")
        return CBP_F64 if arr.dtype.itemsize == 8 else CBP_F32
    if kind == "i" or (kind == "u" and arr.dtype.itemsize < 8):
        return CBP_I64
    if kind == "b":
        return CBP_BOOL
    raise DTypeError(f"a tensor can't be made of {arr.dtype} data; tensors are float32, float64, int64 or bool")


cdef object numpy_of(object data):
    """An ndarray of anything array-like; lists of tensors included, ragged ones refused."""
    if isinstance(data, np.ndarray):
        return data
    try:
        arr = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"tensor: the nested lists do not form an array ({error})") from None
    return arr


cdef cbp_array *from_numpy(object arr, int code) except NULL:
    """A copy of an ndarray (any strides, byte order, alignment) as dtype `code`."""
    cdef Py_buffer view
    cdef Py_ssize_t shape[8]
    cdef cbp_array *a
    source = arr
    if code == CBP_I64 and arr.dtype.kind == "u" and arr.dtype.itemsize == 8 and arr.size and arr.max() >> 63:
        raise DTypeError("uint64 values of 2**63 and more do not fit into an int64 tensor")
    arr = np.asarray(arr, dtype=DTYPES[code], order="C")
    cdef int ndim = shape_of(arr.shape, shape)
    a = new_array(code, ndim, shape)
    try:
        PyObject_GetBuffer(arr, &view, PyBUF_SIMPLE)
    except BaseException:
        cbp_array_drop(a)
        raise
    memcpy(a.data, view.buf, view.len)
    PyBuffer_Release(&view)
    if recording():
        try:
            (<Recorder>cbp_recorder).from_host(source, a)
        except BaseException:
            cbp_array_drop(a)
            raise
    return a


cdef cbp_array *scalar_array(double value, int code) except NULL:
    cdef cbp_array *a = new_array(code, 0, NULL)
    if code == CBP_F32:
        (<float *>a.data)[0] = <float>value
    else:
        (<double *>a.data)[0] = value
    a.weak = 1
    if recording():
        (<Recorder>cbp_recorder).constant(a)
    return a


cdef cbp_array *integer_array(object value, str op) except NULL:
    """A Python int as an array without axes."""
    cdef cbp_array *a
    cdef int64_t v
    try:
        v = value
    except OverflowError:
        raise DTypeError(f"{op}: {value} does not fit into int64") from None
    a = new_array(CBP_I64, 0, NULL)
    (<int64_t *>a.data)[0] = v
    a.weak = 1
    if recording():
        (<Recorder>cbp_recorder).constant(a)
    return a


cdef bint plain_numbers(object data):
    """Whether data is Python numbers, or lists of them, that have no dtype of their own."""
    while isinstance(data, (list, tuple)):
        if not data:
            return True
        data = data[0]
    return isinstance(data, (int, float)) and not isinstance(data, np.generic)


def tensor(data, dtype=None, *, requires_grad=False):
    """A new tensor with a copy of the data.

    Parameters
    ----------
    data : array-like, Tensor, number or nested lists
        Any strides, byte order and alignment.
    dtype : dtype-like, optional
        float32, float64, int64 or bool.  By default arrays keep theirs (float16 becomes float32, smaller integers
        int64), Python floats become float32, ints int64, bools bool.
    requires_grad : bool
        Whether gradients are wanted with respect to it.

    Returns
    -------
    Tensor

    Raises
    ------
    DTypeError
        For complex, text or object data, or gradients of integers.
    ShapeError
        For ragged lists, or more than 8 axes.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.tensor([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32)
    """
    cdef Tensor t
    cdef int code
    if isinstance(data, Tensor):
        t = wrap(copied((<Tensor>data).a)) if dtype is None else <Tensor>raw_cast(<Tensor>data, dtype)
        t.a.weak = 0
        t.requires_grad = requires_grad
        return t
    arr = numpy_of(data)
    if dtype is not None:
        code = dtype_code(dtype)
        if arr.dtype.kind not in "fiub":
            raise DTypeError(f"a tensor can't be made of {arr.dtype} data; tensors are float32, float64, int64 or bool")
    else:
        code = CBP_F32 if arr.dtype.kind == "f" and plain_numbers(data) else natural_code(arr)
    t = wrap(from_numpy(arr, code))
    if requires_grad:
        t.requires_grad = True
    return t
