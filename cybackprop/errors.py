"""The exceptions that cybackprop raises on purpose."""


class ShapeError(ValueError):
    """Shapes that don't fit; the message names the operation and both shapes."""


class DTypeError(TypeError):
    """A dtype that an operation doesn't take; nothing is cast silently."""


class TapeError(RuntimeError):
    """A tape that can't be swept: freed, swept twice, or written over."""


class AuditError(TapeError):
    """A compiled program that did something else than the function it was recorded from.

    Attributes
    ----------
    result : object
        What the eager run returned; what it did to States stands.
    """

    def __init__(self, text, result=None):
        super().__init__(text)
        self.result = result


class ModelFileError(ValueError):
    """A model file that is damaged, or isn't one."""
