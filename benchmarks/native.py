"""native.c, compiled for the instruction set that our kernels use: the yardsticks of the kernel benchmark."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import cybackprop as cb

SOURCE = Path(__file__).with_name("native.c")
FLAGS = {"base": [], "avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mfma", "-mprefer-vector-width=512"]}
WORDS = {"fma_loop": (ctypes.c_double, [ctypes.c_ssize_t, ctypes.c_void_p]),
         "plain_loop": (None, [ctypes.c_ssize_t, ctypes.c_ssize_t, *[ctypes.c_void_p] * 4]),
         "exact_erf": (None, [ctypes.c_ssize_t, *[ctypes.c_void_p] * 2]),
         "exact_erfc": (None, [ctypes.c_ssize_t, *[ctypes.c_void_p] * 2])}


def load():
    """The library; ctypes releases the GIL while its functions run."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("the peak is measured by a loop in C, and no C compiler was found; set CC")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "native.so")
        subprocess.run([*compiler.split(), "-O3", "-ffp-contract=fast", "-fPIC", "-shared",
                        *FLAGS[cb.show_config()["target"]], SOURCE, "-o", path, "-lm"], check=True)
        library = ctypes.CDLL(str(path))
    for name, (returns, takes) in WORDS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library


library = load()
_out = ctypes.c_float()


def fma_loop(n):
    """Run the register-only loop n times; returns the flops it did."""
    return library.fma_loop(n, ctypes.byref(_out))


FLOPS_A_ROUND = fma_loop(1)
PEAK_ROUNDS = 40_000                     # about 100 us, a short turn


def peak():
    """One call of the peak loop, to be timed in turns with a kernel."""
    library.fma_loop(PEAK_ROUNDS, ctypes.byref(_out))


PEAK_FLOPS = FLOPS_A_ROUND * PEAK_ROUNDS
