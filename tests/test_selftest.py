"""The selftest's hash is the committed one on every instruction set, and sees every bit."""

import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cybackprop import selftest
from cybackprop._core import engine
from cybackprop.cli.main import main as command_line

ROOT = Path(__file__).resolve().parent.parent
BEST = engine.runnable_targets()[-1]


def hashes(sections):
    return {name: value for name, (value, _) in sections.items()}


@pytest.fixture(scope="module")
def sections():
    """{name: (hash, how many results)}"""
    return engine.selftest(BEST)[2]


@pytest.fixture(scope="module")
def total():
    return engine.selftest(BEST)[0]


@pytest.mark.parametrize("name", engine.runnable_targets())
def test_the_hash_is_the_committed_one(name):
    total, fma, _, _ = engine.selftest(name)
    assert f"{total:016x}" == selftest.expected(fma)


def test_with_and_without_fma_are_two_hashes():
    assert selftest.expected(True) != selftest.expected(False)


def test_readme_shows_both():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {*re.findall(r"\b[0-9a-f]{16}\b", text)} == {selftest.expected(True), selftest.expected(False)}


# ---- what it covers

def test_every_row_at_67_and_1000_elements_in_both_dtypes(sections):
    sizes = 67 + 1000
    compares = sum(row.facts["compares"] for row in engine.binary_rows.values())
    values = len(engine.binary_rows) - compares
    for dtype in ("f32", "f64"):
        # forward; slope times cotangent, slope times tangent, slope added
        assert sections[f"unary/{dtype}"][1] == 4 * sizes * len(engine.unary_rows)
        # for three kinds of strides, the slopes for each side
        assert sections[f"binary/{dtype}"][1] == 3 * sizes * (values * (1 + 2 * 3) + compares)


def test_threads_shared_products_and_changed_no_bit(sections):
    # on a busy machine the caller may have done everything before another thread wakes
    assert any(engine.selftest(BEST)[3] > 1 for _ in range(20))
    for dtype in ("f32", "f64"):
        assert sections[f"train_1/{dtype}"] == sections[f"train_3/{dtype}"]
    assert engine.selftest(BEST, threads=1)[2] == sections


def test_sections_differ(sections):
    values = [value for name, value in hashes(sections).items() if not name.startswith("train_3")]
    assert len(set(values)) == len(values) == len(sections) - 2 and all(values)


# ---- what it sees

def test_one_flipped_bit_changes_its_section_and_the_hash(sections, total, rng):
    start = 0
    for name, (_, count) in sections.items():
        place, bit = start + rng.integers(count), rng.integers(64)
        flipped_total, _, flipped, _ = engine.selftest(BEST, flip_at=place, flip_bit=bit)
        assert flipped_total != total
        changed = [key for key, value in hashes(sections).items() if hashes(flipped)[key] != value]
        assert changed == [name], (place, bit)
        start += count


def test_the_first_and_the_last_result_count_and_nothing_after(sections, total):
    end = sum(count for _, count in sections.values())
    for place, bit in ((0, 31), (end - 1, 63)):
        assert engine.selftest(BEST, flip_at=place, flip_bit=bit)[0] != total
    assert engine.selftest(BEST, flip_at=end)[0] == total


# ---- manners

def test_the_number_of_threads_is_as_before():
    before = engine.get_num_threads()
    try:
        engine.set_num_threads(2)
        engine.selftest(BEST)
        assert engine.get_num_threads() == 2
    finally:
        engine.set_num_threads(before)


def test_other_python_threads_run_meanwhile():
    worker = threading.Thread(target=engine.selftest, args=(BEST,))
    worker.start()
    turns = 0
    while worker.is_alive():
        time.sleep(0.002)
        turns += 1
    assert turns > 10


@pytest.mark.parametrize("name", ["sse9", "AVX2"])
def test_an_unknown_target_is_refused(name):
    with pytest.raises(ValueError, match="no target.*base"):
        engine.selftest(name)


@pytest.mark.plain_build
def test_without_memory_it_says_so():
    code = ("import resource; from cybackprop._core import engine\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), resource.RLIM_INFINITY))\n"
            "try: engine.selftest(engine.runnable_targets()[-1])\n"
            "except MemoryError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "selftest: memory ran out\n", done.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY      # the limit was the child's


# ---- the command

def run(*args, before=""):
    code = (f"import runpy, sys\n{before}\nsys.argv[1:] = {list(args)!r}\n"
            "runpy.run_module('cybackprop', None, '__main__')")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("before", ["", "sys.modules['click'] = None", "sys.modules['rich'] = None"],
                         ids=["all there", "no click", "no rich"])
def test_the_command(before):
    done = run("selftest", "--target", BEST, before=before)
    assert done.returncode == 0, done.stderr
    fma = engine.selftest(BEST)[1]
    assert done.stdout.split() == [BEST, selftest.expected(fma), *("with FMA" if fma else "without FMA").split(), "ok"]


def test_other_commands_still_want_their_packages():
    done = run("config", before="sys.modules['click'] = None")
    assert done.returncode == 2 and "pip install 'cybackprop[cli]'" in done.stderr


def test_a_difference_is_status_1(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "expected", lambda fma: "0" * 16)
    assert command_line(["selftest", "--target", BEST, "--sections"]) == 1
    printed = capsys.readouterr().out
    assert f"DIFFERENT: expected {'0' * 16}" in printed
    assert all(name in printed for name in engine.selftest(BEST)[2])


def test_an_unknown_option_is_status_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line(["selftest", "--sectoins"])
    assert stopped.value.code == 2
    assert "--sectoins" in capsys.readouterr().err
