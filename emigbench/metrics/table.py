"""One table of metrics: name, function, unit, direction, what it needs, how its interval is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np

from emigbench.metrics import classification, errors, pairs
from emigbench.metrics.sample import Sample
from emigbench.metrics.weighted import Counts, mean, ratio
from emigbench.records import INTERVAL_LEVEL, FloatArray

Needs = Literal["value", "threshold", "paths", "std", "interval"]
Better = Literal["lower", "higher", "target", "none"]
Interval = Literal["wilson", "studentized", "percentile", "none"]
UNBOUNDED = (-math.inf, math.inf)
POSITIVE = (0.0, math.inf)


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes:
        name: key in results, an identifier.
        label: short name for people.
        description: one sentence.
        function: `(sample, weights[, threshold])` to an array of shape `weights.shape[:-1]`.
        needs: "value" (barriers only), "threshold" (also a threshold in eV), "paths" (materials of several
            paths), "std" (predicted standard deviations) or "interval" (predicted 90% intervals).
        better: the direction; "target" is closeness to `target`, "none" says that a value alone is no merit.
        unit: "eV" or "".
        target: the value of a perfect model where `better` is "target".
        bounds: the least and the largest value that it can take.
        interval: how its interval is made, see `emigbench.intervals`: "wilson" if both bounds are finite,
            "studentized" with `terms`, "percentile", or "none" where no interval would be honest.
        counts: for a proportion, the weighted (hits, trials) whose ratio `function` is; else None.
        terms: for "studentized", the (n,) numerators and (n,) denominators of the ratio of sums that it depends on.
        power: of that ratio, which the score's distance from its finite bound is.
        summand: for a mean over paths, the (n,) values; else None.
    """

    name: str
    label: str
    description: str
    function: Callable[..., FloatArray]
    needs: Needs
    better: Better
    unit: Literal["eV", ""] = ""
    target: float | None = None
    bounds: tuple[float, float] = UNBOUNDED
    interval: Interval = "studentized"
    counts: Callable[..., Counts] | None = None
    terms: Callable[[Sample], tuple[FloatArray, FloatArray]] | None = None
    power: float = 1.0
    summand: Callable[[Sample], FloatArray] | None = None

    def __call__(self, sample: Sample, weights: FloatArray | None = None) -> FloatArray:
        """The metric of a sample, in `unit`; of one that needs a threshold, take it at one first (`at`).

        Args:
            sample: n paths.
            weights: (..., n) how often each path counts; every path once if not given.

        Returns:
            Array of shape `weights.shape[:-1]`, NaN where undefined.
        """
        return np.asarray(self.function(sample, sample.ones if weights is None else weights))

    def trials(self, sample: Sample) -> float:
        """The denominator of a proportion: how many paths (or pairs of paths) it is a share of.

        Raises:
            ValueError: if the metric is no proportion.
        """
        if self.counts is None:
            raise ValueError(f"{self.name} is not a proportion, so it has no trials.")
        return float(self.counts(sample, sample.ones)[1])

    def at(self, threshold: float) -> Metric:
        """A metric that needs a threshold, at one of them (eV); any other metric as it is."""
        if self.needs != "threshold":
            return self
        function, counts = self.function, self.counts
        return replace(
            self,
            label=f"{self.label} at {threshold:g} eV",
            function=lambda sample, weights: function(sample, weights, threshold),
            needs="value",
            counts=None if counts is None else lambda sample, weights: counts(sample, weights, threshold),
        )


