"""The faces of a tensor: copies, weak references, the buffer protocol, operators from the left, repr."""

import copy
import pickle
import weakref

import numpy as np
import pytest

import cybackprop as cb


def leaf(*values):
    return cb.tensor(np.array(values), requires_grad=True)


@pytest.mark.parametrize("make", (lambda: cb.Parameter([1.0, 2.0]),
                                  lambda: cb.Parameter(np.ones((2, 2)), requires_grad=False),
                                  lambda: leaf(1.0), lambda: cb.arange(3), lambda: cb.tensor([True, False]),
                                  lambda: cb.zeros((0, 3)), lambda: cb.tensor(2.5), lambda: leaf(1.0) * 2))
@pytest.mark.parametrize("how", (lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy), ids=("pickle", "deepcopy"))
def test_copies(make, how):
    x = make()
    y = how(x)
    assert type(y) is type(x) and y.dtype == x.dtype and np.array_equal(y.numpy(), x.numpy())
    assert y.is_leaf and y.requires_grad == (x.requires_grad and x.is_leaf)
    assert not np.shares_memory(x.numpy(), y.numpy())
    twice = how([x, x])
    assert twice[0] is twice[1]


def test_weak_references():
    x = cb.Parameter([1.0])
    gone = []
    ref = weakref.ref(x, gone.append)
    assert ref() is x
    y = x * 2
    del x
    assert ref() is None and gone == [ref] and y.requires_grad


@pytest.mark.parametrize("dtype", ("float32", "float64", "int64", "bool"))
@pytest.mark.parametrize("shape", ((), (1,), (0,), (2, 3), (2, 0, 3), (2,) * 8))
def test_numpy_sees_the_same_memory_read_only(dtype, shape):
    t = cb.tensor(np.ones(shape, dtype))
    a = np.asarray(t)
    assert a.dtype == dtype and a.shape == shape and not a.flags.writeable and a.flags.c_contiguous
    assert t.size == 0 or np.shares_memory(a, np.asarray(t)) and np.shares_memory(a, t.numpy())
    view = memoryview(t)
    assert view.readonly and view.shape == shape and view.nbytes == t.nbytes == a.nbytes
    with pytest.raises(ValueError, match="read-only"):
        a[...] = 0
    with pytest.raises((ValueError, TypeError)):
        a.flags.writeable = True
    del t
    assert (a == 1).all()                # the array keeps the memory alive


def test_a_view_of_a_parameter_follows_it():
    w = cb.Parameter([1.0, 2.0])
    view = w.numpy()
    w.assign([3.0, 4.0])
    assert view.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("other", (np.array([1.0, 2.0], "f4"), np.float64(3), np.int64(2), 2, [1.0, 2.0]), ids=str)
def test_operators_from_the_left_give_tensors(other):
    t = cb.tensor([4.0, 5.0])
    a = np.asarray(other, "f4")
    for y, expected in ((other * t, a * [4, 5]), (other - t, a - [4, 5]), (other / t, a / [4, 5]),
                        (other ** t, a ** [4, 5]),
                        (t * other, a * [4, 5])):
        assert type(y) is cb.Tensor
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)
    if not isinstance(other, list):
        assert type(other < t) is cb.Tensor and type(other == t) is cb.Tensor


def test_repr():
    assert repr(cb.tensor([1.0, 2.0])) == "Tensor([1., 2.], dtype=float32)"
    assert repr(cb.tensor(3, requires_grad=False)) == "Tensor(3, dtype=int64)"
    assert repr(cb.Parameter([[1.0]])) == "Parameter([[1.]], dtype=float32)"
    assert "op=mul" in repr(leaf(1.0) * 2) and "requires_grad=True" in repr(leaf(1.0))
    assert len(repr(cb.zeros(10**6))) < 200
