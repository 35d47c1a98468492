"""Ctrl-C at any time: the model is that of whole steps, and the run goes on to the bits of one that was not stopped."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop.train.interrupts import Uninterrupted

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent by kill")
F = np.random.default_rng(3)
X, Y = F.standard_normal((330, 6)).astype("float32"), F.integers(0, 3, 330)
EPOCHS, BATCH = 6, 32


@pytest.fixture(autouse=True)
def ctrl_c_raises():
    """A process that a shell has put into the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def trainer(compiled, warm):
    model = nn.Sequential(nn.Dense(6, 16, activation="tanh", rng=1), nn.Dropout(0.3, rng=2), nn.Dense(16, 3, rng=3))
    opt = optim.Adam(model.parameters(), lr=1e-2)
    t = train.Trainer(model, "cross_entropy", opt, schedule=optim.StepLR(opt, 2), compile=compiled)
    if warm:
        fit(t, max_steps=warm)
    return t


def fit(t, **options):
    return t.fit(X, Y, epochs=EPOCHS, batch_size=BATCH, validation_data=(X[:50], Y[:50]), **options)


def left(t):
    history = {k: v for k, v in t.history.history.items() if k != "examples_per_second"}
    return [p.tolist() for p in t.model.parameters()], t.step, t.epochs, history


@pytest.mark.parametrize("compiled, warm", [(True, 0), (True, 25), (False, 0)])
def test_at_random_times(compiled, warm):
    whole, began = trainer(compiled, warm), time.perf_counter()
    fit(whole)
    took, wanted, stopped = time.perf_counter() - began, left(whole), 0
    for n in range(400):                 # most come after the fit where the machine is busy
        if stopped == 12:
            break
        t = trainer(compiled, warm)
        kill = threading.Timer(took * (n % 25 + 0.5) / 25, os.kill, (os.getpid(), signal.SIGINT))
        try:
            kill.start()
            fit(t)
            kill.join()
            time.sleep(0.01)             # the signal may come after the fit
        except KeyboardInterrupt:
            stopped += t.unfinished
        while t.epochs < EPOCHS:         # also where it came before the fit
            fit(t)
        assert left(t) == wanted
    assert stopped


class Interrupts(train.Callback):
    """Sends the signal at a given step, and notes what has been counted then."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, trainer, step, logs):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [1, 2, 11, 12])
def test_in_a_callback(step):
    whole, t = trainer(True, 0), trainer(True, 0)
    fit(whole, callbacks=[Interrupts(-1)])
    with pytest.raises(KeyboardInterrupt):
        fit(t, callbacks=[Interrupts(step)])
    assert t.step == step
    fit(t)
    assert left(t) == left(whole)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_that_fails_leaves_the_streams(compiled):
    t, whole = trainer(compiled, 12), trainer(compiled, 12)
    for label in (3, -5, 99):
        with pytest.raises(ValueError, match="outside"):
            t.train_on_batch(X[:BATCH], np.full(BATCH, label))
    fit(t), fit(whole)
    assert left(t) == left(whole)


def test_the_second_signal_of_a_kind_acts_at_once():
    with pytest.raises(KeyboardInterrupt), Uninterrupted() as waiting:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
        assert waiting.pending == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        pytest.fail("it did not")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Uninterrupted() as waiting:
            os.kill(os.getpid(), signal.SIGINT)
            assert waiting.pending == [] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_get_no_signals():
    held = []

    def work():
        with Uninterrupted() as waiting:
            held.append((signal.getsignal(signal.SIGINT), waiting.pending))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert held == [(signal.default_int_handler, [])]


def test_an_interrupt_while_recording_leaves_no_recorder():
    """Recording ends with its function, whatever ends that."""
    def f(x):
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            cb.compile(f)(cb.tensor([1.0]))
        assert cb.tensor([1.0]).item() == 1 and (cb.tensor([2.0]) * 3).item() == 6
