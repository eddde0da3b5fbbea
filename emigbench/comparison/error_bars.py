"""How honest the standard deviations are that a model predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from emigbench import intervals
from emigbench.metrics import Sample

CALIBRATION_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class CalibrationRow:
    """How many labels the central `expected` of the predicted distribution holds, with Wilson's 95% interval."""

    expected: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How honest a model's own error bars are.

    Attributes:
        rows: one for each of `CALIBRATION_LEVELS`.
        z_mean, z_sd: mean and standard deviation of (predicted - true) / std; 0 and 1 where perfect, an sd above
            1 where the error bars are too short. NaN where a std is 0.
    """

    rows: tuple[CalibrationRow, ...]
    z_mean: float
    z_sd: float


def calibration(samples: Sequence[Sample]) -> Calibration | None:
    """Expected and observed coverage of the predicted normal distributions, means over seeds.

    Returns:
        None if a seed gives no std.
    """
    given = [(sample.error, sample.std) for sample in samples if sample.std is not None]
    if len(given) != len(samples) or not given:
        return None
    n, rows = len(samples[0]), []
    for level in CALIBRATION_LEVELS:
        z = NormalDist().inv_cdf((1 + level) / 2)
        hits = float(np.mean([(np.abs(error) <= z * std).sum() for error, std in given]))
        rows.append(CalibrationRow(level, hits / n if n else math.nan, *intervals.wilson_interval(hits / n, n)))
    if n < 2 or any((std == 0).any() for _, std in given):
        return Calibration(tuple(rows), math.nan, math.nan)
    scores = [error / std for error, std in given]
    return Calibration(
        tuple(rows),
        z_mean=float(np.mean([z.mean() for z in scores])),
        z_sd=float(np.mean([z.std(ddof=1) for z in scores])),
    )
