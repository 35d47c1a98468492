"""Files of programs: any damage is a ModelFileError, any wrong call an error that says so."""

import threading

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop._core.engine import SavedPrograms
from cybackprop.io import load_tensors, save_tensors
from cybackprop.io.programs import ProgramFile


@pytest.fixture
def small(tmp_path):
    """The path of a small file."""
    model = nn.Dense(3, 2, activation="tanh", rng=0)
    opt, calls = optim.SGD(model.parameters(), lr=0.1), cb.State(0.0)

    def train(x, y):
        opt.zero_grad()
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        calls.assign(calls + 1)
        return loss

    cb.save_programs(tmp_path / "f", train=(train, np.ones((4, 3), "float32"), np.zeros(4, int)))
    return tmp_path / "f"


def load(path, data):
    (path.parent / "other").write_bytes(data)
    return cb.load_program(path.parent / "other")


def test_every_part_of_a_file_is_checked(small):
    data = small.read_bytes()
    assert load(small, data).states["calls"].item() == 0
    for at in range(0, len(data), 13):
        with pytest.raises(cb.ModelFileError, match="other: "):
            load(small, data[:at])
        with pytest.raises(cb.ModelFileError, match="other: "):
            load(small, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:])


def test_the_reader_in_c_finds_the_same(small):
    """Without the reader of safetensors before it; tests/src/test_module.py changes what describes the program."""
    data = small.read_bytes()
    for at in range(0, len(data), 29):
        for broken in (data[:at], data[:at] + bytes([data[at] ^ 16]) + data[at + 1:], data + data[:1 + at]):
            with pytest.raises(cb.ModelFileError):
                SavedPrograms(broken)


def test_the_header_must_agree(small, tmp_path):
    tensors, metadata = load_tensors(small)
    for change in ("rename", "more", "shape", "order"):
        other = dict(tensors)
        if change == "rename":
            other["counts"] = other.pop("calls")
        elif change == "more":
            other["more"] = np.zeros(1)
        elif change == "shape":
            other["model/bias"] = other["model/bias"].reshape(1, 2)
        else:                            # two of one size, the other way round
            names = [n for n in other if other[n].dtype == np.float64]
            other = {n: other[n] for n in [*(n for n in other if n not in names), *names[::-1]]}
            other = {"program": other.pop("program"), **other}
        save_tensors(tmp_path / "g", other, metadata)
        with pytest.raises(cb.ModelFileError):
            cb.load_program(tmp_path / "g")


def test_other_files(small, tmp_path):
    nn.Dense(2, 2).save(tmp_path / "weights")
    with pytest.raises(cb.ModelFileError, match="holds no program"):
        cb.load_program(tmp_path / "weights")
    tensors, metadata = load_tensors(small)
    assert tensors["program"][1] == 1    # nothing in it that the first readers do not know
    tensors["program"][1] = 3
    save_tensors(tmp_path / "later", tensors, metadata)
    with pytest.raises(cb.ModelFileError, match="of version 3, this cybackprop reads 2"):
        cb.load_program(tmp_path / "later")
    with pytest.raises(FileNotFoundError):
        cb.load_program(tmp_path / "none")


RENAMED = {                              # what a symbol of the file becomes
    "a kind": (b"count", b"count"[::-1], "this version does not know"),
    "a row of unary.def": (b"tanh", b"what", "this version does not know"),
    "a row of optim.def": (b"sgd", b"sgm", "this version does not know"),
    "a kind that no file holds": (b"count", b"chain", "of a kind that no file holds"),
}


@pytest.mark.parametrize("case", RENAMED)
def test_operations_and_rows_that_this_version_lacks(small, tmp_path, case):
    old, new, message = RENAMED[case]
    tensors, metadata = load_tensors(small)
    words = tensors["program"].tobytes()
    assert words.count(old + b"\0") == 1
    tensors["program"] = np.frombuffer(words.replace(old + b"\0", new + b"\0"), np.int64)
    save_tensors(tmp_path / "g", tensors, metadata)
    with pytest.raises(cb.ModelFileError, match=message):
        cb.load_program(tmp_path / "g")


