"""README's performance table, made from a run: a compact Markdown table, the machine, the versions, the date."""

import datetime
import os
import platform
from pathlib import Path

import machine
from networks import GRID
from peers import ALL, present
from races import ONE_CALL, fastest, own

OUT = Path(__file__).with_name("out") / "readme-table.md"
BEGIN, END = "<!-- bench: what `make bench` printed -->\n", "<!-- bench: end -->\n"
HEAD = ["network, batch", "ours", "fastest peer", "times", "ours, loop", "fastest peer, loop", "times"]


def write(out, readme=None):
    """Write the table of a run that raced to benchmarks/out, and between the markers of a README if one is given."""
    if not any({ONE_CALL, "hot"} <= set(tables) for tables in out.races.values()):
        return
    text = render(out)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text, encoding="utf-8")
    if readme:
        readme.write_text(between(readme.read_text(encoding="utf-8"), text), encoding="utf-8")
        out.say(f"\nthe table of this run is in {readme.name}")


def between(page, text):
    """The page with the text between its markers."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs one line {BEGIN.strip()} and after it one line {END.strip()}")
    before, rest = page.split(BEGIN)
    return before + BEGIN + text + END + rest.split(END)[1]


def render(out):
    """Markdown."""
    lines = [*filled(["One training step (forward, backward, Adam; relu, float32), microseconds on one core: one call",
                      "a step from Python, and the loop inside, over one hot batch. Times: the fastest peer's over",
                      "ours."]), "", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for network in GRID:
        tables = out.races.get(network.name, {})
        if {ONE_CALL, "hot"} <= set(tables):
            cells = [f"{network.name} {network.shape}, {network.batch}", *race(tables[ONE_CALL]), *race(tables["hot"])]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *filled([*prose(out), *circumstances()])]) + "\n"


def race(cells):
    """Ours, the fastest peer's with its name, the ratio."""
    name, peer, times = fastest(cells)
    return [number(own(cells).median), f"{number(peer.median)} {name}", number(times)]


def number(x):
    """Two or three digits, thousands with commas."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def prose(out):
    """Sentences about other figures, where they were measured."""
    figures = {name: value for name, value in out.figures.items() if value is not None}
    texts = [("tape.{}.ns", "The eager tape, y = tanh(y * x + x): forward and backward take {} ns a record at 1, 16 "
                            "and 1,000 elements."),
             ("chain.{}.ns", "The same chain compiled: {} ns an operation.")]
    said = [text.format(listed([number(figures[name.format(n)]) for n in (1, 16, 1000)])) for name, text in texts
            if name.format(1) in figures]
    if "import.ms" in figures and "wheel.mb" in figures:
        said.append(f"Import takes {figures['import.ms']:.0f} ms beyond NumPy's own, "
                    f"the wheel has {figures['wheel.mb']:.2f} MB.")
    return said


def circumstances():
    """What was measured on what, and when."""
    names = [module.NAME for name, module in present(ALL).items() if name not in ("ours", "compiled")]
    return [f"One run of `make bench` on {datetime.date.today()}, on one of {os.cpu_count()} cores "
            f"({machine.cpu()}), Python {platform.python_version()}; ours is cb.compile and `Trainer.fit`.",
            f"Peers: {'; '.join(names)}."]


def listed(words):
    """a, b and c."""
    return ", ".join(words[:-1]) + " and " + words[-1]


def filled(sentences, width=120):
    """Lines of a paragraph."""
    lines = [""]
    for word in " ".join(sentences).split(" "):
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
