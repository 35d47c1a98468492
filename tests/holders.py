"""Rows of which tests/functions.py makes random functions: what a function can name, how it reads that, how it changes.

All of it is source code.  {h} is what a holder is reached by, {v} a value, {r} the expression that reads a value.
"""

from pathlib import Path

PRELUDE = Path(__file__).with_name("prelude.py").read_text()
NUMBERS = ("2.0", "0.5", "-1.5", "3", "1", "1.0", "True", "0.0", "-0.0", "float('nan')", "np.float32(0.3)",
           "np.int64(2)")
ARRAYS = ("array(1, 2, 3)", "array(0.5, -2, 1)", "array(1, 2, 3, dtype='float64')", "array(2, 0, 1, dtype='int64')",
          "array(1, 0, 1, dtype='bool')", "array(4)", "array(1, 2, 3, 4, 5)[::2]", "np.array(2.5, 'float32')")
TENSORS = ("cb.tensor([1.0, 2.0, 3.0])", "cb.tensor([0.5, -2.0, 1.0])", "cb.tensor(2.0)",
           "cb.tensor(array(1, 2, 3, dtype='float64'))")
STATES = ("cb.State([1.0, 2.0, 3.0])", "cb.State(0.5)")
OTHER = ("None", "'text'", "[1.0, 2.0]", "(1.0, 2.0)", "{'a': 2.0}", "(lambda: 2.0)")
VALUES = {"number": NUMBERS, "array": ARRAYS, "read array": ARRAYS, "tensor": TENSORS, "state": STATES}

