"""Checks on the files to be written, made before the work whose result they will hold."""

import os

from cybackprop.cli.errors import CommandError


def refuse_overwriting(out, *taken):
    """Raise CommandError if `out` is one of the files that the command reads or writes otherwise."""
    for path in taken:
        if path is not None and _same(out, path):
            raise CommandError(f"{out} would overwrite {path}; choose another name")


def _same(one, other):
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them isn't there yet
        return os.path.realpath(one) == os.path.realpath(other)
