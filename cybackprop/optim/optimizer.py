"""Optimizer: groups of parameters, their moments and step counts, and one call into the kernels a step."""

import functools
import operator
from collections.abc import Mapping
from numbers import Real

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Parameter, State, Tensor, structure_changed, structure_version
from cybackprop.errors import ShapeError
from cybackprop.nn.containers import ModuleList
from cybackprop.optim.group import Group

ALIASES = {"learning_rate": "lr", "epsilon": "eps"}
FACTS = engine.optimizer_facts()
MOST_STEPS = 2**53                       # every count below is a float64


class Optimizer:
    """What all optimizers share; the rules are rows of ``src/optim.def``.

    The first optimizer that takes a set of parameters lays them into one flat store.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with "params" and options of their own
    options : dict
        Defaults of the options.

    Attributes
    ----------
    param_groups : list of Group
        "params" and the options of each group; change ``group["lr"]`` at any time.

    Notes
    -----
    All that a step reads or changes is in arrays: parameters, gradients, moments, the numbers of the groups and a count
    of steps for each parameter.
    """

    row: str
    guarded_by_programs = True           # its plain numbers; see transforms/environment.py
    switches: tuple = ()                 # options that turn the row's optional moments on, in the moments' order

    def __init__(self, params, options):
        params = list(params)
        if not params:
            raise ValueError(f"{type(self).__name__}: no parameters were given")
        self.defaults = options
        self.param_groups = []
        self.steps = {}                  # id of parameter -> State, its updates so far
        self.moments = {}                # id of parameter -> [Parameter or None, ...]
        self.numbers, self.moment_names, self.always = FACTS[self.row]
        self._arranged = None            # the version of the structure that _calls are made for
        groups = params if isinstance(params[0], Mapping) else [{"params": params}]
        everything = [p for g in groups for p in ([g["params"]] if isinstance(g.get("params"), Parameter) else
                                                  g.get("params", ())) if isinstance(p, Parameter)]
        flatten(everything)              # one store for all groups
        for group in groups:
            self.add_param_group(group)

    @property
    def param_groups(self):
        """The groups; edits of the list count as a change of structure."""
        return self._groups

    @param_groups.setter
    def param_groups(self, groups):
        self._groups = ModuleList(groups)

    def add_param_group(self, group):
        """Take more parameters, with options of their own."""
        group = by_own_names(type(self).__name__, group)
        members = group.pop("params", [])
        members = [members] if isinstance(members, Parameter) else list(members)
        unknown = [k for k in group if k not in self.defaults]
        if unknown:
            raise TypeError(f"{type(self).__name__}: unknown options {unknown}; there are {list(self.defaults)}")
        ids = list(map(id, members))
        for p in members:
            if not isinstance(p, Parameter):
                raise TypeError(f"{type(self).__name__}: a Parameter is needed, not {type(p).__name__}")
            if id(p) in self.steps or ids.count(id(p)) > 1:
                raise ValueError(f"{type(self).__name__}: a parameter of shape {p.shape} is there twice")
        options = {**self.defaults, **group, "params": members}
        self.check(options)
        group = Group(options, self.numbers, self.switches)
        flatten(members)
        for p in members:
            self.steps[id(p)] = State(0)
            self.moments[id(p)] = self.new_moments(group, p)
        flatten([m for p in members for m in self.moments[id(p)] if m is not None])
        self.param_groups.append(group)

    def check(self, group):
        """Refuse options that make no sense; subclasses add theirs."""
        what = type(self).__name__
        for name in ("lr", "weight_decay", "eps", "momentum", "lr_decay", "initial_accumulator"):
            if name in group and not a_number(what, name, group[name]) >= 0:
                raise ValueError(f"{what}: {name} is {group[name]}, it must not be negative")
        for name, value in [("alpha", group.get("alpha", 0)), *(("a beta", b) for b in group.get("betas", ()))]:
            if not 0 <= a_number(what, name, value) < 1:
                raise ValueError(f"{what}: {name} is {value}, it must be in [0, 1)")

    def new_moments(self, group, p):
        """Zeros for each moment the rule has under these options."""
        on = [i < self.always or bool(group[self.switches[i - self.always]]) for i in range(len(self.moment_names))]
        return [Parameter(np.zeros(p.shape, p.dtype), requires_grad=False) if wanted else None for wanted in on]

    def step(self):
        """Update every parameter that has a gradient.  A failed call changes nothing."""
        # whoever holds the cell of a switch may have written it past its group
        if self._arranged != structure_version() or list(map(bool, self._watched)) != self._on:
            self._arrange()
        engine.update(self.row, self._calls)

    def _arrange(self):
        """Sort the parameters into calls of the engine, by group and dtype; those that decay come first."""
        self._calls = []
        for group in self.param_groups:
            self._follow_switches(group)
            calls, cells = {}, tuple(map(group.cell, self.numbers))
            for p in group["params"]:
                decays = bool(group.get("decay_bias", True)) or p.ndim > 1
                calls.setdefault(p.dtype, ([], []))[not decays].append((p, self.steps[id(p)], *self.moments[id(p)]))
            self._calls += [(cells, len(first), first + rest) for first, rest in calls.values()]
        self._watched = [group.cell(s) for group in self.param_groups for s in self.switches if s in self.numbers]
        self._on = list(map(bool, self._watched))
        self._arranged = structure_version()

    def _follow_switches(self, group):
        """Options that turn a moment on may have changed: momentum from 0 to 0.9, say.

        Cells are asked whether they are on: a program that read the number would be for that number alone.
        """
        on = [bool(group.cell(s) if s in self.numbers else group[s]) for s in self.switches]
        for p in group["params"]:
            if [m is not None for m in self.moments[id(p)][self.always:]] != on:
                fresh, old = self.new_moments(group, p), self.moments[id(p)]
                self.moments[id(p)] = [n if o is None or n is None else o for n, o in zip(fresh, old, strict=True)]
                structure_changed()

    def program_facts(self):
        """What a compiled program depends on besides cells; asked when the structure has changed."""
        moments = [m for p in self.parameters() for m in self.moments[id(p)]]
        return [fact for group in self.param_groups for fact in group.facts()] + moments

    def program_states(self, path_of):
        """(path, State) of all it keeps, for a saved program; path_of: the path of a parameter, or None."""
        for k, group in enumerate(self.param_groups):
            yield from ((f"{k}/{name}" if k else name, group.cell(name)) for name in self.numbers)
        for k, p in enumerate(self.parameters()):
            path = path_of(p) or str(k)
            yield f"steps/{path}", self.steps[id(p)]
            yield from ((f"{name}/{path}", m) for name, m in zip(self.moment_names, self.moments[id(p)], strict=True)
                        if m is not None)

    def zero_grad(self):
        """Forget the gradients."""
        for p in self.parameters():
            p.grad = None

    def parameters(self):
        """All parameters, group by group."""
        return [p for group in self.param_groups for p in group["params"]]

    # ---- state

    def __getstate__(self):
        """What copies and pickles take: by the order of parameters, since their ids stay behind; arranged anew."""
        members = self.parameters()
        return vars(self) | {"_arranged": None, "steps": [self.steps[id(p)] for p in members],
                             "moments": [self.moments[id(p)] for p in members]}

    def __setstate__(self, state):
        vars(self).update(state)
        members = self.parameters()
        self.steps, self.moments = (dict(zip(map(id, members), state[name], strict=True))
                                    for name in ("steps", "moments"))
        flatten(members)
        flatten([m for p in members for m in self.moments[id(p)] if m is not None])

    def state_dict(self):
        """{"groups": options, "steps": [...], "moments": {name: [array or None, ...]}}, in the order of parameters."""
        members = self.parameters()
        return {
            "groups": [{k: v for k, v in g.items() if k != "params"} for g in self.param_groups],
            "steps": [self.steps[id(p)].item() for p in members],
            "moments": {name: [None if self.moments[id(p)][i] is None else np.array(self.moments[id(p)][i])
                               for p in members] for i, name in enumerate(self.moment_names)},
        }

    def load_state_dict(self, state):
        """Take over what `state_dict` gave; everything is checked before anything changes."""
        members = self.parameters()
        if len(state["groups"]) != len(self.param_groups) or len(state["steps"]) != len(members):
            raise ValueError(f"load_state_dict: the state has {len(state['groups'])} groups and {len(state['steps'])} "
                             f"parameters, the optimizer {len(self.param_groups)} and {len(members)}")
        for group, options in zip(self.param_groups, state["groups"], strict=True):
            unknown = [k for k in options if k not in self.defaults]
            if unknown:
                raise TypeError(f"load_state_dict: unknown options {unknown}; there are {list(self.defaults)}")
            self.check(group.merged(options))
        for name in self.moment_names:
            if len(state["moments"][name]) != len(members):
                raise ValueError(f"load_state_dict: {len(state['moments'][name])} values of {name}, "
                                 f"{len(members)} parameters")
        steps = [operator.index(t) for t in state["steps"]]
        if not all(0 <= t < MOST_STEPS for t in steps):
            raise ValueError(f"load_state_dict: the counts of steps are {steps}")
        moments = [[self._checked(name, p, state["moments"][name][i]) for name in self.moment_names]
                   for i, p in enumerate(members)]
        for group, options in zip(self.param_groups, state["groups"], strict=True):
            group.update(options)
        for p, t, new in zip(members, steps, moments, strict=True):
            self.steps[id(p)].assign(t)
            self._take_moments(p, new)
        flatten([m for p in members for m in self.moments[id(p)] if m is not None])

    def _take_moments(self, p, values):
        """Write moments; those that are there already stay the same arrays, for a program may hold them."""
        old = self.moments[id(p)]
        if [m is None for m in old] != [v is None for v in values]:
            self.moments[id(p)] = [None if v is None else Parameter(v, requires_grad=False) for v in values]
            structure_changed()
            return
        for moment, value in zip(old, values, strict=True):
            if moment is not None:
                moment.assign(value)

    @staticmethod
    def _checked(name, p, value):
        """A moment of a parameter from its saved values; None where the rule had none."""
        if value is None:
            return None
        value = np.asarray(value)
        if value.shape != p.shape or value.dtype.kind not in "fiu":
            raise ShapeError(f"load_state_dict: {name}, {value.dtype} {value.shape}, does not fit "
                             f"a parameter of shape {p.shape}")
        return value.astype(p.dtype)

    def __repr__(self):
        n = len(self.parameters())
        options = ", ".join(f"{k}={v}" for k, v in self.param_groups[0].items() if k != "params")
        return f"{type(self).__name__}({n} parameters, {options})"


