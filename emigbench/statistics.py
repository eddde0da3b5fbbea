"""Intervals: how far a score can be trusted, given which materials happen to be in the test.

Paths of one material are not independent, so resampling draws whole groups (the cluster bootstrap: Davison &
Hinkley 1997, section 3.8). Plain percentiles of it are too narrow for few groups and for the skewed errors of
barriers (`benchmarks/coverage.py` has the table). So the interval of MAE is a studentized one on the logarithm,
those of other scores are corrected for bias and skewness (BCa, Efron 1987), and these and those of differences are
widened as Student's t is against the normal (Hesterberg 2015). Proportions get Wilson's interval (1927). The spread
over seeds is a different thing, and `seed_spread` reports it apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from emigbench.metrics import Better, Metric, Sample
from emigbench.records import FloatArray

SMALLEST_P = 1e-12
FEWEST_GROUPS = 10


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


def percentile_interval(values: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of resampled values (Efron & Tibshirani 1993, section 13.3).

    Args:
        values: (B,) one score a resample, NaN where the resample leaves it undefined.
        level: share of the resamples between the bounds.

    Returns:
        Low and high, from the defined values; NaN if more than half are undefined.
    """
    defined = values[~np.isnan(values)]
    if defined.size == 0 or 2 * defined.size < values.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def widened_level(level: float, n_groups: int) -> float:
    """The share of the resamples that an interval of `level` has to span when `n_groups` were resampled.

    A resample of n groups varies less than the score itself, by (n - 1) / n in variance, and the normal's tails
    are shorter than Student's: the expanded percentiles of Hesterberg, Am. Stat. 69, 371 (2015), section 4.
    For 95%: 97.0% of 10 groups, 95.4% of 59, 95.05% of 439.

    Returns:
        A share in (0, 1]; NaN for fewer than 2 groups.
    """
    from scipy.special import stdtrit

    if n_groups < 2:
        return math.nan
    t = float(stdtrit(n_groups - 1, (1 + level) / 2))
    return 2 * NormalDist().cdf(math.sqrt(n_groups / (n_groups - 1)) * t) - 1


