# Kernels behind structured ops: Tensors in, a Tensor out, nothing recorded.  cybackprop.ops gives them their rules.

cdef int need_float(str op, const cbp_array *x) except -1:
    if x.dtype > CBP_F64:
        refuse_dtype(op, x.dtype)
    return 0


# ---- reductions.  Order of additions: docs/adr, "The same bits".

cdef cbp_array *sum_to(cbp_array *x, cbp_array *goal) except NULL:
    """Sum over the axes that were broadcast from goal's shape to x's."""
    cdef cbp_op op
    cdef int i
    clear(&op, CBP_OP_sum_to)
    op.dtype = x.dtype
    op.a[0] = goal.ndim
    for i in range(goal.ndim):
        op.a[1 + i] = goal.shape[i]
    return run_one(&op, x)


cdef Tensor reduce(Tensor x, tuple axes, bint keepdims, bint maximum):
    cdef cbp_op op
    clear(&op, CBP_OP_reduce)
    op.flags = maximum | 2 * keepdims
    for axis in axes:
        op.a[0] |= <int64_t>1 << <int>axis
    return wrap(run_one(&op, x.a))


def raw_sum(Tensor x, tuple axes, bint keepdims):
    """Sum over normalised axes; of bools whether any is true."""
    return reduce(x, axes, keepdims, False)


def raw_max(Tensor x, tuple axes, bint keepdims):
    """Maximum over normalised axes; NaN wins."""
    for axis in axes:
        if x.a.shape[<int>axis] == 0:
            raise ShapeError(f"max: axis {axis} of shape {x.shape} is empty and has no maximum")
    return reduce(x, axes, keepdims, True)


def raw_cumsum(Tensor x, int axis, bint backwards):
    """Sums up to each place along a normalised axis, or from each place on."""
    cdef cbp_op op
    if x.a.dtype == CBP_BOOL:
        raise DTypeError("cumsum works on float32, float64 and int64, not on bool; use astype('int64') first")
    clear(&op, CBP_OP_cumsum)
    op.a[0] = axis
    op.flags = backwards
    return wrap(run_one(&op, x.a))


def raw_sum_to(Tensor x, shape):
    """Sum over the axes that broadcasting from `shape` to x's shape added or stretched."""
    cdef cbp_array goal
    goal.ndim = shape_of(shape, goal.shape)
    goal.dtype = x.a.dtype
    return wrap(sum_to(x.a, &goal))


def raw_argmax_last(Tensor x):
    """Place of the first maximum along the last axis, int64."""
    cdef cbp_op op
    if x.a.shape[x.a.ndim - 1] == 0 and 0 not in x.shape[:x.a.ndim - 1]:
        raise ShapeError(f"argmax: the axis is empty, shape {x.shape}")
    clear(&op, CBP_OP_argmax)
    return wrap(run_one(&op, x.a))


# ---- movement

def raw_reshape(Tensor x, tuple shape):
    """The same memory in another shape (already checked)."""
    cdef Py_ssize_t dims[8]
    cdef int n = shape_of(shape, dims)
    cdef cbp_array *y = cbp_array_view(x.a, n, dims)
    if y == NULL:
        raise MemoryError
    cdef Tensor t = wrap(y)
    if recording():
        (<Recorder>cbp_recorder).see_view(y)
    return t


def raw_transpose(Tensor x, tuple axes):
    """Permute the axes (already checked)."""
    cdef cbp_op op
    cdef int i
    clear(&op, CBP_OP_transpose)
    for i in range(x.a.ndim):
        op.a[i] = axes[i]
    return wrap(run_one(&op, x.a))


