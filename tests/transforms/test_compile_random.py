"""Random functions: a program has the bits of the eager run, call after call, and audits notice when it has not."""

import warnings

import programs
import pytest
from samples import same_values

import cybackprop as cb
from cybackprop._core import engine

CALLS = 4                                # the first is recorded, the second audited, two are replayed
SEEDS, PLANTED = 200, 40


def left(world, results):
    """All that a call leaves behind, by name."""
    return {f"result {i}": t for i, t in enumerate(results)} | world.tensors()


def differences(seed, steps, results, dtype, batch, calls=CALLS, **options):
    """[(call, what differs from the eager run of a twin)], and the programs that were made."""
    mine, twin = programs.World(seed, dtype), programs.World(seed, dtype)
    compiled = cb.compile(programs.function_of(steps, results, mine), **options)
    eager = programs.function_of(steps, results, twin)
    found = []
    for call in range(calls):
        args = programs.arguments(1000 * seed + call, batch, dtype)
        mine.next_call(), twin.next_call()
        a, b = left(mine, compiled(*args)), left(twin, eager(*args))
        found += [(call, name) for name in b if (a[name] is None) != (b[name] is None)
                  or (a[name] is not None and not same_values(a[name], b[name]))]
    return found, compiled.programs


def test_they_are_what_is_wanted():
    """5 to 40 steps, both dtypes, every batch size; each writes a state, uses a value twice, ends in a reduction."""
    made = [programs.make(seed) for seed in range(SEEDS)]
    assert {(dtype, batch) for dtype, batch, _, _ in made} == {(d, b) for d in ("float32", "float64")
                                                               for b in programs.BATCHES}
    lengths = [len(steps) for _, _, steps, _ in made]
    assert 5 <= min(lengths) < 10 and 35 < max(lengths) <= 40
    for _, _, steps, _ in made:
        used = [i for step in steps for i in step.of]
        assert len(set(used)) < len(used) and any(":=" in step.name or "+=" in step.name for step in steps)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_program_has_the_bits_of_the_eager_run(seed):
    dtype, batch, steps, results = programs.make(seed)
    found, made = differences(seed, steps, results, dtype, batch)
    assert not found, (found, dtype, batch, steps, results)
    assert [p.calls for p in made] == [CALLS]            # nothing was recorded twice: the last two calls were replays


@pytest.mark.parametrize("seed", range(1000, 1060))
def test_branches_that_change_from_call_to_call(seed):
    dtype, batch, steps, results = programs.make(seed, programs.BRANCHES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)                  # a path that is never taken again
        found, _ = differences(seed, steps, results, dtype, batch, calls=9)
    assert not found, (found, dtype, batch, steps, results)


@pytest.mark.parametrize("fault", (1, 2, 3), ids=("memory shared", "addition dropped", "written too early"))
def test_an_audit_notices_a_planted_fault(fault):
    caught = 0
    for seed in range(PLANTED):
        dtype, batch, steps, results = programs.make(seed)
        engine.plant_fault(fault)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:                         # every call is audited: a fault may show late
                found, made = differences(seed, steps, results, dtype, batch, audit=1)
            except cb.AuditError as error:
                found, made, told = [], [], [error]
            finally:
                engine.plant_fault(0)
        assert not found, seed           # it has done nothing here, or its program was given up
        assert len(told) <= 1 and bool(told) == (made == [])
        for text in map(str, (getattr(w, "message", w) for w in told)):
            assert "py:" in text and "plan of the program is wrong" in text
            caught += 1
    assert caught >= 3
