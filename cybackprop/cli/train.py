"""The command `train`."""

import itertools
import math
import os
import shlex
import time

import click

import cybackprop as cb
from cybackprop.cli import modelfile, wording
from cybackprop.cli.choices import check_activation, find_optimizer
from cybackprop.cli.curve import check_plot, draw
from cybackprop.cli.errors import CommandError
from cybackprop.cli.progress import watcher
from cybackprop.cli.source import rows_to_learn
from cybackprop.cli.split import split
from cybackprop.cli.targets import refuse_overwriting
from cybackprop.io import check_writable
from cybackprop.train import EarlyStopping, Trainer

_PATIENCE = 20
_WEIGHTS_MAX = 100_000_000  # 1.6 GB with gradients and Adam's moments


def run(data, target, hidden, activation, epochs, batch_size, lr, optimizer, out, seed, threads, plot):
    """Train, test and save; what can be refused is refused before the training."""
    make_optimizer = find_optimizer(optimizer, lr)
    check_activation(activation)
    refuse_overwriting(out, data, plot)
    check_writable(out)
    if plot is not None:
        refuse_overwriting(plot, data)
        check_plot(plot)
    table, classes, y, fit_columns = rows_to_learn(data, target)
    parts = split(data, classes, y)
    columns = fit_columns(parts.train)
    if not modelfile.fits_header(columns):
        raise CommandError(f"{data} has too many columns ({len(columns.features)}) for the header of a model file")

    if threads is not None:
        cb.set_num_threads(threads)
    cb.seed(seed)
    sizes = (len(columns.features), *hidden, columns.outputs)
    _refuse_huge(sizes)
    model = modelfile.build(sizes, activation)
    opt = make_optimizer(model.parameters())
    batch_size = batch_size or min(max(len(parts.train) // 100, 32), 256)
    click.echo(f"{data}: {wording.task(columns)}")
    click.echo(f"rows: {' + '.join(f'{len(rows):,} to {name}' for name, rows in parts._asdict().items())}")
    click.echo(f"network: {'-'.join(map(str, sizes))}, {activation}; {optimizer}, batches of {batch_size}")

    trainer = Trainer(model, optimizer=opt, seed=seed, **_goal(columns))
    X, goals = columns.inputs(table), columns.goals(y)
    watch = watcher(epochs, math.ceil(len(parts.train) / batch_size), _validation_score(columns))
    stopper = EarlyStopping(patience=_PATIENCE, restore_best=True)
    began = time.perf_counter()
    with watch:
        history = trainer.fit(
            X[parts.train], goals[parts.train], epochs=epochs, batch_size=batch_size,
            validation_data=(X[parts.validate], goals[parts.validate]),
            callbacks=[stopper, watch],
        )  # fmt: skip
    seconds, best, done = time.perf_counter() - began, stopper.best_epoch + 1, len(history.epoch)
    ending = f"all {epochs} epochs done" if done == epochs else f"stopped after {done} epochs"
    click.echo(f"{ending} in {seconds:.1f} s; kept the weights of epoch {best}")

    score = wording.score(columns, trainer.predict(X[parts.test]), y[parts.test])
    click.echo(f"test {score}")
    modelfile.save(out, model, activation, columns, score)
    click.echo(f"saved {out} ({os.path.getsize(out):,} bytes)")
    if plot is not None:
        draw(plot, history.history, best, columns)
        click.echo(f"drew {plot}")
    click.echo(f"next: {shlex.join(['cybackprop', 'predict', out, data])}")


def _refuse_huge(sizes):
    count = sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes))
    if count > _WEIGHTS_MAX:
        raise CommandError(f"a network {'-'.join(map(str, sizes))} has {count:,} weights; at most {_WEIGHTS_MAX:,} fit")


def _goal(columns):
    if columns.classes is None:
        return {"loss": "mse"}
    return {"loss": "cross_entropy", "metrics": ["accuracy"]}


def _validation_score(columns):
    if columns.classes is None:
        return lambda logs: f"val. RMSE {math.sqrt(logs['val_loss']) * columns.target_scale:.4g}"
    return lambda logs: f"val. accuracy {100 * logs['val_accuracy']:.1f} %"
