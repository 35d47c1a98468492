"""Layers, losses and initialisers."""

from cybackprop._core.engine import Parameter
from cybackprop.nn import init
from cybackprop.nn.containers import ModuleDict, ModuleList
from cybackprop.nn.layers import Activation, Dense, Dropout, Sequential
from cybackprop.nn.losses import bce_with_logits, cross_entropy, huber, mae, mse
from cybackprop.nn.module import Module

__all__ = ["Activation", "Dense", "Dropout", "Module", "ModuleDict", "ModuleList", "Parameter", "Sequential",
           "bce_with_logits", "cross_entropy", "huber", "init", "mae", "mse"]
