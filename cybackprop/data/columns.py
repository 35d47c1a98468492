"""From table columns to a network's numbers and back; travels as JSON in a model file's header."""

import dataclasses
import json
import math

import numpy as np

from cybackprop.data.table import MISSING, TableError, parse_number, shown
from cybackprop.errors import ModelFileError

_FEW = 20  # as many different whole numbers are labels; more are, if they count classes from 0 or 1
_ROWS_PER_LABEL = 3


def read_target(table):
    """Decide whether a table's target column is for classification or regression, and read it.

    Text means classification.  So do whole numbers that look like labels: at most 20 different ones, or all
    of 0..K-1 or 1..K; in both cases with 3 rows a label.  Other numbers mean regression.

    Returns
    -------
    classes : tuple of str, or None
        The labels in order; None for regression.
    y : array, shape (rows,)
        int64 indices into `classes`, or float64 values.

    Raises
    ------
    TableError
        A missing value, a single value in all rows, a stray text among numbers, a different text in each row.
    """
    for row, text in enumerate(table.texts):
        if text.lower() in MISSING:
            raise table.fault(row, table.target, "the value is missing; fill it in or remove the row")
    numbers = [parse_number(text) for text in table.texts]
    numeric = sum(number is not None for number in numbers)
    if numeric == len(numbers):
        return _read_numbers(table, np.array(numbers))
    if numeric > len(numbers) / 2 and len(set(numbers)) > _FEW:
        row = numbers.index(None)
        raise table.fault(row, table.target, f"{shown(table.texts[row])} stands among numbers")
    return _read_labels(table, table.texts)


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """What the columns of a table mean to a network, and how they are scaled for it."""

    features: tuple  # of str
    mean: np.ndarray  # float64 (features,)
    scale: np.ndarray  # float64 (features,), above 0
    target: str
    classes: tuple | None = None  # of str; None: regression
    target_mean: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def fit(cls, table, classes, y, rows):
        """Columns of a table, standardised by some of its rows (those to be trained on)."""
        mean, scale = _standard(table.values[rows])
        if classes is not None:
            return cls(table.names, mean, scale, table.target, classes)
        (target_mean,), (target_scale,) = _standard(y[rows, None])
        return cls(table.names, mean, scale, table.target, None, float(target_mean), float(target_scale))

    @property
    def outputs(self):
        """How many numbers the network gives for a row."""
        return 1 if self.classes is None else len(self.classes)

    def inputs(self, table):
        """The network's input, float32 (rows, features)."""
        with np.errstate(over="ignore"):
            X = ((table.values - self.mean) / self.scale).astype(np.float32)
        if not np.isfinite(X).all():
            row, column = np.argwhere(~np.isfinite(X))[0]
            value = f"{table.values[row, column]:g}"
            raise table.fault(row, self.features[column], f"{value} is too far from what the model was trained on")
        return X

    def goals(self, y):
        """The network's target: int64 (rows,) for classes, float32 (rows, 1) for numbers."""
        return y if self.classes else ((y[:, None] - self.target_mean) / self.target_scale).astype(np.float32)

    def answers(self, outputs):
        """What the network's outputs say in the target's own terms: a list of labels, or float64 values."""
        if self.classes:
            return [self.classes[i] for i in outputs.argmax(axis=1)]
        return outputs[:, 0].astype(np.float64) * self.target_scale + self.target_mean

    def to_json(self):
        """A text from which `from_json` makes equal Columns, to the last bit."""
        return json.dumps(dataclasses.asdict(self), default=np.ndarray.tolist, separators=(",", ":"))

    @classmethod
    def from_json(cls, text):
        """Columns from a text that nobody vouches for; raises ModelFileError."""
        try:
            columns = cls(**json.loads(text))
            columns._check()
            numbers = {name: np.array(getattr(columns, name), np.float64) for name in ("mean", "scale")}
            classes = None if columns.classes is None else tuple(columns.classes)
            return dataclasses.replace(columns, features=tuple(columns.features), classes=classes, **numbers)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ModelFileError(f"its description of columns can't be read ({error})") from None

    def _check(self):
        classes = ["0", "1"] if self.classes is None else self.classes
        _require(_different_texts(self.features, 1), "features")
        _require(_different_texts(classes, 2), "classes")
        _require(isinstance(self.target, str), "target")
        _require(_finite_list(self.mean, len(self.features)), "mean")
        _require(_finite_list(self.scale, len(self.features)) and min(self.scale) > 0, "scale")
        _require(_finite_list([self.target_mean, self.target_scale], 2) and self.target_scale > 0, "target_scale")


def _read_numbers(table, numbers):
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise table.fault(row, table.target, f"{shown(table.texts[row])} is not finite")
    values = np.unique(numbers)
    counts_classes = values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    whole = (values == np.rint(values)).all()
    if whole and (len(values) <= _FEW or counts_classes) and len(values) * _ROWS_PER_LABEL <= len(numbers):
        _refuse_one(table, values)
        return tuple(f"{value:.0f}" for value in values), np.searchsorted(values, numbers)
    _refuse_one(table, values)
    return None, numbers


def _read_labels(table, texts):
    classes = tuple(sorted(set(texts)))
    _refuse_one(table, classes)
    if len(classes) * _ROWS_PER_LABEL > len(texts):
        raise TableError(
            f"{table.path}: the column {table.target!r} holds {len(classes)} different texts "
            f"in {len(texts)} rows; those are no class labels"
        )
    index = {label: i for i, label in enumerate(classes)}
    return classes, np.array([index[text] for text in texts])


def _refuse_one(table, values):
    if len(values) == 1:
        raise TableError(
            f"{table.path}: the column {table.target!r} is {table.texts[0]!r} in every row; there is nothing to learn"
        )


def _standard(values):
    """Mean and standard deviation of each column; the latter is replaced where a column is constant."""
    peak = np.abs(values).max(axis=0)
    peak = np.where(peak > 0, peak, 1)
    unit = values / peak  # so that squares neither overflow nor vanish
    spread = unit.std(axis=0)  # exactly 0 for a constant, as its unit is exactly 1
    scale = np.where(spread > 0, spread, 1) * peak
    return unit.mean(axis=0) * peak, np.maximum(scale, np.finfo(np.float64).tiny)


def _require(condition, name):
    if not condition:
        raise ValueError(f"{name!r} is not valid")


def _different_texts(value, count):
    texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return texts and len(set(value)) == len(value) >= count


def _finite_list(value, count):
    numbers = isinstance(value, list) and all(type(number) in (int, float) for number in value)
    return numbers and len(value) == count and all(math.isfinite(number) for number in value)
