"""In which dtype operands meet: weak tensors beside strong ones, by themselves, through every public op, sweeps and
programs."""

import copy
import pickle

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn
from cybackprop._core import engine
from cybackprop._core.engine import binary_rows, unary_rows

F32, F64 = np.dtype("float32"), np.dtype("float64")
X = np.array([[0.25, 0.5, 0.75], [0.3, 0.6, 0.9]])
Y = np.array([[1.5, 0.75, 1.25], [2.0, 0.5, 1.0]])
INTS = np.array([[3, -4, 5], [1, 2, -7]])
TRUTH = np.array([[True, False, True], [False, True, False]])
weak, is_weak = engine.weak_tensor, engine.is_weak


def strong(x, dtype=None):
    return cb.tensor(x, dtype)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


# ---- what is weak

def test_what_is_weak_and_what_is_not():
    w = weak(X)
    assert is_weak(w) and w.dtype == F64 and same(w, strong(X)) and not is_weak(strong(X)) and not is_weak(X)
    assert weak(X.astype("f2")).dtype == F32 and weak(INTS.astype("u1")).dtype == np.int64
    for t in (cb.tensor(w), w.astype(F64), w.astype(F32), copy.copy(w), copy.deepcopy(w), pickle.loads(pickle.dumps(w)),
              cb.State(w), cb.Parameter(w)):
        assert not is_weak(t) and is_weak(w)
    assert w.astype(F64).numpy().tobytes() == X.tobytes()
    for t in (w.detach(), w.reshape(-1), w.T, w[0], w + 0, w.astype(F32) * 0 + w.astype(F32)):
        assert is_weak(t) == (t.dtype == F64)
    y = w * 2
    engine.end_weakness(y)
    assert not is_weak(y) and not is_weak(y * w) and is_weak(w)
    for bad in (1j * X, X.astype("longdouble"), np.array(["a"])):
        with pytest.raises(cb.DTypeError):
            weak(bad)


# ---- weak beside weak, numbers and arrays: NumPy's promotion

OPERANDS = {"f4": X.astype(F32), "f8": X, "i8": INTS, "?": TRUTH}


@pytest.mark.parametrize("a", OPERANDS)
@pytest.mark.parametrize("b", [*OPERANDS, "2", "0.5", "True"])
@pytest.mark.parametrize("op", (np.add, np.multiply, np.true_divide, np.maximum, np.less), ids=lambda f: f.__name__)
def test_without_a_strong_tensor_numpys_promotion_holds(a, b, op, quiet):
    f = getattr(cb, {"multiply": "mul", "divide": "div"}.get(op.__name__, op.__name__))
    x, y = OPERANDS[a], OPERANDS.get(b)
    plain = y is None
    y = {"2": 2, "0.5": 0.5, "True": True}[b] if plain else y
    wanted = op(x, y)
    pairs = [(weak(x), y), (y, weak(x))] + ([] if plain else [(weak(x), weak(y)), (x, weak(y)), (weak(x), y.tolist())])
    for p, q in pairs:
        if isinstance(q, list) and b == "f4":
            continue                     # lists of Python floats are float64 to NumPy, too
        turned = p is y
        z = f(p, q)
        assert is_weak(z) and z.dtype == wanted.dtype, (z.dtype, wanted.dtype)
        assert np.array_equal(z.numpy(), op(y, x) if turned else wanted, equal_nan=wanted.dtype.kind == "f")