# build, read, changes; a function may make the changes too
HOLDERS = {
    "list": ("[1.5, {v}]", "{h}[1]", ("{h}[1] = {v}", "{h}[0] = {v}", "{h}.append({v})", "{h}.insert(0, {v})",
                                      "{h}.pop()", "{h}[:] = [{v}, {v}]", "{h}.reverse()")),
    "end of a list": ("[{v}]", "{h}[-1]", ("{h}.append({v})", "{h}[0] = {v}", "{h}.clear()")),
    "tuple": ("(1.5, {v})", "{h}[1]", ()),
    "dict": ("{{'a': {v}, 'k': 0.5}}", "{h}['a']", ("{h}['a'] = {v}", "{h}['b'] = {v}", "{h}.pop('a', None)",
                                                    "{h}.update(a={v})", "{h}.clear()")),
    "dict.get": ("{{'k': {v}}}", "{h}.get('c', 1.5)", ("{h}['c'] = {v}", "{h}.pop('c', None)",
                                                       "{h}.setdefault('c', {v})")),
    "defaultdict": ("collections.defaultdict(float, a={v})", "{h}['a']", ("{h}['a'] = {v}", "{h}.pop('a')",
                                                                          "{h}['z']")),
    "OrderedDict": ("collections.OrderedDict(b=2.0, a={v})", "{h}['a']", ("{h}['a'] = {v}", "{h}.move_to_end('b')")),
    "ChainMap": ("collections.ChainMap({{}}, {{'a': {v}}})", "{h}['a']", ("{h}['a'] = {v}", "{h}.maps[1]['a'] = {v}")),
    "deque": ("collections.deque([{v}, 2.0])", "{h}[0]", ("{h}[0] = {v}", "{h}.rotate()", "{h}.appendleft({v})")),
    "UserList": ("collections.UserList([{v}])", "{h}[0]", ("{h}[0] = {v}", "{h}.data[0] = {v}", "{h}.insert(0, {v})")),
    "namespace": ("types.SimpleNamespace(a={v})", "{h}.a", ("{h}.a = {v}", "{h}.b = {v}", "del {h}.a",
                                                             "vars({h})['a'] = {v}")),
    "object": ("Obj({v})", "{h}.a", ("{h}.a = {v}", "del {h}.a", "Obj.a = {v}", "{h}.__class__ = Other")),
    "getattr": ("Obj({v})", "getattr({h}, 'a')", ("setattr({h}, 'a', {v})", "del {h}.a", "{h}.__class__ = Other")),
    "getattr, default": ("Obj({v})", "getattr({h}, 'b', 1.5)", ("{h}.b = {v}", "Base.b = {v}")),
    "vars": ("Obj({v})", "vars({h})['a']", ("{h}.a = {v}", "del {h}.a")),
    "attrgetter": ("Obj({v})", "operator.attrgetter('a')({h})", ("{h}.a = {v}", "del {h}.a")),
    "property": ("Obj({v})", "{h}.prop", ("{h}.a = {v}", "Base.prop = property(lambda self: {v})", "Obj.prop = {v}")),
    "method": ("Obj({v})", "{h}.get()", ("{h}.a = {v}", "{h}.get = lambda: {v}", "Base.get = lambda self: {v}",
                                         "Obj.get = lambda self: {v}")),
    "bound method": ("Obj({v}).get", "{h}()", ("{h}.__self__.a = {v}", "Base.get = lambda self: {v}")),
    "static method": ("Obj({v})", "({h}.fixed() + 1)", ("Base.fixed = staticmethod(lambda: {v})",
                                                        "{h}.fixed = lambda: 2")),
    "class method": ("Obj({v})", "{h}.of_class()", ("Obj.k = {v}", "Base.k = {v}", "{h}.k = {v}")),
    "class": ("type('Dyn', (Base,), {{'k': {v}}})", "{h}.k", ("{h}.k = {v}", "del {h}.k", "Base.k = {v}")),
    "class of an object": ("type('Dyn', (Base,), {{'k': {v}}})()", "{h}.k", ("type({h}).k = {v}", "{h}.k = {v}")),
    "slot": ("Slots({v})", "{h}.a", ("{h}.a = {v}", "del {h}.a", "{h}.b = {v}")),
    "cached property": ("Obj({v})", "{h}.cached", ("{h}.a = {v}", "vars({h}).pop('cached', None)", "{h}.cached = {v}")),
    "namedtuple": ("Pair({v}, 1.0)", "{h}.first", ()),
    "dataclass": ("Data({v})", "{h}.a", ("{h}.a = {v}", "vars({h})['a'] = {v}")),
    "frozen dataclass": ("Frozen({v})", "{h}.a", ("object.__setattr__({h}, 'a', {v})",)),
    "__getattr__": ("Forward({v})", "{h}.a", ("{h}.inside['a'] = {v}", "vars({h})['a'] = {v}", "{h}.inside.clear()")),
    "__getitem__": ("Items({v})", "{h}[0]", ("{h}.a = {v}", "Items.__getitem__ = lambda self, i: {v}")),
    "__call__": ("Items({v})", "{h}()", ("{h}.a = {v}", "Items.__call__ = lambda self: {v}")),
    "__iter__": ("Items({v})", "list({h})[0]", ("{h}.a = {v}", "Items.__iter__ = lambda self: iter([{v}])")),
    "descriptor": ("Described({v})", "{h}.d", ("{h}.a = {v}", "{h}.d = {v}",
                                               "Descriptor.__get__ = lambda s, x, c: {v}")),
    "__missing__": ("missing({v})", "{h}['a']", ("{h}.other = {v}", "{h}['a'] = {v}")),
    "closure": ("closure({v})", "{h}()", ("{h}.__closure__[0].cell_contents = {v}",)),
    "default": ("(lambda c={v}: c)", "{h}()", ("{h}.__defaults__ = ({v},)", "{h}.__code__ = (lambda c: 2).__code__")),
    "keyword default": ("(lambda *, c={v}: c)", "{h}()", ("{h}.__kwdefaults__['c'] = {v}",
                                                          "{h}.__kwdefaults__ = dict(c={v})")),
    "attribute of a function": ("attributed({v})", "{h}()", ("{h}.a = {v}", "del {h}.a")),
    "partial": ("functools.partial(identity, {v})", "{h}()", ("{h}.keywords['t'] = {v}", "{h}.a = {v}")),
    "partial, named": ("functools.partial(identity, t={v})", "{h}()", ("{h}.keywords['t'] = {v}",)),
    "context variable": ("variable({v})", "{h}.get()", ("{h}.set({v})",)),
    "thread's local": ("local({v})", "{h}.a", ("{h}.a = {v}", "del {h}.a")),
    "module": ("module({v})", "{h}.a", ("{h}.a = {v}", "{h}.b = {v}", "del {h}.a")),
    "mapping proxy": ("proxy({v})", "{h}['a']", ("KEPT[-1]['a'] = {v}", "KEPT[-1].clear()")),
    "weak reference": ("weak({v})", "{h}().a", ("{h}().a = {v}", "{h}().__class__ = Other")),
    "cache": ("cached({v})", "{h}()", ("{h}.cache_clear()", "KEPT[-1].a = {v}")),
    "Module": ("Net({v})", "{h}.a", ("{h}.a = {v}", "{h}.eval()", "vars({h})['a'] = {v}")),
    "Module called": ("Net({v})", "{h}(cb.ones(3))", ("{h}.a = {v}", "Net.forward = lambda self, x: x * {v}")),
    "compiled": ("cb.compile(closure({v}))", "{h}()", ("{h}.function.__closure__[0].cell_contents = {v}",)),
}
VALUE_CHANGES = {"array": ("{r}[0] = 5.0", "{r}[...] = 2.0", "np.negative({r}, out={r})", "{r}.sort()"),
                 "read array": ("{r}[0] = 5.0", "{r}[1:] = 2.0"), "state": ("{r}.assign({r} * 2)",
                      "{r}.assign(array(1, 1, 1))", "{r}.requires_grad = False")}

