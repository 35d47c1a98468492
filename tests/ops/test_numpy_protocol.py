"""NumPy's functions on tensors: the same call on ndarrays says what comes out, eagerly, compiled and differentiated."""

import io
import re

import numpy as np
import pytest

import cybackprop as cb
from cybackprop.ops import numpy_protocol
from cybackprop.ops.numpy_functions import numpy_functions
from cybackprop.ops.registry import public_functions

RNG = np.random.default_rng(7)
ARRAYS = {"x": RNG.normal(size=(3, 4)), "y": RNG.normal(size=(3, 4)), "p": RNG.uniform(0.5, 2, size=(3, 4)),
          "v": RNG.normal(size=4), "m": RNG.normal(size=(4, 5)), "k": RNG.normal(size=(1, 3, 1, 2)),
          "s": np.array(1.5), "i": np.array([2, 0, 2]), "j": np.array([[1, 0, 3, 0], [0, 2, 1, 1], [3, 3, 0, 2]]),
          "b": RNG.random((3, 4)) < 0.5, "c": RNG.random((3, 4)) < 0.5}
ARRAYS["x"][1, 2] = ARRAYS["y"][1, 2]
ARRAY = {"a": RNG.normal(size=(3, 4)), "d": RNG.uniform(0.5, 2, size=(4,)), "zero": np.array(0.5)}    # stay ndarrays

# what an op of ours answers: letters are tensors but for those of ARRAY
UNARY = ("negative(x) positive(x) conjugate(x) absolute(x) fabs(x) exp(x) expm1(x) log(p) log1p(p) sqrt(p) square(x) "
         "reciprocal(p) sin(x) cos(x) tanh(x) floor(x) sign(x) logical_not(b) invert(b)")
BINARY = ("add(x,y) subtract(x,y) multiply(x,y) divide(x,p) power(p,x) power(x,2) arctan2(x,y) maximum(x,y) "
          "minimum(x,y) equal(x,y) not_equal(x,y) less(x,y) less_equal(x,y) greater(x,y) greater_equal(x,y) matmul(x,m)"
          " logical_and(b,c) logical_or(b,c) logical_xor(b,c) bitwise_and(b,c) bitwise_or(b,c) bitwise_xor(b,c)")
