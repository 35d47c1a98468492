"""int64 and bool: every row of integer.def, comparisons, logic, sums; what wraps, what is floored, what is refused; in
compiled and saved programs, too.  NumPy is the oracle where it wraps, Python's integers elsewhere."""

import operator

import numpy as np
import pytest

import cybackprop as cb

LOW, HIGH = -2 ** 63, 2 ** 63 - 1
EDGES = (LOW, LOW + 1, -2 ** 31, -7, -3, -2, -1, 0, 1, 2, 3, 7, 2 ** 31, HIGH - 1, HIGH)
BOOLS = np.array([True, True, False, False]), np.array([True, False, True, False])


def wrapped(n):
    """An integer's 64 bits, as int64."""
    return (n - LOW) % 2 ** 64 + LOW


ROWS = {                                 # Python's integers, which never overflow
    "add": operator.add, "sub": operator.sub, "mul": operator.mul,
    "floor_divide": lambda a, b: a // b if b else 0, "remainder": lambda a, b: a % b if b else 0,
    "maximum": max, "minimum": min, "bitwise_and": operator.and_, "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
}
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
OPERATORS = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "floor_divide": operator.floordiv,
             "remainder": operator.mod, "bitwise_and": operator.and_, "bitwise_or": operator.or_,
             "bitwise_xor": operator.xor}


def pairs():
    a, b = (x.ravel() for x in np.meshgrid(np.array(EDGES), np.array(EDGES)))
    return a, b


