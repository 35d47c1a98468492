"""Random small functions as source code, and what happens to them: calls, and changes of places in between.

A place is a value inside of up to three holders (rows of tests/holders.py), reached from a root: a global, a cell, a
default, an argument, a global that a helper or globals() reads, an attribute of self.
"""

import dataclasses

from holders import (
    ARGUMENTS,
    BATCHES,
    CONTEXT,
    EFFECTS,
    HOLDERS,
    LOOPS,
    MAPPINGS,
    OF_SELF,
    OTHER,
    PRELUDE,
    RETURNS,
    SEQUENCES,
    STATEMENTS,
    USES,
    VALUE_CHANGES,
    VALUES,
)
from hypothesis import strategies as st

ROOTS = ("global", "cell", "default", "argument", "helper", "globals()", "self")
FORMS = ("function", "function", "method", "object")


@dataclasses.dataclass
class Function:
    """Source of a module that defines `f`, texts of arguments, and what is done: statements, numbers of calls."""

    source: str
    calls: list
    actions: list

    def __repr__(self):
        steps = [f"f({self.calls[a]})" if isinstance(a, int) else a for a in self.actions]
        return self.source.replace(PRELUDE, "") + "\n# ----\n" + "\n".join(steps)


class Place:
    """A root, the holders inside it, and how each is spelled from the root on, in the function and outside."""

    def __init__(self, pick, number, form):
        self.name, self.root = f"p{number}", pick(ROOTS[:-1] if form == "function" else ROOTS)
        self.holders = [pick(tuple(HOLDERS)) for _ in range(pick((1, 0, 2, 2, 3)))]
        if self.root == "argument" and self.holders[:1] == ["__missing__"]:
            self.holders[0] = "dict"     # what a dict among the arguments has beside its entries is not looked at
        self.kind = pick(("number", *VALUES))
        self.build = self._new(pick, 0)
        self.inside = self._steps({"self": f"self.{self.name}", "globals()": f"globals()['{self.name}']"})
        self.outside = self._steps({"self": f"SELF.{self.name}", "cell": f"CELLS['{self.name}'].cell_contents",
                                    "default": f"RAW.__kwdefaults__['{self.name}']"})

    def _steps(self, roots):
        steps = [roots.get(self.root, self.name)]
        for name in self.holders:
            steps.append(HOLDERS[name][1].format(h=steps[-1]))
        return steps

    def _new(self, pick, level):
        """What may lie in the holder of a level; 0: at the root."""
        made = pick(pick((*5 * (VALUES[self.kind],), VALUES[pick(("number", "tensor", "state"))], OTHER)))
        for name in reversed(self.holders[level:]):
            made = HOLDERS[name][0].format(v=made)
        return made

    def change(self, pick, steps, whole=True):
        """A statement that changes it somewhere; steps: `inside` or `outside`; whole: the root may be assigned to."""
        level = pick((len(self.holders) + 1, *range(0 if whole else 1, len(self.holders) + 2)))
        if level > len(self.holders) and self.kind in VALUE_CHANGES:
            return pick(VALUE_CHANGES[self.kind]).format(r=steps[-1])
        level = min(level, len(self.holders))
        if level == 0:
            new = self._new(pick, 0)
            if self.root == "default" and whole and pick((0, 1)):
                return f"RAW.__kwdefaults__ = {{**RAW.__kwdefaults__, '{self.name}': {new}}}"
            return f"{steps[0]} = {new}" if whole else "pass"
        changes = HOLDERS[self.holders[level - 1]][2]
        return pick(changes or ("pass",)).format(h=steps[level - 1], v=self._new(pick, level))


