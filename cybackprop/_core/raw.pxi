# Kernels behind structured ops: Tensors in, a Tensor out, nothing recorded.  cybackprop.ops gives them their rules.

cdef int need_float(str op, const cbp_array *x) except -1:
    if x.dtype > CBP_F64:
        refuse_dtype(op, x.dtype)
    return 0


# ---- reductions.  Order of additions: docs/adr, "The same bits".

cdef cbp_array *reduce_axes(cbp_array *x, bint *reduced, bint maximum) except NULL:
    """Reduce the marked axes, which stay with length 1.  From the last axis backwards, neighbouring axes as one;
    the first axis always by itself, so that a row gives the same bits alone and in its batch."""
    cdef cbp_array *y
    cdef cbp_array *now = cbp_array_hold(x)
    cdef const cbp_kernels *k = cbp_active[x.dtype]
    cdef int last = x.ndim - 1, first, i
    cdef Py_ssize_t outer, inner, n
    cdef Py_ssize_t shape[8]
    while last >= 0:
        if not reduced[last]:
            last -= 1
            continue
        first = last
        while first > 1 and reduced[first - 1]:
            first -= 1
        outer = inner = n = 1
        for i in range(x.ndim):
            shape[i] = now.shape[i]
            if i < first:
                outer *= shape[i]
            elif i <= last:
                n *= shape[i]
                shape[i] = 1
            else:
                inner *= shape[i]
        try:
            y = new_array(x.dtype, x.ndim, shape)
        except BaseException:
            cbp_array_drop(now)
            raise
        if first > 0 and inner == 1:
            (k.max_last if maximum else k.sum_last)(outer, n, now.data, y.data)
        else:
            (k.max_lead if maximum else k.sum_lead)(outer, n, inner, now.data, y.data)
        cbp_array_drop(now)
        now = y
        last = first - 1
    return now


cdef cbp_array *sum_to(cbp_array *x, const cbp_array *goal) except NULL:
    """Sum over the axes that were broadcast from goal's shape to x's."""
    cdef bint reduced[8]
    cdef int i, extra = x.ndim - goal.ndim
    cdef cbp_array *y
    cdef cbp_array *z
    for i in range(x.ndim):
        reduced[i] = i < extra or (goal.shape[i - extra] == 1 and x.shape[i] != 1)
    y = reduce_axes(x, reduced, False)
    if extra == 0:
        return y
    z = cbp_array_view(y, goal.ndim, goal.shape)
    cbp_array_drop(y)
    if z == NULL:
        raise MemoryError
    return z


cdef Tensor reduce(str op, Tensor x, tuple axes, bint keepdims, bint maximum):
    cdef bint reduced[8]
    cdef Py_ssize_t shape[8]
    cdef int i, n = 0
    cdef cbp_array *y
    cdef cbp_array *z
    need_float(op, x.a)
    for i in range(x.a.ndim):
        reduced[i] = i in axes
    y = reduce_axes(x.a, reduced, maximum)
    if keepdims or not axes:
        return wrap(y)
    for i in range(x.a.ndim):
        if not reduced[i]:
            shape[n] = x.a.shape[i]
            n += 1
    z = cbp_array_view(y, n, shape)
    cbp_array_drop(y)
    if z == NULL:
        raise MemoryError
    return wrap(z)


def raw_sum(Tensor x, tuple axes, bint keepdims):
    """Sum over normalised axes."""
    return reduce("sum", x, axes, keepdims, False)


def raw_max(Tensor x, tuple axes, bint keepdims):
    """Maximum over normalised axes; NaN wins."""
    for axis in axes:
        if x.a.shape[<int>axis] == 0:
            raise ShapeError(f"max: axis {axis} of shape {x.shape} is empty and has no maximum")
    return reduce("max", x, axes, keepdims, True)


