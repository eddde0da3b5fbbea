"""The size of the errors, the order of the predictions, and how honest predicted error bars are."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from emigbench.metrics.sample import Sample
from emigbench.metrics.weighted import (
    Counts,
    below,
    is_constant,
    maximum,
    mean,
    product,
    ratio,
    rounded_size,
    share,
    sum_of_products,
)
from emigbench.records import INTERVAL_LEVEL, FloatArray


def abs_error(sample: Sample) -> FloatArray:
    """(n,) eV."""
    return np.abs(sample.error)


def error(sample: Sample) -> FloatArray:
    """(n,) eV, predicted minus true."""
    return sample.error


def squared_error(sample: Sample) -> FloatArray:
    """(n,) eV²."""
    return sample.error**2


def rmse(sample: Sample, weights: FloatArray) -> FloatArray:
    """Root of the mean squared error, in eV."""
    return np.sqrt(mean(squared_error(sample), weights))


def r2(sample: Sample, weights: FloatArray) -> FloatArray:
    """1 - sum w (y - p)^2 / sum w (y - mean_w y)^2, the mean taken anew in each resample."""
    deviation = sample.e_m - mean(sample.e_m, weights)[..., None]
    unexplained = ratio(weights @ squared_error(sample), sum_of_products(weights, deviation, deviation))
    return np.where(is_constant(sample.e_m, weights), np.nan, 1 - unexplained)


def rmse_terms(sample: Sample) -> tuple[FloatArray, FloatArray]:
    """The ratio of their sums is the square of the error."""
    return squared_error(sample), sample.ones


def r2_terms(sample: Sample) -> tuple[FloatArray, FloatArray]:
    """The ratio of their sums is 1 - R²."""
    return squared_error(sample), (sample.e_m - (sample.e_m.mean() if len(sample) else 0)) ** 2


def median_abs_error(sample: Sample, weights: FloatArray) -> FloatArray:
    """Half the weight lies on either side; between two values, their mean, as in `np.median`."""
    size = np.abs(sample.error)
    order = np.argsort(size)
    ordered = np.append(size[order], np.nan)  # the NaN is what nothing to count leads to
    cumulative = np.cumsum(weights[..., order], axis=-1)
    half = cumulative[..., -1:] / 2
    lower = np.count_nonzero(cumulative < half, axis=-1)
    upper = np.count_nonzero(cumulative <= half, axis=-1)
    median: FloatArray = (ordered[lower] + ordered[upper]) / 2
    return median


def max_abs_error(sample: Sample, weights: FloatArray) -> FloatArray:
    """The largest of the paths that count at all, in eV."""
    largest = maximum(np.abs(sample.error), weights)
    return np.where(np.isfinite(largest), largest, np.nan)


def spearman(sample: Sample, weights: FloatArray) -> FloatArray:
    """Pearson correlation of average ranks.

    The rank of a path in a resample is the weight below it and half the weight that ties with it, itself
    included (plus 1/2, which correlation ignores): one (B, n) x (n, n) product ranks all resamples.
    """
    half = weights.sum(axis=-1, keepdims=True) / 2  # the mean rank
    true_rank = product(weights, below(sample.e_m, sample.e_m)) - half
    predicted_rank = product(weights, below(sample.predicted, sample.predicted)) - half
    true_variance = sum_of_products(weights, true_rank, true_rank)
    predicted_variance = sum_of_products(weights, predicted_rank, predicted_rank)
    covariance = sum_of_products(weights, true_rank, predicted_rank)
    constant = is_constant(sample.e_m, weights) | is_constant(sample.predicted, weights)
    return np.where(constant, np.nan, ratio(covariance, np.sqrt(true_variance * predicted_variance)))


def share_below(sample: Sample, weights: FloatArray) -> Counts:
    """Paths off by less than 0.1 eV, of all."""
    return share(rounded_size(sample.error) < 0.1, weights)


def share_between(sample: Sample, weights: FloatArray) -> Counts:
    """Paths off by 0.1 to 0.3 eV, both ends included, of all."""
    size = rounded_size(sample.error)
    return share((size >= 0.1) & (size <= 0.3), weights)


def share_above(sample: Sample, weights: FloatArray) -> Counts:
    """Paths off by more than 0.3 eV, of all."""
    return share(rounded_size(sample.error) > 0.3, weights)


def coverage(level: float, sample: Sample, weights: FloatArray) -> Counts:
    """Labels inside the central `level` of the predicted normal distribution, of all; no trials without a std."""
    if sample.std is None:
        return np.zeros(weights.shape[:-1]), np.zeros(weights.shape[:-1])
    half_width = NormalDist().inv_cdf((1 + level) / 2) * sample.std
    return share(np.abs(sample.error) <= half_width, weights)


def interval_coverage(sample: Sample, weights: FloatArray) -> Counts:
    """Labels inside the model's own interval, ends included, of all; no trials without one."""
    if sample.low is None or sample.high is None:
        return np.zeros(weights.shape[:-1]), np.zeros(weights.shape[:-1])
    return share((sample.low <= sample.e_m) & (sample.e_m <= sample.high), weights)


def interval_width(sample: Sample) -> FloatArray:
    """(n,) eV from end to end of the model's own interval."""
    if sample.low is None or sample.high is None:
        return np.full(len(sample), np.nan)
    return sample.high - sample.low


def interval_score(sample: Sample) -> FloatArray:
    """(n,) eV, the width and 20 times what a label lies outside of a 90% interval (Gneiting & Raftery 2007, eq. 43)."""
    if sample.low is None or sample.high is None:
        return np.full(len(sample), np.nan)
    outside = np.maximum(sample.low - sample.e_m, 0) + np.maximum(sample.e_m - sample.high, 0)
    return interval_width(sample) + 2 / (1 - INTERVAL_LEVEL) * outside


def nll(sample: Sample) -> FloatArray:
    """(n,) negative log densities; NaN if any std is 0, since a point mass has no density."""
    if sample.std is None:
        return np.full(len(sample), np.nan)
    with np.errstate(all="ignore"):
        nll = np.log(sample.std) + (sample.error / sample.std) ** 2 / 2 + math.log(2 * math.pi) / 2
    return np.where(np.isfinite(nll), nll, np.nan)


def crps(sample: Sample) -> FloatArray:
    """(n,) scores in closed form (Gneiting & Raftery 2007, section 4.2); |error| is the limit where std is 0."""
    if sample.std is None:
        return np.full(len(sample), np.nan)
    with np.errstate(all="ignore"):
        z = sample.error / sample.std
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    central = np.array([math.erf(value / math.sqrt(2)) for value in z])  # 2 Phi(z) - 1
    crps = sample.error * central + sample.std * (2 * density - 1 / math.sqrt(math.pi))
    return np.where(sample.std > 0, crps, np.abs(sample.error))