def test_calls(small):
    file = cb.load_program(small)
    train = file.programs["train"]
    x, y = np.ones((5, 3)), np.zeros(5, int)
    assert train(x, y).shape == train(x=x, y=y).shape == train(**{"batch/x": x, "batch/y": y}).shape == ()
    assert file.states["calls"].item() == 3
    assert repr(train) == "LoadedProgram(train: batch/x: float32 ('B', 3), batch/y: int64 ('B',) -> result)"
    for error, match, args, arrays in [
            (TypeError, "batch/y is missing", (x,), {}), (TypeError, "z is no input; there are", (x, y), {"z": y}),
            (TypeError, "3 inputs are given", (x, y, y), {}), (TypeError, "x is given twice", (x, y), {"x": x}),
            (cb.DTypeError, "batch/x is float32, the tensor float64", (cb.tensor(x), y), {}),
            (cb.ShapeError, r"batch/x has shape \(5,\), it needs \('B', 3\)", (x[:, 0], y), {}),
            (cb.ShapeError, r"batch/x has shape \(5, 2\), it needs \('B', 3\)", (x[:, :2], y), {}),
            (cb.ShapeError, r"batch/y has shape \(4,\), it needs \('B',\), B is 5 here", (x, y[:4]), {}),
            (cb.ShapeError, "at least 1", (x[:0], y[:0]), {}), (ValueError, "refuses", (x, y + 7), {})]:
        with pytest.raises(error, match=match):
            train(*args, **arrays)
    assert file.states["calls"].item() == 3                  # none of these has done anything


DATA = {                                 # (x, y) that the program takes: what it makes of them
    "lists": (lambda x, y: (x.tolist(), y.tolist())),
    "float64": (lambda x, y: (x.astype("float64"), y)), "integers": (lambda x, y: (x.astype(int), y)),
    "uint8": (lambda x, y: (x, y.astype("uint8"))), "bool": (lambda x, y: (x, y.astype(bool))),
    "strided": (lambda x, y: (np.asfortranarray(x), np.repeat(y, 2)[::2])),
    "read-only": (lambda x, y: (np.frombuffer(x.tobytes(), "float32").reshape(x.shape), y)),
    "big-endian": (lambda x, y: (x.astype(">f4"), y.astype(">i4"))),
    "tensors": (lambda x, y: (cb.tensor(x), cb.tensor(y))),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_any_kind(small, kind):
    x, y = np.float32([[1, -2, 3], [0, 2, 5], [4, 1, 1]]), np.array([0, 1, 1])
    losses = [cb.load_program(small)(*data).item() for data in ((x, y), DATA[kind](x, y))]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name, data", [
    ("y", np.array([0.0, 1.0])), ("y", [0.5, 1.7]), ("y", [0.0, float("nan")]), ("y", 1.0), ("x", np.ones((2, 3)) * 1j),
    ("y", np.array(["a", "b"])), ("x", None), ("y", np.array([0, 2 ** 63], "uint64"))])
def test_data_that_are_not_cast(small, name, data):
    file = cb.load_program(small)
    with pytest.raises(cb.DTypeError, match=f"train: batch/{name}"):
        file(**{"x": np.ones((2, 3)), "y": np.zeros(2, int), name: data})
    with pytest.raises(cb.ShapeError, match="train: batch/x"):
        file([[1.0, 2.0, 3.0], [1.0]], [0, 1])
    assert file.states["calls"].item() == 0


@pytest.mark.parametrize("f, names", [(lambda x: x * 2, None), (lambda x: {"out": x * 2}, ["out"]),
                                      (lambda x: (x * 2,), ["result/0"]), (lambda x: {"a": x, "b": [x * 2]}, ["b/0"]),
                                      (lambda x: None, [])])
def test_results_are_a_dict_where_the_function_returned_one(tmp_path, f, names):
    cb.compile(f).save(tmp_path / "f", cb.ones(3))
    made = cb.load_program(tmp_path / "f")(cb.ones(4))
    assert isinstance(made, cb.Tensor) if names is None else list(made)[-1:] == names


def test_states_are_live(small, tmp_path):
    file = cb.load_program(small)
    x, y = np.ones((5, 3)), np.zeros(5, int)
    weight = file.states["model/weight"]
    before = np.array(weight)
    file(x, y)
    moved = np.array(weight)
    assert (moved != before).any() and weight.version == 1
    file.states["opt/lr"].assign(0.0)
    file(x, y)
    assert (np.array(weight) == moved).all()
    file.save(tmp_path / "g")
    again = cb.load_program(tmp_path / "g")
    assert {k: np.array(v).tobytes() for k, v in again.states.items()} == {
        k: np.array(v).tobytes() for k, v in file.states.items()}
    del file
    assert (np.array(weight) == moved).all()                # it outlives its file


def test_a_record_of_an_older_state_is_refused(small):
    file = cb.load_program(small)
    w = file.states["model/weight"]
    w.requires_grad = True
    loss = (w * w).sum()
    file(np.ones((5, 3)), np.zeros(5, int))
    with pytest.raises(cb.TapeError, match="version"):
        loss.backward()


