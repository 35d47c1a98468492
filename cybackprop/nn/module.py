"""Module: named parameters and buffers, state, train and eval."""

import contextlib

import numpy as np

from cybackprop._core.engine import Parameter, State, Tensor, structure_changed, tensor
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.io import load_tensors, save_tensors
from cybackprop.io.programs import TAKES
from cybackprop.nn.containers import ModuleDict, ModuleList, tracked
from cybackprop.ops.registry import public


class Module:
    """A function with parameters.

    Subclass it, assign Parameters and Modules (or lists and dicts of them) to attributes in ``__init__`` and write
    ``forward``; there is no ``super().__init__()`` to call.  What changes without being trained, a running mean or a
    counter, is a `cybackprop.State`: a buffer, saved and copied with the parameters.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = cb.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(cb.ones(1)).item()
    2.0
    """

    training = True
    guarded_by_programs = True           # see transforms/environment.py

    def __setattr__(self, name, value):
        object.__setattr__(self, name, tracked(value))
        structure_changed()

    def __delattr__(self, name):
        object.__delattr__(self, name)
        structure_changed()

    def forward(self, *args, **kwargs):
        """What the module computes; written by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    # ---- what it is made of

    def named_modules(self, prefix=""):
        """(name, module) for this module (name "") and all in it; a shared one once."""
        for name, member in _walk(self, prefix):
            if isinstance(member, Module):
                yield name, member

    def named_parameters(self):
        """(name, parameter) for all in it, like ("layers.0.weight", ...); a shared one once."""
        return ((name, member) for name, member in _walk(self, "") if _is_parameter(member))

    def parameters(self):
        """All parameters, in the order of assignment."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self):
        """(name, State) for all States in it that are no Parameters, as in `named_parameters`; a shared one once.

        Examples
        --------
        >>> import cybackprop as cb
        >>> from cybackprop import nn
        >>> class Counting(nn.Module):
        ...     def __init__(self):
        ...         self.calls = cb.State(0.0)
        ...     def forward(self, x):
        ...         self.calls.assign(self.calls + 1)
        ...         return x
        >>> model = nn.Sequential(nn.Dense(2, 2), Counting())
        >>> _ = model(cb.ones((1, 2)))
        >>> [(name, b.item()) for name, b in model.named_buffers()], list(model.state_dict())
        ([('layers.1.calls', 1.0)], ['layers.0.weight', 'layers.0.bias', 'layers.1.calls'])
        """
        return ((name, member) for name, member in _walk(self, "") if _is_buffer(member))

    def buffers(self):
        """All States that are no Parameters, in the order of assignment."""
        return [b for _, b in self.named_buffers()]

    def train(self, mode=True):
        """Switch to training (dropout active) or, with False, to evaluation; returns the module."""
        for _, module in self.named_modules():
            if module.training is not bool(mode):                # programs look at modules again after each change
                module.training = bool(mode)
        return self

    def eval(self):
        """Switch to evaluation; returns the module."""
        return self.train(False)

    def requires_grad_(self, value=True):
        """Thaw (or, with False, freeze) all parameters; returns the module."""
        for p in self.parameters():
            p.requires_grad = value
        return self

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    # ---- state

    def state_dict(self):
        """Copies of all parameters, then of all buffers, as NumPy arrays by name."""
        return {name: np.array(state) for name, state in self._states().items()}

    def load_state_dict(self, state):
        """Write values into parameters and buffers; names, shapes and dtypes are checked before anything is written.

        Raises
        ------
        KeyError
            Names are missing or unknown; they are listed.
        ShapeError
            A shape differs.
        DTypeError
            Values are of a kind that is not cast: floats for an int64 State, numbers for a bool one, text.
        """
        own = self._states()
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise KeyError(f"load_state_dict: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        values = {}                      # copies: a view of this model is legal
        for name, mine in own.items():
            value = np.array(state[name])
            _check("load_state_dict", name, value, mine)
            values[name] = tensor(value, mine.dtype)
        for name, mine in own.items():
            mine.assign(values[name])

    def _states(self):
        """{name: State} of the parameters, then of the buffers."""
        found = _walk(self, "")
        pairs = [pair for is_one in (_is_parameter, _is_buffer) for pair in found if is_one(pair[1])]
        own = dict(pairs)
        if len(own) != len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{type(self).__name__}: two of its States have the same name, "
                             f"{', '.join(sorted({n for n in names if names.count(n) > 1}))}; rename a key of a dict")
        return own

    def save(self, path, metadata=None):
        """Write parameters and buffers to a safetensors file; an existing file is replaced whole or not at all.

        Parameters
        ----------
        path : str or path
        metadata : dict of str to str, optional
        """
        save_tensors(path, self.state_dict(), metadata)

    def load(self, path):
        """Read what `save` wrote (or any safetensors file with these names) and return the module.

        Raises
        ------
        ModelFileError, KeyError, ShapeError, DTypeError
            The model is as before.
        """
        state, _ = load_tensors(path)
        self.load_state_dict(state)
        return self

    def __repr__(self):
        inner = [f"  {name}: {member!r}".replace("\n", "\n  ") for name, member in _members(self)
                 if isinstance(member, Module)]
        return f"{type(self).__name__}({self.extra_repr()}" + ("\n" + "\n".join(inner) + "\n)" if inner else ")")

    def extra_repr(self):
        """What repr shows between the parentheses; for subclasses."""
        return ""


