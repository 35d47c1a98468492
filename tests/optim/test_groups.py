"""Groups: mappings whose numbers live in cells; what an optimizer step reads and changes is in arrays."""

import json
import sys

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import optim

# optimizer, options beside lr, the keys of its groups in order (the docstrings' and torch's names)
OPTIONS = {
    "SGD": ({"momentum": 0.9, "nesterov": True}, "lr momentum dampening nesterov weight_decay decay_bias"),
    "RMSprop": ({"momentum": 0.5, "centered": True}, "lr alpha eps momentum centered weight_decay decay_bias"),
    "Adagrad": ({"lr_decay": 0.5}, "lr lr_decay initial_accumulator eps weight_decay decay_bias"),
    "Adam": ({"betas": (0.5, 0.75)}, "lr betas eps weight_decay amsgrad decay_bias"),
    "AdamW": ({"amsgrad": True}, "lr betas eps weight_decay amsgrad decay_bias"),
}
CASE = pytest.mark.parametrize("name, options, keys", [(n, *case) for n, case in OPTIONS.items()], ids=OPTIONS)
PLAIN = {"decay_bias", "amsgrad", "centered", "initial_accumulator", "params"}


def make(name, **options):
    params = [cb.Parameter(np.ones((2, 2))), cb.Parameter(np.ones(2)), cb.Parameter(np.ones((2, 2)))]
    opt = getattr(optim, name)(params, **{"lr": 0.25, **options})
    for p in params:
        p.grad = np.full(p.shape, 0.5)
    return opt, params, opt.param_groups[0]


@CASE
def test_a_group_is_a_mapping(name, options, keys):
    _, params, group = make(name, **options)
    assert list(group) == [*keys.split(), "params"] and len(group) == len(list(group))
    assert {**group} == dict(group) == dict(group.items()) and {**options, "lr": 0.25}.items() <= dict(group).items()
    assert "lr" in group and "speed" not in group and group.get("speed", 7) == 7
    assert all(type(group[k]) is type(v) for k, v in options.items())
    assert all(p is q for p, q in zip(group["params"], params, strict=True))
    assert "'lr': 0.25" in repr(group) and json.dumps({k: v for k, v in group.items() if k != "params"})
    with pytest.raises(KeyError, match="speed"):
        group["speed"]
    with pytest.raises(TypeError, match="lr is an option"):
        del group["lr"]


@CASE
def test_numbers_live_in_cells(name, options, keys):
    opt, _, group = make(name, **options)
    cells = {n: group.cell(n) for n in opt.numbers}
    assert {(c.dtype, c.shape) for c in cells.values()} == {(np.dtype("float64"), ())}
    for key in set(keys.split()) - PLAIN:
        names = ("beta1", "beta2") if key == "betas" else (key,)
        new = {"betas": (0.25, 0.125), "nesterov": False}.get(key, 0.375)
        group[key] = new
        assert group[key] == new and type(group[key]) is type(new), key
        assert [cells[n].item() for n in names] == [float(x) for x in np.ravel(new)], key
        for n in names:
            cells[n].assign(0.5)
        assert group[key] == {"betas": (0.5, 0.5), "nesterov": True}.get(key, 0.5), key
    assert all(group.cell(n) is c for n, c in cells.items())


@CASE
def test_a_step_reads_the_cells_and_moves_the_counts(name, options, keys):
    """What holds the arrays finds in them all that the step changed, and the step all that was written there."""
    opt, params, group = make(name, **options)
    counts, moments = [opt.steps[id(p)] for p in params], [opt.moments[id(p)] for p in params]
    params[1].grad = None
    opt.step()
    assert [t.item() for t in counts] == [1, 0, 1] == opt.state_dict()["steps"]
    assert all(m is None or m.version >= 1 for m in moments[0]) and params[1].tolist() == [1.0, 1.0]
    before = params[0].tolist()
    group.cell("lr").assign(0.0)
    group.cell("weight_decay").assign(0.0)
    opt.step()
    assert params[0].tolist() == before and counts[0].item() == 2
    group.cell("lr").assign(1.0)
    counts[0].assign(10)
    opt.step()
    assert params[0].tolist() != before and [t.item() for t in counts] == [11, 0, 3]


@CASE
def test_loading_keeps_the_arrays(name, options, keys):
    opt, params, group = make(name, **options)
    opt.step()
    state = opt.state_dict()
    held = [group.cell("lr"), *opt.steps.values(), *(m for ms in opt.moments.values() for m in ms if m is not None)]
    values = [x.tolist() for x in held]
    opt.step()
    group["lr"] = 0.75
    version = cb.structure_version()
    opt.load_state_dict(json.loads(json.dumps(state, default=np.ndarray.tolist)))
    now = [group.cell("lr"), *opt.steps.values(), *(m for ms in opt.moments.values() for m in ms if m is not None)]
    assert all(a is b for a, b in zip(held, now, strict=True)) and [x.tolist() for x in held] == values
    assert cb.structure_version() == version and str(opt.state_dict()) == str(state)


