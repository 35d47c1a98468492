"""grad, value_and_grad, vjp, jvp: arguments, nests, results, modes."""

import numpy as np
import pytest

import cybackprop as cb


def f64(*values):
    return cb.tensor(np.array(values))


def test_value_and_gradient_of_a_known_function():
    value, slope = cb.value_and_grad(lambda x: cb.sum(x ** 3))(f64(1.0, -2.0))
    assert value.item() == -7.0 and slope.tolist() == [3.0, 12.0]
    assert not value.requires_grad and not slope.requires_grad and slope.dtype == "float64"


@pytest.mark.parametrize("argument", (2.0, np.float32(2), np.array(2.0), np.array([[2.0]]), [2.0], cb.tensor(2.0)),
                         ids=repr)
def test_arguments_of_any_kind(argument):
    slope = cb.grad(lambda x: cb.sum(x * x * 3))(argument)
    assert slope.numpy().ravel().tolist() == [12.0] and slope.shape == np.shape(argument)


def test_argnums():
    def f(a, b, c):
        return cb.sum(a * b + c * c * b)

    a, b, c = f64(2.0), f64(3.0), f64(5.0)
    expected = (3.0, 2.0 + 25.0, 30.0)
    for n in (0, 1, 2, -1):
        assert cb.grad(f, argnums=n)(a, b, c).item() == expected[n]
    for numbers in ((0, 2), [2, 0], (1,), (-1, 0)):
        got = cb.grad(f, argnums=numbers)(a, b, c)
        assert type(got) is tuple and [g.item() for g in got] == [expected[n] for n in numbers]
    assert [g.item() for g in cb.grad(f, argnums=(0, 1))(a, b, c=c)] == list(expected[:2])
    for bad in (3, -4, (0, 5)):
        with pytest.raises(TypeError, match="argnums"):
            cb.grad(f, argnums=bad)(a, b, c)
    with pytest.raises(TypeError):
        cb.grad(f, argnums=(0, 0))(a, b, c)


def test_nests_come_back_as_nests():
    params = {"w": f64(2.0, 3.0), "layers": [(f64(1.0), {"deep": f64(4.0)}), []], "unused": f64(9.0, 9.0)}

    def f(p, x):
        (a, inner), _ = p["layers"]
        return cb.sum(p["w"] * x) * cb.sum(a * inner["deep"] ** 2)

    got = cb.grad(f)(params, f64(5.0, 7.0))
    assert list(got) == ["w", "layers", "unused"]
    assert got["w"].tolist() == [5 * 16.0, 7 * 16.0] and got["unused"].tolist() == [0.0, 0.0]
    (a, inner), empty = got["layers"]
    assert type(got["layers"][0]) is tuple and empty == []
    assert a.tolist() == [31 * 16.0] and inner["deep"].tolist() == [31 * 8.0]


def test_has_aux():
    def f(x):
        return cb.sum(x * x), {"seen": x.shape, "twice": x * 2}

    slope, aux = cb.grad(f, has_aux=True)(f64(3.0))
    assert slope.tolist() == [6.0] and aux["seen"] == (1,) and aux["twice"].tolist() == [6.0]
    (value, aux), slope = cb.value_and_grad(f, has_aux=True)(f64(3.0))
    assert value.item() == 9.0 and slope.tolist() == [6.0]
    y, pull, aux = cb.vjp(f, f64(3.0), has_aux=True)
    assert y.item() == 9.0 and pull(0.5)[0].tolist() == [3.0] and aux["seen"] == (1,)
    y, t, aux = cb.jvp(f, (f64(3.0),), (f64(0.5),), has_aux=True)
    assert y.item() == 9.0 and t.item() == 3.0 and aux["seen"] == (1,)


CONSTANT = cb.tensor(np.array(4.0))


@pytest.mark.parametrize("f, expected", [
    (lambda x: CONSTANT, [0.0, 0.0]), (lambda x: CONSTANT * 2, [0.0, 0.0]),
    (lambda x: cb.sum(x.detach() ** 2), [0.0, 0.0]),
    (lambda x: cb.sum(x) * 0, [0.0, 0.0]), (lambda x: cb.sum(cb.where(x > 100, x, 0)), [0.0, 0.0]),
    (lambda x: x[1], [0.0, 1.0]),
    (lambda x: cb.sum(cb.zeros((0,), dtype="float64") * x[:0]), [0.0, 0.0])], ids=range(7))
def test_functions_that_ignore_their_input(f, expected):
    x = f64(2.0, 3.0)
    assert cb.grad(f)(x).tolist() == expected
    y, t = cb.jvp(f, (x,), (f64(0.3, 0.7),))
    assert t.item() == pytest.approx(np.dot(expected, [0.3, 0.7])) and t.shape == y.shape and t.dtype == y.dtype
    y, pull = cb.vjp(f, x)
    assert pull(np.full(y.shape, 2.5))[0].tolist() == [2.5 * e for e in expected]
    assert cb.grad(lambda x: cb.sum(cb.grad(f)(x) * x))(x).tolist() == expected


def test_functions_that_return_their_input():
    x = f64(2.0)
    y, pull = cb.vjp(lambda x: x, x)
    assert pull([3.0])[0].tolist() == [3.0] and y.tolist() == [2.0]
    (a, b), pull = cb.vjp(lambda x: (x, x), x)
    assert pull(([3.0], [4.0]))[0].tolist() == [7.0]
    assert cb.jvp(lambda x: x, (x,), ([5.0],))[1].tolist() == [5.0]
    assert cb.grad(lambda x: x)(x).tolist() == [1.0]


