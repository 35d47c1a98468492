# Whose turn it is: programs run without the GIL, so two that write one state, or one that writes and one that reads it,
# run one after the other.  The GIL guards the marks in the arrays; whoever finds one waits without it.

cdef object turnstile = threading.Condition()
cdef int n_waiting = 0
cdef object programs = weakref.WeakSet()           # all there are


cdef int wait_for(cbp_array *a) except -1:
    """Until no program reads or writes an array."""
    global n_waiting
    n_waiting += 1
    try:
        with turnstile:
            while a.busy:
                turnstile.wait(0.05)
    finally:
        n_waiting -= 1
    return 0


cdef int begin_turn(Program p) except -1:
    """Mark the states of a program as read or written."""
    cdef int i
    while True:
        for i in range(p.n_states):
            if p.states[i].busy < 0 or (i < p.n_written and p.states[i].busy):
                break
        else:
            break
        wait_for(p.states[i])
    p.active += 1
    for i in range(p.n_states):
        p.states[i].pins += 1
        if i < p.n_written:
            p.states[i].busy = -1
        else:
            p.states[i].busy += 1
    return 0


cdef int end_turn(Program p) except -1:
    cdef int i
    p.active -= 1
    for i in range(p.n_states):
        p.states[i].pins -= 1
        if i < p.n_written:
            p.states[i].busy = 0
        else:
            p.states[i].busy -= 1
    if n_waiting:
        with turnstile:
            turnstile.notify_all()
    return 0


# Loops outside of programs only read States, what they write they write at the end.

cdef dict readers = {}                   # address of the list of what a loop reads -> how many there are


cdef int begin_reading(cbp_array **arrays, int n) except -1:
    cdef int i
    for i in range(n):
        while arrays[i] != NULL and root_of(arrays[i]).busy < 0:
            wait_for(root_of(arrays[i]))
    readers[<size_t>arrays] = n
    mark_reading(arrays, n, 1)
    return 0


cdef int end_reading(cbp_array **arrays, int n) except -1:
    del readers[<size_t>arrays]
    mark_reading(arrays, n, -1)
    if n_waiting:
        with turnstile:
            turnstile.notify_all()
    return 0


cdef void mark_reading(cbp_array **arrays, int n, int by) noexcept:
    cdef int i
    cdef cbp_array *a
    for i in range(n):
        if arrays[i] != NULL:
            a = root_of(arrays[i])
            a.pins += by
            a.busy += by


def forget_turns():
    """In a forked child: the threads that ran programs are not there, so nobody would take their marks away."""
    global turnstile, n_waiting
    cdef Program p
    cdef int i
    turnstile, n_waiting = threading.Condition(), 0
    for p in programs:
        for i in range(p.n_states if p.active else 0):
            p.states[i].pins -= p.active
            p.states[i].busy = 0
        p.active = 0
    for at, n in readers.items():
        mark_reading(<cbp_array **><size_t>at, n, -1)
    readers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_turns)