def test_integers_alone():
    i, b = weak(INTS), weak(TRUTH)
    for y, wanted in [(i // 2, INTS // 2), (i % b, np.where(TRUTH, 0, 0)), (i & 6, INTS & 6), (~b, ~TRUTH), (~i, ~INTS),
                      (i ** 2, INTS ** 2), (i ** 2.0, INTS ** 2.0), (-i, -INTS), (abs(i), abs(INTS)),
                      (cb.mean(i), INTS.mean()), (cb.std(i, 0), INTS.std(0)), (cb.sum(b), TRUTH.sum()),
                      (cb.cumsum(b, 1), TRUTH.cumsum(1)), (cb.argmin(i), INTS.argmin()), (i.any(1), INTS.any(1))]:
        assert is_weak(y) and y.dtype == np.asarray(wanted).dtype and np.allclose(y.numpy(), wanted)


# ---- every public op: of weak tensors alone, and beside a strong one

UNARY = [name for name, row in unary_rows.items() if row.facts["public"]]
BINARY = [name for name, row in binary_rows.items() if not row.facts["strong"]]
OTHERS_1 = {                             # of one float tensor (2, 3)
    **{name: lambda x, n=name: getattr(cb, n)(x, axis=1) for name in (
        "sum", "mean", "var", "std", "max", "min", "argmax", "argmin", "any", "all", "cumsum", "softmax", "log_softmax",
        "logsumexp")},
    **{name: lambda x, n=name: getattr(cb, n)(x) for name in (
        "isnan", "isfinite", "isinf", "transpose", "zeros_like", "ones_like")},
    "reshape": lambda x: cb.reshape(x, (3, 2)), "broadcast_to": lambda x: cb.broadcast_to(x, (2, 2, 3)),
    "take": lambda x: cb.take(x, [1, 0]), "gather": lambda x: cb.gather(x, [[0], [2]]),
    "getitem": lambda x: x[1:, ::2] if isinstance(x, cb.Tensor) else cb.tensor(x)[1:, ::2],
    "dropout": lambda x: cb.dropout(x, 0.5, rng=3), "grad": lambda x: cb.grad(lambda t: cb.sum(cb.exp(t) * t))(x),
    "vjp": lambda x: cb.vjp(lambda t: cb.softmax(cb.tanh(t) * 2), x)[1](np.ones((2, 3)))[0],
    "cross_entropy": lambda x: nn.cross_entropy(x, [0, 2]),
    "cross_entropy, smooth": lambda x: nn.cross_entropy(x, [0, 2], label_smoothing=0.1),
}
OTHERS_2 = {                             # of two float tensors (2, 3)
    "where": lambda a, b: cb.where(TRUTH, a, b), "concatenate": lambda a, b: cb.concatenate([a, b]),
    "stack": lambda a, b: cb.stack([a, b], 1), "matmul": lambda a, b: cb.matmul(a, b.T),
    "mse": nn.mse, "mae": nn.mae, "huber": nn.huber, "bce_with_logits": nn.bce_with_logits,
    "bce_with_logits, weighted": lambda a, b: nn.bce_with_logits(a, b, pos_weight=b),
    "cross_entropy, probabilities": nn.cross_entropy, "dense": lambda a, b: cb.dense(a, b.T),
}
UNLISTED = {                             # of no floats, or of functions
    "Generator", "backward_steps", "compile", "eager", "cond", "functional_call", "jvp", "save_programs", "scan", "show_config",
    "value_and_grad", "while_loop", "arange", "astype", "bitwise_and", "bitwise_or", "bitwise_xor", "default_rng",
    "full", "invert", "logical_and", "logical_not", "logical_or", "logical_xor", "one_hot", "ones", "seed", "tensor",
    "zeros"}


def test_every_public_op_is_in_a_table():
    listed = {name.partition(",")[0] for name in [*UNARY, *BINARY, *OTHERS_1, *OTHERS_2]}
    assert set(cb.ops.public_functions) - listed - UNLISTED == set()


@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
@pytest.mark.parametrize("name", [*UNARY, *OTHERS_1])
def test_of_one_weak_tensor(name, dtype):
    f, x = OTHERS_1.get(name) or getattr(cb, name), X.astype(dtype)
    y = f(weak(x))
    assert is_weak(y) and same(y, f(strong(x))) and not is_weak(f(strong(x)))


@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
@pytest.mark.parametrize("name", [*BINARY, *OTHERS_2])
def test_of_two(name, dtype):
    f = OTHERS_2.get(name) or getattr(cb, name)
    x, y = X.astype(dtype), Y.astype(dtype)
    alone = f(weak(x), weak(y))
    assert is_weak(alone) and same(alone, f(strong(x), strong(y)))
    assert is_weak(f(weak(x), y))
    if not name.startswith("cross_entropy"):         # whose logits become a tensor by themselves
        assert is_weak(f(x, weak(y)))
    for goal in (F32, F64):              # as an ndarray that meets the same tensor
        for a, b in ((weak(x), strong(y, goal)), (strong(x, goal), weak(y))):
            met = f(a, b)
            wanted = f(strong(x.astype(goal)), strong(y.astype(goal)))
            assert same(met, wanted) and not is_weak(met)
        for other in () if name.startswith("cross_entropy") else (INTS, TRUTH):      # integers are classes there
            met = f(strong(x, goal), weak(other))
            assert same(met, f(strong(x, goal), strong(other.astype(goal)))) and not is_weak(met)


@pytest.mark.parametrize("name", ("add", "less", "where", "concatenate", "matmul", "maximum"))
def test_what_an_array_may_not_do_a_weak_tensor_may_not_do(name):
    f = OTHERS_2.get(name) or getattr(cb, name)
    for t in (strong(INTS), strong(TRUTH)):
        with pytest.raises(cb.DTypeError) as of_array:
            f(t, X)
        with pytest.raises(cb.DTypeError) as of_weak:
            f(t, weak(X))
        assert str(of_array.value) == str(of_weak.value)
    with pytest.raises(cb.DTypeError, match="float32.*float64|float64.*float32"):
        f(strong(X, F32), strong(X, F64))


def test_the_condition_of_where_is_no_value():
    for c, gives in ((weak(TRUTH), True), (strong(TRUTH), True), (TRUTH, True)):
        assert is_weak(cb.where(c, weak(X), 0)) == gives
        assert not is_weak(cb.where(c, strong(X), 0))
    y = cb.where(weak(TRUTH), 1.0, 0.0)
    assert is_weak(y) and y.dtype == F64
    assert not is_weak(cb.where(strong(TRUTH), 1.0, 0.0)) and cb.where(TRUTH, 1.0, 0.0).dtype == F32


# ---- derivatives

def test_gradients_pass_the_cast_where_they_meet():
    x, w = weak(X), cb.Parameter(Y.astype(F32))
    x.requires_grad = True
    loss = cb.sum(cb.tanh(x * w) * x)
    assert loss.dtype == F32 and not is_weak(loss)
    loss.backward(retain_graph=True)
    a, b = strong(X, F32), cb.Parameter(Y.astype(F32))
    a.requires_grad = True
    cb.sum(cb.tanh(a * b) * a).backward()
    assert same(w.grad, b.grad) and not is_weak(w.grad)
    assert x.grad.dtype == F64 and is_weak(x.grad) and np.allclose(x.grad.numpy(), a.grad.numpy(), rtol=1e-6)
    x.grad = w.grad = None
    loss.backward(create_graph=True)
    assert same(w.grad, b.grad) and x.grad.dtype == F64 and is_weak(x.grad)


def test_a_tangent_goes_with_its_tensor():
    w = strong(Y, F32)
    y, t = cb.jvp(lambda x: cb.exp(x * w), (weak(X),), (np.ones((2, 3)),))
    z, s = cb.jvp(lambda x: cb.exp(x * w), (strong(X, F32),), (np.ones((2, 3), F32),))
    assert same(y, z) and same(t, s) and not is_weak(t)


def test_gradients_that_users_give_take_the_tensors_dtype():
    w = cb.Parameter(Y.astype(F32))
    (w * 2).backward(weak(X))
    assert w.grad.dtype == F32 and not is_weak(w.grad) and np.array_equal(w.grad.numpy(), 2 * X.astype(F32))
    w.grad = weak(X)
    assert w.grad.dtype == F32 and not is_weak(w.grad)
    y = w * 3
    y.register_hook(lambda g: weak(X))
    w.grad = None
    cb.sum(y).backward()
    assert not is_weak(w.grad) and np.array_equal(w.grad.numpy(), 3 * X.astype(F32))


def test_states_take_weak_tensors_as_they_take_arrays():
    for dtype in ("float32", "float64", "int64", "bool"):
        for x in (X, X.astype(F32), INTS, TRUTH):
            a, b = cb.State(np.zeros((2, 3), dtype)), cb.State(np.zeros((2, 3), dtype))
            try:
                a.assign(x)
            except cb.DTypeError:
                with pytest.raises(cb.DTypeError):
                    b.assign(weak(x))
            else:
                b.assign(weak(x))
            assert same(a, b) and not is_weak(b)


# ---- programs

def test_a_loop_keeps_what_is_weak():
    def step(c, x):
        return cb.tanh(c * 0.5 + x), c * x

    last, ys = cb.scan(step, weak(X[0]), weak(X))
    assert is_weak(last) and is_weak(ys) and last.dtype == F64
    w = strong(Y[0], F32)
    last, ys = cb.scan(lambda c, x: (cb.tanh(c * w + x), c * x), strong(X[0], F32), weak(X))
    assert not is_weak(last) and last.dtype == ys.dtype == F32


@pytest.mark.parametrize("rows", (2, 40))
def test_a_program_has_the_casts(rows, rng, tmp_path):
    """What is recorded of weak tensors is what their casts to the strong dtype give, and no file knows of weakness."""
    w = cb.Parameter(rng.normal(size=(3, 3)).astype(F32))

    def plain(x):
        return cb.softmax(x.astype(F32) @ w), cb.sum(x * x)

    def of_weak(x):
        x = engine.with_weakness(x, True)
        return cb.softmax(x @ w), cb.sum(x * x)

    compiled = cb.compile(of_weak)
    for _ in range(3):
        x = strong(rng.normal(size=(rows, 3)))
        assert all(same(a, b) for a, b in zip(compiled(x), plain(x), strict=True))
    cb.save_programs(tmp_path / "f", f=(of_weak, x))
    found = list(cb.load_program(tmp_path / "f")(x=x).values())
    assert all(same(a, b) for a, b in zip(found, plain(x), strict=True)) and not any(map(is_weak, found))


def test_what_belongs_to_a_weak_tensor_takes_its_dtype():
    """A tangent, a carry: cast to it, not promoted with it."""
    x = weak(X.astype(F32))
    y, t = cb.jvp(cb.exp, (x,), (np.ones((2, 3)),))
    assert y.dtype == t.dtype == F32
    last, _ = cb.scan(lambda c, _: (Y[0], None), x[0], length=2)
    assert last.dtype == F32 and np.array_equal(last.numpy(), Y[0].astype(F32))
    assert nn.cross_entropy(x, [0, 1], weight=Y[0]).dtype == F64            # these are peers
    assert nn.cross_entropy(weak(X), [0, 1], weight=strong(Y[0], F32)).dtype == F32
    assert nn.bce_with_logits(weak(X), Y, pos_weight=strong(Y[0], F32)).dtype == F32
    assert cb.dense(weak(X), weak(Y.T), strong(Y[0, :2], F32)).dtype == F32
    with pytest.raises(cb.DTypeError, match="float32.*float64"):
        cb.jvp(cb.exp, (x,), (strong(X),))
