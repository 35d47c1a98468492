"""Learning rates that change with time: each is a formula of the step count, so its whole state is one integer."""

import math
import operator


class Schedule:
    """What schedules share: `step` advances by one and sets the learning rate of every group.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' learning rates at this moment are the base.
    """

    guarded_by_programs = True           # its plain numbers; see transforms/watching.py

    def __init__(self, optimizer):
        self.optimizer, self.t = optimizer, 0
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.apply()

    def factor(self, t, base):
        """The learning rate after t steps; written by subclasses."""
        raise NotImplementedError

    def apply(self):
        """Set the learning rates that belong to t."""
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = self.factor(self.t, base)

    def step(self):
        """One step on."""
        self.t += 1
        self.apply()

    def state_dict(self):
        """t and the base rates."""
        return {"t": self.t, "base": list(self.base)}

    def load_state_dict(self, state):
        """Take over what `state_dict` gave."""
        base = [float(rate) for rate in state["base"]]
        if len(base) != len(self.base):
            raise ValueError(f"load_state_dict: {len(base)} base rates for {len(self.base)} groups")
        self.t, self.base = operator.index(state["t"]), base
        self.apply()


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

    def __init__(self, optimizer, step_size, gamma=0.1):
        if step_size < 1:
            raise ValueError(f"StepLR: step_size is {step_size}, it must be at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, t, base):
        """The learning rate after t steps."""
        return base * self.gamma ** (t // self.step_size)


class CosineLR(Schedule):
    """From base to eta_min along half a cosine in T_max steps, then constant.  Source: Loshchilov, Hutter (2017)."""

    def __init__(self, optimizer, T_max, eta_min=0.0):
        if T_max < 1:
            raise ValueError(f"CosineLR: T_max is {T_max}, it must be at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def factor(self, t, base):
        """The learning rate after t steps."""
        share = min(t, self.T_max) / self.T_max
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * share)) / 2


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

    def __init__(self, optimizer, total_iters=5, start_factor=1 / 3, after=None):
        if total_iters < 1:
            raise ValueError(f"WarmupLR: total_iters is {total_iters}, it must be at least 1")
        self.total_iters, self.start_factor = total_iters, start_factor
        rates = [group["lr"] for group in optimizer.param_groups]
        self.after = None if after is None else after(optimizer)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate           # the one that follows has set its own start
        super().__init__(optimizer)

    def factor(self, t, base):
        """The learning rate after t steps."""
        if t >= self.total_iters and self.after is not None:
            return self.after.factor(t - self.total_iters, base)
        return base * (self.start_factor + (1 - self.start_factor) * min(t, self.total_iters) / self.total_iters)
