"""Warnings of compiled functions: what they say, and of which line."""

import inspect
import warnings

import numpy as np
import pytest

import cybackprop as cb

X = np.array([1.0, 2.0])
STEPS = [0]


def counting(x):
    STEPS[0] += 1
    return x * 2


def reading(x):
    return x / x.max().item()


def appending(x, more):
    more.append(x)
    return x * 2


# name: function, arguments of its calls, what the warning names
WARNED = {
    "a change that the call makes": (counting, [(X,)] * 3, "`STEPS` was changed by the call; make it a cb.State"),
    "a value that is read": (reading, [(X,)] * 3, "`item` reads the value of a tensor at "),
    "numbers that change": (lambda x, k: x * k, [(X, 0.5 * k) for k in range(10)], "over as arrays or tensors"),
}


def warned_by(compiled, calls):
    """[(warning, line of the call)]"""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for arguments in calls:
            compiled(*arguments); line = inspect.currentframe().f_lineno             # noqa: E702
    return [(w, line) for w in seen]


@pytest.mark.parametrize("name", WARNED)
def test_a_warning_comes_once_and_names_the_line_of_the_call(name):
    function, calls, what = WARNED[name]
    compiled = cb.compile(function)
    (warning, line), = warned_by(compiled, calls)
    assert warning.category is RuntimeWarning and what in str(warning.message)
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_an_eager_call_tells_of_a_container_that_it_changes_for_itself():
    compiled, mine = cb.compile(appending), [X]
    with cb.eager():
        (warning, line), = warned_by(compiled, [(X, mine), (X, mine)])
    assert "changes a container among its arguments" in str(warning.message) and len(mine) == 1
    assert (warning.filename, warning.lineno) == (__file__, line)
