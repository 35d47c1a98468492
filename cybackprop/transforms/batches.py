"""One program for all batch sizes: three recordings, at sizes that came by themselves, say what follows the batch.

What a file of programs is made of (`affine`) is made in memory here, of calls as they come.  It stands for other sizes
only where the function's own code has read no shape, length or rows of a tensor, so that its course can't follow them;
sizes below 2, where axes broadcast, have programs of their own.
"""

from cybackprop._core import engine
from cybackprop._core.engine import Key, SavedPrograms
from cybackprop.errors import ModelFileError, TapeError
from cybackprop.io.packing import pack_programs
from cybackprop.io.programs import CONSTANT
from cybackprop.transforms.affine import Recording, describe

MOST_SIZES = 32                          # whose memory is planned and kept


class Sample:
    """What is kept of a recording for that: made before its program is built."""

    def __init__(self, run, paths):
        self.places = list(dict.fromkeys(paths.values()))
        inputs = {v: len(run.leaves) + self.places.index(place) for v, place in paths.items()}
        self._recorder = engine.kept_recording(run.recorder, inputs)
        made = [*run.tensors, *(g for _, g in run.effects if g is not None)]
        self._made = [(str(k), engine.recorded_value(run.recorder, t)) for k, t in enumerate(made)]

    def recording(self, batch):
        """As a Recording at a batch size."""
        return Recording.of_values(self._recorder, batch, lambda source, dtype: str(source[1]), self._made, {})


def sample_of(run, paths, derivative):
    """The Sample of a run, or None where it says nothing about other sizes."""
    asked = derivative is not None or run.recorder.shapes_read or run.recorder.reads_gradients()
    return None if asked or len(set(paths.values())) < len(paths) else Sample(run, paths)


def follows(leaves, others):
    """[leaves that follow the batch], where two lists of `leaf_fact` differ in first axes alone, or None."""
    found, sizes = [], set()
    if len(leaves) != len(others):
        return None
    for k, (mine, other) in enumerate(zip(leaves, others, strict=True)):
        if engine.agree(mine, other):    # `==` would ask the arguments themselves
            continue
        kind, dtype, shape, linked = mine
        if kind not in ("array", "tensor") or (kind, dtype, linked) != (other[0], other[1], other[3]) or linked:
            return None
        if not shape or len(shape) != len(other[2]) or shape[1:] != other[2][1:]:
            return None
        found.append(k)
        sizes.add((shape[0], other[2][0]))
    return found if len(sizes) == 1 and min(*sizes) > 1 else None


class Family:
    """A function's programs of one kind at all batch sizes."""

    def __init__(self, program, samples):
        recordings = [sample.recording(batch) for batch, sample in samples]
        states, constants = {}, {}

        def state(key):
            states[str(key)] = found[key]
            return str(key)

        def constant(array):
            name = f"{CONSTANT}{len(constants)}"
            constants[name] = array
            return name

        found = {engine.identity(s): s for s in program.all_states()}
        description = describe("compile", recordings, state, constant)
        data = pack_programs([description], {name: s.numpy() for name, s in states.items()}, constants)
        self._saved = SavedPrograms(data)
        self._saved.adopt(states)
        self._like, self._places, self._made = program, samples[0][1].places, {}
        self.inputs_seen = program.inputs_seen

    def __call__(self, batch):
        """The program at a batch size; None: there is none."""
        if batch not in self._made:
            try:
                made = self._saved.bind(0, batch, 0, self._like, self._places)
            except (ValueError, ModelFileError):         # a slice reaches out of so few rows, say
                return None
            while len(self._made) >= MOST_SIZES:
                self._made.pop(next(iter(self._made)))
            made.family, made.batch, made.inputs_seen = self, batch, self.inputs_seen
            self._made[batch] = made
        return self._made[batch]


def share(compiled, program):
    """Where three programs differ in the batch size alone, one for all sizes stands in their place."""
    mine, alike = program.key, []
    for other in compiled.programs:
        if other is not program and other.sample is not None and other.key.spec == mine.spec:
            along = follows(mine.leaves, other.key.leaves)
            if along and (not alike or along == alike[0][1]):
                alike.append((other, along))
    if program.sample is None or len(alike) < 2:
        return
    along, members = alike[0][1], [program, alike[0][0], alike[1][0]]
    sizes = [p.key.leaves[along[0]][2][0] for p in members]
    if len(set(sizes)) < 3 or len({tuple([place.label for place in p.sample.places]) for p in members}) > 1:
        return
    try:
        family = Family(program, [(n, p.sample) for n, p in zip(sizes, members, strict=True)])
        made = family(sizes[0])
    except TapeError:                    # a number follows the batch in another way
        made = None
    for p in members:
        p.sample = None
    if made is None:
        return
    made.key = Key(mine.spec, mine.leaves, mine.places, mine.facts, mine.grads, mine.same, mine.aliases, along)
    family._like.key, made.calls = made.key, 1
    for p in members:
        if p in compiled.programs:
            compiled.programs.remove(p)
    compiled.programs.insert(0, made)