OTHERS = (
    # ndarrays and NumPy's numbers in front
    "a + x", "a - x", "a * x", "a / p", "d ** p", "a @ m", "a == x", "a != x", "a < x", "a <= x", "a > x", "a >= x",
    "zero * x", "zero < x", "np.float64(2) * x", "np.float32(2) - x", "np.int64(2) / p", "np.float64(2) ** x",
    "np.float64(0.5) < x", "np.bool_(True) & b", "np.maximum(x, 0)", "np.maximum(0, x)", "np.maximum(a, x)",
    # reductions
    "np.sum(x)", "np.sum(x, 1)", "np.sum(x, axis=(0, 1), keepdims=True)", "np.sum(a=x, axis=-1)",
    "np.sum(x, 0, np.float32)", "np.mean(x, axis=0)", "np.mean(x, (0, 1))", "np.mean(x, 1, None, None, True)",
    "np.max(x, 0)", "np.amax(x, 1, None, True)", "np.min(x)", "np.amin(x, axis=0)", "np.argmax(x)",
    "np.argmax(x, 1, keepdims=True)", "np.var(x, 1, ddof=1)", "np.var(x, 0, np.float32, None, 1, True)",
    "np.add.reduce(x)", "np.add.reduce(x, axis=None)", "np.add.reduce(x, 1, None, None, True)",
    "np.maximum.reduce(x, axis=1)", "np.minimum.reduce(x)",
    "np.multiply.outer(v, x)", "np.subtract.outer(v, d)", "np.less.outer(s, x)",
    "x.sum()", "x.sum(1)", "x.sum(axis=0, keepdims=True)", "x.sum(1, np.float32)", "x.mean(axis=(0, 1))",
    "x.mean(1, dtype='float32')", "x.max(axis=1, keepdims=True)", "x.min(0)", "x.argmax(1)", "x.var(0, ddof=1)",
    # shapes
    "np.reshape(x, (2, 6))", "np.reshape(x, (2, -1), 'F')", "np.reshape(x, -1)", "np.transpose(x)",
    "np.transpose(k, (1, 0, 3, 2))", "np.swapaxes(k, 1, -1)", "np.moveaxis(k, 1, -1)", "np.moveaxis(k, (0, 3), (2, 0))",
    "np.expand_dims(x, 1)", "np.expand_dims(x, (0, -1))", "np.squeeze(k)", "np.squeeze(k, 0)", "np.squeeze(k, (0, -2))",
    "np.broadcast_to(v, (3, 4))", "np.ravel(x)", "np.ravel(x, 'F')", "x.T", "x.reshape(4, 3)", "x.reshape((4, -1))",
    "x.reshape(2, -1, order='F')", "x.transpose(1, 0)", "x.transpose(None)", "x.ravel()", "x.flatten()",
    "x.flatten('F')", "k.squeeze()", "k.squeeze(axis=2)", "k.swapaxes(1, 3)",
    # joining, choosing
    "np.concatenate([x, y])", "np.concatenate((x, y), axis=1)", "np.concatenate([x, v], None)",
    "np.concatenate([a, x])", "np.concatenate([x, y], dtype=np.float32)", "np.concatenate(x)", "np.stack([x, y], -1)",
    "np.stack((v, d), axis=1)",
    "np.vstack([x, v])", "np.hstack([x, y])", "np.hstack([v, d])", "np.atleast_1d(s)", "np.atleast_2d(v)",
    "np.atleast_2d(k, s)[1]", "np.where(b, x, y)", "np.where(x > 0, x, 0)",
    "np.where(x, x, 1.0)", "np.where(b, a, x)", "np.take(x, i)", "np.take(x, [2, 0], axis=1)", "np.take(x, 1, 0)",
    "np.take_along_axis(x, j, axis=1)", "np.take_along_axis(x, i, None)", "x.take(i, 1)", "x.take([[1]])",
    # arithmetic
    "np.clip(x, -0.5, 0.5)", "np.clip(x, None, 0.5)", "np.clip(x, -0.5, None)", "np.clip(x, a_min=-1, a_max=0)",
    "np.clip(x, v, p + v)", "x.clip(0)", "x.clip(max=0.1)", "np.dot(x, m)", "np.dot(v, v)", "np.dot(s, x)",
    "np.dot(a, m)", "np.dot(v, np.stack([m, m]))", "np.dot(k, m[:2])", "x.dot(v)",
    # copies, dtypes
    "np.copy(x)", "x.copy()", "x.astype(np.float32)", "x.astype('int64')", "x.astype(np.float64, copy=False)",
    "i.astype(float)",
    "np.zeros_like(x)", "np.ones_like(x)", "np.ones_like(b)", "np.full_like(x, 3)", "np.full_like(x, s)",
    "np.zeros_like(x, dtype=np.int64)", "np.zeros_like(x, shape=(2,))", "np.empty_like(x) * 0 + 1",
)
OURS = tuple(f"np.{call}" for call in (UNARY + " " + BINARY).split()) + OTHERS
# names that another place may bring: NumPy's result on the values until then
PERHAPS = (("std", "np.std(x, axis=0, ddof=1, keepdims=True)"), ("any", "np.any(b, axis=1)"),
           ("all", "np.all(b)"), ("cumsum", "np.cumsum(x)"), ("cumsum", "np.cumsum(x, axis=1)"),
           ("cumsum", "np.add.accumulate(x)"), ("argmin", "np.argmin(x, axis=1)"), ("isnan", "np.isnan(x)"),
           ("isfinite", "np.isfinite(x)"), ("any", "np.logical_or.reduce(b, axis=1)"), ("prod", "np.prod(x, axis=0)"))


def tensors(arrays=ARRAYS, **options):
    return {name: cb.tensor(array, **options) for name, array in arrays.items()}


def said(expression, names):
    return eval(expression, {"np": np, "cb": cb, **ARRAY, **names})


def agree(result, expected):
    assert result.shape == np.shape(expected) and result.dtype == np.asarray(expected).dtype, (result, expected)
    single = result.dtype == "float32"
    np.testing.assert_allclose(np.asarray(result), expected, rtol=2e-6 if single else 1e-13, atol=1e-6 * single)


