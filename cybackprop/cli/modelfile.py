"""Model files of `train`: a chain of dense layers, and in the header what its columns mean."""

import dataclasses
import itertools
import os

import numpy as np

import cybackprop as cb
from cybackprop import nn
from cybackprop.data import Columns
from cybackprop.errors import ModelFileError
from cybackprop.io import load_tensors

_COLUMNS, _ACTIVATION, _SCORE, _VERSION = (f"cybackprop.{key}" for key in ("columns", "activation", "score", "version"))
# The header of a model file ends at 1 MiB; names and numbers of the columns may take most of it.
_COLUMNS_BYTES_MAX = 900_000
_ROWS_AT_ONCE = 4096  # bounds the memory of a prediction; the answers don't depend on it


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A network, and what its inputs and outputs mean."""

    model: nn.Module
    sizes: tuple  # widths, input and output included
    activation: str
    columns: Columns
    score: str  # what `train` said about the held-out rows
    version: str  # the cybackprop that wrote it

    def outputs(self, X):
        """What the network says to float32 rows, as an array."""
        self.model.eval()
        with cb.no_grad():
            blocks = [self.model(X[i : i + _ROWS_AT_ONCE]).numpy() for i in range(0, len(X), _ROWS_AT_ONCE)]
        return np.concatenate(blocks)


def build(sizes, activation):
    """A chain of dense layers; all but the last have the activation."""
    pairs = list(itertools.pairwise(sizes))
    hidden = [nn.Dense(fan_in, fan_out, activation=activation) for fan_in, fan_out in pairs[:-1]]
    return nn.Sequential(*hidden, nn.Dense(*pairs[-1]))


def fits_header(columns):
    """Whether the description of the columns has room in a model file."""
    return len(columns.to_json().encode()) <= _COLUMNS_BYTES_MAX


def save(path, model, activation, columns, score):
    """Write a model file; an existing one is replaced whole."""
    texts = {_COLUMNS: columns.to_json(), _ACTIVATION: activation, _SCORE: score, _VERSION: cb.__version__}
    model.save(path, metadata=texts)


def load(path):
    """Read a model file of `train`; raises ModelFileError for any other file."""
    tensors, metadata = load_tensors(path)
    return from_tensors(os.fspath(path), tensors, metadata)


def is_ours(metadata):
    """Whether these are the metadata of a model file made by `train`."""
    return _COLUMNS in metadata


def from_tensors(path, tensors, metadata):
    """The ModelFile in what `load_tensors` gave; nothing is taken on trust."""
    if not is_ours(metadata):
        raise ModelFileError(f"{path} was not made by 'cybackprop train': it doesn't say what its columns mean")
    try:
        columns = Columns.from_json(metadata[_COLUMNS])
        sizes = _sizes(tensors)
        if (sizes[0], sizes[-1]) != (len(columns.features), columns.outputs):
            raise ModelFileError("its network doesn't fit its columns")
        activation = metadata.get(_ACTIVATION, "")
        model = _built(sizes, activation)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    model.load_state_dict(tensors)
    return ModelFile(model, sizes, activation, columns, metadata.get(_SCORE, ""), metadata.get(_VERSION, ""))


def _built(sizes, activation):
    try:
        return build(sizes, activation)
    except ValueError as error:
        raise ModelFileError(str(error)) from None


def _sizes(tensors):
    """Widths of the chain, read off the tensors: a file can't claim a network larger than itself."""
    sizes = []
    for i in itertools.count():
        weight, bias = tensors.get(f"layers.{i}.weight"), tensors.get(f"layers.{i}.bias")
        if weight is None or bias is None:
            break
        if weight.ndim != 2 or bias.shape != weight.shape[1:] or (sizes and sizes[-1] != len(weight)):
            raise ModelFileError(f"its layer {i} doesn't fit: weight {weight.shape}, bias {bias.shape}")
        if {weight.dtype, bias.dtype} != {np.dtype(np.float32)}:
            raise ModelFileError(f"its layer {i} isn't float32")
        sizes += weight.shape if not sizes else weight.shape[1:]
    if len(tensors) != 2 * (len(sizes) - 1):  # none at all, or others
        raise ModelFileError("it isn't a chain of dense layers")
    return tuple(sizes)
