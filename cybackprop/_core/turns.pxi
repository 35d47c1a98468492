# Whose turn it is: programs run without the GIL, so two that write one state, or one that writes and one that reads it,
# run one after the other.  Marks and queue are in src/turns.h; whoever finds a mark waits here without the GIL.

cdef object programs = weakref.WeakSet()           # all there are
cdef dict holds = {}                     # mark of a thread -> the States that it holds
cdef int n_holders = 0                   # of those: one look at this where nobody does
cdef int32_t newest_mark = -1
cdef double PATIENCE = 0.001             # seconds that others may pass
cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) int32_t cbp_my_mark = 0;
    #else
    static _Thread_local int32_t cbp_my_mark = 0;
    #endif
    """
    int32_t cbp_my_mark                  # 0: this thread holds nothing


cdef cbp_turn turn_of(cbp_array **arrays, int n, int n_written) noexcept:
    cdef cbp_turn t
    t.arrays, t.n, t.n_written, t.mark, t.holder = arrays, n, n_written, -1, 0
    if n_holders:
        t.holder = cbp_my_mark
    return t


cdef bint wait_for(cbp_turn *t) except -1:
    """Until it is this turn: False, and nothing has run since.  True: it never would be."""
    cdef double start = monotonic()
    cdef unsigned seen
    cbp_turn_enter(t)
    try:
        while not cbp_turn_fits(t):
            if cbp_turn_circle(t):
                return True
            seen = cbp_turn_round
            with nogil:
                cbp_turn_wait(seen, t.due)
            t.due = monotonic() - start > PATIENCE
            PyErr_CheckSignals()
    finally:
        cbp_turn_leave(t)
    return False


cdef int begin(cbp_turn *t) except -1:
    if not cbp_turn_fits(t) and wait_for(t):
        raise TapeError("two threads record or audit functions, and each waits for a State that the other holds")
    cbp_turn_mark(t, 1)
    return 0


cdef int begin_turn(Program p) except -1:
    """Mark the states of a program as read or written."""
    cdef cbp_turn t
    if n_holders or cbp_turns != NULL or not cbp_turn_quick(p.states, p.n_states, p.n_taken):
        t = turn_of(p.states, p.n_states, p.n_taken)
        begin(&t)
    p.active += 1
    return 0


cdef void end_turn(Program p) noexcept:
    cdef cbp_turn t
    p.active -= 1
    if n_holders:                        # this thread may be one: what it holds it goes on holding
        t = turn_of(p.states, p.n_states, p.n_taken)
        cbp_turn_mark(&t, -1)
    else:
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


# What is recorded or audited is many operations: the thread holds all States meanwhile that they read or write.

cdef int hold_arrays(cbp_array **arrays, int n) except -1:
    """Wait for arrays and keep them; not where others wait for this thread: these threads go on as they come."""
    cdef cbp_turn t = turn_of(arrays, n, n)
    cdef int i
    if t.holder == 0 or (not cbp_turn_fits(&t) and wait_for(&t)):
        return 0
    for i in range(n):
        if root_of(arrays[i]).busy != t.holder:
            (<list>holds[t.holder]).append(state_of(root_of(arrays[i])))
    t.mark = t.holder
    cbp_turn_mark(&t, 1)
    return 0


cdef int touch(cbp_array *a) except -1:
    """Before an operation that may be recorded reads or writes an array."""
    if n_holders and a != NULL and a.mutable and recording():
        a = root_of(a)
        if a.busy != cbp_my_mark and not a.recorded:         # else it was made meanwhile: nobody else has it
            hold_arrays(&a, 1)
    return 0


cdef int touch_all(cbp_array **arrays, int n) except -1:
    cdef int i
    for i in range(n):
        touch(arrays[i])
    return 0


def take_turn(Compiled compiled, list held):
    """Hold the states of a function's programs, and its door, until `leave_turn` with the same empty list."""
    global n_holders, newest_mark, cbp_my_mark
    cdef Program p
    if cbp_my_mark == 0:                 # else whoever came first in this thread lets go of all
        newest_mark = newest_mark - 1 if newest_mark > -(1 << 30) else -2
        cbp_my_mark = newest_mark
        holds[cbp_my_mark] = held
        n_holders += 1
    hold_arrays(&compiled.door.a, 1)
    for p in compiled.programs[:]:
        hold_arrays(p.states, p.n_states)


def leave_turn(list held):
    global n_holders, cbp_my_mark
    if holds.get(cbp_my_mark) is held:
        del holds[cbp_my_mark]
        cbp_my_mark = 0
        n_holders -= 1
        let_go(held)


cdef int let_go(list held) except -1:
    cdef State s
    for s in held:
        s.a.busy = 0
    cbp_turn_wake()
    return 0


def forget_turns():
    """In a forked child: the threads that ran programs are not there, so nobody would take their marks away."""
    global n_holders
    cdef Program p
    cdef cbp_turn t
    cdef int i
    cbp_turn_forget()
    for mark in list(holds):
        if mark != cbp_my_mark:
            let_go(holds.pop(mark))
            n_holders -= 1
    for p in programs:
        for i in range(p.n_states if p.active else 0):
            p.states[i].pins -= p.active
            if p.states[i].busy != cbp_my_mark:
                p.states[i].busy = 0
        p.active = 0
    for at, n in readers.items():
        t = turn_of(<cbp_array **><size_t>at, n, 0)
        cbp_turn_mark(&t, -1)
    readers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_turns)
