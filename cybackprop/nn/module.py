"""Module: named parameters, state, train and eval."""

import contextlib

import numpy as np

from cybackprop._core.engine import Parameter, Tensor, structure_changed, tensor
from cybackprop.errors import ShapeError
from cybackprop.io import load_tensors, save_tensors
from cybackprop.nn.containers import ModuleDict, ModuleList, tracked
from cybackprop.ops.registry import public


class Module:
    """A function with parameters.

    Subclass it, assign Parameters and Modules (or lists and dicts of them) to attributes in ``__init__`` and write
    ``forward``; there is no ``super().__init__()`` to call.

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
        for name, member in _walk(self, ""):
            if _is_parameter(member):
                yield name, member

    def parameters(self):
        """All parameters, in the order of assignment."""
        return [p for _, p in self.named_parameters()]

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
        """Copies of all parameters as NumPy arrays by name."""
        return {name: np.array(p) for name, p in self.named_parameters()}

    def load_state_dict(self, state):
        """Write values into the parameters; all names and shapes are checked before anything is written.

        Raises
        ------
        KeyError
            Names are missing or unknown; they are listed.
        ShapeError
            A shape differs.
        """
        own = dict(self.named_parameters())
        missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
        if missing or unknown:
            raise KeyError(f"load_state_dict: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        values = {name: np.array(value) for name, value in state.items()}      # copies: a view of this model is legal
        for name, p in own.items():
            if values[name].shape != p.shape:
                hint = "; torch weights are (out, in): transpose them" if values[name].T.shape == p.shape else ""
                raise ShapeError(f"load_state_dict: {name} has shape {values[name].shape}, the model {p.shape}{hint}")
            if values[name].dtype.kind not in "fiub":
                raise TypeError(f"load_state_dict: {name} holds {values[name].dtype} data")
        for name, p in own.items():
            p.assign(values[name])

    def save(self, path, metadata=None):
        """Write the parameters to a safetensors file; an existing file is replaced whole or not at all.

        Parameters
        ----------
        path : str or path
        metadata : dict of str to str, optional
        """
        save_tensors(path, self.state_dict(), metadata)

    def load(self, path):
        """Read parameters that `save` wrote (or any safetensors file with these names) and return the module.

        Raises
        ------
        ModelFileError, KeyError, ShapeError
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


_stand_ins: set[int] = set()             # ids of tensors that stand for parameters during a functional_call
_PLAIN = {bool, int, float, str, type(None)}             # what most attributes are that are no members


def _is_parameter(member):
    return isinstance(member, Parameter) or (isinstance(member, Tensor) and id(member) in _stand_ins)


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
        if type(thing) is not Parameter:
            todo += [(f"{name}.{k}" if name else k, v) for k, v in _members(thing) if type(v) not in _PLAIN
                     and (isinstance(v, (Parameter, Module, ModuleList, ModuleDict)) or _is_parameter(v))][::-1]
    return found


@public
def functional_call(model, params, *args, **kwargs):
    """model(*args) with other values in the place of its parameters.

    Parameters
    ----------
    model : Module
    params : dict of str to Tensor or array-like
        By the names of `named_parameters`; those not given stay.
    *args, **kwargs
        What the model is called with.

    Raises
    ------
    KeyError
        A name the model does not have.
    ShapeError
        A value of another shape.

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
    own = dict(model.named_parameters())
    for name, value in params.items():
        if name not in own:
            raise KeyError(f"functional_call: the model has no parameter {name!r}; it has {', '.join(own)}")
        if np.shape(value) != own[name].shape:
            raise ShapeError(f"functional_call: {name} has shape {np.shape(value)}, the model {own[name].shape}")
    stand_ins = {id(own[n]): v if isinstance(v, Tensor) else tensor(v, own[n].dtype) for n, v in params.items()}
    with contextlib.ExitStack() as undo:
        added = {id(t) for t in stand_ins.values()} - _stand_ins
        _stand_ins.update(added)
        undo.callback(_stand_ins.difference_update, added)
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
