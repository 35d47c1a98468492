"""How often the Python of a compiled function has run, and with what: in recordings, audits and eager calls.

What the function itself fills would be a change that the call makes, and there would be no program; what a logger does
with a message, `compile` does not see.
"""

import logging


def unseen(act):
    """A function that calls act(what it is given) where `compile` does not look."""
    logger = logging.Logger("unseen")
    logger.addFilter(lambda record: act(record.msg) and False)           # nothing is logged
    return logger.info


def notes():
    """(note, seen): what a function hands to `note` is in the list `seen`."""
    seen = []
    return unseen(seen.append), seen


def secret(make):
    """A function that returns make(), which is called where `compile` does not look."""
    ask = unseen(lambda box: box.append(make()))

    def read():
        box = []
        ask(box)
        return box[0]

    return read