def raw_sum_to(Tensor x, shape):
    """Sum over the axes that broadcasting from `shape` to x's shape added or stretched."""
    cdef cbp_array goal
    goal.ndim = shape_of(shape, goal.shape)
    return wrap(sum_to(x.a, &goal))


def raw_argmax_last(Tensor x):
    """Place of the first maximum along the last axis, int64."""
    need_float("argmax", x.a)
    cdef Tensor y = wrap(new_array(CBP_I64, x.a.ndim - 1, x.a.shape))
    if x.a.shape[x.a.ndim - 1] == 0 and y.a.size:
        raise ShapeError(f"argmax: the axis is empty, shape {x.shape}")
    cbp_active[x.a.dtype].argmax_last(y.a.size, x.a.shape[x.a.ndim - 1], x.a.data, <int64_t *>y.a.data)
    return y


# ---- movement

def raw_reshape(Tensor x, tuple shape):
    """The same memory in another shape (already checked)."""
    cdef Py_ssize_t dims[8]
    cdef int n = shape_of(shape, dims)
    cdef cbp_array *y = cbp_array_view(x.a, n, dims)
    if y == NULL:
        raise MemoryError
    return wrap(y)


cdef Tensor copy_view(cbp_array *x, int ndim, const Py_ssize_t *shape, const Py_ssize_t *strides, Py_ssize_t offset):
    cdef Tensor y = wrap(new_array(x.dtype, ndim, shape))
    if y.a.size:
        cbp_copy_strided(ndim, shape, strides, cbp_itemsize(<cbp_dtype>x.dtype), <char *>x.data + offset, y.a.data)
    return y


cdef void byte_strides(const cbp_array *x, Py_ssize_t *strides) noexcept:
    cdef Py_ssize_t step = cbp_itemsize(<cbp_dtype>x.dtype)
    cdef int i
    for i in range(x.ndim - 1, -1, -1):
        strides[i] = step
        step *= x.shape[i]


def raw_transpose(Tensor x, tuple axes):
    """Permute the axes (already checked)."""
    cdef Py_ssize_t strides[8]
    cdef Py_ssize_t shape[8]
    cdef Py_ssize_t moved[8]
    cdef int i, axis
    byte_strides(x.a, strides)
    for i in range(x.a.ndim):
        axis = axes[i]
        shape[i] = x.a.shape[axis]
        moved[i] = strides[axis]
    return copy_view(x.a, x.a.ndim, shape, moved, 0)


def raw_broadcast_to(Tensor x, tuple shape):
    """Repeat along new axes and axes of length 1."""
    cdef Py_ssize_t own[8]
    cdef Py_ssize_t dims[8]
    cdef Py_ssize_t strides[8]
    cdef int n = shape_of(shape, dims), i, extra = n - x.a.ndim
    if extra < 0:
        raise ShapeError(f"broadcast_to: shape {x.shape} has more axes than {shape}")
    byte_strides(x.a, own)
    for i in range(n):
        strides[i] = 0
        if i >= extra and x.a.shape[i - extra] != 1:
            if x.a.shape[i - extra] != dims[i]:
                raise ShapeError(f"broadcast_to: shape {x.shape} does not broadcast to {shape}")
            strides[i] = own[i - extra]
    return copy_view(x.a, n, dims, strides, 0)


def raw_slice(Tensor x, tuple starts, tuple steps, tuple lengths):
    """The elements start, start + step, ... of each axis (already checked)."""
    cdef Py_ssize_t strides[8]
    cdef Py_ssize_t shape[8]
    cdef Py_ssize_t offset = 0
    cdef int i
    byte_strides(x.a, strides)
    for i in range(x.a.ndim):
        offset += <Py_ssize_t>starts[i] * strides[i]
        strides[i] *= <Py_ssize_t>steps[i]
        shape[i] = lengths[i]
    return copy_view(x.a, x.a.ndim, shape, strides, offset)


