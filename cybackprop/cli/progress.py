"""What is seen while a network trains: a live bar in a terminal, plain lines elsewhere."""

import math
import time

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cybackprop.cli.errors import CommandError
from cybackprop.train import Callback

_PLAIN_LINES_MAX = 20
_REDRAW_SECONDS = 0.1


def watcher(epochs, steps, score):
    """The callback for this stdout; also a context manager that gives the terminal back.

    Parameters
    ----------
    epochs, steps : int
        At most so many epochs, of so many steps each.
    score : function of the epoch's logs
        Gives the text about the validation part.
    """
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return _Bar(epochs, steps, score, console)
    return _Lines(epochs, score)


class _Lines(Callback):
    """About twenty lines for the whole training; stops one that has diverged."""

    def __init__(self, epochs, score):
        self.epochs = epochs
        self.score = score

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def on_epoch_end(self, trainer, epoch, logs):
        if not math.isfinite(logs["loss"] + logs["val_loss"]):
            raise CommandError(f"the training diverged in epoch {epoch + 1}; try a lower --lr")
        speed = f"{logs['examples_per_second']:,.0f} examples/s"
        self.show(epoch + 1, f"loss {logs['loss']:.4f}  {self.score(logs)}  {speed}")

    def show(self, done, text):
        if done == 1 or done % math.ceil(self.epochs / _PLAIN_LINES_MAX) == 0:
            click.echo(f"epoch {done}/{self.epochs}  {text}")


class _Bar(_Lines):
    """One line that is drawn again and again."""

    def __init__(self, epochs, steps, score, console):
        super().__init__(epochs, score)
        epoch, text = TextColumn("epoch {task.fields[done]}/" + str(epochs)), TextColumn("{task.fields[text]}")
        self.progress = Progress(epoch, BarColumn(None), text, console=console, expand=True)
        self.task = self.progress.add_task("", total=epochs * steps, done=0, text="")
        self.steps = steps
        self.drawn = 0.0

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *exception):
        self.progress.stop()

    def on_batch_end(self, trainer, step, logs):
        now = time.monotonic()
        if now - self.drawn >= _REDRAW_SECONDS:
            self.drawn = now
            self.progress.update(self.task, completed=step)

    def show(self, done, text):
        self.progress.update(self.task, completed=done * self.steps, done=done, text=text)
