"""The digits that ship with the package are those of the UCI repository."""

import doctest
import importlib
import pathlib

import numpy as np
import sklearn.datasets

from cybackprop.data import digits

MODULE = importlib.import_module("cybackprop.data.digits")  # the function hides it from an import statement


def test_same_as_scikit_learn_s():
    X, y = digits()
    theirs = sklearn.datasets.load_digits()
    assert (X.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(X * 16, theirs.data)
    np.testing.assert_array_equal(y, theirs.target)


def test_each_call_gives_new_arrays():
    digits()[0][:] = -1
    assert digits()[0].min() == 0


def test_small_and_credited():
    folder = pathlib.Path(MODULE.__file__).parent
    assert (folder / "digits.npz").stat().st_size <= 45_000
    assert "CC BY 4.0" in (folder / "DIGITS-LICENSE.txt").read_text()


def test_docstring():
    assert doctest.testmod(MODULE).failed == 0
