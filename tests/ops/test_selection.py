"""What the table of structured ops can't say: argmax, ties, NaN, empty axes, huge logits, dtypes, dropout."""

import numpy as np
import pytest
import scipy.special

import cybackprop as cb

FLOATS = pytest.mark.parametrize("dtype", ("float32", "float64"))
NAN, INF = float("nan"), float("inf")


@FLOATS
@pytest.mark.parametrize("shape", ((1,), (5,), (17,), (3, 4), (2, 3, 5), (1, 1), (67, 33), (2, 0, 3)))
@pytest.mark.parametrize("keepdims", (False, True))
def test_argmax(dtype, shape, keepdims, rng):
    x = rng.integers(-3, 4, size=shape).astype(dtype)        # full of ties: the first one wins
    for axis in (None, *range(-len(shape), len(shape))):
        if 0 in shape and (axis is None or shape[axis] == 0):
            continue
        y = cb.argmax(x, axis=axis, keepdims=keepdims)
        assert y.dtype == np.int64
        assert np.array_equal(y.numpy(), np.argmax(x, axis=axis, keepdims=keepdims))


@FLOATS
def test_argmax_finds_the_first_nan(dtype):
    for place in range(40):
        x = np.arange(41.0, dtype=dtype)
        x[place] = x[min(place + 3, 40)] = NAN
        assert cb.argmax(x).item() == place
        assert np.isnan(cb.max(x).item()) and np.isnan(cb.min(x).item())
    assert cb.argmax(cb.tensor(np.array([-INF, -INF], dtype))).item() == 0


