"""show_config: what this installation is and does."""

import platform

import numpy as np

from cybackprop._core import engine
from cybackprop._version import __version__
from cybackprop.ops.registry import public


class Config(dict):
    """A dict that prints as a table."""

    def __repr__(self):
        return "\n".join(f"{name:8} {value}" for name, value in self.items())


@public
def show_config():
    """Version, kernels, threads and what they run on, as a dict that prints as a table.

    Returns
    -------
    Config
        Keys version, target (kernels in use), targets (that run on this CPU), threads, python, numpy, machine.
    """
    return Config(version=__version__, target=engine.active_target(), targets=", ".join(engine.runnable_targets()),
                  threads=engine.get_num_threads(), python=platform.python_version(), numpy=np.__version__,
                  machine=platform.machine())
