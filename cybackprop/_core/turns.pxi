# Whose turn it is: programs run without the GIL, so two that write one state, or one that writes and one that reads it,
# run one after the other.  Marks and queue are in src/turns.h; whoever finds a mark waits here without the GIL.

cdef object programs = weakref.WeakSet()           # all there are
cdef double PATIENCE = 0.001             # seconds that others may pass


cdef cbp_turn turn_of(cbp_array **arrays, int n, int n_written) noexcept:
    cdef cbp_turn t
    t.arrays, t.n, t.n_written = arrays, n, n_written
    return t


cdef int wait_for(cbp_turn *t) except -1:
    """Until it is this turn; nothing has run since."""
    cdef double start = monotonic()
    cdef unsigned seen
    cbp_turn_enter(t)
    try:
        while not cbp_turn_fits(t):
            seen = cbp_turn_round
            with nogil:
                cbp_turn_wait(seen, t.due)
            t.due = monotonic() - start > PATIENCE
            PyErr_CheckSignals()
    finally:
        cbp_turn_leave(t)
    return 0


cdef int begin(cbp_turn *t) except -1:
    if not cbp_turn_fits(t):
        wait_for(t)
    cbp_turn_mark(t, 1)
    return 0


cdef int begin_turn(Program p) except -1:
    """Mark the states of a program as read or written."""
    cdef cbp_turn t
    if cbp_turns != NULL or not cbp_turn_quick(p.states, p.n_states, p.n_taken):
        t = turn_of(p.states, p.n_states, p.n_taken)
        begin(&t)
    p.active += 1
    return 0


cdef void end_turn(Program p) noexcept:
    p.active -= 1
    cbp_turn_quick_end(p.states, p.n_states, p.n_taken)


# Loops outside of programs only read States, what they write they write at the end.

cdef dict readers = {}                   # address of the list of what a loop reads -> how many there are


cdef int begin_reading(cbp_array **arrays, int n) except -1:
    cdef cbp_turn t = turn_of(arrays, n, 0)
    begin(&t)
    readers[<size_t>arrays] = n
    return 0


cdef int end_reading(cbp_array **arrays, int n) except -1:
    cdef cbp_turn t = turn_of(arrays, n, 0)
    del readers[<size_t>arrays]
    cbp_turn_mark(&t, -1)
    return 0


def forget_turns():
    """In a forked child: the threads that ran programs are not there, so nobody would take their marks away."""
    cdef Program p
    cdef cbp_turn t
    cdef int i
    cbp_turn_forget()
    for p in programs:
        for i in range(p.n_states if p.active else 0):
            p.states[i].pins -= p.active
            p.states[i].busy = 0
        p.active = 0
    for at, n in readers.items():
        t = turn_of(<cbp_array **><size_t>at, n, 0)
        cbp_turn_mark(&t, -1)
    readers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_turns)
