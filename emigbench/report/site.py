"""The generated folder as a whole: which files it has, how they are written, and whether they are up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.report import html, leaderboard, markdown
from emigbench.report.leaderboard import Boards, Entry
from emigbench.storage import write_text

Files = Mapping[str, str]
"""Name below the leaderboard's folder -> content."""


def files(entries: Sequence[Entry], found: Boards, labels: Labels) -> dict[str, str]:
    """Everything that `leaderboard build` writes, the same for the same submissions."""
    return {
        markdown.PAGE: markdown.to_markdown(found, labels),
        leaderboard.RESULTS: leaderboard.to_json(found, labels),
        **html.files(entries, found, labels),
    }


def check_is_ours(folder: Path) -> None:
    """Make sure that writing to a folder replaces nobody's page but our own.

    Raises:
        EmigbenchError: if a page of that name is there without our mark.
    """
    for name, mark in ((markdown.PAGE, markdown.MARK), (html.INDEX, html.MARK)):
        content = _bytes(folder / name)
        if content is not None and mark.encode() not in content:
            raise EmigbenchError(f"{folder / name} is no page of a leaderboard; choose another --out.")


def write(folder: Path, wanted: Files) -> None:
    """Write the files, and delete the pages that earlier ones left of models that are gone.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    for name, text in wanted.items():
        write_text(folder / name, text)
    for name in _left_over(folder, wanted):
        (folder / name).unlink()


def differences(folder: Path, wanted: Files) -> list[str]:
    """Names of the files in a folder that are not what the submissions give: other bytes, missing, or left over."""
    different = [name for name, text in wanted.items() if _bytes(folder / name) != text.encode()]
    return [*different, *_left_over(folder, wanted)]


def _left_over(folder: Path, wanted: Files) -> list[str]:
    """Names of generated pages that are not wanted; a page without our mark is somebody else's."""
    pages = [file for file in (folder / html.MODELS).glob("*.html") if html.MARK.encode() in (_bytes(file) or b"")]
    return sorted(name for file in pages if (name := file.relative_to(folder).as_posix()) not in wanted)


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