@pytest.mark.parametrize("bad", (3, [1, 2], np.arange(3), cb.arange(3), True, {"a": 1}, (1.0, 2)), ids=repr)
def test_integers_take_no_derivative(bad):
    for act in (lambda: cb.grad(lambda x: cb.ones(()))(bad), lambda: cb.vjp(lambda x: cb.ones(()), bad),
                lambda: cb.jvp(lambda x: cb.ones(()), (bad,), (bad,))):
        with pytest.raises(cb.DTypeError, match="float32 or float64"):
            act()


def test_several_outputs():
    def f(a, b):
        return {"sum": a + b, "rest": (a * b, [cb.tanh(a)])}

    a, b, ta, tb = 0.4, 2.0, 0.3, -1.5
    y, t = cb.jvp(f, (f64(a), f64(b)), (f64(ta), f64(tb)))
    assert y["rest"][0].item() == a * b
    assert t["sum"].item() == ta + tb
    assert t["rest"][0].item() == pytest.approx(ta * b + a * tb)
    assert t["rest"][1][0].item() == pytest.approx(ta * (1 - np.tanh(a) ** 2))
    y, pull = cb.vjp(f, f64(a), f64(b))
    da, db = pull({"sum": [2.0], "rest": ([0.0], [[3.0]])})
    assert da.item() == pytest.approx(2 + 3 * (1 - np.tanh(a) ** 2)) and db.item() == 2.0


def test_outputs_that_lead_to_one_another():
    def f(x):
        y = cb.tanh(x)
        return y, y * y, y.reshape(1, 1)

    x, t = f64(0.7), np.tanh(0.7)
    _, pull = cb.vjp(f, x)
    got = pull((f64(1.0), f64(10.0), f64([100.0])))[0].item()
    assert got == pytest.approx((1 + 20 * t + 100) * (1 - t * t), rel=1e-14)


def test_a_pull_works_again_and_again(rng):
    x = rng.normal(size=(3, 2))
    y, pull = cb.vjp(lambda x: cb.tanh(x @ x.T), cb.tensor(x))
    g, h = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    first, other, again, both = pull(g)[0], pull(h)[0], pull(g)[0], pull(g + h)[0]
    assert first.numpy().tobytes() == again.numpy().tobytes()
    np.testing.assert_allclose(both.numpy(), first.numpy() + other.numpy(), rtol=1e-12)


def test_under_no_grad():
    with cb.no_grad():
        assert cb.grad(lambda x: cb.sum(x ** 3))(f64(2.0)).tolist() == [12.0]
        assert cb.grad(cb.grad(lambda x: cb.sum(x ** 3)))(f64(2.0)).tolist() == [12.0]
        assert cb.jvp(cb.square, (f64(2.0),), (f64(0.5),))[1].tolist() == [2.0]
        y, pull = cb.vjp(cb.square, f64(2.0))
        assert not y.requires_grad and not cb.is_grad_enabled()
    assert pull([0.5])[0].tolist() == [2.0]
    assert cb.grad(cb.no_grad(lambda x: cb.sum(x * x)))(f64(2.0)).tolist() == [0.0]
    with pytest.raises(ZeroDivisionError):
        cb.grad(lambda x: 1 / 0)(f64(2.0))
    assert cb.is_grad_enabled()


def test_leaves_outside_get_no_grad_unless_backward_is_called():
    w = cb.Parameter(np.array([3.0]))
    slope = cb.grad(lambda x: cb.sum(w * x * x))(f64(2.0))
    assert slope.tolist() == [12.0] and w.grad is None and slope.requires_grad
    slope.backward([10.0])               # d (2 w x) / dw = 2 x
    assert w.grad.tolist() == [40.0]
    value = cb.value_and_grad(lambda x: cb.sum(w * x))(f64(2.0))[0]
    value.backward()
    assert w.grad.tolist() == [42.0]


def test_recorded_arguments_are_links_of_a_longer_chain():
    x = cb.tensor(np.array([2.0]), requires_grad=True)
    for make, value, slope in (
            (lambda y: cb.grad(lambda t: cb.sum(t ** 3))(y), 108.0, 108.0),          # 3 y^2 = 27 x^2
            (lambda y: cb.jvp(cb.square, (y,), (x,))[1], 24.0, 24.0),                # 2 (3 x) x
            (lambda y: cb.vjp(cb.square, y)[1](x)[0], 24.0, 24.0)):                  # the cotangent is recorded too
        x.grad = None
        result = make(x * 3)
        result.backward([1.0])
        assert result.tolist() == [value] and x.grad.tolist() == [slope]


def test_what_the_function_keeps_can_be_swept_by_nobody_else(rng):
    """Hooks and retain_grad inside a transform see finished cotangents; nothing is left in .grad of its inputs."""
    x, seen = f64(2.0), []

    def f(t):
        h = t * t
        h.register_hook(lambda g: seen.append(g.item()))
        return cb.sum(h * 5)

    assert cb.grad(f)(x).tolist() == [20.0] and seen == [5.0] and x.grad is None


def test_tangents_and_cotangents_follow_the_structure_of_what_they_belong_to():
    x, numbers = cb.zeros((2, 2)), [[1.0, 2.0], [3.0, 4.0]]
    assert cb.jvp(cb.exp, (x,), (numbers,))[1].tolist() == numbers
    assert cb.vjp(cb.exp, x)[1](numbers)[0].tolist() == numbers
    assert cb.vjp(lambda x: (cb.exp(x), x * 2), x)[1]((numbers, numbers))[0].tolist() == [[3.0, 6.0], [9.0, 12.0]]
