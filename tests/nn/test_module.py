"""Modules: what they are made of, names of parameters, state, modes, copies."""

import copy
import pickle

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn


def weight(*values):
    return cb.Parameter([float(v) for v in values])


class Scale(nn.Module):
    def __init__(self, *values):
        self.factor = weight(*(values or (2.0,)))

    def forward(self, x):
        return x * self.factor


class Holder(nn.Module):
    """Holds whatever it is given."""

    def __init__(self, held):
        self.held = held

    def forward(self, x):
        return x * self.held


class Tied(nn.Module):
    """One weight, twice."""

    def __init__(self):
        self.a = Scale(3.0)
        self.b = self.a
        self.tail = [self.a.factor, weight(5.0)]

    def forward(self, x):
        return self.b(self.a(x)) * self.tail[0] + self.tail[1]


def names(module):
    return [name for name, _ in module.named_parameters()]


def values(module):
    return {name: p.tolist() for name, p in module.named_parameters()}


class Loop(nn.Module):
    def __init__(self):
        self.me, self.w = [self], weight(1.0)


def nested():
    return [weight(1), {"x": weight(2), "y": [Scale(), (weight(3), Scale())]}, (weight(4), {"z": weight(5)})]


NAMES = [
    ("one", Scale, ["factor"]),
    ("sequential", lambda: nn.Sequential(nn.Dense(2, 3), nn.Dropout(), nn.Dense(3, 1, bias=False)),
     ["layers.0.weight", "layers.0.bias", "layers.2.weight"]),
    ("list", lambda: Holder([Scale(), weight(1.0)]), ["held.0.factor", "held.1"]),
    ("dict", lambda: Holder({"b": Scale(), "a": weight(1.0)}), ["held.b.factor", "held.a"]),
    ("tuple", lambda: Holder((Scale(), weight(1.0))), ["held.0.factor", "held.1"]),
    ("nested", lambda: Holder(nested()), ["held.0", "held.1.x", "held.1.y.0.factor", "held.1.y.1.0",
                                          "held.1.y.1.1.factor", "held.2.0", "held.2.1.z"]),
    ("shared", Tied, ["a.factor", "tail.1"]),
    ("itself", Loop, ["w"]),
    ("nothing", lambda: Holder([1, 2, 3]), []),
    ("beside a function", lambda: Holder([Scale(), cb.tanh, Scale()]), ["held.0.factor", "held.2.factor"]),
    ("beside None", lambda: Holder([None, Scale()]), ["held.1.factor"]),
]


@pytest.mark.parametrize("make, expected", [c[1:] for c in NAMES], ids=[c[0] for c in NAMES])
def test_names(make, expected):
    model = make()
    assert names(model) == expected
    assert [id(p) for p in model.parameters()] == [id(p) for _, p in model.named_parameters()]


@pytest.mark.parametrize("edit", [lambda held: held.append([Scale()]), lambda held: held.extend([[Scale()]]),
                                  lambda held: held.insert(1, (Scale(),)), lambda held: held.append({"x": Scale()})])
def test_a_container_put_into_a_list_later_counts(edit):
    model = Holder([Scale()])
    edit(model.held)
    assert len(names(model)) == 2


def test_order_is_that_of_assignment():
    model = Scale()
    model.b, model.a = weight(1), weight(2)
    assert names(model) == ["factor", "b", "a"]
    model.factor = weight(7)                       # a new value keeps its place
    assert names(model) == ["factor", "b", "a"]
    del model.b
    assert names(model) == ["factor", "a"]


def test_named_modules():
    model = nn.Sequential(nn.Dense(1, 1), nn.Sequential(nn.Dropout()))
    assert [name for name, _ in model.named_modules()] == ["", "layers.0", "layers.1", "layers.1.layers.0"]
    assert len(list(Tied().named_modules())) == 2


def test_forward_is_missing():
    with pytest.raises(NotImplementedError, match="Bare has no forward"):
        type("Bare", (nn.Module,), {})()(1)


# ---- state

