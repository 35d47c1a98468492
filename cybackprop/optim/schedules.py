"""Learning rates that change with time: each is a formula of the step count, so its whole state is one integer."""

import math
import operator

from cybackprop._core.engine import State, Tensor, live_number, number, tensor
from cybackprop.ops.elementwise import functions
from cybackprop.ops.selection import where


class Schedule:
    """What schedules share: `step` advances by one and sets the learning rate of every group.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' learning rates at this moment are the base.

    Attributes
    ----------
    traced : bool
        What the class's `factor` is given and returns.  False: an int and a float, and a float.  True: float64 tensors,
        and it never asks for their values (no ``if``, no ``item()``), so that `step` is operations on arrays alone,
        which a compiled program can do.
    """

    guarded_by_programs = True           # its plain numbers; see transforms/environment.py
    traced = False

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self._count = State(0.0, "float64")
        self._base = [State(group["lr"], "float64") for group in optimizer.param_groups]
        self.apply()

    @property
    def t(self):
        """Steps so far; settable."""
        return int(number(self._count))

    @t.setter
    def t(self, value):
        self._count.assign(operator.index(value))

    @property
    def base(self):
        """The rates that it starts from, one a group; settable."""
        return list(map(live_number, self._base))

    @base.setter
    def base(self, rates):
        rates = [float(rate) for rate in rates]
        if len(rates) != len(self._base):
            raise ValueError(f"{type(self).__name__}: {len(rates)} base rates for {len(self._base)} groups")
        for mine, rate in zip(self._base, rates, strict=True):
            mine.assign(rate)

    def factor(self, t, base):
        """The learning rate after t steps; written by subclasses."""
        raise NotImplementedError

    def _rate(self, t, base):
        """`factor` of tensors as a tensor, whatever it takes."""
        if self.traced:
            return self.factor(t, base)
        return tensor(float(self.factor(int(t), float(base))), "float64")

    def apply(self):
        """Set the learning rates that belong to t."""
        for group, base in zip(self.optimizer.param_groups, self._base, strict=True):
            group.cell("lr").assign(self._rate(self._count, base))

    def step(self):
        """One step on."""
        self._count.assign(self._count + 1)
        self.apply()

    def program_states(self, path_of):
        """(path, State) of all it keeps, for a saved program."""
        yield "t", self._count
        yield from ((f"base/{k}", rate) for k, rate in enumerate(self._base))

    def state_dict(self):
        """t and the base rates."""
        return {"t": self.t, "base": self.base}

    def load_state_dict(self, state):
        """Take over what `state_dict` gave."""
        t = operator.index(state["t"])
        self.base = state["base"]
        self.t = t
        self.apply()


def as_float64(*values):
    """Tensors as they are, and numbers as tensors."""
    return [v if isinstance(v, Tensor) else tensor(v, "float64") for v in values]


class StepLR(Schedule):
    """base * gamma^(t // step_size).

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import optim
    >>> opt = optim.SGD([cb.Parameter([1.0])], lr=1.0)
    >>> schedule = optim.StepLR(opt, step_size=1, gamma=0.5)
    >>> schedule.step(); opt.param_groups[0]["lr"]
    0.5
    """

    traced = True

    def __init__(self, optimizer, step_size, gamma=0.1):
        if step_size < 1:
            raise ValueError(f"StepLR: step_size is {step_size}, it must be at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, t, base):
        """The learning rate after t steps."""
        t, base = as_float64(t, base)
        return base * self.gamma ** functions["floor"](t / self.step_size)


class CosineLR(Schedule):
    """From base to eta_min along half a cosine in T_max steps, then constant.  Source: Loshchilov, Hutter (2017)."""

    traced = True

    def __init__(self, optimizer, T_max, eta_min=0.0):
        if T_max < 1:
            raise ValueError(f"CosineLR: T_max is {T_max}, it must be at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def factor(self, t, base):
        """The learning rate after t steps."""
        t, base = as_float64(t, base)
        share = functions["minimum"](t, self.T_max) / self.T_max
        return self.eta_min + (base - self.eta_min) * (1 + functions["cos"](math.pi * share)) / 2


class WarmupLR(Schedule):
    """From start_factor * base to base in total_iters steps, then another schedule or constant.

    Parameters
    ----------
    optimizer : Optimizer
    total_iters : int
    start_factor : float
    after : callable, optional
        Makes the schedule that follows: ``lambda optimizer: CosineLR(optimizer, 100)``.
    """

    traced = True

    def __init__(self, optimizer, total_iters=5, start_factor=1 / 3, after=None):
        if total_iters < 1:
            raise ValueError(f"WarmupLR: total_iters is {total_iters}, it must be at least 1")
        self.total_iters, self.start_factor = total_iters, start_factor
        rates = [group["lr"] for group in optimizer.param_groups]
        self.after = None if after is None else after(optimizer)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate           # the one that follows has set its own start
        super().__init__(optimizer)

    def program_states(self, path_of):
        """(path, State) of all it keeps, for a saved program."""
        yield from super().program_states(path_of)
        if self.after is not None:
            yield from ((f"after/{path}", state) for path, state in self.after.program_states(path_of))

    def factor(self, t, base):
        """The learning rate after t steps."""
        t, base = as_float64(t, base)
        n, start = self.total_iters, self.start_factor
        rate = base * (start + (1 - start) * functions["minimum"](t, n) / n)
        if self.after is None:
            return rate
        later = self.after._rate(functions["maximum"](t - n, 0), base)      # its formula need not hold before its start
        return where(t >= n, later, rate)
