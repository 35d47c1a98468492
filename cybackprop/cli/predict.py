"""The command `predict`."""

import csv
import io

import click
import numpy as np

from cybackprop.cli import modelfile
from cybackprop.cli.errors import CommandError
from cybackprop.cli.source import rows_to_answer
from cybackprop.cli.targets import refuse_overwriting
from cybackprop.io import atomic_write, check_writable

_ROWS_PER_WRITE = 1024


def run(model, data, out, proba):
    """Write a CSV with the predicted target of each row, in order."""
    loaded = modelfile.load(model)
    columns = loaded.columns
    if proba and columns.classes is None:
        raise CommandError(f"{model} predicts a number, {columns.target!r}; --proba is for classes")
    if out is not None:
        refuse_overwriting(out, model, data)
        check_writable(out)
    outputs = loaded.outputs(columns.inputs(rows_to_answer(data, columns.features)))
    lines = _csv(columns, outputs, proba)
    if out is None:
        for text in lines:
            click.echo(text, nl=False)
    else:
        atomic_write(out, (text.encode() for text in lines))
        click.echo(f"{len(outputs)} predictions of {columns.target!r} written to {out}")


def _csv(columns, outputs, proba):
    """Yield the text of the answer, a block of rows at a time."""
    answers = columns.answers(outputs)
    if columns.classes is None:
        answers = [f"{value:.9g}" for value in answers]
    shares = _softmax(outputs) if proba else np.empty((len(outputs), 0))
    header = [columns.target, *(f"p({label})" for label in columns.classes if proba)] if proba else [columns.target]
    yield _lines([header])
    for i in range(0, len(answers), _ROWS_PER_WRITE):
        block = slice(i, i + _ROWS_PER_WRITE)
        yield _lines(
            [answer, *(f"{share:.6f}" for share in row)]
            for answer, row in zip(answers[block], shares[block].tolist(), strict=True)
        )


def _lines(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
