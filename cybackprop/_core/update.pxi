# In-place updates: flat stores of parameters and the rows of optim.def.

cdef dict optimizers = {cbp_optim_rows[i].name.decode(): i for i in range(cbp_n_optim)}


def optimizer_facts():
    """{name: (hyper-parameters in the kernel's order, names of the moments, how many are always there)}."""
    return {name: (tuple(cbp_optim_rows[<int>i].hyper.decode().strip("()").split(", ")),
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


def update(str row, list groups, dict steps, dict new_steps):
    """One step of an optimizer row: parameters with a gradient change in place, as do their moments.

    Everything is checked before anything changes, and no Python code runs in between: a signal finds the step whole.

    Parameters
    ----------
    row : str
        Name in optim.def.
    groups : list of (parameters, moments, hyper)
        parameters: list of Parameter, each with a gradient.  moments: one list a moment of the row, in the order of
        the parameters; None turns that part of the rule off.  hyper: numbers in the row's order.
    steps, new_steps : dict
        steps.update(new_steps) happens with the update.
    """
    cdef double h[16]
    cdef int i, j, k, place = optimizers[row]
    cdef void *m[3]
    cdef Parameter p, moment
    cdef Tensor g
    for parameters, moments, hyper in groups:
        if len(moments) != cbp_optim_rows[place].moments or len(hyper) > 16:
            raise ValueError(f"{row}: {cbp_optim_rows[place].moments} moments wanted, {len(moments)} given")
        for p in parameters:
            if recording():
                (<Recorder>cbp_recorder).see_grad(p, True)
            g = p.grad_
            if g is None or g.a.dtype != p.a.dtype or not same_shape(g.a, p.a):
                raise ShapeError(f"{row}: the gradient of a parameter of shape {p.shape} is missing or does not fit")
        [float(x) for x in hyper]
    written_by = row + ".step" + caller_place(0)
    for parameters, moments, hyper in groups:
        for j in range(len(hyper)):
            h[j] = hyper[j]
        for i in range(len(parameters)):
            p = parameters[i]
            g = p.grad_
            for k in range(3):
                m[k] = NULL
                if k < len(moments) and moments[k] is not None:
                    moment = moments[k][i]
                    m[k] = moment.a.data
                    moment.a.version += 1
            cbp_active[p.a.dtype].optim(place, p.a.size, p.a.data, g.a.data, m[0], m[1], m[2], h)
            note_write(p.a, written_by)
    steps.update(new_steps)
