"""Plain tables, the CSV file, and the table of figures that were promised."""

import csv
import operator
import sys
import tomllib
from pathlib import Path

COMPARISONS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}
THRESHOLDS = Path(__file__).with_name("thresholds.toml")


class Output:
    """What a run prints and what it measured."""

    def __init__(self):
        self.rows = []                   # section, cell, candidate, figure, value, low, high, samples
        self.figures = {}                # figure of thresholds.toml -> value, or None: could not be measured
        self.races = {}                  # network -> a table of races.py -> candidate -> Measured of a step
        self.at_peak = {}                # network -> us of a step that is products at the FMA peak and nothing else
        self.limits = {}                 # figure of thresholds.toml -> what it would be with such a step
        self.first_calls = {}            # candidate -> network -> seconds until the first loss

    def say(self, text=""):
        """Print at once: a run takes minutes."""
        self.progress()
        print(text, flush=True)

    def progress(self, text=""):
        """What is being measured, on a terminal only; replaced by what comes next."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def title(self, text):
        """A heading."""
        self.say(f"\n{text}\n{'-' * len(text)}")

    def record(self, section, cell, candidate, figure, value, spread=None):
        """A line of the CSV file; spread is a Measured."""
        rest = ("", "", "") if spread is None else (spread.low, spread.high, spread.samples)
        self.rows.append((section, cell, candidate, figure, value, *rest))

    def measured(self, candidate, section, cell, figure, m):
        """The same for a Measured."""
        self.record(section, cell, candidate, figure, m.median, m)

    def write(self, path):
        """The CSV file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f)
            writer.writerow(["section", "cell", "candidate", "figure", "value", "low", "high", "samples"])
            writer.writerows(self.rows)


def table(head, rows):
    """Columns as wide as they must be; the first one to the left, numbers to the right."""
    text = [[str(cell) for cell in row] for row in [head, *rows]]
    wide = [max(map(len, column)) for column in zip(*text, strict=True)]
    lines = [row[0].ljust(wide[0]) + "".join(f"  {cell:>{w}}" for cell, w in zip(row[1:], wide[1:], strict=True))
             for row in text]
    return "\n".join(line.rstrip() for line in lines)


def promises(out):
    """Print figure / wanted / got / pass or MISSED for what this run measured; returns how many were missed."""
    with THRESHOLDS.open("rb") as f:
        wanted = tomllib.load(f)["figure"]
    rows, missed = [], 0
    for row in wanted:
        if row["name"] not in out.figures:
            continue
        got = out.figures[row["name"]]
        aim = f" (aim {row['aim']:g})" if "aim" in row else ""
        wanted_text = f"{row['comparison']} {row['wanted']:g}{aim} {row['unit']}".rstrip()
        passed = got is not None and COMPARISONS[row["comparison"]](got, row["wanted"])
        missed += not passed
        rows.append([row["what"], wanted_text, "not measured" if got is None else f"{got:.4g}",
                     f"{out.limits[row['name']]:.3g}" if row["name"] in out.limits else "",
                     "pass" if passed else "MISSED"])
        out.record("promise", row["name"], "ours", row["comparison"] + f" {row['wanted']:g}", got)
    if rows:
        out.say(table(["figure", "wanted", "got", "at the peak", ""], rows))
    if out.limits:
        out.say("at the peak: with a step of ours that takes what its products take at the FMA peak, and nothing else")
    return missed