@pytest.mark.parametrize("expression", OURS)
def test_an_op_answers(expression):
    result, expected = said(expression, tensors()), said(expression, ARRAYS)
    assert type(result) is cb.Tensor
    agree(result, expected)


@pytest.mark.parametrize("name, expression", PERHAPS)
def test_an_op_answers_where_there_is_one(name, expression):
    result, expected = said(expression, tensors()), said(expression, ARRAYS)
    assert isinstance(result, cb.Tensor) == (name in public_functions)
    agree(result, expected)


# gather finds its places with NumPy, which no program may
@pytest.mark.parametrize("expression", [e for e in OURS if "take_along_axis" not in e])
def test_the_same_bits_compiled(expression):
    """The second call is the audit, the third a replay alone; each has its own values."""
    names = [n for n in ARRAYS if re.search(rf"\b{n}\b", expression)]

    @cb.compile
    def run(*arrays):
        return said(expression, dict(zip(names, map(cb.tensor, arrays), strict=True)))

    for _ in range(3):
        arrays = {n: RNG.permutation(ARRAYS[n].ravel()).reshape(ARRAYS[n].shape) for n in names}
        result, expected = run(*arrays.values()), said(expression, tensors(arrays))
        assert type(result) is cb.Tensor and result.dtype == expected.dtype
        assert np.array_equal(result, expected)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-300, -1e300, 0.5])


@pytest.mark.parametrize("call", UNARY.split() + BINARY.split())
def test_special_values(call, quiet):
    name, arguments = call.rstrip(")").split("(")
    f, arguments = getattr(np, name), arguments.split(",")
    if set(arguments) & {"b", "c", "m"}:
        arrays = [ARRAYS[n] for n in arguments]
    elif "2" in arguments:
        arrays = [SPECIAL]
    else:
        arrays = [SPECIAL] if len(arguments) == 1 else [np.repeat(SPECIAL, 8), np.tile(SPECIAL, 8)]
    rest = [2] if "2" in arguments else []
    expected, result = f(*arrays, *rest), f(*map(cb.tensor, arrays), *rest).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-13)
    if expected.dtype.kind == "f" and name not in ("maximum", "minimum"):    # which zero is larger NumPy leaves open
        assert np.array_equal(np.signbit(result)[expected == 0], np.signbit(expected)[expected == 0])


def ufuncs():
    return {f.__name__: f for f in vars(np).values() if isinstance(f, np.ufunc)}


def test_the_table_names_every_ufunc_that_has_an_op():
    rows = {call.split("(")[0] for call in (UNARY + " " + BINARY).split()} | {name for name, _ in PERHAPS}
    assert {name for name, f in ufuncs().items() if numpy_protocol._operation(f)} - rows == set()


def test_every_function_that_numpy_has_too_takes_its_parameters():
    """np.name(t) would else be refused, or mean something else."""
    shared = {n for n in public_functions if hasattr(getattr(np, n, None), "_implementation")}
    created = {"arange", "zeros", "ones", "full"}    # dispatched by like= alone
    assert shared - created <= set(numpy_functions) and len(shared) > 10


def test_an_op_that_comes_later_is_found(monkeypatch):
    x = tensors()["x"]
    assert isinstance(np.cbrt(x), np.ndarray)
    monkeypatch.setitem(public_functions, "cbrt", lambda x: ("ours", x))
    try:
        assert np.cbrt(x) == ("ours", x)
    finally:
        numpy_protocol.operations.pop(np.cbrt, None)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_gradients(dtype, rng):
    x, w = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=(3, 2)).astype(dtype)

    def loss(x):
        h = np.tanh(np.concatenate([np.matmul(x, w), np.exp(x)], axis=1))
        h = np.where(h > 0, np.square(h), np.float64(0.5) * h)
        return np.mean(np.swapaxes(np.clip(h, -0.4, 0.5), 0, 1).reshape(5, -1, order="F"))

    def by_hand(x):
        x = x.astype("float64")
        z = np.concatenate([x @ w, np.exp(x)], 1)
        h = np.tanh(z)
        inner = np.where(h > 0, h * h, 0.5 * h)
        dz = ((inner > -0.4) & (inner < 0.5)) * np.where(h > 0, 2 * h, 0.5) * (1 - h * h) / h.size
        return dz[:, :2] @ w.T + dz[:, 2:] * np.exp(x)

    tolerance = {"rtol": 1e-5, "atol": 1e-7} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-15}
    for gradient in (cb.grad(loss), cb.compile(cb.grad(lambda x: loss(cb.tensor(x) if isinstance(x, np.ndarray)
                                                                      else x)))):
        for _ in range(3):
            np.testing.assert_allclose(gradient(x).numpy(), by_hand(x), **tolerance)


