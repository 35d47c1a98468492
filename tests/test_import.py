"""Importing is cheap and leaves no trace: no thread, no change of rounding, no optional package."""

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_thread_is_started():
    assert run("import cybackprop, threading, os; print(len(os.listdir('/proc/self/task')))") == \
        run("import numpy, threading, os; print(len(os.listdir('/proc/self/task')))")


def test_extras_are_not_imported():
    extras = ["click", "rich", "matplotlib", "sklearn", "scipy", "torch", "threadpoolctl", "cybackprop.cli"]
    assert run(f"import cybackprop, sys; print([m for m in {extras} if m in sys.modules])") == "[]"


def test_what_few_programs_need_is_imported_when_they_need_it():
    """What files, data and the command line need: each, or what it brings along, takes a millisecond."""
    late = ["argparse", "concurrent.futures", "csv", "dataclasses", "difflib", "importlib.abc", "importlib.resources",
            "json", "logging", "multiprocessing", "random", "shutil", "subprocess", "tempfile", "unittest",
            "cybackprop.data", "cybackprop.io.packing", "cybackprop.selftest", "cybackprop.transforms.affine",
            "cybackprop.transforms.jobs", "cybackprop.transforms.naming"]
    code = "import numpy, sys; before = set(sys.modules); import cybackprop; " \
           f"print([m for m in {late} if m in sys.modules and m not in before])"
    assert run(code) == "[]"


def test_subnormals_stay_as_they_were():
    code = "import numpy as np; x = np.float32(1e-40); import cybackprop as cb; " \
           "cb.tanh(cb.ones(100000)); cb.ones((64, 64)) @ cb.ones((64, 64)); print(x * np.float32(1) == x, x != 0)"
    assert run(code) == "True True"


def test_public_names_are_importable_and_documented():
    code = "import cybackprop as cb; from cybackprop.ops.registry import public_functions as p; " \
           "print([n for n in p if not getattr(cb, n).__doc__])"
    assert run(code) == "[]"