def raw_broadcast_to(Tensor x, tuple shape):
    """Repeat along new axes and axes of length 1."""
    cdef cbp_op op
    cdef int i, extra
    clear(&op, CBP_OP_broadcast_to)
    give_shape(&op, shape, x.a.dtype)
    extra = <int>op.a[0] - x.a.ndim
    if extra < 0:
        raise ShapeError(f"broadcast_to: shape {x.shape} has more axes than {shape}")
    for i in range(x.a.ndim):
        if x.a.shape[i] != 1 and x.a.shape[i] != op.a[1 + extra + i]:
            raise ShapeError(f"broadcast_to: shape {x.shape} does not broadcast to {shape}")
    return wrap(run_one(&op, x.a))


cdef Tensor sliced(int kind, Tensor x, tuple starts, tuple steps, tuple shape):
    cdef cbp_op op
    cdef int i
    clear(&op, kind)
    give_shape(&op, shape, x.a.dtype)
    for i in range(len(starts)):
        op.a[9 + i] = starts[i]
        op.a[17 + i] = steps[i]
    return wrap(run_one(&op, x.a))


def raw_slice(Tensor x, tuple starts, tuple steps, tuple lengths):
    """The elements start, start + step, ... of each axis (already checked)."""
    return sliced(CBP_OP_slice, x, starts, steps, lengths)


def raw_unslice(Tensor x, tuple starts, tuple steps, tuple shape):
    """Zeros of `shape` with x in the place that raw_slice reads."""
    return sliced(CBP_OP_unslice, x, starts, steps, shape)


def raw_concatenate(tuple tensors, int axis):
    """Join along an axis (already checked)."""
    cdef cbp_op op
    cdef int i, n = len(tensors)
    cdef cbp_array *outputs[1]
    cdef cbp_array **inputs = <cbp_array **>malloc(n * sizeof(cbp_array *))
    if inputs == NULL:
        raise MemoryError
    clear(&op, CBP_OP_concatenate)
    op.a[0] = axis
    for i in range(n):
        inputs[i] = (<Tensor>tensors[i]).a
    outputs[0] = wanted()
    try:
        run_op(&op, inputs, n, outputs)
    finally:
        free(inputs)
    return wrap(outputs[0])


def raw_places(tuple index, tuple lengths, str op_name, tuple axes, tuple shape):
    """Places in axes of these lengths, counted over all of them: int64, of the common shape of the indices.

    index: for each axis an int64 Tensor, negatives from its end, or a number n: 0, 1, ... along the axis of the places
    that has n more behind it.  axes, shape: for the IndexError, which axes of what these are.
    """
    cdef cbp_op op
    cdef cbp_array *inputs[8]
    cdef cbp_array *outputs[1]
    cdef int k, n = len(index)
    clear(&op, CBP_OP_check_index)
    for k in range(n):
        op.a[k] = lengths[k]
        inputs[k] = NULL
        if isinstance(index[k], Tensor):
            inputs[k] = (<Tensor>index[k]).a
        else:
            op.a[8 + k] = index[k]
    outputs[0] = wanted()
    if run_op(&op, inputs, n, outputs) == CBP_OK:
        return wrap(outputs[0])
    for k in range(n):
        if inputs[k] != NULL:
            refuse_index(op_name, inputs[k], lengths[k], axes[k], shape)


cdef int refuse_index(str op_name, const cbp_array *index, Py_ssize_t length, axis, shape) except -1:
    cdef const int64_t *i = <const int64_t *>index.data
    cdef Py_ssize_t bad = cbp_first_outside(index.size, i, length)
    if bad < index.size:
        place = f" at place {bad}" if index.ndim else ""
        raise IndexError(f"{op_name}: index {i[bad]}{place} is outside [{-length}, {length}), axis {axis} of shape "
                         f"{shape}")
    return 0


def raw_take(Tensor x, Tensor places, int axes):
    """What lies behind the first `axes` axes of x, at places in these: shape places.shape + x.shape[axes:]."""
    cdef cbp_op op
    clear(&op, CBP_OP_take)
    op.a[0] = axes - 1
    return wrap(run_one(&op, x.a, places.a))


