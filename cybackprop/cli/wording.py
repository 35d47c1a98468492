"""Sentences that more than one command says."""

from cybackprop.cli.scores import accuracy, r2_and_rmse

_NAMES_SHOWN = 10


def listed(names):
    """The first names of a list."""
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def task(columns):
    """What is learned from what."""
    count = len(columns.features)
    text = f"{count} numeric column{'s' * (count > 1)}; the target {columns.target!r} is "
    if columns.classes is None:
        return text + "numeric: regression"
    return text + f"one of {len(columns.classes)} labels ({listed(columns.classes)}): classification"


def score(columns, outputs, y):
    """How well the network's outputs say y, and how sure that is."""
    if columns.classes is not None:
        share, error = accuracy(outputs, y)
        text = f"accuracy {share:.1%} ± {error:.1%}"
    else:
        r2, r2_error, rmse, rmse_error = r2_and_rmse(columns.answers(outputs), y)
        text = f"R² {r2:.3f} ± {r2_error:.3f}, RMSE {rmse:.4g} ± {rmse_error:.2g}"
    return f"{text} ({len(y):,} rows; ± is the standard error)"
