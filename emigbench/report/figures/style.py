"""What all figures share: their colours and sizes, and how they become files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emigbench import drawing
from emigbench.storage import write_bytes

FORMATS = ("svg", "pdf")
LONGEST_NAME = 34
"""Characters of a model's name that a label has room for."""
BLUE, PINK, GREY = "#4477aa", "#cc6699", "#777777"
PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
FRAMED: Mapping[str, Any] = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.8}

STYLE = {"font.size": 8, "axes.titlesize": 9, "legend.fontsize": 7.5, "hatch.linewidth": 0.6}

Drawing = Callable[[], Any]


def write(folder: Path, name: str, draw: Drawing) -> list[Path]:
    """Draw one figure and write it in each of `FORMATS`."""
    contents = {folder / f"{name}.{ending}": content for ending, content in rendered(draw).items()}
    for file, content in contents.items():
        write_bytes(file, content)
    return list(contents)


def rendered(draw: Drawing) -> dict[str, bytes]:
    """Format -> the bytes of a figure."""
    with drawing.looks(STYLE):
        figure = draw()
        return {ending: drawing.content(figure, ending) for ending in FORMATS}