# Statements of y (a tensor), x (the argument), n (a number) and a value {r}.  An array that an operation takes whole is
# read anew at each call and its bytes are not compared: what NumPy or Python reads of it (or writes) beside that is for
# audits to find.  So an array that lies in a place is either taken whole here or read, not both.
WHOLE = (
    "y = y + {r}", "y = {r} * y - 1", "y = y if {r} is None else y * {r}", "y = x * {r} + y", "y = cb.sum(y) * {r} + x",
    "y = y * (3.0 if isinstance({r}, (int, np.ndarray)) else 2.0)", "k = {r}\ny = (lambda t, k=k: t * k)(y)",
    "def g(t):\n    return t * {r}\ny = g(y)", "y = cb.maximum(y, {r})", "y = cb.where(y > {r}, y, 0.5)",
    "try:\n    y = y * {r}\nexcept Exception:\n    y = y + 1", "y = sum([y * {r} for i in range(2)], y)",
    "for i in range(2):\n    y = y + i * (y - {r})", "y = y + cb.tensor({r}) * 2", "y = cb.stack([y, y * {r}])[0]",
)
READ = (
    "y = y / ({r} + 2)", "y = y - {r} * n", "y = y * ({r} == 1)", "y = {r} ** 2 - y",
    "for i in range(2):\n    y = y + i * {r}",
    "y = y * ({r} > 1)",
)
NUMERIC = (
    "y = y - {r} if {r} > 1 else y + 1", "y = y[..., :2] * {r} + 1", "y = y * int({r} > 0)",
    "y = y ** 2 if {r} else -y",
    "y = y[..., int({r}) % 3] + x", "y = y + float({r})", "y = (y * 2 if type({r}) is float else y) + 1",
    "y = y * {{1: 2.0, 0.5: 3.0}}.get({r}, 0.5)", "y = y * float(str({r}))", "y = cb.full((3,), {r}) + y",
)
ELEMENTS = (
    "y = y * 2 if cb.sum(cb.tensor({r}[1:])) > 1 else y + 1", "y = y + float(cb.sum(cb.tensor({r}[:2])))",
    "y = y * {r}[1]",
    "y = y * {r}[..., ::-1]", "y = y + np.asarray({r}[::-1])", "y = y * len({r})", "y = y * {r}.shape[0]",
    "for v in {r}:\n    y = y * v", "y = y * {r}.max()", "y = y * {r}[[0, 2, 1]]",
)
USES = {"number": (WHOLE, READ, NUMERIC), "array": (WHOLE,), "read array": (READ, ELEMENTS),
        "tensor": (WHOLE, READ, ELEMENTS), "state": (WHOLE, READ, ELEMENTS)}
