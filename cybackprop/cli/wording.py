"""Sentences that more than one command says."""

import math

from cybackprop.cli.scores import accuracy, r2_and_rmse

_NAMES_SHOWN = 5


def listed(names):
    """The first names of a list."""
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def task(columns):
    """What is learned from what."""
    count = len(columns.features)
    source = f"of {columns.target!r} by {count} column{'s' * (count > 1)}"
    if columns.classes is None:
        return f"regression {source}"
    return f"classification {source}; {len(columns.classes)} labels: {listed(columns.classes)}"


def score(columns, outputs, y):
    """How well the network's outputs say y, and how sure that is."""
    if columns.classes is not None:
        share, error = accuracy(outputs, y)
        text = f"accuracy {_with_error(100 * share, 100 * error)} %"
    else:
        r2, r2_error, rmse, rmse_error = r2_and_rmse(columns.answers(outputs), y)
        text = f"R² {_with_error(r2, r2_error)}, RMSE {_with_error(rmse, rmse_error)}"
    return f"{text} ({len(y):,} rows; ± is the standard error)"


def _with_error(value, error):
    """The value to as many decimals as its error has with two digits: 97.77 ± 0.77, 5125 ± 340."""
    decimals = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 3
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
