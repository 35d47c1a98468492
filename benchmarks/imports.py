"""What the package costs before it does anything: import time beyond NumPy, and the size of the wheel."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import timing
from report import table

DIST = Path(__file__).resolve().parent.parent / "dist"
CODE = """
import sys, time
clock = time.process_time if sys.argv[1] == "cpu" else time.perf_counter
start = clock(); import numpy; middle = clock(); import {module}
print(middle - start, clock() - middle)
"""


def measure(out, repeats, others=("torch",)):
    """Print the median of fresh processes; torch for comparison."""
    rows = []
    for module, n in [("cybackprop", repeats), *[(name, max(3, repeats // 7)) for name in others]]:
        fresh(module)                    # the first one may write bytecode and read the disk
        numpy_ms, own_ms = zip(*[fresh(module) for _ in range(n)], strict=True)
        low, middle, high = statistics.quantiles(own_ms, n=4)
        rows.append([module, f"{middle:.1f} [{(high - low) / middle:.0%}]", f"{statistics.median(numpy_ms):.1f}", n])
        out.record("import", module, module, "ms beyond numpy", middle)
        if module == "cybackprop":
            out.figures["import.ms"] = middle
    out.say(table(["import", "ms beyond numpy", "numpy itself", "processes"], rows))
    wheels = sorted(DIST.glob("cybackprop-*.whl"), key=lambda p: p.stat().st_mtime)
    size = wheels[-1].stat().st_size / 1e6 if wheels else None
    out.figures["wheel.mb"] = size
    out.record("import", "wheel", "cybackprop", "MB", size)
    out.say(f"wheel: {size:.3f} MB, {wheels[-1].name}" if wheels else "wheel: none in dist/; `make wheel` builds it")


def fresh(module):
    """(numpy, module beyond numpy) in ms, in a new process, started where no checkout is in the way."""
    name = next(name for name, f in timing.CLOCKS.items() if f is timing.clock)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}      # installed packages have theirs
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run([sys.executable, "-c", CODE.format(module=module), name], cwd=elsewhere, env=env,
                              capture_output=True, text=True, check=True)
    return [float(seconds) * 1e3 for seconds in done.stdout.split()]
