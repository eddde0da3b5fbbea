"""What matplotlib's drawings share: looks that no matplotlibrc changes, and files without a date or a version."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LOOKS = {
    "font.family": "DejaVu Sans",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.hashsalt": "emigbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
METADATA: Mapping[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def looks(more: Mapping[str, Any]) -> Iterator[None]:
    """Draw with `LOOKS` and more settings, whatever the user's matplotlibrc says."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **LOOKS, **more}
    with matplotlib.rc_context(settings):
        yield


def canvas(width: float, height: float) -> Any:
    """A figure in inches that no window shows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def content(figure: Any, ending: str, **options: Any) -> bytes:
    """A figure as the content of a png, svg or pdf file: the same bytes for the same drawing."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, metadata=METADATA[ending], **options)
    return buffer.getvalue()
