"""Prove from the compiler's own report that every row's loops are vectorised on AVX2 and AVX-512.

GCC names the line of the table for each loop that it vectorised.  A row of unary.def has 2 loops (forward, slope), one
of binary.def 3 (forward, two sides), a comparison 1; a slope that is a literal leaves nothing but a fill or a copy.
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
    wanted = re.findall(r'^(?:COMMON|GCC_SMALL) = .*?\]\n|^TARGETS = .*?\n|^    TARGETS\[.*?\]\n', source, re.S | re.M)
    exec("".join(line.lstrip() for line in wanted), names)
    return names["COMMON"] + names["GCC_SMALL"], names["TARGETS"]


def vectorised(target, flags, bits, common):
    """How many loops of each line of the tables were vectorised."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        subprocess.run(["gcc", *common, *flags, f"-DCBP_TARGET={target}", f"-DCBP_BITS={bits}", "-c",
                        "src/elementwise.c", "-o", str(Path(folder, "out.o")), f"-fopt-info-vec={report}",
                        "-fno-ipa-icf"], check=True, cwd=ROOT)
        lines = re.findall(r"(unary|binary)\.def:(\d+):\d+: optimized: loop vectorized", report.read_text())
    return Counter((table, int(line)) for table, line in lines)


def columns(text):
    """The arguments of a macro call, split at commas that are in no parentheses."""
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


def rows(table):
    """(name, line, loops wanted) of each row."""
    text = (ROOT / f"src/{table}.def").read_text()
    for found in re.finditer(r"^CBP_(\w+) *\((.*?)\)\n(?=CBP_|/\*|\Z)", text, re.M | re.S):
        row = columns(found[2])
        loops = {"UNARY": 2, "HELPER": 2, "COMPARE": 1}.get(found[1], 3)
        yield row[0], text.count("\n", 0, found.start()) + 1, loops - row[1:].count("0") - row[1:].count("1")


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
