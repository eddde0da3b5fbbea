"""What a run cost, from its `run.json` (as `emigbench.run_schema` has checked it) and the times of its predictions."""

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
    units = [unit for unit in run.get("units", ()) if unit.get("split") == split]
    fits = [s for unit in units if (s := unit.get("fit_seconds")) is not None]
    return Costs(
        fit_seconds=sum(fits) / len(fits) if fits else None,
        n_fits=len(fits),
        fit_seconds_in_all=sum(fits) if fits else None,
        seconds_per_path=_per_path(units, seeds),
        hardware=hardware(run),
    )


def hardware(run: Mapping[str, Any]) -> str:
    """Processor, accelerator and number of cores in a few words."""
    found = run.get("hardware", {})
    names = [clean(found.get(key, ""), 60) for key in ("gpu", "accelerator", "processor")]
    if isinstance(cores := found.get("cores"), int) and cores > 0:  # text where machines differed
        names.append(f"{cores} core{'s' if cores != 1 else ''}")
    return ", ".join(name for name in names if name)


def duration(seconds: float | None) -> str:
    """A time as people say it: 12 ms, 4.2 s, 3.1 min, 5.0 h; "–" if unknown."""
    if seconds is None:
        return "–"
    for limit, size, unit, digits in ((0.9995, 1e-3, "ms", 0), (59.95, 1.0, "s", 1), (3597.0, 60.0, "min", 1)):
        if seconds < limit:
            return "< 1 ms" if unit == "ms" and seconds < 5e-4 else f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 3600:.1f} h"


def count(number: int | None) -> str:
    """A number of parameters as people say it: 4.1 M; "–" if unknown."""
    if number is None:
        return "–"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:  # so that three digits do not make 1000 of it
            return f"{number / size:.3g} {unit}"
    return str(number)


def _per_path(units: Iterable[Mapping[str, Any]], seeds: Seeds) -> float | None:
    measured = [p.seconds for given in seeds.values() for p in given if p.seconds is not None]
    if measured:
        return math.fsum(measured) / len(measured)
    pairs = [(unit.get("predict_seconds"), unit.get("n_held_out")) for unit in units]
    known = [(seconds, n) for seconds, n in pairs if seconds is not None and n]
    return sum(s for s, _ in known) / sum(n for _, n in known) if known else None
