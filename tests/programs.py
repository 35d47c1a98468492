"""Random functions for the tests of compile: any rows, with state, gradients and noise; the same from the same seed.

A function is a list of steps that refer to earlier values by number.  A World is what it reads and writes besides its
arguments; two worlds of one seed are twins.
"""

import random

import numpy as np

import cybackprop as cb
from cybackprop._core.engine import binary_rows, unary_rows

UNARY = [name for name, row in unary_rows.items() if row.facts["public"]]
ARITHMETIC = [name for name, row in binary_rows.items() if not row.facts["compares"] and hasattr(cb, name)]
COMPARISONS = [name for name, row in binary_rows.items() if row.facts["compares"]]
INTEGERS = ("add", "sub", "mul", "floor_divide", "remainder", "pow", "maximum", "bitwise_and", "bitwise_xor")
BATCHES = (1, 3, 17, 200)


class World:
    """Parameters, states and a stream of random numbers.  Odd seeds: gradients add up; even ones: they start anew."""

    def __init__(self, seed, dtype):
        f = np.random.default_rng(seed)
        self.adds_up = seed % 2 == 1

        def draw(*shape):
            return f.normal(size=shape).astype(dtype)

        self.params = [cb.Parameter(draw(4, 5)), cb.Parameter(draw(5)), cb.Parameter(draw(5, 4)), cb.Parameter(draw(4))]
        self.states = [cb.State(draw(4)), cb.State(draw(1)[0]), cb.State(draw(3, 4)), cb.State(np.arange(3))]
        self.noise = cb.Generator(seed)
        self.next_call(lambda shape: draw(*shape))

    def next_call(self, fresh=np.zeros):
        """What the gradients are before a call."""
        for p in self.params:
            if not self.adds_up or p.grad is None:
                p.grad = fresh(p.shape) if self.adds_up else None

    def tensors(self):
        """All of it that changes, by name."""
        named = {f"param {i}": p for i, p in enumerate(self.params)}
        named |= {f"grad {i}": p.grad for i, p in enumerate(self.params)}
        return named | {f"state {i}": s for i, s in enumerate(self.states)} | {"noise": self.noise.cell}


def arguments(seed, batch, dtype):
    """What a function is called with: an array, a tensor, a matrix, labels."""
    f = np.random.default_rng(seed)
    return (f.normal(size=(batch, 4)).astype(dtype), cb.tensor(f.normal(size=(batch, 5)).astype(dtype)),
            f.normal(size=4).astype(dtype), f.integers(0, 4, batch))


class Step:
    """One operation: what it is called, what it is of, how it runs (values, world) -> value or values."""

    def __init__(self, name, of, run):
        self.name, self.of, self.run = name, of, run

    def __repr__(self):
        return f"{self.name}{self.of}"


class Maker:
    """Grows a list of steps by running each as it is chosen, so that only steps that fit are kept."""

    def __init__(self, seed, dtype, batch, kinds):
        self.kinds = kinds
        self.pick, self.dtype, self.steps = random.Random(seed), dtype, []
        self.world = World(seed, dtype)
        self.values = start(self.world, arguments(seed, batch, dtype))

    def some(self, fits=lambda t: True):
        """The number of a value that fits, newer ones likelier."""
        found = [i for i, t in enumerate(self.values) if t.dtype == self.dtype and fits(t)]
        return found[min(self.pick.randrange(len(found) + 4), len(found) - 1)] if found else None

    def add(self, name, of, run):
        """Keep a step if it runs."""
        if any(i is None for i in of):
            return
        step = Step(name, of, run)
        try:
            new = run([self.values[i] for i in of], self.world)
        except (ValueError, TypeError):  # shapes that do not fit
            return
        if new.size <= 4000:
            self.values.append(new)
            self.steps.append(step)

    def grow(self):
        """One step of any kind."""
        self.pick.choice(self.kinds)(self)


def unary(m):
    name = m.pick.choice(UNARY)
    m.add(name, (m.some(),), lambda v, w: getattr(cb, name)(v[0]))


def binary(m):
    name = m.pick.choice(ARITHMETIC)
    m.add(name, (m.some(), m.some()), lambda v, w: getattr(cb, name)(v[0], v[1]))


def twice(m):
    i = m.some()
    m.add("mul by itself", (i, i), lambda v, w: cb.tanh(v[0]) * v[1])


def number(m):
    name, n = m.pick.choice(ARITHMETIC), m.pick.choice((0, 0.5, -2, 3))
    m.add(f"{name} with {n}", (m.some(),), lambda v, w: getattr(cb, name)(v[0], n))


def select(m):
    name = m.pick.choice(COMPARISONS)
    m.add("where " + name, (m.some(), m.some(), m.some()),
          lambda v, w: cb.where(getattr(cb, name)(v[0], v[1]), v[1], v[2]))


