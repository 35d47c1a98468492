"""Commands and their options; what they do stands in the modules beside this one."""

import json
import math

import click

import cybackprop as cb


class _Sizes(click.ParamType):
    """Layer widths such as 128,64."""

    name = "sizes"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(part) for part in value.split(","))
        except ValueError:
            sizes = ()
        if not sizes or not all(1 <= size <= 65_536 for size in sizes):
            self.fail(f"{value!r} isn't a list of layer widths such as 128,64", param, ctx)
        return sizes


class _Rate(click.ParamType):
    """A finite number above 0."""

    name = "float"

    def convert(self, value, param, ctx):
        try:
            rate = float(value)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            self.fail(f"{value!r} isn't a number above 0", param, ctx)
        return rate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cb.__version__)
def cybackprop():
    """Train small neural networks on the CPU, and use them."""


@cybackprop.command()
@click.argument("data", metavar="digits|FILE.csv")
@click.option("--target", metavar="COLUMN", help="The column to be learned.")
@click.option("--hidden", type=_Sizes(), default="256", show_default=True, help="Widths, such as 128,64.")
@click.option("--activation", default="relu", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=200, show_default=True, help="At most so many.")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 32, for many rows up to 256]")
@click.option("--lr", type=_Rate(), help="Learning rate.  [default: the optimizer's]")
@click.option("--optimizer", default="adam", show_default=True)
@click.option("--out", type=click.Path(), default="model.safetensors", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), help="[default: chosen by the library]")
@click.option("--plot", type=click.Path(), metavar="FILE.png", help="Draw the learning curve.")
def train(**options):
    """Train on the digits that ship with the package, or on a CSV file.

    A numeric target means regression, text or integer labels mean classification.  A fifth of the rows is
    held out for the final test; training stops early when a validation part no longer improves, and keeps
    the best weights.
    """
    from cybackprop.cli.train import run

    run(**options)


@cybackprop.command()
@click.argument("model", type=click.Path())
@click.argument("data", metavar="NEW.csv|digits")
@click.option("--out", type=click.Path(), metavar="FILE", help="Write there instead of to the terminal.")
@click.option("--proba", is_flag=True, help="Also the probability of each class.")
def predict(model, data, out, proba):
    """Predict the target of each row with a model made by `train`.

    Columns are found by name; others are ignored.
    """
    from cybackprop.cli.predict import run

    run(model, data, out, proba)


@cybackprop.command()
@click.argument("file", type=click.Path())
def info(file):
    """Show what a model file holds."""
    from cybackprop.cli.info import describe

    click.echo(describe(file))


@cybackprop.command()
def config():
    """Show the kernels chosen, threads and versions."""
    click.echo(json.dumps(dict(cb.show_config()), indent=2, default=str))


@cybackprop.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def selftest(context, args):
    """Hash everything that the kernels compute, and compare with the hash of this release.

    With --sections also each part, with --target NAME for one instruction set.
    """
    from cybackprop.selftest import main  # it parses its own options: it must run where click is not installed

    context.exit(main(args))