def test_a_view_of_a_state_as_input_is_read_before_the_run_writes_it(tmp_path):
    total = cb.State(np.ones((2, 2), "float32"))

    def f(x):
        total.assign(total * 3)
        return x + total

    cb.save_programs(tmp_path / "f", f=(f, np.ones((2, 2), "float32")), batch=())
    file = cb.load_program(tmp_path / "f")
    state = file.states["total"]
    assert file(x=state).numpy().tolist() == [[4, 4], [4, 4]]
    assert file(x=state.reshape(4).reshape(2, 2)).numpy().tolist() == [[12, 12], [12, 12]]


def test_explain(small, capsys):
    program = cb.load_program(small).programs["train"]
    program.explain(batch=9)
    shown = capsys.readouterr().out
    assert "sgd" in shown and "batch/x 9x3" in shown and "state is written from here on" in shown
    program.explain()
    assert "batch/x 4x3" in capsys.readouterr().out


def test_programs_that_write_nothing_run_side_by_side(tmp_path):
    """Each thread has memory of its own, also at one batch size, and meanwhile states may be read."""
    model = nn.Sequential(nn.Dense(64, 256, activation="gelu", rng=0), nn.Dense(256, 8, rng=1))
    x = np.random.default_rng(0).standard_normal((4, 200, 64)).astype("float32")
    cb.save_programs(tmp_path / "f", f=(model, x[0]))
    file = cb.load_program(tmp_path / "f")
    wanted, wrong = [np.array(model(rows)).tobytes() for rows in x], []

    def work(k):
        wrong.extend(1 for _ in range(50) if np.array(file(x[k])).tobytes() != wanted[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    while any(t.is_alive() for t in threads):
        file.save(tmp_path / "g")
    assert not wrong and (tmp_path / "g").read_bytes() == (tmp_path / "f").read_bytes()


def test_threads_take_turns(small):
    file = cb.load_program(small)

    def work(n):
        for _ in range(50):
            file(np.ones((n, 3)), np.zeros(n, int))

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    [t.start() for t in threads]
    for _ in range(20):
        file.states["opt/lr"].assign(0.01)
    [t.join() for t in threads]
    assert file.states["calls"].item() == 150 and file.states["calls"].version == 150


def test_memory_of_loops_is_counted(tmp_path):
    """Of what runs in a loop in a loop too: the product that is there for one step."""
    def f(x):
        def body(c, _):
            return c + cb.scan(lambda c, _: (c + cb.sum(x @ cb.transpose(x)), None), c, length=2)[0], None

        return cb.scan(body, cb.tensor(0.0), length=2)[0]

    cb.save_programs(tmp_path / "f", f=(f, cb.ones((4, 3))))
    assert load_tensors(tmp_path / "f")[0]["program"][1] == 2
    module = SavedPrograms((tmp_path / "f").read_bytes())
    module.bind(0, 100, 100 * 100 * 4 + 10_000)
    with pytest.raises(MemoryError, match="bytes, 40000 are allowed"):
        module.bind(0, 100, 40_000)
    with pytest.raises(ValueError, match="can't run at batch size"):
        module.bind(0, 1 << 40)


def test_memory_is_taken_when_a_program_is_bound(small):
    module = SavedPrograms(small.read_bytes())
    module.bind(0, 8, 1 << 20)
    with pytest.raises(MemoryError, match="bytes, 1048576 are allowed"):
        module.bind(0, 1 << 30, 1 << 20)
    with pytest.raises(ValueError, match="can't run at batch size 4611686018427387904"):
        module.bind(0, 1 << 62)
    with pytest.raises(ValueError, match="at least 1"):
        module.bind(0, 0)
    with pytest.raises(IndexError):
        module.bind(1, 1)


@pytest.mark.parametrize("name, version, programs", [("step", 1, ["train", "predict"]), ("loops", 2, ["train"])])
def test_the_committed_files_can_be_read(name, version, programs):
    """They were written by the versions of the format, 1 and 2; make ctest runs them."""
    from pathlib import Path

    file = ProgramFile((Path(__file__).resolve().parent.parent / f"c/{name}.safetensors").read_bytes())
    assert list(file.programs) == programs
    assert file._saved.contents().count(b'"cybackprop.programs":"%d"' % version) == 1
    losses = [file["train"](x=np.eye(6, 5), y=np.arange(6) % 3)["loss"].item() for _ in range(30)]
    assert losses[-1] < losses[0]
