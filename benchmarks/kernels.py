"""The kernels, family by family: products, dense layers, elementwise functions, optimizers, threads.

Exits 1 if a peer is missing, or if a kernel disagrees with its reference or with NumPy; a missed figure is shown and
does not fail the run.
"""

import importlib
import sys

from session import Session

FAMILIES = {"gemm": "Matrix products, float32",
            "dense": "A dense layer, forward and backward, float32",
            "vmath": "Elementwise functions and their slopes",
            "optim": "Optimizers, float32: one pass over parameters, gradients and moments",
            "agree": "Instruction sets and reference kernels",
            "threads": "Two threads: full training steps, not pinned"}


def main():
    session = Session("benchmarks/kernels.py", __doc__.splitlines()[0], tuple(FAMILIES),
                      "fewer shapes and turns; about a minute", "KERNELS")
    if not session.start():
        return 1
    fine = True
    for name in session.options.only:
        session.out.title(FAMILIES[name])
        fine &= importlib.import_module(f"families.{name}").measure(session.out, session.options.quick)
    session.finish()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
