"""The one exception that users see: a sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST = 300
_LONGEST_QUOTE = 60


class EmigbenchError(Exception):
    """Something outside the program is wrong: an input, a file, the network.

    The message is one sentence with the id or file at fault and what to do. The command line prints it and
    exits with code 2.
    """


class StoppedError(EmigbenchError):
    """A run came to an end before its time; what is finished is kept, and `resume` goes on after it."""


@contextmanager
def told(what: str, advice: str = "") -> Iterator[None]:
    """Make one sentence of what foreign code raises, `SystemExit` included: what failed, the error in words, advice.

    An EmigbenchError is one already.
    """
    try:
        yield
    except EmigbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise EmigbenchError(f"{what}: {in_words(error)}{advice}.") from error


def in_words(error: BaseException) -> str:
    """What another library's exception says, on one line and without the full stop."""
    text = " ".join(str(error).split()).removesuffix(".")
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def quoted(value: object) -> str:
    """What a file says, in quotes: short, on one line, nothing that a terminal or a reader could be led on by."""
    text = str(value)
    return repr(text) if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]!r}…"


def first_fault(error: ValidationError, later: Container[object] = ()) -> str:
    """The first thing that a schema does not like, as half a sentence without the full stop; "" if it comes `later`."""
    first = next((fault for fault in error.errors() if fault["loc"][0] not in later), None)
    if first is None:
        return ""
    key = quoted(".".join(str(part) for part in first["loc"]))
    if first["input"] is None:
        return f"{key} is empty{f'; expected {of}' if (of := first.get('ctx', {}).get('expected')) else ''}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}{'; put it in quotes' if first['type'] == 'string_type' else ''}"


def on_one_line(text: str) -> str:
    """Text of which a terminal or a log shows every character and obeys none: what is not printable is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