def raw_put_add(Tensor g, Tensor places, int axes, tuple shape):
    """Zeros of `shape`, g added at places in its first axes, in their order: the adjoint of raw_take."""
    cdef cbp_op op
    clear(&op, CBP_OP_put_add)
    give_shape(&op, shape, g.a.dtype)
    op.a[9] = axes - 1
    return wrap(run_one(&op, g.a, places.a))


def raw_one_hot(Tensor index, Py_ssize_t classes, dtype):
    """Rows of 0 with a 1 at indices in [0, classes); IndexError names the first other one."""
    cdef cbp_op op
    cdef cbp_array *inputs[1]
    cdef cbp_array *outputs[1]
    cdef Py_ssize_t i
    cdef int64_t k
    clear(&op, CBP_OP_one_hot)
    op.dtype = dtype_code(dtype)
    op.a[0] = max(classes, 0)
    if index.a.ndim > 7:
        raise ShapeError("one_hot: the result would have more than 8 axes")
    if op.dtype > CBP_F64:
        raise DTypeError(f"one_hot makes float32 or float64, not {DTYPES[op.dtype]}")
    inputs[0], outputs[0] = index.a, wanted()
    if run_op(&op, inputs, 1, outputs) != CBP_OK:
        for i in range(index.a.size):
            k = (<int64_t *>index.a.data)[i]
            if not 0 <= k < classes:
                raise IndexError(f"one_hot: index {k} is outside [0, {classes})")
    return wrap(outputs[0])


def raw_count(Tensor index, int64_t ignore, dtype):
    """How many indices are not `ignore`: shape (), in dtype."""
    cdef cbp_op op
    clear(&op, CBP_OP_count)
    op.a[0] = ignore
    op.dtype = dtype_code(dtype)
    return wrap(run_one(&op, index.a))


# ---- selection, integers, bools

def raw_where(Tensor c, Tensor a, Tensor b):
    """c ? a : b for three operands of one shape or one element."""
    cdef cbp_op op
    clear(&op, CBP_OP_where)
    return wrap(run_one(&op, c.a, a.a, b.a))


cdef dict COMPARISONS = {"equal": CBP_EQ, "not_equal": CBP_NE, "less": CBP_LT, "less_equal": CBP_LE,
                         "greater": CBP_GT, "greater_equal": CBP_GE}
cdef dict LOGIC = {"and": CBP_AND, "or": CBP_OR, "xor": CBP_XOR}


cdef Tensor broadcast_op(int kind, str name, int row, Tensor a, Tensor b, int dtype):
    cdef cbp_op op
    cdef Py_ssize_t shape[8]
    broadcast_shape(name, a.a, b.a, shape)
    clear(&op, kind)
    op.row = row
    op.dtype = dtype
    return wrap(run_one(&op, a.a, b.a))


def raw_compare_integers(str name, Tensor a, Tensor b):
    """Compare int64 tensors."""
    return broadcast_op(CBP_OP_compare_i64, name, COMPARISONS[name], a, b, CBP_BOOL)


def raw_logic(str name, Tensor a, Tensor b):
    """and, or, xor of bool tensors."""
    if a.a.dtype != CBP_BOOL or b.a.dtype != CBP_BOOL:
        raise DTypeError(f"logical_{name} works on bool tensors, not on {a.dtype} and {b.dtype}")
    return broadcast_op(CBP_OP_logic, "logical_" + name, LOGIC[name], a, b, CBP_BOOL)


def raw_not(Tensor x):
    """not of a bool tensor."""
    cdef cbp_op op
    if x.a.dtype != CBP_BOOL:
        raise DTypeError(f"logical_not works on bool tensors, not on {x.dtype}")
    clear(&op, CBP_OP_logic_not)
    return wrap(run_one(&op, x.a))


def raw_cast(Tensor x, dtype):
    """The values in another dtype, weak if x is."""
    cdef cbp_op op
    cdef Tensor y
    clear(&op, CBP_OP_cast)
    op.dtype = dtype_code(dtype)
    y = wrap(run_one(&op, x.a))
    y.a.weak = x.a.weak                  # a cast to x's own dtype as well
    return y
