"""threadpoolctl's limits act on our pool, whichever of the two packages is imported first.

threadpoolctl reads the file names of a process's libraries and calls C symbols through ctypes; a controller says which.
It is optional, so it is never imported from here: the controller registers itself when somebody else does.
"""

import importlib.util
import sys

from cybackprop._version import __version__


def register(threadpoolctl):
    """Make `threadpool_limits` and `threadpool_info` know our pool; a module too old to be told is left alone."""
    if not hasattr(threadpoolctl, "register"):             # before 3.2
        return

    class CybackpropController(threadpoolctl.LibController):
        user_api = internal_api = "cybackprop"
        filename_prefixes = ("engine",)
        check_symbols = ("cbp_get_num_threads",)

        def get_num_threads(self):
            return self.dynlib.cbp_get_num_threads()

        def set_num_threads(self, num_threads):
            self.dynlib.cbp_set_num_threads(num_threads)

        def get_version(self):
            return __version__

    threadpoolctl.register(CybackpropController)


class WhenImported:
    """Stands aside for the real finders and registers the controller after the module has run.

    A finder by what it can do: the class in importlib.abc would bring tempfile and 20 modules more into every program.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "threadpoolctl":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                register(module)

            spec.loader.exec_module = exec_module
        return spec


if "threadpoolctl" in sys.modules:
    register(sys.modules["threadpoolctl"])
else:
    sys.meta_path.insert(0, WhenImported())
