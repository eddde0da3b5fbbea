"""What a run cost, from its `run.json` and the times of its predictions.

`run.json` comes from other people's machines: whatever in it is not what it should be counts as unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emigbench.report.text import clean
from emigbench.scoring import Seeds


@dataclass(frozen=True)
class Costs:
    """Costs of one submission on one split; None where unknown.

    Attributes:
        fit_seconds: mean time of one training.
        n_fits: how many trainings that is the mean of.
        fit_seconds_in_all: their sum.
        seconds_per_path: mean time of one prediction.
        hardware: processor, accelerator and cores, "" if unknown.
    """

    fit_seconds: float | None
    n_fits: int
    fit_seconds_in_all: float | None
    seconds_per_path: float | None
    hardware: str


def costs(run: Mapping[str, Any], seeds: Seeds, split: str) -> Costs:
    """The costs on one split."""
    units = [unit for unit in _list(run.get("units")) if isinstance(unit, dict) and unit.get("split") == split]
    fits = [s for unit in units if (s := _number(unit.get("fit_seconds"))) is not None]
    return Costs(
        fit_seconds=sum(fits) / len(fits) if fits else None,
        n_fits=len(fits),
        fit_seconds_in_all=sum(fits) if fits else None,
        seconds_per_path=_per_path(units, seeds),
        hardware=hardware(run),
    )


def hardware(run: Mapping[str, Any]) -> str:
    """Processor, accelerator and number of cores in a few words."""
    found = run.get("hardware")
    if not isinstance(found, dict):
        return ""
    names = [clean(found[key], 60) for key in ("gpu", "accelerator", "processor") if isinstance(found.get(key), str)]
    cores = _number(found.get("cores"))
    if cores:
        names.append(f"{cores:.0f} core{'s' if cores != 1 else ''}")
    return ", ".join(name for name in names if name)


def duration(seconds: float | None) -> str:
    """A time as people say it: 12 ms, 4.2 s, 3.1 min, 5.0 h; "–" if unknown."""
    if seconds is None:
        return "–"
    for limit, size, unit, digits in ((1.0, 1e-3, "ms", 0), (60.0, 1.0, "s", 1), (3600.0, 60.0, "min", 1)):
        if seconds < limit:
            return "< 1 ms" if unit == "ms" and seconds < 5e-4 else f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 3600:.1f} h"


def count(number: int | None) -> str:
    """A number of parameters as people say it: 4.1 M; "–" if unknown."""
    if number is None:
        return "–"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _per_path(units: Iterable[Mapping[str, Any]], seeds: Seeds) -> float | None:
    measured = [p.seconds for given in seeds.values() for p in given if p.seconds is not None]
    if measured:
        return math.fsum(measured) / len(measured)
    pairs = [(_number(unit.get("predict_seconds")), _number(unit.get("n_held_out"))) for unit in units]
    known = [(seconds, n) for seconds, n in pairs if seconds is not None and n]
    return sum(s for s, _ in known) / sum(n for _, n in known) if known else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 <= number < 1e15 else None