def test_state_dict_is_a_copy_and_loads_back():
    model = Tied()
    state = model.state_dict()
    model.a.factor.assign([9.0])
    assert state["a.factor"].tolist() == [3.0] and list(state) == names(model)
    state["a.factor"][0] = 4.0
    assert model.a.factor.tolist() == [9.0]
    other = Tied()
    other.load_state_dict(state)
    assert values(other) == {"a.factor": [4.0], "tail.1": [5.0]} and other.tail[0].tolist() == [4.0]


BAD_STATES = [
    ({"layers.0.weight": [[1.0], [1.0]]}, KeyError, "missing.*layers.0.bias"),
    ({"layers.0.weight": [[1.0], [1.0]], "layers.0.bias": [1.0], "more": [1.0]}, KeyError, "unknown.*more"),
    ({"layers.0.weight": [[1.0], [1.0]], "layers.0.bias": [1.0, 2.0]}, cb.ShapeError, r"layers.0.bias.*\(2,\).*\(1,\)"),
    ({"layers.0.weight": [[1.0, 1.0]], "layers.0.bias": [1.0]}, cb.ShapeError, "transpose"),
    ({"layers.0.weight": [[1.0], [1.0]], "layers.0.bias": ["a"]}, TypeError, "layers.0.bias"),
    ({"layers.0.weight": [[1.0], [1.0]], "layers.0.bias": [1j]}, TypeError, "layers.0.bias"),
]


@pytest.mark.parametrize("state, error, message", BAD_STATES)
def test_load_state_dict_is_strict_and_whole(state, error, message):
    model = nn.Sequential(nn.Dense(2, 1))
    before, versions = values(model), [p.version for p in model.parameters()]
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    assert values(model) == before and versions == [p.version for p in model.parameters()]


def test_load_state_dict_of_the_models_own_views():
    model = Holder([weight(1.0), weight(2.0)])
    model.load_state_dict({"held.0": model.held[1].numpy(), "held.1": model.held[0].numpy()})
    assert values(model) == {"held.0": [2.0], "held.1": [1.0]}


# ---- modes

def test_train_and_eval_reach_everything():
    model = Holder([nn.Dropout(), {"x": (nn.Dropout(),)}])
    assert all(m.training for _, m in model.named_modules())
    assert model.eval() is model and not any(m.training for _, m in model.named_modules())
    model.train()
    model.held[0].eval()
    assert [m.training for _, m in model.named_modules()] == [True, False, True]


def test_freezing():
    model = nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 1))
    assert model.layers[0].requires_grad_(False) is model.layers[0]
    model(np.ones((3, 2))).sum().backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    model.requires_grad_()
    model(np.ones((3, 2))).sum().backward()
    assert not any(p.grad is None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_repr():
    model = nn.Sequential(nn.Dense(4, 2, activation="relu"), nn.Dense(2, 1, bias=False), nn.Dropout(0.1),
                          nn.Activation("leaky_relu", negative_slope=0.2))
    assert repr(model) == ("Sequential(\n  Dense(4, 2, activation='relu'),\n  Dense(2, 1, bias=False),\n"
                           "  Dropout(p=0.1),\n  Activation('leaky_relu', negative_slope=0.2),\n)")
    outer = Holder(1)
    outer.inner, outer.rate = Scale(), 3
    assert repr(outer) == "Holder(\n  inner: Scale()\n)"


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_clones(clone):
    model = nn.Sequential(nn.Dense(3, 4, activation="tanh"), nn.Dropout(0.5, rng=3), nn.Dense(4, 2, dtype="float32"))
    model.layers[0].weight.requires_grad = False
    model.layers[2].eval()
    model.layers.append(model.layers[2])
    twin = clone(model)
    assert names(twin) == names(model) and values(twin) == values(model)
    assert twin.layers[3] is twin.layers[2] and type(twin.layers) is type(model.layers)
    assert not twin.layers[0].weight.requires_grad and twin.layers[2].weight.requires_grad
    assert [m.training for _, m in twin.named_modules()] == [m.training for _, m in model.named_modules()]
    assert twin.layers[1].rng.state == model.layers[1].rng.state
    twin.layers[0].weight.assign(np.zeros((3, 4)))
    assert values(twin) != values(model) and np.any(model.layers[0].weight.numpy())
