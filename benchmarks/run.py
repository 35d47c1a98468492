"""The benchmark: machine, equal losses, tables, promises.

Exits 1 if a peer is missing or losses differ; a missed figure is shown and does not fail the run.
"""

import argparse
import importlib
import sys
import time

import machine

SECTIONS = ("grid", "tape", "imports")


def arguments():
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="A,B", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--networks", metavar="A,B", help="some rows of the grid, by name")
    parser.add_argument("--quick", action="store_true", help="fewer samples, no big networks; under 40 s")
    parser.add_argument("--csv", metavar="FILE", help="write every measurement there")
    parser.add_argument("--core", type=int, metavar="N", help="pin to this core instead of the last one")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="cpu: count only the time the process ran, for a machine that others use too")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in SECTIONS]:
        parser.error(f"--only: no section is called {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return parser, options


def chosen(parser, options):
    """Rows of the grid that this run wants."""
    from networks import GRID

    if options.networks:
        names = options.networks.split(",")
        if unknown := set(names) - {n.name for n in GRID}:
            parser.error(f"--networks: none is called {', '.join(sorted(unknown))}; there are "
                         + ", ".join(n.name for n in GRID))
        return [n for n in GRID if n.name in names]
    return [n for n in GRID if n.mflop < 1000] if options.quick else GRID


def main():
    parser, options = arguments()
    began = time.perf_counter()
    pinned = machine.prepare(options.core)

    import peers
    found, missing = peers.load()
    if missing:
        for name, why in missing.items():
            print(f"{name} is missing: {why}", file=sys.stderr)
        print("`make bench-env` makes an environment with all peers", file=sys.stderr)
        return 1

    import timing
    from report import Output, promises
    timing.clock = timing.CLOCKS[options.clock]
    out = Output()
    for line in machine.header(pinned, found, options.clock):
        out.say(line)
        out.record("machine", "", "", *line.split(": ", 1))
    fine = True
    if "grid" in options.only:
        networks = chosen(parser, options)
        out.title("Equal losses first: same weights, same batches in the same order")
        fine = importlib.import_module("equal").check(networks, found, out)
        if fine:
            out.title("One training step: forward, backward, Adam")
            importlib.import_module("grid").measure(networks, found, out, 0.3 if options.quick else 1.0)
        else:
            out.say("losses differ: nothing was timed")
    if "tape" in options.only:
        out.title("The tape: chain y = tanh(y * x + x)")
        importlib.import_module("tape").measure(out, 10 if options.quick else 40)
    if "imports" in options.only:
        out.title("Import and wheel")
        importlib.import_module("imports").measure(out, 5 if options.quick else 20, () if options.quick else ("torch",))
    if timing.share() < 0.95:
        out.say(f"\nNOTE: others used this core too; {timing.share():.0%} of it was ours.")
        if options.clock == "wall":
            out.say("Ratios hold, microseconds do not: see --clock.")
    if out.figures:
        out.title("What was promised")
        promises(out)
    out.say(f"\n{time.perf_counter() - began:.0f} s")
    if options.csv:
        out.write(options.csv)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
