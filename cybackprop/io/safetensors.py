"""Reader and writer of the safetensors format: tensors and text, never code.

A file is the header's length (8 bytes, little-endian), the header (JSON, UTF-8) and the tensors' bytes:

    {"__metadata__": {"key": "text"}, "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

The reader is total: any file gives its tensors or a ModelFileError, and no more memory than the file has bytes.
Source: the format's own description, and the rules that its reference reader checks.
"""

import io
import math
import os
import zlib

import numpy as np

from cybackprop.errors import DTypeError, ModelFileError
from cybackprop.io.atomic import atomic_write

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}

# The format allows 100 MB, which costs a reader dearly; this also keeps the tensors below 21,000.
_HEADER_BYTES_MAX = 1 << 20
_DIMENSIONS_MAX = 32  # NumPy's limit before 2.0
_BYTES_MAX = 2**63 - 1

# Our own entries of the metadata.  The checksum is the CRC-32 of the whole file with its own digits written as zeros.
_OWN = "cybackprop."
_CHECKSUM = "cybackprop.crc32"
_FORMAT, _FORMAT_VERSION = "cybackprop.format", "1"
_CHECKSUM_ZEROS = "00000000"


def save_tensors(path, tensors, metadata=None):
    """Write named arrays and texts into a safetensors file, all of it or nothing.

    Parameters
    ----------
    path : str or path-like
        An existing file is replaced only after the new one is safely on the disk (see `atomic_write`).
    tensors : dict of str to array
        Float, integer and bool arrays of any shape; stored little-endian and C-contiguous.
    metadata : dict of str to str, optional
        Stored in the header.

    Raises
    ------
    DTypeError
        An array of a dtype that the format lacks.
    TypeError, ValueError
        A name or text that isn't a string, or a header above 1 MiB.
    OSError
        The file can't be written.
    """
    atomic_write(path, pack_tensors(tensors, metadata))


def in_file_order(arrays):
    """The names of arrays in the order in which the writer lays them out, without gaps."""
    # Widest items first keeps every tensor aligned, whatever the sizes.
    return sorted(arrays, key=lambda name: -arrays[name].itemsize)


def pack_tensors(tensors, metadata=None):
    """The bytes of a safetensors file, as a list of bytes-like objects; see `save_tensors`."""
    arrays = {name: _stored(name, value) for name, value in tensors.items()}
    layout = in_file_order(arrays)
    header = _header(arrays, layout, dict(metadata or {}))
    chunks = [len(header).to_bytes(8, "little"), header, *(_bytes_of(arrays[name]) for name in layout)]
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    chunks[1] = header.replace(_checksum_entry(_CHECKSUM_ZEROS), _checksum_entry(f"{crc:08x}"))
    return chunks


def load_tensors(path):
    """Read a safetensors file.

    Returns
    -------
    tensors : dict of str to ndarray
        In the order of the header; native byte order, writable, each with memory of its own.
    metadata : dict of str to str
        Without the checksum and format version that our writer adds.

    Raises
    ------
    ModelFileError
        The file is damaged or not of this format; the message says where.
    OSError
        The file can't be read.
    """
    with open(path, "rb") as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from None


def parse_tensors(data):
    """Read a safetensors file held in a bytes-like object; see `load_tensors`."""
    return _read(io.BytesIO(data), memoryview(data).nbytes)


def _stored(name, value):
    array = np.asarray(value)
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise DTypeError(f"save_tensors: {name!r} has dtype {array.dtype}, which the safetensors format lacks")
    return np.asarray(array, dtype=little, order="C")


def _bytes_of(array):
    return memoryview(array.reshape(-1).view(np.uint8))