def raw_unslice(Tensor x, tuple starts, tuple steps, tuple shape):
    """Zeros of `shape` with x in the place that raw_slice reads."""
    cdef Py_ssize_t dims[8]
    cdef Py_ssize_t strides[8]
    cdef Py_ssize_t offset = 0
    cdef int n = shape_of(shape, dims), i
    cdef Tensor y = wrap(new_array(x.a.dtype, n, dims))
    memset(y.a.data, 0, y.nbytes)
    byte_strides(y.a, strides)
    for i in range(n):
        offset += <Py_ssize_t>starts[i] * strides[i]
        strides[i] *= <Py_ssize_t>steps[i]
    if x.a.size:
        cbp_scatter_strided(n, x.a.shape, strides, cbp_itemsize(<cbp_dtype>x.a.dtype), x.a.data,
                            <char *>y.a.data + offset)
    return y


def raw_concatenate(tuple tensors, int axis):
    """Join along an axis (already checked)."""
    cdef Tensor x = tensors[0], y
    cdef Py_ssize_t shape[8]
    cdef Py_ssize_t outer = 1, row, part, o
    cdef char *place
    cdef int i
    for i in range(x.a.ndim):
        shape[i] = x.a.shape[i]
    shape[axis] = sum([(<Tensor>t).a.shape[axis] for t in tensors])
    y = wrap(new_array(x.a.dtype, x.a.ndim, shape))
    for i in range(axis):
        outer *= shape[i]
    if y.a.size == 0:
        return y
    row = y.nbytes // outer
    place = <char *>y.a.data
    for t in tensors:
        x = t
        part = x.nbytes // outer
        for o in range(outer):
            memcpy(place + o * row, <char *>x.a.data + o * part, part)
        place += part
    return y


def checked_index(Tensor index, Py_ssize_t size, str op):
    """Indices in [0, size): negatives count from the end, anything else raises IndexError naming the first."""
    cdef Py_ssize_t bad
    if index.a.dtype != CBP_I64:
        raise DTypeError(f"{op}: indices are int64, not {index.dtype}")
    cdef Tensor y = wrap(like(index.a))
    if cbp_check_index(index.a.size, <int64_t *>index.a.data, size, <int64_t *>y.a.data, &bad) != CBP_OK:
        raise IndexError(f"{op}: index {(<int64_t *>index.a.data)[bad]} at place {bad} is outside "
                         f"[{-size}, {size})")
    return y


