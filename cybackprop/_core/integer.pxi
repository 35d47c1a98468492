# int64 and bool arithmetic: the rows of src/integer.def.

cdef dict integer_rows = {cbp_integer_rows[i].name.decode(): i for i in range(CBP_N_INTEGER)}


cdef Tensor integers(int row, str name, Tensor a, Tensor b):
    """One row of integer.def; a and b are both int64 or both bool."""
    cdef const cbp_integer_info *info = &cbp_integer_rows[row]
    cdef cbp_op op
    cdef Py_ssize_t shape[8]
    cdef cbp_array *inputs[2]
    cdef cbp_array *outputs[1]
    cdef Py_ssize_t bad
    if a.a.dtype == CBP_BOOL and info.bools == CBP_REFUSE:
        raise DTypeError(f"{name} is not defined for two bool tensors; use ^ (bitwise_xor), or astype('int64') first")
    if a.a.dtype == CBP_BOOL and info.bools != CBP_WIDEN:
        return broadcast_op(CBP_OP_logic, name, info.bools, a, b, CBP_BOOL)
    a, b = as_integers(a), as_integers(b)
    broadcast_shape(name, a.a, b.a, shape)
    clear(&op, CBP_OP_integer)
    op.row = row
    op.dtype = CBP_I64
    inputs[:] = [a.a, b.a]
    outputs[0] = wanted()
    if run_op(&op, inputs, 2, outputs) != CBP_OK:
        bad = cbp_integer_refused(row, b.a.size, <int64_t *>b.a.data)
        raise ValueError(f"{name}: integers have no result where {info.refused.decode()}, and b is "
                         f"{(<int64_t *>b.a.data)[bad]} at place {bad}; use astype('float32') first")
    return wrap(outputs[0])


cdef Tensor as_integers(Tensor x):
    return <Tensor>raw_cast(x, I64) if x.a.dtype == CBP_BOOL else x


cdef Tensor as_floats(Tensor x):
    """int64 or bool as floats: float32, but float64 of a weak tensor, as in NumPy."""
    return <Tensor>raw_cast(x, F64 if x.a.weak else F32) if x.a.dtype > CBP_F64 else x


def floats_of(Tensor x):
    """x, or its values as floats where they are int64 or bool: float32, but float64 of a weak tensor."""
    return as_floats(x)


def raw_bitwise(str name, x, y):
    """A row of integer.def by name, of two operands that are int64 or bool."""
    cdef Tensor a, b
    a, b = met("bitwise_" + name, x, y)
    if a.a.dtype <= CBP_F64:
        raise DTypeError(f"bitwise_{name} works on int64 and bool, not on {a.dtype}")
    return integers(integer_rows[name], "bitwise_" + name, a, b)


cdef Tensor binary_integers(BinaryRow row, Tensor a, Tensor b):
    """A row of binary.def where both operands are int64, or both bool."""
    if row is DIV:
        return binary(row, as_floats(a), as_floats(b))
    if row.integer < 0:
        refuse_dtype(row.name, a.a.dtype)
    return integers(row.integer, row.name, a, b)
