"""Every row has one part, classes are dealt out evenly, and the parts never change."""

import numpy as np
import pytest

from cybackprop.cli.errors import CommandError
from cybackprop.cli.split import split


@pytest.mark.parametrize("rows", [10, 11, 99, 1797])
@pytest.mark.parametrize("count", [None, 2, 3])
def test_parts(rows, count):
    y = np.arange(rows) % (count or rows)
    parts = split("t.csv", None if count is None else tuple("abc"[:count]), y)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert abs(len(parts.test) - rows / 5) <= 1 and abs(len(parts.validate) - rows / 10) <= 1


def test_classes_have_their_share_of_every_part():
    y = np.repeat([0, 1, 2], [700, 200, 100])
    for part in split("t.csv", ("a", "b", "c"), y):
        np.testing.assert_allclose(np.bincount(y[part]) / len(part), [0.7, 0.2, 0.1], atol=0.02)


def test_rows_are_mixed():
    parts = split("t.csv", None, np.arange(1000.0))
    for part in parts:
        assert abs(part.mean() - 500) < 60 and np.any(np.diff(part) < 0)


def test_parts_are_the_same_for_ever():
    train, validate, test = split("t.csv", ("a", "b"), np.arange(20) % 2)
    assert (validate.tolist(), test.tolist()) == ([12, 11], [4, 0, 7, 13])
    assert train.tolist() == [14, 2, 16, 6, 18, 8, 10, 1, 17, 15, 9, 19, 5, 3]


@pytest.mark.parametrize(
    ("classes", "y", "sentence"),
    [
        (None, np.arange(9.0), "t.csv has 9 rows; training needs at least 10"),
        (("a", "b"), np.repeat([0, 1], [20, 2]), "the class 'b' has 2 of 22 rows; each needs at least 3"),
    ],
)
def test_refused(classes, y, sentence):
    with pytest.raises(CommandError, match=sentence):
        split("t.csv", classes, y)
