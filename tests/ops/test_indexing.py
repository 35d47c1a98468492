"""x[key] on hundreds of random keys, valid and not, with its gradient; take, gather and one_hot at their edges."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cybackprop as cb

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NUMBERS = st.integers(-6, 6)
BOUNDS = st.none() | NUMBERS
STEPS = st.sampled_from((None, 1, 2, 3, -1, -2, -7))
BASIC = st.one_of(st.integers(-3, 3), st.builds(slice, BOUNDS, BOUNDS, STEPS), st.none(), st.just(Ellipsis))
ARRAYS = hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3), elements=st.integers(-2, 2))


@st.composite
def cases(draw):
    """A shape and a key; most keys fit, some don't: then both libraries must say so."""
    shape = draw(SHAPES)
    key = draw(st.lists(BASIC, max_size=len(shape) + 1))
    extra = draw(st.sampled_from(("", "", "ints", "list", "mask", "two", "bool", "many", "many")))
    place = draw(st.integers(0, len(key)))
    if extra == "mask" and shape:
        axes = draw(st.integers(1, len(shape)))
        key = [draw(hnp.arrays(bool, shape[:axes])), *key[:len(shape) - axes]]
    elif extra in ("ints", "two"):
        key[place:place + 1] = [draw(ARRAYS)]
        key += [draw(ARRAYS)] * (extra == "two")
    elif extra == "list":
        key[place:place + 1] = [draw(st.lists(st.integers(-2, 2), min_size=1, max_size=3))]
    elif extra == "bool":
        key.insert(place, draw(st.booleans()))
    elif extra == "many":                # arrays, numbers, bools and what parts them, in any order
        key = draw(st.lists(st.one_of(BASIC, ARRAYS, st.booleans()), max_size=len(shape) + 1))
    return shape, key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(cases())
@example(((5, 2), slice(None, None, -(2**63) + 1)))
@example(((2, 3), 10**30))
@example(((), ()))
@example(((), Ellipsis))
@example(((), True))
def test_same_elements_or_same_refusal_as_numpy(case):
    shape, key = case
    rng = np.random.default_rng(3)
    x = rng.normal(size=shape)
    leaf = cb.tensor(x, requires_grad=True)
    try:
        expected = x[key]
    except IndexError:
        with pytest.raises(IndexError):
            leaf[key]
        return
    y = leaf[key]
    assert y.shape == np.shape(expected)
    assert np.array_equal(y.numpy(), expected)
    g = rng.normal(size=y.shape)
    y.backward(g)
    dx = np.zeros(shape)
    np.add.at(dx, key, g)                # elements that were read twice add up
    np.testing.assert_allclose(leaf.grad.numpy(), dx, rtol=0, atol=1e-14)
    places = np.arange(x.size).reshape(shape)
    assert np.array_equal(cb.tensor(places)[key].numpy(), places[key])
    keys = key if isinstance(key, tuple) else (key,)
    tensors = tuple(cb.tensor(k) if isinstance(k, np.ndarray) else k for k in keys)
    assert np.array_equal(cb.tensor(places)[tensors].numpy(), places[key])


@pytest.mark.parametrize("key", ([], ([],), (slice(None), []), slice(None, None, 10**30),
                                 slice(10**30, None, -10**30)), ids=str)
def test_empty_lists_and_huge_steps(key):
    x = np.arange(6.0).reshape(2, 3)
    y = cb.tensor(x)[key]
    assert y.shape == x[key].shape and np.array_equal(y.numpy(), x[key])


def test_tensors_index_too(rng):
    x = rng.normal(size=(4, 3))
    t = cb.tensor(x)
    assert np.array_equal(t[cb.tensor([2, 0, 2])].numpy(), x[[2, 0, 2]])
    assert np.array_equal(t[cb.tensor(3)].numpy(), x[3])
    assert np.array_equal(t[t > 0].numpy(), x[x > 0])
    assert np.array_equal(t[cb.tensor([1, 2]), cb.tensor([0, -1])].numpy(), x[[1, 2], [0, -1]])


