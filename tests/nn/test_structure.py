"""The structure counter: changes of modules and containers move it, using them does not."""

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn


class Scale(nn.Module):
    def __init__(self):
        self.factor = cb.Parameter([2.0])

    def forward(self, x):
        return x * self.factor


def model_to_change():
    model = nn.Sequential(nn.Dense(2, 2), nn.Dropout(), nn.Dense(2, 2))
    model.more = {"x": [Scale()]}
    return model


CHANGES = {
    "attribute": lambda m: setattr(m, "factor", 3),
    "attribute of a layer": lambda m: setattr(m.layers[0], "activation", "relu"),
    "delete": lambda m: delattr(m, "more"),
    "eval": lambda m: m.eval(),
    "freeze": lambda m: m.requires_grad_(False),
    "freeze one": lambda m: setattr(m.layers[0].bias, "requires_grad", False),
    "append": lambda m: m.layers.append(Scale()),
    "extend": lambda m: m.layers.extend([Scale()]),
    "insert": lambda m: m.layers.insert(0, Scale()),
    "pop": lambda m: m.layers.pop(),
    "remove": lambda m: m.layers.remove(m.layers[0]),
    "reverse": lambda m: m.layers.reverse(),
    "sort": lambda m: m.layers.sort(key=id),
    "clear": lambda m: m.layers.clear(),
    "set item": lambda m: m.layers.__setitem__(0, Scale()),
    "set slice": lambda m: m.layers.__setitem__(slice(0, 1), [Scale()]),
    "delete item": lambda m: m.layers.__delitem__(0),
    "+=": lambda m: m.layers.__iadd__([Scale()]),
    "*=": lambda m: m.layers.__imul__(2),
    "dict set": lambda m: m.more.__setitem__("y", Scale()),
    "dict delete": lambda m: m.more.__delitem__("x"),
    "dict update": lambda m: m.more.update(y=Scale()),
    "dict pop": lambda m: m.more.pop("x"),
    "dict popitem": lambda m: m.more.popitem(),
    "dict setdefault": lambda m: m.more.setdefault("y", Scale()),
    "dict |=": lambda m: m.more.__ior__({"y": Scale()}),
    "dict clear": lambda m: m.more.clear(),
    "inner list": lambda m: m.more["x"].append(Scale()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_structure_are_counted(change):
    model = model_to_change()
    before = cb.structure_version()
    change(model)
    assert cb.structure_version() > before
    if change is CHANGES["eval"]:
        assert not any(m.training for _, m in model.eval().named_modules())
        before = cb.structure_version()
        assert all(m.training for _, m in model.train().named_modules()) and cb.structure_version() > before


STEADY = {
    "forward": lambda m, x: m(x),
    "backward": lambda m, x: m(x).sum().backward(),
    "functional_call": lambda m, x: cb.functional_call(m, {"layers.0.bias": cb.ones(2)}, x),
    "assign": lambda m, x: m.layers[0].bias.assign([1.0, 2.0]),
    "zero_grad": lambda m, x: m.zero_grad(),
    "names and state": lambda m, x: (m.state_dict(), repr(m), m.parameters()),
    "load": lambda m, x: m.load_state_dict(m.state_dict()),
    "no_grad": lambda m, x: cb.no_grad()(m)(x),
    "the mode that it is in": lambda m, x: m.train(),
}


@pytest.mark.parametrize("what", STEADY.values(), ids=STEADY)
def test_use_is_no_change_of_structure(what):
    model, x = model_to_change(), np.ones((3, 2), "float32")
    before = cb.structure_version()
    what(model, x)
    assert cb.structure_version() == before
