# Rows: an operation as data.  Elementwise rows come from the C tables, structured ones from cybackprop.ops.

@cython.binding(False)
cdef class Row:
    """One operation of the table."""

    cdef int sweep(self, Record r, Sweep s) except -1:
        """First-order sweep: give each input of r its share of r.cot."""
        contributions = self.vjp_rule(r, wrap(cbp_array_hold(r.cot)))
        return give_all(self, r, s, contributions)

    cdef int sweep_recorded(self, Record r, Sweep s) except -1:
        """The same in tensor operations, which record themselves."""
        return give_all(self, r, s, self.vjp_rule(r, r.cot_tensor)) if r.n else 0

    def __repr__(self):
        return f"<row {self.name}>"


cdef int give_all(Row row, Record r, Sweep s, object contributions) except -1:
    cdef int i
    cdef Tensor c
    if len(contributions) != r.n:
        raise TapeError(f"{row.name}: the rule gave {len(contributions)} cotangents for {r.n} inputs")
    for i in range(r.n):
        if r.edges[i] == NULL or contributions[i] is None:
            continue
        c = <Tensor?>contributions[i]
        if s.create_graph:
            s.give_tensor(<Record>r.edges[i], c)
        else:
            s.give(<Record>r.edges[i], cbp_array_hold(c.a))
    return 0


cdef class LeafRow(Row):
    """The row of leaves: the sweep ends there."""

    def __cinit__(self):
        self.name = "leaf"

    cdef int sweep(self, Record r, Sweep s) except -1:
        return 0


cdef Row leaf_row = LeafRow()


@cython.final
@cython.binding(False)
cdef class UnaryRow(Row):
    """A row of unary.def."""
    cdef readonly int place
    cdef const cbp_unary_info *info
    cdef bint keeps_x, keeps_y
    cdef readonly tuple parameters       # ((name, default), ...)
    cdef public object integers          # (x, *parameters) -> Tensor for int64 and bool x, or None: there is no such op
    cdef readonly dict facts             # what the table says, as text and numbers

    cdef int sweep(self, Record r, Sweep s) except -1:
        # forward: y = f(x)   so: dx = strong_mul(g, df(kept))
        cdef Record edge = <Record>r.edges[0]
        cdef int add
        cdef cbp_array *kept = r.kept[0] if self.keeps_x else r.out
        cdef cbp_array *dx = s.target(edge, r.cot, r.cot, &add)
        if dx == r.cot:                  # the kernel runs in place: the cotangent moves on
            r.cot = NULL
        cdef const void *kp = NULL if kept == NULL else kept.data
        cdef const void *gp = dx.data if r.cot == NULL else r.cot.data
        cbp_active[dx.dtype].unary_vjp(self.place, dx.size, kp, gp, dx.data, r.p, add)
        dx.weak = (dx if r.cot == NULL else r.cot).weak & no_strong(kept) & no_strong(dx if add else NULL)
        if recording():
            note_unary_vjp(self, r, kept, dx, add)
        return 0

    def __call__(self, x, double p0=0.0, double p1=0.0):
        """Apply the row."""
        return unary(self, <Tensor>as_tensor(x), p0, p1)


@cython.final
@cython.binding(False)
cdef class BinaryRow(Row):
    """A row of binary.def."""
    cdef readonly int place
    cdef int integer                     # the row of integer.def, -1: none
    cdef const cbp_binary_info *info
    cdef bint compares, keeps_y
    cdef bint keeps[2][2]                # keeps[side][operand]: the derivative of that side reads the operand
    cdef bint reads_y[2], is_one[2]
    cdef readonly dict facts             # what the table says, as text and numbers

    @property
    def has_integers(self):
        """Whether integer.def has this row."""
        return self.integer >= 0

    cdef int sweep(self, Record r, Sweep s) except -1:
        # forward: y = f(a, b)   so: da = strong_mul(g, df/da), summed over the axes that were broadcast
        cdef int side, add
        cdef cbp_array *g = r.cot
        cdef cbp_array *x
        cdef cbp_array *d
        cdef bint same
        for side in range(2):
            if r.edges[side] == NULL:
                continue
            x = r.kept[side]
            same = x == NULL or same_shape(x, g)
            if self.is_one[side]:
                s.give(<Record>r.edges[side], cbp_array_hold(g) if same else sum_to(g, x))
            elif same:
                d = s.target(<Record>r.edges[side], g, NULL, &add)
                self.vjp(side, r, d, add)
            else:
                d = like(g)
                try:
                    self.vjp(side, r, d, 0)
                    s.give(<Record>r.edges[side], sum_to(d, x))
                finally:
                    cbp_array_drop(d)
        return 0

    cdef int vjp(self, int side, Record r, cbp_array *d, int add) except -1:
        cdef cbp_array *a = r.kept[0] if self.keeps[side][0] else NULL
        cdef cbp_array *b = r.kept[1] if self.keeps[side][1] else NULL
        cbp_walk_binary_vjp(self.place, side, a, b, r.out, r.cot, d, add)
        d.weak = r.cot.weak & no_strong(a) & no_strong(b) & no_strong(d if add else NULL)
        if recording():
            note_binary_vjp(self, side, a, b, r, d, add)
        return 0

    def __call__(self, a, b):
        """Apply the row."""
        return compare(self, a, b) if self.compares else binary(self, a, b)


