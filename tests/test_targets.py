"""CYBACKPROP_CPU chooses the kernels at import, or fails it in one clear sentence."""

import os
import subprocess
import sys

import pytest

from cybackprop._core import engine


def run(code, cpu=None):
    env = {k: v for k, v in os.environ.items() if k != "CYBACKPROP_CPU"}
    if cpu is not None:
        env["CYBACKPROP_CPU"] = cpu
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)


SHOW = "import cybackprop as cb; print(cb.show_config()['target'], cb.exp(cb.tensor([0.0])).item())"


@pytest.mark.parametrize("name", engine.runnable_targets())
def test_the_variable_forces_a_target(name):
    done = run(SHOW, name)
    assert (done.returncode, done.stdout.split()) == (0, [name, "1.0"]), done.stderr


@pytest.mark.parametrize("cpu", [None, ""])
def test_without_it_the_best_one_runs(cpu):
    done = run(SHOW, cpu)
    assert (done.returncode, done.stdout.split()) == (0, [engine.runnable_targets()[-1], "1.0"]), done.stderr


@pytest.mark.parametrize("cpu", ["sse9", "AVX2", "avx2 ", "best"])
def test_an_unknown_one_fails_the_import(cpu):
    done = run("import cybackprop", cpu)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: ") and f"CYBACKPROP_CPU={cpu}:" in last
    assert all(name in last for name in engine.runnable_targets())
    assert "During handling" not in done.stderr and "direct cause" not in done.stderr


def test_selecting_in_a_process():
    try:
        for name in engine.runnable_targets():
            engine.select_kernels(name)
            assert engine.active_target() == name
        with pytest.raises(ValueError, match="nonsense"):
            engine.select_kernels("nonsense")
        assert engine.active_target() == engine.runnable_targets()[-1]      # a refused choice changes nothing
    finally:
        engine.select_kernels("")
    assert set(engine.runnable_targets()) <= set(engine.built_targets()) and engine.built_targets()[0] == "base"
