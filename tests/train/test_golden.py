"""Ten training steps against an independent NumPy script."""

import types
from pathlib import Path

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train

SCRIPT = Path(__file__).with_name("golden_numpy.py")
LIMIT = 1e-12
OPTIMIZERS = {"sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9), "adam": lambda p: optim.Adam(p, lr=0.01)}


def script(broken=None):
    """The script as a module; with one line of it replaced."""
    text = SCRIPT.read_text()
    if broken:
        assert text.count(broken[0]) == 1
        text = text.replace(*broken)
    module = types.ModuleType("golden")
    exec(compile(text, SCRIPT.name, "exec"), vars(module))
    return module


def by_hand(model, opt, x, y):
    loss = nn.cross_entropy(model(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    return loss.item()


def by_functions(model, opt, x, y):
    """The same gradients as a function's, given to the optimizer."""
    values = {name: cb.tensor(np.array(p)) for name, p in model.named_parameters()}
    loss, grads = cb.value_and_grad(lambda v: nn.cross_entropy(cb.functional_call(model, v, x), y))(values)
    for name, p in model.named_parameters():
        p.grad = grads[name]
    opt.step()
    return loss.item()


def by_trainer(model, opt, x, y):
    return train.Trainer(model, "cross_entropy", opt).train_on_batch(x, y)


def worst(golden, name, step=by_hand):
    """The largest relative error in any loss and any weight after any step."""
    losses, states = golden.run(getattr(golden, name))
    layers = [nn.Dense(i, o, activation=f, dtype="float64")
              for i, o, f in zip(golden.SIZES, golden.SIZES[1:], ("tanh", "sigmoid", None), strict=False)]
    model = nn.Sequential(*layers)
    for p, value in zip(model.parameters(), golden.weights(), strict=True):
        p.assign(value)
    opt, far = OPTIMIZERS[name](model.parameters()), []
    for x, y, loss, state in zip(*golden.data(), losses, states, strict=True):
        far.append(abs(step(model, opt, x, y) - loss) / loss)
        far += [np.max(abs(p.numpy() - w) / abs(w)) for p, w in zip(model.parameters(), state, strict=True)]
    assert len(far) == golden.STEPS * 7
    return max(far)


@pytest.mark.parametrize("step", [by_hand, by_functions, by_trainer])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps(name, step):
    assert worst(script(), name, step) < LIMIT


BROKEN = [("d3[rows, y] -= 1", "d3[rows, y] += 1"), ("(1 - a1 ** 2)", "(1 + a1 ** 2)"),
          ("a2 * (1 - a2)", "a2 * (1 + a2)"), ("x @ w1 + b1", "x @ w1 - b1"), ("d2.sum(0)", "-d2.sum(0)")]


@pytest.mark.parametrize("broken", BROKEN, ids=[b for _, b in BROKEN])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_wrong_sign_shows(name, broken):
    assert worst(script(broken), name) > 1e4 * LIMIT


def test_the_script_is_independent():
    assert [line for line in SCRIPT.read_text().splitlines() if "import" in line] == ["import numpy as np"]
