"""Entry point: whatever goes wrong with the input becomes one sentence on stderr and exit code 2."""

import os
import sys

from cybackprop import selftest

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def main(args=None):
    """Run the command line and return its exit code.

    Parameters
    ----------
    args : list of str, optional
        Default: those of the process.
    """
    args = sys.argv[1:] if args is None else list(args)
    try:
        import click
        import rich  # noqa: F401  (missing it should be said now, not after the data are read)
    except ImportError:
        if args[:1] == ["selftest"]:  # it needs neither
            return selftest.main(args[1:])
        return _refuse("the command line needs two more packages: pip install 'cybackprop[cli]'")
    from cybackprop.cli.commands import cybackprop
    from cybackprop.cli.errors import CommandError
    from cybackprop.data import TableError
    from cybackprop.errors import ModelFileError

    if hasattr(sys.stdout, "reconfigure"):  # a label that the terminal can't show is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # Not cybackprop.main(): it would answer some of the exceptions below in its own way.
        with cybackprop.make_context("cybackprop", args or ["--help"]) as context:
            cybackprop.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (CommandError, TableError, ModelFileError) as error:
        return _refuse(str(error))
    except BrokenPipeError:  # the reader, such as head, has gone; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    except MemoryError:
        return _refuse("there is not enough memory for this network or table")
    except KeyboardInterrupt:
        after_mark = "\n" if sys.stderr.isatty() else ""  # the terminal has written ^C
        print(f"{after_mark}cybackprop: stopped; no file was written", file=sys.stderr)
        return EXIT_INTERRUPTED


def _refuse(sentence):
    print(f"cybackprop: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_BAD_INPUT