@FLOATS
@pytest.mark.parametrize("op, sign", ((cb.max, 1), (cb.min, -1)), ids=("max", "min"))
@pytest.mark.parametrize("axis", (None, 0, 1, (0, 1), ()))
def test_ties_share_the_gradient_equally(op, sign, axis, dtype, rng):
    x = rng.integers(0, 3, size=(6, 5)).astype(dtype)
    leaf = cb.tensor(x, requires_grad=True)
    y = op(leaf, axis=axis)
    g = rng.normal(size=y.shape).astype(dtype)
    y.backward(g)
    peak = sign * x == np.max(sign * x, axis=axis, keepdims=True)
    share = peak / np.sum(peak, axis=axis, keepdims=True)
    expected = share * (g.reshape(np.max(x, axis=axis, keepdims=True).shape))
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-6 if dtype == "float32" else 1e-15)
    t = rng.normal(size=x.shape).astype(dtype)
    moved = cb.jvp(lambda x: op(x, axis=axis), (cb.tensor(x),), (t,))[1]
    np.testing.assert_allclose(moved.numpy(), np.sum(share * t, axis=axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", (cb.max, cb.min, cb.argmax, cb.softmax, cb.log_softmax, cb.logsumexp))
@pytest.mark.parametrize("shape", ((0,), (3, 0)))
def test_an_empty_axis_has_no_extreme(op, shape):
    with pytest.raises(cb.ShapeError, match=r"empty.*0|0.*empty"):
        op(cb.zeros(shape), axis=-1)


def test_sums_of_nothing():
    x = cb.tensor(np.zeros((2, 0)), requires_grad=True)
    assert cb.sum(x, axis=1).tolist() == [0, 0] and cb.sum(x).item() == 0
    for op in (cb.mean, cb.var):
        assert np.isnan(op(x, axis=1).numpy()).all() and np.isnan(op(x).item()) and op(x, axis=0).shape == (0,)
    assert np.isinf(cb.var(cb.tensor([1.0, 2.0]), ddof=2).item()) and np.isnan(cb.var(cb.tensor([1.0]), ddof=1).item())
    cb.mean(x, axis=1).backward([1.0, 2.0])
    assert x.grad.shape == (2, 0)


@FLOATS
@pytest.mark.parametrize("row", ([1e4, -1e4, 0], [INF, 0, 1], [-INF, -INF, 2], [-INF, -INF, -INF], [5, 5, 5],
                                 [NAN, 0, 1],
                                 [-1e4, -1e4 + 1, -1e4]), ids=str)
def test_extreme_logits(row, dtype, quiet):
    """SciPy says what the functions are there."""
    x = np.array([row, [0.5, -1, 2]], dtype)
    wide = x.astype("float64")
    bound = {"rtol": 2e-6 if dtype == "float32" else 1e-14, "atol": 1e-30}
    np.testing.assert_allclose(cb.softmax(x).numpy(), scipy.special.softmax(wide, -1), **bound)
    np.testing.assert_allclose(cb.logsumexp(x, axis=-1).numpy(), scipy.special.logsumexp(wide, -1), **bound)
    if np.isfinite(row).all():
        np.testing.assert_allclose(cb.log_softmax(x).numpy(), scipy.special.log_softmax(wide, -1), **bound)
        leaf = cb.tensor(x, requires_grad=True)
        cb.log_softmax(leaf).backward(np.array([[0.3, 0, -2], [1, 2, 0]], dtype))
        assert np.isfinite(leaf.grad.numpy()).all()


@pytest.mark.parametrize("source", ("float32", "float64", "int64", "bool"))
@pytest.mark.parametrize("goal", ("float32", "float64", "int64", "bool"))
def test_astype(source, goal):
    x = np.array([[0, 1, 1], [1, 0, 0]]).astype(source)
    y = cb.tensor(x).astype(goal)
    assert y.dtype == goal and np.array_equal(y.numpy(), x.astype(goal))


@pytest.mark.parametrize("source, goal", (("float32", "float64"), ("float64", "float32")))
def test_gradients_pass_a_cast_and_are_rounded_once(source, goal, rng):
    x, g = rng.normal(size=7).astype(source), rng.normal(size=7).astype(goal)
    leaf = cb.tensor(x, requires_grad=True)
    leaf.astype(goal).backward(g)
    assert leaf.grad.dtype == source and np.array_equal(leaf.grad.numpy(), g.astype(source))
    t = rng.normal(size=7).astype(source)
    assert np.array_equal(cb.jvp(lambda x: cb.astype(x, goal), (cb.tensor(x),), (t,))[1].numpy(), t.astype(goal))
    second = cb.grad(lambda x: cb.sum(cb.grad(lambda x: cb.sum(x.astype(goal) ** 3))(x)))(cb.tensor(x))
    np.testing.assert_allclose(second.numpy(), 6 * x.astype("float64"), rtol=1e-5)
    assert not cb.tensor(x, requires_grad=True).astype("int64").requires_grad


@FLOATS
@pytest.mark.parametrize("p", (0.1, 0.5, 0.9))
def test_dropout(p, dtype, rng):
    x, g = rng.normal(size=(300, 41)).astype(dtype), rng.normal(size=(300, 41)).astype(dtype)
    leaf = cb.tensor(x, requires_grad=True)
    y = cb.dropout(leaf, p, rng=5)
    dropped = y.numpy() == 0
    share, deviation = dropped.mean(), np.sqrt(p * (1 - p) / x.size)
    assert abs(share - p) < 5 * deviation
    assert abs(dropped[:, :-1] * 1.0 - p)[dropped[:, 1:]].mean() == pytest.approx(
        (1 - p) * p + p * (1 - p), abs=0.02)             # a neighbour tells nothing
    scale = np.where(dropped, 0, 1 / (1 - p))
    np.testing.assert_allclose(y.numpy(), x * scale, rtol=1e-6)
    y.backward(g)
    np.testing.assert_allclose(leaf.grad.numpy(), g * scale, rtol=1e-6)
    assert np.array_equal(cb.dropout(x, p, rng=5).numpy(), y.numpy())
    assert not np.array_equal(cb.dropout(x, p, rng=6).numpy(), y.numpy())
    moved = cb.jvp(lambda x: cb.dropout(x, p, rng=5), (cb.tensor(x),), (g,))[1]
    assert np.array_equal(moved.numpy(), leaf.grad.numpy())


@pytest.mark.parametrize("dtype", ("float32", "float64", "int64", "bool"))
@pytest.mark.parametrize("shapes", (((7,), (7,), (7,)), ((3, 1), (), (4,)), ((), (5,), ()), ((), (), ()),
                                    ((0,), (1,), ())))
def test_where_on_every_dtype(dtype, shapes, rng):
    c = rng.random(shapes[0]) < 0.5
    a, b = (rng.integers(0, 2, size=s).astype(dtype) for s in shapes[1:])
    y = cb.where(c, cb.tensor(a), cb.tensor(b))
    assert y.dtype == dtype and np.array_equal(y.numpy(), np.where(c, a, b))


def test_where_gives_the_dead_branch_exactly_zero():
    x = cb.tensor([0.0, 4.0, -1.0], requires_grad=True)
    cb.sum(cb.where(x > 0, cb.log(x) * cb.sqrt(x), 0)).backward()
    assert x.grad.numpy()[[0, 2]].tolist() == [0, 0] and x.grad.numpy()[1] == pytest.approx(np.log(4) / 4 + 0.5)


@FLOATS
@pytest.mark.parametrize("shape", ((1,), (5,), (3, 4), (2, 3, 5), (2, 0, 3)))
def test_argmin_any_all(shape, dtype, rng):
    x = rng.integers(-1, 2, size=shape).astype(dtype)
    x[x > 0] = rng.choice([1, NAN, INF], size=(x > 0).sum())
    for axis in (None, *range(-len(shape), len(shape))):
        for keep in (False, True):
            for f in (cb.any, cb.all):
                assert np.array_equal(f(x, axis, keep).numpy(), getattr(np, f.__name__)(x, axis, keepdims=keep))
            if 0 not in shape:
                assert np.array_equal(cb.argmin(x, axis, keep).numpy(), np.argmin(x, axis, keepdims=keep))


@FLOATS
def test_what_is_finite(dtype):
    x = np.array([0, -0.0, 1, -1, INF, -INF, NAN, np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal], dtype)
    for f, wanted in ((cb.isnan, np.isnan), (cb.isinf, np.isinf), (cb.isfinite, np.isfinite)):
        leaf = cb.tensor(x, requires_grad=True)
        assert np.array_equal(f(leaf).numpy(), wanted(x)) and not f(leaf).requires_grad
        assert np.array_equal(getattr(leaf, f.__name__)().numpy(), wanted(x))
        for other in ([1, -2], [True, False]):
            assert np.array_equal(f(cb.tensor(other)).numpy(), wanted(other))


@FLOATS
def test_std_of_equal_values_has_the_derivative_0(dtype):
    x = cb.tensor(np.array([[2, 2, 2], [1, 2, 3]], dtype), requires_grad=True)
    y = cb.std(x, axis=1)
    cb.sum(y).backward(create_graph=True)
    assert y.numpy()[0] == 0 and x.grad.numpy()[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(x.grad.numpy()[1], np.array([-1, 0, 1]) / 3 / np.std([1, 2, 3]), rtol=1e-6)
    second = cb.grad(lambda x: cb.sum(cb.grad(lambda x: cb.sum(cb.std(x, 1)))(x)[:, 0]))(x.detach())
    assert np.isfinite(second.numpy()).all() and second.numpy()[0].tolist() == [0, 0, 0]
    moved = cb.jvp(lambda x: cb.std(x, 1), (x.detach(),), (np.ones((2, 3), dtype),))[1]
    assert moved.numpy()[0] == 0
    assert np.isnan(cb.std(cb.tensor([1.0, NAN])).item()) and np.isnan(cb.std(cb.tensor([1.0]), ddof=1).item())
    assert np.isinf(cb.var(cb.tensor([1.0, 2.0]), ddof=5).item())           # divided by 0, as in NumPy


@FLOATS
def test_cumsum_is_one_chain_from_the_first_element_on(dtype, rng):
    x = rng.normal(size=(3, 2000, 2)).astype(dtype)
    y = cb.cumsum(x, 1).numpy()
    total = np.zeros((3, 2), dtype)
    for k in range(2000):
        total = total + x[:, k] if k else x[:, 0]
        assert np.array_equal(y[:, k], total)
    alone = np.stack([cb.cumsum(x[1, :, n]).numpy() for n in range(2)], 1)
    assert np.array_equal(alone, y[1])
