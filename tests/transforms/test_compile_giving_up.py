"""When `compile` gives up, how many programs there are, and how it is told to do nothing at all."""

import os
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest
from notes import notes
from samples import same_bits

import cybackprop as cb
from cybackprop._core import engine
from cybackprop.transforms.history import MOST_WASTED

X = cb.tensor([1.0, -2.0, 3.0])


def test_giving_up_is_late_and_explained_and_reset_starts_anew():
    note, seen = notes()
    compiled = cb.compile(lambda x, k: (note(k), x * k)[1])
    for k in range(2, MOST_WASTED + 1):
        assert compiled(X, k)[0].item() == k
    with pytest.warns(RuntimeWarning) as caught:
        compiled(X, 100)
    text = str(caught[0].message)
    assert len(caught) == 1 and f"last {MOST_WASTED} recordings were replayed once at most" in text
    assert "`k`: 3 instead of 2" in text and "over as arrays or tensors" in text
    for k in (2, 2, 2, 101):
        assert compiled(X, k)[0].item() == k
    assert len(seen) == MOST_WASTED + 4  # also what there is a program for
    compiled.reset()
    assert compiled.programs == [] and compiled.history.given_up is None
    seen.clear()
    for _ in range(4):
        compiled(X, 2)
    assert len(compiled.programs) == 1 and len(seen) == 3


@pytest.mark.parametrize("replays, gives_up", [(1, True), (2, False)])
def test_programs_that_are_replayed_twice_are_worth_it(replays, gives_up):
    compiled = cb.compile(lambda x, k: x * k)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(30):
            for _ in range(1 + replays):
                compiled(X, k)
    assert bool(caught) == gives_up == (compiled.history.given_up is not None)


@pytest.mark.parametrize("most", [1, 3])
def test_the_least_recently_used_programs_leave(most):
    note, seen = notes()
    compiled = cb.compile(lambda x, k: (note(k), x * k)[1], max_programs=most)
    for k in (1, 2, 3, 4):
        for _ in range(5):
            assert compiled(X, k)[0].item() == k
    assert len(compiled.programs) == most
    seen.clear()
    compiled(X, 4), compiled(X, 4 - most + 1)
    assert seen == []
    compiled(X, 4 - most)
    assert seen == [4 - most] and len(compiled.programs) == most


def test_sixty_four_programs_by_default():
    compiled = cb.compile(lambda x, k: x * k)
    for k in range(70):
        for _ in range(3):
            compiled(X, k)
    assert len(compiled.programs) == 64


@pytest.mark.parametrize("options", [{"max_programs": 0}, {"max_programs": 1.5}, {"audit": -1}])
def test_options_that_are_none(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        cb.compile(lambda x: x, **options)


def test_obstacles_and_ends_count_as_recordings():
    """A function that never becomes a program is not recorded for ever."""
    recordings = []
    compiled = cb.compile(lambda x: x * cb.sum(x).item())
    with pytest.warns(RuntimeWarning) as caught:
        for _ in range(MOST_WASTED + 4):
            assert same_bits(compiled(X), X.numpy() * np.float32(2))
            recordings.append(compiled.history.given_up is None)
    assert sum(recordings) == MOST_WASTED - 1
    assert ["reads the value" in str(w.message) for w in caught] == [True]           # which says all there is to say


# ---- eager

def test_eager_runs_what_it_is_with_tensors():
    note, seen = notes()
    compiled, x = cb.compile(lambda x, k: (note(type(x)), x * k)[1]), np.ones(3, "float32")
    for _ in range(3):
        compiled(x, 2)
    program = compiled.programs[0]
    with cb.eager():
        for _ in range(3):
            assert same_bits(compiled(x, 2), x * 2)
        with cb.eager():
            compiled(x, 3)
        assert not engine.compiles()
        compiled(x, 3)
    assert engine.compiles() and seen == 7 * [cb.Tensor] and program.calls == 3 and compiled.programs == [program]
    compiled(x, 2)
    assert program.calls == 4


def test_eager_ends_with_an_error_and_is_of_one_thread():
    compiled, counts = cb.compile(lambda x: x * 2), []

    def elsewhere():
        for _ in range(3):
            compiled(X)
        counts.append(compiled.programs[0].calls)

    with pytest.raises(ZeroDivisionError), cb.eager():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        compiled(X)
        1 / 0                                # noqa: B018
    assert counts == [3] and compiled.programs[0].calls == 3
    compiled(X)
    assert compiled.programs[0].calls == 4


@pytest.mark.parametrize("value, programs", [("0", 0), ("1", 1), ("", 1)])
def test_the_environment_variable_turns_compile_off(value, programs):
    code = textwrap.dedent("""
        import numpy as np
        import cybackprop as cb
        f = cb.compile(lambda x: (isinstance(x, cb.Tensor), x * 2))
        for _ in range(3):
            inside, y = f(np.ones(3))
        print(inside, y.tolist(), len(f.programs))
    """)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"CYBACKPROP_COMPILE": value}, text=True,
                          capture_output=True, check=True)
    assert done.stdout.split() == ["True", "[2.0,", "2.0,", "2.0]", str(programs)] and done.stderr == ""
