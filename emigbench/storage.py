"""Files that are whole or not there at all."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from emigbench.errors import EmigbenchError, in_words

PACKED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Suffix of a packed file -> what unpacks it."""
_NO_SURPRISES = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # no waiting


def sha256_of(file: Path) -> str:
    """Hash of a file's content.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(file: Path, text: str) -> None:
    """Write a UTF-8 text file whole.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    write_bytes(file, text.encode("utf-8"))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as the text of a CSV file, the header first; the same bytes on every system."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file through a temporary one beside it, so that nobody ever sees half of it.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise EmigbenchError(f"Cannot write {file}: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(scratch, 0o644)  # noqa: PTH101
        os.replace(scratch, file)  # noqa: PTH105
    except OSError as error:
        raise EmigbenchError(f"Cannot write {file}: {error.strerror}.") from error
    finally:
        Path(scratch).unlink(missing_ok=True)


def read_text(file: Path, limit: int | None = None, errors: str = "strict") -> str:
    """Read a UTF-8 text file, with or without a byte-order mark; every line end becomes a line feed.

    Args:
        file: what to read; with a limit, it may be packed as its suffix says.
        limit: largest size in bytes, packed and unpacked; a larger file is refused before it is read, and so is a
            device or a pipe.
        errors: what becomes of bytes that are no UTF-8, as of `bytes.decode`.

    Raises:
        EmigbenchError: if it is not there, cannot be read, is too large or is not UTF-8.
    """
    try:
        content = file.read_bytes() if limit is None else _unpacked(file, _read_plain(file, limit), limit)
        text = content.decode("utf-8-sig", errors)
    except FileNotFoundError:
        raise EmigbenchError(f"There is no file {file}.") from None
    except UnicodeDecodeError:
        raise EmigbenchError(f"{file} is not UTF-8 text; save it as UTF-8, if it is text at all.") from None
    except OSError as error:
        raise EmigbenchError(f"Cannot read {file}: {error.strerror}.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def name_of_content(file: Path) -> str:
    """The name of a file without the suffix that says how it is packed."""
    return file.stem if file.suffix.lower() in PACKED else file.name


def refuse_link(path: Path) -> None:
    """Make sure that a path is no symbolic link.

    Raises:
        EmigbenchError: if it is one.
    """
    if path.is_symlink():
        raise EmigbenchError(f"{path} is a symbolic link; put the file or folder itself there.")


def _unpacked(file: Path, content: bytes, limit: int) -> bytes:
    """What is in a packed file, of which no more than `limit` bytes are unpacked; the content itself of any other."""
    if (unpack := PACKED.get(file.suffix.lower())) is None:
        return content
    try:
        with unpack(io.BytesIO(content)) as stream:
            found: bytes = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise EmigbenchError(f"{file} cannot be unpacked ({in_words(error)}).") from error
    if len(found) > limit:
        raise EmigbenchError(f"{file} is too large when it is unpacked; at most {limit / 1e6:g} MB are read.")
    return found


def _read_plain(file: Path, limit: int) -> bytes:
    """The bytes of a plain file of at most `limit`; what it is and how large is known before any of it is read."""
    handle = os.open(file, os.O_RDONLY | _NO_SURPRISES)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise EmigbenchError(f"{file} is no plain file.")
        content = None
        if found.st_size <= limit:
            with os.fdopen(handle, "rb", closefd=False) as stream:
                content = stream.read(limit + 1)
    finally:
        os.close(handle)
    if content is None or len(content) > limit:
        size = f"{found.st_size / 1e6:.4g} MB" if found.st_size > limit else "growing"
        raise EmigbenchError(f"{file} is too large ({size}); at most {limit / 1e6:g} MB are read.")
    return content
