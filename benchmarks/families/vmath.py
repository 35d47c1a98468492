"""Elementwise functions and their slopes: ns an element and the worst error in ulp, beside NumPy's and torch's own.

Errors are of a sample: the row's range, magnitudes from 2^-30 to 2^12, and random bit patterns.
`make sweep` looks at every float32, where it exists.
"""

from functools import partial

import numpy as np
import torch
from report import table
from timing import alternate

import cybackprop as cb
from cybackprop import kernels
from cybackprop._core.engine import binary_rows, unary_rows

from . import exact

N = 10_000
TURN_US, WARM_S = 500, 0.003
WRONG_ULP = 1e10                         # no rounding, however it is amplified, gets there
DTYPES = ("float32", "float64")
nn, aten = torch._C._nn, torch.ops.aten

# fmt: off
NUMPY = {"neg": np.negative, "abs": np.abs, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
         "sqrt": np.sqrt, "square": np.square, "reciprocal": np.reciprocal, "sin": np.sin, "cos": np.cos,
         "tanh": np.tanh, "floor": np.floor, "sign": np.sign, "relu": lambda x, out: np.maximum(x, 0, out=out),
         "hard_tanh": lambda x, out: np.clip(x, -1, 1, out=out), "pow": np.power, "atan2": np.arctan2}
TORCH = {**{name: getattr(torch, name) for name in
            ("neg", "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "sin", "cos",
             "tanh", "sigmoid", "erf", "floor", "sign", "pow", "atan2")},
         "relu": lambda x, out: torch.clamp_min(x, 0, out=out), "leaky_relu": nn.leaky_relu, "elu": nn.elu,
         "gelu": nn.gelu, "gelu_tanh": partial(nn.gelu, approximate="tanh"), "silu": nn.silu, "mish": nn.mish,
         "softplus": nn.softplus, "hard_sigmoid": nn.hardsigmoid, "hard_tanh": nn.hardtanh}
# row: (cotangent, kept, room); kept is ours, so only rows where torch keeps the same
TORCH_SLOPES = {
    "relu":         lambda g, k, out: aten.threshold_backward.grad_input(g, k, 0, grad_input=out),
    "leaky_relu":   lambda g, k, out: aten.leaky_relu_backward.grad_input(g, k, 0.01, False, grad_input=out),
    "elu":          lambda g, k, out: aten.elu_backward.grad_input(g, 1, 1, 1, False, k, grad_input=out),
    "gelu":         lambda g, k, out: aten.gelu_backward.grad_input(g, k, grad_input=out),
    "gelu_tanh":    lambda g, k, out: aten.gelu_backward.grad_input(g, k, approximate="tanh", grad_input=out),
    "silu":         lambda g, k, out: aten.silu_backward.grad_input(g, k, grad_input=out),
    "mish":         lambda g, k, out: aten.mish_backward(g, k),
    "softplus":     lambda g, k, out: aten.softplus_backward.grad_input(g, k, 1, 20, grad_input=out),
    "hard_sigmoid": lambda g, k, out: aten.hardsigmoid_backward.grad_input(g, k, grad_input=out),
    "hard_tanh":    lambda g, k, out: aten.hardtanh_backward.grad_input(g, k, -1, 1, grad_input=out),
    "sigmoid":      lambda g, k, out: aten.sigmoid_backward.grad_input(g, k, grad_input=out),
    "tanh":         lambda g, k, out: aten.tanh_backward.grad_input(g, k, grad_input=out),
}
# fmt: on


def sample(low, high, dtype, n, rng):
    """Points that find errors."""
    bits = np.frombuffer(rng.bytes(n * np.dtype(dtype).itemsize), dtype)
    near = rng.choice([-1, 1], n) * 2 ** rng.uniform(-30, 12, n)
    x = np.concatenate([rng.uniform(low, high, n), near, bits[np.isfinite(bits)]]).astype(dtype)
    return np.ascontiguousarray(x)


def points_of(row, dtype):
    """(points for accuracy, points for timing, the row's scalars rounded to the dtype)."""
    rng = np.random.default_rng(0)
    low, high = row.facts["low"], row.facts["high"]
    p = tuple(exact.L(np.dtype(dtype).type(value)) for _, value in row.parameters)
    return sample(low, high, dtype, 60_000, rng), rng.uniform(low, high, N).astype(dtype), p


def values(row, dtype):
    """({peer: f(x, out)}, points for accuracy, exact results, x for timing)."""
    x, timed, p = points_of(row, dtype)
    calls = {"ours": lambda x, out: kernels.activation_forward(row.name, x, out=out)}
    if row.name in NUMPY:
        calls["numpy"] = lambda x, out: NUMPY[row.name](x, out=out)
    if row.name in TORCH:
        calls["torch"] = lambda x, out: TORCH[row.name](x, out=out)
    return calls, (x,), exact.UNARY[row.name][0](x.astype(exact.L), p), (timed,)


def slopes(row, dtype):
    """The same for the slope at what the row keeps, with a cotangent of 1."""
    x, timed, p = points_of(row, dtype)
    if row.facts["keeps"] == "Y":
        x, timed = (kernels.activation_forward(row.name, v) for v in (x, timed))
        x = x[~np.isnan(x)]
    calls = {"ours": lambda g, k, out: kernels.activation_backward(row.name, k, g, out=out)}
    if row.name in TORCH_SLOPES:
        calls["torch"] = TORCH_SLOPES[row.name]
    return calls, (np.ones_like(x), x), exact.slope(row.name, x, dtype, p), (np.ones_like(timed), timed)


