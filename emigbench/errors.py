"""The one exception that users see: a sentence, never a traceback."""

_LONGEST = 300


class EmigbenchError(Exception):
    """Something outside the program is wrong: an input, a file, the network.

    The message is one sentence with the id or file at fault and what to do. The command line prints it and
    exits with code 2.
    """


def in_words(error: BaseException) -> str:
    """What another library's exception says, on one line and without the full stop."""
    text = " ".join(str(error).split()).removesuffix(".")
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
