"""The learning curve, drawn with matplotlib (extra `plot`)."""

import io
import os
import warnings

from cybackprop.cli.errors import CommandError
from cybackprop.io import atomic_write, check_writable


def check_plot(path):
    """Raise, before the training, what would keep `draw` from writing this file."""
    figure = _figure()
    known = figure.canvas.get_supported_filetypes()
    if _kind(path) not in known:
        endings = ", ".join(f".{kind}" for kind in sorted(known))
        raise CommandError(f"--plot {path}: the name must end in one of {endings}")
    check_writable(path)


def draw(path, logs, best, columns):
    """Loss of each epoch on training and validation rows, the best epoch marked."""
    figure = _figure()
    axes = figure.add_subplot()
    epochs = range(1, len(logs["loss"]) + 1)
    axes.plot(epochs, logs["loss"], label="training rows")
    axes.plot(epochs, logs["val_loss"], label="validation rows")
    axes.axvline(best, color="grey", linestyle=":", label="weights kept")
    loss = "squared error, standardised" if columns.classes is None else "cross-entropy"
    axes.set(xlabel="epoch", ylabel=loss, yscale="log")
    axes.set_title(columns.target, parse_math=False)  # a dollar sign is a dollar sign
    axes.legend()
    image = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # characters that the font lacks
        figure.savefig(image, format=_kind(path))
    atomic_write(path, [image.getvalue()])


def _kind(path):
    return os.path.splitext(path)[1].lower().lstrip(".")


def _figure():
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws without a display
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError("--plot needs one more package: pip install 'cybackprop[plot]'") from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
