"""What a command says instead of a traceback."""


class CommandError(Exception):
    """Input that a command can't work with; its text is one sentence for the person at the keyboard."""
