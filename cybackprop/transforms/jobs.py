"""Functions as files hold them: recorded anew at several batch sizes, on states that are put back."""

import contextlib

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import Compiled, Recorder, Tensor, tensor
from cybackprop.errors import TapeError
from cybackprop.io.packing import pack_programs
from cybackprop.io.programs import CONSTANT
from cybackprop.transforms.affine import Recording, describe
from cybackprop.transforms.arguments import pack, unpack
from cybackprop.transforms.names import argument_names
from cybackprop.transforms.naming import StateNames, input_name, result_names
from cybackprop.transforms.recorded import Recorded


def packed(functions, batch):
    """The bytes of a file of programs.

    Parameters
    ----------
    functions : list of (name, function, args, kwargs)
        Functions, compiled or not, and what to call them with as an example.
    batch : str, sequence of str or None
        As in `save_programs`.
    """
    names, jobs, keep = StateNames(), [], {}
    for function in functions:
        job = Job(*function, batch)
        job.record(names, keep)
        jobs.append(job)
    return _file(jobs, names, keep)


def _file(jobs, names, keep):
    """The bytes of the file.  keep: {id of a tensor: (it, its gradient)} where a program reads what a run has left."""
    states, constants, known = {}, {}, {}

    def state(key):
        if isinstance(key, tuple):
            owner, g = keep[key[1]]
            path = f"{names.name(engine.identity(owner), 'state')}/grad"
            states[path] = g.numpy()
        else:
            path = names.name(key, "state")
            states[path] = found[key].numpy()
        return path

    def constant(array):
        name = known.setdefault((array.dtype, array.shape, array.tobytes()), f"{CONSTANT}{len(known)}")
        constants[name] = array
        return name

    found = {k: s for job in jobs for k, s in job.states.items()}
    descriptions = [describe(job.name, job.recordings(keep), state, constant) for job in jobs]
    return pack_programs(descriptions, {k: np.array(v) for k, v in states.items()}, constants)


class Job:
    """A function to be saved, and its runs."""

    def __init__(self, name, function, args, kwargs, batch):
        self.name, self.function = name, function.function if isinstance(function, Compiled) else function
        self.spec, self.leaves = unpack(args, kwargs)
        self.paths = argument_names(self.function, self.spec, len(self.leaves))
        self.along = self._follows(batch)
        self.runs, self.states = [], {}

    def _follows(self, batch):
        """Which leaves follow the batch."""
        arrays = [k for k, x in enumerate(self.leaves) if isinstance(x, (np.ndarray, Tensor)) and x.ndim > 0]
        if batch is None:
            return [k for k in arrays if self.leaves[k].shape[0] == self.leaves[arrays[0]].shape[0]]
        wanted = (batch,) if isinstance(batch, str) else tuple(batch)
        along = [k for k in arrays if any(self.paths[k] == w or self.paths[k].startswith(w + "/") for w in wanted)]
        if len({self.leaves[k].shape[0] for k in along}) > 1:
            raise ValueError(f"save: {self.name}: the arrays named in batch= have first axes of lengths "
                             f"{[self.leaves[k].shape[0] for k in along]}")
        return along

    def sizes(self):
        """The batch sizes to record at: none of them 1, where axes broadcast."""
        if not self.along:
            return [0]
        n = self.leaves[self.along[0]].shape[0]
        if n == 0:
            raise ValueError(f"save: {self.name}: the example has no rows")
        n = max(n, 2)
        return [n, n + 1, 2 * n + 1]

    def record(self, names, keep):
        """Run the function at each size, and put back what it changes."""
        for turn, size in enumerate([None, *self.sizes()]):
            leaves = [x if turn == 0 or k not in self.along else _rows(x, size) for k, x in enumerate(self.leaves)]
            args, kwargs = pack(self.spec, leaves)
            recorder = Recorder()
            recorder.before, recorder.saves = {}, True
            with contextlib.ExitStack() as undo:
                undo.callback(recorder.put_back)
                run = self._run(size, leaves, args, kwargs, recorder)
                if turn == 0:            # the example: optimizers arrange themselves once, and look at numbers for it
                    continue
                self.runs.append((size, run, result_names(run.result), self._gradients(run, keep)))
            if turn == 1:
                objects = [(p, x) for p, x in zip(self.paths, leaves, strict=True) if not isinstance(x, np.ndarray)]
                names.learn(self.function, leaves, objects)
            self.states.update((engine.identity(v[4]), v[4]) for v in engine.recorded_values(recorder)
                               if v[4] is not None and hasattr(v[4], "assign"))

    def _run(self, size, leaves, args, kwargs, recorder):
        try:
            run = Recorded(self.function, self.spec, leaves, args, kwargs, recorder=recorder, strict=True)
        except Exception as error:
            if size is None:             # it fails on the example itself
                raise
            raise TapeError(f"save: {self.name} fails at batch size {size} ({error}), but not on the example; batch= "
                            "names the arguments that follow the batch, batch=() saves it for one size") from error
        if run.unusable is not None:
            raise TapeError(f"save: {self.name}: {run.unusable}")
        return run

    def _gradients(self, run, keep):
        """{id: (tensor, gradient after the run)}; those that are read before they are written go into keep."""
        after = {}
        for t, before, read in run.recorder.grads.values():
            if run.recorder.made(t):
                continue
            after[id(t)] = (t, t.grad)
            if read and (before is None) != (t.grad is None):
                raise TapeError(f"save: {self.name} reads a gradient that is {'None' if before is None else 'there'} "
                                "before the run and not afterwards, so that no two runs are alike; forget gradients "
                                "at the start (zero_grad), or call the function once before it is saved")
            if read and before is not None:
                keep[id(t)] = (t, before)
        return after

    def recordings(self, keep):
        """The runs as Recordings; keep: all gradients that are states of the file."""
        out = []
        for size, run, results, gradients in self.runs:
            left = {key: gradients[key] for key in keep if key in gradients}
            if any(g is None for _, g in left.values()):
                raise TapeError(f"save: {self.name} forgets a gradient that another program of the file reads")
            out.append(Recording.of(run.recorder, size, input_name(self.paths, {}), results, left))
        return out


def _rows(x, n):
    """n rows of an array, from the first on and around."""
    rows = np.arange(n) % x.shape[0]
    if isinstance(x, Tensor):
        return tensor(x.numpy()[rows], requires_grad=x.requires_grad)
    return x[rows]