def raw_take(Tensor x, Tensor index):
    """Rows of x (first axis) at checked indices: shape index.shape + x.shape[1:]."""
    cdef Py_ssize_t shape[8]
    cdef int i, n = index.a.ndim + x.a.ndim - 1
    if n > 8:
        raise ShapeError(f"take: the result would have {n} axes, at most 8 are possible")
    for i in range(index.a.ndim):
        shape[i] = index.a.shape[i]
    for i in range(1, x.a.ndim):
        shape[index.a.ndim + i - 1] = x.a.shape[i]
    cdef Tensor y = wrap(new_array(x.a.dtype, n, shape))
    if y.a.size:
        cbp_take(index.a.size, y.nbytes // index.a.size, x.a.data, <int64_t *>index.a.data, y.a.data)
    return y


def raw_put_add(Tensor g, Tensor index, tuple shape):
    """Zeros of `shape`, rows of g added at checked indices: the adjoint of raw_take."""
    cdef Py_ssize_t dims[8]
    cdef int n = shape_of(shape, dims)
    cdef Tensor y = wrap(new_array(g.a.dtype, n, dims))
    memset(y.a.data, 0, y.nbytes)
    if g.a.size == 0:
        return y
    if g.a.dtype == CBP_F32:
        cbp_scatter_add_f32(index.a.size, g.a.size // index.a.size, <float *>g.a.data, <int64_t *>index.a.data,
                            <float *>y.a.data)
    else:
        cbp_scatter_add_f64(index.a.size, g.a.size // index.a.size, <double *>g.a.data, <int64_t *>index.a.data,
                            <double *>y.a.data)
    return y


def raw_one_hot(Tensor index, Py_ssize_t classes, dtype):
    """Rows of 0 with a 1 at checked indices."""
    cdef Py_ssize_t shape[8]
    cdef int i, code = dtype_code(dtype)
    if index.a.ndim > 7:
        raise ShapeError("one_hot: the result would have more than 8 axes")
    for i in range(index.a.ndim):
        shape[i] = index.a.shape[i]
    shape[index.a.ndim] = classes
    if code > CBP_F64:
        raise DTypeError(f"one_hot makes float32 or float64, not {DTYPES[code]}")
    cdef Tensor y = wrap(new_array(code, index.a.ndim + 1, shape))
    if code == CBP_F32:
        cbp_one_hot_f32(index.a.size, classes, <int64_t *>index.a.data, <float *>y.a.data)
    else:
        cbp_one_hot_f64(index.a.size, classes, <int64_t *>index.a.data, <double *>y.a.data)
    return y


# ---- selection, integers, bools

def raw_where(Tensor c, Tensor a, Tensor b):
    """c ? a : b for three operands of one shape or one element."""
    cdef Tensor y
    cdef cbp_array *out = c.a if c.a.size != 1 else a.a if a.a.size != 1 else b.a
    y = wrap(new_array(a.a.dtype, out.ndim, out.shape))
    if a.a.dtype == CBP_BOOL:
        return wrap(from_numpy(np.where(np.asarray(c), np.asarray(a), np.asarray(b)).reshape(y.shape), CBP_BOOL))
    # 8 bytes are moved whatever they mean
    cdef const cbp_kernels *k = cbp_active[0 if a.a.dtype == CBP_F32 else 1]
    k.where(y.a.size, <uint8_t *>c.a.data, c.a.size != 1, a.a.data, a.a.size != 1, b.a.data, b.a.size != 1, y.a.data)
    return y


cdef void compare_run(int code, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                      void *y) noexcept nogil:
    cbp_compare_i64(<cbp_compare_op>code, n, <int64_t *>a, sa, <int64_t *>b, sb, <uint8_t *>y)


cdef void logic_run(int code, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                    void *y) noexcept nogil:
    cbp_logic(<cbp_logic_op>code, n, <uint8_t *>a, sa, <uint8_t *>b, sb, <uint8_t *>y)


cdef dict COMPARISONS = {"equal": CBP_EQ, "not_equal": CBP_NE, "less": CBP_LT, "less_equal": CBP_LE,
                         "greater": CBP_GT, "greater_equal": CBP_GE}
cdef dict LOGIC = {"and": CBP_AND, "or": CBP_OR, "xor": CBP_XOR}


def raw_compare_integers(str name, Tensor a, Tensor b):
    """Compare int64 tensors."""
    return wrap(broadcast_run(name, a.a, b.a, CBP_BOOL, compare_run, COMPARISONS[name]))


def raw_logic(str name, Tensor a, Tensor b):
    """and, or, xor of bool tensors."""
    if a.a.dtype != CBP_BOOL or b.a.dtype != CBP_BOOL:
        raise DTypeError(f"logical_{name} works on bool tensors, not on {a.dtype} and {b.dtype}")
    return wrap(broadcast_run("logical_" + name, a.a, b.a, CBP_BOOL, logic_run, LOGIC[name]))


def raw_not(Tensor x):
    """not of a bool tensor."""
    if x.a.dtype != CBP_BOOL:
        raise DTypeError(f"logical_not works on bool tensors, not on {x.dtype}")
    cdef Tensor y = wrap(like(x.a))
    cbp_logic_not(x.a.size, <uint8_t *>x.a.data, <uint8_t *>y.a.data)
    return y


def raw_cast(Tensor x, dtype):
    """The values in another dtype."""
    return wrap(from_numpy(np.asarray(x), dtype_code(dtype)))
