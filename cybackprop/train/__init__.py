"""Training: the Trainer, its callbacks and metrics."""

from cybackprop.train.callbacks import Callback, EarlyStopping, History, ModelCheckpoint
from cybackprop.train.many import fit_many
from cybackprop.train.metrics import accuracy
from cybackprop.train.trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "History", "ModelCheckpoint", "Trainer", "accuracy", "fit_many"]