def mask(m):
    a, b = m.pick.sample(COMPARISONS, 2)
    m.add(f"{a} xor not {b}", (m.some(), m.some()),
          lambda v, w: (getattr(cb, a)(v[0], v[1]) ^ ~getattr(cb, b)(v[0], v[1])).astype(v[0].dtype))


def layer(m):
    act, k, bias = m.pick.choice([None, *UNARY]), m.pick.choice((0, 2)), m.pick.random() < 0.7
    m.add(f"dense {act} {k} {bias}", (m.some(lambda t: t.ndim and t.shape[-1] == (5 if k else 4)),),
          lambda v, w: cb.dense(v[0], w.params[k], w.params[k + 1] if bias else None, activation=act))


def product(m):
    m.add("matmul", (m.some(lambda t: t.ndim), m.some(lambda t: t.ndim)), lambda v, w: v[0] @ v[1])


def outer(m):
    m.add("gram", (m.some(lambda t: t.ndim == 2),), lambda v, w: cb.transpose(v[0]) @ v[0])


def reduction(m):
    name, axis = m.pick.choice(("sum", "mean", "max", "min", "var", "std")), m.pick.choice((None, 0, -1))
    keep = m.pick.random() < 0.3
    m.add(f"{name} {axis} {keep}", (m.some(),), lambda v, w: getattr(cb, name)(v[0], axis=axis, keepdims=keep))


def along(m):
    name, axis = m.pick.choice(("softmax", "log_softmax", "logsumexp", "cumsum")), m.pick.choice((0, -1))
    m.add(f"{name} {axis}", (m.some(lambda t: t.ndim),), lambda v, w: getattr(cb, name)(v[0], axis=axis))


def entropy(m):
    how = m.pick.choice(("mean", "sum", "none"))
    ignore = m.pick.choice((-100, 1))
    m.add(f"cross_entropy {how} {ignore}", (m.some(lambda t: t.ndim == 2 and t.shape[1] >= 4), 3),
          lambda v, w: cb.nn.cross_entropy(v[0], v[1], reduction=how, ignore_index=ignore))


def pieces(m):
    key = m.pick.choice(((slice(None, None, 2),), (Ellipsis, slice(1, None)), (0,), (slice(None, None, -1),), (None,)))
    m.add(f"[{key}]", (m.some(lambda t: t.ndim),), lambda v, w: v[0][key])


def rows(m):
    m.add("take", (m.some(lambda t: t.ndim and t.shape[0] >= 4), 3), lambda v, w: cb.take(v[0], v[1]))


def picked(m):
    def wide(t):
        return t.ndim == 2 and t.shape[1] >= 4

    def fits(t):
        return wide(t) and t.shape[0] == m.values[3].shape[0]

    name, of, run = m.pick.choice((
        ("[arange, labels]", fits, lambda v, w: v[0][np.arange(len(v[1])), v[1]]),
        ("[:, labels]", wide, lambda v, w: v[0][:, v[1]]),
        ("gather", fits, lambda v, w: cb.gather(v[0], v[1][:, None]))))
    m.add(name, (m.some(of), 3), run)


def joined(m):
    axis = m.pick.choice((0, -1))
    m.add(f"concatenate {axis}", (m.some(lambda t: t.ndim), m.some(lambda t: t.ndim)),
          lambda v, w: cb.concatenate([v[0], v[1], v[0]], axis=axis))


def turned(m):
    m.add("transpose", (m.some(lambda t: t.ndim > 1),), lambda v, w: cb.transpose(v[0]))


def flat(m):
    shape = m.pick.choice(((-1,), (-1, 1), (2, -1)))
    m.add(f"reshape {shape}", (m.some(),), lambda v, w: v[0].reshape(shape))


def holes(m):
    m.add("dropout", (m.some(),), lambda v, w: cb.dropout(v[0], 0.4, w.noise))


def noise(m):
    kind = m.pick.choice(("normal", "uniform"))
    m.add(f"noise {kind}", (m.some(),), lambda v, w: v[0] + getattr(w.noise, kind)(v[0].shape, dtype=v[0].dtype))


def assign(m):
    k = m.pick.randrange(3)
    shape = m.world.states[k].shape
    m.add(f"state {k} :=", (m.some(lambda t: t.shape == shape),), lambda v, w: (w.states[k].assign(v[0]), v[0] * 1)[1])
    m.add(f"state {k} +=", (m.some(lambda t: t.size),),
          lambda v, w: (w.states[k].assign(w.states[k] * 0.5 + cb.mean(v[0])), v[0] * 1)[1])


def read(m):
    k = m.pick.randrange(3)
    m.add(f"read state {k}", (m.some(),), lambda v, w: v[0] + w.states[k])


def backward(m):
    scale = m.pick.choice((1, 0.5, -3))
    m.add(f"backward {scale}", (m.some(lambda t: t.requires_grad and t.size), m.some()),
          lambda v, w: (cb.mean(v[0] * scale).backward(retain_graph=True), v[1] * 1)[1])


