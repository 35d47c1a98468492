"""The benchmark: machine, equal losses, tables, promises.

Exits 1 if a peer is missing or losses differ; a missed figure is shown and does not fail the run.
"""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

from session import Session

SECTIONS = {"once": "One call a step from Python: forward, backward, Adam, float32",
            "loop": "The loop inside: the same steps, many a call",
            "float64": "One call a step, float64",
            "full": "Full batch",
            "tape": "The tape: chain y = tanh(y * x + x)",
            "predict": "One row from Python",
            "fit": "Epochs",
            "many": "Many networks at once, two cores",
            "imports": "Import and wheel"}
FLOAT64 = ("tiny-rl", "digits", "mnist")
QUICK = ("online", "tiny-rl", "digits")
README = Path(__file__).resolve().parent.parent / "README.md"
OPTIONS = [("--networks", {"metavar": "A,B", "help": "some rows of the grid, by name"}),
           ("--readme", {"metavar": "FILE", "nargs": "?", "const": README, "type": Path,
                         "help": "put the table of this run between the two markers of README.md, or of FILE"})]


def chosen(session):
    """Rows of the grid that this run wants."""
    from networks import GRID

    if session.options.networks:
        names = session.options.networks.split(",")
        if unknown := set(names) - {n.name for n in GRID}:
            session.parser.error(f"--networks: none is called {', '.join(sorted(unknown))}; there are "
                                 + ", ".join(n.name for n in GRID))
        return [n for n in GRID if n.name in names]
    return [n for n in GRID if n.name in QUICK] if session.options.quick else GRID


def equal_losses(session, networks):
    """Whether everything that trains in the chosen sections has equal losses."""
    import equal
    from networks import FULL_BATCH

    only, out, fine = session.options.only, session.out, True
    if {"once", "loop", "float64", "full"} & set(only):
        out.title("Equal losses first: same weights, same batches in the same order")
    if "once" in only:
        fine &= equal.steps(networks, out)
    if "loop" in only:
        fine &= equal.loops(networks, out)
    if "float64" in only:
        fine &= equal.steps(doubles(networks), out, float64_peers())
    if "full" in only:
        fine &= equal.steps([FULL_BATCH], out)
    equal.first_calls(out)
    if not fine:
        out.say("losses differ: nothing was timed")
    return fine


def doubles(networks):
    """Those of the networks that are measured in float64 too."""
    return [replace(n, dtype="float64") for n in networks if n.name in FLOAT64]


def float64_peers():
    """Ours and torch."""
    import peers
    return {name: peers.ONCE[name] for name in ("ours", "compiled", "torch")}


def tables(session, networks):
    """Measure the chosen sections; whether what they compare agrees."""
    options, out, fine = session.options, session.out, True
    share = 0.2 if options.quick else 1.0
    calls = {"once": lambda m: m.measure(networks, out, share),
             "loop": lambda m: m.measure(networks, out, share),
             "float64": lambda m: m.measure(doubles(networks), out, share, float64_peers(), "float64"),
             "tape": lambda m: m.measure(out, 6 if options.quick else 40),
             "fit": lambda m: m.measure(out, options.quick),
             "many": lambda m: m.measure(out, options.quick),
             "imports": lambda m: m.measure(out, 5 if options.quick else 20, () if options.quick else ("torch",))}
    for name in options.only:
        out.title(SECTIONS[name])
        module = importlib.import_module("once" if name == "float64" else name)
        fine &= calls.get(name, lambda m: m.measure(out, share))(module) is not False
    return fine


def check_readme(session):
    """Before minutes of measuring: a README that can take the table, and a run that makes one."""
    import readme

    if session.options.readme is None:
        return
    if not {"once", "loop"} <= set(session.options.only):
        session.parser.error("--readme needs the sections once and loop")
    try:
        readme.between(session.options.readme.read_text(encoding="utf-8"), "")
    except (OSError, ValueError) as error:
        session.parser.error(f"--readme: {error}")


def main():
    session = Session("benchmarks/run.py", __doc__.splitlines()[0], tuple(SECTIONS),
                      "three networks, fewer samples, no torch.compile; under 60 s", "ALL", OPTIONS)
    if not session.start():
        return 1
    if session.options.quick:
        import peers
        del peers.ONCE["torch.compile"]  # it compiles for longer than all the rest takes
    networks = chosen(session)
    check_readme(session)
    if not doubles(networks):
        session.options.only = [name for name in session.options.only if name != "float64"]
    fine = equal_losses(session, networks) and tables(session, networks)
    if fine:
        import races
        races.figures(session.out)
    session.finish()
    if fine:
        import readme
        readme.write(session.out, session.options.readme)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
