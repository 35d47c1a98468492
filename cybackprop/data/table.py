"""Reading CSV files: numeric columns as numbers, one column as text, every fault with its line."""

import csv
import dataclasses
import difflib
import itertools
import os

import numpy as np

MISSING = frozenset(("", "na", "n/a", "nan", "null"))
_DELIMITERS = ",;\t"
_CHUNK_ROWS = 128  # the strings of a chunk stay in the cache: with 4,096 rows reading takes twice as long


class TableError(ValueError):
    """A table that can't be used; the message names file, line and column."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Rows of a CSV file."""

    path: str
    names: tuple  # of str, one a column of values
    values: np.ndarray  # float64 (rows, columns), all finite
    lines: np.ndarray  # int64 (rows,): where in the file each row begins
    target: str | None = None
    texts: tuple | list = ()  # of str: the target column as it is written; empty without one

    def fault(self, row, column, reason):
        """The TableError for one cell."""
        return _fault(self.path, self.lines[row], column, reason)


def read_table(path, *, features=None, target=None):
    """Read a CSV file whose first line names the columns.

    Parameters
    ----------
    path : str or path-like
        UTF-8 text, with or without a byte order mark; separated by comma, semicolon or tab, whichever
        splits the header into the most names; quoted fields may hold separators and line ends.
    features : sequence of str, optional
        The columns to return as numbers, in this order; the others are ignored.  Default: all but the target.
    target : str, optional
        A column to be kept as text.

    Returns
    -------
    Table

    Raises
    ------
    TableError
        No rows, a column that isn't there, a row of another length, a cell that isn't a finite number.
    OSError
        The file can't be read.

    Notes
    -----
    About 1.5 s for 200,000 rows of 20 columns.
    """
    path = os.fspath(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        records = _records(path, file)
        names = _header(path, next(records, None))
        text_index = None if target is None else _index(path, names, target)
        if features is None:
            features = [name for name in names if name != target]
        if not features:
            raise TableError(f"{path} has no column beside {target!r}")
        wanted = [_index(path, names, name) for name in features]
        blocks, lines, texts = [], [], []
        while chunk := list(itertools.islice(records, _CHUNK_ROWS)):
            where = [line for line, _ in chunk]
            _refuse_ragged(path, names, chunk)
            cells = list(zip(*(fields for _, fields in chunk), strict=True))
            blocks.append(np.column_stack([_numbers(path, where, names[i], cells[i]) for i in wanted]))
            lines += where
            if text_index is not None:
                texts += map(str.strip, cells[text_index])
    if not lines:
        raise TableError(f"{path} has a header and no rows")
    return Table(path, tuple(features), np.concatenate(blocks), np.array(lines), target, texts)


def column_names(path):
    """The names in the first line of a CSV file; raises as `read_table` does."""
    path = os.fspath(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        return _header(path, next(_records(path, file), None))


def parse_number(text):
    """The number that a cell holds, or None; Python's 1_000 isn't one."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def shown(text):
    """A cell's text for a message, quoted and not too long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _records(path, file):
    """Yield (first line, fields) for each record that isn't blank, the header first."""
    line = 1
    try:
        head = [file.readline()]
        while head[-1] and not head[-1].strip():
            head.append(file.readline())
        delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader([head[-1]], delimiter=mark), ())))
        reader = csv.reader(itertools.chain(head, file), delimiter=delimiter, strict=True, skipinitialspace=True)
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield line, fields
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is no UTF-8 text (near line {line}: {error.reason})") from None
    except csv.Error as error:
        raise TableError(f"{path}, line {line}: {error}") from None


def _header(path, record):
    if record is None:
        raise TableError(f"{path} is empty")
    names = [name.strip() for name in record[1]]
    for i, name in enumerate(names):
        if not name:
            raise TableError(
                f"{path}: column {i + 1} of the header has no name "
                "(pandas writes such a column for its index, unless it is told index=False)"
            )
        if name in names[:i]:
            raise TableError(f"{path}: two columns are named {name!r} ({names.index(name) + 1} and {i + 1})")
    return names


def _index(path, names, name):
    if name in names:
        return names.index(name)
    by_lower = {known.lower(): known for known in names}
    near = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"its columns are {_listed(names)}"
    raise TableError(f"{path} has no column {name!r}; {hint}")


def _listed(names):
    shown_names = ", ".join(map(repr, names[:12]))
    return shown_names if len(names) <= 12 else f"{shown_names} and {len(names) - 12} more"


def _refuse_ragged(path, names, chunk):
    for line, fields in chunk:
        if len(fields) != len(names):
            raise TableError(f"{path}, line {line}: {len(fields)} values, but the header names {len(names)} columns")


def _numbers(path, lines, name, cells):
    try:
        numbers = np.fromiter(map(float, cells), np.float64, len(cells))
        if np.isfinite(numbers).all() and "_" not in "".join(cells):
            return numbers
    except ValueError:
        pass
    for line, text in zip(lines, cells, strict=True):
        if reason := _not_a_number(text.strip()):
            raise _fault(path, line, name, reason)
    raise AssertionError("a column was refused and each of its cells accepted")


def _not_a_number(text):
    """Why a cell is no finite number, or None."""
    if text.lower() in MISSING:
        return "the value is missing; fill it in or remove the row"
    number = parse_number(text)
    if number is None:
        comma = text.count(",") == 1 and parse_number(text.replace(",", ".")) is not None
        return f"{shown(text)} is not a number" + (" (decimals are written with a point)" if comma else "")
    return None if np.isfinite(number) else f"{shown(text)} is not finite"


def _fault(path, line, column, reason):
    return TableError(f"{path}, line {line}, column {column!r}: {reason}")
