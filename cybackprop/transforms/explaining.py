"""What Program.explain and Program.profile print."""

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import leaf_fact
from cybackprop.transforms.arguments import STATIC, unpack


def explain(program):
    """Print what a program reads, its instructions, and what it leaves."""
    facts = engine.program_facts(program)
    rows, sections = [], {}
    for i, instruction in enumerate(program.instructions()):
        for text in (text for at, text in _sections(facts) if at == i):
            sections[len(rows)] = text
        rows.append(_row(program, i, *instruction))
        steps = engine.program_steps(program, i)
        rows += [["", f"  {what}", "", _blocks(outs), "", "", line] for what, outs, line in steps]
        rows += _inner_rows(engine.program_loop(program, i))
    print(f"{len(program.instructions())} instructions, slab {facts['slab']:,} bytes, scratch {facts['scratch']:,}")
    _table(["", "operation", "reads", "writes", "bytes", "slab at", "from"], rows, sections)
    constants = _constants(program)
    if constants:
        print("constants, the same in every call:")
        for text in constants:
            print("   ", text)
    if program.inputs_seen is not None and program.inputs_seen.text():
        print(program.inputs_seen.text())
    if program.key is not None and program.key.places.places:
        print("only while these are as they were:", ", ".join(dict.fromkeys(map(_place, program.key.places.places))))


def _place(place):
    """A place outside, with what must be there if that is a number or a string."""
    return f"{place.label} = {_short(place.expected)}" if isinstance(place.expected, STATIC) else place.label


def profile(programs, args, repeat):
    """Print the time of each instruction of the one among these programs that is for such arguments."""
    if repeat < 1:
        raise ValueError(f"profile: repeat is {repeat}, it must be 1 or more")
    _, leaves = unpack(args, {})
    facts = [leaf_fact(x) for x in leaves]
    recorded = [p for p in programs if p.key is not None]
    program = next((p for p in recorded if p.key.leaves == facts), None)
    if program is None:
        known = "; ".join(", ".join(map(_wanted, p.key.leaves)) or "no arguments" for p in recorded)
        raise TypeError("profile: " + (f"no program is for such arguments, but for: {known}" if known else
                                       "nothing is recorded yet: call it first"))
    seconds = engine.program_times(program, list(leaves), repeat)
    total = sum(seconds) or 1e-9
    rows = [[str(i), what, f"{s * 1e6:.2f}", f"{s / total:.0%}", line]
            for i, ((what, _, _, line), s) in enumerate(zip(program.instructions(), seconds, strict=False))]
    print(f"{total * 1e6:.2f} us in {len(seconds)} instructions, each the best of {repeat} runs, 0.1 us of it clock")
    _table(["", "operation", "us", "share", "from"], rows, {})


def _wanted(fact):
    kind, what, shape, _ = fact
    if kind in ("array", "tensor"):
        return f"{kind} {'x'.join(map(str, shape)) or '1'}"
    return _short(what)


def _sections(facts):
    return ((facts["writes_from"], "state is written from here on"),
            (facts["sweep_from"], "reverse sweeps: each runs when somebody asks for it"))


def _row(program, i, what, ins, outs, line):
    values = [engine.program_value(program, v) for v in outs if v is not None]
    return [str(i), what, _list(program, ins), _list(program, outs), f"{sum(v[3] for v in values):,}",
            ", ".join(f"{v[4]:,}" for v in values if v[4] is not None), line]


def _blocks(outs):
    """What a step of a tile makes, block by block."""
    return ", ".join("x".join(map(str, shape)) + (" in its block" if local else "") for local, shape in outs)


def _list(program, values):
    """Operands, separated by commas; many of one place are counted, as the moments of an optimizer."""
    shown = [_shown(program, v) for v in values if v is not None]
    if len(shown) <= 6:
        return ", ".join(shown)
    places = [text.split()[0] if text.startswith("%") else text.rsplit(" ", 1)[0].split(" ")[0] for text in shown]
    return ", ".join(f"{n} x {place}" if (n := places.count(place)) > 1 else place for place in dict.fromkeys(places))


PARTS = {"scan": [""], "while_loop": ["do:", "while:"], "cond": ["if true:", "if false:"]}


def _inner_rows(loop, depth=1):
    """What a loop or a cond runs, indented below it."""
    rows = []
    if loop is not None:
        for which, title in enumerate(PARTS[loop.name]):
            rows += [["", "  " * depth + title, *[""] * 5]] if title else []
            for what, reads, writes, line, more in engine.loop_instructions(loop, which):
                rows.append(["", "  " * depth + what, ", ".join(reads), ", ".join(writes), "", "", line])
                rows += _inner_rows(more, depth + 1)
    return rows


def _shown(program, v):
    place, dtype, shape, _, _ = engine.program_value(program, v)
    name = f"%{v}" if place == "slab" else place
    size = "x".join(map(str, shape)) or "1"
    return f"{name} {size}" + ("" if dtype.name == "float32" else f" {dtype.name}")


def _constants(program):
    seen = {}
    for what, ins, _, line in program.instructions():
        for v in ins:
            place, _, shape, *_ = (None, None, ()) if v is None else engine.program_value(program, v)
            if place == "constant" and shape:
                seen.setdefault(v, f"{_shown(program, v)} in {what.partition(':')[0]} at {line}")
    return [*seen.values(), *_numbers(program)]


def _numbers(program):
    """Numbers that are neither literals nor guarded, nor, as sweeps have them everywhere, 0 or 1."""
    known = {0, 1}
    if program.key is not None:
        statics = [what for kind, what, *_ in program.key.leaves if kind == "static"]
        known.update(x for x in statics if isinstance(x, (int, float)))
    for place in program.key.places.places if program.key is not None else ():
        literals = place.expected[0].co_consts if engine.is_function(place) else (place.expected,)
        known.update(x for x in literals if isinstance(x, (int, float)))
    known = {float(np.dtype(kind).type(x)) for x in known if abs(x) < 1e38 for kind in ("f4", "f8")}
    found = [(t.numpy().item(), op, line) for t, op, line in program.constants if t.shape == ()]
    return dict.fromkeys(f"{x:.9g} in {op} at {line}" for x, op, line in found if x not in known)


def _short(value):
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _table(head, rows, sections):
    widths = [max(len(row[c]) for row in [head, *rows]) for c in range(len(head))]
    widths = [min(w, 60) for w in widths]
    for i, row in enumerate([head, *rows]):
        if i and i - 1 in sections:
            print(f"-- {sections[i - 1]}")
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


engine.set_explain(explain, profile)