def _header(arrays, layout, metadata):
    import json  # here: not every program that imports the package has files

    for text in (*arrays, *metadata, *metadata.values()):
        if not isinstance(text, str):
            raise TypeError(f"save_tensors: names and metadata are strings, not {text!r}")
    if "__metadata__" in arrays:
        raise ValueError("save_tensors: '__metadata__' can't be the name of a tensor")
    metadata |= {_FORMAT: _FORMAT_VERSION, _CHECKSUM: _CHECKSUM_ZEROS}
    offsets, end = {}, 0
    for name in layout:
        offsets[name] = [end, end := end + arrays[name].nbytes]
    entries = {
        name: {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": offsets[name]}
        for name, array in arrays.items()
    }
    text = json.dumps({"__metadata__": metadata} | entries, ensure_ascii=False, separators=(",", ":"))
    header = text.encode("utf-8")
    header += b" " * (-len(header) % 8)  # so that the data begin aligned
    if len(header) > _HEADER_BYTES_MAX:
        raise ValueError(
            f"save_tensors: {len(arrays)} tensors and the metadata need a header of {len(header)} bytes; "
            f"a file holds at most {_HEADER_BYTES_MAX}"
        )
    return header


def _checksum_entry(digits):
    return f'"{_CHECKSUM}":"{digits}"'.encode()


def _read(file, size):
    length, header = _read_header(file, size)
    metadata, specs = _parse_header(header)
    in_order = _checked_layout(specs, size - 8 - len(header))
    expected = metadata.pop(_CHECKSUM, None)
    version = metadata.pop(_FORMAT, None)
    if version not in (None, _FORMAT_VERSION):
        raise ModelFileError(f"its format version is {version!r}, this cybackprop knows {_FORMAT_VERSION!r}")
    # Any entry of ours says that a checksum was written: a damaged key must not switch the check off.
    ours = version is not None or expected is not None or any(key.startswith(_OWN) for key in metadata)
    crc = _header_crc(length, header, expected) if ours else 0
    arrays = {}
    for name, dtype, shape, begin, end in in_order:
        array = np.empty(shape, dtype)
        raw = _bytes_of(array)
        if file.readinto(raw) != end - begin:
            raise ModelFileError("it became shorter while it was read")
        if dtype.kind == "b" and np.max(raw, initial=0) > 1:
            raise ModelFileError(f"tensor {name!r} is BOOL and holds other bytes than 0 and 1")
        crc = zlib.crc32(raw, crc)
        arrays[name] = array.astype(dtype.newbyteorder("="), copy=False)
    if ours and f"{crc:08x}" != expected:
        raise ModelFileError("its checksum is wrong or missing: it is damaged, or was changed by another program")
    return {spec[0]: arrays[spec[0]] for spec in specs}, metadata


def _read_header(file, size):
    length = file.read(8)
    count = int.from_bytes(length, "little")
    if len(length) < 8 or count > min(size - 8, _HEADER_BYTES_MAX):
        raise ModelFileError(f"it is no safetensors file, or cut short ({size} bytes)")
    return length, file.read(count)


def _header_crc(length, header, digits):
    """CRC-32 of length and header as they were before the digits were written."""
    header = header.replace(_checksum_entry(digits), _checksum_entry(_CHECKSUM_ZEROS))
    return zlib.crc32(header, zlib.crc32(length))


def _parse_header(header):
    """The metadata and a list of (name, dtype, shape, begin, end), checked one by one."""
    import json  # see _header

    try:
        text = header.decode("utf-8")
        entries = json.loads(text, object_pairs_hook=_unique)
        json.dumps(entries, ensure_ascii=False).encode("utf-8")  # escapes may hide half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its header can't be read ({error})") from None
    if not text.startswith("{"):
        raise ModelFileError("its header isn't a JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError("its metadata aren't texts")
    return metadata, [_parse_entry(name, entry) for name, entry in entries.items()]


def _unique(pairs):
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ModelFileError("a key appears twice")
    return entries


def _parse_entry(name, entry):
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"tensor {name!r} isn't described by dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise ModelFileError(f"tensor {name!r} has dtype {entry['dtype']!r}, which NumPy doesn't have")
    dtype, shape, offsets = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
    if not _sizes(shape) or len(shape) > _DIMENSIONS_MAX:
        raise ModelFileError(f"tensor {name!r} has no valid shape")
    if not _sizes(offsets) or len(offsets) != 2:
        raise ModelFileError(f"tensor {name!r} has no valid data_offsets")
    # NumPy refuses what doesn't fit 64 bits even when another length is 0.
    if math.prod(size for size in shape if size) * dtype.itemsize > _BYTES_MAX:
        raise ModelFileError(f"tensor {name!r} claims a shape beyond any memory")
    begin, end = offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ModelFileError(f"tensor {name!r} has {end - begin} bytes, its shape and dtype say otherwise")
    return name, dtype, tuple(shape), begin, end


def _sizes(value):
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _checked_layout(specs, size):
    """The tensors in file order.  Every byte belongs to exactly one of them, so nothing can hide in the file."""
    position = 0
    in_order = sorted(specs, key=lambda spec: spec[3:])
    for name, _, _, begin, end in in_order:
        if begin != position:
            raise ModelFileError(f"tensor {name!r} begins at byte {begin} of the data, not at {position}")
        position = end
    if position != size:
        raise ModelFileError(f"its tensors have {position} bytes, the file holds {size}")
    return in_order
