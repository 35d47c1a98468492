"""Call every public function and method with random wrong arguments.  Run by tests/ops/test_errors.py in its own
process: each function in a forked child, so that a crash is told from the others.  Prints one JSON object."""

import inspect
import json
import os
import random
import resource
import sys
import tempfile
import warnings

import numpy as np

import cybackprop as cb

CALLS = 120
ALLOWED = (ValueError, TypeError, IndexError, cb.TapeError, MemoryError, OverflowError, ZeroDivisionError,
           FileNotFoundError)


class Odd:
    """Answers no question."""

    def __array__(self, *args, **kwargs):
        raise ValueError("no array here")


def pool():
    f = np.random.default_rng(1)
    leaf = cb.tensor(f.normal(size=(2, 3)), requires_grad=True)
    freed = cb.sum(leaf * leaf)
    freed.backward()
    leaf.grad = None
    tensors = [leaf, leaf * 2, freed, cb.Parameter(f.normal(size=(3, 2))), cb.ones((2, 3)), cb.ones((3,), "float64"),
               cb.arange(3),
               cb.tensor([True, False, True]), cb.zeros((0, 3)), cb.tensor(2.0), cb.tensor(1), cb.zeros((1,) * 8)]
    arrays = [f.normal(size=(2, 3)), np.arange(3), np.ones(3, bool), np.ones(3, complex), np.array([None, 1]),
              np.zeros((0, 3)),
              np.array(1.5), np.zeros((1,) * 9), np.array(["a"]), np.zeros(2, "i1,f8"), np.array([2**63], np.uint64)]
    others = [None, 0, 1, -1, 3, 2**31, 2**63, -2**63, 10**30, 1.5, float("nan"), float("inf"), "", "abc", "float32",
              "tanh", b"x", [], [[]],
              [1, [2]], [None], (), (1, 2), (-1, 2**40), {}, {"a": 1}, object(), Odd(), len, lambda *a, **k: None,
              lambda x: x, int,
              True, 1j, slice(None), slice(2**70, "a"), Ellipsis, NotImplemented, range(3), cb.Tensor, cb.Generator(1)]
    return tensors, arrays, others


def functions():
    out = {name: getattr(cb, name) for name in dir(cb) if not name.startswith("_") and callable(getattr(cb, name))}
    out = {name: f for name, f in out.items() if getattr(f, "__module__", "").startswith("cybackprop")
           and not (inspect.isclass(f) and issubclass(f, Exception))}
    for cls in (cb.Tensor, cb.Parameter, cb.Generator):
        for name, f in vars(cls).items():
            if callable(f) and name not in ("__new__", "__pyx_vtable__", "__setattr__", "__delattr__",
                                            "__getattribute__"):
                out[f"{cls.__name__}.{name}"] = getattr(cls, name)
            elif hasattr(f, "__set__") and not name.startswith("_"):
                out[f"{cls.__name__}.{name} set"] = lambda x, v=None, *_, name=name: setattr(x, name, v)
                out[f"{cls.__name__}.{name} del"] = lambda x, *_, name=name: delattr(x, name)
    return out


def names_of(function):
    try:
        parameters = inspect.signature(function).parameters.values()
        return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    except (ValueError, TypeError):
        return []


def spoil(name, function, note):
    """Random calls; returns what was raised and should not have been."""
    choose = random.Random(name)
    tensors, arrays, others = pool()
    before = [np.asarray(t).tobytes() for t in tensors] + [a.tobytes() for a in arrays if a.dtype != object]
    method, words, odd = "." in name, [] if " " in name else names_of(function), []
    for _ in range(CALLS):
        n = choose.choice((0, 1, 1, 2, 2, 3, 4))
        args = [choose.choice(choose.choice((tensors, arrays, others))) for _ in range(n)]
        if method and choose.random() < 0.9:
            args.insert(0, choose.choice([cb.Generator(1)] if name.startswith("Gen") else tensors))
        named = {choose.choice(words): choose.choice(others) for _ in range(choose.choice((0, 0, 1)))} if words else {}
        text = f"{name}({', '.join([repr(a)[:60] for a in args] + [f'{k}={v!r}'[:60] for k, v in named.items()])})"
        os.pwrite(note, text.encode()[:1000].ljust(1000), 0)
        try:
            result = function(*args, **named)
            if inspect.isgenerator(result):
                list(result)
            elif name in ("grad", "value_and_grad", "no_grad"):
                result(*args[1:])
            elif name == "vjp" and isinstance(result, tuple):
                result[1](*args[1:])
            repr(result)
        except ALLOWED:
            pass
        except AttributeError as error:  # Python's own answer to a wrong self and to attributes that can't be set
            if not method:
                odd.append(f"{text}: AttributeError: {error}"[:300])
        except Exception as error:       # collected
            odd.append(f"{text}: {type(error).__name__}: {error}"[:300])
    if not name.endswith(("assign", "__init__")):
        after = [np.asarray(t).tobytes() for t in tensors] + [a.tobytes() for a in arrays if a.dtype != object]
        if after != before:
            odd.append(f"{name}: an argument has changed")
    return odd[:3]


def main():
    warnings.simplefilter("ignore")
    report = {}
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as out:
        for name, function in functions().items():
            out.truncate(0)
            pid = os.fork()
            if pid == 0:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
                sys.stdout = sys.stderr = open(os.devnull, "w")      # noqa: SIM115, the process ends below
                try:
                    os.pwrite(out.fileno(), json.dumps(spoil(name, function, file.fileno())).encode(), 0)
                finally:
                    os._exit(0)
            status = os.waitpid(pid, 0)[1]
            text = os.pread(out.fileno(), 1 << 16, 0).decode()
            last = os.pread(file.fileno(), 1000, 0).decode(errors="replace").strip()
            report[name] = {"status": status, "odd": json.loads(text) if text else ["no report"], "last": last}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
