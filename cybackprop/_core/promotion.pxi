# Which dtype operands meet in.
#
# A strong tensor keeps its dtype, and two strong ones of different dtypes do not meet, but for int64 and bool.  Weak
# tensors, NumPy arrays, lists and Python numbers take the dtype of the strong tensor that they meet.  Without one, weak
# tensors and arrays meet by NumPy's promotion, and what comes out is weak again.  The flag is on the array: `weak`.

cdef inline bint weak_output(const cbp_op *op, cbp_array **inputs, int n_in, int dtype) noexcept:
    """Whether an output is weak: all inputs of its dtype are, or, where none has it, all inputs."""
    cdef int i, last = 1 if op.kind == CBP_OP_take or op.kind == CBP_OP_put_add else n_in    # places are no values
    cdef bint found = False, others = n_in > 0
    for i in range(1 if op.kind == CBP_OP_where else 0, last):
        if inputs[i] == NULL:
            continue
        if inputs[i].dtype == dtype:
            found = True
            if not inputs[i].weak:
                return False
        elif not inputs[i].weak:
            others = False
    return found or others


cdef inline uint8_t no_strong(const cbp_array *a) noexcept:
    """1 for a weak array, or none."""
    return 1 if a == NULL else a.weak


cdef inline bint is_number(object x):
    """Whether x is a Python number, which has no dtype of its own."""
    return isinstance(x, (float, int)) and not isinstance(x, np.generic)


cdef inline bint is_strong(object x):
    return isinstance(x, Tensor) and not (<Tensor>x).a.weak


cdef Tensor as_operand(object x, int code, str op):
    """What meets a tensor of dtype `code`: strong tensors as they are, everything else cast to that dtype."""
    cdef Tensor t
    if isinstance(x, Tensor):
        t = <Tensor>x
        if not t.a.weak or t.a.dtype == code:
            return t
        refuse_kind(op, code, DTYPES[t.a.dtype])
        if t.record is None:
            return <Tensor>raw_cast(t, DTYPES[code])
        return <Tensor>operators["cast"](t, DTYPES[code], True)
    if isinstance(x, (float, int)) and not isinstance(x, bool):
        if code <= CBP_F64:
            return wrap(scalar_array(x, code))
        if code == CBP_I64 and isinstance(x, int):
            return wrap(integer_array(x, op))
    arr = numpy_of(x)
    refuse_kind(op, code, arr.dtype)
    t = wrap(from_numpy(arr, code))
    t.a.weak = 1
    return t


cdef int refuse_kind(str op, int code, object dtype) except -1:
    """Raise DTypeError where data do not become a dtype silently."""
    if dtype.kind not in "fiub":
        raise DTypeError(f"{op}: can't use {dtype} data beside a {DTYPES[code]} tensor")
    if (code >= CBP_I64 and dtype.kind == "f") or (code == CBP_BOOL and dtype.kind != "b"):
        raise DTypeError(f"{op}: a {DTYPES[code]} tensor does not meet {dtype} data; cast one with astype")
    return 0


cdef int refuse_pair(str op, int a, int b) except -1:
    raise DTypeError(f"{op}: {DTYPES[a]} meets {DTYPES[b]}; tensors are not cast silently, use astype")


cdef int promoted(int a, int b) noexcept:
    """NumPy's promotion."""
    if a == b or b == CBP_BOOL:
        return a
    return b if a == CBP_BOOL else CBP_F64


cdef int weak_code(tuple operands) except -1:
    """The dtype in which weak tensors, arrays and numbers meet; at least one is a tensor."""
    cdef int code = CBP_BOOL, other
    cdef bint floats = False, integers = False
    for x in operands:
        if isinstance(x, Tensor):
            other = (<Tensor>x).a.dtype
        elif isinstance(x, bool) or not is_number(x):
            other = natural_code(numpy_of(x))
        else:
            floats = floats or isinstance(x, float)
            integers = True
            continue
        code = promoted(code, other)
    if floats and code >= CBP_I64:
        return CBP_F64
    return CBP_I64 if integers and code == CBP_BOOL else code


