"""src/module.h: programs saved by Python, run by C without it, equal it in every bit; hostile files harm nobody."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim
from cybackprop._core import engine

ROOT = Path(__file__).resolve().parent.parent.parent
spec = importlib.util.spec_from_file_location("ctest", ROOT / "tools/ctest.py")
ctest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ctest)

pytestmark = [pytest.mark.plain_build, pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")]
N, STEPS = 37, 6


def training(seed=0):
    """A step with dense layers, dropout, Adam, clipping and a schedule, and the model."""
    model = nn.Sequential(nn.Dense(5, 70, activation="gelu", rng=seed), nn.Dropout(0.3, rng=seed + 1),
                          nn.Dense(70, 9, activation="tanh", rng=seed + 2), nn.Dense(9, 3, rng=seed + 3))
    opt = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.CosineLR(opt, 9)

    def step(x, y):
        opt.zero_grad()
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        norm = optim.clip_grad_norm(model.parameters(), 0.5)
        opt.step()
        schedule.step()
        return {"loss": loss, "norm": norm}

    return step, model, opt


class Recurrent(nn.Module):
    """A cell over the columns of x; its body draws noise, writes a mean and has a branch."""

    def __init__(self, seed):
        self.cell, self.last = nn.Dense(9, 8, activation="tanh", rng=seed), nn.Dense(8, 3, rng=seed + 1)
        self.drop, self.mean = nn.Dropout(0.3, rng=seed + 2), cb.State(np.zeros(8, "float32"))

    def forward(self, x):
        def body(h, column):
            h = self.cell(cb.concatenate([self.drop(h), column.reshape(-1, 1)], axis=1))
            self.mean.assign(self.mean * 0.9 + cb.mean(h.detach(), axis=0) * 0.1)
            return cb.cond(cb.mean(h) > 0, lambda h: h * 0.9, lambda h: h + 0.1, h), None

        return self.last(cb.scan(body, cb.zeros((len(x), 8)), cb.transpose(cb.tensor(x)))[0])


def looping(seed=0):
    """The same with loops: a recurrent network, its loss, and a step size that a while_loop has halved."""
    model = Recurrent(seed)
    opt = optim.Adam(model.parameters(), lr=0.02)

    def step(x, y):
        opt.zero_grad()
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        norm = optim.clip_grad_norm(model.parameters(), 0.5)
        scale = cb.while_loop(lambda s: s * norm > 0.1, lambda s: s / 2, cb.tensor(1.0))
        opt.step()
        return {"loss": loss, "norm": norm, "scale": scale}

    return step, model, opt


def indexing(seed=0):
    """A step whose loss takes one number of each row, at places that another index gives."""
    model = nn.Sequential(nn.Dense(5, 4, rng=seed), nn.Dense(4, 3, rng=seed + 1))
    opt, order = optim.Adam(model.parameters(), lr=0.02), cb.State(np.array([2, 0, -2]))

    def step(x, y):
        opt.zero_grad()
        z = cb.log_softmax(model(x))
        loss = -cb.mean(z[np.arange(len(x)), order[y]])
        (loss + cb.sum(cb.gather(z, cb.tensor(y)[:, None]) * cb.tensor(x)[:, order]) * 0.01).backward()
        opt.step()
        return {"loss": loss, "taken": z[:, cb.tensor(y)[0]], "last": z[cb.tensor(y)[-1], :2, None]}

    return step, model, opt


@pytest.fixture(scope="module")
def program():
    """The test program, and libcybackprop.a beside it; the only kernels are those that Python uses here."""
    target = engine.active_target()
    return ctest.build(f"test-{target}", "gcc", {"base": ctest.setup_facts()["TARGETS"][target]}, [], ["program"])[0]


@pytest.mark.parametrize("training", [training, looping, indexing])
def test_a_training_program_without_python(program, tmp_path, training):
    mine, _, _ = training()
    cb.save_programs(tmp_path / "step", train=(mine, np.zeros((12, 5), "float32"), np.zeros(12, int)))
    rng = np.random.default_rng(1)
    batches = [(rng.standard_normal((N, 5)).astype("float32"), rng.integers(0, 3, N)) for _ in range(STEPS)]
    (tmp_path / "in").write_bytes(b"".join(x.tobytes() + y.tobytes() for x, y in batches))
    done = subprocess.run([program, "run", tmp_path / "step", "train", str(N), str(STEPS), tmp_path / "in",
                           tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    out = (tmp_path / "out").read_bytes()

    step, model, opt = training()                            # a fresh one, compiled at that size: the truth
    compiled = cb.compile(step)
    made = b"".join(np.array(t).tobytes() for x, y in batches for t in compiled(x, y).values())
    assert out[:len(made)] == made
    file = cb.load_program(tmp_path / "step")
    for x, y in batches:
        file(x, y)
    for name, p in model.named_parameters():
        path = "model/" + name.replace(".", "/")
        assert np.array(file.states[path]).tobytes() == np.array(p).tobytes()
        assert np.array(file.states["opt/exp_avg/" + path]).tobytes() == np.array(opt.moments[id(p)][0]).tobytes()
    assert "opt/lr" not in file.states or file.states["opt/lr"].item() == opt.param_groups[0]["lr"]
    states = b"".join(np.array(s).tobytes() for s in file.states.values())
    assert out[len(made):len(made) + len(states)] == states
    file.save(tmp_path / "later")                            # what C would write of it is the file that Python writes
    assert out[len(made) + len(states):] == (tmp_path / "later").read_bytes()


def test_what_c_says_of_errors(program, tmp_path):
    step, _, _ = training()
    cb.save_programs(tmp_path / "step", train=(step, np.zeros((12, 5), "float32"), np.zeros(12, int)))
    (tmp_path / "in").write_bytes(np.zeros((2, 5), "float32").tobytes() + np.array([0, 3]).tobytes())
    data = bytearray((tmp_path / "step").read_bytes())
    data[-1] ^= 1
    (tmp_path / "broken").write_bytes(data)

    def said(*args):
        done = subprocess.run([program, "run", *map(str, args), tmp_path / "in", tmp_path / "out"], capture_output=True,
                              text=True)
        return done.returncode, done.stdout

    status, text = said(tmp_path / "step", "train", 2, 1)
    assert status == 1 and text.startswith("run: train: operation ") and ", ce, refuses: a label or index" in text
    assert "there is no program fit" in said(tmp_path / "step", "fit", 2, 1)[1]
    assert "at least 1" in said(tmp_path / "step", "train", 0, 1)[1]
    assert "checksum is wrong" in said(tmp_path / "broken", "train", 2, 1)[1]
    assert "can't be read" in said(tmp_path / "none", "train", 2, 1)[1]


def test_the_example_of_the_document(program, tmp_path):
    """docs/embedding.md: the file that its Python saves, its C program, linked with the library alone, and its output.

    Whether what it prints is true is seen by running the same steps here."""
    text = (ROOT / "docs/embedding.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```\n", text, re.S | re.M))
    subprocess.run([sys.executable, "-c", blocks["python"]], cwd=tmp_path, check=True, capture_output=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    library = Path(program).with_name("libcybackprop.a")     # `make lib` has the kernels of all instruction sets
    assert " U Py" not in subprocess.run(["nm", library], capture_output=True, text=True).stdout
    (tmp_path / "fit.c").write_text(blocks["c"])
    subprocess.run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/src", "fit.c", library, "-pthread",
                    "-lm", "-o", "fit"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "fit"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == blocks["console"].splitlines()[-1] + "\n", done.stderr
    file = cb.load_program(tmp_path / "fit.safetensors")
    for _ in range(60):
        loss = file(x=[[1, 0], [0, 1], [1, 1], [2, 1], [1, 2]], y=[3, 2, 4, 6, 5])
    weight = file.states["model/weight"].numpy()
    assert done.stdout == f"{weight[0, 0]:.3f} {weight[1, 0]:.3f}, loss {loss.item():.1e}\n"


def small_file(path):
    """Few and short arrays, but many kinds of operations."""
    rng = cb.Generator(1)
    w, table = cb.Parameter(np.ones((3, 2), "float32")), cb.Parameter(np.ones((4, 3), "float32"))
    opt, seen = optim.SGD([w, table], lr=0.1, momentum=0.5), cb.State(np.zeros(3))

    def step(x, i):
        opt.zero_grad()
        h = cb.dropout(cb.concatenate([cb.tensor(x), cb.take(table, i)])[1:], 0.5, rng)
        y = cb.dense(cb.where(h > 0, h, h * 0.1), w, activation="gelu")
        y = cb.softmax(y - cb.max(y, axis=1, keepdims=True)).reshape(-1, 2) @ cb.ones((2, 2))
        best = cb.argmax(y, axis=1)
        y = y + y[np.arange(len(y)), best][:, None] * cb.sum(y[:, best[:2]])
        nn.cross_entropy(y[:len(x)], (cb.tensor(i) > 5).astype("int64")).backward()
        opt.step()
        seen.assign(seen * 0.5 + cb.mean(h, axis=0).astype("float64"))
        return cb.argmax(y, axis=1), y

    cb.save_programs(path, f=(step, np.ones((3, 3), "float32"), np.arange(3)))


def small_loops(path):
    """A loop of each kind, one in another, a derivative, states that bodies write, an index."""
    rng, table, seen = cb.Generator(1), cb.tensor(np.ones((4, 3), "float32")), cb.State(np.zeros(3, "float32"))

    def body(c, row):
        seen.assign(seen + row)
        c = cb.cond(cb.sum(c) > 2, lambda c: c * row, lambda c: -c, c)
        return c + cb.take(table, cb.argmax(c, axis=0)), rng.uniform((2,))

    def step(x):
        def loss(w):
            return cb.sum(cb.while_loop(lambda c: cb.max(c) < 2, lambda c: c + w * w + 1, w, max_steps=2))

        return cb.scan(body, cb.zeros(3), x), cb.grad(loss)(x.sum(axis=0))

    cb.save_programs(path, f=(step, cb.ones((3, 3))))


@pytest.mark.parametrize("write, rounds", [(small_file, 3000), (small_loops, 3000)])
def test_hostile_files(tmp_path, write, rounds):
    """Under sanitizers; a minute the first time, which compiles."""
    write(tmp_path / "small")
    assert ctest.fuzz(str(tmp_path / "small"), 5, rounds) == 0
