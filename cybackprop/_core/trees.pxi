# Arguments of compiled functions: nests of arrays, taken apart into leaves.

DEEPEST = 64                             # lists in lists


cdef bint can_be_tensor(x) except -1:
    """Whether an ndarray has a dtype of which there are tensors, or that becomes one."""
    return x.ndim <= 8 and (x.dtype.kind in "fiub" and (x.dtype.kind != "f" or x.dtype.itemsize <= 8))


cdef object as_array(x):
    """x as an ndarray where it is one for us: a buffer, a floating scalar, what has __array__ or __dlpack__; else None."""
    if issubclass(type(x), np_ndarray):  # not `isinstance`, which asks for __class__, a property of some proxies
        return x if can_be_tensor(x) else None
    if issubclass(type(x), np.generic):
        return np.asarray(x) if isinstance(x, np.floating) and can_be_tensor(x) else None
    if issubclass(type(x), (bytes, type)):
        return None
    if not PyObject_CheckBuffer(x):
        if type_lookup(type(x), "__array__") is ABSENT:
            if type_lookup(type(x), "__dlpack__") is ABSENT:
                return None
            x = np.from_dlpack(x)
    found = np.asarray(x)
    return found if can_be_tensor(found) else None


cdef object take_apart(x, list leaves, int depth):
    """Append the leaves of a nest; returns its structure, None for a leaf."""
    kind = type(x)
    if kind is Tensor or kind is float or kind is int or kind is str or kind is bool or x is None:
        leaves.append(x)
        return None
    if depth > DEEPEST:
        raise ValueError(f"compile: an argument has more than {DEEPEST} containers in each other, or contains itself")
    if isinstance(x, (list, tuple)):
        return kind, len(x), structure_of([take_apart(part, leaves, depth + 1) for part in x])
    if isinstance(x, dict):
        keys, parts = dict_items(x)
        return kind, tuple(keys), structure_of([take_apart(part, leaves, depth + 1) for part in parts])
    if type_lookup(kind, "__dataclass_fields__") is not ABSENT and not issubclass(type(x), type):
        own = own_dict(x)
        if own is not None:
            return kind, tuple(own), structure_of([take_apart(part, leaves, depth + 1) for part in own.values()])
    if not isinstance(x, Tensor):
        found = as_array(x)
        x = x if found is None else found
    leaves.append(x)
    return None


cdef object structure_of(list children):
    """None where all children are leaves: lists of thousands of tensors are compared at each call."""
    for child in children:
        if child is not None:
            return tuple(children)
    return None


def unpack(args, kwargs):
    """(structure, leaves) of a call's arguments, in their order."""
    cdef list leaves = []
    spec = take_apart((args, kwargs), leaves, 0)
    return spec, leaves


cdef bint plain(tuple args):
    """Whether every argument is a leaf as it is."""
    for x in args:
        kind = type(x)
        if not (kind is Tensor or kind is np_ndarray or kind is float or kind is int or kind is bool or kind is str
                or x is None):
            return False
        if kind is np_ndarray and not can_be_tensor(x):
            return False
    return True


def is_array(x):
    """Whether a leaf is an array, which a compiled function gets as a tensor."""
    return issubclass(type(x), np_ndarray) and can_be_tensor(x)


def is_dataclass(x):
    """Whether an object is taken apart by its fields."""
    return (type_lookup(type(x), "__dataclass_fields__") is not ABSENT and not issubclass(type(x), type)
            and own_dict(x) is not None)
