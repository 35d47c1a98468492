"""The pool as the host sees it: limits, forks, an idle process, no slower for a machine with more cores."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import cybackprop as cb
from cybackprop._core import engine

BIG = 320                                # 320^3: enough multiply-adds for three threads


@pytest.fixture(autouse=True)
def as_it_was():
    before = cb.get_num_threads()
    yield
    cb.set_num_threads(before)


def product():
    a = cb.tensor(np.random.default_rng(0).normal(size=(BIG, BIG)).astype("f4"))
    return (a @ a).numpy()


def workers(threads):
    """How many threads ran a product; the pool shares tasks, so a busy machine may need a few tries."""
    cb.set_num_threads(threads)
    engine.workers_used()                # forget what others did
    end = time.monotonic() + (20 if threads > 1 else 0.2)
    while (used := engine.workers_used()) == 1 and time.monotonic() < end:
        product()
    return used


ORDERS = {
    "threadpoolctl first": "import threadpoolctl, cybackprop as cb",
    "cybackprop first": "import cybackprop as cb, threadpoolctl",
}


@pytest.mark.parametrize("order", ORDERS)
def test_threadpoolctl_limits_act(order):
    code = ORDERS[order] + """
cb.set_num_threads(3)
mine = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "cybackprop"]
print(len(mine), mine[0]["num_threads"], mine[0]["version"] == cb.__version__)
with threadpoolctl.threadpool_limits(1):
    print(cb.get_num_threads())
with threadpoolctl.threadpool_limits(limits={"cybackprop": 2}):
    print(cb.get_num_threads())
print(cb.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "3", "True", "1", "2", "3"], done.stderr


@pytest.mark.parametrize("name, value, threads", [
    ("CYBACKPROP_NUM_THREADS", "3", 3), ("OMP_NUM_THREADS", "5", 5), ("OMP_NUM_THREADS", "4,2", 4),
    ("CYBACKPROP_NUM_THREADS", "nonsense", None), ("CYBACKPROP_NUM_THREADS", "0", None)])
def test_environment_variables_act(name, value, threads):
    env = {k: v for k, v in os.environ.items() if k not in ("CYBACKPROP_NUM_THREADS", "OMP_NUM_THREADS")}
    code = "import cybackprop as cb; print(cb.get_num_threads())"
    run = [sys.executable, "-c", code]
    wanted = threads or int(subprocess.check_output(run, env=env))
    assert int(subprocess.check_output(run, env={**env, name: value})) == wanted


def test_ours_wins_over_the_one_for_openmp():
    env = {**os.environ, "CYBACKPROP_NUM_THREADS": "2", "OMP_NUM_THREADS": "7"}
    code = "import cybackprop as cb; print(cb.get_num_threads())"
    assert subprocess.check_output([sys.executable, "-c", code], env=env).split() == [b"2"]


def test_set_num_threads_acts():
    assert workers(1) == 1
    assert workers(3) > 1


def train(steps=2):
    """A few steps whose products are shared; the bits of the weights."""
    rng = np.random.default_rng(1)
    w = cb.Parameter(rng.normal(size=(BIG, BIG)).astype("f4") / BIG)
    opt = cb.optim.Adam([w])
    x = cb.tensor(rng.normal(size=(BIG, BIG)).astype("f4"))
    for _ in range(steps):
        loss = cb.tanh(x @ w).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
    return w.numpy().tobytes()


def wait_for(pid, seconds=30):
    """Exit status of a child; None if it hangs, and then it is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_hundred_forks_after_threaded_work_train_to_the_same_bits():
    assert workers(3) > 1
    wanted = train()
    for i in range(200):
        pid = os.fork()
        if pid == 0:                     # no pytest machinery in the child: a number is all it says
            os._exit(1 if train() != wanted else 2 if i == 0 and workers(3) == 1 else 0)
        assert wait_for(pid) == 0, f"fork {i}"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="CPU time of a process is read from /proc")
def test_an_idle_process_uses_no_cpu():
    assert workers(3) > 1
    time.sleep(0.05)
    before = time.process_time()         # of all threads
    time.sleep(1.0)
    assert time.process_time() - before < 0.01
