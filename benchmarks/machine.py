"""One thread on one core, said aloud: settings that must stand before NumPy is imported, and the header."""

import os
import platform
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# settings for an older OpenBLAS: they pick slower kernels in newer ones, and the comparison would flatter us
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
affinity = {"allowed": None, "pinned": None}             # sets of cores, where the system can say


def prepare(core):
    """One thread everywhere, one core; returns lines for the header.  Runs before anything imports NumPy."""
    if "numpy" in sys.modules:
        raise RuntimeError("prepare() must run before numpy is imported")
    lines = [f"unset here: {name}, it was {os.environ.pop(name)}" for name in UNSET if name in os.environ]
    os.environ.update(dict.fromkeys(THREADS, "1"))
    if not hasattr(os, "sched_setaffinity"):
        return [*lines, "pinned: no, this system cannot"]
    allowed = os.sched_getaffinity(0)
    core = max(allowed) if core is None else core        # core 0 serves most interrupts
    os.sched_setaffinity(0, {core})
    affinity.update(allowed=allowed, pinned={core})
    return [*lines, f"pinned: core {core} of {len(allowed)}"]


def unpin():
    """Let this thread, and those that it starts, run on every core; returns the cores."""
    if affinity["allowed"] is None:
        return list(range(os.cpu_count() or 1))
    os.sched_setaffinity(0, affinity["allowed"])
    return sorted(affinity["allowed"])


def pin_again():
    """Back to the one core."""
    if affinity["pinned"] is not None:
        os.sched_setaffinity(0, affinity["pinned"])


def header(pinned, peers, clock):
    """Lines that say what was measured on what."""
    import threadpoolctl

    import cybackprop as cb

    config = cb.show_config()
    pools = {f"{p['internal_api']} {p.get('architecture', '')}".strip(): p["num_threads"]
             for p in threadpoolctl.threadpool_info()}
    load = f"; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    return [f"machine: {cpu()}, {platform.system()} {platform.machine()}{load}",
            f"python: {platform.python_version()}; kernels {config['target']} of {config['targets']}",
            *[f"{name}: {module.NAME}" for name, module in peers.items()],
            "threads: 1 everywhere (" + ", ".join(f"{name} {n}" for name, n in pools.items())
            + f", ours {config['threads']})",
            *pinned, f"clock: {clock} time"]


def cpu():
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
