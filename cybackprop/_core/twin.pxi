# Twins: a recorded program for something else of the very same kind, whose states, gradients and places these are.

cdef class Twins:
    """What of one recording is what of another: things that lie in the same places.

    Parameters
    ----------
    mine, others : list
        Equally long, each thing once.
    namespaces : set of int
        ids of dicts that may be looked into by both, beside those of modules.
    """
    cdef dict other, arrays              # id of a thing -> its twin; address of a state's array -> the twin, a State
    cdef set common                      # ids of what both look into, because it is found by what they share

    def __init__(self, list mine, list others, namespaces):
        cdef Py_ssize_t i
        cdef size_t at
        cdef set taken = set()
        self.other, self.arrays, self.common = {}, {}, set(namespaces)
        for i in range(len(mine)):
            x, y = mine[i], others[i]
            self.other[id(x)] = y
            if isinstance(x, State):
                at = <size_t>(<State>x).a
                if at in self.arrays or <size_t>(<State>y).a in taken:
                    raise LookupError("two states are one")
                self.arrays[at] = y
                taken.add(<size_t>(<State>y).a)

    def __call__(self, x):
        """The twin of a thing; itself, if it is none of them."""
        return self.other.get(id(x), x)

    cdef object known(self, x):
        """The twin of what must have one."""
        if id(x) not in self.other:
            raise LookupError(f"a {type(x).__name__} has no twin")
        return self.other[id(x)]

    cdef object part(self, x):
        """The twin of what a guard expects."""
        cdef Parts p
        if PyMethod_Check(x):
            return type(x)(x.__func__, self(x.__self__))
        if type(x) is not Parts:
            return self(x)
        p = <Parts>x
        return Parts(p.kind, p.keys, None if p.parts is None else [self.part(y) for y in p.parts], self(p.holder))

    cdef Guard guard(self, Guard g):
        """The same place of the other.  One that no twin is must be common to both: a namespace, or found there."""
        cdef Guard made = Guard.__new__(Guard)
        cdef bint common = isinstance(g.holder, type) or PyFunction_Check(g.holder) or is_namespace(g.holder)
        if id(g.holder) not in self.other and id(g.holder) not in self.common and not common:
            raise LookupError(f"who else has {g.label} is not known")
        made.holder, made.name, made.expected = self(g.holder), g.name, self.part(g.expected)
        made.how, made.label, made.kind, made.relation = g.how, g.label, g.kind, g.relation
        if g.relation == 0 and made.expected is g.expected and made.holds():
            self.common.update((id(g.expected), id(getattr(g.expected, "__dict__", None))))
        return made

    cdef object input(self, x, dict guards):
        """Of `Program.others`."""
        return guards[id(x)] if type(x) is Guard else self.known(x) if isinstance(x, Tensor) else x


cdef bint is_namespace(holder):
    return type(holder) is dict and getattr(sys.modules.get(holder.get("__name__")), "__dict__", None) is holder


def program_twin(Program p, Twins twins):
    """A program of the same instructions for the twins; it shares them, constants, and loops, which hold no states.

    Raises
    ------
    LookupError
        p needs something that has no twin, or what the twin depends on is not as it was for p.
    """
    cdef Program q = Program.__new__(Program)
    cdef Key key = p.key
    cdef State t
    cdef cbp_array *a
    cdef int32_t v
    if p.derivative is not None or not p.single or key.aliases or any([kind == "object" for kind, *_ in key.leaves]):
        raise LookupError("programs of this kind have no twins")
    guards = {id(g): twins.guard(g) for g in key.guards}
    q.lines, q.recorded, q.constants, q.loops, q.frames = p.lines, p.recorded, p.constants, p.loops, []
    q.others = [twins.input(x, guards) for x in p.others]
    q.effects = [(twins.known(owner), number) for owner, number in p.effects]
    q.single, q.reuse, q.n_results, q.n_outputs, q.n_inputs = True, p.reuse, p.n_results, p.n_outputs, p.n_inputs
    q.inputs = <program_input *>calloc(q.n_inputs + 1, sizeof(program_input))
    q.output_values = <int32_t *>calloc(q.n_outputs + 1, sizeof(int32_t))
    q.p = cbp_program_twin(p.p)
    if q.p == NULL or q.inputs == NULL or q.output_values == NULL:
        raise MemoryError
    memcpy(q.inputs, p.inputs, q.n_inputs * sizeof(program_input))
    memcpy(q.output_values, p.output_values, q.n_outputs * sizeof(int32_t))
    for v in range(q.p.n_values):
        a = p.p.values[v].held
        if a != NULL and q.p.values[v].place == CBP_STATE:
            if <size_t>a not in twins.arrays:
                raise LookupError("a state has no twin")
            t = twins.arrays[<size_t>a]
            if t.a.dtype != a.dtype or not same_shape(t.a, a):
                raise LookupError("a state has another shape or dtype")
            q.p.values[v].held = cbp_array_hold(t.a)
    q.find_states()
    q.key = Key(key.spec, key.leaves, list(guards.values()), key.facts.twin(twins),
                [(twins.known(owner), none) for owner, none in key.grads], key.same, [])
    q.key.no_grad, q.key.structure = key.no_grad, -1
    if not q.key.holds():
        raise LookupError("it depends on something else")
    programs.add(q)
    return q
