"""What a function can name outside, kind by kind: a change is seen at the next call.

The oracle is the plain function.
"""

import collections
import contextvars
import enum
import functools
import importlib
import operator
import os
import sys
import threading
import types
import weakref

import pytest
from changing import Plain, Table, X, check
from notes import notes

import cybackprop as cb

ROWS = Table()


# ---- names


@ROWS.row
def a_cell():
    k = 2.0

    def put(value):
        nonlocal k
        k = value
    return lambda x: x * k, [lambda: put(3.0), lambda: put(True)]


@ROWS.row
def a_cell_that_is_empty_at_first():
    def f(x):
        try:
            return x * late
        except NameError:
            return x * 7

    def fill():
        nonlocal late
        late = 3.0
    if not f:
        late = 0.0
    return f, [fill]


@ROWS.row
def a_global_that_appears():
    def f(x):
        try:
            return x * APPEARS
        except NameError:
            return x * 7
    globals().pop("APPEARS", None)
    return f, [lambda: globals().update(APPEARS=3.0), lambda: globals().pop("APPEARS")], 2


@ROWS.row
def a_builtin_that_is_shadowed():
    globals().pop("abs", None)
    return lambda x: abs(x), [lambda: globals().update(abs=lambda x: x * 5), lambda: globals().pop("abs")], 2


@ROWS.row
def globals_by_name():
    space = {"__name__": "user", "k1": 2.0}
    exec("def f(x): return x * globals()['k' + str(1)]", space)
    return space["f"], [lambda: space.update(k1=3.0)]


@ROWS.row
def a_default():
    def f(x, k=2.0):
        return x * k
    return lambda x: f(x), [lambda: setattr(f, "__defaults__", (3.0,))]


@ROWS.row
def a_mutable_default():
    def f(x, k={"k": [2.0]}):            # noqa: B006
        return x * k["k"][0]
    return f, [lambda: f.__defaults__[0]["k"].__setitem__(0, 3.0)]


@ROWS.row
def a_keyword_default():
    def f(x, *, k=2.0):
        return x * k
    return lambda x: f(x), [lambda: f.__kwdefaults__.update(k=3.0)]


@ROWS.row
def a_functions_code():
    def f(x):
        return x * 2

    def g(x):
        return x * 3
    return lambda x: f(x), [lambda: setattr(f, "__code__", g.__code__)]


@ROWS.row
def a_functions_attribute():
    def f(x):
        return x * f.k
    f.k = 2.0
    return f, [lambda: setattr(f, "k", 3.0)]


# ---- objects


@ROWS.row
def an_attribute():
    a = Plain()
    return lambda x: x * a.k, [lambda: setattr(a, "k", 3.0), lambda: setattr(a, "k", 3)]


@ROWS.row
def an_attribute_that_appears():
    a = Plain()
    return (lambda x: x * getattr(a, "late", 7.0)), [lambda: setattr(a, "late", 3.0), lambda: delattr(a, "late")], 2


@ROWS.row
def an_attribute_that_shadows_the_classes():
    class A:
        k = 2.0
    a = A()
    return lambda x: x * a.k, [lambda: setattr(a, "k", 3.0), lambda: setattr(A, "k", 9.0)], None


@ROWS.row
def an_attribute_of_a_base():
    class A:
        k = 2.0

    class B(A):
        pass
    b = B()
    return lambda x: x * b.k, [lambda: setattr(A, "k", 3.0), lambda: setattr(B, "k", 4.0)]


@ROWS.row
def an_attribute_of_the_metaclass():
    class M(type):
        k = 2.0

    class A(metaclass=M):
        pass
    return lambda x: x * A.k, [lambda: setattr(M, "k", 3.0)]


@ROWS.row
def the_bases():
    class A:
        k = 2.0

    class B:
        k = 3.0

    class C(A):
        pass
    c = C()
    return lambda x: x * c.k, [lambda: setattr(C, "__bases__", (B,))]


@ROWS.row
def the_class_of_an_object():
    class A:
        k = 2.0

    class B:
        k = 3.0
    a = A()
    return lambda x: x * a.k, [lambda: setattr(a, "__class__", B)]


@ROWS.row
def a_slot():
    class A:
        __slots__ = ("k",)
    a = A()
    a.k = 2.0
    return lambda x: x * a.k, [lambda: setattr(a, "k", 3.0)]


@ROWS.row
def a_slot_that_is_empty_at_first():
    class A:
        __slots__ = ("k",)

        def __getattr__(self, name):
            return 7.0
    a = A()
    return lambda x: x * a.k, [lambda: setattr(a, "k", 3.0), lambda: delattr(a, "k")], 2


@ROWS.row
def a_property():
    class A:
        @property
        def k(self):
            return self.inner.k * 2
    a = A()
    a.inner = Plain()
    return lambda x: x * a.k, [lambda: setattr(a.inner, "k", 3.0), lambda: setattr(A, "k", property(lambda self: 9.0))]


