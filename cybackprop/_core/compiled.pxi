# A compiled function: which of its programs a call is for, and the way there and back.

METHODS = "<compiled>"                   # where an instance keeps its compiled methods: no name of anything else


cdef class Methods:
    """Those of one instance, kept among its attributes: programs lead back to it, so all must go together."""
    cdef object owner
    cdef dict compiled

    def __init__(self, owner=None):
        self.owner, self.compiled = owner, {}

    def __reduce__(self):
        return Methods, ()               # a copy begins anew


@cython.binding(False)
cdef class Compiled:
    """A function that is recorded once and replayed in C; see `cybackprop.compile`.

    Attributes
    ----------
    function : callable
        The function itself, as it was given.
    programs : list of Program
        What has been recorded, the last used first.
    """
    cdef readonly object function
    cdef readonly list programs
    # (compiled, spec, leaves, args, kwargs, None) -> result
    # with a program: -> the run that has checked it, or None if it refuses
    cdef public object slow
    cdef object unpack                   # (args, kwargs) -> spec, leaves
    cdef object bind                     # (compiled, instance) -> such a method of that instance
    cdef readonly Py_ssize_t audit_every
    cdef readonly bint reuse_results
    cdef public object state             # what `slow` wants to remember
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, function, slow, unpack, bind, audit_every, reuse_results):
        self.function, self.slow, self.unpack, self.bind, self.programs = function, slow, unpack, bind, []
        self.audit_every, self.reuse_results = audit_every, reuse_results

    def explain(self):
        """Print what each program does, the last used first: `Program.explain`."""
        if not self.programs:
            print("nothing is recorded yet: call it first")
        for program in self.programs:
            explain_program(program)

    def profile(self, *args, int repeat=30):
        """Print the time of each instruction of the program for such arguments: `Program.profile`."""
        profile_program(self.programs, args, repeat)

    def save(self, path, *args, **kwargs):
        """Save the function as a program that runs without Python, at any batch size: `save_programs` with one.

        Parameters
        ----------
        path : str or path-like
        *args, **kwargs
            Example arguments; and batch, which of them follow the batch size (see `save_programs`).
        """
        save_compiled(self, path, args, kwargs)

    def __get__(self, instance, owner):
        if instance is None:
            return self
        attributes = getattr(instance, "__dict__", None)
        if type(attributes) is not dict:             # slots, or a class
            return functools.partial(self, instance)
        methods = attributes.get(METHODS)
        if methods is None or (<Methods?>methods).owner is not instance:
            methods = attributes[METHODS] = Methods(instance)
        method = (<Methods>methods).compiled.get(self)
        if method is None:
            method = (<Methods>methods).compiled[self] = self.bind(self, instance)
        return method

    def __call__(self, *args, **kwargs):
        cdef object leaves, spec
        cdef call_view few[8]
        cdef call_view *views = few
        cdef Py_ssize_t i, n
        if recording():                  # part of a larger program
            return self.function(*args, **kwargs)
        if kwargs or not plain(args):
            spec, leaves = self.unpack(args, kwargs)
        else:
            leaves = args
            spec = None                  # all of them are leaves
        n = len(leaves)
        if n > 8:
            views = <call_view *>malloc(n * sizeof(call_view))
            if views == NULL:
                raise MemoryError
        for i in range(n):
            views[i].held = False
        try:
            look(leaves, views)
            return self.answer(spec, leaves, views, args, kwargs)
        finally:
            for i in range(n):
                if views[i].held:
                    PyBuffer_Release(&views[i].view)
            if views != few:
                free(views)

    cdef object answer(self, spec, leaves, call_view *views, tuple args, dict kwargs):
        cdef Program program
        result = NOT_THIS
        if self.programs:                # mostly the first is for it, and a copy of the list would be an allocation
            result = self.attempt(<Program>self.programs[0], spec, leaves, views, args, kwargs)
        if result is NOT_THIS:
            for program in self.programs[1:]:            # other threads may change it while guards run Python
                result = self.attempt(program, spec, leaves, views, args, kwargs)
                if result is not NOT_THIS:
                    if program in self.programs:
                        self.programs.remove(program)
                        self.programs.insert(0, program)
                    return result
            return self.slow(self, spec, leaves, args, kwargs, None)
        return result

    cdef object attempt(self, Program program, spec, leaves, call_view *views, tuple args, dict kwargs):
        """What the program makes of the call, or NOT_THIS."""
        if not program.key.fits(spec, leaves, views) or not program.key.holds():
            return NOT_THIS
        if program.writes and program.writes_into(views, len(leaves)):
            return NOT_THIS              # eagerly, what is read there depends on when it is read
        program.calls += 1
        if program.calls == 2 or (self.audit_every and program.calls % self.audit_every == 0):
            run = self.slow(self, spec, leaves, args, kwargs, program)
            result = NOT_THIS if run is None else run.result
        else:
            result = program.replay(leaves, views)
        if result is NOT_THIS:
            program.calls -= 1
        return result


cdef object save_compiled = None


def set_save(save):
    """What `Compiled.save` calls: from `cybackprop.transforms`."""
    global save_compiled
    save_compiled = save


cdef bint plain(tuple args):
    """Whether every argument is a leaf."""
    for x in args:
        if isinstance(x, (list, tuple, dict)):
            return False
    return True


cdef int look(object leaves, call_view *views) except -1:
    """Open the arguments that are NumPy arrays."""
    cdef Py_ssize_t i
    for i in range(len(leaves)):
        x = leaves[i]
        if type(x) is np_ndarray or (not isinstance(x, Tensor) and isinstance(x, np_ndarray)):
            try:
                PyObject_GetBuffer(x, &views[i].view, PyBUF_FORMAT | PyBUF_STRIDES)
            except (ValueError, BufferError):        # dates, objects: no program reads these
                continue
            views[i].held = True
    return 0


def functions_with(set codes):
    """All functions there are whose code has one of these ids.  A million objects take some milliseconds."""
    cdef list everything = gc.get_objects(), found = []
    cdef Py_ssize_t i
    cdef size_t code, some = 0           # bit k: one of the codes has k there; few functions go past that
    for code in codes:
        some |= <size_t>1 << (code >> 6 & 31)
    for i in range(len(everything)):
        x = everything[i]
        if PyFunction_Check(x):
            code = <size_t>PyFunction_GetCode(x)
            if some >> (code >> 6 & 31) & 1 and code in codes:
                found.append(x)
    return found


cdef object np_ndarray = np.ndarray