def _mean(
    name: str,
    label: str,
    description: str,
    summand: Callable[[Sample], FloatArray],
    needs: Needs,
    better: Better,
    unit: Literal["eV", ""] = "",
    target: float | None = None,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Metric:
    """A mean over paths."""

    def function(sample: Sample, weights: FloatArray) -> FloatArray:
        return mean(summand(sample), weights)

    def terms(sample: Sample) -> tuple[FloatArray, FloatArray]:
        return summand(sample), sample.ones

    return Metric(name, label, description, function, needs, better, unit, target, bounds, terms=terms, summand=summand)


def _proportion(
    name: str,
    label: str,
    description: str,
    counts: Callable[..., Counts],
    needs: Needs,
    better: Better,
    target: float | None = None,
) -> Metric:
    """A share of trials that are hits."""

    def function(sample: Sample, weights: FloatArray, *threshold: float) -> FloatArray:
        return ratio(*counts(sample, weights, *threshold))

    return Metric(
        name, label, description, function, needs, better, "", target, (0, 1), interval="wilson", counts=counts
    )


def coverage_of(level: float) -> Metric:
    """How many labels the central `level` of the predicted normal distribution holds."""
    return _proportion(
        f"coverage_{100 * level:.0f}",
        f"Coverage of {level:.0%}",
        f"Share of labels inside the central {level:.0%} of the predicted normal distribution.",
        partial(errors.coverage, level),
        "std",
        "target",
        target=level,
    )


METRICS: tuple[Metric, ...] = (
    _mean("mae", "MAE", "Mean absolute error.", errors.abs_error, "value", "lower", "eV", bounds=POSITIVE),
    Metric(
        "rmse",
        "RMSE",
        "Root mean squared error.",
        errors.rmse,
        "value",
        "lower",
        "eV",
        bounds=POSITIVE,
        terms=errors.rmse_terms,
        power=0.5,
    ),
    Metric(
        "r2",
        "R²",
        "Coefficient of determination.",
        errors.r2,
        "value",
        "higher",
        bounds=(-math.inf, 1),
        terms=errors.r2_terms,
    ),
    Metric(
        "median_abs_error",
        "Median |error|",
        "Median absolute error.",
        errors.median_abs_error,
        "value",
        "lower",
        "eV",
        bounds=POSITIVE,
        interval="percentile",
    ),
    Metric(
        "max_abs_error",
        "Max |error|",
        "Largest absolute error.",
        errors.max_abs_error,
        "value",
        "lower",
        "eV",
        bounds=POSITIVE,
        interval="none",
    ),
    _mean("bias", "Bias", "Mean of predicted minus true.", errors.error, "value", "target", "eV", target=0.0),
    Metric(
        "spearman",
        "Spearman ρ",
        "Rank correlation, average ranks.",
        errors.spearman,
        "value",
        "higher",
        bounds=(-1, 1),
        interval="wilson",
    ),
    _proportion(
        "share_below_100_mev",
        "|error| < 0.1 eV",
        "Share of paths whose absolute error is below 0.1 eV.",
        errors.share_below,
        "value",
        "higher",
    ),
    _proportion(
        "share_100_300_mev",
        "|error| 0.1-0.3 eV",
        "Share of paths whose absolute error is 0.1 to 0.3 eV, both ends included.",
        errors.share_between,
        "value",
        "none",
    ),
    _proportion(
        "share_above_300_mev",
        "|error| > 0.3 eV",
        "Share of paths whose absolute error is above 0.3 eV.",
        errors.share_above,
        "value",
        "lower",
    ),
    _proportion(
        "accuracy",
        "Accuracy",
        "Share of paths put in their class; good means E_m at most the threshold.",
        classification.accuracy,
        "threshold",
        "higher",
    ),
    _proportion(
        "precision_good",
        "Precision, good",
        "Share of the paths called good that are good.",
        classification.precision_good,
        "threshold",
        "higher",
    ),
    _proportion(
        "precision_bad",
        "Precision, bad",
        "Share of the paths called bad that are bad.",
        classification.precision_bad,
        "threshold",
        "higher",
    ),
    _proportion(
        "recall_good",
        "Recall, good",
        "Share of the good paths that are called good (sensitivity; the specificity of the bad class).",
        classification.recall_good,
        "threshold",
        "higher",
    ),
    _proportion(
        "recall_bad",
        "Recall, bad",
        "Share of the bad paths that are called bad (the specificity of the good class).",
        classification.recall_bad,
        "threshold",
        "higher",
    ),
    Metric(
        "f1",
        "F1",
        "Harmonic mean of precision and recall of good.",
        classification.f1,
        "threshold",
        "higher",
        bounds=(0, 1),
        interval="wilson",
    ),
    Metric(
        "mcc",
        "MCC",
        "Matthews correlation of the two classes.",
        classification.mcc,
        "threshold",
        "higher",
        bounds=(-1, 1),
        interval="wilson",
    ),
    Metric(
        "roc_auc",
        "ROC AUC",
        "Chance that a good path gets a lower predicted barrier than a bad one, ties half.",
        classification.roc_auc,
        "threshold",
        "higher",
        bounds=(0, 1),
        interval="wilson",
    ),
    _proportion(
        "pairs_told_apart",
        "Pairs told apart",
        "Share of the pairs of paths of one material whose predictions differ by more than 1 meV.",
        pairs.pairs_told_apart,
        "paths",
        "higher",
    ),
    _proportion(
        "pairs_ranked_right",
        "Pairs ranked right",
        "Share of the pairs of paths of one material, with different labels, that are in the right order; "
        "a tie is not.",
        pairs.pairs_ranked_right,
        "paths",
        "higher",
    ),
    coverage_of(0.68),
    coverage_of(0.95),
    _mean(
        "nll",
        "NLL",
        "Mean negative log of the predicted normal density (per eV) at the label, in nats.",
        errors.nll,
        "std",
        "lower",
    ),
    _mean(
        "crps",
        "CRPS",
        "Mean continuous ranked probability score of the predicted normal distribution.",
        errors.crps,
        "std",
        "lower",
        "eV",
        bounds=POSITIVE,
    ),
    _proportion(
        "interval_coverage",
        "Own 90% interval holds",
        "Share of labels inside the model's own 90% interval, ends included.",
        errors.interval_coverage,
        "interval",
        "target",
        target=INTERVAL_LEVEL,
    ),
    _mean(
        "interval_width",
        "Own 90% interval, width",
        "Mean of the upper end minus the lower end of the model's own 90% interval.",
        errors.interval_width,
        "interval",
        "none",
        "eV",
        bounds=POSITIVE,
    ),
    _mean(
        "interval_score",
        "Own 90% interval, score",
        "Mean of the width and 20 times what the label lies outside.",
        errors.interval_score,
        "interval",
        "lower",
        "eV",
        bounds=POSITIVE,
    ),
)

BY_NAME = MappingProxyType({metric.name: metric for metric in METRICS})
