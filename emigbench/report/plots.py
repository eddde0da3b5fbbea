"""The geometry of the small drawings in table cells: whiskers, strips of errors, shades of a heat map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from emigbench.report.text import steady

STRIP_END = 1.0
"""eV; strips of errors end here, and what is larger stands at the end."""
STRIP_WIDTH, STRIP_MARGIN = 160, 4
"""Of the drawing that the template of a model's page holds the dots in."""


def at(value: float, scale: tuple[float, float]) -> str:
    """Where a value stands on a scale, in percent of its width, kept inside."""
    low, high = scale
    share = (value - low) / (high - low) if math.isfinite(value) else 1.0
    return f"{steady(100 * min(max(share, 0.0), 1.0)):.1f}"


def scale_of(values: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """0 to a round end that shows most rows whole: one hopeless model does not flatten the others."""
    known = [value for value in values if math.isfinite(value) and value >= 0]
    ends = [high for high in highs if math.isfinite(high)]
    if not known:
        return 0.0, 1.0
    return 0.0, _round_up(min(max([*ends, *known]), 2.5 * median(known)))


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    size = 10 ** math.floor(math.log10(value))
    return next(float(f"{step * size:.6g}") for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * size >= value)


def strip(errors: Iterable[float]) -> str:
    """An SVG path with a round dot (a line of no length) for each absolute error."""
    return "".join(f"M{place:.0f} 7h0" for place in sorted(map(_place, errors)))


def strip_at(error: float) -> str:
    """Where an absolute error stands on a strip."""
    return f"{_place(error):.1f}"


def _place(error: float) -> float:
    return steady(STRIP_MARGIN + min(abs(error), STRIP_END) / STRIP_END * (STRIP_WIDTH - 2 * STRIP_MARGIN))


def shade(difference: float, scale: float) -> int:
    """Strength of a heat map's colour: -5 (much lower) to 5 (much higher)."""
    if not math.isfinite(difference) or scale <= 0:
        return 0
    return max(-5, min(5, round(steady(5 * difference / scale))))


BIN_WIDTH, LAST_BIN = 0.1, 10
"""Error histograms: bins of 0.1 eV, the outermost (from 1 eV on) take all that is beyond."""


def histogram(errors_by_seed: Sequence[Sequence[float]]) -> list[dict[str, float | str]]:
    """Signed errors (predicted minus true) counted in bins, means over seeds."""
    counts = [0] * (2 * LAST_BIN + 2)
    for errors in errors_by_seed:
        for error in errors:
            k = math.floor(max(-1e6, min(1e6, error)) / BIN_WIDTH + 1e-9)
            counts[max(-LAST_BIN - 1, min(LAST_BIN, k)) + LAST_BIN + 1] += 1
    n = max(len(errors_by_seed), 1)
    return [
        {"x": round((k - LAST_BIN - 1) * BIN_WIDTH, 1), "n": round(count / n, 3), "class": _class_of(k - LAST_BIN - 1)}
        for k, count in enumerate(counts)
    ]


def _class_of(k: int) -> str:
    nearest = k if k >= 0 else -k - 1
    return "< 0.1 eV" if nearest < 1 else "0.1–0.3 eV" if nearest < 3 else "> 0.3 eV"
