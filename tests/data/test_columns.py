"""The target is understood, columns are scaled, and both survive the way through a file."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from cybackprop.data import Columns, Table, TableError, read_target
from cybackprop.errors import ModelFileError


def table_of(texts, values=None):
    values = np.arange(2.0 * len(texts)).reshape(-1, 2) if values is None else np.asarray(values, np.float64)
    names = tuple(f"c{i}" for i in range(values.shape[1]))
    return Table("t.csv", names, values, np.arange(len(texts)) + 2, "y", list(map(str, texts)))


CLASSES = {
    "texts": (["b", "a", "b", "a", "a", "c"] * 2, ("a", "b", "c")),
    "0 and 1": ([0, 1] * 5, ("0", "1")),
    "whole numbers as floats": (["1.0", "2", "+1"] * 3, ("1", "2")),
    "negative labels": ([-1, 1] * 3, ("-1", "1")),
    "labels with gaps": ([10, 20, 30] * 3, ("10", "20", "30")),
    "20 different ones": (list(range(100, 120)) * 3, tuple(map(str, range(100, 120)))),
    "many, counted from 0": (list(range(50)) * 3, tuple(map(str, range(50)))),
    "many, counted from 1": (list(range(1, 51)) * 3, tuple(map(str, range(1, 51)))),
    "numbers and texts": (["1", "2", "other"] * 3, ("1", "2", "other")),
}


@pytest.mark.parametrize(("texts", "expected"), CLASSES.values(), ids=CLASSES)
def test_classification(texts, expected):
    classes, y = read_target(table_of(texts))
    assert classes == expected
    assert y.dtype == np.int64
    same = (lambda a, b: a == b) if "a" in texts or "other" in texts else (lambda a, b: float(a) == float(b))
    assert all(same(classes[i], text) for i, text in zip(y, texts, strict=True))


NUMBERS = {
    "fractions": [0.5, 1.5, 2.5] * 4,
    "21 different whole numbers with gaps": list(range(0, 42, 2)) * 5,
    "ages, dense but not from 0": list(range(18, 80)) * 5,
    "whole numbers, two rows each": [1, 2, 3, 4, 5] * 2,
}


@pytest.mark.parametrize("texts", NUMBERS.values(), ids=NUMBERS)
def test_regression(texts):
    classes, y = read_target(table_of(texts))
    assert classes is None
    np.testing.assert_array_equal(y, texts)


REFUSED = {
    "missing": (["a", "b", "", "a"], "line 4, column 'y': the value is missing"),
    "missing number": ([1.5, "NA", 2.5], "line 3, column 'y': the value is missing"),
    "infinite": ([1.5, 2.5, "inf"], "line 4, column 'y': 'inf' is not finite"),
    "stray text": ([*np.arange(30) / 7, "x", *np.arange(9) / 3], "line 32, column 'y': 'x' stands among numbers"),
    "one label": (["a"] * 9, "'y' is 'a' in every row"),
    "one whole number": ([3] * 9, "'y' is '3' in every row"),
    "one number": ([0.5] * 9, "'y' is '0.5' in every row"),
    "names": ([f"n{i}" for i in range(9)], "holds 9 different texts in 9 rows"),
}


@pytest.mark.parametrize(("texts", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(texts, message):
    with pytest.raises(TableError, match=message):
        read_target(table_of(texts))


def test_standardised_by_the_given_rows_only():
    values = np.random.default_rng(0).normal(5, 3, size=(60, 2))
    table, rows = table_of([0, 1] * 30, values), np.arange(40)
    X = Columns.fit(table, *read_target(table), rows).inputs(table)
    assert X.dtype == np.float32 and X.shape == (60, 2)
    np.testing.assert_allclose(X[rows].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(X[rows].std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(X, (values - values[:40].mean(axis=0)) / values[:40].std(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 1e300, 5e-324])
def test_a_constant_column_becomes_zeros(constant):
    table = table_of([0, 1] * 50, np.column_stack([np.full(100, constant), np.arange(100)]))
    X = Columns.fit(table, *read_target(table), np.arange(100)).inputs(table)
    np.testing.assert_array_equal(X[:, 0], 0)


def test_a_column_constant_in_training_stays_moderate_elsewhere():
    table = table_of([0, 1] * 3, [[0.1], [0.1], [0.1], [0.1], [0.2], [-0.3]])
    X = Columns.fit(table, *read_target(table), np.arange(4)).inputs(table)
    np.testing.assert_allclose(X[:, 0], [0, 0, 0, 0, 1, -4], rtol=1e-6)


def test_the_smallest_numbers_there_are():
    table = table_of([0, 1] * 3, [[0], [5e-324]] * 3)
    assert np.isfinite(Columns.fit(table, *read_target(table), np.arange(6)).inputs(table)).all()


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_columns_come_out_standardised(scale):
    values = np.random.default_rng(0).normal(size=(100, 1)) * scale
    table = table_of([0, 1] * 50, values)
    X = Columns.fit(table, *read_target(table), np.arange(100)).inputs(table)
    np.testing.assert_allclose((X.mean(), X.std()), (0, 1), atol=1e-5)


def test_a_value_beyond_float32_is_refused_with_its_place():
    columns = Columns(("c0", "c1"), np.zeros(2), np.ones(2), "y", ("a", "b"))
    with pytest.raises(TableError, match="line 3, column 'c1': 1e\\+40 is too far"):
        columns.inputs(table_of([0, 1], [[1, 2], [3, 1e40]]))


def test_goals_and_answers_of_a_regression():
    y = np.array([1.5, 2.5, 4.0, 8.0])
    table = table_of(y)
    columns = Columns.fit(table, None, y, np.arange(4))
    goals = columns.goals(y)
    assert goals.dtype == np.float32 and goals.shape == (4, 1)
    np.testing.assert_allclose((goals.mean(), goals.std()), (0, 1), atol=1e-6)
    np.testing.assert_allclose(columns.answers(goals), y, rtol=1e-6)
    assert columns.outputs == 1


def test_goals_and_answers_of_a_classification():
    columns = Columns(("c0",), np.zeros(1), np.ones(1), "y", ("a", "b", "c"))
    assert columns.answers(np.float32([[0, 2, 1], [3, 1, 2]])) == ["b", "a"]
    np.testing.assert_array_equal(columns.goals(np.array([2, 0])), [2, 0])
    assert columns.outputs == 3


@pytest.mark.parametrize("classes", [None, ("a", 'ü, "x"\n')])
def test_json_round_trip_to_the_last_bit(classes):
    rng = np.random.default_rng(0)
    columns = Columns(("a", "ä b"), rng.normal(size=2), rng.uniform(1e-300, 1, size=2), "y", classes, 0.1, 1 / 3)
    same = Columns.from_json(columns.to_json())
    for field in dataclasses.fields(Columns):
        np.testing.assert_array_equal(getattr(same, field.name), getattr(columns, field.name))
    assert isinstance(same.features, tuple) and same.mean.dtype == np.float64


GOOD = {"features": ["a", "b"], "mean": [0.0, 1.0], "scale": [1.0, 2.0], "target": "y", "classes": ["u", "v"]}
DAMAGE = [
    ("features", []), ("features", ["a", "a"]), ("features", ["a", 1]), ("features", "ab"), ("features", ["a"]),
    ("mean", [0.0]), ("mean", None), ("mean", [0.0, "1"]), ("mean", [0.0, True]), ("mean", [0.0, float("nan")]),
    ("mean", [0.0, 10**400]), ("scale", [1.0, 0.0]), ("scale", [1.0, -1.0]), ("scale", [1.0, float("inf")]),
    ("target", None), ("target", ["y"]), ("classes", ["u"]), ("classes", ["u", "u"]), ("classes", {"u": 1, "v": 2}),
    ("target_mean", "0"), ("target_scale", 0.0), ("target_scale", None), ("surprise", 1),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), DAMAGE, ids=str)
def test_damaged_json_is_refused(field, value):
    assert Columns.from_json(json.dumps(GOOD)).outputs == 2
    with pytest.raises(ModelFileError, match="description of columns"):
        Columns.from_json(json.dumps(GOOD | {field: value}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "null", "{}", "[" * 100_000])
def test_other_texts_are_refused(text):
    with pytest.raises(ModelFileError):
        Columns.from_json(text)


def test_every_prefix_and_many_edits_of_the_json_are_refused_or_read():
    text = json.dumps(GOOD)
    rng = np.random.default_rng(0)
    edited = [text[:end] for end in range(len(text))]
    for _ in range(3000):
        place = rng.integers(len(text))
        edited.append(text[:place] + rng.choice(list('0 "{}[],:-eE\\unz')) + text[place + 1 :])
    for one in edited:
        with contextlib.suppress(ModelFileError):
            Columns.from_json(one)
