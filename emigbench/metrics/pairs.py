"""Paths of one material: are those of different barriers told apart, and in the right order?"""

from __future__ import annotations

import numpy as np

from emigbench.metrics.sample import BoolArray, Sample
from emigbench.metrics.weighted import Counts, rounded_size
from emigbench.records import FloatArray, IntArray

TOLD_APART_EV = 0.001


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


def pairs_told_apart(sample: Sample, weights: FloatArray) -> Counts:
    """Pairs whose predictions differ by more than `TOLD_APART_EV`, of all."""
    first, second = _pairs(sample)
    apart = rounded_size(sample.predicted[first] - sample.predicted[second]) > TOLD_APART_EV
    return _weighted_pairs(weights, first, apart), _weighted_pairs(weights, first, np.ones_like(apart))


def pairs_ranked_right(sample: Sample, weights: FloatArray) -> Counts:
    """Pairs predicted in the order of their labels, of those whose labels differ."""
    first, second = _pairs(sample)
    true_order = np.sign(sample.e_m[first] - sample.e_m[second])
    predicted_order = np.sign(sample.predicted[first] - sample.predicted[second])
    differ = true_order != 0
    right = differ & (true_order == predicted_order)
    return _weighted_pairs(weights, first, right), _weighted_pairs(weights, first, differ)
