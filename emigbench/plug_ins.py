"""What installed packages offer, by groups of entry points."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import metadata
from importlib.metadata import EntryPoints
from pathlib import Path


def entry_points(*, group: str) -> EntryPoints:
    """As of `importlib.metadata`, but read anew only where a folder of `sys.path` has changed.

    To go through the files of a hundred packages takes longer than the fit of a simple model, and is asked for several
    times for each.
    """
    return _read(group, tuple((place, *_state(place)) for place in sys.path))


def _state(place: str) -> tuple[int, ...]:
    """What changes when a package is installed in or removed from a folder, or another folder is meant."""
    try:
        found = Path(place).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=16)
def _read(group: str, places: tuple[tuple[str | int, ...], ...]) -> EntryPoints:
    return metadata.entry_points(group=group)
