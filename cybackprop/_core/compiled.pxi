# A compiled function: which of its programs a call is for, and the way there and back.

cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) int cbp_eager = 0;
    #else
    static _Thread_local int cbp_eager = 0;
    #endif
    """
    int cbp_eager                        # how many `with cb.eager()` this thread is in


class eager:
    """Compiled functions run eagerly inside ``with eager():``, in this thread; their arguments are tensors as ever.

    It is the way to debug, and what a program is compared with.  ``CYBACKPROP_COMPILE=0`` in the environment does the
    same for a whole process.

    Examples
    --------
    >>> import cybackprop as cb
    >>> double = cb.compile(lambda x: x * 2)
    >>> with cb.eager():
    ...     double(cb.tensor([1.0])).item(), len(double.programs)
    (2.0, 0)
    """

    def __enter__(self):
        global cbp_eager
        cbp_eager += 1

    def __exit__(self, *exc):
        global cbp_eager
        cbp_eager -= 1


cdef bint never = os.environ.get("CYBACKPROP_COMPILE") == "0"


def compiles():
    """Whether compiled functions are recorded and replayed in this thread."""
    return not never and not cbp_eager


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
    cdef object raw                      # the function; of a method, that of its class
    cdef readonly object owner           # of a method: a weak reference to self
    cdef readonly list programs
    # (compiled, spec, leaves, args, kwargs, None) -> result
    # with a program: -> the run that has checked it, or None if it refuses
    cdef public object slow
    cdef object eagerly                  # (compiled, args, kwargs) -> result
    cdef readonly object options         # what `compile` was given
    cdef readonly Py_ssize_t audit_every
    cdef readonly bint reuse_results
    cdef bint ordered                    # the function has **
    cdef unsigned long busy              # the thread that records or audits, 0: none does
    cdef public object history           # of its recordings: transforms/history.py
    cdef dict methods                    # id of an instance -> (weak reference, its method)
    cdef object __weakref__
    cdef dict __dict__

    def __init__(self, function, slow, eagerly, ordered, options, history, owner=None):
        self.raw, self.slow, self.eagerly, self.programs = function, slow, eagerly, []
        self.ordered, self.options, self.history, self.methods, self.owner = ordered, options, history, {}, owner
        self.audit_every, self.reuse_results = options["audit"], options["reuse_results"]

    @property
    def function(self):
        """The function itself, as it was given."""
        if self.owner is None:
            return self.raw
        instance = self.owner()
        if instance is None:
            raise ReferenceError("compile: the object of this method is gone")
        return types.MethodType(self.raw, instance)

    def __setattr__(self, name, value):
        if type_lookup(Compiled, name) is ABSENT and type_lookup(type(self.raw), "named_modules") is not ABSENT:
            setattr(self.raw, name, value)
        else:
            PyObject_GenericSetAttr(self, name, value)

    def reset(self):
        """Forget all programs and why there may be none; the next call is recorded."""
        self.programs.clear()
        self.history.clear()

    def begin_recording(self, Program program=None):
        """Whether this thread may record now; no other does until `end_recording`.

        program: it is an audit, which other runs of the program should neither see nor disturb.
        """
        if self.busy:
            return False
        self.busy = threading.get_ident()
        if program is not None and program.writes:
            wait_while(lambda: program.active > 0)
        return True

    def end_recording(self):
        """Another call may record."""
        self.busy = 0

    def __reduce__(self):
        name = getattr(self.raw, "__qualname__", "")
        module = sys.modules.get(getattr(self.raw, "__module__", None))
        if self.owner is None and getattr(module, name, None) is self:
            return name                  # by its name, as functions are
        return make_compiled, (self.function, self.options)

    def __copy__(self):
        return make_compiled(self.function, self.options)

    def __deepcopy__(self, memo):
        return make_compiled(copy.deepcopy(self.function, memo), self.options)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return getattr(self.function, name)          # a Module's parameters, train and eval
        except AttributeError:
            raise AttributeError(f"a compiled function has no attribute {name!r}") from None

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
        known = self.methods.get(id(instance))
        if known is not None and (<tuple>known)[0]() is instance:
            return (<tuple>known)[1]
        if (<PyObject *>instance).ob_refcnt == 1 and sys.version_info < (3, 14):     # Agent().step: no other reference
            return make_compiled(types.MethodType(self.raw, instance), self.options)
        key, methods = id(instance), self.methods
        try:
            ref = weakref.ref(instance, lambda _: methods.pop(key, None))
        except TypeError:                # slots, without a place for weak references
            return functools.partial(self, instance)
        method = make_compiled(self.raw, self.options, weakref.ref(instance))
        methods[key] = ref, method
        return method

    def __call__(self, *args, **kwargs):
        cdef object leaves, spec
        cdef call_view few[8]
        cdef call_view *views = few
        cdef Py_ssize_t i, n
        if recording() or never or cbp_eager or self.history.given_up is not None:
            return self.eagerly(self, args, kwargs)      # recording: it is a part of a larger program
        if kwargs or not plain(args):
            if len(kwargs) > 1 and not self.ordered:     # in another order they are the same call
                kwargs = {k: kwargs[k] for k in sorted(kwargs)}
            spec, leaves = unpack(args, kwargs)
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

    cdef Program at_batch(self, Program program, object leaves, call_view *views):
        """The program of its family for these arguments, which stands in its place from now on."""
        cdef Program made = program.at_batch(leaves, views)
        if made is not None and made is not program and program in self.programs:
            self.programs[self.programs.index(program)] = made
        return made

    cdef object attempt(self, Program program, spec, leaves, call_view *views, tuple args, dict kwargs):
        """What the program makes of the call, or NOT_THIS."""
        if not program.key.fits(spec, leaves, views) or not program.key.holds():
            return NOT_THIS
        if program.writes and program.writes_into(views, len(leaves)):
            return self.eagerly(self, args, kwargs)      # which copies its arguments first
        if program.family is not None:
            program = self.at_batch(program, leaves, views)
            if program is None:
                return NOT_THIS
        if self.busy and program.writes and self.busy != <unsigned long>threading.get_ident():
            wait_while(lambda: self.busy)            # an audit: the steps of threads stay whole
        program.calls += 1
        if program.audit_due(program.calls) or (self.audit_every and program.calls % self.audit_every == 0):
            run = self.slow(self, spec, leaves, args, kwargs, program)
            result = NOT_THIS if run is None else run.result
        else:
            result = program.replay(leaves, views)
        if result is NOT_THIS:
            program.calls -= 1
        return result


cdef double LONGEST_WAIT = 1.0           # seconds: what is audited may itself wait for this thread


def wait_while(condition):
    """Let other threads go on while that holds, for a while at most."""
    start = monotonic()
    while condition() and monotonic() - start < LONGEST_WAIT:
        time.sleep(5e-5)


cdef object make_compiled = None


def set_compile(make):
    """What makes another Compiled: from `cybackprop.transforms`."""
    global make_compiled
    make_compiled = make


cdef object save_compiled = None


def set_save(save):
    """What `Compiled.save` calls: from `cybackprop.transforms`."""
    global save_compiled
    save_compiled = save


cdef int look(object leaves, call_view *views) except -1:
    """Open the arguments that are NumPy arrays."""
    cdef Py_ssize_t i
    for i in range(len(leaves)):
        x = leaves[i]
        if (type(x) is np_ndarray or issubclass(type(x), np_ndarray)) and can_be_tensor(x):
            PyObject_GetBuffer(x, &views[i].view, PyBUF_FORMAT | PyBUF_STRIDES)
            views[i].held = True
    return 0


cdef object np_ndarray = np.ndarray