@ROWS.row
def a_descriptor():
    class D:
        def __init__(self):
            self.k = 2.0

        def __get__(self, instance, owner):
            return self.k
    d = D()
    a = type("A", (), {"k": d})()
    return lambda x: x * a.k, [lambda: setattr(d, "k", 3.0)]


@ROWS.row
def operators():
    class A:
        k = 2.0

        def __getitem__(self, i):
            return self.k * i

        def __len__(self):
            return int(self.k)

        def __call__(self, x):
            return x + self.k

        def __bool__(self):
            return self.k > 2
    a = A()
    return (lambda x: a(x) * a[3] if a else x * len(a)), [lambda: setattr(a, "k", 3.0),
                                                          lambda: setattr(A, "__getitem__", lambda self, i: 9.0)]


@ROWS.row
def getattr_hooks():
    class A:
        def __init__(self):
            self.hidden = {"k": 2.0}

        def __getattr__(self, name):
            return self.__dict__["hidden"][name]
    a = A()
    return lambda x: x * a.k, [lambda: a.hidden.update(k=3.0)]


@ROWS.row
def super_methods():
    class A:
        def go(self, x):
            return x * 2

    class B(A):
        def go(self, x):
            return super().go(x) + 1
    b = B()
    return lambda x: b.go(x), [lambda: setattr(A, "go", lambda self, x: x * 3)]


@ROWS.row
def class_and_static_methods():
    class A:
        k = 2.0

        @classmethod
        def one(cls, x):
            return x * cls.k

        @staticmethod
        def two(x):
            return x + 1
    return lambda x: A.two(A.one(x)), [lambda: setattr(A, "k", 3.0),
                                       lambda: setattr(A, "two", staticmethod(lambda x: x - 1))]


@ROWS.row
def what_a_static_method_names():
    inner = Plain()

    class A:
        @staticmethod
        def go(x):
            return x * inner.k
    return lambda x: A.go(x), [lambda: setattr(inner, "k", 3.0)]


@ROWS.row
def methods_of_built_in_things():
    a, b = {"k": 2.0}, [1.0]
    get, count = a.get, b.__len__
    return lambda x: x * get("k") * count(), [lambda: a.update(k=3.0), lambda: b.append(1.0)]


@ROWS.row
def what_is_tried():
    """It appears where an error has been caught before."""
    a, m = Plain(), types.ModuleType("m")
    s = type("S", (), {"__slots__": ("k",)})()

    def f(x):
        for thing in (a, m, s):
            try:
                x = x * thing.late if thing is not s else x * s.k
            except AttributeError:
                x = x + 1
        return x
    return f, [lambda: setattr(a, "late", 2.0), lambda: setattr(m, "late", 3.0), lambda: setattr(s, "k", 5.0)]


@ROWS.row
def an_enums_attribute():
    class E(enum.Enum):
        A = 1
    E.A.k = 2.0
    return lambda x: x * E.A.k, [lambda: setattr(E.A, "k", 3.0)]


@ROWS.row
def a_cached_property():
    class A:
        k = 2.0

        @functools.cached_property
        def twice(self):
            return self.k * 2
    a = A()
    a.twice                                  # noqa: B018
    return lambda x: x * a.twice, [lambda: a.__dict__.update(twice=9.0)]


@ROWS.row
def a_namespace():
    a = types.SimpleNamespace(k=2.0, inner=types.SimpleNamespace(k=1.0))
    return lambda x: x * a.k * a.inner.k, [lambda: setattr(a, "k", 3.0), lambda: setattr(a.inner, "k", 5.0)]


@ROWS.row
def vars_of_an_object():
    a = Plain()
    return lambda x: x * sum(vars(a).values()), [lambda: setattr(a, "k", 3.0), lambda: setattr(a, "more", 1.0)]


@ROWS.row
def an_attrgetter():
    a, get = types.SimpleNamespace(inner=Plain()), operator.attrgetter("inner.k")
    return lambda x: x * get(a), [lambda: setattr(a.inner, "k", 3.0)]


@ROWS.row
def a_methodcaller():
    class A:
        k = 2.0

        def go(self):
            return self.k
    a, go = A(), operator.methodcaller("go")
    return lambda x: x * go(a), [lambda: setattr(a, "k", 3.0)]


@ROWS.row
def a_partial():
    a = Plain()
    f = functools.partial(lambda a, x: x * a.k, a)
    return lambda x: f(x), [lambda: setattr(a, "k", 3.0)]


@ROWS.row
def a_wrapped_function():
    a = Plain()

    def decorated(f):
        @functools.wraps(f)
        def wrapper(x):
            return f(x) + 1
        return wrapper

    f = decorated(lambda x: x * a.k)
    return f, [lambda: setattr(a, "k", 3.0)]