cdef int strong_code(str op, int code, object other, int float_code) except -1:
    """The dtype in which an int64 or bool tensor meets what is no strong tensor."""
    if isinstance(other, Tensor):
        return CBP_I64 if (<Tensor>other).a.dtype == CBP_I64 else code
    if is_number(other) and isinstance(other, float):
        return float_code
    return CBP_I64 if numpy_of(other).dtype.kind in "iu" else code


cdef Tensor meeting(object x, int code, str op):
    """An operand in that dtype."""
    if is_strong(x) and (<Tensor>x).a.dtype != code:        # int64 or bool: there is nothing to differentiate
        return <Tensor>raw_cast(<Tensor>x, DTYPES[code])
    return as_operand(x, code, op)


cdef tuple met(str op, object x, object y, int float_code=CBP_F32):
    """Bring two operands to one dtype.  float_code: of an int64 or bool tensor and a Python float."""
    cdef int code, other
    if not isinstance(y, Tensor):
        if not isinstance(x, Tensor):
            x = as_tensor(x)
        code = (<Tensor>x).a.dtype
        if code <= CBP_F64 and not (<Tensor>x).a.weak:      # what comes most often
            return x, as_operand(y, code, op)
    if not is_strong(x) and not is_strong(y):
        code = weak_code((x, y))
    elif is_strong(x) and is_strong(y):
        code, other = (<Tensor>x).a.dtype, (<Tensor>y).a.dtype
        if code != other:
            if code <= CBP_F64 or other <= CBP_F64:
                refuse_pair(op, code, other)
            code = CBP_I64
    else:
        code = (<Tensor>(x if is_strong(x) else y)).a.dtype
        if code >= CBP_I64:
            code = strong_code(op, code, y if is_strong(x) else x, float_code)
    return meeting(x, code, op), meeting(y, code, op)


def as_operands(str op, *operands):
    """Tensors of one dtype: strong tensors as they are, everything else cast to what it meets."""
    cdef Tensor first = None
    cdef int code = -1
    cdef bint weak = False
    for x in operands:
        if x is None:
            raise TypeError(f"{op}: an operand is None")
        if is_strong(x):
            code = (<Tensor>x).a.dtype if code < 0 else code
        weak = weak or isinstance(x, Tensor)
    if code < 0 and weak:
        code = weak_code(operands)
    elif code < 0:
        first = <Tensor>as_tensor(operands[0])
        code, operands = first.a.dtype, (first, *operands[1:])
    out = tuple([as_operand(x, code, op) for x in operands])
    for x in out:
        if (<Tensor>x).a.dtype != code:
            refuse_pair(op, code, (<Tensor>x).a.dtype)
    return out


# ---- for others

def operand_like(str op, Tensor t, x):
    """x in t's dtype, where it is no strong tensor of another one."""
    cdef Tensor y = as_operand(x, t.a.dtype, op)
    if y.a.dtype != t.a.dtype:
        refuse_pair(op, t.a.dtype, y.a.dtype)
    return y


def weak_tensor(arr):
    """A weak tensor with a copy of a NumPy array, in the dtype that `tensor` gives it."""
    cdef Tensor t
    arr = numpy_of(arr)
    t = wrap(from_numpy(arr, natural_code(arr)))
    t.a.weak = 1
    return t


def is_weak(x):
    """Whether x is a tensor whose dtype gives way to that of the tensors it meets."""
    return isinstance(x, Tensor) and bool((<Tensor>x).a.weak)


def end_weakness(Tensor t):
    """Make a tensor strong, in place: for results that have just been made."""
    t.a.weak = 0


def weaken(Tensor t):
    """Make a tensor weak, in place, and return it: for constants that an op makes for itself."""
    t.a.weak = 1
    return t


cpdef Tensor with_weakness(Tensor t, bint weak):
    """The same value, memory and history, weak or not."""
    cdef cbp_array *a
    if <bint>t.a.weak == weak:
        return t
    a = cbp_array_view(t.a, t.a.ndim, t.a.shape)
    if a == NULL:
        raise MemoryError
    a.weak = weak
    if recording():
        (<Recorder>cbp_recorder).see_view(a)
    return linked(a, t.record)
