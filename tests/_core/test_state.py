"""State: a tensor that changes in place."""

import copy
import pickle

import numpy as np
import pytest

import cybackprop as cb


@pytest.mark.parametrize(("data", "dtype", "expected"), [
    (0, None, "int64"), (0.5, None, "float32"), ([1.0, 2.0], "float64", "float64"), ([True, False], None, "bool")])
def test_holds_every_dtype(data, dtype, expected):
    state = cb.State(data, dtype)
    assert state.dtype == expected and not state.requires_grad
    np.testing.assert_array_equal(state.numpy(), np.asarray(data, expected))


def test_assign_takes_tensors_arrays_and_numbers_in_its_own_dtype():
    state = cb.State([1, 2], "float64")
    for i, values in enumerate(([3, 4], np.array([5.0, 6.0], np.float32), cb.tensor([7.0, 8.0])), start=1):
        state.assign(values)
        np.testing.assert_array_equal(state.numpy(), np.asarray(values))
        assert state.version == i and state.dtype == "float64"


def test_what_was_made_of_it_stays():
    state = cb.State([1.0])
    twice = state * 2
    state.assign([5.0])
    assert twice.tolist() == [2.0] and (state * 2).tolist() == [10.0]


def test_a_record_that_kept_it_notices_the_change():
    state, x = cb.State([2.0]), cb.tensor([3.0], requires_grad=True)
    y = (state * x).sum()
    state.assign(state + 1)
    with pytest.raises(cb.TapeError, match="version 0, but it is at version 1"):
        y.backward()


@pytest.mark.parametrize("values", [[1.0, 2.0], cb.tensor([1.0, 2.0]), 1.0])
def test_another_shape_is_refused_and_nothing_written(values):
    state = cb.State([9.0])
    with pytest.raises(cb.ShapeError, match="the state has shape"):
        state.assign(values)
    assert state.tolist() == [9.0] and state.version == 0


@pytest.mark.parametrize("values", [[1.5], cb.tensor([1.5]), ["a"]])
def test_a_counter_takes_no_fractions(values):
    state = cb.State([1])
    with pytest.raises(cb.DTypeError, match="assign"):
        state.assign(values)
    assert state.tolist() == [1]


def test_copies_are_their_own():
    state = cb.State([1, 2])
    for twin in (copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        twin.assign([3, 4])
        assert type(twin) is cb.State and state.tolist() == [1, 2]


def test_its_value_is_given_once():
    state = cb.State(1)
    with pytest.raises(TypeError, match="has its value"):
        state.__init__(2)
