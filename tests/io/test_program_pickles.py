"""Loaded programs and their files as pickles and copies: the file again, with the states as they are."""

import copy
import pickle
import pickletools
import subprocess
import sys
import threading

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim

X, Y = np.random.default_rng(0).standard_normal((7, 3)).astype("float32"), np.arange(7) % 2


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file of two programs that share weights, moments, a random stream and a counter."""
    model = nn.Sequential(nn.Dense(3, 8, activation="tanh", rng=0), nn.Dropout(0.5, rng=1), nn.Dense(8, 2, rng=2))
    opt, calls = optim.Adam(model.parameters(), lr=0.05), cb.State(0.0)

    def train(x, y):
        opt.zero_grad()
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        calls.assign(calls + 1)
        return loss

    file = tmp_path_factory.mktemp("programs") / "f"
    cb.save_programs(file, train=(train, X, Y), predict=(lambda x: nn.Sequential(*model.layers[::2])(x), X))
    return file


def trained(path, steps=3):
    file = cb.load_program(path)
    for _ in range(steps):
        file["train"](X, Y)
    return file


def states(file):
    return {name: (s.dtype, np.array(s).tobytes()) for name, s in file.states.items()}


def gone_on(train, predict):
    """The bits of some more steps at two batch sizes, and of a prediction."""
    return [np.array(v).tobytes() for v in (train(X, Y), train(X[:4], Y[:4]), train(X, Y), predict(X))]


CLONES = {f"protocol {k}": lambda x, k=k: pickle.loads(pickle.dumps(x, k)) for k in range(pickle.HIGHEST_PROTOCOL + 1)}
CLONES["deepcopy"] = copy.deepcopy
CLONE = pytest.mark.parametrize("clone", CLONES.values(), ids=CLONES)


@CLONE
def test_a_file(clone, path):
    file = trained(path)
    before = states(file)
    twin = clone(file)
    assert states(twin) == before == states(file) and before != states(cb.load_program(path))
    assert repr(twin) == repr(file) and list(twin.programs) == list(file.programs)
    wanted = gone_on(file["train"], file["predict"])
    assert states(twin) == before != states(file)            # each has its own
    assert gone_on(twin["train"], twin["predict"]) == wanted and states(twin) == states(file)
    twin.states["calls"].assign(40.0)                        # they are the ones that its programs write
    twin["train"](X, Y)
    assert twin.states["calls"].item() == 41.0 and file.states["calls"].item() == 6.0


@CLONE
def test_a_program(clone, path):
    file = trained(path)
    before, train = states(file), clone(file["train"])
    assert repr(train) == repr(file["train"]) and (train.inputs, train.results) == (
        file["train"].inputs, file["train"].results)
    losses = [np.array(train(X, Y)).tobytes() for _ in range(3)]
    assert states(file) == before and losses == [np.array(file["train"](X, Y)).tobytes() for _ in range(3)]


@CLONE
def test_what_is_copied_together_shares_states(clone, path):
    file = trained(path)
    train, again, twin, predict = clone([file["train"], file["train"], file, file["predict"]])
    assert train is again
    wanted = gone_on(file["train"], file["predict"])
    assert gone_on(train, predict) == wanted and states(twin) == states(file)
    assert np.array(twin["predict"](X)).tobytes() == wanted[-1]


def test_a_shallow_copy_shares_states(path):
    file = trained(path)
    other = copy.copy(file)
    assert other is not file and other.states["calls"] is file.states["calls"]
    copy.copy(file["train"])(X, Y)
    assert other.states["calls"].item() == 4.0


SCRIPT = """
import pickle, sys
import numpy as np
file, X, Y = pickle.load(sys.stdin.buffer)
made = [file["train"](X, Y), file["train"](X[:4], Y[:4]), file["train"](X, Y), file["predict"](X)]
sys.stdout.buffer.write(pickle.dumps([np.array(v).tobytes() for v in made]))
"""


def test_in_a_fresh_process(path):
    file = trained(path)
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=pickle.dumps((file, X, Y)), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert pickle.loads(done.stdout) == gone_on(file["train"], file["predict"])


def test_a_pickle_is_a_file(path, tmp_path):
    """Data, and what makes the objects of it."""
    file = trained(path)
    file.save(tmp_path / "g")
    data = (tmp_path / "g").read_bytes()
    for thing in (file, file["train"]):
        names = {arg for op, arg, _ in pickletools.genops(pickle.dumps(thing, 2)) if op.name == "GLOBAL"}
        assert names <= {"cybackprop.io.programs ProgramFile", "cybackprop.io.programs LoadedProgram",
                         "cybackprop._core.engine SavedPrograms", "copy_reg _reconstructor", "_codecs encode"}
        dumped = pickle.dumps(thing, 5)
        assert data in dumped and len(dumped) < len(data) + 400


def test_whether_a_state_takes_a_gradient_is_kept(path):
    file = trained(path)
    weight = next(name for name, s in file.states.items() if s.dtype == "float32" and s.ndim == 2)
    file.states[weight].requires_grad = True
    twin = copy.deepcopy(file)
    assert {name for name, s in twin.states.items() if s.requires_grad} == {weight}


def test_between_two_steps_of_another_thread(path):
    """Each copy has the states after some whole step."""
    file, reference = trained(path, 0), trained(path, 0)
    after = [states(reference)]
    for _ in range(150):
        reference["train"](X, Y)
        after.append(states(reference))
    thread = threading.Thread(target=lambda: [file["train"](X, Y) for _ in range(150)])
    thread.start()
    seen = [states(copy.deepcopy(file))]
    while thread.is_alive():
        seen.append(states(copy.deepcopy(file)))
    thread.join()
    assert all(s in after for s in seen) and states(copy.deepcopy(file)) == after[-1]


@pytest.mark.parametrize("use", [copy.deepcopy, pickle.dumps])
def test_not_while_recording(use, path):
    """The states would be those of the first run in all later ones: the call goes on eagerly, and none is recorded."""
    file = trained(path)
    f = cb.compile(lambda x: x if use(file["train"]) else None)
    with pytest.warns(RuntimeWarning, match="a loaded program is pickled, which reads its States at") as found:
        for k in range(3):
            assert f(cb.full(1, k)).tolist() == [k]
    assert len(found) == 1 and f.programs == []
    with pytest.raises(cb.TapeError, match="a loaded program is pickled"):
        cb.compile(lambda x: use(file["train"]) and x, strict=True)(cb.ones(1))
