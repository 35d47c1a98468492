"""Run by test_replays.py in processes of their own: `python replaying.py allocations|progress` prints what it found."""

import ctypes
import gc
import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np

import cybackprop as cb
from cybackprop import nn, optim, train
from cybackprop._core import engine


def data(rows, columns, classes=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, columns)).astype(np.float32), rng.integers(0, classes, rows)


# ---- allocations: the allocator before glibc's is counting.c

def taken(work, times):
    """How many allocations that many calls make."""
    gc.collect()
    before = ALLOCATIONS()
    for _ in range(times):
        work()
    return ALLOCATIONS() - before


def least(run, few, many):
    """What many cost more than few: the least of several times each, since now and then the loop asks for signals."""
    a, b = zip(*((run(few), run(many)) for _ in range(10)), strict=True)
    return min(b) - min(a)


def each(work):
    """Allocations of one call: what 200 calls more take, without what the measuring takes."""
    for _ in range(5):
        work()
    return least(lambda n: taken(work, n), 10, 210) / 200


def single_calls():
    w, state, x = cb.Parameter(np.ones((4, 4), "f")), cb.State(np.zeros(4, "f")), np.ones((8, 4), "f")
    big = cb.Parameter(np.ones((300, 300), "f"))
    t, wide = cb.tensor(x), cb.tensor(np.ones((200, 300), "f"))
    forward = cb.compile(lambda x: cb.tanh(x @ w.detach()))
    large = cb.compile(lambda x: cb.tanh(x @ big.detach()))
    reused = cb.compile(large.function, reuse_results=True)
    write = cb.compile(lambda x: state.assign(state * 0.5 + cb.mean(x @ w.detach(), axis=0)))
    opt = optim.Adam([w], lr=0.01)

    @cb.compile
    def step(x, y):
        loss = nn.mse(x @ w, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss.detach()

    kept = []
    return {"a tensor": each(lambda: forward(t)), "nothing": each(lambda: write(t)), "a step": each(lambda: step(t, t)),
            "a large tensor": each(lambda: large(wide)), "an array": each(lambda: forward(x)),
            "two arrays": each(lambda: step(x, x)), "kept": each(lambda: kept.append(large(wide))),
            "kept and reused": each(lambda: kept.append(reused(wide))),
            "the function itself": each(lambda: large.function(wide))}


def batches(columns, width, size, few, many):
    """Allocations of that many steps more in fit's loop."""
    model = nn.Sequential(nn.Dense(columns, width, activation="gelu", rng=0), nn.Dropout(0.2, rng=1),
                          nn.Dense(width, 4, rng=2))
    trainer = train.Trainer(model, "cross_entropy", optim.Adam(model.parameters()), clip_norm=1.0)
    X, y = data(many * size, columns)
    trainer.fit(X, y, epochs=1, batch_size=size)
    order, compiled = cb.tensor(np.arange(many * size)), trainer._runner._compiled
    model.train()
    compiled.programs[0].calls = (1 << 40) + 1           # the next audit is far away

    def run(n):
        before = ALLOCATIONS()
        done, _, error = engine.run_batches(compiled, [X, y], order, 0, size, n, 0.0)
        used = ALLOCATIONS() - before
        return used if (done, error) == (n, None) else run(n)        # its time was over

    return least(run, few, many)


def allocations():
    model = nn.Dense(4, 4)
    trainer, (X, y) = train.Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.1)), data(8 * 600, 4)

    def fit(n):
        before = ALLOCATIONS()
        trainer.fit(X[:8 * n], y[:8 * n], epochs=1, batch_size=8)
        return ALLOCATIONS() - before

    fit(300), fit(600)
    return {**single_calls(), "300 batches": batches(4, 8, 16, 300, 600), "300 batches of fit": least(fit, 300, 600),
            "20 large batches": batches(300, 256, 256, 3, 23)}


# ---- progress of another Python thread

def pace(seconds, work):
    """How far a thread counts in a while in which this one works."""
    stop, count = threading.Event(), [0]

    def counting():
        while not stop.is_set():
            count[0] += 1

    thread = threading.Thread(target=counting)
    thread.start()
    end = time.perf_counter() + seconds
    began = time.perf_counter()
    while time.perf_counter() < end:
        work()
    took = time.perf_counter() - began
    stop.set()
    thread.join()
    return count[0] / took


def training():
    """A function that is in fit's loop for some 20 ms."""
    cb.set_num_threads(1)
    model = nn.Sequential(nn.Dense(512, 512, activation="tanh", rng=0), nn.Dense(512, 4, rng=1))
    trainer = train.Trainer(model, "cross_entropy", optim.Adam(model.parameters()))
    X, y = data(16 * 512, 512)

    def replay():
        trainer.fit(X, y, epochs=1, batch_size=512)

    replay()
    return replay


def busy():
    """Train for ever."""
    replay = training()
    print("ready", flush=True)
    while True:
        replay()


def progress(rounds=8, seconds=0.25):
    """[(how far a Python thread counts while another thread trains, and while another process does)], round by round.

    The process keeps a core as busy as the thread does, but holds no GIL of ours: beside it the count is solo.
    """
    replay, found = training(), []
    with subprocess.Popen([sys.executable, __file__, "busy"], stdout=subprocess.PIPE) as other:
        try:
            other.stdout.readline()
            for _ in range(rounds):
                other.send_signal(signal.SIGCONT)
                alone = pace(seconds, lambda: time.sleep(seconds))
                other.send_signal(signal.SIGSTOP)
                found.append((pace(seconds, replay), alone))
        finally:
            other.kill()
    return found


if __name__ == "__main__":
    if sys.argv[1] == "allocations":
        ALLOCATIONS = ctypes.CDLL(None).allocations
        ALLOCATIONS.restype = ctypes.c_long
    print(json.dumps({"allocations": allocations, "progress": progress, "busy": busy}[sys.argv[1]]()))
