"""How honest the standard deviations are that a model predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emigbench import statistics
from emigbench.metrics import Sample, coverage_of
from emigbench.records import FloatArray

CALIBRATION_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class CalibrationRow:
    """How many labels the central `expected` of the predicted distribution holds, with the 95% interval."""

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


def calibration(samples: Sequence[Sample], weights: FloatArray) -> Calibration | None:
    """Expected and observed coverage of the predicted normal distributions, means over seeds.

    Args:
        samples: one a seed, with the same n paths in the same order.
        weights: (B, n) from `bootstrap_weights` of the samples' clusters.

    Returns:
        None if a seed gives no std.
    """
    given = [(sample.error, sample.std) for sample in samples if sample.std is not None]
    if len(given) != len(samples) or not given:
        return None
    found = [(level, statistics.estimate(coverage_of(level), samples, weights)) for level in CALIBRATION_LEVELS]
    rows = tuple(CalibrationRow(level, held.value, held.low, held.high) for level, held in found)
    if len(samples[0]) < 2 or any((std == 0).any() for _, std in given):
        return Calibration(rows, math.nan, math.nan)
    scores = [error / std for error, std in given]
    return Calibration(
        rows,
        z_mean=float(np.mean([z.mean() for z in scores])),
        z_sd=float(np.mean([z.std(ddof=1) for z in scores])),
    )
