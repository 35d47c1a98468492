"""The benchmark: machine, equal losses, tables, promises.

Exits 1 if a peer is missing or losses differ; a missed figure is shown and does not fail the run.
"""

import importlib
import sys

from session import Session

SECTIONS = ("grid", "tape", "imports")


def chosen(session):
    """Rows of the grid that this run wants."""
    from networks import GRID

    if session.options.networks:
        names = session.options.networks.split(",")
        if unknown := set(names) - {n.name for n in GRID}:
            session.parser.error(f"--networks: none is called {', '.join(sorted(unknown))}; there are "
                                 + ", ".join(n.name for n in GRID))
        return [n for n in GRID if n.name in names]
    return [n for n in GRID if n.mflop < 1000] if session.options.quick else GRID


def main():
    session = Session("benchmarks/run.py", __doc__.splitlines()[0], SECTIONS,
                      "fewer samples, no big networks; under 40 s",
                      [("--networks", {"metavar": "A,B", "help": "some rows of the grid, by name"})])
    if not session.start():
        return 1
    options, out, found = session.options, session.out, session.peers
    fine = True
    if "grid" in options.only:
        networks = chosen(session)
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
    session.finish()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
