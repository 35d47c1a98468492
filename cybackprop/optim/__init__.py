"""Optimizers, schedules and gradient clipping."""

from cybackprop.optim.clipping import clip_grad_norm, clip_grad_value
from cybackprop.optim.group import Group
from cybackprop.optim.optimizer import Optimizer
from cybackprop.optim.rules import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, RMSprop
from cybackprop.optim.schedules import CosineLR, Schedule, StepLR, WarmupLR

__all__ = ["OPTIMIZERS", "SGD", "Adagrad", "Adam", "AdamW", "CosineLR", "Group", "Optimizer", "RMSprop", "Schedule",
           "StepLR", "WarmupLR", "clip_grad_norm", "clip_grad_value"]
