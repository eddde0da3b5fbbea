"""Numbers as the pages write them, and a figure with its interval as a cell of a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emigbench.metrics import BY_NAME
from emigbench.report.text import steady
from emigbench.scoring import THRESHOLDS_EV, Figure, Score

DIGITS = {"mae": 3, "rmse": 3, "bias": 3, "median_abs_error": 3, "max_abs_error": 3, "crps": 3}


@dataclass(frozen=True)
class Cell:
    """A figure with its interval, as a table shows it."""

    value: float
    low: float
    high: float
    digits: int

    @property
    def defined(self) -> bool:
        """Whether there is a number."""
        return math.isfinite(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether the number has an interval."""
        return self.defined and math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def text(self) -> str:
        """The number."""
        return number(self.value, self.digits) if self.defined else "–"

    @property
    def interval_text(self) -> str:
        """The interval in brackets, "" if there is none."""
        if not self.has_interval:
            return ""
        return f"[{number(self.low, self.digits)}, {number(self.high, self.digits)}]"

    def triple(self) -> list[float | None]:
        """Value, low, high for the script; None where undefined."""
        return [float(rounded(v)) if math.isfinite(v) else None for v in (self.value, self.low, self.high)]


def with_interval(figure: Figure, digits: int = 3) -> str:
    """A figure and its interval in plain characters, for Markdown and the terminal."""
    if math.isnan(figure.value):
        return "–"
    value, low, high = (plain(number, digits) for number in (figure.value, figure.low, figure.high))
    return value if math.isnan(figure.low) else f"{value} [{low}, {high}]"


def columns(score: Score) -> dict[str, str]:
    """What a row of a board shows of a score, in plain characters: name of the column -> cell."""
    figures, threshold, n_seeds = score.metrics, THRESHOLDS_EV[0], len(score.seeds)
    sd = figures["mae"].seed_sd
    return {
        "MAE (eV)": with_interval(figures["mae"]),
        "R²": with_interval(figures["r2"], 2),
        "RMSE (eV)": with_interval(figures["rmse"]),
        f"Accuracy at {threshold:g} eV": with_interval(score.classification[threshold]["accuracy"], 2),
        "Coverage": f"{score.coverage:.1%}",
        "Seeds": str(n_seeds) if sd is None or math.isnan(sd) else f"{n_seeds} (SD {steady(sd):.3f})",
    }


def number(value: float, digits: int) -> str:
    """A number with a true minus sign, in powers of ten where it is huge."""
    return plain(value, digits).replace("-", "−")


def plain(value: float, digits: int) -> str:
    """A number in plain characters, in powers of ten where it is huge."""
    value = steady(value)
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"


def p_value(p: float) -> str:
    """A p-value in as many digits as anybody reads."""
    return f"{p:.2f}" if p >= 0.095 else f"{p:.3f}" if p >= 0.0005 else f"{p:.0e}"


def rounded(value: float) -> str:
    """A number for the script, to six digits."""
    return f"{steady(value):.6g}"


def label(name: str, score: Score) -> str:
    """The label of one metric of a score; of a share of pairs of paths, with how many pairs that is a share of."""
    n_pairs = {"pairs_told_apart": score.n_pairs, "pairs_ranked_right": score.n_ranked_pairs}
    return f"{BY_NAME[name].label} (of {n_pairs[name]})" if name in n_pairs else BY_NAME[name].label


def cell(name: str, figure: Figure) -> Cell:
    """The cell of one metric."""
    return Cell(figure.value, figure.low, figure.high, DIGITS.get(name, 2))


def short(value: float) -> float | None:
    """A coordinate for a plot, to a tenth of a meV; None where undefined."""
    number = steady(value)
    if not math.isfinite(number):
        return None
    return round(number, 4) if abs(number) < 1e6 else float(f"{number:.4g}")


def finite(value: float | None) -> float | None:
    """None instead of what is no number."""
    return value if value is not None and math.isfinite(value) else None


def mapped(value: Any, convert: Callable[[float], float | None]) -> Any:
    """A value with each float in its dicts, lists and tuples converted."""
    if isinstance(value, float):
        return convert(value)
    if isinstance(value, dict):
        return {key: mapped(item, convert) for key, item in value.items()}
    return [mapped(item, convert) for item in value] if isinstance(value, list | tuple) else value
