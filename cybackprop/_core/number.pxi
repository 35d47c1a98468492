# Number: what Python code gets in the place of a float while a program is recorded, where later runs find other floats.

cdef tuple NUMBER_TYPES = (int, float, np.integer, np.bool_)


@cython.final
@cython.binding(False)
cdef class Number(Tensor):
    """A float that a program computes: what an optimizer's option reads as while a program is recorded.

    It is a float64 Tensor without axes and counts as a Python float: it takes the dtype of the tensor that it meets,
    with numbers it makes Numbers, and a comparison that a branch depends on must come out the same in later runs.  A
    division by a Number that is zero is infinite or NaN, where Python raises.
    """

    def __hash__(self): return Tensor.__hash__(self)
    def __add__(self, other): return arithmetic(ADD, self, other)
    def __radd__(self, other): return arithmetic(ADD, other, self)
    def __sub__(self, other): return arithmetic(SUB, self, other)
    def __rsub__(self, other): return arithmetic(SUB, other, self)
    def __mul__(self, other): return arithmetic(MUL, self, other)
    def __rmul__(self, other): return arithmetic(MUL, other, self)
    def __truediv__(self, other): return arithmetic(DIV, self, other)
    def __rtruediv__(self, other): return arithmetic(DIV, other, self)
    def __pow__(self, other, modulo): return float(self) ** other        # it ends the recording: powers of floats have
    def __rpow__(self, other, modulo): return other ** float(self)       # other last bits in Python than those of tensors
    def __neg__(self): return as_number(unary(NEG, float_operand(self), 0, 0))
    def __abs__(self): return as_number(unary(ABS, float_operand(self), 0, 0))
    def __eq__(self, other): return arithmetic(EQUAL, self, other)
    def __ne__(self, other): return arithmetic(NOT_EQUAL, self, other)
    def __lt__(self, other): return arithmetic(LESS, self, other)
    def __le__(self, other): return arithmetic(LESS_EQUAL, self, other)
    def __gt__(self, other): return arithmetic(GREATER, self, other)
    def __ge__(self, other): return arithmetic(GREATER_EQUAL, self, other)


cdef Tensor as_number(Tensor x):
    """A float64 Tensor without axes as a Number; it shares the memory."""
    global wrapping
    cdef Number n
    wrapping = True
    n = Number.__new__(Number)
    n.a = cbp_array_hold(x.a)
    return n


cdef Tensor float_operand(object x):
    """A Number, or one of Python's or NumPy's, as an ordinary float64 Tensor."""
    return wrap(cbp_array_hold((<Number>x).a) if type(x) is Number else scalar_array(float(x), CBP_F64))


cdef object arithmetic(BinaryRow row, object x, object y):
    """What Python makes of a float and something else."""
    if x is None or y is None:
        return NotImplemented
    if isinstance(x, (Number, *NUMBER_TYPES)) and isinstance(y, (Number, *NUMBER_TYPES)):
        if row is DIV and type(y) is not Number and y == 0:
            raise ZeroDivisionError("float division by zero")
        if row.compares:
            return compare(row, float_operand(x), float_operand(y))
        return as_number(binary(row, float_operand(x), float_operand(y)))
    if isinstance(x, np.ndarray):        # it keeps its dtype, as it does when it meets a float
        x = tensor(x)
    elif isinstance(y, np.ndarray):
        y = tensor(y)
    return row(x, y)


cdef Tensor number_operand(Number x, int code, str op):
    """A Number as what a float becomes beside a tensor of dtype `code`."""
    if code >= CBP_I64:
        raise DTypeError(f"{op}: a {DTYPES[code]} tensor does not meet float64 data; cast one with astype")
    return raw_cast(x, DTYPES[code]) if code == CBP_F32 else float_operand(x)


def live_number(State t):
    """The only element of a float64 State as a Python float; in a recording a Number, the value at this moment."""
    return as_number(wrap(copied(t.a))) if recording() else only_number(t.a)
