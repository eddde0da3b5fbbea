"""Which paths and which structural groups decide a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emigbench import statistics
from emigbench.comparison.contenders import MAE, Contender, check_same_ids, value_of
from emigbench.metrics import Metric
from emigbench.records import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Influence:
    """What each model scores by MAE, and where it ranks, when one structural group is left out of the test.

    Attributes:
        groups: (G,) names of the groups.
        values: (n_models, G) eV without that group; NaN if nothing is left.
        ranks: (n_models, G) 1 is best; models that tie share the better rank.
        full_values, full_ranks: (n_models,) with all groups.
    """

    groups: tuple[str, ...]
    values: FloatArray
    ranks: IntArray
    full_values: FloatArray
    full_ranks: IntArray

    def largest(self, model: int) -> tuple[str, float]:
        """The group without which a model's value changes most, and that change, in eV."""
        change = np.nan_to_num(self.values[model] - self.full_values[model])
        k = int(np.argmax(np.abs(change)))
        return self.groups[k], float(change[k])

    def rank_range(self, model: int) -> tuple[int, int]:
        """The best and the worst rank of a model when any one group is left out."""
        return int(self.ranks[model].min()), int(self.ranks[model].max())


def influence_of_paths(metric: Metric, a: Contender, b: Contender) -> list[tuple[str, float]]:
    """How much of metric(a) - metric(b) each path makes: the difference with it minus that without it.

    For MAE these are the differences of the two |errors| from their mean, over n - 1.

    Returns:
        (id, part in the metric's unit), largest size first, then by id; undefined ones are left out.
    """
    check_same_ids(a, b)
    without = statistics.leave_one_out_weights(range(len(a)))
    both = value_of(metric, a) - value_of(metric, b)
    rest = statistics.resampled(metric, a.samples, without)
    rest = rest - statistics.resampled(metric, b.samples, without)
    parts = [(i, float(part)) for i, part in zip(a.ids, both - rest, strict=True) if math.isfinite(part)]
    return sorted(parts, key=lambda each: (-round(abs(each[1]), statistics.DECIMALS), each[0]))


def group_influence(models: Sequence[Contender], groups: Sequence[str]) -> Influence:
    """Leave one structural group out: each model's MAE and rank without it.

    Args:
        models: on the same paths.
        groups: (n,) structural group of each path.
    """
    names = sorted(set(groups))
    without = statistics.leave_one_out_weights(groups)
    values = np.array([statistics.resampled(MAE, model.samples, without) for model in models])
    full = np.array([value_of(MAE, model) for model in models])
    ranks, full_ranks = _ranks(values), _ranks(full[:, None])[:, 0]
    return Influence(tuple(names), values, ranks, full, full_ranks)


def _ranks(values: FloatArray) -> IntArray:
    """(n_models, k) ranks within each column, the lowest is 1, NaN the last; ties share the better one."""
    loss = np.where(np.isnan(values), np.inf, values.round(statistics.DECIMALS))
    ranks: IntArray = np.array([(loss < own).sum(axis=0) + 1 for own in loss])
    return ranks
