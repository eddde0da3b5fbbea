"""One table of metrics: name, function, unit, direction, what it needs, how its interval is made.

Every metric is a pure function of a sample and of weights that say how often each path counts. Weights of
ones give the score; a (B, n) block of bootstrap counts gives B resampled scores through the same code. A
function takes `(sample, weights)`, or `(sample, weights, threshold)` where the metric needs a threshold in
eV, and returns an array of shape `weights.shape[:-1]`. Whole-number weights equal repeating the rows; only
pairs of paths differ, see `_weighted_pairs`.

What a sample leaves undefined (no positives, a constant truth, no std, no paths at all) is NaN: never an
exception, never a warning, never a number that stands for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emigbench.records import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Counts = tuple[FloatArray, FloatArray]
Needs = Literal["value", "threshold", "paths", "std"]
Better = Literal["lower", "higher", "target", "none"]

TOLD_APART_EV = 0.001
_DECIMALS = 9  # differences are compared after rounding to 1e-9 eV, so that 0.4 - 0.3 counts as 0.1


@dataclass(frozen=True, eq=False)
class Sample:
    """Predicted and true barriers of n paths; row i of every array is one path. Arrays are read-only copies.

    Attributes:
        e_m: (n,) eV, the literature's barriers.
        predicted: (n,) eV.
        material: (n,) names of the paths' materials.
        std: (n,) eV, predicted standard deviations, or None for a model that gives none.
        material_code: (n,) whole numbers, equal where the materials are.

    Raises:
        ValueError: if the lengths differ, a number is not finite or a std is negative.
    """

    e_m: FloatArray
    predicted: FloatArray
    material: NDArray[np.str_]
    std: FloatArray | None = None
    material_code: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        material = np.array(self.material, dtype=np.str_)
        self._freeze("material", material, (material.size,))
        self._freeze("material_code", np.unique(material, return_inverse=True)[1], material.shape)
        for name in ("e_m", "predicted", "std"):
            if getattr(self, name) is not None:
                self._freeze(name, np.array(getattr(self, name), dtype=np.float64), material.shape)
        if self.std is not None and (self.std < 0).any():
            raise ValueError("std holds a negative value.")

    def _freeze(self, name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}: one entry a path.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a value that is not finite.")
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.e_m)

    @property
    def error(self) -> FloatArray:
        """(n,) eV, predicted minus true: positive where the model's barrier is too high."""
        return self.predicted - self.e_m

    @property
    def ones(self) -> FloatArray:
        """(n,) weights that count each path once."""
        return np.ones(len(self))


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes:
        name: key in results, an identifier.
        label: short name for people.
        description: one sentence.
        function: `(sample, weights[, threshold])` to an array of shape `weights.shape[:-1]`.
        needs: "value" (barriers only), "threshold" (also a threshold in eV), "paths" (materials of several
            paths) or "std" (predicted standard deviations).
        better: the direction; "target" is closeness to `target`, "none" says that a value alone is no merit.
        unit: "eV" or "".
        target: the value of a perfect model where `better` is "target".
        counts: for a proportion, the weighted (hits, trials) whose ratio `function` is; else None.
        sizes: for a mean of values that are never negative, the (n,) values; else None.
    """

    name: str
    label: str
    description: str
    function: Callable[..., FloatArray]
    needs: Needs
    better: Better
    unit: Literal["eV", ""] = ""
    target: float | None = None
    counts: Callable[..., Counts] | None = None
    sizes: Callable[[Sample], FloatArray] | None = None

    @property
    def interval(self) -> Literal["bootstrap", "wilson"]:
        """How the interval is made: Wilson's for proportions, the group bootstrap for everything else."""
        return "bootstrap" if self.counts is None else "wilson"

    def __call__(self, sample: Sample, weights: FloatArray | None = None, threshold: float | None = None) -> FloatArray:
        """The metric of a sample, in `unit`.

        Args:
            sample: n paths.
            weights: (..., n) how often each path counts; every path once if not given.
            threshold: eV; needed where `needs` is "threshold", of no effect elsewhere.

        Returns:
            Array of shape `weights.shape[:-1]`, NaN where undefined.

        Raises:
            ValueError: if the metric needs a threshold and none is given.
        """
        weights = sample.ones if weights is None else weights
        return np.asarray(self.function(sample, weights, *self._threshold(threshold)))

    def trials(self, sample: Sample, threshold: float | None = None) -> float:
        """The denominator of a proportion: how many paths (or pairs of paths) it is a share of.

        Raises:
            ValueError: if the metric is no proportion, or needs a threshold and none is given.
        """
        if self.counts is None:
            raise ValueError(f"{self.name} is not a proportion, so it has no trials.")
        return float(self.counts(sample, sample.ones, *self._threshold(threshold))[1])

    def _threshold(self, threshold: float | None) -> tuple[float, ...]:
        if self.needs != "threshold":
            return ()
        if threshold is None:
            raise ValueError(f"{self.name} needs a threshold in eV.")
        return (threshold,)


