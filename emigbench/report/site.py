"""The generated folder as a whole: which files it has, how they are written, and whether they are up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emigbench.datasets.labels import Labels
from emigbench.report import html, leaderboard
from emigbench.report.leaderboard import Boards, Entry
from emigbench.storage import write_text

Files = Mapping[str, str]
"""Name below the leaderboard's folder -> content."""


def files(entries: Sequence[Entry], found: Boards, labels: Labels) -> dict[str, str]:
    """Everything that `leaderboard build` writes, the same for the same submissions."""
    return {
        leaderboard.PAGE: leaderboard.to_markdown(found, labels),
        leaderboard.RESULTS: leaderboard.to_json(found, labels),
        **html.files(entries, found, labels, leaderboard.comparisons(found)),
    }


def write(folder: Path, wanted: Files) -> None:
    """Write the files, and delete the pages of models that are gone.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    for name, text in wanted.items():
        write_text(folder / name, text)
    for file in _models(folder):
        if _name(folder, file) not in wanted and html.MARK in file.read_text(encoding="utf-8", errors="replace"):
            file.unlink()


def differences(folder: Path, wanted: Files) -> list[str]:
    """Names of the files in a folder that are not what the submissions give: other bytes, missing, or left over."""
    different = [name for name, text in wanted.items() if _bytes(folder / name) != text.encode()]
    own = {*_models(folder), *(folder / html.ASSETS).glob("*")}
    return [*different, *sorted(name for file in own if (name := _name(folder, file)) not in wanted)]


def _models(folder: Path) -> list[Path]:
    return sorted((folder / html.MODELS).glob("*.html"))


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
