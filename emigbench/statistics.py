"""Scores over resamples of whole groups: how far they can be trusted, given which ones happen to be in the test.

Paths of one material are not independent, and those of a structural group that was held out as a whole all share its
being new, so resampling draws whole groups (the cluster bootstrap: Davison & Hinkley 1997, section 3.8);
`emigbench.intervals` makes intervals of the resamples. The spread over seeds is a different thing, and `seed_spread`
reports it apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emigbench import intervals
from emigbench.metrics import Metric, Sample
from emigbench.records import FloatArray

DECIMALS = 12
"""What figures differ by beyond these is the processor's: equal scores tie, and spread by 0, on every machine."""


@dataclass(frozen=True)
class Estimate:
    """A score and its 95% interval, all in `unit`; NaN where undefined."""

    value: float
    low: float
    high: float
    unit: str


def bootstrap_weights(groups: ArrayLike, n_resamples: int, seed: int) -> FloatArray:
    """How often each path counts in each resample of whole groups with replacement.

    As many groups are drawn as there are. The counts depend on the seed and the groups' sorted names, not on
    the order of the rows.

    Args:
        groups: (n,) names or numbers of the paths' groups.
        n_resamples: number of resamples B.
        seed: of NumPy's PCG64.

    Returns:
        (B, n) counts, equal within a group; float64 because the metrics are matrix products.
    """
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = len(names)
    draws = np.random.Generator(np.random.PCG64(seed)).integers(n_groups, size=(n_resamples, n_groups))
    draws += n_groups * np.arange(n_resamples)[:, None]  # each resample counts in its own block
    counts = np.bincount(draws.ravel(), minlength=n_resamples * n_groups)
    return counts.reshape(n_resamples, n_groups).astype(np.float64)[:, code]


def group_totals(values: FloatArray, groups: ArrayLike) -> FloatArray:
    """(..., G) sums over the paths of each group, in the order of the groups' sorted names, of (..., n) values."""
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    totals: FloatArray = values @ (code[:, None] == np.arange(len(names))).astype(np.float64)
    return totals


def group_draws(weights: FloatArray, groups: ArrayLike) -> FloatArray:
    """(1 + B, G) how often each group counts: once in the sample itself, then as in (B, n) `bootstrap_weights`."""
    names, first = np.unique(np.asarray(groups), return_index=True)
    return np.vstack([np.ones(len(names)), weights[:, first]])


def leave_one_out_weights(groups: ArrayLike) -> FloatArray:
    """(n_groups, n) weights that leave one group out at a time, in the order of the groups' sorted names."""
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    weights: FloatArray = (code != np.arange(len(names))[:, None]).astype(np.float64)
    return weights


def resampled(metric: Metric, samples: Sequence[Sample], weights: FloatArray) -> FloatArray:
    """The mean over seeds of a metric in each resample, every seed under the same resample.

    Args:
        metric: row of `emigbench.metrics.METRICS`; one that needs a threshold, at it (`Metric.at`).
        samples: one a seed, with the same n paths in the same order.
        weights: (B, n) from `bootstrap_weights`.

    Returns:
        (B,) in the metric's unit; NaN where the metric is undefined for a seed.

    Raises:
        ValueError: if there are no samples, or their length is not that of the weights.
    """
    _check(samples, weights.shape[-1])
    return sum((metric(s, weights) for s in samples), np.zeros(len(weights))) / len(samples)


def estimate(metric: Metric, samples: Sequence[Sample], weights: FloatArray) -> Estimate:
    """The mean over seeds of a metric, with its 95% interval, made as the metric's `interval` says.

    The interval is NaN where all resamples are alike (one group only), since nothing was sampled. Over several seeds
    it is that of their mean: every seed is under the same resample, and a path's parts are averaged over seeds.

    Args:
        metric: row of `emigbench.metrics.METRICS`; one that needs a threshold, at it (`Metric.at`).
        samples: one a seed, with the same n paths in the same order.
        weights: (B, n) from `bootstrap_weights` of the samples' clusters.

    Raises:
        ValueError: if there are no samples, or their length is not that of the weights.
    """
    _check(samples, weights.shape[-1])
    value = float(_by_seed(metric, samples).mean())
    if metric.interval == "none" or math.isnan(value) or (weights == weights[:1]).all():
        return Estimate(value, math.nan, math.nan, metric.unit)
    groups = samples[0].cluster_code
    values, n_groups = resampled(metric, samples, weights), len(np.unique(groups))
    if metric.interval == "wilson":
        trials = float(np.mean([metric.trials(s) for s in samples])) if metric.counts else n_groups
        low, high = intervals.bounded_interval(values, value, metric.bounds, n_groups, trials)
    elif metric.terms is not None:
        upper, lower = group_totals(np.mean([metric.terms(sample) for sample in samples], axis=0), groups)
        ratio, error = intervals.ratio_with_error(upper, lower, group_draws(weights, groups))
        low, high = intervals.studentized_interval(
            np.append(value, values),
            intervals.power_errors(ratio, error, metric.power),
            n_groups,
            intervals.effective_groups(upper, lower),
            metric.bounds,
        )
    else:
        low, high = intervals.percentile_interval(values, n_groups)
    return Estimate(value, float(low), float(high), metric.unit)


def seed_spread(metric: Metric, samples: Sequence[Sample]) -> float:
    """Sample standard deviation of a metric over seeds, in its unit; NaN for a single seed, 0 for seeds that are alike.

    Raises:
        ValueError: if there are no samples, or their lengths differ.
    """
    _check(samples, len(samples[0]) if samples else 0)
    values = _by_seed(metric, samples)
    from_first = (values - values[0]).round(DECIMALS)
    return float(from_first.std(ddof=1)) if len(values) > 1 else math.nan


def _by_seed(metric: Metric, samples: Sequence[Sample]) -> FloatArray:
    """(n_seeds,) the metric of each sample."""
    return np.array([float(metric(sample)) for sample in samples])


def _check(samples: Sequence[Sample], n: int) -> None:
    if not samples:
        raise ValueError("There is no sample to score.")
    for sample in samples:
        if len(sample) != n:
            raise ValueError(f"A sample has {len(sample)} paths, expected {n}.")
