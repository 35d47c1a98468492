# Twins: a recorded program for something else of the very same kind, whose states, gradients and places these are.

cdef class Twins:
    """What of one recording is what of another: things that lie in the same places.

    Parameters
    ----------
    mine, others : list
        Equally long, each thing once.
    """
    cdef dict other, arrays              # id of a thing -> its twin; address of a state's array -> the twin, a State

    def __init__(self, list mine, list others):
        cdef Py_ssize_t i
        cdef size_t at
        cdef set taken = set()
        self.other, self.arrays = {}, {}
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

    cdef bint match(self, x, y) except -1:
        """Whether y is to the twins what x is to those whose twins they are."""
        if x is y or self(x) is y or agree(x, y):
            return True
        if type(x) is not type(y):
            return False
        if type(x) is Content:
            return ((<Content>x).kind is (<Content>y).kind and (<Content>x).keys == (<Content>y).keys
                    and self.match((<Content>x).parts, (<Content>y).parts))
        if type(x) is tuple or type(x) is list:
            return len(x) == len(y) and all([self.match(p, q) for p, q in zip(x, y)])
        return False

    def places(self, Places mine):
        """The places of the twins, without a walk: the same ones, read at the twins of their holders.

        Right where both have the same structure all over, so that a walk would find no others.

        Raises
        ------
        LookupError
            A holder has no twin, or what is read can only be found by a walk.
        """
        cdef Place p
        cdef list found = []
        for p in mine.places:
            if p.where == AT_PROBE or p.where == THE_BYTES or mine.inputs:
                raise LookupError(f"{p.label} is found by a walk")
            found.append(read_at(p, self.known(p.holder)))
        return Places(found)

    cdef Places same_places(self, Places mine, Places others):
        """The others' Places, where both lead to twins, place by place; else LookupError."""
        cdef Place p, q
        cdef dict inputs = {}            # id of an array that is read anew at each call -> the other's
        for p, q in zip(without_bytes(mine), without_bytes(others)) if mine.inputs else ():
            if p.where <= AT_PROBE and id(p.expected) in mine.inputs and inputs.setdefault(
                    id(p.expected), id(q.expected)) != id(q.expected):
                raise LookupError(f"{p.label} is another array")
        if inputs:
            others = Places(others.places, inputs.values())
        if len(mine.places) != len(others.places):
            raise LookupError("they name other things")
        for p, q in zip(mine.places, others.places):
            if p.where != q.where or p.label != q.label or not (
                    self.same_array(p.expected, q.expected) if id(p.expected) in inputs and p.where <= AT_PROBE
                    else self.match(p.expected, q.expected)):
                raise LookupError(f"{p.label} is something else")
        return others

    cdef bint same_array(self, x, y) except -1:
        return type(x) is type(y) and x.dtype == y.dtype and x.shape == y.shape


cdef Place read_at(Place p, holder):
    """The same place of another holder, and what is there."""
    cdef Place q = Place(WHERE[p.where], holder, p.key, None, p.label)
    if p.where <= AT_PROBE:
        q.expected = q.current()
    elif p.where == THE_TYPE:
        q.expected = type(holder)
    elif p.where == THE_FUNCTION:
        q.expected = holder.__code__, holder.__defaults__, holder.__kwdefaults__
    elif p.where == THE_CLASS:
        q.expected = [type_lookup(holder, name) for name in p.key]
    else:
        q.expected = Content(holder)
    return q


cdef list without_bytes(Places places):
    return [p for p in places.places if (<Place>p).where != THE_BYTES]


def program_twin(Program p, Twins twins, Places places, facts):
    """A program of the same instructions for the twins; it shares them, constants, and loops, which hold no states.

    places, facts: of the twins' function.

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
    objects = any([kind == "object" for kind, *_ in key.leaves])
    if p.family is not None or p.derivative is not None or not p.single or key.aliases or objects:
        raise LookupError("programs of this kind have no twins")
    places = twins.same_places(key.places, places)
    found = {id(x): y for x, y in zip(key.places.places, places.places)}
    q.lines, q.recorded, q.constants, q.loops, q.frames = p.lines, p.recorded, p.constants, p.loops, []
    q.others = [found[id(x)] if type(x) is Place else twins.known(x) if isinstance(x, Tensor) else x for x in p.others]
    q.effects = [(twins.known(owner), number) for owner, number in p.effects]
    q.single, q.reuse, q.n_results, q.n_outputs, q.n_inputs = True, p.reuse, p.n_results, p.n_outputs, p.n_inputs
    q.result = p.result                  # of one tensor, which holds nothing
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
    grads = [(twins.known(owner), none) for owner, none in key.grads]
    q.key = Key(key.spec, key.leaves, places, facts, grads, key.same, [])
    q.key.no_grad, q.key.structure = key.no_grad, facts.version
    if not q.key.holds():
        raise LookupError("it depends on something else")
    programs.add(q)
    return q