# what no op of ours answers: NumPy itself, on the values; F for floats, whose gradient would be lost
VALUES = (
    ("np.hypot(x, y)", "F"), ("np.sinh(x)", "F"), ("np.cbrt(a * x)", "F"), ("np.fmod(x, p)", "F"),
    ("np.signbit(x)", ""), ("np.hypot.reduce(x)", "F"), ("np.hypot(a, x)", "F"), ("np.modf(x)", "F"),
    ("np.allclose(x, y)", ""), ("np.array_equal(x, x)", ""), ("np.isclose(x, a)", ""), ("np.argsort(x, axis=0)", ""),
    ("np.sort(x, axis=0)", "F"), ("np.unique(x)", "F"), ("np.histogram(x, bins=3)", "F"), ("np.where(x > 0)", ""),
    ("np.array2string(x)", ""), ("np.array_repr(x)", ""), ("np.linalg.inv(x @ x.T)", "F"), ("np.einsum('ij,j', x, v)",
                                                                                            "F"),
    ("np.block([[x, y], [y, x]])", "F"), ("np.median(x, axis=1)", "F"), ("np.interp(v, [0, 1], [2, 3])", "F"),
    ("np.meshgrid(v, v)", "F"), ("np.nonzero(b)", ""), ("np.searchsorted(v, 0.5)", ""), ("np.linalg.norm(x)", "F"),
    ("np.save(io.BytesIO(), x)", ""), ("np.savetxt(io.StringIO(), x)", ""), ("np.repeat(x, 2, axis=0)", "F"),
    ("np.testing.assert_allclose(x, x)", ""), ("np.fft.rfft(v)", "F"), ("np.apply_along_axis(np.sum, 0, x)", "F"),
)


