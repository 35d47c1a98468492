"""Random numbers: counter-based (Philox) streams whose whole state is two integers."""

import operator
import os
import threading

import numpy as np

from cybackprop._core import engine
from cybackprop._core.engine import State, apply
from cybackprop.errors import DTypeError, ShapeError
from cybackprop.ops.elementwise import isfinite
from cybackprop.ops.movement import as_tensor, move_last, normal_axis
from cybackprop.ops.reduction import cumsum, sum
from cybackprop.ops.registry import public, structured
from cybackprop.ops.selection import where
from cybackprop.ops.softmax import softmax

_MASK = (1 << 64) - 1


def _mix(x):
    """A well-mixed 64-bit key of any integer (the finaliser of SplitMix64; Steele, Lea, Flood 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


class Generator:
    """A stream of random numbers, the same on every machine.

    Parameters
    ----------
    seed : int
        Equal seeds give equal streams.

    Attributes
    ----------
    cell : State
        Key and offset, all there is: the bits of two unsigned numbers as int64.  Draws read it and move its offset.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.Generator(0).permutation(5).tolist() == cb.Generator(0).permutation(5).tolist()
    True
    """

    program_attributes = ()              # its state is in the cell: programs have nothing else to compare

    def __init__(self, seed=0):
        self.cell = State(_bits(_mix(operator.index(seed) & _MASK), 0))
        self._lock = threading.Lock()

    def _draw(self, draw, *what):
        """Draw; only if that succeeds the stream moves on."""
        with self._lock:
            return draw(self.cell, *what)

    def uniform(self, shape, low=0.0, high=1.0, dtype="float32"):
        """Numbers in [low, high)."""
        u = self._draw(engine.raw_random, "uniform", shape, dtype)
        return u if (low, high) == (0.0, 1.0) else u * (high - low) + low

    def normal(self, shape, mean=0.0, std=1.0, dtype="float32"):
        """Normal numbers."""
        z = self._draw(engine.raw_random, "normal", shape, dtype)
        return z if (mean, std) == (0.0, 1.0) else z * std + mean

    def integers(self, bound, shape=()):
        """Integers in [0, bound), int64."""
        return self._draw(engine.raw_integers, shape, bound)

    def permutation(self, n):
        """0 .. n - 1 in random order, int64."""
        return self._draw(engine.raw_permutation, n)

    def mask(self, shape, p):
        """True with probability 1 - p."""
        return self._draw(engine.raw_mask, shape, p)

    def categorical(self, logits, axis=-1):
        """Places drawn with the probabilities softmax(logits) along an axis.

        Parameters
        ----------
        logits : Tensor or array-like, float32 or float64
            A class of -inf is never drawn.
        axis : int

        Returns
        -------
        Tensor, int64, shape of logits without the axis

        Raises
        ------
        ValueError
            Somewhere all logits are -inf, or one is NaN or inf; nothing was drawn then.

        Notes
        -----
        By inverting the distribution function: the first k with p_0 + ... + p_k > u (p_0 + ... + p_last), in float64.
        One uniform u, a place of the stream, for each result; one exp for each logit.

        Examples
        --------
        >>> import cybackprop as cb
        >>> cb.Generator(0).categorical([[0.0, -float("inf")], [-float("inf"), 0.0]]).tolist()
        [0, 1]
        """
        logits = as_tensor(logits)
        if logits.dtype.kind != "f":
            raise DTypeError(f"categorical: logits are float32 or float64, not {logits.dtype}")
        axis = normal_axis(axis, logits.ndim, "categorical")
        if logits.shape[axis] == 0:
            raise ShapeError(f"categorical: axis {axis} of shape {logits.shape} is empty, there is no class to draw")
        rows = move_last(logits.detach().astype("float64"), axis)[0]
        sums = cumsum(softmax(rows), -1)
        total = sums[..., -1:]
        try:                             # an index that is refused, so that a program refuses too
            zero = engine.raw_places((where(isfinite(total), 0, 1),), (1,), "categorical", (0,), (1,))
        except IndexError:
            raise ValueError("categorical: no class can be drawn where all logits are -inf, "
                             "or one is NaN or inf") from None
        u = self._draw(engine.raw_random, "uniform", total.shape, "float64")
        return sum(sums <= u * total, -1) + zero[..., 0]

    def spawn(self):
        """An independent generator; drawn from this one's stream."""
        child = Generator()
        with self._lock:
            key, offset = self.state
            self.offset = offset + 1 & _MASK
        child.key = _mix(key ^ _mix(offset))
        return child

    @property
    def state(self):
        """(key, offset), each in [0, 2**64); settable."""
        return tuple(self.cell.numpy().view("uint64").tolist())

    @state.setter
    def state(self, value):
        key, offset = value
        self.cell.assign(_bits(key, offset))

    @property
    def key(self):
        """Which stream it is; settable."""
        return self.state[0]

    @key.setter
    def key(self, value):
        self.state = value, self.offset

    @property
    def offset(self):
        """How far the stream has got; settable."""
        return self.state[1]

    @offset.setter
    def offset(self, value):
        self.state = self.key, value

    def program_states(self, path_of):
        """(path, State) of what it keeps, for a saved program."""
        yield "", self.cell

    def __reduce__(self):
        return _restored, self.state

    def __repr__(self):
        return f"Generator(key={self.key:#x}, offset={self.offset})"


def _restored(key, offset):
    generator = Generator()
    generator.state = key, offset
    return generator


def _bits(key, offset):
    """Two unsigned numbers of 64 bits as int64."""
    key, offset = operator.index(key), operator.index(offset)
    if not (0 <= key <= _MASK and 0 <= offset <= _MASK):
        raise ValueError(f"Generator: key and offset are {(key, offset)}, they must be in [0, 2**64)")
    return np.array((key, offset), "uint64").view("int64")


_default = Generator(int.from_bytes(os.urandom(8), "little"))

public(Generator)


@public
def seed(value: int) -> None:
    """Restart the process's default generator, which draws wherever no rng= is given.

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.seed(0)
    """
    _default.state = Generator(value).state


@public
def default_rng() -> Generator:
    """The process's default generator."""
    return _default


def as_generator(rng):
    """A generator of what users pass as rng=: None (the default one), a seed, or a Generator."""
    if rng is None:
        return _default
    return rng if isinstance(rng, Generator) else Generator(rng)


# ---- dropout

def _dropout_forward(x, mask, scale):
    return where(mask, x * scale, 0)


def _dropout_vjp(record, g):
    # forward: y = mask ? x / (1 - p) : 0   so: dx = mask ? g / (1 - p) : 0
    return (where(record.attrs["mask"], g * record.attrs["scale"], 0),)


_dropout = structured("dropout", "(B, ...) -> (B, ...)", _dropout_forward, _dropout_vjp,
                      lambda record, tangents: _dropout_vjp(record, tangents[0])[0])


@public
def dropout(x, p=0.5, rng=None):
    """Zero each element with probability p and scale the others by 1 / (1 - p).

    Parameters
    ----------
    x : Tensor or array-like
    p : float in [0, 1)
        The share dropped.
    rng : int or Generator, optional

    Examples
    --------
    >>> import cybackprop as cb
    >>> cb.dropout(cb.ones(4), p=0.0).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p is {p}, it must be in [0, 1)")
    x = as_tensor(x)
    if x.dtype.kind != "f":
        raise DTypeError(f"dropout works on float32 and float64, not on {x.dtype}; use astype('float32') first")
    if p == 0:
        return x
    mask = as_generator(rng).mask(x.shape, p)
    return apply(_dropout, (x,), {"mask": mask, "scale": 1 / (1 - p)})
