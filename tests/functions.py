"""Random small functions as source code, and what happens to them: calls, and changes of places in between.

A place is a value inside of up to three holders (rows of tests/holders.py), reached from a root: a global, a cell, a
default, an attribute of self, an argument.
"""

import dataclasses
import textwrap

from hypothesis import strategies as st

from holders import (ARGUMENTS, BATCHES, CONTEXT, EFFECTS, HOLDERS, LOOPS, MAPPINGS, OTHER, PRELUDE, RETURNS, SEQUENCES, STATEMENTS, USES,
                     VALUE_CHANGES, VALUES)

ROOTS = ("global", "cell", "default", "argument", "helper", "globals()", "self")
FORMS = ("function", "function", "method", "object")


@dataclasses.dataclass
class Function:
    """The source of a module that defines `f`, and what is done with it: statements, and numbers of calls."""

    source: str
    calls: list
    actions: list

    def __repr__(self):
        steps = [f"call({self.calls[a]})" if isinstance(a, int) else a for a in self.actions]
        return self.source.replace(PRELUDE, "") + "\n# ----\n" + "\n".join(steps)


class Place:
    """A root, the holders inside it, and how their expressions are spelled in the function and outside."""

    def __init__(self, pick, number, form):
        self.name, self.root = f"p{number}", pick(ROOTS[:-1] if form == "function" else ROOTS)
        self.holders = [pick(tuple(HOLDERS)) for _ in range(pick((1, 0, 2, 2, 3)))]
        self.rows = [HOLDERS[name] for name in self.holders]
        self.kind = pick(("number", *VALUES))
        self.build = self.value(pick)
        for build, _, _ in reversed(self.rows):
            self.build = build.format(v=self.build)
        inside = {"self": f"self.{self.name}", "globals()": f"globals()['{self.name}']"}.get(self.root, self.name)
        outside = {"cell": f"CELLS['{self.name}'].cell_contents", "default": f"RAW.__kwdefaults__['{self.name}']",
                   "self": f"SELF.{self.name}"}.get(self.root, self.name)
        self.inside, self.outside = self._steps(inside), self._steps(outside)

    def _steps(self, at):
        """Expressions of the holders, from the root on, and of the value."""
        steps = [at]
        for _, read, _ in self.rows:
            steps.append(read.format(h=steps[-1]))
        return steps

    def value(self, pick):
        return pick(pick((*5 * (VALUES[self.kind],), VALUES[pick(("number", "tensor", "state"))], OTHER)))

    def change(self, pick, steps, whole):
        """A statement that changes it somewhere; whole: what is at the root may be replaced."""
        level = pick(range(len(self.rows) + 2)) - 1
        if level < 0 and not whole:
            level = len(self.rows)
        if level < 0:
            new = self.value(pick)
            for build, _, _ in reversed(self.rows):
                new = build.format(v=new)
            return f"{steps[0]} = {new}"
        if level == len(self.rows):
            if self.kind in VALUE_CHANGES:
                return pick(VALUE_CHANGES[self.kind]).format(r=steps[-1])
            level = max(level - 1, 0)
            if not self.rows:
                return f"{steps[0]} = {self.value(pick)}" if whole else "pass"
        changes = self.rows[level][2]
        inner = self.value(pick)
        for build, _, _ in reversed(self.rows[level + 1:]):
            inner = build.format(v=inner)
        return pick(changes or ("pass",)).format(h=steps[level], v=inner)