LOOPS = {                                # of a holder
    "sequence": (
        "for v in {h}:\n    y = y + v", "y = sum([y * v for v in {h}], y)", "y = y * len({h})",
        "a, *b = {h}\ny = y + a",
        "for i, v in enumerate({h}):\n    y = y - (y * v) * i", "match {h}:\n    case [a, b]:\n        y = y * b",
        "for v in reversed({h}):\n    y = y * 0.5 + v", "for v, w in zip({h}, [1, 2]):\n    y = y + (y - v) * w"),
    "mapping": (
        "for v in {h}.values():\n    y = y * v", "y = y * 2 if 'a' in {h} else y", "y = y * len({h})",
        "for k, v in {h}.items():\n    y = (y + v) * len(k)", "y = y * {{**{h}, 'b': 2}}['b']"),
    "object": (
        "y = y + 1 if hasattr({h}, 'b') else y", "y = y * len(vars({h}))", "y = y + 1 if {h} else y * 2",
        "match {h}:\n    case Obj(a=b):\n        y = y * b\n    case _:\n        y = y + 2",
        "y = y * 2 if isinstance({h}, Obj) else y * 3", "y = y * getattr({h}, 'k', 1.0)"),
}
SEQUENCES = {"list", "end of a list", "tuple", "deque", "UserList", "namedtuple"}
MAPPINGS = {"dict", "dict.get", "defaultdict", "OrderedDict", "ChainMap", "mapping proxy", "__missing__"}
STATEMENTS = (                           # of what every namespace has
    "y = cb.tanh(y) * n", "y = y[..., ::-1] + n", "y = y[..., IDX]", "y = y[MASK] * 2",
    "y = y * 2 if n > 1 else y + 1", "y = y * 2 if y.max() > 0.7 else y - 1", "y = y + (1 - x)", "y = y * SUM",
    "y = y if (y > 0).all() else -y", "y = y + x.sum(axis=-1, keepdims=True)", "y = cb.exp(y * 0.1).astype('float64')",
    "y = y + GEN.normal((3,))", "y = y * cb.sum(y * WEIGHT)", "y = y[0] + y", "y = cb.stack([y, y * 2]).sum(axis=0)",
    "while cb.sum(y) < 20 and cb.sum(y) > 0.1:\n    y = y * 2", "y = y * x.shape[-1]", "y = y / x.shape[0]",
    "y = y * len(y)", "y = y - y.sum(axis=0) / y.size", "y = y.reshape(-1).reshape(y.shape)",
    "y = sum([row for row in y], y)", "y = y + cb.ones(x.shape)",
    "y = np.exp(y * 0.1)", "y = y // 2 + y % 3",
)
EFFECTS = (
    "COUNTER[0] += 1", "LOG.append(1)", "LOG.append(y)", "if len(LOG) < 2:\n    LOG.append(1.5)",
    "SUM.assign(SUM * 0.5)",
    "if n not in CACHE:\n    CACHE[n] = n * 2.0\ny = y * CACHE[n]", "SUM.assign(SUM + cb.sum(y))", "CACHE['y'] = y",
    "y = y * RNG.normal()", "y = y * DICE.random()", "y = y * float(cb.sum(y))", "y = y + y.max().item()",
    "y = y + len(LOG)",
    "cb.sum(y.detach() * WEIGHT).backward()", "WEIGHT.grad = None", "y = y + np.asarray(y)", "y = y * y.tolist()[0]",
    "KEPT.append(n)",
    "y = y * bool(cb.sum(y) > 0)", "CACHE.setdefault('w', cb.State([1.0, 2.0, 3.0]))\ny = y * CACHE['w']",
)
OF_SELF = ("y = super().scale(y)", "y = self.scale(y)", "y = y * self.k")
RETURNS = ("y", "y, {r}", "{{'a': y, 'n': n}}", "[x, y, (n, None)]", "y, {h}", "Pair(y, n)", "Data(y)", "cb.sum(y)",
           "None",
           "y * 2, SUM", "y if n else None", "float(cb.sum(y))", "x")
CONTEXT = ("COUNTER[0] = 0", "LOG.clear()", "LOG.append(2)", "SUM.assign([3.0, 2.0, 1.0])",
           "SUM = cb.State([0.0, 0.0, 1.0])",
           "IDX = cb.tensor(np.array([0, 1, 2]))", "MASK[0] = 0", "MASK = np.array([1, 1, 0])", "GEN = cb.Generator(5)",
           "WEIGHT.grad = None", "WEIGHT.requires_grad = False", "WEIGHT = cb.Parameter([1.0, 1.0, 1.0])",
           "CACHE.clear()",
           "WEIGHT.assign([1.0, -1.0, 0.5])", "X0[...] = 0.25", "X0 = X1", "Base.k = 3.0", "DICE.seed(1)",
           "Base.scale = lambda self, t: t * 4", "Obj.scale = lambda self, t: t * 5", "cb_exp = cb.exp")
BATCHES = tuple(f"rows({n})" for n in (2, 4, 5, 7, 1))
ARGUMENTS = ("array(0.5, -1.5, 2)", "array(1, 2, 3)", "np.arange(6, dtype='float32').reshape(2, 3)",
             "cb.tensor([1.0, 0.5, -2.0])",
             "array(1, 2, 3, dtype='float64')", "array(1, 2, 3, dtype='int64')", "array(9, 3, 1, dtype='uint8')",
             "array(1, 0, 1, dtype='bool')", "cb.Parameter([1.0, 2.0, 0.5])", "cb.State([1.0, 2.0, 0.5])")
