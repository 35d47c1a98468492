"""Prove from the compiler's own report that every row's loops are vectorised on AVX2 and AVX-512.

GCC names the line of the table for each loop that it vectorised.  A row of unary.def has 3 loops (forward, slope set,
slope added), a differentiable row of binary.def 4 + 2 sides x 2 x 4 (operands dense or one number, in each pairing);
a loop over two single numbers, or one whose slope is a literal, may be nothing but a fill or a copy.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.argv = ["setup.py"]


def build_flags():
    """The flags of setup.py, read from there: written once."""
    source = (ROOT / "setup.py").read_text()
    names = {"X86": True, "platform": None}
    wanted = re.findall(r'^COMMON = .*?\]\n|^TARGETS = .*?\n|^    TARGETS\[.*?\]\n', source, re.S | re.M)
    exec("".join(line.lstrip() for line in wanted), names)
    return names["COMMON"], names["TARGETS"]


def vectorised(target, flags, bits, common):
    """How many loops of each line of the tables were vectorised."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        subprocess.run(["gcc", *common, *flags, f"-DCBP_TARGET={target}", f"-DCBP_BITS={bits}", "-c",
                        "src/elementwise.c", "-o", str(Path(folder, "out.o")), f"-fopt-info-vec={report}", "-fno-ipa-icf"],
                       check=True, cwd=ROOT)
        lines = re.findall(r"(unary|binary)\.def:(\d+):\d+: optimized: loop vectorized", report.read_text())
    return Counter((table, int(line)) for table, line in lines)


def rows(table):
    """(name, line, loops wanted) of each row."""
    for number, line in enumerate((ROOT / f"src/{table}.def").read_text().splitlines(), 1):
        found = re.match(r"CBP_(UNARY|HELPER|BINARY|STRONG|COMPARE) *\((\w+)", line)
        if found:
            yield found[2], number, {"UNARY": 3, "HELPER": 3, "COMPARE": 3}.get(found[1], 9)


def main():
    common, targets = build_flags()
    missing, checked = [], 0
    for target in ("avx2", "avx512"):
        for bits in (32, 64):
            counts = vectorised(target, targets[target], bits, common)
            for table in ("unary", "binary"):
                for name, line, wanted in rows(table):
                    checked += 1
                    got = counts[table, line]
                    if got < wanted:
                        missing.append(f"{name} ({target}, float{bits}): {got} of {wanted} loops, {table}.def:{line}")
    print("\n".join(missing) or f"vectorised: {checked} rows x targets x dtypes")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
