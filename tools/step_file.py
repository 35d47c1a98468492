"""Write tests/c/step.safetensors, the training step that `make ctest` runs, and tests/c/step.txt, the hashes it gives.

    python tools/step_file.py            when a change of bits, or of the format of files, is meant

The file is also a sample of the format: readers must go on reading it.
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


if __name__ == "__main__":
    save(FOLDER / "step.safetensors")
    (FOLDER / "step.txt").write_text("fma 0\nbase 0\n")
    _, program = ctest.build_native()
    said = subprocess.run([program, "hash", *ctest.steps()[0], "0", "0"], capture_output=True, text=True).stdout
    found = dict(re.findall(r"^(\w+) +([0-9a-f]{16})", said, re.M))
    (FOLDER / "step.txt").write_text(f"fma {found['avx2']}\nbase {found['base']}\n")
    print(said)