ONE = cb.tensor([0])
UNFIT = [
    ((cb.tensor([0, 1]), cb.tensor([1, 2, 0])), IndexError, r"\(2,\), \(3,\) do not broadcast \(shape \(6, 4, 3\)\)"),
    (cb.tensor([0.5]), cb.DTypeError, "float32"), (np.array([1j]), cb.DTypeError, "complex"),
    ((ONE, 7), IndexError, r"7 is outside axis 1 of length 4 \(shape \(6, 4, 3\)\)"),
    ((ONE, 10**30), IndexError, "outside axis 1"), ((..., ONE, ...), IndexError, "only one Ellipsis"),
    ((0, 0, 0, ONE), IndexError, r"4 indices.*\(6, 4, 3\)"),
    (cb.tensor([True] * 5), IndexError, r"mask of shape \(5,\) does not fit shape \(6, 4, 3\) from axis 0 on"),
    ((0, cb.tensor(np.ones((3, 3), bool))), IndexError, r"mask of shape \(3, 3\).*from axis 1"),
    (cb.zeros((1,) * 7, "int64"), cb.ShapeError, "9 axes"), ((ONE, 1.5), IndexError, "1.5 can't index"),
    ((ONE, "a"), IndexError, "'a' can't index"), (np.array([2**63], "uint64"), cb.DTypeError, r"2\*\*63"),
    (cb.tensor([[5, 1], [-7, 6]]), IndexError, r"index -7 at place 2.* \[-6, 6\), axis 0 of shape \(6, 4, 3\)"),
]


@pytest.mark.parametrize("key, error, message", UNFIT, ids=str)
def test_what_is_said_of_keys_that_do_not_fit(key, error, message):
    with pytest.raises(error, match=message):
        cb.zeros((6, 4, 3))[key]


@pytest.mark.parametrize("bad, error", [(1.5, IndexError), ("a", IndexError), ([0.5], TypeError),
                                        (np.ones(3), TypeError),
                                        ((0, 0, 0), IndexError), (4, IndexError), ((..., ...), IndexError)], ids=str)
def test_keys_that_cannot_index(bad, error):
    x = cb.zeros((3, 2))
    with pytest.raises(error, match="index"):
        x[bad]


def test_a_result_of_too_many_axes_is_refused():
    with pytest.raises(cb.ShapeError, match="8"):
        cb.zeros((2,))[(None,) * 8]
    with pytest.raises(cb.ShapeError, match="8"):
        cb.take(cb.zeros((2,) * 5), np.zeros((1,) * 5, int))
    with pytest.raises(cb.ShapeError, match="8"):
        cb.one_hot(np.zeros((1,) * 8, int), 3)


@pytest.mark.parametrize("op", (lambda x: cb.take(x, []), lambda x: cb.gather(x, np.zeros((0, 3), int), 0),
                                lambda x: cb.take(x, [], axis=1), lambda x: cb.take(x, np.zeros((0, 2), "int8"))))
def test_no_places_give_an_empty_result_and_a_zero_gradient(op):
    x = cb.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = op(x)
    assert y.size == 0
    cb.sum(y).backward()
    assert np.array_equal(x.grad.numpy(), np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", ("int8", "uint8", "int16", "uint32", ">i4", "int64"))
def test_places_of_any_integer_dtype(dtype):
    x = cb.arange(5)
    places = np.array([4, 0, 2], dtype)
    assert cb.take(x, places).tolist() == cb.gather(x, places).tolist() == x[places].tolist() == [4, 0, 2]


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("shape", ((), (1,), (5,), (0,), (2, 3), (2, 0)))
def test_one_hot(dtype, shape, rng):
    index = rng.integers(0, 7, size=shape)
    y = cb.one_hot(index, 7, dtype=dtype)
    assert y.dtype == dtype and not y.requires_grad
    assert np.array_equal(y.numpy(), np.eye(7, dtype=dtype)[index])


@pytest.mark.parametrize("index, classes", [([3], 3), ([-1], 3), ([0, 1, 2**40], 5), ([0], 0), ([0], -1)])
def test_one_hot_refuses_classes_outside(index, classes):
    with pytest.raises(IndexError, match=rf"one_hot.*\[0, {classes}\)"):
        cb.one_hot(index, classes)