def difference_interval(values: FloatArray, n_groups: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a difference: percentiles of the resampled differences, widened for few groups.

    Differences are not corrected for skewness as scores are: theirs is slight, and in simulation an estimate of
    it costs more coverage than it brings.

    Args:
        values: (B,) one difference a resample, NaN where undefined.
        n_groups: number of groups that were resampled.
        level: confidence level.

    Returns:
        Low and high; NaN for fewer than 2 groups, or if more than half of the resamples are undefined.
    """
    if n_groups < 2:
        return math.nan, math.nan
    return percentile_interval(values, widened_level(level, n_groups))


def two_sided_p(values: FloatArray, observed: float, n_groups: int) -> float:
    """The p-value of "no difference": 1 minus the level at which `difference_interval` just reaches zero.

    Twice the share of the resamples on the other side of zero, those at zero included (Efron & Tibshirani 1993,
    section 15.4), widened as the interval is. The observed one counts as a resample, so p is never 0. Where no
    resample is on the other side, p is Student's tail of observed / sd if that is smaller: counting alone could
    not go below 2 / (B + 1), and the correction for hundreds of pairs would then tell nothing apart.

    Args:
        values: (B,) one difference a resample, NaN where undefined.
        observed: the difference itself.
        n_groups: number of groups that were resampled.

    Returns:
        p in (0, 1]; NaN for fewer than 2 groups, or if more than half of the resamples are undefined.
    """
    from scipy.special import stdtr

    defined = values[~np.isnan(values)]
    if n_groups < 2 or defined.size == 0 or 2 * defined.size < values.size:
        return math.nan
    shrink = math.sqrt((n_groups - 1) / n_groups)
    beyond = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    share = min(1.0, 2 * (1 + beyond) / (1 + defined.size))
    p = min(1.0, 2 * float(stdtr(n_groups - 1, shrink * NormalDist().inv_cdf(share / 2))))
    if beyond == 0 and (sd := float(defined.std(ddof=1))) > 0:
        p = min(p, 2 * float(stdtr(n_groups - 1, -shrink * abs(observed) / sd)))
    return max(p, SMALLEST_P)


def accelerated_interval(
    values: FloatArray, observed: float, without: FloatArray, level: float = 0.95
) -> tuple[float, float]:
    """The BCa interval of a score (Efron, J. Am. Stat. Assoc. 82, 171, 1987), widened for few groups.

    Args:
        values: (B,) one score a resample, NaN where undefined.
        observed: the score itself.
        without: (n_groups,) the score without each group, whose skewness is the acceleration; where one of them
            is undefined, no acceleration.
        level: confidence level.

    Returns:
        Low and high; NaN for fewer than 2 groups, or if more than half of the resamples are undefined.
    """
    defined = values[~np.isnan(values)]
    if len(without) < 2 or math.isnan(observed) or defined.size == 0 or 2 * defined.size < values.size:
        return math.nan, math.nan
    normal = NormalDist()
    z = normal.inv_cdf((1 + widened_level(level, len(without))) / 2)
    same = np.isclose(defined, observed, rtol=1e-12, atol=1e-12)
    below = (np.count_nonzero((defined < observed) & ~same) + np.count_nonzero(same) / 2) / defined.size
    edge = 0.5 / defined.size
    bias = normal.inv_cdf(min(max(below, edge), 1 - edge))
    pull = without.mean() - without
    size = float((pull**2).sum()) ** 1.5
    acceleration = float((pull**3).sum()) / (6 * size) if size > 0 and math.isfinite(size) else 0.0

    def share(bound: float) -> float:
        shrink = 1 - acceleration * (bias + bound)
        return normal.cdf(bias + (bias + bound) / shrink) if shrink > 0 else float(bias + bound > 0)

    low, high = np.quantile(defined, [share(-z), share(z)])
    return float(low), float(high)


def studentized_interval(
    sizes: FloatArray, weights: FloatArray, groups: ArrayLike, level: float = 0.95
) -> tuple[float, float]:
    """The bootstrap-t interval of a mean of values that are never negative, on its logarithm.

    Each resample's log mean is measured in its own standard errors (Davison & Hinkley 1997, section 5.2.2; the
    linearised variance of a ratio of group totals, Cochran 1977, chapter 6), so that the few large values that a
    resample happens to hold widen its error, too. Among the intervals tried in `benchmarks/coverage.py` it alone
    covers 92% and more with 60 of the real errors.

    Args:
        sizes: (n,) values, none negative.
        weights: (B, n) from `bootstrap_weights`.
        groups: (n,) names of the groups that were resampled.
        level: confidence level.

    Returns:
        Low and high in the unit of the values; NaN for fewer than `FEWEST_GROUPS`, whose resamples are too often of
        one group alone, or where more than a few resamples have no error.
    """
    names, first, code = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    n = len(names)
    if n < FEWEST_GROUPS or not sizes.any():
        return math.nan, math.nan
    total, count = np.bincount(code, sizes), np.bincount(code).astype(np.float64)
    drawn = np.vstack([np.ones(n), weights[:, first]])  # the first row is the sample itself
    moments = drawn @ np.column_stack([total, count, total**2, total * count, count**2])
    mean = moments[:, 0] / moments[:, 1]
    variance = moments[:, 2] - 2 * mean * moments[:, 3] + mean**2 * moments[:, 4]
    with np.errstate(all="ignore"):
        error = np.sqrt(np.maximum(variance, 0) * n / (n - 1)) / moments[:, 0]  # of the log mean
        t = np.log(mean[1:] / mean[0]) / error[1:]
    t = t[np.isfinite(t)]
    if 1000 * t.size < 999 * len(weights):
        return math.nan, math.nan
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    with np.errstate(over="ignore"):
        bounds = mean[0] * np.exp(-np.array([high, low]) * error[0])
    return float(bounds[0]), float(bounds[1])


def leave_one_out_weights(groups: ArrayLike) -> FloatArray:
    """(n_groups, n) weights that leave one group out at a time, in the order of the groups' sorted names."""
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    weights: FloatArray = (code != np.arange(len(names))[:, None]).astype(np.float64)
    return weights


