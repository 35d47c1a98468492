"""Fixtures of all tests."""

import sys
from pathlib import Path

import numpy as np
import pytest

from cybackprop._core import engine

sys.path.insert(0, str(Path(__file__).parent))       # references.py and samples.py, which tests import


@pytest.fixture
def rng():
    """NumPy's generator, the same for every test."""
    return np.random.default_rng(20240607)


@pytest.fixture(params=engine.runnable_targets())
def target(request):
    """Run the test on each instruction set of this machine."""
    engine.select_kernels(request.param)
    yield request.param
    engine.select_kernels("")


@pytest.fixture
def quiet():
    """NumPy without warnings, for expectations that overflow or divide by zero on purpose."""
    with np.errstate(all="ignore"):
        yield