@st.composite
def functions(draw):
    """A Function."""
    def pick(options):
        return draw(st.sampled_from(options))

    form = pick(FORMS)
    places = [Place(pick, k, form) for k in range(pick((1, 2, 2, 3)))]
    body = [line for _ in range(pick((1, 2, 3, 4, 5))) for line in statement(pick, places, form).splitlines()]
    place = pick(places)
    result = pick(RETURNS).format(r=place.inside[-1], h=pick(place.inside))
    source = PRELUDE + "\n" + definition(places, form, body, result)
    kinds = pick((ARGUMENTS, ARGUMENTS, BATCHES))
    calls = pick((["X0, 2.0", "X0, 0.5", "X1, 2.0", "X0, 2", "X2, 2.0"], [f"X{k}, 2.0" for k in range(5)]))[:pick((1, 1, 2, 3, 5))]
    calls = [", ".join([call, *(p.name for p in places if p.root == "argument")]) for call in calls]
    values = [f"X{k} = {pick(kinds)}" for k in range(5)]
    actions = []
    for _ in range(pick((1, 2, 3, 4))):
        actions += pick((3, 5, 7, 8)) * [pick(range(len(calls)))] + draw(st.lists(st.sampled_from(range(len(calls))), max_size=2))
        for _ in range(pick((1, 1, 2))):
            actions.append(outside_change(pick, places))
    actions += 3 * [pick(range(len(calls)))]
    return Function(source + "\n" + "\n".join(values) + "\n", calls, actions)


def outside_change(pick, places):
    if pick((0, 0, 0, 1)):
        return pick(CONTEXT)
    place = pick(places)
    return place.change(pick, place.outside, True)


def statement(pick, places, form):
    """A statement of the function's body."""
    kind = pick(("use", "use", "use", "loop", "plain", "plain", "effect", "change"))
    place = pick(places)
    if kind == "use":
        return pick(pick(USES[place.kind])).format(r=place.inside[-1])
    if kind == "loop" and place.rows:
        last = place.holders[-1]
        which = "sequence" if last in SEQUENCES else "mapping" if last in MAPPINGS else "object"
        return pick(LOOPS[which]).format(h=place.inside[-2])
    if kind == "change" and pick((0, 0, 1)):
        return place.change(pick, place.inside, place.root in ("global", "cell", "self"))
    if kind == "effect" and pick((0, 1)):
        return pick(EFFECTS)
    if form != "function" and pick((0, 1)):
        return pick(("y = super().scale(y)", "y = self.scale(y)", "y = y * self.k"))
    return pick(STATEMENTS)


def definition(places, form, body, result):
    """The source that builds the places and the function `f` of x, n and the places that are arguments."""
    def of(root):
        return [p for p in places if p.root == root]

    lines = [f"{p.name} = {p.build}" for p in places if p.root in ("global", "globals()", "argument", "helper")]
    declared = [f"global {p.name}" for p in of("global")] + [f"nonlocal {p.name}" for p in of("cell")]
    helpers = [f"    y = helper_{p.name}(y)" for p in of("helper")]
    for p in of("helper"):
        lines += [f"def helper_{p.name}(t):", f"    return t * {p.inside[-1]}"]
    arguments = ", ".join(["x", "n", *(p.name for p in of("argument"))])
    defaults = ", ".join(f"{p.name}={p.build}" for p in of("default"))
    signature = f"{arguments}, *, {defaults}" if defaults else arguments
    name = {"function": "run", "method": "run", "object": "__call__"}[form]
    code = [*declared, "y = x * 1.5", *(h.strip() for h in helpers), *body, f"return {result}"]
    head = f"def {name}({'' if form == 'function' else 'self, '}{signature}):"
    function = [head, *("    " + line for line in code)]
    attributes = [f"SELF.{p.name} = {p.build}" for p in of("self")]
    cells = [f"    {p.name} = {p.build}" for p in of("cell")]
    if form == "function":
        inside = [*function, "return run"]
        after = ["RAW = make()", "f = cb.compile(RAW)"]
    else:
        inside = ["class Model(Obj):", *("    " + line for line in function), "return Model"]
        after = ["Model = make()", f"RAW = Model.{name}", "SELF = Model(1.0)", *attributes,
                 f"f = cb.compile({'SELF.run' if form == 'method' else 'SELF'})"]
    made = ["def make():", *cells, *(textwrap.indent(line, "    ") for line in inside)]
    return "\n".join([*lines, *made, *after,
                      "CELLS = dict(zip(RAW.__code__.co_freevars, RAW.__closure__ or ()))"])
