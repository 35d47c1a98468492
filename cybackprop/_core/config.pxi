# Which kernels run, and on how many threads.

def select_kernels(str name=""):
    """Use the kernels of an instruction set; "" chooses the best that runs here."""
    if cbp_select(name.encode()) != CBP_OK:
        raise ValueError(f"CYBACKPROP_CPU={name}: this build has {', '.join(built_targets())}, "
                         f"this CPU runs {', '.join(runnable_targets())}")


def built_targets():
    """Instruction sets that were compiled, best last."""
    names = []
    while cbp_target_name(len(names)) != NULL:
        names.append(cbp_target_name(len(names)).decode())
    return names


def runnable_targets():
    """Those of them that this CPU runs."""
    return [name for i, name in enumerate(built_targets()) if cbp_target_runs(i)]


def active_target():
    """The instruction set in use."""
    return cbp_active[0].target.decode()


def set_num_threads(n):
    """Let kernels use at most n threads, the caller's included.

    Results do not depend on it.  Small work stays on one thread whatever n is.
    """
    n = operator.index(n)
    if not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: {n} threads; 1 to 1024 are possible")
    cbp_set_num_threads(n)


def get_num_threads():
    """How many threads kernels may use."""
    return cbp_get_num_threads()


def run_alone(bint yes):
    """Let this thread do its work by itself: for whoever runs many things side by side."""
    cbp_pool_alone(yes)


def workers_used():
    """The most threads, the caller's included, that shared one piece of work since the last call; for tests."""
    return cbp_pool_workers_used()


def bytes_in_use():
    """Bytes held by live tensors."""
    return cbp_bytes_in_use()


cdef const cbp_kernels *kernels_of(int dtype) noexcept nogil:
    return cbp_active[dtype]


cdef int unary_place(str name) except -1:
    """Place of a row in unary.def; ValueError if there is none of that name."""
    row = unary_rows.get(name)
    if row is None:
        raise ValueError(f"no elementwise op is called {name!r}; there are {', '.join(unary_rows)}")
    return (<UnaryRow>row).place
