"""The model in evaluation mode, on batches of rows: as a program where batches of one shape come back."""

import contextlib
import warnings

from cybackprop._core.engine import no_grad, structure_version
from cybackprop.errors import AuditError
from cybackprop.ops.random import Generator, default_rng
from cybackprop.train.step import run
from cybackprop.transforms.compiling import compile

MOST_SHAPES = 32                         # batches of further shapes run eagerly


class Members:
    """The modules of a model and the generators in them; walked anew only when some structure has changed.

    model: a function, since a trainer may be given another.
    """

    def __init__(self, model):
        self._model, self._known = model, None

    def _look(self):
        model = self._model()
        if self._known != (model, structure_version()):
            self._known = model, structure_version()
            self._modules = [m for _, m in model.named_modules()]
            self._generators = [g for m in self._modules for g in vars(m).values() if isinstance(g, Generator)]

    def modules(self):
        """All modules, the model first."""
        self._look()
        return self._modules

    def generators(self):
        """Generators inside the model (dropout), and the process's default one, in a fixed order."""
        self._look()
        return [*self._generators, default_rng()]


class Evaluator:
    """Runs a function of one array, the forward of a model.

    The first batch of a shape runs eagerly, since most come once; when the shape comes back it is recorded.
    """

    def __init__(self, function, compiled, members):
        self._function, self._members, self._seen = function, members, set()
        self._compiled = compile(function) if compiled else None

    def __call__(self, x):
        """The function's result."""
        kind = x.shape, x.dtype.str
        if self._compiled is None or kind not in self._seen:
            if len(self._seen) < MOST_SHAPES:
                self._seen.add(kind)
            return run(self._function, [x])
        try:
            return self._compiled(x)
        except AuditError as error:      # what it raises for has been computed eagerly
            self._compiled = None
            warnings.warn(f"Trainer: predictions run without a program from now on: {error}", RuntimeWarning,
                          stacklevel=3)
            return error.result

    @contextlib.contextmanager
    def mode(self):
        """Evaluation mode and no tape; afterwards each module is as it was."""
        changed = [m for m in self._members.modules() if m.training]
        try:
            for module in changed:
                module.training = False
            with no_grad():
                yield
        finally:
            for module in changed:
                module.training = True
