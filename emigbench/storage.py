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
