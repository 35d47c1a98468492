"""The command `info`."""

import os

from cybackprop.cli import modelfile, wording
from cybackprop.io import load_tensors


def describe(path):
    """What a model file holds, as lines of text."""
    tensors, metadata = load_tensors(path)
    count = sum(tensor.size for tensor in tensors.values())
    lines = [f"{path}: {os.path.getsize(path):,} bytes, {len(tensors)} tensors, {count:,} numbers"]
    if modelfile.is_ours(metadata):
        lines += _meaning(modelfile.from_tensors(path, tensors, metadata))
    else:
        lines += [f"{key}: {value}" for key, value in metadata.items()]
    lines += [f"  {name}  {tensor.dtype}  {tensor.shape}" for name, tensor in tensors.items()]
    return "\n".join(map(_printable, lines))


def _meaning(loaded):
    yield f"task: {wording.task(loaded.columns)}"
    yield f"columns: {wording.listed(loaded.columns.features)}"
    yield f"network: {'-'.join(map(str, loaded.sizes))}, {loaded.activation}"
    yield f"test: {loaded.score}"
    yield f"made by: cybackprop {loaded.version}"


def _printable(line):
    """The line without characters that would steer the terminal; a file's names are anybody's."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in line)