@pytest.mark.parametrize("key, value", [("lr", "fast"), ("lr", None), ("eps", [0.1]), ("betas", (0.5,)), ("betas", 0.5),
                                        ("betas", (0.5, "x")), ("betas", (0.5, 0.25, 0.125)), ("lr", cb.ones(2))])
def test_what_is_no_number_is_refused(key, value):
    _, _, group = make("Adam")
    before = dict(group)
    with pytest.raises((TypeError, ValueError)):
        group[key] = value
    assert dict(group) == before


@pytest.mark.parametrize("options", [{"dampening": "x"}, {"lr": -1.0}, {"lr": None}, {"speed": 1}])
def test_a_group_that_is_refused_leaves_nothing_behind(options):
    opt, _, _ = make("SGD")
    before, late = str(opt.state_dict()), cb.Parameter([1.0])
    with pytest.raises((TypeError, ValueError)):
        opt.add_param_group({"params": [late], **options})
    assert str(opt.state_dict()) == before and len(opt.param_groups) == 1
    opt.add_param_group({"params": [late]})
    late.grad = [1.0]
    opt.step()
    assert late.tolist() == [0.75]


def test_tensors_are_written_as_they_are():
    _, _, group = make("Adam")
    group["lr"] = cb.tensor(0.1, "float64") * 3
    group["betas"] = [cb.tensor(0.5), np.float32(0.25)]
    assert group["lr"] == 0.1 * 3 and group["betas"] == (0.5, 0.25)


# ---- structure

STRUCTURE = {
    "amsgrad": ("Adam", lambda o: o.param_groups[0].update(amsgrad=True)),
    "decay_bias": ("Adam", lambda o: o.param_groups[0].update(decay_bias=True)),
    "centered": ("RMSprop", lambda o: o.param_groups[0].update(centered=True)),
    "momentum appears": ("SGD", lambda o: o.param_groups[0].update(momentum=0.9)),
    "an option of one's own": ("SGD", lambda o: o.param_groups[0].setdefault("first_lr", 1)),
    "a group": ("SGD", lambda o: o.add_param_group({"params": [cb.Parameter([1.0])]})),
    "a group goes": ("SGD", lambda o: o.param_groups.pop()),
    "other groups": ("SGD", lambda o: setattr(o, "param_groups", o.param_groups[:])),
    "a parameter goes": ("SGD", lambda o: o.param_groups[0]["params"].pop()),
    "moments come": ("SGD", lambda o: o.load_state_dict(
        {**o.state_dict(), "moments": {"momentum_buffer": [np.ones(p.shape) for p in o.parameters()]}})),
}


@pytest.mark.parametrize("name, change", STRUCTURE.values(), ids=STRUCTURE)
def test_changes_of_structure_are_counted(name, change):
    opt, _, _ = make(name)
    before = cb.structure_version()
    change(opt)
    assert cb.structure_version() > before


@CASE
def test_use_is_no_change_of_structure(name, options, keys):
    opt, _, group = make(name, **options)
    opt.step()
    before = cb.structure_version()
    opt.step()
    opt.zero_grad()
    opt.step()
    opt.load_state_dict(opt.state_dict())
    group["lr"] = 0.5
    group.update({k: v for k, v in group.items() if k != "params"}, params=group["params"])
    assert cb.structure_version() == before


@pytest.mark.parametrize("write", [lambda g, v: g.update(momentum=v), lambda g, v: g.cell("momentum").assign(v)],
                         ids=["group", "cell"])
def test_momentum_comes_and_goes(write):
    """Its buffer starts from 0 where it comes and is forgotten where it goes."""
    opt, params, group = make("SGD")
    for momentum, pace in ((0, 0.5), (0, 0.5), (0.5, 0.5), (0.5, 0.75), (0, 0.5), (0.5, 0.5)):       # gradients are 0.5
        before = params[1].numpy().copy()
        if momentum != group["momentum"]:
            write(group, momentum)
        opt.step()
        assert np.array_equal(params[1], before - 0.25 * pace)
        assert (opt.state_dict()["moments"]["momentum_buffer"][0] is None) == (momentum == 0)


def test_a_parameter_that_left_its_group_stays_as_it_is():
    opt, params, group = make("SGD")
    opt.step()
    left = group["params"].pop()
    before = left.tolist()
    opt.step()
    assert left is params[2] and left.tolist() == before and params[0].tolist() != before


def test_biases_decay_when_the_option_says_so():
    opt, params, group = make("SGD", lr=1.0, weight_decay=0.5)
    for p in params:
        p.grad = np.zeros(p.shape)
    opt.step()
    group["decay_bias"] = True
    opt.step()
    assert params[0].tolist() == [[0.25] * 2] * 2 and params[1].tolist() == [0.5, 0.5]


def test_a_record_that_kept_a_weight_names_the_step():
    opt, (w, *_), _ = make("SGD")
    y = (w * w).sum()
    line = sys._getframe().f_lineno + 1
    opt.step()
    with pytest.raises(cb.TapeError, match=rf"written by sgd\.step at .*test_groups\.py:{line}\)"):
        y.backward()
