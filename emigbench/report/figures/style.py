"""What all figures share: their looks, and how they become files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emigbench.storage import write_bytes

FORMATS = ("svg", "pdf")
BLUE, PINK, GREY = "#4477aa", "#cc6699", "#777777"
PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
FRAMED: Mapping[str, Any] = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.8}

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "emigbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

Drawing = Callable[[], Any]


def write(folder: Path, name: str, draw: Drawing) -> list[Path]:
    """Draw one figure and write it in each of `FORMATS`."""
    contents = {folder / f"{name}.{ending}": content for ending, content in rendered(draw).items()}
    for file, content in contents.items():
        write_bytes(file, content)
    return list(contents)


def rendered(draw: Drawing) -> dict[str, bytes]:
    """Format -> the bytes of a figure."""
    with style():
        figure = draw()
        contents = {}
        for ending in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, metadata=METADATA[ending])
            contents[ending] = buffer.getvalue()
    return contents


@contextmanager
def style() -> Iterator[None]:
    """The figures' own settings, whatever the user's matplotlibrc says."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    with matplotlib.rc_context(settings):
        yield


def canvas(width: float, height: float) -> Any:
    """A figure in inches that no window shows."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def short(name: str, most: int = 34) -> str:
    """A name, cut where it is too long for a label."""
    return name if len(name) <= most else name[: most - 1] + "…"