def wilson_interval(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    It takes the n trials as independent, so it is too narrow where several come from one material.

    Args:
        successes: number of hits; a mean over seeds need not be whole.
        n: number of trials.
        level: confidence level.

    Returns:
        Low and high inside [0, 1]; NaN if there are no trials or `successes` is NaN.

    Raises:
        ValueError: if `successes` is below 0 or above n.
    """
    if math.isnan(successes) or n == 0:
        return math.nan, math.nan
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials is no proportion.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, min(p, centre - half_width)), min(1.0, max(p, centre + half_width))


def resampled(
    metric: Metric, samples: Sequence[Sample], weights: FloatArray, threshold: float | None = None
) -> FloatArray:
    """The mean over seeds of a metric in each resample, every seed under the same resample.

    Args:
        metric: row of `emigbench.metrics.METRICS`.
        samples: one a seed, with the same n paths in the same order.
        weights: (B, n) from `bootstrap_weights`.
        threshold: eV, for the metrics that need one.

    Returns:
        (B,) in the metric's unit; NaN where the metric is undefined for a seed.

    Raises:
        ValueError: if there are no samples, or their length is not that of the weights.
    """
    _check(samples, weights.shape[-1])
    return sum((metric(s, weights, threshold) for s in samples), np.zeros(len(weights))) / len(samples)


def estimate(
    metric: Metric,
    samples: Sequence[Sample],
    weights: FloatArray,
    threshold: float | None = None,
    groups: ArrayLike | None = None,
) -> Estimate:
    """The mean over seeds of a metric, with its 95% interval.

    The bootstrap interval is `studentized_interval` for a mean of values that are never negative, of at least 10
    groups, and `accelerated_interval` for all else; it is NaN where all resamples are alike (one group only), since
    nothing was sampled. A proportion gets Wilson's interval instead, with the number of
    its trials as n: all paths for accuracy, shares and coverage; the paths called good (bad) for precision
    and those that are good (bad) for recall; the pairs for pairs. Over several seeds it takes the mean
    proportion and the mean number of trials, so more seeds do not narrow it: the paths are the same.

    Args:
        metric: row of `emigbench.metrics.METRICS`.
        samples: one a seed, with the same n paths in the same order.
        weights: (B, n) from `bootstrap_weights`.
        threshold: eV, for the metrics that need one.
        groups: (n,) names of the groups that `weights` resamples; the materials if not given.

    Raises:
        ValueError: if there are no samples, or their length is not that of the weights.
    """
    _check(samples, weights.shape[-1])
    value = float(_by_seed(metric, samples, threshold).mean())
    if metric.interval == "wilson":
        trials = float(np.mean([metric.trials(s, threshold) for s in samples]))
        low, high = wilson_interval(value * trials, trials)
    elif (weights == weights[:1]).all():
        low, high = math.nan, math.nan
    else:
        codes = samples[0].material_code if groups is None else groups
        low, high = math.nan, math.nan
        if metric.sizes is not None:
            sizes = np.mean([metric.sizes(sample) for sample in samples], axis=0)
            low, high = studentized_interval(sizes, weights, codes)
        if math.isnan(low):
            without = resampled(metric, samples, leave_one_out_weights(codes), threshold)
            low, high = accelerated_interval(resampled(metric, samples, weights, threshold), value, without)
    return Estimate(value, low, high, metric.unit)


def seed_spread(metric: Metric, samples: Sequence[Sample], threshold: float | None = None) -> float:
    """Sample standard deviation of a metric over seeds, in its unit; NaN for a single seed.

    Raises:
        ValueError: if there are no samples, or their lengths differ.
    """
    _check(samples, len(samples[0]) if samples else 0)
    values = _by_seed(metric, samples, threshold)
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def rank_intervals(values: FloatArray, better: Better, level: float = 0.95) -> list[tuple[int, int]]:
    """Which ranks each model may hold; rank 1 is the best.

    The models are ranked within each resample, so what is hard for all of them cancels. Models that tie may
    hold any of the ranks that they share. The interval is the central `level` of a model's ranks, widened to
    whole ones.

    Args:
        values: (n_models, B) one metric, all models under the same resamples (see `resampled`). NaN is worst.
        better: "lower" or "higher". For a metric with a target, pass |value - target| and "lower".
        level: share of the resamples.

    Returns:
        The best and the worst rank of each model, in the order of `values`.

    Raises:
        ValueError: if `better` is not "lower" or "higher".
    """
    if better not in ("lower", "higher"):
        raise ValueError(f"Models cannot be ranked by a metric whose better is {better!r}.")
    loss = np.where(np.isnan(values), np.inf, values if better == "lower" else -values)
    bounds = []
    for own in loss:
        better_ones = (loss < own).sum(axis=0)
        equals = (loss == own).sum(axis=0)
        low = np.quantile(better_ones + 1, (1 - level) / 2)
        high = np.quantile(better_ones + equals, (1 + level) / 2)
        bounds.append((math.floor(low), math.ceil(high)))
    return bounds


def _by_seed(metric: Metric, samples: Sequence[Sample], threshold: float | None) -> FloatArray:
    """(n_seeds,) the metric of each sample."""
    return np.array([float(metric(sample, threshold=threshold)) for sample in samples])


def _check(samples: Sequence[Sample], n: int) -> None:
    if not samples:
        raise ValueError("There is no sample to score.")
    for sample in samples:
        if len(sample) != n:
            raise ValueError(f"A sample has {len(sample)} paths, expected {n}.")
