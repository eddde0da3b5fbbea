"""Metrics of predicted barriers.

Every metric is a pure function of a sample and of weights that say how often each path counts. Weights of
ones give the score; a (B, n) block of bootstrap counts gives B resampled scores through the same code. A
function takes `(sample, weights)`, or `(sample, weights, threshold)` where the metric needs a threshold in
eV, and returns an array of shape `weights.shape[:-1]`. Whole-number weights equal repeating the rows; only
pairs of paths differ, see `emigbench.metrics.pairs`.

What a sample leaves undefined (no positives, a constant truth, no std, no paths at all) is NaN: never an
exception, never a warning, never a number that stands for one.
"""

from emigbench.metrics.classification import Confusion, confusion
from emigbench.metrics.sample import BoolArray, Sample
from emigbench.metrics.table import BY_NAME, METRICS, Metric, coverage_of

__all__ = [
    "BY_NAME",
    "METRICS",
    "BoolArray",
    "Confusion",
    "Metric",
    "Sample",
    "confusion",
    "coverage_of",
]
