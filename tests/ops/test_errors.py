"""Errors: type, the op's name, both shapes; nothing changes; no arguments crash the interpreter."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from notes import secret

import cybackprop as cb
from cybackprop import nn

GARBAGE = Path(__file__).parents[1] / "garbage.py"

A, B = cb.ones((2, 3)), cb.ones((4, 5))
X, W = cb.tensor(np.ones((2, 3)), requires_grad=True), cb.Parameter(np.ones((3, 4)))
WIDE, INTS, TRUTH = cb.ones(3, dtype="float64"), cb.arange(3), cb.tensor([True, False, True])
SHAPE, DTYPE, TAPE = cb.ShapeError, cb.DTypeError, cb.TapeError

LAYER = nn.Dense(3, 2, rng=0)
COUNTED = nn.Dense(3, 2, rng=0)
COUNTED.count = cb.State([0])


def hooked(result):
    h = X * 2
    h.register_hook(lambda g: result)
    h.backward(np.ones((2, 3)))


def swept_twice():
    y = cb.sum(X * X)
    y.backward()
    y.backward()


turn = iter([1.0, 1.0, 2.0])
hidden = secret(lambda: next(turn))
unlike = cb.compile(lambda x: x * hidden())              # depends on what no guard sees; its third call is a replay
KEPT = []
COUNT = cb.State(0.0)


def scan(body, init=A, xs=None, length=3):
    return cb.scan(body, init, xs, length)


def in_program(f, *args):
    return cb.compile(f)(*args)


def never(c):
    return cb.sum(c) < 0


# name of the public function (its documented Raises are counted), call, error, what the message holds
ERRORS = (
    ("tensor", lambda: cb.tensor([[1.0], [2.0, 3.0]]), SHAPE, "tensor"),
    ("tensor", lambda: cb.tensor(np.zeros((1,) * 9)), SHAPE, "8 axes"),
    ("tensor", lambda: cb.tensor([1j]), DTYPE, "complex128"),
    ("tensor", lambda: cb.tensor("abc"), DTYPE, "float32, float64, int64 or bool"),
    ("tensor", lambda: cb.tensor([None]), DTYPE, "object"),
    ("tensor", lambda: cb.tensor([1], requires_grad=True), DTYPE, "int64"),
    ("tensor", lambda: cb.tensor([1.0], "float16"), DTYPE, "float16"),
    ("add", lambda: cb.add(A, B), SHAPE, r"add.*\(2, 3\).*\(4, 5\)"),
    ("add", lambda: A + WIDE, DTYPE, "add.*float32.*float64"),
    ("add", lambda: A + INTS, DTYPE, "add.*float32.*int64.*astype"),
    ("add", lambda: INTS + 2 ** 63, DTYPE, "add.*9223372036854775808.*int64"),
    ("sub", lambda: TRUTH - TRUTH, DTYPE, "sub.*bool.*bitwise_xor"),
    ("neg", lambda: -TRUTH, DTYPE, "neg.*bool.*logical_not"),
    ("pow", lambda: INTS ** -2, ValueError, "pow.*-2.*astype"),
    ("pow", lambda: cb.pow(INTS, cb.tensor([1, -3, 0])), ValueError, "pow.*b < 0.*-3 at place 1.*astype"),
    ("atan2", lambda: cb.atan2(INTS, INTS), DTYPE, "atan2.*int64.*astype"),
    ("clip", lambda: cb.clip(INTS, 0.5, 3), ValueError, r"clip.*0\.5"),
    ("bitwise_and", lambda: INTS & A[0], DTYPE, "bitwise_and.*int64.*float32"),
    ("bitwise_or", lambda: A | A, DTYPE, "bitwise_or.*float32"),
    ("bitwise_xor", lambda: TRUTH ^ A[0], DTYPE, "bitwise_xor.*bool.*float32"),
    ("invert", lambda: ~A, DTYPE, "invert.*float32"),
    ("add", lambda: A + "a", DTYPE, "add"),
    ("less", lambda: A < B, SHAPE, r"less.*\(2, 3\).*\(4, 5\)"),
    ("exp", lambda: cb.exp(INTS), DTYPE, "exp.*int64.*astype"),
    ("matmul", lambda: A @ A, SHAPE, r"matmul.*\(2, 3\).*\(2, 3\).*3 and 2"),
    ("matmul", lambda: cb.ones(4) @ A, SHAPE, r"matmul.*\(4,\).*\(2, 3\)"),
    ("matmul", lambda: cb.ones((2, 1, 3)) @ cb.ones((3, 3, 1)), SHAPE, r"matmul.*\(2,.*\(3,"),
    ("matmul", lambda: cb.matmul(2.0, A), SHAPE, r"matmul.*\(\).*\(2, 3\)"),
    ("matmul", lambda: A @ cb.ones((3, 1), dtype="float64"), DTYPE, "matmul.*float32.*float64"),
    ("matmul", lambda: INTS @ INTS, DTYPE, "matmul.*int64"),
    ("dense", lambda: cb.dense(A, B), SHAPE, r"dense.*\(2, 3\).*\(4, 5\).*3 columns.*4 rows"),
    ("dense", lambda: cb.dense(A, cb.ones((7, 3))), SHAPE, r"\(7, 3\).*torch"),
    ("dense", lambda: cb.dense(A, cb.ones((3, 4)), cb.ones(5)), SHAPE, r"dense.*bias.*\(5,\).*\(3, 4\)"),
    ("dense", lambda: cb.dense(A, cb.ones(3)), SHAPE, r"dense.*\(3,\)"),
    ("dense", lambda: cb.dense(A, W), DTYPE, "dense.*float"),
    ("dense", lambda: cb.dense(X, W, activation="no such"), ValueError, "no such.*relu"),
    ("sum", lambda: cb.sum(A, axis=2), SHAPE, "sum.*2"),
    ("sum", lambda: cb.sum(A, axis=(0, -2)), SHAPE, "sum.*twice"),
    ("mean", lambda: cb.mean(A, axis=-3), SHAPE, "mean.*-3"),
    ("var", lambda: cb.var(A, axis=5), SHAPE, "var.*5"),
    ("max", lambda: cb.max(cb.zeros((2, 0)), 1), SHAPE, r"max.*\(2, 0\)"),
    ("min", lambda: cb.min(cb.zeros((2, 0)), 1), SHAPE, r"min.*\(2, 0\)"),
    ("argmin", lambda: cb.argmin(cb.zeros((2, 0)), 1), SHAPE, r"argmin.*\(2, 0\)"),
    ("std", lambda: cb.std(A, axis=5), SHAPE, "std.*5"),
    ("cumsum", lambda: cb.cumsum(A, 2), SHAPE, "cumsum.*2"),
    ("any", lambda: cb.any(A, 2), SHAPE, "any.*2"),
    ("all", lambda: cb.all(A, 2), SHAPE, "all.*2"),
    ("categorical", lambda: cb.Generator(0).categorical(INTS), DTYPE, "categorical.*int64"),
    ("categorical", lambda: cb.Generator(0).categorical(cb.zeros((2, 0))), SHAPE, r"categorical.*\(2, 0\)"),
    ("categorical", lambda: cb.Generator(0).categorical(cb.tensor([0, float("nan")])), ValueError, "categorical.*NaN"),
    ("argmax", lambda: cb.argmax(cb.zeros((2, 0)), 1), SHAPE, r"argmax.*\(2, 0\)"),
    ("softmax", lambda: cb.softmax(cb.zeros((2, 0))), SHAPE, r"softmax.*\(2, 0\)"),
    ("log_softmax", lambda: cb.log_softmax(A, axis=7), SHAPE, "log_softmax.*7"),
    ("logsumexp", lambda: cb.logsumexp(INTS), DTYPE, "logsumexp.*int64"),
    ("reshape", lambda: A.reshape(4, 2), SHAPE, r"reshape.*\(2, 3\).*\(4, 2\)"),
    ("reshape", lambda: A.reshape(-1, -1), SHAPE, r"reshape.*\(-1, -1\)"),
    ("transpose", lambda: A.transpose(0, 0), SHAPE, r"transpose.*\(0, 0\).*\(2, 3\)"),
    ("transpose", lambda: A.transpose(0), SHAPE, r"transpose.*\(2, 3\)"),
    ("broadcast_to", lambda: cb.broadcast_to(A, (4, 3)), SHAPE, r"broadcast_to.*\(2, 3\).*\(4, 3\)"),
    ("broadcast_to", lambda: cb.broadcast_to(A, (3,)), SHAPE, r"broadcast_to.*\(2, 3\).*\(3,\)"),
    ("concatenate", lambda: cb.concatenate([]), SHAPE, "concatenate"),
    ("concatenate", lambda: cb.concatenate([A, B]), SHAPE, r"concatenate.*\(2, 3\).*\(4, 5\)"),
    ("concatenate", lambda: cb.concatenate([A, cb.ones(3)]), SHAPE, r"concatenate.*\(2, 3\).*\(3,\)"),
    ("concatenate", lambda: cb.concatenate([1.0, 2.0]), SHAPE, "concatenate.*stack"),
    ("concatenate", lambda: cb.concatenate([A, cb.ones((2, 3), dtype="float64")]), DTYPE, "concatenate.*float64"),
    ("stack", lambda: cb.stack([A, B]), SHAPE, r"stack.*\(2, 3\).*\(4, 5\)"),
    ("stack", lambda: cb.stack([]), SHAPE, "stack"),
    ("take", lambda: cb.take(A, [0, 2, 7]), IndexError, r"take.*index 2 at place 1.*\[-2, 2\)"),
    ("take", lambda: cb.take(A, [-3]), IndexError, "take.*-3"),
    ("take", lambda: cb.take(A, [0.5]), DTYPE, "take.*float"),
    ("gather", lambda: cb.gather(A, [[5], [0]]), IndexError, "gather.*5"),
    ("gather", lambda: cb.gather(A, [5]), SHAPE, r"gather.*\(1,\).*\(2, 3\)"),
    ("one_hot", lambda: cb.one_hot([3], 3), IndexError, r"one_hot.*3.*\[0, 3\)"),
    ("one_hot", lambda: cb.one_hot([0], 3, dtype="int64"), DTYPE, "one_hot.*int64"),
    ("getitem", lambda: A[2], IndexError, r"index.*2.*\(2, 3\)"),
    ("getitem", lambda: A[0, 0, 0], IndexError, r"index.*3.*\(2, 3\)"),
    ("getitem", lambda: A[[0, 9]], IndexError, r"index.*9.*\(2, 3\)"),
    ("where", lambda: cb.where(A, A, A), DTYPE, "where.*float32.*bool"),
    ("where", lambda: cb.where(TRUTH, WIDE, cb.ones(3)), DTYPE, "where.*float64.*float32"),
    ("where", lambda: cb.where(TRUTH, B, 0), SHAPE, r"where.*\(3,\).*\(4, 5\)"),
    ("logical_and", lambda: cb.logical_and(INTS, TRUTH), DTYPE, "logical_and.*int64.*bool"),
    ("logical_not", lambda: cb.logical_not(INTS), DTYPE, "logical_not.*int64"),
    ("astype", lambda: A.astype("complex64"), DTYPE, "complex64"),
    ("astype", lambda: A.astype("int64", casting="safe"), DTYPE, "astype.*'safe'.*float32.*int64"),
    ("squeeze", lambda: A.squeeze(0), SHAPE, r"squeeze.*axis 0.*\(2, 3\)"),
    ("squeeze", lambda: np.squeeze(A, 2), SHAPE, "squeeze.*axis 2"),
    ("dot", lambda: A.dot(cb.ones((2, 3, 4))), SHAPE, r"dot.*\(2, 3\).*\(2, 3, 4\).*matmul"),
    ("dot", lambda: np.dot(A, A), SHAPE, r"\(2, 3\).*\(2, 3\)"),
    ("moveaxis", lambda: np.moveaxis(A, (0, 1), 0), SHAPE, "moveaxis.*2 axes.*1"),
    ("moveaxis", lambda: np.moveaxis(A, (0, 0), (0, 1)), SHAPE, "moveaxis.*twice"),
    ("expand_dims", lambda: np.expand_dims(A, 3), SHAPE, "expand_dims.*axis 3"),
    ("swapaxes", lambda: A.swapaxes(0, 2), SHAPE, "swapaxes.*axis 2"),
    ("reshape", lambda: A.reshape(6, order="B"), ValueError, "reshape.*order.*'B'"),
    ("hstack", lambda: np.hstack([A, B]), SHAPE, r"\(2, 3\).*\(4, 5\)"),
    ("dropout", lambda: cb.dropout(A, 1.0), ValueError, r"dropout.*1\.0.*\[0, 1\)"),
    ("dropout", lambda: cb.dropout(A, float("nan")), ValueError, "dropout.*nan"),
    ("grad", lambda: cb.grad(lambda x: x)(A), SHAPE, r"grad.*\(2, 3\).*vjp"),
    ("grad", lambda: cb.grad(lambda x: 1.0)(A), TAPE, "grad.*float"),
    ("grad", lambda: cb.grad(cb.sum)(INTS), DTYPE, "grad.*int64"),
    ("grad", lambda: cb.grad(cb.sum, argnums=3)(A), TypeError, "argnums 3"),
    ("jvp", lambda: cb.jvp(cb.exp, (A,), (B,)), SHAPE, r"jvp.*\(2, 3\).*\(4, 5\)"),
    ("jvp", lambda: cb.jvp(cb.exp, (A,), (A, A)), SHAPE, "jvp.*2 parts.*1"),
    ("vjp", lambda: cb.vjp(cb.exp, A)[1](B), SHAPE, r"vjp.*\(4, 5\).*\(2, 3\)"),
    ("vjp", lambda: cb.vjp(cb.exp, A)[1]([A, A]), SHAPE, "vjp"),
    ("backward", lambda: (X * 2).backward(), SHAPE, r"backward.*\(2, 3\).*gradient="),
    ("backward", lambda: (X * 2).backward(B), (SHAPE, DTYPE), "backward"),
    ("backward", lambda: (X * 2).backward(B.numpy()), SHAPE, r"backward.*\(4, 5\).*\(2, 3\)"),
    ("backward", lambda: A.backward(A), TAPE, "backward.*takes no gradient"),
    ("backward", swept_twice, TAPE, "freed.*retain_graph"),
    ("hook", lambda: hooked(B.numpy()), SHAPE, r"hook.*\(4, 5\).*\(2, 3\)"),
    ("assign", lambda: W.assign(np.ones((4, 3))), SHAPE, r"assign.*\(3, 4\).*\(4, 3\)"),
    ("assign", lambda: cb.Parameter([1.0]).assign([1j]), DTYPE, "assign.*complex128.*float32"),
    ("Parameter", lambda: cb.Parameter([1, 2]), DTYPE, "Parameter.*int64"),
    ("grad=", lambda: setattr(W, "grad", np.ones(3)), SHAPE, r"grad.*\(3,\).*\(3, 4\)"),
    ("grad=", lambda: setattr(W, "grad", cb.ones((3, 4))), DTYPE, "grad.*float32.*float64"),
    ("requires_grad", lambda: setattr(INTS, "requires_grad", True), DTYPE, "int64"),
    ("item", lambda: A.item(), SHAPE, r"item.*\(2, 3\)"),
    ("bool", lambda: bool(A), ValueError, r"\(2, 3\)"),
    ("len", lambda: len(cb.tensor(1.0)), TypeError, "length"),
    ("iter", lambda: iter(cb.tensor(1.0)), TypeError, "iterated"),
    ("index", lambda: [1, 2][cb.tensor(1.0)], TypeError, "index"),
    ("Tensor", lambda: cb.Tensor(), TypeError, "cybackprop.tensor"),
    ("functional_call", lambda: cb.functional_call(LAYER, {"no": A}, A), KeyError, "functional_call.*no.*weight"),
    ("functional_call", lambda: cb.functional_call(COUNTED, {"count": [0.5]}, A), DTYPE, "count.*float64.*int64"),
    ("functional_call", lambda: cb.functional_call(LAYER, {"weight": A}, A), SHAPE,
     r"functional_call.*\(2, 3\).*\(3, 2\)"),
    ("set_num_threads", lambda: cb.set_num_threads(0), ValueError, "1 to 1024"),
    ("Generator", lambda: cb.Generator(0).integers(0), ValueError, "integers.*0"),
    ("compile", lambda: cb.compile(lambda x: x * x.sum().item(), strict=True)(A), TAPE,
     "item.*reads the value.*cb.where"),
    ("compile", lambda: [unlike(A) for _ in range(4)], cb.AuditError, "another constant.*mul at .*test_errors.py"),
    ("compile", lambda: cb.compile(3), TypeError, "compile.*int"),
    ("scan", lambda: cb.scan(3, A, length=1), TypeError, "scan.*int"),
    ("scan", lambda: scan(lambda c, x: c), TypeError, "scan.*carry, y.*Tensor"),
    ("scan", lambda: scan(lambda c, x: ((c, c), None)), SHAPE, r"scan: carry was \* and the body returned \(\*, \*\)"),
    ("scan", lambda: scan(lambda c, x: ({"h": c["h"], "k": c["h"]}, None), {"h": A}), SHAPE,
     r"carry was \{'h': \*\} and the body returned \{'h': \*, 'k': \*\}"),
    ("scan", lambda: scan(lambda c, x: ({"h": (A, B)}, None), {"h": (A, A)}), SHAPE,
     r"scan: carry\['h'\]\[1\] had shape \(2, 3\) and the body returned \(4, 5\)"),
    ("scan", lambda: scan(lambda c, x: ([c[0].astype("float64")], None), [A]), DTYPE,
     r"scan: carry\[0\] was float32 and the body returned float64"),
    ("scan", lambda: scan(lambda c, x: (0.5, None), 0), DTYPE, "scan.*int64.*float64"),
    ("scan", lambda: scan(lambda c, x: (c, x), A, {"a": A, "b": B}, None), SHAPE, r"scan: xs differ.*'a'.*2.*'b'.*4"),
    ("scan", lambda: scan(lambda c, x: (c, x), A, A), SHAPE, "scan: length is 3, but xs have 2"),
    ("scan", lambda: scan(lambda c, x: (c, x), A, {"a": 1.0}), SHAPE, r"scan: xs\['a'\] has no axes"),
    ("scan", lambda: scan(lambda c, x: (c, x), A, None, None), ValueError, "scan.*length="),
    ("scan", lambda: scan(lambda c, x: (c, x), A, None, -1), ValueError, "scan: length is -1"),
    ("scan", lambda: scan(lambda c, x: (c if c[0, 0] > 0 else -c, None)), TAPE,
     r"scan: the body asks.*cb\.where.*cb\.cond"),
    ("scan", lambda: scan(lambda c, x: (c * c[0, 0].item(), None)), TAPE, "item.*reads a value.*cb.where"),
    ("scan", lambda: scan(lambda c, x: (c + c.numpy(), None)), TAPE, "numpy.*reads a value.*cb.where"),
    ("scan", lambda: scan(lambda c, x: (KEPT.append(c * 2), (c, None))[1]), TAPE, "scan.*kept outside.*mul"),
    ("scan", lambda: scan(lambda c, x: (cb.sum(W * W).backward(), (c, None))[1]), TAPE, r"scan.*\.grad.*\(3, 4\)"),
    ("scan", lambda: scan(lambda c, x: ((s := cb.State(0.0)).assign(s + 1), (c, None))[1]), TAPE,
     "scan.*makes a.*State"),
    ("scan", lambda: scan(lambda c, x: (c, cb.zeros((1,) * 8))), SHAPE, "scan.*8 axes"),
    ("while_loop", lambda: cb.while_loop(A, A, A), TypeError, "while_loop"),
    ("while_loop", lambda: cb.while_loop(never, lambda c: (c, c), A), SHAPE, r"while_loop: carry was \*.*\(\*, \*\)"),
    ("while_loop", lambda: cb.while_loop(never, lambda c: B, A), SHAPE, r"while_loop.*\(2, 3\).*\(4, 5\)"),
    ("while_loop", lambda: cb.while_loop(never, lambda c: c.astype("float64"), A), DTYPE, "while_loop.*float32.*64"),
    ("while_loop", lambda: cb.while_loop(cb.sum, lambda c: c, A), DTYPE, "while_loop: the condition.*float32"),
    ("while_loop", lambda: cb.while_loop(lambda c: c > 0, lambda c: c, A), SHAPE, r"while_loop: the cond.*\(2, 3\)"),
    ("while_loop", lambda: cb.while_loop(lambda c: bool(never(c)), lambda c: c, A), TAPE, "while_loop: the body asks"),
    ("while_loop", lambda: cb.while_loop(lambda c: (COUNT.assign(COUNT + 1), never(c))[1], lambda c: c, A), TAPE,
     "while_loop: the condition writes a State"),
    ("while_loop", lambda: cb.while_loop(never, lambda c: c, A, -1), ValueError, "while_loop: max_steps is -1"),
    ("while_loop", lambda: cb.while_loop(lambda c: c < 9, lambda c: c + 1, 0.0, 3), TAPE, "while_loop.*max_steps=3"),
    ("cond", lambda: cb.cond(True, 1, 2), TypeError, "cond.*int"),
    ("cond", lambda: cb.cond(cb.sum(A), cb.sin, cb.cos, A), DTYPE, "cond: the predicate.*float32"),
    ("cond", lambda: cb.cond(A > 0, cb.sin, cb.cos, A), SHAPE, r"cond: the predicate.*\(2, 3\)"),
    ("cond", lambda: cb.cond([True, False], cb.sin, cb.cos, A), SHAPE, r"cond: the predicate.*\(2,\)"),
    ("cond", lambda: in_program(lambda x: cb.cond(never(x), lambda x: (x, x), cb.sin, x), A), SHAPE,
     r"cond: the true branch returns \(\*, \*\) and the false branch \*"),
    ("cond", lambda: in_program(lambda x: cb.cond(never(x), lambda x: cb.sum(x), cb.sin, x), A), SHAPE,
     r"cond: the true branch returns shape \(\) and the false branch \(2, 3\)"),
    ("cond", lambda: in_program(lambda x: cb.cond(never(x), lambda x: x.astype("float64"), cb.sin, x), A), DTYPE,
     "cond: the true branch returns float64 and the false branch float32"),
    ("save_programs", lambda: cb.save_programs("f", f=(lambda x: x.reshape(2, 3), A)), TAPE,
     "f fails at batch size 3.*batch="),
    ("save_programs", lambda: cb.save_programs("f", f=(lambda x: x * x.item(), A)), (SHAPE, TAPE), "item"),
    ("load_program", lambda: cb.load_program(__file__), cb.ModelFileError, "test_errors.py.*safetensors"),
    ("load_program", lambda: cb.load_program("no such file"), OSError, "no such file"),
    ("load_program", lambda: cb.load_program(0), TypeError, "int"),
)
IDS = [f"{i} {row[0]}" for i, row in enumerate(ERRORS)]


@pytest.mark.parametrize("name, call, error, says", ERRORS, ids=IDS)
def test_message(name, call, error, says):
    KEPT.clear()
    state = [t.numpy().tobytes() for t in (A, B, X, W, INTS, COUNT)], W.version
    X.grad = W.grad = None
    with pytest.raises(error) as caught:
        call()
    assert re.search(says, str(caught.value), re.S), str(caught.value)
    assert ([t.numpy().tobytes() for t in (A, B, X, W, INTS, COUNT)], W.version) == state
    assert W.grad is None and cb.is_grad_enabled()
    assert (X * 1).requires_grad         # the engine goes on


def documented():
    """(function, error) of every Raises section of a public docstring; elementwise rows have one docstring a table."""
    seen = {}
    places = {**{n: getattr(cb, n) for n in dir(cb) if not n.startswith("_")},
              **{n: getattr(cb.Tensor, n) for n in vars(cb.Tensor) if n != "T"}, "assign": cb.Parameter.assign}
    for name, f in places.items():
        section = re.search(r"Raises\n\s+-+\n(.*?)(\n\s*\n\s+\w+\n\s+-+\n|\Z)", getattr(f, "__doc__", None) or "", re.S)
        if section:
            key = "add" if "operands broadcast as in NumPy" in f.__doc__ else name
            for error in re.findall(r"\w*Error", section[1]):
                seen.setdefault((key, error), name)
    return sorted(seen)


@pytest.mark.parametrize("name, error", documented(), ids=str)
def test_every_raises_line_has_a_row(name, error):
    kinds = [row[2] for row in ERRORS if row[0] == name]
    assert any(error in [e.__name__ for e in (k if isinstance(k, tuple) else (k,)) if e] for k in kinds)


# ---- garbage

@pytest.fixture(scope="module")
def garbage():
    """What random wrong arguments did to each public function, in a process of its own."""
    if not hasattr(os, "fork"):
        pytest.skip("one fork a function")
    done = subprocess.run([sys.executable, str(GARBAGE)], capture_output=True, text=True, timeout=250,
                          env={**os.environ, "PYTHONPATH": str(Path(cb.__file__).parents[1])})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.plain_build
def test_no_arguments_crash_the_interpreter(garbage):
    crashed = {name: entry["last"] for name, entry in garbage.items() if entry["status"] != 0}
    assert crashed == {} and len(garbage) > 200


@pytest.mark.plain_build
def test_wrong_arguments_raise_what_they_should(garbage):
    """Not AttributeError, StopIteration, SystemError ... and no argument changes."""
    assert [line for entry in garbage.values() if entry["status"] == 0 for line in entry["odd"]] == []