class Confusion(NamedTuple):
    """Counts of paths at a threshold; positive means good (barrier at most the threshold)."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(sample: Sample, threshold: float) -> Confusion:
    """The confusion matrix at a threshold in eV; positive means good, that is E_m <= threshold."""
    return Confusion(*(int(count) for count in _confusion(sample, sample.ones, threshold)))


# --- Building blocks


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, NaN where the denominator is not positive."""
    quotient: FloatArray = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean of (n,) values."""
    return _ratio(weights @ values, weights.sum(axis=-1))


def _sum_of_products(weights: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Weighted inner product of (..., n) arrays over the last axis, with no (..., n) temporary."""
    total: FloatArray = np.einsum("...i,...i,...i->...", weights, a, b)
    return total


def _maximum(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Largest of the (n,) values that count at all; -inf where none does."""
    largest: FloatArray = np.where(weights > 0, values, -np.inf).max(axis=-1, initial=-np.inf)
    return largest


def _is_constant(values: FloatArray, weights: FloatArray) -> BoolArray:
    """Whether the (n,) values that count are all the same (an exact test, which a variance is not).

    A variance far above its rounding error rules it out at little cost; the exact test is for the rest.
    """
    shifted = values - values[:1] if len(values) else values
    second = np.asarray(weights @ shifted**2)
    variance = second - _ratio((weights @ shifted) ** 2, weights.sum(axis=-1))
    constant: BoolArray = np.asarray(~(variance > 1e-6 * second))
    constant[constant] = _maximum(values, weights[constant]) <= -_maximum(-values, weights[constant])
    return constant


def _below(a: FloatArray, b: FloatArray) -> FloatArray:
    """(len(a), len(b)) table: 1 where a < b, 0.5 where they tie, 0 elsewhere."""
    return ((a[:, None] < b).astype(np.float64) + (a[:, None] <= b)) / 2


def _product(weights: FloatArray, table: FloatArray) -> FloatArray:
    """`weights @ table` for a table of 0, 0.5 and 1, in single precision where that gives the very same numbers."""
    single = weights.astype(np.float32)
    exact = weights.size > 0 and weights.sum(axis=-1).max() < 2**22 and (single == np.rint(weights)).all()
    if not (exact and (single == weights).all()):
        return weights @ table
    product: FloatArray = (single @ table.astype(np.float32)).astype(np.float64)
    return product


# --- Size of the error


def _abs_error(sample: Sample) -> FloatArray:
    return np.abs(sample.error)


def _mae(sample: Sample, weights: FloatArray) -> FloatArray:
    return _mean(_abs_error(sample), weights)


def _rmse(sample: Sample, weights: FloatArray) -> FloatArray:
    return np.sqrt(_mean(sample.error**2, weights))


def _r2(sample: Sample, weights: FloatArray) -> FloatArray:
    """1 - sum w (y - p)^2 / sum w (y - mean_w y)^2, the mean taken anew in each resample."""
    deviation = sample.e_m - _mean(sample.e_m, weights)[..., None]
    unexplained = _ratio(weights @ sample.error**2, _sum_of_products(weights, deviation, deviation))
    return np.where(_is_constant(sample.e_m, weights), np.nan, 1 - unexplained)


def _median_abs_error(sample: Sample, weights: FloatArray) -> FloatArray:
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


def _max_abs_error(sample: Sample, weights: FloatArray) -> FloatArray:
    largest = _maximum(np.abs(sample.error), weights)
    return np.where(np.isfinite(largest), largest, np.nan)


def _bias(sample: Sample, weights: FloatArray) -> FloatArray:
    return _mean(sample.error, weights)


def _spearman(sample: Sample, weights: FloatArray) -> FloatArray:
    """Pearson correlation of average ranks.

    The rank of a path in a resample is the weight below it and half the weight that ties with it, itself
    included (plus 1/2, which correlation ignores): one (B, n) x (n, n) product ranks all resamples.
    """
    half = weights.sum(axis=-1, keepdims=True) / 2  # the mean rank
    true_rank = _product(weights, _below(sample.e_m, sample.e_m)) - half
    predicted_rank = _product(weights, _below(sample.predicted, sample.predicted)) - half
    true_variance = _sum_of_products(weights, true_rank, true_rank)
    predicted_variance = _sum_of_products(weights, predicted_rank, predicted_rank)
    covariance = _sum_of_products(weights, true_rank, predicted_rank)
    constant = _is_constant(sample.e_m, weights) | _is_constant(sample.predicted, weights)
    return np.where(constant, np.nan, _ratio(covariance, np.sqrt(true_variance * predicted_variance)))


# --- Proportions: (hits, trials), each of shape weights.shape[:-1]


def _proportion_of(counts: Callable[..., Counts], sample: Sample, weights: FloatArray, *threshold: float) -> FloatArray:
    return _ratio(*counts(sample, weights, *threshold))


def _share(hit: BoolArray, weights: FloatArray) -> Counts:
    """How many of all paths are hits."""
    return weights @ hit.astype(np.float64), weights.sum(axis=-1)


def _rounded_size(difference: FloatArray) -> FloatArray:
    size: FloatArray = np.abs(difference).round(_DECIMALS)
    return size


def _share_below(sample: Sample, weights: FloatArray) -> Counts:
    return _share(_rounded_size(sample.error) < 0.1, weights)


def _share_between(sample: Sample, weights: FloatArray) -> Counts:
    size = _rounded_size(sample.error)
    return _share((size >= 0.1) & (size <= 0.3), weights)


def _share_above(sample: Sample, weights: FloatArray) -> Counts:
    return _share(_rounded_size(sample.error) > 0.3, weights)


# --- Classification at a threshold


def _confusion(
    sample: Sample, weights: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weighted tp, fp, fn, tn."""
    good, called_good = sample.e_m <= threshold, sample.predicted <= threshold
    cells = (good & called_good, ~good & called_good, good & ~called_good, ~good & ~called_good)
    tp, fp, fn, tn = (weights @ cell.astype(np.float64) for cell in cells)
    return tp, fp, fn, tn


def _accuracy(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    return _share((sample.e_m <= threshold) == (sample.predicted <= threshold), weights)


def _precision_good(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    tp, fp, _, _ = _confusion(sample, weights, threshold)
    return tp, tp + fp


def _precision_bad(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    _, _, fn, tn = _confusion(sample, weights, threshold)
    return tn, tn + fn


def _recall_good(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    tp, _, fn, _ = _confusion(sample, weights, threshold)
    return tp, tp + fn


def _recall_bad(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    _, fp, _, tn = _confusion(sample, weights, threshold)
    return tn, tn + fp


def _f1(sample: Sample, weights: FloatArray, threshold: float) -> FloatArray:
    tp, fp, fn, _ = _confusion(sample, weights, threshold)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _mcc(sample: Sample, weights: FloatArray, threshold: float) -> FloatArray:
    tp, fp, fn, tn = _confusion(sample, weights, threshold)
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def _roc_auc(sample: Sample, weights: FloatArray, threshold: float) -> FloatArray:
    """Share of (good, bad) pairs in which the good path is predicted lower; a tie counts half."""
    good = sample.e_m <= threshold
    of_good, of_bad = weights[..., good], weights[..., ~good]
    below = _product(of_good, _below(sample.predicted[good], sample.predicted[~good]))
    return _ratio((below * of_bad).sum(axis=-1), of_good.sum(axis=-1) * of_bad.sum(axis=-1))


# --- Paths of one material


def _pairs(sample: Sample) -> tuple[IntArray, IntArray]:
    """First and second row of every pair of paths that share their material."""
    first, second = np.triu_indices(len(sample), k=1)
    same = sample.material_code[first] == sample.material_code[second]
    return first[same], second[same]


def _weighted_pairs(weights: FloatArray, first: IntArray, counted: BoolArray) -> FloatArray:
    """Weight of the counted pairs: each pair weighs the same, times the weight of its first path.

    A group bootstrap gives all paths of a material one weight, so a material drawn twice brings each of its
    pairs twice, and never a pair of a path with its own copy.
    """
    total: FloatArray = weights @ np.bincount(first[counted], minlength=weights.shape[-1]).astype(np.float64)
    return total


def _pairs_told_apart(sample: Sample, weights: FloatArray) -> Counts:
    first, second = _pairs(sample)
    apart = _rounded_size(sample.predicted[first] - sample.predicted[second]) > TOLD_APART_EV
    return _weighted_pairs(weights, first, apart), _weighted_pairs(weights, first, np.ones_like(apart))


def _pairs_ranked_right(sample: Sample, weights: FloatArray) -> Counts:
    first, second = _pairs(sample)
    true_order = np.sign(sample.e_m[first] - sample.e_m[second])
    predicted_order = np.sign(sample.predicted[first] - sample.predicted[second])
    differ = true_order != 0
    right = differ & (true_order == predicted_order)
    return _weighted_pairs(weights, first, right), _weighted_pairs(weights, first, differ)


# --- Predicted standard deviations, read as those of a normal distribution


def _nan_like(weights: FloatArray) -> FloatArray:
    return np.full(weights.shape[:-1], np.nan)


def _coverage(level: float, sample: Sample, weights: FloatArray) -> Counts:
    if sample.std is None:
        return np.zeros(weights.shape[:-1]), np.zeros(weights.shape[:-1])
    half_width = NormalDist().inv_cdf((1 + level) / 2) * sample.std
    return _share(np.abs(sample.error) <= half_width, weights)


def _nll(sample: Sample, weights: FloatArray) -> FloatArray:
    """Mean negative log density; NaN if any std is 0, since a point mass has no density."""
    if sample.std is None:
        return _nan_like(weights)
    with np.errstate(all="ignore"):
        nll = np.log(sample.std) + (sample.error / sample.std) ** 2 / 2 + math.log(2 * math.pi) / 2
    return _mean(np.where(np.isfinite(nll), nll, np.nan), weights)


def _crps(sample: Sample, weights: FloatArray) -> FloatArray:
    """Closed form (Gneiting & Raftery 2007, section 4.2), of which |error| is the limit where std is 0."""
    if sample.std is None:
        return _nan_like(weights)
    with np.errstate(all="ignore"):
        z = sample.error / sample.std
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    central = np.array([math.erf(value / math.sqrt(2)) for value in z])  # 2 Phi(z) - 1
    crps = sample.error * central + sample.std * (2 * density - 1 / math.sqrt(math.pi))
    return _mean(np.where(sample.std > 0, crps, np.abs(sample.error)), weights)


# --- The table


def _proportion(
    name: str,
    label: str,
    description: str,
    counts: Callable[..., Counts],
    needs: Needs,
    better: Better,
    target: float | None = None,
) -> Metric:
    function = partial(_proportion_of, counts)
    return Metric(name, label, description, function, needs, better, target=target, counts=counts)


METRICS: tuple[Metric, ...] = (
    Metric("mae", "MAE", "Mean absolute error.", _mae, "value", "lower", "eV", sizes=_abs_error),
    Metric("rmse", "RMSE", "Root mean squared error.", _rmse, "value", "lower", "eV"),
    Metric("r2", "R²", "Coefficient of determination.", _r2, "value", "higher"),
    Metric(
        "median_abs_error",
        "Median |error|",
        "Median absolute error.",
        _median_abs_error,
        "value",
        "lower",
        "eV",
    ),
    Metric("max_abs_error", "Max |error|", "Largest absolute error.", _max_abs_error, "value", "lower", "eV"),
    Metric("bias", "Bias", "Mean of predicted minus true.", _bias, "value", "target", "eV", target=0.0),
    Metric("spearman", "Spearman ρ", "Rank correlation, average ranks.", _spearman, "value", "higher"),
    _proportion(
        "share_below_100_mev",
        "|error| < 0.1 eV",
        "Share of paths whose absolute error is below 0.1 eV.",
        _share_below,
        "value",
        "higher",
    ),
    _proportion(
        "share_100_300_mev",
        "|error| 0.1-0.3 eV",
        "Share of paths whose absolute error is 0.1 to 0.3 eV, both ends included.",
        _share_between,
        "value",
        "none",
    ),
    _proportion(
        "share_above_300_mev",
        "|error| > 0.3 eV",
        "Share of paths whose absolute error is above 0.3 eV.",
        _share_above,
        "value",
        "lower",
    ),
    _proportion(
        "accuracy",
        "Accuracy",
        "Share of paths put in their class; good means E_m at most the threshold.",
        _accuracy,
        "threshold",
        "higher",
    ),
    _proportion(
        "precision_good",
        "Precision, good",
        "Share of the paths called good that are good.",
        _precision_good,
        "threshold",
        "higher",
    ),
    _proportion(
        "precision_bad",
        "Precision, bad",
        "Share of the paths called bad that are bad.",
        _precision_bad,
        "threshold",
        "higher",
    ),
    _proportion(
        "recall_good",
        "Recall, good",
        "Share of the good paths that are called good (sensitivity; the specificity of the bad class).",
        _recall_good,
        "threshold",
        "higher",
    ),
    _proportion(
        "recall_bad",
        "Recall, bad",
        "Share of the bad paths that are called bad (the specificity of the good class).",
        _recall_bad,
        "threshold",
        "higher",
    ),
    Metric("f1", "F1", "Harmonic mean of precision and recall of good.", _f1, "threshold", "higher"),
    Metric("mcc", "MCC", "Matthews correlation of the two classes.", _mcc, "threshold", "higher"),
    Metric(
        "roc_auc",
        "ROC AUC",
        "Chance that a good path gets a lower predicted barrier than a bad one, ties half.",
        _roc_auc,
        "threshold",
        "higher",
    ),
    _proportion(
        "pairs_told_apart",
        "Pairs told apart",
        "Share of the pairs of paths of one material whose predictions differ by more than 1 meV.",
        _pairs_told_apart,
        "paths",
        "higher",
    ),
    _proportion(
        "pairs_ranked_right",
        "Pairs ranked right",
        "Share of the pairs of paths of one material, with different labels, that are in the right order; "
        "a tie is not.",
        _pairs_ranked_right,
        "paths",
        "higher",
    ),
    _proportion(
        "coverage_68",
        "Coverage of 68%",
        "Share of labels inside the central 68% of the predicted normal distribution.",
        partial(_coverage, 0.68),
        "std",
        "target",
        target=0.68,
    ),
    _proportion(
        "coverage_95",
        "Coverage of 95%",
        "Share of labels inside the central 95% of the predicted normal distribution.",
        partial(_coverage, 0.95),
        "std",
        "target",
        target=0.95,
    ),
    Metric(
        "nll",
        "NLL",
        "Mean negative log of the predicted normal density (per eV) at the label, in nats.",
        _nll,
        "std",
        "lower",
    ),
    Metric(
        "crps",
        "CRPS",
        "Mean continuous ranked probability score of the predicted normal distribution.",
        _crps,
        "std",
        "lower",
        "eV",
    ),
)

BY_NAME = MappingProxyType({metric.name: metric for metric in METRICS})