def flatten(parameters):
    """Lay parameters into flat stores, one a dtype."""
    for dtype in ("float32", "float64"):
        engine.flatten([p for p in parameters if p.dtype == dtype])


def a_number(what, name, value):
    """The value, which is a number or an array of no axes."""
    if not isinstance(value, (Real, Tensor, np.ndarray)) or getattr(value, "ndim", 0):
        raise TypeError(f"{what}: {name} is {value!r}, it must be a number")
    return value


def by_own_names(what, options):
    """Options with Keras' names replaced by ours; both spellings at once are an error."""
    out = dict(options)
    for alias, name in ALIASES.items():
        if alias in out:
            if name in out:
                raise TypeError(f"{what}: {alias} and {name} are the same option; give one")
            out[name] = out.pop(alias)
    if "beta_1" in out or "beta_2" in out:
        if "betas" in out:
            raise TypeError(f"{what}: beta_1, beta_2 and betas are the same option; give one")
        out["betas"] = (out.pop("beta_1", 0.9), out.pop("beta_2", 0.999))
    return out


def with_aliases(init):
    """Let a constructor take Keras' names of options too."""

    @functools.wraps(init)
    def wrapped(self, *args, **options):
        return init(self, *args, **by_own_names(type(self).__name__, options))

    return wrapped