_stand_ins: dict[int, bool] = {}         # ids of tensors in a functional_call: whether they stand for a parameter
_PLAIN = {bool, int, float, str, type(None)}             # what most attributes are that are no members


def _is_parameter(member):
    return isinstance(member, Parameter) or _stand_ins.get(id(member), False)


def _is_buffer(member):
    return (isinstance(member, State) or id(member) in _stand_ins) and not _is_parameter(member)


def _check(what, name, value, own):
    """Refuse an array or a Tensor that a State does not take: of another shape, or of a kind that is not cast."""
    if value.shape != own.shape:
        hint = "; torch weights are (out, in): transpose them" if value.shape[::-1] == own.shape else ""
        raise ShapeError(f"{what}: {name} has shape {value.shape}, the model {own.shape}{hint}")
    if value.dtype.kind not in TAKES[own.dtype.kind] and (value.size or value.dtype.kind not in "biuf"):
        raise DTypeError(f"{what}: {name} holds {value.dtype} data, the model {own.dtype}")


def _members(thing):
    """(name, member) of a module or container, one level down."""
    if isinstance(thing, Module):
        return vars(thing).items()
    if isinstance(thing, dict):
        return [(str(k), v) for k, v in thing.items()]
    return [(str(i), v) for i, v in enumerate(thing)] if isinstance(thing, list) else []


def _walk(thing, name):
    """[(name, thing)] of everything inside a module, each once, depth first in order of assignment."""
    todo, seen, found = [(name, thing)], set(), []
    while todo:
        pair = name, thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        found.append(pair)
        if isinstance(thing, Tensor):
            continue
        todo += [(f"{name}.{k}" if name else k, v) for k, v in _members(thing) if type(v) not in _PLAIN
                 and (isinstance(v, (State, Module, ModuleList, ModuleDict)) or id(v) in _stand_ins)][::-1]
    return found


@public
def functional_call(model, params, *args, **kwargs):
    """model(*args) with other values in the place of its parameters and buffers.

    Parameters
    ----------
    model : Module
    params : dict of str to Tensor or array-like
        By the names of `named_parameters` and `named_buffers`; those not given stay.  What the call writes into a
        buffer goes into the State that is given for it; a Tensor can't be written, and from an array a State is made
        that lasts as long as the call.
    *args, **kwargs
        What the model is called with.

    Raises
    ------
    KeyError
        A name the model does not have.
    ShapeError, DTypeError
        A value of another shape, or of a kind that is not cast.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import nn
    >>> model = nn.Dense(2, 1, bias=False)
    >>> loss = lambda p: cb.functional_call(model, p, [[1.0, 2.0]]).sum()
    >>> cb.grad(loss)({"weight": cb.zeros((2, 1))})["weight"].tolist()
    [[1.0], [2.0]]
    """
    if not isinstance(model, Module):
        raise TypeError(f"functional_call: a Module is needed, not {type(model).__name__}")
    own, stand_ins, added = model._states(), {}, {}
    for name, value in params.items():
        if name not in own:
            raise KeyError(f"functional_call: the model has no parameter or buffer {name!r}; it has {', '.join(own)}")
        mine, trained = own[name], _is_parameter(own[name])
        value = value if isinstance(value, Tensor) else np.asarray(value)
        _check("functional_call", name, value, mine)
        if not isinstance(value, Tensor):
            value = tensor(value, mine.dtype)
            value = value if trained else State(value)       # of a tensor: each run of a program makes it anew
        stand_ins[id(mine)] = value
        if id(value) not in _stand_ins:
            added[id(value)] = trained
    with contextlib.ExitStack() as undo:
        _stand_ins.update(added)
        undo.callback(lambda: [_stand_ins.pop(key) for key in added])
        for _, holder in _walk(model, ""):
            for key, member in _slots(holder):
                if id(member) in stand_ins:
                    _put(holder, key, stand_ins[id(member)])
                    undo.callback(_put, holder, key, member)
        return model(*args, **kwargs)


def _slots(holder):
    if isinstance(holder, Module):
        return list(vars(holder).items())
    if isinstance(holder, ModuleDict):
        return list(holder.items())
    return list(enumerate(holder)) if isinstance(holder, ModuleList) else []


def _put(holder, key, value):
    """Exchange a member without a change of structure: it goes back before anybody can look."""
    if isinstance(holder, Module):
        vars(holder)[key] = value
    else:
        (dict if isinstance(holder, dict) else list).__setitem__(holder, key, value)