@pytest.mark.parametrize("name", ROWS)
def test_values(name):
    a, b = pairs()
    wanted = [wrapped(ROWS[name](x, y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    y = getattr(cb, name)(cb.tensor(a), cb.tensor(b))
    assert y.dtype == np.int64 and y.tolist() == wanted
    if name in OPERATORS:
        assert OPERATORS[name](cb.tensor(a), cb.tensor(b)).tolist() == wanted
        assert OPERATORS[name](cb.tensor(a), b).tolist() == wanted
        assert OPERATORS[name](a, cb.tensor(b)).tolist() == wanted
    for k in (0, 6, 7, 14):              # one number on either side
        x = EDGES[k]
        assert getattr(cb, name)(cb.tensor(np.array(EDGES)), x).tolist() == [wrapped(ROWS[name](e, x)) for e in EDGES]
        assert getattr(cb, name)(x, cb.tensor(np.array(EDGES))).tolist() == [wrapped(ROWS[name](x, e)) for e in EDGES]


def test_powers():
    a = np.array([e for e in EDGES for _ in range(66)])
    b = np.array(list(range(66)) * len(EDGES))
    wanted = [wrapped(x ** y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert (cb.tensor(a) ** cb.tensor(b)).tolist() == wanted
    assert (cb.tensor(3) ** HIGH).item() == wrapped(pow(3, HIGH, 2 ** 64))
    for n in (0, 1, 2, 3, 5):
        assert (cb.tensor(np.array(EDGES)) ** n).tolist() == [wrapped(e ** n) for e in EDGES]
    assert (2 ** cb.tensor([0, 1, 62])).tolist() == [1, 2, 2 ** 62]
    half = cb.tensor([4, 9]) ** 0.5
    assert half.dtype == "float32" and half.tolist() == [2, 3] and (cb.tensor([2, 4]) ** -1.0).tolist() == [0.5, 0.25]


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name):
    a, b = pairs()
    f = getattr(np, name)
    assert np.array_equal(getattr(cb, name)(cb.tensor(a), cb.tensor(b)).numpy(), f(a, b))
    assert np.array_equal(getattr(cb, name)(cb.tensor(a), 0.5).numpy(), f(a, 0.5))
    assert np.array_equal(getattr(cb, name)(cb.tensor(2 ** 24 + 1), 2.0 ** 24).numpy(), f(2 ** 24 + 1, 2 ** 24))
    for x, y in ((True, True), (True, False), (False, True), BOOLS, ([True], [False])):      # no Tensor among them
        assert np.array_equal(getattr(cb, name)(x, y).numpy(), f(x, y))
    p, q = BOOLS
    for x in (p, cb.tensor(p)):
        for y in (q, cb.tensor(q)):
            assert np.array_equal(getattr(cb, name)(x, y).numpy(), f(p, q))
    assert np.array_equal(getattr(cb, name)(cb.tensor(p), 1).numpy(), f(p, 1))
    assert np.array_equal(getattr(cb, name)(cb.tensor([0, 1, 2, 3]), p).numpy(), f([0, 1, 2, 3], p))


@pytest.mark.parametrize("f, wanted", [
    (cb.neg, lambda x: -x), (cb.abs, abs), (cb.square, lambda x: x * x), (cb.sign, lambda x: (x > 0) - (x < 0)),
    (cb.floor, lambda x: x), (cb.invert, lambda x: ~x), (lambda x: cb.clip(x, -3, 7), lambda x: min(max(x, -3), 7)),
    (lambda x: cb.clip(x, max=0), lambda x: min(x, 0)), (operator.neg, lambda x: -x), (abs, abs),
    (operator.invert, lambda x: ~x),
], ids=str)
def test_of_one_argument(f, wanted):
    y = f(cb.tensor(np.array(EDGES)))
    assert y.dtype == np.int64 and y.tolist() == [wrapped(wanted(e)) for e in EDGES]


@pytest.mark.parametrize("f, wanted", [
    (operator.add, operator.or_), (operator.mul, operator.and_), (cb.maximum, operator.or_),
    (cb.minimum, operator.and_), (operator.and_, operator.and_), (operator.or_, operator.or_),
    (operator.xor, operator.xor)], ids=str)
def test_two_bools_make_a_bool(f, wanted):
    p, q = BOOLS
    for y in (f(cb.tensor(p), cb.tensor(q)), f(cb.tensor(p), q)):
        assert y.dtype == bool and np.array_equal(y.numpy(), wanted(p, q))
    assert np.array_equal(f(cb.tensor(p), True).numpy(), wanted(p, True))


def test_dtypes_of_results():
    p, i, f = cb.tensor([True, False]), cb.tensor([3, -4]), cb.tensor([0.5, 2.0])
    for y, dtype, values in [
        (p + i, "int64", [4, -4]), (i * p, "int64", [3, 0]), (p + 1, "int64", [2, 1]), (p * 0.5, "float32", [0.5, 0]),
        (i / i, "float32", [1, 1]), (p / i, "float32", [1 / np.float32(3), 0]), (i * 0.5, "float32", [1.5, -2]),
        (0.5 - i, "float32", [-2.5, 4.5]), (i // 2, "int64", [1, -2]), (i // 2.0, "float32", [1, -2]),
        (p // p, "int64", [1, 0]), (p ** p, "int64", [1, 1]), (i & p, "int64", [1, 0]), (f * True, "float32", [0.5, 2]),
        (f * [True, False], "float32", [0.5, 0]), (i == p, "bool", [False, False]), (~p, "bool", [False, True]),
        (cb.mean(i), "float32", -0.5), (cb.std(i), "float32", 3.5), (cb.var(p), "float32", 0.25),
    ]:
        assert y.dtype == dtype and np.array_equal(y.numpy(), np.array(values, dtype)), (dtype, values)
    for wrong in (lambda: i + f, lambda: f * p, lambda: i + np.ones(2), lambda: i + [0.5, 1], lambda: p < f):
        with pytest.raises(cb.DTypeError, match="astype"):
            wrong()


@pytest.mark.parametrize("shape", ((1,), (17,), (3, 4), (2, 3, 5), (2, 0, 3), (0,), ()))
def test_reductions(shape, rng):
    x = rng.integers(LOW, HIGH, shape)
    p = rng.random(shape) < 0.7
    for axis in (None, *range(-len(shape), len(shape)), tuple(range(len(shape)))):
        for keep in (False, True):
            named = {"axis": axis, "keepdims": keep}
            for f, of in (("sum", x), ("sum", p), ("any", p), ("all", p), ("any", x % 2), ("all", x % 3)):
                y, wanted = getattr(cb, f)(cb.tensor(of), **named), getattr(np, f)(of, **named)
                assert y.dtype == wanted.dtype and np.array_equal(y.numpy(), wanted), (f, axis)
            if 0 in shape:
                continue
            for f, of in (("max", x), ("min", x), ("max", p), ("min", p)):
                y, wanted = getattr(cb, f)(cb.tensor(of), **named), getattr(np, f)(of, **named)
                assert y.dtype == of.dtype and np.array_equal(y.numpy(), wanted), (f, axis)
            if not isinstance(axis, tuple) and shape:
                for f in ("argmax", "argmin"):
                    for of in (x, p, x % 3, np.where(p, LOW, HIGH)):
                        y, wanted = getattr(cb, f)(cb.tensor(of), **named), getattr(np, f)(of, **named)
                        assert y.dtype == np.int64 and np.array_equal(y.numpy(), wanted)
        if not isinstance(axis, tuple) and (axis is not None or shape):
            assert np.array_equal(cb.cumsum(cb.tensor(x), axis).numpy(), np.cumsum(x, axis))
            assert np.array_equal(cb.cumsum(cb.tensor(p), axis).numpy(), np.cumsum(p, axis))


# ---- in programs

def everything(a, b, p):
    """Of two int64 tensors and a bool one: floats, which a program may return like anything else."""
    c = a // b + a % b - (a ^ b) * (a & 3) + abs(-a) % 5 + (b * b) ** (a % 7)
    c = cb.where(p, c, ~c) + cb.maximum(a, b) - cb.cumsum(cb.sign(a), 1)
    q = (c > a) & ~p | cb.any(c == b, axis=1, keepdims=True) ^ cb.all(p)
    return c, q, cb.sum(c, 0), cb.sum(q), cb.argmin(c, 1), cb.max(c), c / b, cb.std(c % 11, 1), q + p


def operands(n, seed):
    f = np.random.default_rng(seed)
    a, b = f.integers(-2 ** 62, 2 ** 62, (n, 5)), f.integers(-9, 10, (n, 5))
    a[:, 0], b[:, 0], b[:, 1] = LOW, -1, 0
    return cb.tensor(a), cb.tensor(b), cb.tensor(f.random((n, 5)) < 0.5)


def same(got, wanted):
    return all(a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
               for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("rows", (1, 3, 200))
def test_compiled(rows):
    compiled = cb.compile(everything)
    for call in range(4):
        args = operands(rows, call)
        assert same(compiled(*args), everything(*args))


def test_saved(tmp_path):
    cb.save_programs(tmp_path / "f", f=(everything, *operands(6, 0)))
    file = cb.load_program(tmp_path / "f")
    for rows in (1, 6, 33):
        a, b, p = operands(rows, rows)
        assert same(file(a=a, b=b, p=p).values(), everything(a, b, p))


def test_in_a_scan():
    def step(carry, x):
        carry = (carry * 6364136223846793005 + x) ^ (carry // 3)
        return carry, carry % 10

    xs = np.arange(50)
    last, ys = cb.scan(step, cb.tensor(7), cb.tensor(xs))
    carry, digits = 7, []
    for x in xs.tolist():
        carry = wrapped(wrapped(carry * 6364136223846793005 + x) ^ (carry // 3))
        digits.append(carry % 10)
    assert last.item() == carry and ys.tolist() == digits


def test_a_negative_power_is_refused_when_it_is_met():
    """In a program as in the call that it stands for; nothing has changed then."""
    count = cb.State(0)

    def f(a, b):
        count.assign(count + 1)
        return a ** b

    compiled = cb.compile(f)
    for _ in range(3):
        assert compiled(cb.tensor([2, 3]), cb.tensor([3, 2])).tolist() == [8, 9]
    for _ in range(2):
        with pytest.raises(ValueError, match="pow.*-1 at place 1"):
            compiled(cb.tensor([2, 3]), cb.tensor([3, -1]))
    assert compiled(cb.tensor([2, 3]), cb.tensor([0, 1])).tolist() == [1, 3]


def test_division_by_what_a_program_folds():
    """Constants are computed when a program is built; they raise no signal either."""
    def f(x):
        return x + cb.tensor([LOW, 5, 0]) // cb.tensor([-1, 0, 0]) + cb.tensor([LOW, 5, 0]) % cb.tensor([-1, 0, 0])

    compiled = cb.compile(f)
    for x in (1, 2, 3):
        assert compiled(cb.tensor([x] * 3)).tolist() == [wrapped(LOW + x), x, x]
