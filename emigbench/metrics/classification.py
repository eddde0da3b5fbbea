"""Good and bad conductors at a threshold in eV: good, the positive class, means a barrier of at most it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emigbench.metrics.sample import BoolArray, Sample
from emigbench.metrics.weighted import Counts, below, product, ratio, share
from emigbench.records import FloatArray


class Confusion(NamedTuple):
    """Counts of paths at a threshold; positive means good (barrier at most the threshold)."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(sample: Sample, threshold: float) -> Confusion:
    """The confusion matrix at a threshold in eV; positive means good, that is E_m <= threshold."""
    return Confusion(*(int(count) for count in _cells(sample, sample.ones, threshold)))


def _cells(
    sample: Sample, weights: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weighted tp, fp, fn, tn."""
    good, called_good = _classes(sample, threshold)
    cells = (good & called_good, ~good & called_good, good & ~called_good, ~good & ~called_good)
    tp, fp, fn, tn = (weights @ cell.astype(np.float64) for cell in cells)
    return tp, fp, fn, tn


def _classes(sample: Sample, threshold: float) -> tuple[BoolArray, BoolArray]:
    """Which paths are good, and which are called good."""
    return sample.e_m <= threshold, sample.predicted <= threshold


def accuracy(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    """Paths put in their class, of all."""
    good, called_good = _classes(sample, threshold)
    return share(good == called_good, weights)


def precision_good(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    """Good paths, of those called good."""
    tp, fp, _, _ = _cells(sample, weights, threshold)
    return tp, tp + fp


def precision_bad(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    """Bad paths, of those called bad."""
    _, _, fn, tn = _cells(sample, weights, threshold)
    return tn, tn + fn


def recall_good(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    """Paths called good, of the good ones."""
    tp, _, fn, _ = _cells(sample, weights, threshold)
    return tp, tp + fn


def recall_bad(sample: Sample, weights: FloatArray, threshold: float) -> Counts:
    """Paths called bad, of the bad ones."""
    _, fp, _, tn = _cells(sample, weights, threshold)
    return tn, tn + fp


def f1(sample: Sample, weights: FloatArray, threshold: float) -> FloatArray:
    """Harmonic mean of precision and recall of good."""
    tp, fp, fn, _ = _cells(sample, weights, threshold)
    return ratio(2 * tp, 2 * tp + fp + fn)


def mcc(sample: Sample, weights: FloatArray, threshold: float) -> FloatArray:
    """Matthews correlation: 1 all right, 0 no better than chance, -1 all wrong."""
    tp, fp, fn, tn = _cells(sample, weights, threshold)
    return ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def roc_auc(sample: Sample, weights: FloatArray, threshold: float) -> FloatArray:
    """Share of (good, bad) pairs in which the good path is predicted lower; a tie counts half."""
    good, _ = _classes(sample, threshold)
    of_good, of_bad = weights[..., good], weights[..., ~good]
    wins = product(of_good, below(sample.predicted[good], sample.predicted[~good]))
    return ratio((wins * of_bad).sum(axis=-1), of_good.sum(axis=-1) * of_bad.sum(axis=-1))
