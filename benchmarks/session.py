"""What the two benchmarks share: their options, their start on one pinned core with all peers, and their end."""

import argparse
import gc
import sys
import time

import machine


class Session:
    """One run: options, header, what was measured.

    Attributes
    ----------
    parser : ArgumentParser
    options : Namespace
        ``only`` is a list of sections.
    out : report.Output
    peers : dict of str to module
    """

    def __init__(self, prog, text, sections, quick, names, add=()):
        """``names``: a table of `peers`; ``add``: (flag, keywords of add_argument) of further options."""
        self.names = names
        self.began = time.perf_counter()
        self.parser = argparse.ArgumentParser(prog=prog, description=text)
        self.parser.add_argument("--only", metavar="A,B", default=",".join(sections),
                                 help=f"some of {','.join(sections)}")
        self.parser.add_argument("--quick", action="store_true", help=quick)
        self.parser.add_argument("--csv", metavar="FILE", help="write every measurement there")
        self.parser.add_argument("--core", type=int, metavar="N", help="pin to this core instead of the last one")
        self.parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                                 help="cpu: count only the time the process ran, for a machine that others use too")
        for flag, keywords in add:
            self.parser.add_argument(flag, **keywords)
        self.options = self.parser.parse_args()
        self.options.only = self.options.only.split(",")
        if unknown := [name for name in self.options.only if name not in sections]:
            self.parser.error(f"--only: no section is called {', '.join(unknown)}; there are {', '.join(sections)}")

    def start(self):
        """Pin, load the peers, print the header; False if a peer is missing."""
        pinned = machine.prepare(self.options.core)
        import peers
        self.peers, missing = peers.load(getattr(peers, self.names))
        if missing:
            for name, why in missing.items():
                print(f"{name} is missing: {why}", file=sys.stderr)
            print("`make bench-env` makes an environment with all peers", file=sys.stderr)
            return False
        import timing
        from report import Output
        timing.clock = timing.CLOCKS[self.options.clock]
        self.out = Output()
        for line in machine.header(pinned, self.peers, self.options.clock):
            self.out.say(line)
            self.out.record("machine", "", "", *line.split(": ", 1))
        gc.freeze()                      # the peers' modules: looking through them takes 90 ms, before every cell
        return True

    def finish(self):
        """What the clock thinks of this run, the promises, the CSV file."""
        import timing
        from report import promises
        out = self.out
        if timing.share() < 0.95:
            out.say(f"\nNOTE: others used this core too; {timing.share():.0%} of it was ours.")
            if self.options.clock == "wall":
                out.say("Ratios hold, microseconds do not: see --clock.")
        if out.figures:
            out.title("What was promised")
            promises(out)
        out.say(f"\n{time.perf_counter() - self.began:.0f} s")
        if self.options.csv:
            out.write(self.options.csv)
            out.say(f"every measurement: {self.options.csv}")
