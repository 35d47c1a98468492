"""Where the rows come from: the word `digits`, or a CSV file."""

import numpy as np

from cybackprop.cli.errors import CommandError
from cybackprop.data import Columns, Table, column_names, digits, read_table, read_target

DIGITS = "digits"
_INK_MAX = 16


def rows_to_learn(source, target):
    """Read a table with its target.

    Returns
    -------
    table : Table
    classes, y
        As `read_target` gives them.
    fit : function of an index array
        The Columns, standardised by those rows; pixels share one scale instead.
    """
    if source == DIGITS:
        if target not in (None, "digit"):
            raise CommandError(f"digits has no column {target!r}; leave --target out")
        table = _digits_table()
    elif target is None:
        names = ", ".join(map(repr, column_names(source)))
        raise CommandError(f"say which column of {source} is to be learned, --target COLUMN; it has {names}")
    else:
        table = read_table(source, target=target)
    classes, y = read_target(table)

    def fit(rows):
        if source != DIGITS:
            return Columns.fit(table, classes, y, rows)
        return Columns(table.names, np.zeros(64), np.full(64, _INK_MAX), table.target, classes)

    return table, classes, y, fit


def rows_to_answer(source, features):
    """Read a table with the columns that a model was trained on."""
    if source != DIGITS:
        return read_table(source, features=features)
    table = _digits_table()
    if table.names != features:
        raise CommandError("this model was trained on other columns than the pixels of digits")
    return table


def _digits_table():
    X, y = digits()
    names = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
    values = X.astype(np.float64) * _INK_MAX
    return Table(DIGITS, names, values, np.arange(len(y)), "digit", [str(label) for label in y])
