"""The reader is total: any bytes give arrays or ModelFileError; the writer's files are everybody's."""

import contextlib
import json
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from cybackprop.errors import DTypeError, ModelFileError
from cybackprop.io import load_tensors, parse_tensors, save_tensors

DTYPES = ("f8", "f4", "f2", "c8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
SHAPES = ((), (0,), (1,), (7,), (2, 3), (3, 0, 2), (2, 1, 3))


def some(dtype, shape, seed=0):
    values = np.random.default_rng(seed).integers(-100, 100, size=(*shape, 1))[..., 0]
    return np.asarray(values % 2 == 1) if dtype == "?" else values.astype(dtype)


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def assert_same(one, other):
    assert list(one) == list(other)
    for name, array in one.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape)
        assert array.tobytes() == other[name].tobytes()


@pytest.fixture
def small(tmp_path):
    """The bytes of a small file of our writer."""
    path = tmp_path / "small.safetensors"
    save_tensors(path, {"b": some("?", (3,)), "w": some("f4", (2, 3))}, {"note": "ü"})
    return path.read_bytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(tmp_path, dtype, shape):
    tensors = {"a": some(dtype, shape), "odd": some("?", (3,)), "ä/b": some(dtype, shape, seed=1)}
    save_tensors(tmp_path / "f", tensors, {"key": 'text "\\ \n', "empty": ""})
    loaded, metadata = load_tensors(tmp_path / "f")
    assert_same(loaded, tensors)
    assert metadata == {"key": 'text "\\ \n', "empty": ""}
    for array in loaded.values():
        assert array.flags.writeable and array.flags.c_contiguous and array.flags.aligned and array.base is None


def test_empty_file(tmp_path):
    save_tensors(tmp_path / "f", {})
    assert load_tensors(tmp_path / "f") == ({}, {})


@pytest.mark.parametrize(
    "array",
    [some("f4", (3, 4)).T, some("f8", (6,))[::-2], some("f4", (2, 2)).astype(">f4"), np.float32([np.nan, -0.0])],
    ids=["transposed", "strided", "big-endian", "special values"],
)
def test_stored_as_little_endian_in_c_order(tmp_path, array):
    save_tensors(tmp_path / "f", {"a": array})
    loaded = load_tensors(tmp_path / "f")[0]["a"]
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype.newbyteorder("=") and loaded.dtype.isnative


def test_their_reader_reads_ours(tmp_path):
    tensors = {f"{dtype}{shape}": some(dtype, shape) for dtype in DTYPES if dtype != "c8" for shape in SHAPES}
    save_tensors(tmp_path / "f", tensors, {"key": "text"})
    theirs = safetensors.numpy.load_file(tmp_path / "f")
    assert_same({name: theirs[name] for name in tensors}, tensors)
    with safetensors.safe_open(tmp_path / "f", "numpy") as file:
        assert file.metadata()["key"] == "text"


def test_our_reader_reads_theirs(tmp_path):
    tensors = {f"{dtype}{shape}": some(dtype, shape) for dtype in DTYPES if dtype != "c8" for shape in SHAPES}
    safetensors.numpy.save_file(tensors, tmp_path / "f", metadata={"key": "text"})
    ours, metadata = load_tensors(tmp_path / "f")
    assert_same({name: ours[name] for name in tensors}, tensors)
    assert metadata == {"key": "text"}


def test_data_begin_aligned_and_wide_items_first(small):
    length = int.from_bytes(small[:8], "little")
    header = json.loads(small[8 : 8 + length])
    assert length % 8 == 0
    assert header["w"]["data_offsets"] == [0, 24] and header["b"]["data_offsets"] == [24, 27]


