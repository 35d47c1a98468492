# NumPy's broadcasting as a walk over runs of elements in which each operand is dense or constant.

ctypedef struct walk:
    Py_ssize_t inner, left, itemsize     # elements a run, runs to go
    char *p[2]                           # where each operand is
    Py_ssize_t s[2]                      # its stride in a run: 0 or 1
    int outer                            # axes outside the run
    Py_ssize_t length[8]
    Py_ssize_t index[8]
    Py_ssize_t step[2][8]                # bytes an operand moves along an outer axis


cdef inline bint same_shape(const cbp_array *a, const cbp_array *b) noexcept:
    cdef int i
    if a.ndim != b.ndim or a.size != b.size:
        return False
    for i in range(a.ndim):
        if a.shape[i] != b.shape[i]:
            return False
    return True


cdef void start_walk(walk *w, const cbp_array *out, const cbp_array *a, const cbp_array *b, int dtype) noexcept:
    """Walk over out with one or two operands of one dtype that broadcast to it (NULL: not read)."""
    cdef const cbp_array *x[2]
    cdef Py_ssize_t stride[2][8]
    cdef Py_ssize_t step
    cdef int i, k, axis, n = 0
    cdef bint merges, plain = True
    x[0] = a
    x[1] = b
    w.itemsize = cbp_itemsize(<cbp_dtype>dtype)
    w.inner = out.size
    w.left = 1 if out.size > 0 else 0
    w.outer = 0
    for k in range(2):
        w.p[k] = NULL if x[k] == NULL else <char *>x[k].data
        w.s[k] = 0 if x[k] == NULL or x[k].size == 1 else 1
        if w.s[k] == 1 and not (x[k].size == out.size):
            plain = False
    if plain:                            # each operand is as large as the result, or one number
        return
    # element strides of the operands along the axes of out, 0 where they broadcast
    for k in range(2):
        step = 1
        for i in range(out.ndim):
            axis = out.ndim - 1 - i
            stride[k][axis] = 0
            if x[k] != NULL and i < x[k].ndim:
                if x[k].shape[x[k].ndim - 1 - i] != 1:
                    stride[k][axis] = step
                step *= x[k].shape[x[k].ndim - 1 - i]
    # merge neighbouring axes that both operands walk through as one; n axes remain, outermost first in w
    for axis in range(out.ndim):
        if out.shape[axis] == 1:
            continue
        merges = n > 0
        for k in range(2):
            if n > 0 and w.step[k][n - 1] != stride[k][axis] * out.shape[axis]:
                merges = False
        if merges:
            w.length[n - 1] *= out.shape[axis]
        else:
            w.length[n] = out.shape[axis]
            n += 1
        for k in range(2):
            w.step[k][n - 1] = stride[k][axis]
    w.outer = n - 1
    w.inner = w.length[n - 1]
    w.left = 0 if out.size == 0 else out.size // w.inner
    for k in range(2):
        w.s[k] = w.step[k][n - 1]
        for i in range(w.outer):
            w.step[k][i] *= w.itemsize
    for i in range(w.outer):
        w.index[i] = 0


cdef void next_walk(walk *w) noexcept:
    cdef int i, k
    w.left -= 1
    for i in range(w.outer - 1, -1, -1):
        w.index[i] += 1
        for k in range(2):
            if w.p[k] != NULL:
                w.p[k] += w.step[k][i]
        if w.index[i] < w.length[i]:
            return
        for k in range(2):
            if w.p[k] != NULL:
                w.p[k] -= w.step[k][i] * w.length[i]
        w.index[i] = 0


cdef int broadcast_shape(str op, const cbp_array *a, const cbp_array *b, Py_ssize_t *shape) except -1:
    """The common shape; returns its number of axes."""
    cdef int n = max(a.ndim, b.ndim), i
    cdef Py_ssize_t la, lb
    for i in range(n):
        la = a.shape[a.ndim - 1 - i] if i < a.ndim else 1
        lb = b.shape[b.ndim - 1 - i] if i < b.ndim else 1
        if la != lb and la != 1 and lb != 1:
            raise ShapeError(f"{op}: shapes {array_shape(a)} and {array_shape(b)} do not broadcast: "
                             f"axis {-1 - i} has lengths {la} and {lb}")
        shape[n - 1 - i] = lb if la == 1 else la
    return n


# a loop over runs: code says which op; strides 0 or 1
ctypedef void (*run_loop)(int code, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                          void *y) noexcept nogil


cdef cbp_array *broadcast_run(str op, cbp_array *a, cbp_array *b, int out_dtype, run_loop run, int code) except NULL:
    cdef cbp_array *out
    cdef Py_ssize_t shape[8]
    cdef walk w
    cdef char *y
    cdef Py_ssize_t step
    out = new_array(out_dtype, broadcast_shape(op, a, b, shape), shape)
    start_walk(&w, out, a, b, a.dtype)
    y = <char *>out.data
    step = w.inner * cbp_itemsize(<cbp_dtype>out_dtype)
    while w.left > 0:
        run(code, w.inner, w.p[0], w.s[0], w.p[1], w.s[1], y)
        y += step
        next_walk(&w)
    return out
