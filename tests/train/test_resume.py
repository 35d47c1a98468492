"""A run that was saved and loaded is one that was never stopped, to the bit; a save that died leaves the old file."""

import functools
import importlib.util
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cybackprop as cb

SCRIPT = Path(__file__).with_name("resumable.py")
spec = importlib.util.spec_from_file_location("resumable", SCRIPT)
resumable = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resumable)

STEPS = resumable.EPOCHS * resumable.BATCHES
# (optimizer, patience): steps; the last of them stops after the second epoch
RUNS = {("adam", 10): STEPS, ("sgd", 10): STEPS, ("rmsprop", 10): STEPS, ("each step", 10): STEPS,
        ("rough", 1): STEPS - resumable.BATCHES}


@functools.cache
def uninterrupted(optimizer, patience):
    trainer = resumable.new(optimizer)
    return resumable.everything(trainer, resumable.fit(trainer, patience))


def saved(optimizer, patience, steps, path):
    trainer = resumable.new(optimizer)
    resumable.fit(trainer, patience, max_steps=steps)
    trainer.save(path)
    return trainer


def differences(a, b):
    return [name for name in a if a[name] != b[name]]


def test_the_runs_are_what_the_tests_need():
    """Ragged batches, one early stop before the end, best weights that are not the last, dropout that draws."""
    assert len(resumable.data()[0][0]) % resumable.SIZE == 5
    assert {run: uninterrupted(*run)["counters"][0] for run in RUNS} == RUNS
    assert uninterrupted("rough", 1)["callbacks"][0]["best_epoch"] == 0
    other = resumable.new("adam")
    other.model.layers[1].rng.state = (1, 1)
    assert {"parameters", "dropout"} <= set(differences(uninterrupted("adam", 10),
                                                        resumable.everything(other, resumable.fit(other, 10))))


@pytest.mark.parametrize("optimizer, patience, steps", [(*run, k) for run, n in RUNS.items() for k in range(n)])
def test_at_every_step(optimizer, patience, steps, tmp_path):
    """Saved at any step, loaded into new objects."""
    whole = uninterrupted(optimizer, patience)
    saved(optimizer, patience, steps, tmp_path / "run")
    cb.seed(99)
    trainer = resumable.loaded(tmp_path / "run", optimizer)
    assert differences(whole, resumable.everything(trainer, resumable.fit(trainer, patience))) == []


# every step of two runs: one goes to its end, EarlyStopping ends the other
FRESH = [(*run, k) for run in (("adam", 10), ("rough", 1)) for k in range(RUNS[run] + 1)]


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory):
    """(optimizer, patience, steps) -> what a fresh process made of the rest of that run: a few of them at a time."""
    folder = tmp_path_factory.mktemp("fresh")

    def go_on(case):
        path = folder / f"{case[0]} {case[2]}"
        subprocess.run([sys.executable, SCRIPT, path, f"{path} result", *map(str, case[:2]),
                        str(RUNS[case[:2]] - case[2])], check=True)
        return pickle.loads(Path(f"{path} result").read_bytes())

    with ThreadPoolExecutor(4) as pool:
        futures = {}
        for case in FRESH:
            saved(*case, folder / f"{case[0]} {case[2]}")
            futures[case] = pool.submit(go_on, case)
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize("optimizer, patience, steps", FRESH)
def test_in_a_fresh_process(optimizer, patience, steps, gone_on):
    """train(N) equals train(k); save; load in a new process; train(N - k)."""
    whole = uninterrupted(optimizer, patience)
    if steps == RUNS[optimizer, patience]:
        whole = whole | {"callbacks": []}
    assert differences(whole, gone_on[optimizer, patience, steps].result()) == []


def test_many_times(tmp_path):
    """Saved and loaded after every step."""
    trainer, callbacks = resumable.new("sgd"), None
    for _ in range(STEPS):
        callbacks = resumable.fit(trainer, 10, max_steps=1)
        trainer.save(tmp_path / "run")
        trainer = resumable.loaded(tmp_path / "run", "sgd")
    assert differences(uninterrupted("sgd", 10), resumable.everything(trainer, callbacks)) == []


def test_saving_changes_nothing(tmp_path):
    trainer = saved("adam", 10, 9, tmp_path / "one")
    trainer.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert differences(uninterrupted("adam", 10), resumable.everything(trainer, resumable.fit(trainer, 10))) == []
    resumable.loaded(tmp_path / "one", "adam").save(tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "three").read_bytes()


# ---- kill -9 in the middle of a save

DIE = """
import os, signal, sys
from cybackprop.io import atomic, safetensors
sys.path.insert(0, {folder!r})
import resumable

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def some_chunks(path, chunks):
    def part():
        for i, chunk in enumerate(chunks):
            yield chunk
            if i == {chunk}:
                die()
    atomic.atomic_write(path, part())

trainer = resumable.loaded({path!r}, "adam")
resumable.fit(trainer, 10, max_steps=1)
{patch}
trainer.save({path!r})
"""
DEATHS = [("safetensors.atomic_write = some_chunks", 0, "old"), ("safetensors.atomic_write = some_chunks", 1, "old"),
          ("safetensors.atomic_write = some_chunks", 5, "old"), ("os.fsync = die", 0, "old"),
          ("os.replace = die", 0, "old"), ("atomic._sync_folder = die", 0, "new")]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("patch, chunk, survivor", DEATHS, ids=[f"{p} {c}" for p, c, _ in DEATHS])
def test_killed_while_saving(patch, chunk, survivor, tmp_path):
    path = tmp_path / "run"
    old = saved("adam", 10, 9, path)
    before = path.read_bytes()
    code = DIE.format(folder=str(SCRIPT.parent), path=str(path), patch=patch, chunk=chunk)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert (path.read_bytes() == before) == (survivor == "old")
    trainer = resumable.loaded(path, "adam")
    assert trainer.step == old.step + (survivor == "new")
    assert differences(uninterrupted("adam", 10), resumable.everything(trainer, resumable.fit(trainer, 10))) == []
    trainer.save(path)
    assert list(tmp_path.iterdir()) == [path]            # what the dead process left is gone