def equal(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and np.array_equal(a, b)


@pytest.mark.parametrize("expression, kind", VALUES)
def test_numpy_answers_on_the_values(expression, kind):
    names = {"io": io}
    expected = said(expression, ARRAYS | names)
    assert equal(said(expression, tensors() | names), expected)
    floats = {n: a for n, a in ARRAYS.items() if a.dtype == float}
    leaves = tensors(ARRAYS) | tensors(floats, requires_grad=True) | names
    with cb.no_grad():
        assert equal(said(expression, leaves), expected)
    if kind == "F":
        with pytest.raises(TypeError, match=r"np\.[\w.]+: there is no such op.*gradient.*t\.detach\(\)"):
            said(expression, leaves)
    else:
        assert equal(said(expression, leaves), expected)
    compiled = cb.compile(lambda x: said(expression, tensors() | {"x": cb.tensor(x), "io": io}))
    with pytest.warns(RuntimeWarning, match="reads the value"):
        assert equal(compiled(ARRAYS["x"]), expected)
    assert compiled.programs == []


@pytest.mark.parametrize("fact", ("np.shape(x)", "np.ndim(x)", "np.size(x)", "np.size(x, 1)", "np.result_type(x, i)",
                                  "np.iscomplexobj(x)", "np.isrealobj(x)", "len(x)", "x.ndim"))
def test_facts_need_no_values(fact):
    found = []

    @cb.compile
    def run(x):
        found.append(said(fact, tensors() | {"x": cb.tensor(x)}))
        return cb.tensor(x) * 1

    run(ARRAYS["x"])
    assert found == [said(fact, ARRAYS)]
    assert said(fact, tensors(requires_grad=False)) == said(fact, ARRAYS)


# what can't be done, and what the message names
ERRORS = (
    ("np.add(x, y, out=a)", r"np\.add: out=.*array \+ tensor.*numpy\(\)"), ("np.exp(x, out=x)", r"np\.exp: out="),
    ("np.add(a, a, out=x)", r"values never change"), ("a.__iadd__(x)", r"array \+= tensor"),
    ("np.sum(x, out=a)", "sum: out="), ("x.sum(out=a)", "sum: out="), ("np.clip(x, 0, 1, a)", "clip: out="),
    ("np.dot(x, m, out=a)", "dot: out="), ("np.take(x, i, 0, a)", "take: out="), ("np.stack([x, x], 0, a)", "stack: o"),
    ("np.concatenate([a, a], out=x)", "concatenate: out="), ("np.add.reduce(x, out=a)", r"np\.add\.reduce: out="),
    ("np.add.at(a, [0], x)", r"np\.add\.at: it writes in place"), ("np.copyto(x, a)", "np.copyto: it writes in place"),
    ("np.copyto(dst=x, src=a)", "State with assign"), ("np.put(x, [0], 1)", r"np\.put: .*cb\.where"),
    ("np.fill_diagonal(x, 1)", "never change"),
    ("np.add(x, y, where=b)", r"np\.add: where= .*cb\.where"), ("np.add(x, y, dtype='f4')", "dtype= .*astype"),
    ("np.exp(x, where=ARRAYS['b'])", r"np\.exp: where="), ("np.sum(x, where=b)", r"np\.sum: where="),
    ("np.sum(x, initial=1)", r"np\.sum: initial="), ("np.max(x, initial=1)", r"np\.max: initial="),
    ("np.maximum.reduce(x, dtype='f4')", r"np\.maximum\.reduce: dtype="), ("np.matmul(x, m, axes=[0])", "axes="),
    ("x.sum(1, True)", "dtype=True.*by name"), ("x.max(1, True)", "keepdims is passed by name"),
    ("x.var(1, 1)", "dtype=1.*ddof"),
    ("np.eye(3, like=x)", r"np\.eye: .*like=.*cb\.tensor"), ("np.zeros(3, like=x)", "np.zeros: use cb.zeros"),
    ("np.take(x, i, mode='clip')", "take: mode='clip'"),
)


@pytest.mark.parametrize("expression, says", ERRORS)
def test_errors(expression, says):
    names, before = tensors() | {"ARRAYS": ARRAYS}, {n: a.copy() for n, a in ARRAY.items()}
    with pytest.raises(TypeError, match=says):
        said(expression, names)
    assert all(np.array_equal(ARRAY[n], before[n]) for n in before)
    assert all(np.array_equal(names[n].numpy(), ARRAYS[n]) for n in ARRAYS)


def test_what_writes_into_an_array_brings_no_gradient_there():
    a, x = np.zeros((3, 4)), ARRAYS["x"]
    np.copyto(a, cb.tensor(x))
    assert np.array_equal(a, x)
    with pytest.raises(TypeError, match=r"np\.copyto: .*gradient.*detach"):
        np.copyto(a, cb.tensor(2 * x, requires_grad=True))
    with pytest.raises(TypeError, match=r"np\.median: .*gradient.*detach"):
        np.median(cb.tensor(2 * x, requires_grad=True), axis=0, out=a[0])
    with pytest.warns(RuntimeWarning, match="reads the value"):
        cb.compile(lambda x: np.copyto(a, cb.tensor(x) * 2))(x)
    assert np.array_equal(a, 2 * x)


@pytest.mark.parametrize("name", sorted(set(numpy_protocol.FORMULAS) - {"einsum", "nonzero"}))
def test_what_the_messages_say_to_write(name):
    x, y = ARRAYS["p"], ARRAYS["v"]
    formula = numpy_protocol.FORMULAS[name]
    arrays = (x,) if re.search(r"\bx\b", formula) else (ARRAYS["x"], y) if name == "inner" else (y, y)
    given = dict(zip("x" if len(arrays) == 1 else "ab", map(cb.tensor, arrays), strict=True))
    f = {"norm": np.linalg.norm, "expit": lambda x: 1 / (1 + np.exp(-x)), "diff": lambda x: np.diff(x, axis=0),
         "flip": lambda x: np.flip(x, 0)}.get(name) or getattr(np, name)
    np.testing.assert_allclose(eval(formula, {"cb": cb, **given}), f(*arrays), rtol=1e-13)


def test_in_the_body_of_a_loop():
    def run(x):
        return cb.scan(lambda c, x: (np.tanh(c + np.float64(2) * x), np.sum(c)), np.zeros_like(x[0]), x)

    x = ARRAYS["x"]
    c, sums = np.zeros(4), []
    for row in x:
        sums.append(c.sum())
        c = np.tanh(c + 2 * row)
    for f in (run, cb.compile(lambda x: run(cb.tensor(x)))):
        last, all_sums = f(cb.tensor(x))
        agree(last, c), agree(all_sums, np.array(sums))
    with pytest.raises(cb.TapeError, match="scan: .*reads a value"):
        cb.scan(lambda c, x: (np.hypot(c, x), c), cb.zeros(4, "float64"), cb.tensor(x))


def test_defaults_may_be_said():
    names = tensors()
    for expression in ("np.add(x, y, where=True, casting='same_kind', order='K', dtype=None, out=None)",
                       "np.sum(x, axis=1, out=None, keepdims=np._NoValue, initial=np._NoValue, where=True)"):
        agree(said(expression, names), said(expression, ARRAYS))


def test_tensors_in_containers_that_are_not_looked_into():
    class Several(list):
        pass

    x = tensors()["x"]
    agree(np.concatenate(Several([x, x])), np.concatenate([ARRAYS["x"]] * 2))
    assert np.array_equal(np.column_stack(Several([x, x])), np.column_stack([ARRAYS["x"]] * 2))


def test_another_librarys_arrays_are_asked():
    class Theirs:
        def __array_function__(self, function, types, args, kwargs):
            return "theirs"

        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            return "theirs"

    x = tensors()["x"]
    assert np.concatenate([x, Theirs()]) == "theirs" and np.add(Theirs(), x) == "theirs"


def test_somebodys_ufunc_of_the_same_name_is_theirs():
    double = np.frompyfunc(lambda x: 2 * x, 1, 1)
    assert isinstance(double(cb.tensor([1.0])), np.ndarray)
    assert numpy_protocol._operation(double) is None


# ---- ndarray's methods that a tensor lacks

def test_what_only_ndarray_has():
    x = cb.tensor([3.0, 1.0])
    missing = [n for n in dir(np.ndarray) if not n.startswith("_") and not hasattr(x, n)]
    assert {"sort", "fill", "tobytes", "tofile", "flags"} <= set(missing)
    for name in missing:
        with pytest.raises(AttributeError, match=rf"no {name}, which is ndarray's; .*t\.numpy\(\)\.{name}"):
            getattr(x, name)
        with pytest.raises(AttributeError):
            getattr(cb.Parameter([1.0]), name)
        assert name not in dir(x)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        x.nothing                                            # noqa: B018
    assert {"sum", "shape", "numpy"} <= set(dir(x))


def test_items_are_not_written():
    x, w = cb.tensor([3.0, 1.0]), cb.Parameter([1.0])
    for t in (x, w):
        with pytest.raises(TypeError, match=r"x\[i\] = v.*cb\.where.*assign"):
            t[0] = 1.0
        with pytest.raises(TypeError, match="deleted"):
            del t[0]
    y = x
    y += 1
    assert y.tolist() == [4.0, 2.0] and x.tolist() == [3.0, 1.0]


def test_items_by_place():
    x = np.arange(6.0).reshape(2, 3)
    t = cb.tensor(x)
    assert t.item(4) == x.item(4) and t.item(1, -1) == x.item(1, -1) and t.item((0, 1)) == x.item((0, 1))
    with pytest.raises(IndexError, match="out of bounds"):
        t.item(6)
    with pytest.raises(cb.ShapeError):
        t.item()


def test_copies_of_states_stay():
    s = cb.State([[1.0, 2.0]])
    copies = s.copy(), np.copy(s), s.flatten(), s.reshape(2, copy=True)
    view = s.ravel()
    s.assign([[3.0, 4.0]])
    assert [c.numpy().ravel().tolist() for c in copies] == [[1.0, 2.0]] * 4 and view.tolist() == [3.0, 4.0]
    w = cb.Parameter([1.0, 2.0])
    (w.copy() * w.flatten()).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]
