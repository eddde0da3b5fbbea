"""Paired differences between two models, and whether they are real.

Models are compared on the same paths under the same resamples of the clusters, so what is hard for all of them
cancels (paired cluster bootstrap: Efron & Tibshirani 1993, chapter 16; Davison & Hinkley 1997, section 3.8).
Differences are `metric(a) - metric(b)`: negative means that a has the lower value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emigbench import intervals, scoring, statistics
from emigbench.comparison.contenders import Contender, check_same_ids, restricted, value_of
from emigbench.metrics import Metric, Sample
from emigbench.records import FloatArray

LEVEL = 0.05
"""Two models are told apart where the p-value, Holm-corrected over all pairs of the board, is below this."""
POWER = 0.80


@dataclass(frozen=True)
class Difference:
    """metric(a) - metric(b) on n paths, with its 95% interval, in the metric's unit.

    Attributes:
        a, b: slugs.
        n: number of paths.
        value: the difference of the means over seeds.
        low, high: 95% interval over the choice of clusters; NaN if undefined.
        sd: standard deviation of the difference over the choice of clusters.
        detectable: the smallest true difference between these two that such a test would find, see
            `detectable_difference`.
        p: two-sided bootstrap p-value for no difference; never 0.
        p_holm: p corrected for all pairs of a board, None outside one.
    """

    a: str
    b: str
    n: int
    value: float
    low: float
    high: float
    sd: float
    detectable: float
    p: float
    p_holm: float | None = None

    @property
    def told_apart(self) -> bool:
        """Whether the corrected p-value (or the plain one outside a board) is below `LEVEL`."""
        return (self.p if self.p_holm is None else self.p_holm) < LEVEL

    def swapped(self) -> Difference:
        """The same, as metric(b) - metric(a)."""
        return replace(self, a=self.b, b=self.a, value=-self.value, low=-self.high, high=-self.low)


def paired_difference(metric: Metric, a: Contender, b: Contender, weights: FloatArray | None = None) -> Difference:
    """metric(a) - metric(b), both under the same resamples of the clusters.

    On all paths, failures count with the train median; for the paths that both have, compare both
    `restricted` to those.

    Args:
        metric: row of `emigbench.metrics.METRICS`.
        a: one model.
        b: the other, on the same paths.
        weights: (B, n) from `bootstrap_weights`; those of all intervals if not given.

    Raises:
        ValueError: if the two are not on the same paths.
    """
    check_same_ids(a, b)
    weights = scoring.resampling(a.samples[0].cluster) if weights is None else weights
    return paired_differences(metric, [a, b], [(0, 1)], weights)[0]


def paired_differences(
    metric: Metric, models: Sequence[Contender], pairs: Sequence[tuple[int, int]], weights: FloatArray
) -> list[Difference]:
    """The differences of some pairs of models.

    Args:
        metric: row of `emigbench.metrics.METRICS`.
        models: all on the same paths.
        pairs: numbers of the two models of each difference.
        weights: (B, n) from `bootstrap_weights`.
    """
    n, n_groups = len(models[0]), len(np.unique(models[0].samples[0].cluster_code))
    values = [value_of(metric, model) for model in models]
    drawn = resampled(metric, models, weights)
    totals = _totals(metric, models)
    return [
        _difference(
            models[a].slug,
            models[b].slug,
            n,
            values[a] - values[b],
            drawn[a] - drawn[b],
            n_groups,
            None if totals is None else (totals[a] - totals[b]).round(statistics.DECIMALS),
        )
        for a, b in pairs
    ]


def resampled(metric: Metric, models: Sequence[Contender], weights: FloatArray) -> FloatArray:
    """(n_models, B) the metric of each model in each resample, mean over seeds; a mean takes one product for all."""
    if metric.summand is None:
        drawn = [statistics.resampled(metric, model.samples, weights) for model in models]
    else:
        sums = weights @ np.column_stack([*_summands(metric.summand, models), np.ones(weights.shape[1])])
        with np.errstate(invalid="ignore"):
            drawn = list((sums[:, :-1] / sums[:, -1:]).T)
    return np.array(drawn).round(statistics.DECIMALS)


def _summands(summand: Callable[[Sample], FloatArray], models: Sequence[Contender]) -> FloatArray:
    """(n_models, n) what each path adds to a mean, averaged over seeds."""
    return np.array([np.mean([summand(sample) for sample in model.samples], axis=0) for model in models])


def _totals(metric: Metric, models: Sequence[Contender]) -> FloatArray | None:
    """(n_models, G) what each cluster adds to a mean over paths; None for other metrics."""
    if metric.summand is None:
        return None
    return statistics.group_totals(_summands(metric.summand, models), models[0].samples[0].cluster_code)


def _difference(
    a: str, b: str, n: int, value: float, drawn: FloatArray, n_groups: int, totals: FloatArray | None
) -> Difference:
    """A difference from its resampled values; nothing is known about it if there is one group only."""
    low, high = intervals.percentile_interval(drawn, n_groups)
    defined = drawn[~np.isnan(drawn)]
    sd = float(defined.std(ddof=1)) if defined.size > 1 and n_groups > 1 else math.nan
    p = intervals.two_sided_p(drawn, value, n_groups, totals)
    return Difference(a, b, n, value, low, high, sd, detectable_difference(sd, n_groups), p)


def detectable_difference(sd: float, n_groups: int) -> float:
    """The smallest true difference that a two-sided test at `LEVEL` finds with a chance of `POWER`.

    (t_{1 - level/2} + t_power) sd (Cohen 1988, chapter 2), Student's quantiles and the sd's own factor as in
    `intervals.percentile_interval`: at 5% and 80% 2.80 sd for very many groups, 2.87 for 59 and 3.39 for 9. That is
    for one pair alone: the correction for many pairs needs a larger one.

    Args:
        sd: standard deviation of the paired difference over the resamples of clusters, in any unit.
        n_groups: number of clusters; the difference is NaN for fewer than 2.
    """
    if n_groups < 2:
        return math.nan
    quantiles = intervals.student_quantile(n_groups, 1 - LEVEL / 2) + intervals.student_quantile(n_groups, POWER)
    return math.sqrt(n_groups / (n_groups - 1)) * quantiles * sd


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand. J. Stat. 6, 65, 1979): adjusted p-values, in the same order.

    The k-th smallest of m, counted from 0, is multiplied by m - k; none falls below one before it or exceeds 1.
    An undefined (NaN) p-value stays so, and counts as a test.
    """
    adjusted, largest, m = [math.nan] * len(p_values), 0.0, len(p_values)
    defined = [k for k in range(m) if not math.isnan(p_values[k])]
    for k, index in enumerate(sorted(defined, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - k) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def corrected(differences: Iterable[Difference]) -> dict[tuple[str, str], Difference]:
    """(a, b) -> the difference with its p-value corrected for all of them."""
    found = list(differences)
    adjusted = holm([d.p for d in found])
    return {(d.a, d.b): replace(d, p_holm=p) for d, p in zip(found, adjusted, strict=True)}


def all_on_common(
    metric: Metric, models: Sequence[Contender], weights: FloatArray
) -> dict[tuple[str, str], Difference]:
    """Pairs of which one lacks a path, on the paths that both have; resamples are those of all paths.

    Most pairs share their paths with others, so each set of paths is looked at once. Of a pair that has no path in
    common nothing is known but that.
    """
    by_paths: dict[bytes, list[tuple[int, int]]] = {}
    for i, a in enumerate(models):
        for j, b in enumerate(models[i + 1 :], start=i + 1):
            both = a.has_value & b.has_value
            if not both.all():
                by_paths.setdefault(both.tobytes(), []).append((i, j))
    found: dict[tuple[int, int], Difference] = {}
    for key, pairs in by_paths.items():
        both = np.frombuffer(key, dtype=np.bool_)
        numbers = sorted({k for pair in pairs for k in pair})
        part = [restricted(models[k], np.flatnonzero(both).tolist()) for k in numbers]
        of_part = [(numbers.index(i), numbers.index(j)) for i, j in pairs]
        on_part = np.ascontiguousarray(weights[:, both])
        found |= dict(zip(pairs, paired_differences(metric, part, of_part, on_part), strict=True))
    return {(models[i].slug, models[j].slug): found[i, j] for i, j in sorted(found)}
