"""The type stubs: as the rows and signatures say, and of use to people's programs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cybackprop
from cybackprop._core.engine import Tensor, binary_rows, unary_rows
from cybackprop.ops.numpy_protocol import OnlyNumpys
from cybackprop.ops.registry import public_functions

pytestmark = pytest.mark.plain_build
ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("stubs", ROOT / "tools/stubs.py")
stubs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stubs)

PROGRAM = '''
import numpy as np

import cybackprop as cb
from cybackprop import data, io, kernels, nn, optim, train

x = cb.tensor([[1.0, 2.0], [3.0, 4.0]])
t: cb.Tensor = cb.tanh(x)
t = cb.leaky_relu(x, negative_slope=0.1) + cb.maximum(x, 0) + (2 * x - x / 2) ** 2 @ x.T + x[:, :1]
t = np.ones(2) * cb.where(x > 0, x, 0) + cb.concatenate([x, np.ones((1, 2))])[:2]
t = x.sum(axis=0).tanh().clip(min=0.0) + x.mean(axis=(0, 1), keepdims=True) + cb.softmax([1.0, 2.0])
t = np.exp(x) + x.sum(0, dtype="float32") + x.max(axis=1, keepdims=True) + x.take([0], axis=1) + x.squeeze().copy()
n: int = x.ndim + x.shape[0]
f: float = x.sum().item()
a = np.asarray(x) + x.numpy()
w = cb.Parameter(cb.zeros((2, 2)), requires_grad=True)
w.assign(np.ones((2, 2)))
w.grad = None
(w * x).sum().backward(create_graph=True)
g = cb.grad(lambda v: cb.sum(v * v))(x)
value, pull = cb.vjp(cb.sin, x)
for step in cb.backward_steps((w * w).sum()):
    name: str = step.op
cb.seed(0)
rng: cb.Generator = cb.default_rng()
model = nn.Sequential(nn.Dense(2, 3, activation="relu", rng=rng), nn.Dense(3, 1))
opt = optim.Adam(model.parameters(), lr=1e-3)
loss = nn.mse(model(x), [[1.0], [0.0]])
trainer = train.Trainer(model, loss="mse", optimizer=opt)
with cb.no_grad():
    y, kept = kernels.dense_forward(np.ones((2, 2)), np.ones((2, 1)))
io.save_tensors("model", {}), data.digits()
try:
    pass
except (cb.ShapeError, cb.DTypeError, cb.TapeError, cb.ModelFileError):
    pass

cb.tanhh(x)                              # wrong: no such function
x.tanhh()                                # wrong: no such method
cb.leaky_relu(x, alpha=0.1)              # wrong: another name
x.sum(axes=0)                            # wrong: another name
x.sum(axis="rows")                       # wrong: another type
x.shape = (4,)                           # wrong: read only
x[0] = 1                                 # wrong: values never change
x.sort()                                 # wrong: ndarray's alone
cb.Tensor([1.0])                         # wrong: made with cb.tensor
nn.Dens(2, 3)                            # wrong: no such layer
s: str = cb.tanh(x)                      # wrong: a tensor
'''


def test_stubs_are_as_the_rows_say(capsys):
    assert stubs.main(["--check"]) == 0, f"run make stubs\n{capsys.readouterr().out}"


def test_a_stale_stub_is_found(tmp_path, capsys, monkeypatch):
    path = tmp_path / "engine.pyi"
    path.write_text("def gone(): ...\n")
    monkeypatch.setattr(stubs, "stubs", lambda: {path: "def here(): ...\n"})
    assert stubs.main(["--check"]) == 1
    assert "-def gone(): ..." in capsys.readouterr().out
    assert stubs.main([]) == 0
    assert path.read_text() == "def here(): ...\n"


def test_every_public_function_and_method_has_a_stub():
    package = (ROOT / "cybackprop/__init__.pyi").read_text()
    engine = (ROOT / "cybackprop/_core/engine.pyi").read_text()
    tensor = re.search(r"^class Tensor:\n(.*?)^class ", engine, re.M | re.S)[1]
    for name in public_functions:
        assert re.search(rf"^def {name}\(|import {name} as {name}$", package, re.M), name
    for row in [*unary_rows.values(), *binary_rows.values()]:
        for parameter, _ in row.facts.get("params", ()):
            assert re.search(rf"^def {row.name}\([^)]*\b{parameter}: float = ", package, re.M), row.name
    for name, member in vars(Tensor).items():
        hidden = name.startswith("__") or isinstance(member, OnlyNumpys)
        assert hidden or re.search(rf"^    def {name}\(", tensor, re.M), name
    for name in vars(cybackprop):
        public = not name.startswith("_") and not isinstance(getattr(cybackprop, name), type(sys))
        assert not public or re.search(rf"^def {name}\(|import {name} as {name}$", package, re.M), name


def test_programs_type_check(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = subprocess.run([sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(program)],
                         capture_output=True, text=True, cwd=ROOT)
    found = {int(n) for n in re.findall(r"program\.py:(\d+): error", run.stdout)}
    wrong = {n for n, line in enumerate(PROGRAM.splitlines(), 1) if "# wrong" in line}
    assert found == wrong, run.stdout + run.stderr
    assert not re.search(r"^cybackprop.*error", run.stdout, re.M), run.stdout
