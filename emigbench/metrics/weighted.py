"""Sums, means and comparisons in which each path counts as often as its weight says; NaN where undefined."""

from __future__ import annotations

import numpy as np

from emigbench.metrics.sample import BoolArray
from emigbench.records import FloatArray

Counts = tuple[FloatArray, FloatArray]
"""Hits and trials of a proportion, each of shape `weights.shape[:-1]`."""
_DECIMALS = 9  # differences are compared after rounding to 1e-9 eV, so that 0.4 - 0.3 counts as 0.1


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient of two arrays of one shape, NaN where the denominator is not positive."""
    quotient: FloatArray = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean of (n,) values."""
    return ratio(weights @ values, weights.sum(axis=-1))


def sum_of_products(weights: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Weighted inner product of (..., n) arrays over the last axis, with no (..., n) temporary."""
    total: FloatArray = np.einsum("...i,...i,...i->...", weights, a, b)
    return total


def maximum(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Largest of the (n,) values that count at all; -inf where none does."""
    largest: FloatArray = np.where(weights > 0, values, -np.inf).max(axis=-1, initial=-np.inf)
    return largest


def is_constant(values: FloatArray, weights: FloatArray) -> BoolArray:
    """Whether the (n,) values that count are all the same (an exact test, which a variance is not).

    A variance far above its rounding error rules it out at little cost; the exact test is for the rest.
    """
    shifted = values - values[:1] if len(values) else values
    second = np.asarray(weights @ shifted**2)
    variance = second - ratio((weights @ shifted) ** 2, weights.sum(axis=-1))
    constant: BoolArray = np.asarray(~(variance > 1e-6 * second))
    constant[constant] = maximum(values, weights[constant]) <= -maximum(-values, weights[constant])
    return constant


def below(a: FloatArray, b: FloatArray) -> FloatArray:
    """(len(a), len(b)) table: 1 where a < b, 0.5 where they tie, 0 elsewhere."""
    return ((a[:, None] < b).astype(np.float64) + (a[:, None] <= b)) / 2


def product(weights: FloatArray, table: FloatArray) -> FloatArray:
    """`weights @ table` for a table of 0, 0.5 and 1, in single precision where that gives the very same numbers."""
    single = weights.astype(np.float32)
    exact = weights.size > 0 and weights.sum(axis=-1).max() < 2**22 and (single == np.rint(weights)).all()
    if not (exact and (single == weights).all()):
        return weights @ table
    product: FloatArray = (single @ table.astype(np.float32)).astype(np.float64)
    return product


def share(hit: BoolArray, weights: FloatArray) -> Counts:
    """How many of all paths are hits: (n,) truths and (..., n) weights to two counts."""
    return weights @ hit.astype(np.float64), weights.sum(axis=-1)


def rounded_size(difference: FloatArray) -> FloatArray:
    """Absolute values in eV of any shape, with what only binary fractions make of equal ones rounded away."""
    size: FloatArray = np.abs(difference).round(_DECIMALS)
    return size
