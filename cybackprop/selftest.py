"""One hash for everything the kernels compute: `python -m cybackprop selftest`.  Needs NumPy only."""

import argparse
from pathlib import Path

from cybackprop._core import engine

HASHES = Path(__file__).with_suffix(".txt")


def expected(fma):
    """The committed hash, of the targets with FMA or of those without."""
    return dict(line.split() for line in HASHES.read_text().splitlines())["fma" if fma else "base"]


def main(args):
    """Print the hash of each target that this CPU runs beside the committed one; 1 if they differ, else 0.

    Parameters
    ----------
    args : sequence of str
        The command line's arguments.
    """
    parser = argparse.ArgumentParser("cybackprop selftest", description="Hash everything that the kernels compute.")
    parser.add_argument("--target", choices=engine.runnable_targets(), help="only this one; default: all this CPU runs")
    parser.add_argument("--sections", action="store_true", help="also the hash of each part")
    options = parser.parse_args(args)
    status = 0
    for target in [options.target] if options.target else engine.runnable_targets():
        total, fma, sections, _ = engine.selftest(target)
        found, wanted = f"{total:016x}", expected(fma)
        kind = "with FMA" if fma else "without FMA"
        print(f"{target:7} {found}  {kind:11}  {'ok' if found == wanted else 'DIFFERENT: expected ' + wanted}")
        if options.sections:
            for name, (section, _) in sections.items():
                print(f"    {name:12} {section:016x}")
        status |= found != wanted
    return int(status)
