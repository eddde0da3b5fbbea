"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from emigbench.errors import EmigbenchError


def write_text(file: Path, text: str) -> None:
    """Write a text file through a temporary one beside it, so that nobody ever sees half of it.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise EmigbenchError(f"Cannot write {file}: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.chmod(scratch, 0o644)  # noqa: PTH101
        os.replace(scratch, file)  # noqa: PTH105
    except OSError as error:
        raise EmigbenchError(f"Cannot write {file}: {error.strerror}.") from error
    finally:
        Path(scratch).unlink(missing_ok=True)


def read_text(file: Path) -> str:
    """Read a UTF-8 text file, with or without a byte-order mark.

    Raises:
        EmigbenchError: if it is not there, cannot be read or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise EmigbenchError(f"There is no file {file}.") from None
    except UnicodeDecodeError:
        raise EmigbenchError(f"{file} is not UTF-8 text.") from None
    except OSError as error:
        raise EmigbenchError(f"Cannot read {file}: {error.strerror}.") from error
