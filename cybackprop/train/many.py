"""fit_many: independent networks trained side by side, one a thread."""

import operator
import threading
from collections.abc import Mapping

import numpy as np

from cybackprop._core import engine
from cybackprop.nn.layers import Dropout
from cybackprop.ops.random import Generator
from cybackprop.optim.rules import OPTIMIZERS
from cybackprop.train.callbacks import EarlyStopping
from cybackprop.train.sharing import Sharing
from cybackprop.train.step import checked_rows
from cybackprop.train.trainer import Trainer


def fit_many(models, X, y, *, loss="cross_entropy", optimizer="adam", lr=1e-3, epochs=1, batch_size=32, seed=0,
             rows=None, validation_data=None, patience=None, threads=None, metrics=()):
    """Train any number of independent networks on the same data at the same time.

    The bits of each are those of training it alone, whatever the number of threads.

    Parameters
    ----------
    models : sequence of Module
        They may differ in everything; none may share a Parameter, another State or a Generator with another.
    X, y : array-like, first axis samples
        Shared, and read only.
    loss, optimizer, lr, epochs, batch_size, rows, patience
        One value for all, or a list, tuple or array with one for each model.  optimizer: a name, or a function of
        (parameters, lr).  rows: numbers of the samples that a model is trained on.  patience: stop after so many epochs
        without a better val_loss (or loss, without validation_data) and go back to the best weights.
    seed : int or sequence of int
        Of the order of the batches; from one number each model gets its own, seed + its place.
    validation_data : (X, y), optional
    threads : int, optional
        As many as `get_num_threads` says by default.
    metrics : sequence
        As in `Trainer`.

    Returns
    -------
    list of Trainer
        Each with its ``history``, ready to predict or to train on.

    Raises
    ------
    ValueError
        A list of options of another length than the models', or something that two models share.  This, and what
        `Trainer.fit` refuses, is noticed before any network has changed.

    Notes
    -----
    A Dropout without rng= gets a stream of its own, made from the model's seed, and keeps it.

    A network is trained on one thread.  What one of them raises stops the others after a step, and is raised.

    Networks of one kind share a recording: equal but for the values of weights, seeds and an optimizer's numbers.  One
    of them records its step and audits it on the second call (see `compile`), for all of them; the first step of a
    network with code in it that is not of this package is compared with an eager one besides.  Others record for
    themselves.

    Examples
    --------
    >>> import cybackprop as cb
    >>> from cybackprop import nn, train
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> models = [nn.Sequential(nn.Dense(2, n, activation="tanh", rng=n), nn.Dense(n, 2, rng=n)) for n in (8, 16, 32)]
    >>> trainers = train.fit_many(models, X, y, lr=0.05, epochs=100, batch_size=4)
    >>> [t.predict(X).argmax(1).tolist() for t in trainers]
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    """
    models = list(models)
    if threads is not None and threads < 1:
        raise ValueError(f"fit_many: threads {threads}; there must be one at least")
    parameters = _parameters(models)
    if np.ndim(seed) == 0:
        seed = [operator.index(seed) + i for i in range(len(models))]
    each = _each(len(models), loss=loss, optimizer=optimizer, lr=lr, epochs=epochs, batch_size=batch_size, rows=rows,
                 patience=patience, seed=seed)
    trainers = [_trainer(*made, metrics) for made in zip(models, parameters, each, strict=True)]
    _check(trainers, each, X, y, validation_data)
    for model, o in zip(models, each, strict=True):      # now that no option can be refused any more
        _own_streams(model, o["seed"])

    def run(i):
        o = each[i]
        monitor = "loss" if validation_data is None else "val_loss"
        stop = [] if o["patience"] is None else [EarlyStopping(monitor, patience=o["patience"])]
        trainers[i].fit(X, y, epochs=o["epochs"], batch_size=o["batch_size"], rows=o["rows"], callbacks=stop,
                        validation_data=validation_data)

    with Sharing(trainers):
        _side_by_side(run, trainers, threads or engine.get_num_threads())
    return trainers


def _parameters(models):
    """The parameters of each; no two may share one, nor another State or a Generator."""
    owner, out = {}, []
    for i, model in enumerate(models):
        found = list(model.named_parameters())
        out.append([p for _, p in found])
        found += model.named_buffers()
        for place, module in model.named_modules():
            found += [(f"{place}.{name}", thing) for name, thing in vars(module).items()
                      if isinstance(thing, Generator)]
        for name, thing in found:
            if owner.setdefault(id(thing), i) != i:
                kind = type(thing).__name__.lower()
                raise ValueError(f"fit_many: models {owner[id(thing)]} and {i} share the {kind} {name.lstrip('.')}; "
                                 "they would not be independent")
    return out


def _own_streams(model, seed):
    """A Dropout that draws from the process's generator, which all would share, gets one of its own."""
    streams = Generator(seed).spawn()
    for _, module in model.named_modules():
        if isinstance(module, Dropout) and module.rng is None:
            module.rng = streams.spawn()


def _each(n, **options):
    """[{option: value}] for each model; a list, tuple or array of values has one for each."""
    out = [{} for _ in range(n)]
    for name, value in options.items():
        if isinstance(value, np.ndarray) and name != "rows":
            value = value.tolist()
        shared = not isinstance(value, (list, tuple, np.ndarray)) or (
            name == "rows" and not any(v is None or hasattr(v, "__len__") for v in value))
        if not shared and len(value) != n:
            raise ValueError(f"fit_many: {len(value)} values of {name} for {n} models")
        for i in range(n):
            out[i][name] = value if shared else value[i]
    return out


def _check(trainers, each, X, y, validation_data):
    """Refuse what one of the fits would, before the first of them begins."""
    X, y, *validation = map(np.asarray, (X, y, *(validation_data or ())))
    for trainer, o in zip(trainers, each, strict=True):
        trainer._check(X, y, o["epochs"], o["batch_size"], None)
        if validation:
            trainer._check(*validation, 1, 1, None)
        if o["rows"] is not None:
            checked_rows(o["rows"], len(X))


def _trainer(model, parameters, o, metrics):
    make = o["optimizer"] if callable(o["optimizer"]) else OPTIMIZERS.get(o["optimizer"])
    if make is None:
        raise ValueError(f"fit_many: no optimizer is called {o['optimizer']!r}; there are {', '.join(OPTIMIZERS)}")
    options = {"lr": o["lr"]} if not isinstance(o["lr"], Mapping) else o["lr"]
    return Trainer(model, o["loss"], make(parameters, **options), seed=o["seed"], metrics=metrics)


def _side_by_side(run, trainers, n_threads):
    """run(i) for every trainer, each on one of the threads; the first exception is raised when all have ended."""
    left, errors = iter(range(len(trainers))), []

    def work():
        engine.run_alone(True)
        for i in left:                   # the GIL makes next() whole
            if errors:
                return
            try:
                run(i)
            except BaseException as error:
                errors.append(error)
                stop()

    def stop():
        for t in trainers:
            t.stop_training = True

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(n_threads, len(trainers)))]
    for t in threads:
        t.start()
    try:
        for t in threads:
            while t.is_alive():          # in slices, so that Ctrl-C is noticed
                t.join(0.1)
    except BaseException as error:
        errors.insert(0, error)
        stop()
        for t in threads:
            t.join()
    if errors:
        raise errors[0]