GOOD = [
    ("no padding, odd length", file_of({"a": entry([1], 0, 4), "odd": entry([0], 4, 4)}, bytes(4))),
    ("header order unlike file order", file_of({"b": entry([1], 4, 8), "a": entry([1], 0, 4)}, bytes(8))),
    ("several empty tensors at one place", file_of({"a": entry([0], 0, 0), "b": entry([0, 9], 0, 0)})),
    ("padding", file_of(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   ', b"x")),
]


@pytest.mark.parametrize(("why", "data"), GOOD, ids=[why for why, _ in GOOD])
def test_accepted(why, data):
    tensors, _ = parse_tensors(data)
    assert list(tensors) == list(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))


BAD = [
    ("no byte", b""),
    ("short length", bytes(7)),
    ("no header", bytes(8)),
    ("header of 2^40 bytes", (2**40).to_bytes(8, "little") + b"{}" + bytes(63)),
    ("header of 2^64-1 bytes", b"\xff" * 8 + b"{}"),
    ("header above 1 MiB", file_of(b"{" + b" " * (1 << 20) + b"}")),
    ("header flood", file_of(("{" + ",".join(f'"{i:x}":0' for i in range(90_000)) + "}").encode())),
    ("65,537 tensors", file_of(("{" + ",".join(f'"{i:x}":{{}}' for i in range(65_537)) + "}").encode())),
    ("no JSON", file_of(b"{nothing}")),
    ("no object", file_of(b"[1, 2]  ")),
    ("text", file_of(b'"text"')),
    ("space before the object", file_of(b"  {}")),
    ("UTF-16", file_of("{}  ".encode("utf-16"))),
    ("bad UTF-8", file_of(b'{"\xff":1}')),
    ("half a surrogate pair", file_of(b'{"__metadata__":{"a":"\\ud800"}}')),
    ("nested beyond the stack", file_of(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")),
    ("a number of 5,000 digits", file_of(b'{"a":' + b"9" * 5000 + b"}")),
    ("same key twice", file_of(b'{"a":%b,"a":%b}' % ((json.dumps(entry([1], 0, 4)).encode(),) * 2), bytes(4))),
    ("same key twice in metadata", file_of(b'{"__metadata__":{"a":"1","a":"1"}}')),
    ("metadata no object", file_of({"__metadata__": "text"})),
    ("metadata no texts", file_of({"__metadata__": {"a": 1}})),
    ("entry no object", file_of({"a": 3})),
    ("entry without offsets", file_of({"a": {"dtype": "F32", "shape": [0]}})),
    ("entry with more", file_of({"a": entry([0], 0, 0) | {"file": "/etc/passwd"}})),
    ("unknown dtype", file_of({"a": entry([0], 0, 0, "F128")})),
    ("dtype no text", file_of({"a": entry([0], 0, 0, ["F32"])})),
    ("shape no list", file_of({"a": entry(1, 0, 4)}, bytes(4))),
    ("negative length", file_of({"a": entry([-1, -1], 0, 4)}, bytes(4))),
    ("length no integer", file_of({"a": entry([1.0], 0, 4)}, bytes(4))),
    ("length a bool", file_of({"a": entry([True], 0, 4)}, bytes(4))),
    ("33 dimensions", file_of({"a": entry([1] * 33, 0, 4)}, bytes(4))),
    ("shape that wraps 2^64 to 4", file_of({"a": entry([4194305, 4194305, 211106198978564], 0, 16)}, bytes(16))),
    ("empty, yet beyond 2^64", file_of({"a": entry([0, 2**62, 2**62], 0, 0)})),
    ("length above 2^63", file_of({"a": entry([0, 2**63], 0, 0)})),
    ("one offset", file_of({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0]}})),
    ("offsets the wrong way", file_of({"a": entry([1], 4, 0)}, bytes(4))),
    ("offsets don't match the shape", file_of({"a": entry([2], 0, 4)}, bytes(4))),
    ("beyond the file", file_of({"a": entry([2], 0, 8)}, bytes(4))),
    ("offset reused", file_of({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4))),
    ("overlap", file_of({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12))),
    ("empty tensor inside another", file_of({"a": entry([2], 0, 8), "b": entry([0], 4, 4)}, bytes(8))),
    ("gap", file_of({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12))),
    ("gap at the beginning", file_of({"a": entry([1], 4, 8)}, bytes(8))),
    ("bytes after the last tensor", file_of({"a": entry([1], 0, 4)}, bytes(5))),
    ("bytes without a tensor", file_of({}, b"hidden")),
    ("BOOL that is neither", file_of({"a": entry([2], 0, 2, "BOOL")}, b"\1\2")),
    ("a later format", file_of({"__metadata__": {"cybackprop.format": "2"}})),
    ("checksum cut out", file_of({"__metadata__": {"cybackprop.format": "1"}})),
    ("wrong checksum", file_of({"__metadata__": {"cybackprop.crc32": "00000000"}})),
    ("pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94."),
]


@pytest.mark.parametrize(("why", "data"), BAD, ids=[why for why, _ in BAD])
def test_refused(tmp_path, why, data):
    with pytest.raises(ModelFileError):
        parse_tensors(data)
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ModelFileError, match=str(tmp_path / "f")):
        load_tensors(tmp_path / "f")


def test_dtype_without_numpy_is_named():
    with pytest.raises(ModelFileError, match="'w'.*'BF16'"):
        parse_tensors(file_of({"w": entry([1], 0, 2, "BF16")}, bytes(2)))


def test_every_prefix_is_refused(small):
    for end in range(len(small)):
        with pytest.raises(ModelFileError):
            parse_tensors(small[:end])


def test_every_flipped_bit_is_refused(small):
    accepted = []
    for bit in range(8 * len(small)):
        damaged = bytearray(small)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            parse_tensors(damaged)
            accepted.append(bit)
        except ModelFileError:
            pass
    assert accepted == []


def test_random_bytes_never_do_worse(small):
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        data = bytearray(small)
        for place in rng.integers(len(data), size=rng.integers(1, 9)):
            data[place] = rng.choice(bytearray(b'\0 "{}[],:019-eE\\u\x7f\x80\xff'))
        with contextlib.suppress(ModelFileError):
            parse_tensors(data)


def test_memory_stays_near_the_file_size(tmp_path):
    path = tmp_path / "f"
    save_tensors(path, {str(i): np.zeros(250_000, np.float32) for i in range(8)})
    tracemalloc.start()
    load_tensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= path.stat().st_size + (1 << 20)


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ({"a": np.zeros(2, object)}, None, DTypeError),
        ({"a": np.zeros(2, "c16")}, None, DTypeError),
        ({"a": np.zeros(2, "datetime64[s]")}, None, DTypeError),
        ({"a": ["text"]}, None, DTypeError),
        ({1: np.zeros(2)}, None, TypeError),
        ({}, {"a": 1}, TypeError),
        ({"__metadata__": np.zeros(2)}, None, ValueError),
        ({"\ud800": np.zeros(2)}, None, ValueError),
        ({}, {"a": "x" * (1 << 20)}, ValueError),
        ({str(i): np.zeros(0) for i in range(65_537)}, None, ValueError),
    ],
)
def test_writer_refuses(tmp_path, tensors, metadata, error):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(error):
        save_tensors(tmp_path / "f", tensors, metadata)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_own_metadata_are_written_afresh(tmp_path):
    save_tensors(tmp_path / "f", {}, {"cybackprop.crc32": "12345678", "cybackprop.note": "x"})
    assert load_tensors(tmp_path / "f") == ({}, {"cybackprop.note": "x"})
