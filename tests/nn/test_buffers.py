"""Buffers: States of a Module that are no Parameters are named, saved, loaded, copied and exchanged as those are."""

import copy
import pickle

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn
from cybackprop.io import load_tensors

VALUES = {                               # of each dtype: a value at first, a later one, what the State doesn't take
    "float32": (np.float32([0.1, -2.0]), np.float32([3.5, np.inf]), [np.array(["a", "b"]), np.ones(2) * 1j]),
    "float64": (np.float64(0.1), np.float64(-np.pi), [np.array("a"), np.array(1j)]),
    "int64": (np.int64([1, -2, 3]), np.int64([2**63 - 1, -2**63, 0]), [np.ones(3), np.array([2**63, 0, 0], "uint64")]),
    "bool": (np.array([[True], [False]]), np.array([[False], [True]]), [np.ones((2, 1)), np.ones((2, 1), int)]),
}
CASE = pytest.mark.parametrize("dtype", VALUES)


class Holder(nn.Module):
    """Has a layer before and a parameter behind what it is given to hold."""

    def __init__(self, held):
        self.layer, self.held, self.last = nn.Dense(1, 1, rng=3), held, cb.Parameter([1.0])


class Mean(nn.Module):
    """x less its running mean."""

    def __init__(self, n=2):
        self.mean, self.calls = cb.State(np.zeros(n, "float32")), cb.State(np.float64(0))

    def forward(self, x):
        if self.training:
            self.mean.assign(self.mean * 0.5 + x.mean(0) * 0.5)
            self.calls.assign(self.calls + 1)
        return x - self.mean


def names(model):
    return [name for name, _ in model.named_buffers()]


def same(a, b):
    return list(a) == list(b) and all(a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a)


# ---- names

SHARED = cb.State(0)
NAMES = [
    ("one", lambda: cb.State(0), ["held"]),
    ("list", lambda: [cb.State(0), cb.State([1.0])], ["held.0", "held.1"]),
    ("tuple", lambda: (cb.State(0), 3), ["held.0"]),
    ("dict", lambda: {"b": cb.State(0), "a": cb.State(1)}, ["held.b", "held.a"]),
    ("nest", lambda: [{"x": (cb.State(0), [cb.State(1)])}], ["held.0.x.0", "held.0.x.1.0"]),
    ("beside a parameter", lambda: [cb.Parameter([1.0]), cb.State(0)], ["held.1"]),
    ("inner modules", lambda: nn.Sequential(Mean(), Mean()),
     ["held.layers.0.mean", "held.layers.0.calls", "held.layers.1.mean", "held.layers.1.calls"]),
    ("shared", lambda: [SHARED, {"again": SHARED}], ["held.0"]),
    ("a tensor", lambda: cb.ones(2), []),
    ("a generator", lambda: cb.Generator(3), []),
]


@pytest.mark.parametrize("make, expected", [c[1:] for c in NAMES], ids=[c[0] for c in NAMES])
def test_names(make, expected):
    model = Holder(make())
    assert names(model) == expected
    assert all(type(b) is cb.State for b in model.buffers())
    assert [id(b) for b in model.buffers()] == [id(b) for _, b in model.named_buffers()]
    assert not {id(b) for b in model.buffers()} & {id(p) for p in model.parameters()}
    parameters = [name for name, _ in model.named_parameters()]
    assert parameters[-1] == "last" and list(model.state_dict()) == parameters + expected


def test_order_is_that_of_assignment():
    model = Mean()
    model.b, model.a = cb.State(0), cb.State(1)
    model.mean = cb.State([1.0])                   # a new one keeps its place
    assert names(model) == ["mean", "calls", "b", "a"]
    del model.calls
    assert names(model) == ["mean", "b", "a"]


def test_they_are_not_trained():
    model = nn.Sequential(nn.Dense(2, 2, rng=0), Mean())
    model.requires_grad_(False)
    model.requires_grad_(True)
    model(np.ones((3, 2), "float32")).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not any(b.requires_grad or b.grad is not None for b in model.buffers())