def of_two(name, dtype):
    """The same for an op of two arguments; ours through tensors, which take their room from the pool."""
    rng = np.random.default_rng(0)
    facts = binary_rows[name].facts
    ranges = (facts["a_low"], facts["a_high"]), (facts["b_low"], facts["b_high"])
    points = tuple(sample(*r, dtype, 20_000, rng) for r in ranges)
    points = tuple(x[:min(map(len, points))] for x in points)
    if name == "pow":
        points = np.abs(points[0]), points[1]
    held = {}                            # arrays as tensors: made once, as a program has them

    def ours(a, b, out):
        ta, tb = held.setdefault(id(a), cb.tensor(a)), held.setdefault(id(b), cb.tensor(b))
        return row(ta, tb)
    row = getattr(cb, name)
    calls = {"ours": ours, "numpy": lambda a, b, out: NUMPY[name](a, b, out=out),
             "torch": lambda a, b, out: TORCH[name](a, b, out=out)}
    wanted = exact.BINARY[name](*(x.astype(exact.L) for x in points))
    return calls, points, wanted, tuple(rng.uniform(*r, N).astype(dtype) for r in ranges)


TABLES = {"f(x)": values, "slope": slopes}
# where NumPy has a vectorised function of its own
AGAINST_NUMPY = ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "pow", "atan2")


def cell(out, name, dtype, parts, turns, wrong):
    """{peer: "ns (ulp)"}, recorded too; what is far off goes to `wrong`."""
    calls, points, wanted, timed = parts
    cells, turn = {}, {}
    for peer, f in calls.items():
        wrap = torch.from_numpy if peer == "torch" else lambda x: x
        room, arguments = np.empty_like(points[0]), [wrap(x) for x in points]
        got = f(*arguments, out=wrap(room))
        got = got.numpy() if hasattr(got, "numpy") else got
        cells[peer] = exact.worst_ulp(got, wanted, dtype) if exact.EXTENDED or dtype == "float32" else None
        turn[peer] = partial(f, *[wrap(x) for x in timed], out=wrap(np.empty_like(timed[0])))
    measured = alternate(turn, turns, TURN_US, WARM_S)
    if cells["ours"] is not None and cells["ours"] > WRONG_ULP:
        wrong.append(f"{name} {dtype}")
    if name.endswith("f(x)") and name.split()[0] in AGAINST_NUMPY:
        out.against_numpy[f"{name.split()[0]} {dtype}"] = measured["numpy"].median / measured["ours"].median
    for peer, ulp in cells.items():
        ns = measured[peer].median * 1e3 / N
        out.record("vmath", f"{name} {dtype}", peer, "ns an element", ns)
        out.record("vmath", f"{name} {dtype}", peer, "worst ulp", ulp)
        cells[peer] = f"{ns:.2f} ({'-' if ulp is None else brief(ulp)})"
    return cells


def brief(ulp):
    return f"{ulp:.1f}" if ulp < 100 else f"{ulp:.0e}"


def measure(out, quick):
    """Print the tables; returns whether nothing is far off."""
    turns, wrong, out.against_numpy = 5 if quick else 11, [], {}
    rows = [row for row in unary_rows.values() if row.facts["public"]]
    with np.errstate(all="ignore"), cb.no_grad():
        for title, parts in TABLES.items():
            lines = []
            for row in rows:
                out.progress(f"vmath {row.name} {title}")
                got = [cell(out, f"{row.name} {title}", d, parts(row, d), turns, wrong) for d in DTYPES]
                lines.append([row.name, *columns(got, title)])
            if title == "f(x)":
                for name in exact.BINARY:
                    got = [cell(out, f"{name} {title}", d, of_two(name, d), turns, wrong) for d in DTYPES]
                    lines.append([name, *columns(got, title)])
            peers = ("ours", "numpy", "torch") if title == "f(x)" else ("ours", "torch")
            head = [f"{peer}{d}" for d in (" f32", " f64") for peer in peers]
            out.say(table([title, *head], lines) + "\n")
    out.say(f"ns an element (worst error in ulp, sampled) of {N} elements, the call from Python included; slopes with\n"
            "a cotangent of 1, at what the row keeps.  pow, atan2: ours makes a new tensor, the others write to `out`\n"
            f"float64 slopes of {', '.join(exact.CROSSING)} are not judged beside their zero, where long double is too "
            "short")
    out.figures["vmath.numpy"] = min(out.against_numpy.values())
    slower = [f"{name} {ratio:.2f}" for name, ratio in out.against_numpy.items() if ratio < 1]
    out.say(f"slower than NumPy's vectorised function (its time over ours): {', '.join(slower) or 'none'}")
    if wrong:
        out.say("WRONG RESULTS: " + ", ".join(wrong))
    return not wrong


def columns(got, title):
    """Cells of one line."""
    peers = ("ours", "numpy", "torch") if title == "f(x)" else ("ours", "torch")
    return [of_dtype.get(peer, "-") for of_dtype in got for peer in peers]
