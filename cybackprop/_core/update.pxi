# In-place updates: flat stores of parameters and the rows of optim.def.

cdef dict optimizers = {cbp_optim_rows[i].name.decode(): i for i in range(cbp_n_optim)}


def optimizer_facts():
    """{name: (options in the order of the operation's inputs, names of the moments, how many are always there)}."""
    return {name: (tuple(cbp_optim_rows[<int>i].options.decode().split(", ")),
                   tuple(cbp_optim_rows[<int>i].moment_names.decode().split()), cbp_optim_rows[<int>i].always)
            for name, i in optimizers.items()}


def flatten(parameters):
    """Lay parameters of one dtype into one flat store, in the order given.

    A parameter that is in a store already, or whose memory is exported or viewed right now, stays where it is.
    Returns how many moved.  Each starts on a 64-byte line; gaps are zero.
    """
    cdef Parameter p
    cdef cbp_array *store
    cdef Py_ssize_t total = 0, offset = 0, n
    cdef int moved = 0
    free_ones = [p for p in parameters if p.a.base == NULL and p.a.pins == 0]
    for p in free_ones:
        total += (p.nbytes + 63) // 64 * 64
    if total == 0:
        return 0
    n = total // 8
    store = new_array(CBP_F64, 1, &n)
    memset(store.data, 0, total)
    for p in free_ones:
        moved += cbp_array_adopt(p.a, store, offset)
        offset += (p.nbytes + 63) // 64 * 64
    cbp_array_drop(store)
    return moved


ctypedef struct update_call:             # one operation `optim`
    int decaying, n_in, n_out
    cbp_array **inputs
    cbp_array **outputs


cdef cbp_array *number_in(State cell, int dtype, str what) except NULL:
    """A number that an update reads."""
    if cell is None or cell.a.dtype != dtype or cell.a.ndim != 0:
        raise ValueError(f"{what} is a State of one {DTYPES[dtype]} number, not {cell!r}")
    return cell.a


cdef int read_member(str row, const cbp_optim_info *info, tuple member, cbp_array **inputs,
                     cbp_array **outputs) except -1:
    """w, g, t, m1, m2, m3 of a parameter and what is written of them; 0 if there is no gradient, else 1."""
    cdef Parameter p, moment
    cdef Tensor g
    cdef int k
    if len(member) != 2 + info.moments:
        raise ValueError(f"{row}: {info.moments} moments wanted, {len(member) - 2} given")
    p = member[0]
    if p is None:
        raise ValueError(f"{row}: a member has no Parameter")
    g = (<Recorder>cbp_recorder).see_grad(p, True) if recording() else p.grad_
    if g is None:
        return 0
    if g.a.dtype != p.a.dtype or not same_shape(g.a, p.a):
        raise ShapeError(f"{row}: the gradient of a parameter of shape {p.shape} does not fit")
    inputs[0] = outputs[0] = p.a
    inputs[1] = g.a
    inputs[2] = outputs[1] = number_in(member[1], CBP_I64, "a count of steps")
    for k in range(3):
        moment = member[2 + k] if k < info.moments else None
        if moment is None and k < info.always:
            raise ValueError(f"{row}: moment {k + 1} is missing")
        if moment is not None and (moment.a.dtype != p.a.dtype or not same_shape(moment.a, p.a)):
            raise ShapeError(f"{row}: a moment of shape {moment.shape} for a parameter of shape {p.shape}")
        inputs[3 + k] = outputs[2 + k] = array_of(moment)
    return 1


cdef int read_call(str row, const cbp_optim_info *info, tuple options, Py_ssize_t decays, list members,
                   update_call *call) except -1:
    """Lay out what one operation reads and writes; there is room for 6 and 5 arrays a member."""
    cdef cbp_array **inputs = call.inputs
    cdef cbp_array **outputs = call.outputs
    for cell in options:
        inputs[0] = number_in(cell, CBP_F64, "an option")
        inputs += 1
    for member in members:
        if read_member(row, info, member, inputs, outputs):
            inputs += 6
            outputs += 5
            call.decaying += decays > 0
        decays -= 1
    call.n_in = <int>(inputs - call.inputs)
    call.n_out = <int>(outputs - call.outputs)
    return 0


def update(str row, list calls):
    """One step of an optimizer row: parameters with a gradient change in place, as do their moments and step counts.

    Everything is checked before anything changes, and no Python code runs in between: a signal finds the step whole.

    Parameters
    ----------
    row : str
        Name in optim.def.
    calls : list of (options, decays, members)
        Each is one operation.  options: a tuple of States, float64, in the row's order.  members: a list of tuples,
        Parameter, count of its steps (a State, int64) and each moment of the row; None turns that part of the rule
        off.  decays: how many of them, those at the front, take weight_decay; for the others it is 0.
    """
    cdef const cbp_optim_info *info = &cbp_optim_rows[<int>optimizers[row]]
    cdef Py_ssize_t arrays = 0, i, n = len(calls)
    cdef update_call *all_calls
    cdef cbp_array **room
    cdef cbp_op op
    for options, _, members in calls:
        if len(options) != info.n_options:
            raise ValueError(f"{row}: {info.n_options} options wanted, {len(options)} given")
        arrays += info.n_options + 11 * len(members)
    all_calls = <update_call *>malloc((n + 1) * sizeof(update_call) + arrays * sizeof(cbp_array *))
    if all_calls == NULL:
        raise MemoryError
    room = <cbp_array **>(all_calls + n)
    try:
        for i in range(n):
            options, decays, members = calls[i]
            all_calls[i].decaying = 0
            all_calls[i].inputs = room
            all_calls[i].outputs = room + info.n_options + 6 * len(members)
            read_call(row, info, options, decays, members, &all_calls[i])
            room = all_calls[i].outputs + 5 * len(members)
        write = written_by(row + ".step")
        for i in range(n):
            if all_calls[i].n_out == 0:
                continue
            clear(&op, CBP_OP_optim)
            op.row = optimizers[row]
            op.a[0] = all_calls[i].decaying
            run_in_place(&op, all_calls[i].inputs, all_calls[i].n_in, all_calls[i].outputs, all_calls[i].n_out, write)
    finally:
        free(all_calls)