@ROWS.row
def the_elements_of_an_error():
    class Failed(Exception):
        k = 2.0

    def f(x):
        try:
            raise Failed
        except Failed as error:
            return x * error.k
    return f, [lambda: setattr(Failed, "k", 3.0)]


# ---- modules


@ROWS.row
def a_module():
    m = types.ModuleType("m")
    m.k = 2.0
    return lambda x: x * m.k, [lambda: setattr(m, "k", 3.0)]


@ROWS.row
def a_module_that_is_named_as_a_standard_one():
    m = types.ModuleType("json")
    exec("k = 2.0\ndef go(x): return x * k", vars(m))
    return lambda x: m.go(x), [lambda: setattr(m, "k", 3.0), lambda: exec("def go(x): return x * 9", vars(m))]


@ROWS.row
def what_the_user_puts_into_a_library():
    return (lambda x: x * len(sys.path)), [lambda: sys.path.append("nowhere"), lambda: sys.path.remove("nowhere")], 2


# ---- what has another state than attributes


@ROWS.row
def a_context_variable():
    v = contextvars.ContextVar("v", default=2.0)
    return lambda x: x * v.get(), [lambda: v.set(3.0), lambda: v.set(4.0)]


@ROWS.row
def a_thread_local():
    a = threading.local()
    a.k = 2.0
    return lambda x: x * a.k, [lambda: setattr(a, "k", 3.0)]


@ROWS.row
def a_weak_reference():
    p = [Plain()]
    ref = weakref.ref(p[0])
    return lambda x: x * (7.0 if ref() is None else ref().k), [lambda: setattr(p[0], "k", 3.0)]


@ROWS.row
def a_weak_reference_that_is_replaced():
    p, a = [Plain(), Plain(3.0)], Plain()
    a.ref = weakref.ref(p[0])
    return lambda x: x * a.ref().k, [lambda: setattr(a, "ref", weakref.ref(p[1])), lambda: setattr(p[1], "k", 5.0)]


@ROWS.row
def a_cached_function():
    a = Plain()

    @functools.lru_cache
    def cached():
        return a.k
    cached()

    def change():
        a.k = 3.0
        cached.cache_clear()
    return lambda x: x * cached(), [change], None


@ROWS.row
def the_environment_of_the_process():
    os.environ["CB_TEST"] = "2"
    return (lambda x: x * float(os.environ["CB_TEST"]) + float(os.getenv("CB_LATE", "1"))), [
        lambda: os.environ.update(CB_TEST="3"), lambda: os.environ.update(CB_LATE="5"),
        lambda: os.environ.pop("CB_LATE")], 3


@pytest.mark.parametrize("name", ROWS)
def test_a_change_is_seen(name):
    check(*ROWS[name])


@pytest.mark.parametrize("name", ["settings", "json"])
def test_modules_imported_inside(name, tmp_path, monkeypatch):
    """Also one that bears the name of a standard one."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / f"{name}.py").write_text("k = 2.0\ndef go(x):\n    return x * k\n")
    code = f"def f(x):\n    import {name} as m\n    from {name} import go\n    return go(x) + m.k\n"
    space = {"__name__": "user"}
    exec(code, space)
    module = importlib.import_module(name)
    other = types.ModuleType(name)
    exec("k = 5.0\ndef go(x):\n    return x * 7\n", vars(other))
    check(space["f"], [lambda: setattr(module, "k", 3.0), lambda: setattr(module, "go", lambda x: x * 9),
                       lambda: sys.modules.update({name: other})], 4)


def test_every_thread_has_its_own():
    local, results = threading.local(), []
    compiled = cb.compile(lambda x: x * local.k)

    def work(k):
        local.k = k
        results.append(compiled(X).tolist())

    for k in (2.0, 2.0, 3.0, 2.0, 3.0):
        thread = threading.Thread(target=work, args=(k,))
        thread.start()
        thread.join()
        assert results.pop() == [k, -2 * k, 3 * k]


def test_the_walk_runs_no_code_of_the_users():
    note, seen = notes()

    class Loud:
        def __getattr__(self, name):
            note(name)
            raise AttributeError(name)

        def __eq__(self, other):
            note("eq")
            return self is other

        __hash__ = None

        @property
        def k(self):
            note("k")
            return 2.0

        def __getattribute__(self, name):
            note(name)
            return object.__getattribute__(self, name)

    class Table(collections.defaultdict):
        def __iter__(self):
            note("iter")
            return super().__iter__()

        def items(self):
            note("items")
            return super().items()

        keys = values = __len__ = items

    loud, table = Loud(), Table(list, a=[1.0])
    compiled = cb.compile(lambda x: x * 2 if x is None else (x * 3, loud, table)[0])
    for _ in range(5):
        compiled(X)
    assert seen == [] and dict.__len__(table) == 1 and len(compiled.programs) == 1
