"""Write the training steps that `make ctest` runs, tests/c/step.safetensors and, with loops, tests/c/loops.safetensors,
and the hashes they give, step.txt and loops.txt.

    python tools/step_file.py            when a change of bits, or of the format of files, is meant

The files are also samples of the format, of its versions 1 and 2: readers must go on reading them.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import cybackprop as cb
from cybackprop import nn, optim

sys.path.insert(0, str(Path(__file__).parent))
import ctest

FOLDER = Path(__file__).resolve().parent.parent / "tests/c"


def save(path):
    """A small network's training step and its prediction."""
    model = nn.Sequential(nn.Dense(5, 12, activation="tanh", rng=0), nn.Dropout(0.2, rng=1),
                          nn.Dense(12, 3, rng=2))
    opt = optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.01)
    schedule = optim.CosineLR(opt, 9)

    def train(x, y):
        opt.zero_grad()
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        norm = optim.clip_grad_norm(model.parameters(), 1.0)
        opt.step()
        schedule.step()
        return {"loss": loss, "norm": norm}

    def predict(x):
        model.eval()
        share = cb.softmax(model(x))
        model.train()
        return {"share": share, "class": cb.argmax(share, axis=1)}

    x = np.zeros((8, 5), np.float32)
    cb.save_programs(path, train=(train, x, np.zeros(8, int)), predict=(predict, x))


def save_loops(path):
    """A recurrent network's training step, with a scan, a while_loop, branches, noise and a State in a body."""
    cell, last = nn.Dense(9, 8, activation="tanh", rng=0), nn.Dense(8, 3, rng=1)
    noise, seen = cb.Generator(2), cb.State(np.zeros(8, np.float32))
    opt = optim.Adam([*cell.parameters(), *last.parameters()], lr=0.02)

    def body(h, column):
        h = cell(cb.concatenate([cb.dropout(h, 0.2, noise), column.reshape(-1, 1)], axis=1))
        seen.assign(seen * 0.9 + cb.mean(h.detach(), axis=0) * 0.1)
        return cb.cond(cb.mean(h) > 0, lambda h: h * 0.9, lambda h: h + 0.1, h), cb.argmax(h, axis=1)

    def train(x, y):
        opt.zero_grad()
        h, places = cb.scan(body, cb.zeros((len(x), 8)), cb.transpose(cb.tensor(x)), reverse=True)
        loss = nn.cross_entropy(last(h), y)
        loss.backward()
        opt.step()
        scale = cb.while_loop(lambda s: s * loss > 0.1, lambda s: s / 2, cb.tensor(1.0), max_steps=90)
        return {"loss": loss, "scale": scale, "places": places}

    cb.save_programs(path, train=(train, np.zeros((8, 5), np.float32), np.zeros(8, int)))


if __name__ == "__main__":
    for name, write in (("step", save), ("loops", save_loops)):
        write(FOLDER / f"{name}.safetensors")
        (FOLDER / f"{name}.txt").write_text("fma 0\nbase 0\n")
        _, program = ctest.build_native()
        said = subprocess.run([program, "hash", *ctest.steps(name)[0], "0", "0"], capture_output=True, text=True).stdout
        found = dict(re.findall(r"^(\w+) +([0-9a-f]{16})", said, re.M))
        (FOLDER / f"{name}.txt").write_text(f"fma {found['avx2']}\nbase {found['base']}\n")
        print(said)