def as_tensor(x):
    """An operand that meets no other tensor: arrays keep their dtype, Python numbers become float32."""
    return <Tensor>x if isinstance(x, Tensor) else tensor(x)


cdef int refuse_dtype(str op, int code) except -1:
    raise DTypeError(f"{op} works on float32 and float64, not on {DTYPES[code]}; use astype('float32') first")


cdef Tensor unary(UnaryRow row, Tensor x, double p0, double p1):
    """Run one row of unary.def and record it."""
    if x.a.dtype > CBP_F64:
        if row.integers is None:
            refuse_dtype(row.name, x.a.dtype)
        return <Tensor?>row.integers(x, *(p0, p1)[:len(row.parameters)])
    cdef Tensor y = wrap(like(x.a))
    cdef double p[2]
    y.a.weak = x.a.weak
    p[0] = p0
    p[1] = p1
    cbp_active[x.a.dtype].unary(row.place, x.a.size, x.a.data, y.a.data, p)
    if recording():
        note_unary(row.place, x.a, y.a, p)
    cdef Record r
    if x.record is not None and not cbp_no_grad:
        r = new_record(row, 1, y.a)
        r.p[0] = p0
        r.p[1] = p1
        set_edge(r, 0, x)
        if row.keeps_x:
            keep_value(r, 0, x)
        elif row.keeps_y:
            r.out = cbp_array_hold(y.a)
        y.record = r
    return y


# ---- the same for the recorder

cdef int note_unary(int row, cbp_array *x, cbp_array *y, const double *p) except -1:
    cdef cbp_op op
    clear(&op, CBP_OP_unary)
    op.row = row
    op.p[0], op.p[1] = p[0], p[1]
    return note(&op, &x, 1, &y, 1)


cdef int note_binary(int row, cbp_array *a, cbp_array *b, cbp_array *y) except -1:
    cdef cbp_op op
    cdef cbp_array *inputs[2]
    clear(&op, CBP_OP_binary)
    op.row = row
    op.dtype = y.dtype
    inputs[:] = [a, b]
    return note(&op, inputs, 2, &y, 1)


cdef int note_unary_vjp(UnaryRow row, Record r, cbp_array *kept, cbp_array *dx, bint add) except -1:
    cdef cbp_op op
    cdef cbp_array *inputs[3]
    clear(&op, CBP_OP_unary_vjp)
    op.row = row.place
    op.p[0], op.p[1] = r.p[0], r.p[1]
    inputs[0], inputs[1], inputs[2] = NULL, dx if r.cot == NULL else r.cot, dx
    if row.keeps_x or row.keeps_y:
        inputs[0] = kept
    return note(&op, inputs, 3 if add else 2, &dx, 1)


cdef int note_binary_vjp(BinaryRow row, int side, cbp_array *a, cbp_array *b, Record r, cbp_array *d,
                         bint add) except -1:
    cdef cbp_op op
    cdef cbp_array *inputs[5]
    clear(&op, CBP_OP_binary_vjp)
    op.row = row.place
    op.flags = side
    inputs[0], inputs[1], inputs[2], inputs[3], inputs[4] = a, b, NULL, r.cot, d
    if row.reads_y[side]:
        inputs[2] = r.out
    return note(&op, inputs, 5 if add else 4, &d, 1)


cdef Tensor binary(BinaryRow row, object x, object y):
    """Run one row of binary.def, with NumPy's broadcasting, and record it."""
    cdef Tensor a, b, out
    if isinstance(x, Tensor) and isinstance(y, Tensor) and (<Tensor>x).a.dtype == (<Tensor>y).a.dtype:
        a = <Tensor>x
        b = <Tensor>y
    else:
        a, b = met(row.name, x, y)
    if a.a.dtype > CBP_F64:
        return binary_integers(row, a, b)
    if same_shape(a.a, b.a):
        out = wrap(like(a.a))
        cbp_active[a.a.dtype].binary(row.place, a.a.size, a.a.data, 1, b.a.data, 1, out.a.data)
    else:
        out = wrap(broadcast_run(row.name, a.a, b.a, a.a.dtype, cbp_active[a.a.dtype].binary, row.place))
    out.a.weak = a.a.weak & b.a.weak
    if recording():
        note_binary(row.place, a.a, b.a, out.a)
    if not cbp_no_grad and (a.record is not None or b.record is not None):
        record_binary(row, a, b, out)
    return out


