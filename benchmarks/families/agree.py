"""Every instruction set of this CPU: products against the reference kernel, elementwise rows against each other.

Bits must be equal: a product's to those of `matmul_ref` on the same kernels, everything on AVX2 to AVX-512.
"""

import numpy as np
from report import table

from cybackprop import kernels
from cybackprop._core import engine
from cybackprop._core.engine import matmul_ref

SHAPES = [(1, 1, 1), (1, 10, 64), (8, 17, 33), (17, 31, 67), (32, 64, 64), (65, 64, 100), (130, 600, 130),
          (3, 700, 300), (200, 10, 100), (1, 2048, 256), (128, 1, 700), (10, 10, 1500), (300, 256, 40)]
DTYPES = ("float32", "float64")
LAYOUTS = {"NN": ((0, 2), (2, 1)), "NT": ((0, 2), (1, 2)), "TN": ((2, 0), (2, 1))}        # of (M, N, K)


def products(rng):
    """(what, a, b, layout, bias) of many shapes."""
    for shape in SHAPES:
        for dtype in DTYPES:
            for layout, axes in LAYOUTS.items():
                a, b = (rng.standard_normal([shape[i] for i in pair]).astype(dtype) for pair in axes)
                bias = None if layout == "TN" else rng.standard_normal(shape[1]).astype(dtype)
                yield f"{layout} {'x'.join(map(str, shape))} {dtype}", a, b, layout, bias


def elementwise(rng):
    """(what, result) of every row, forward and slope, with odd ends and special numbers."""
    special = np.array([0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 88.8, -104.0, 3e38, -3e38])
    for row in engine.unary_rows.values():
        for dtype in DTYPES:
            x = np.concatenate([rng.uniform(row.facts["low"], row.facts["high"], 1021),
                                rng.standard_normal(500) * 30, special]).astype(dtype)
            g = rng.standard_normal(x.size).astype(dtype)
            y = kernels.activation_forward(row.name, x)
            yield f"{row.name} {dtype}", y
            yield f"{row.name} slope {dtype}", kernels.activation_backward(
                row.name, y if row.facts["keeps"] == "Y" else x, g)


def same(a, b):
    """Equal bits, but that any NaN is any other."""
    nan = np.isnan(a)
    return bool((np.array_equal(nan, np.isnan(b))) and a[~nan].tobytes() == b[~nan].tobytes())


def measure(out, quick):
    """Print a line an instruction set; returns whether all agree."""
    targets, in_use = engine.runnable_targets(), engine.active_target()
    rows, wrong, results = [], [], {}
    try:
        with np.errstate(all="ignore"):
            for target in targets:
                out.progress(f"agree {target}")
                engine.select_kernels(target)
                count = 0
                for what, a, b, layout, bias in products(np.random.default_rng(0)):
                    got = kernels.matmul(a, b, layout=layout, bias=bias)
                    count += 1
                    if not same(got, matmul_ref(a, b, layout=layout, bias=bias)):
                        wrong.append(f"{target}: {what}")
                    results.setdefault(what, {})[target] = got
                for what, got in elementwise(np.random.default_rng(1)):
                    results.setdefault(what, {})[target] = got
                rows.append([target, count, sum(w.startswith(f"{target}:") for w in wrong)])
    finally:
        engine.select_kernels(in_use)
    out.say(table(["instruction set", "products", "differ from the reference"], rows))
    wide = [t for t in targets if t != "base"]
    if len(wide) > 1:
        differ = [what for what, got in results.items() if not all(same(got[wide[0]], got[t]) for t in wide[1:])]
        wrong += [f"{' and '.join(wide)}: {what}" for what in differ]
        out.say(f"{' and '.join(wide)}: {len(results)} results of products and elementwise rows, {len(differ)} differ")
    out.figures["agree.differences"] = len(wrong)
    if wrong:
        out.say("DIFFERENT: " + ", ".join(wrong[:20]))
    return not wrong