@st.composite
def functions(draw):
    """A Function; of one draw, since Hypothesis follows each example of many draws with five that are much alike."""
    numbers = iter(draw(st.binary(min_size=400, max_size=400)))

    def pick(options):
        return options[next(numbers, 0) % len(options)]

    form = pick(FORMS)
    places = [Place(pick, k, form) for k in range(pick((1, 1, 2, 3)))]
    body = [use(pick, p) for p in places] + [statement(pick, places, form) for _ in range(pick((0, 1, 1, 2, 3)))]
    body = "\n".join(body).splitlines()
    place = pick(places)
    result = pick(RETURNS).format(r=place.inside[-1], h=pick(place.inside))
    arguments = pick((ARGUMENTS, ARGUMENTS, BATCHES))
    source = [PRELUDE, *definition(places, form, body, result), *(f"X{k} = {pick(arguments)}" for k in range(5))]
    calls = pick((("X0, 2.0", "X0, 0.5", "X1, 2.0", "X0, 2", "X2, 2.0"), [f"X{k}, 2.0" for k in range(5)]))
    more = [p.name for p in places if p.root == "argument"]
    calls = [", ".join([call, *more]) for call in calls[:pick((1, 1, 2, 3, 5))]]
    return Function("\n".join(source) + "\n", calls, actions(pick, places, range(len(calls))))


def actions(pick, places, calls):
    """Calls and changes."""
    made = []
    for _ in range(pick((2, 1, 3, 4))):
        made += pick((6, 10, 12, 14)) * [pick(calls)] + [pick(calls) for _ in range(pick((0, 0, 1, 2)))]
        for _ in range(pick((1, 1, 2))):
            place = pick(places)
            made.append(pick(CONTEXT) if pick((0, 0, 0, 0, 0, 0, 1)) else place.change(pick, place.outside))
    return made + 3 * [pick(calls)]


def use(pick, place):
    """A statement that reads a place's value."""
    return pick(pick(USES[place.kind])).format(r=place.inside[-1])


def statement(pick, places, form):
    """A statement of the function's body."""
    kind = pick(("use", "use", "use", "loop", "plain", "plain", "effect", "change"))
    place = pick(places)
    if kind == "use":
        return use(pick, place)
    if kind == "loop" and place.holders and place.kind != "read array":
        last = place.holders[-1]
        loops = LOOPS["sequence" if last in SEQUENCES else "mapping" if last in MAPPINGS else "object"]
        return pick(loops).format(h=place.inside[-2])
    if kind == "change" and place.kind != "array" and pick((0, 0, 1)):
        return place.change(pick, place.inside, place.root in ("global", "cell", "self"))
    if kind == "effect" and pick((0, 1)):
        return pick(EFFECTS)
    return pick(OF_SELF if form != "function" and pick((0, 1)) else STATEMENTS)


def definition(places, form, body, result):
    """Lines that build the places and the function `f` of x, n and the places that are arguments."""
    named = {root: [p for p in places if p.root == root] for root in ROOTS}
    signature = ["x", "n", *(p.name for p in named["argument"])]
    signature += ["*", *(f"{p.name}={p.build}" for p in named["default"])] if named["default"] else []
    function = [
        *(f"global {p.name}" for p in named["global"]), *(f"nonlocal {p.name}" for p in named["cell"]),
        "y = x * 1.5", *(f"y = helper_{p.name}(y)" for p in named["helper"]), *body, f"return {result}"]
    cells = [f"{p.name} = {p.build}" for p in named["cell"]]
    lines = [f"{p.name} = {p.build}" for p in places if p.root in ("global", "argument", "helper", "globals()")]
    for p in named["helper"]:
        value = f"({p.inside[-1]} + 0)" if p.kind == "read array" else p.inside[-1]
        lines += [f"def helper_{p.name}(t):", f"    return t * {value}"]
    if form == "function":
        run = indented(f"def run({', '.join(signature)}):", function)
        lines += indented("def make():", [*cells, *run, "return run"])
        lines += ["RAW = make()", "f = cb.compile(RAW)"]
    else:
        name = "run" if form == "method" else "__call__"
        method = indented(f"def {name}({', '.join(['self', *signature])}):", function)
        lines += indented("def make():", [*cells, *indented("class Model(Obj):", method), "return Model"])
        lines += ["Model = make()", f"RAW = Model.{name}", "SELF = Model(1.0)",
                  *(f"SELF.{p.name} = {p.build}" for p in named["self"]),
                  f"f = cb.compile({'SELF.run' if form == 'method' else 'SELF'})"]
    return [*lines, "CELLS = dict(zip(RAW.__code__.co_freevars, RAW.__closure__ or ()))"]


def indented(head, lines):
    return [head, *("    " + line for line in lines)]