cdef int record_binary(BinaryRow row, Tensor a, Tensor b, Tensor out) except -1:
    cdef bint da = a.record is not None, db = b.record is not None
    cdef Record r = new_record(row, 2, out.a)
    set_edge(r, 0, a)
    set_edge(r, 1, b)
    if (da and row.keeps[0][0]) or (db and row.keeps[1][0]):
        keep_value(r, 0, a)
    elif da and not same_shape(a.a, out.a):
        keep_shape(r, 0, a)
    if (da and row.keeps[0][1]) or (db and row.keeps[1][1]):
        keep_value(r, 1, b)
    elif db and not same_shape(b.a, out.a):
        keep_shape(r, 1, b)
    if not (same_shape(a.a, out.a) and same_shape(b.a, out.a)):
        r.attrs = {"shape": array_shape(out.a)}   # tangents of broadcast operands need it
    if (da and row.reads_y[0]) or (db and row.reads_y[1]):
        r.out = cbp_array_hold(out.a)
    out.record = r
    return 0


cdef Tensor compare(BinaryRow row, object x, object y):
    """Compare elementwise; the result is bool and takes no gradient."""
    cdef Tensor a, b
    a, b = met(row.name, x, y, CBP_F64)
    if a.a.dtype > CBP_F64:              # True == 1, as in Python
        return raw_compare_integers(row.name, as_integers(a), as_integers(b))
    cdef Tensor out = wrap(broadcast_run(row.name, a.a, b.a, CBP_BOOL, cbp_active[a.a.dtype].binary, row.place))
    out.a.weak = a.a.weak & b.a.weak
    if recording():
        note_binary(row.place, a.a, b.a, out.a)
    return out


cdef tuple read_parameters(str text):
    return tuple([(name, float(value)) for name, value in (item.split("=") for item in text.split())])


cdef UnaryRow make_unary(int i):
    cdef UnaryRow row = UnaryRow.__new__(UnaryRow)
    row.info = &cbp_unary_rows[i]
    row.place = i
    row.name = row.info.name.decode()
    row.keeps_x = row.info.keeps[0] == b"X"
    row.keeps_y = row.info.keeps[0] == b"Y"
    row.parameters = read_parameters(row.info.params.decode())
    row.facts = dict(name=row.name, keeps=row.info.keeps.decode(), params=row.parameters, f=row.info.f.decode(),
                     df=row.info.df.decode(), low=row.info.low, high=row.info.high, kinks=row.info.kinks.decode(),
                     public=bool(row.info.is_public))
    return row


cdef BinaryRow make_binary(int i):
    cdef BinaryRow row = BinaryRow.__new__(BinaryRow)
    cdef int side
    row.info = &cbp_binary_rows[i]
    row.place = i
    row.name = row.info.name.decode()
    row.compares = row.info.compares
    row.integer = integer_rows.get(row.name, -1)
    for side, keeps, text in ((0, row.info.keeps_a.decode(), row.info.da.decode()),
                              (1, row.info.keeps_b.decode(), row.info.db.decode())):
        row.keeps[side][0] = "A" in keeps
        row.keeps[side][1] = "B" in keeps
        row.reads_y[side] = "Y" in keeps
        row.is_one[side] = text == "1"
    row.facts = dict(name=row.name, f=row.info.f.decode(), keeps_a=row.info.keeps_a.decode(), da=row.info.da.decode(),
                     keeps_b=row.info.keeps_b.decode(), db=row.info.db.decode(), a_low=row.info.a_low,
                     a_high=row.info.a_high, b_low=row.info.b_low, b_high=row.info.b_high, ties=bool(row.info.ties),
                     strong=bool(row.info.strong), compares=bool(row.info.compares))
    return row


unary_rows = {row.name: row for row in [make_unary(i) for i in range(cbp_n_unary)]}
binary_rows = {row.name: row for row in [make_binary(i) for i in range(cbp_n_binary)]}

# the rows behind Python's operators
cdef BinaryRow ADD = binary_rows["add"], SUB = binary_rows["sub"], MUL = binary_rows["mul"], DIV = binary_rows["div"]
cdef BinaryRow FLOOR_DIVIDE = binary_rows["floor_divide"], REMAINDER = binary_rows["remainder"]
cdef BinaryRow EQUAL = binary_rows["equal"], NOT_EQUAL = binary_rows["not_equal"], LESS = binary_rows["less"]
cdef BinaryRow LESS_EQUAL = binary_rows["less_equal"], GREATER = binary_rows["greater"]
cdef BinaryRow GREATER_EQUAL = binary_rows["greater_equal"]
cdef UnaryRow NEG = unary_rows["neg"], ABS = unary_rows["abs"]