def forget(m):
    k = m.pick.randrange(4)

    def run(v, w):
        w.params[k].grad = None
        return v[0] * 1

    m.add(f"grad {k} := None", (m.some(),), run)


def branch(m):
    """Writes on one side or the other of a condition that changes from call to call."""
    k, negated = m.pick.randrange(3), m.pick.random() < 0.5

    def run(v, w):
        if (cb.mean(v[0]) > 0.0 if negated else cb.sum(w.states[k]) < 1.0):
            w.states[k].assign(w.states[k] * 0.5 + 0.25)
            return v[1] * 2
        w.states[(k + 1) % 3].assign(w.states[(k + 1) % 3] - 0.5)
        return v[1] + cb.sum(w.states[k])

    m.add(f"branch {k} {negated}", (m.some(lambda t: t.size), m.some()), run)


def detached(m):
    m.add("detach", (m.some(),), lambda v, w: v[0].detach() * 1)


def whole(m):
    name = m.pick.choice([*INTEGERS, *COMPARISONS])

    def run(v, w):
        a, b = ((x * 9).astype("int64") for x in v)
        return getattr(cb, name)(a, b % 7 if name == "pow" else b).astype(v[0].dtype)

    m.add(f"{name} of integers", (m.some(), m.some()), run)


KINDS = (3 * [unary] + 3 * [binary] + [number, select, mask] + 3 * [layer] + [product, outer] + 2 * [reduction] + [
    along, entropy, pieces, rows, joined, turned, flat, whole, holes, noise, read, forget, detached
    ] + 2 * [assign, backward] + [picked])


def loop(m):
    """A scan whose body has rows, a layer, noise, a State and a branch."""
    name, k, steps = m.pick.choice(UNARY), m.pick.randrange(3), m.pick.choice((0, 1, 4))
    noisy, writes, back = (m.pick.random() < 0.5 for _ in range(3))

    def run(v, w):
        shift = cb.mean(v[1]) * 1

        def body(c, _):
            c = cb.tanh(getattr(cb, name)(c * 0.5) + shift)
            if c.ndim and c.shape[-1] == 4:
                c = cb.dense(cb.dense(c, w.params[0], w.params[1], activation="tanh"), w.params[2])
            if noisy:
                c = c + w.noise.uniform(c.shape, dtype=c.dtype)
            if writes:
                w.states[k].assign(w.states[k] * 0.5 + cb.mean(c))
            c = cb.cond(cb.sum(c) > shift, lambda c: c * shift, lambda c: cb.sin(c), c)
            return c, cb.sum(c)

        c, ys = cb.scan(body, v[0] * 1, length=steps, reverse=back)
        return c + cb.sum(ys)

    of = m.some(lambda t: t.size), m.some(lambda t: t.size)
    m.add(f"scan of {name} {k} {steps} {noisy} {writes} {back}", of, run)


BRANCHES = [*KINDS, branch]
LOOPS = [*KINDS, *8 * [loop]]
PURE = [kind for kind in KINDS if kind not in (assign, read, backward, forget)]


def start(world, args):
    """The values that every function begins with: 3 are the labels."""
    a, b, c, labels = args
    values = [cb.tensor(a), b, cb.tensor(c), cb.tensor(labels)]
    return values + [p * 1 for p in world.params]


def function_of(steps, results, world):
    """The steps as a function of the arguments; afterwards a sweep and a step of gradient descent."""

    def function(a, b, c, labels):
        values = start(world, (a, b, c, labels))
        for step in steps:
            values.append(step.run([values[i] for i in step.of], world))
        loss = cb.sum(cb.stack([cb.mean(values[i]) for i in results]))
        if loss.requires_grad:
            loss.backward()
        for p in world.params:
            if p.grad is not None:
                p.assign(p - 0.01 * cb.tanh(p.grad))
        return [loss.detach(), world.params[0] * 2, *(values[i].detach() for i in results)]

    return function


def forward_of(steps, results, world):
    """The steps as a function whose results have a history."""

    def function(a, b, c, labels):
        values = start(world, (a, b, c, labels))
        for step in steps:
            values.append(step.run([values[i] for i in step.of], world))
        return [values[i] for i in results]

    return function


def make(seed, kinds=KINDS):
    """(dtype, batch, steps, results) of a random function, of 5 to 40 steps: some kinds add two at a time."""
    pick = random.Random(~seed)
    dtype, batch, length = pick.choice(("float32", "float64")), pick.choice(BATCHES), pick.randint(3, 36)
    m = Maker(seed, dtype, batch, kinds)
    first = len(m.values)
    for _ in range(10 * length):
        if len(m.steps) < length:
            m.grow()
    twice(m)
    if assign in kinds:
        assign(m)
    if branch in kinds:
        branch(m)
    good = [i for i in range(first, len(m.values)) if m.values[i].size and m.values[i].dtype == m.dtype]
    return dtype, batch, m.steps, sorted({good[-1], *(pick.choice(good) for _ in range(3))})