CHANGES = {
    "attribute": lambda m: setattr(m, "held", [cb.State(5.0)]),
    "item of a list": lambda m: m.held.__setitem__(0, cb.State(5.0)),
    "insert": lambda m: m.held.insert(0, cb.State(5.0)),
    "del": lambda m: m.held.pop(0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_program_notices_another_state(name):
    """The containers count their edits, as those of parameters do."""
    model = Holder([cb.State(2.0), cb.State(3.0)])

    @cb.compile
    def f(x):
        return x * model.held[0]

    x = cb.ones(2)
    assert [f(x).tolist() for _ in range(3)] == 3 * [[2.0, 2.0]]
    before = cb.structure_version()
    CHANGES[name](model)
    assert cb.structure_version() > before
    wanted = 3.0 if name == "del" else 5.0
    assert [f(x).tolist() for _ in range(3)] == 3 * [[wanted, wanted]]


def test_two_of_one_name_are_refused():
    model = Holder({"a.b": cb.State(0), "a": {"b": cb.State(1)}})
    with pytest.raises(ValueError, match=r"Holder: two of its States have the same name, held\.a\.b"):
        model.state_dict()


# ---- state

@CASE
def test_they_are_saved_and_loaded(dtype, tmp_path):
    first, later, _ = VALUES[dtype]
    model, other = Holder([cb.State(first), {"x": cb.State(later)}]), Holder([cb.State(later), {"x": cb.State(first)}])
    assert {k: v.tobytes() for k, v in model.state_dict().items() if "held" in k} == {
        "held.0": first.tobytes(), "held.1.x": later.tobytes()}
    model.save(tmp_path / "f")
    assert same(load_tensors(tmp_path / "f")[0], model.state_dict())
    held = other.held[0]
    assert other.load(tmp_path / "f") is other and other.held[0] is held
    assert same(other.state_dict(), model.state_dict()) and held.dtype == dtype
    held.assign(later)
    assert model.held[0].numpy().tobytes() == first.tobytes()


def test_a_shared_one_is_saved_once(tmp_path):
    def make(value):
        state = cb.State(value)
        return Holder([state, {"again": state}])

    make(7).save(tmp_path / "f")
    assert list(load_tensors(tmp_path / "f")[0]) == ["layer.weight", "layer.bias", "last", "held.0"]
    model = make(0).load(tmp_path / "f")
    assert model.held[1]["again"] is model.held[0] and model.held[0].item() == 7


def test_the_file_of_a_model_without_them_is_as_ever(tmp_path):
    """Its bytes are those of the parameters alone, in the order of assignment."""
    from cybackprop.io import save_tensors

    model = nn.Sequential(nn.Dense(2, 3, rng=0), nn.Dropout(0.5, rng=1), nn.Dense(3, 1, rng=2))
    model.save(tmp_path / "f")
    save_tensors(tmp_path / "g", {f"layers.{i}.{name}": getattr(model.layers[i], name).numpy()
                                  for i in (0, 2) for name in ("weight", "bias")})
    assert (tmp_path / "f").read_bytes() == (tmp_path / "g").read_bytes()


BAD = [(dtype, bad) for dtype, (_, _, rows) in VALUES.items() for bad in rows]


@pytest.mark.parametrize("dtype, bad", BAD, ids=[f"{d} from {b.dtype}" for d, b in BAD])
def test_what_is_of_another_kind_is_refused_before_anything_is_written(dtype, bad):
    model = Holder([cb.State(VALUES[dtype][0])])
    before, versions = model.state_dict(), [s.version for s in (*model.parameters(), *model.buffers())]
    changed = {k: v + v for k, v in before.items() if k != "held.0"}
    with pytest.raises(cb.DTypeError, match=r"held\.0|uint64"):
        model.load_state_dict({**changed, "held.0": bad})
    with pytest.raises(cb.ShapeError, match=r"held\.0 has shape \(7,\)"):
        model.load_state_dict({**changed, "held.0": np.zeros(7, dtype)})
    with pytest.raises(KeyError, match=r"missing \['held\.0'\]"):
        model.load_state_dict(changed)
    assert same(model.state_dict(), before)
    assert versions == [s.version for s in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize("dtype, data, wanted", [
    ("float32", [1, 2], [1.0, 2.0]), ("float64", np.float32(0.5), 0.5),
    ("int64", np.array([1, 2, 3], "uint8"), [1, 2, 3]),
    ("int64", [True, False, True], [1, 0, 1]),
    ("float32", np.array([1.5, 2.5], ">f8"), [1.5, 2.5])])
def test_what_is_cast(dtype, data, wanted):
    model = Holder(cb.State(VALUES[dtype][0]))
    model.load_state_dict({**model.state_dict(), "held": data})
    assert model.held.tolist() == wanted and model.held.dtype == dtype


# ---- copies

@CASE
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies(clone, dtype):
    state = cb.State(VALUES[dtype][0])
    model = Holder([state, {"again": state}])
    state.requires_grad = dtype[:5] == "float"
    twin = clone(model)
    assert same(twin.state_dict(), model.state_dict()) and type(twin.held) is nn.ModuleList
    assert twin.held[1]["again"] is twin.held[0] is not state and type(twin.held[0]) is cb.State
    assert twin.held[0].requires_grad == state.requires_grad
    twin.held[0].assign(VALUES[dtype][1])
    assert state.numpy().tobytes() == VALUES[dtype][0].tobytes()


# ---- functional_call

X = cb.tensor([[1.0, 3.0], [3.0, 5.0]])            # of mean [2, 4]


def test_a_state_that_stands_in_is_written():
    model, mine = nn.Sequential(Mean()), cb.State([2.0, 0.0])
    out = cb.functional_call(model, {"layers.0.mean": mine}, X)
    assert mine.tolist() == [2.0, 2.0] and out.tolist() == [[-1.0, 1.0], [1.0, 3.0]]
    assert model.layers[0].mean.tolist() == [0.0, 0.0] and model.layers[0].calls.item() == 1


def test_an_array_stands_in_for_the_call():
    model, mine = nn.Sequential(Mean()), np.float32([2.0, 0.0])
    assert cb.functional_call(model, {"layers.0.mean": mine}, X).tolist() == [[-1.0, 1.0], [1.0, 3.0]]
    assert mine.tolist() == [2.0, 0.0] and model.layers[0].mean.tolist() == [0.0, 0.0]


def test_a_tensor_that_stands_in_takes_a_gradient_and_is_not_written():
    model = nn.Sequential(Mean()).eval()

    def f(mean):
        return (cb.functional_call(model, {"layers.0.mean": mean}, X) ** 2).sum()

    assert cb.grad(f)(cb.tensor([0.0, 1.0])).tolist() == [-8.0, -12.0]       # -2 sum(x - mean)
    with pytest.raises(AttributeError, match="assign"):
        cb.functional_call(model.train(), {"layers.0.mean": cb.zeros(2)}, X)
    assert type(model.layers[0].mean) is cb.State


def test_in_a_compiled_function():
    model, mine = Mean(), cb.State([0.0, 0.0])

    @cb.compile
    def f(x):
        return cb.functional_call(model, {"mean": mine}, x), cb.functional_call(model, {"mean": np.zeros(2)}, x)

    for k in range(4):
        mine.assign([0.0, 0.0])
        wanted = [[0.0, k], [2.0 * k, 3.0 * k]]              # x less half its mean
        assert [made.tolist() for made in f(X * k)] == [wanted, wanted]
    assert len(f.programs) == 1 and mine.tolist() == [3.0, 6.0] and model.mean.tolist() == [0.0, 0.0]
    assert model.calls.item() == 8


def test_the_stand_ins_are_the_buffers_meanwhile():
    class Looking(nn.Module):
        def __init__(self):
            self.w, self.inner = cb.Parameter([1.0]), Mean()

        def forward(self):
            return self.state_dict(), names(self), [name for name, _ in self.named_parameters()]

    state, buffers, parameters = cb.functional_call(
        Looking(), {"inner.mean": cb.tensor([5.0, 6.0]), "w": cb.State([7.0])})
    assert (buffers, parameters) == (["inner.mean", "inner.calls"], ["w"])
    assert state["inner.mean"].tolist() == [5.0, 6.0] and state["w"].tolist() == [7.0]


@pytest.mark.parametrize("given, error", [
    ({"layers.0.mean": np.zeros(3)}, cb.ShapeError), ({"layers.0.mean": cb.zeros(3)}, cb.ShapeError),
    ({"layers.0.mean": np.array(["a", "b"])}, cb.DTypeError), ({"layers.0.average": np.zeros(2)}, KeyError)])
def test_refusals(given, error):
    model = nn.Sequential(Mean())
    before = model.buffers()
    with pytest.raises(error, match=r"layers\.0"):
        cb.functional_call(model, {"layers.0.calls": np.float64(5), **given}, X)
    assert all(a is b for a, b in zip(model.buffers(), before, strict=True))
    assert model.layers[0].calls.item() == 0
