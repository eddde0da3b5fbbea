"""Which models can be told apart: paired differences, tie groups, and what a split is able to resolve.

Models are compared on the same paths under the same resamples of the materials, so what is hard for all of them
cancels (paired cluster bootstrap: Efron & Tibshirani 1993, chapter 16; Davison & Hinkley 1997, section 3.8).
Differences are `metric(a) - metric(b)`: negative means that a has the lower value. Everything here is a pure
function of the predictions: the order of the rows and of the models does not matter.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from emigbench import scoring, splits, statistics
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.metrics import BY_NAME, BoolArray, IntArray, Metric, Sample
from emigbench.records import FloatArray

LEVEL = 0.05
"""Two models are told apart where the p-value, Holm-corrected over all pairs of the board, is below this."""
POWER = 0.80
MAE = BY_NAME["mae"]
_DECIMALS = 9  # what differs beyond is the processor's: equal scores must tie on every machine
CALIBRATION_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, eq=False)
class Contender:
    """A model's predictions for the held-out paths of a split, ready to be compared.

    Attributes:
        slug: name of the submission.
        ids: (n,) the paths.
        samples: one a seed, with failures replaced by the train median.
        has_value: (n,) False where the model failed under any seed.
    """

    slug: str
    ids: tuple[str, ...]
    samples: tuple[Sample, ...]
    has_value: BoolArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Difference:
    """metric(a) - metric(b) on n paths, with its 95% interval, in the metric's unit.

    Attributes:
        a, b: slugs.
        n: number of paths.
        value: the difference of the means over seeds.
        low, high: 95% interval over the choice of materials; NaN if undefined.
        sd: standard deviation of the difference over the choice of materials.
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
    p: float
    p_holm: float | None = None

    @property
    def told_apart(self) -> bool:
        """Whether the corrected p-value (or the plain one outside a board) is below `LEVEL`."""
        return (self.p if self.p_holm is None else self.p_holm) < LEVEL

    @property
    def detectable(self) -> float:
        """The smallest true difference between these two that such a test would find; see `detectable_difference`."""
        return detectable_difference(self.sd)

    def swapped(self) -> Difference:
        """The same, as metric(b) - metric(a)."""
        return replace(self, a=self.b, b=self.a, value=-self.value, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class Spread:
    """Two kinds of uncertainty of a mean over seeds, side by side, in the metric's unit.

    Attributes:
        sampling_sd: standard deviation over the choice of materials; more paths lower it.
        seed_sd: standard deviation over seeds; None for a single one.
        seed_sd_of_mean: seed_sd / sqrt(seeds); more seeds lower it. None for a single one.
    """

    sampling_sd: float
    seed_sd: float | None
    seed_sd_of_mean: float | None


@dataclass(frozen=True)
class CalibrationRow:
    """How many labels the central `expected` of the predicted distribution holds, with Wilson's 95% interval."""

    expected: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How honest a model's own error bars are.

    Attributes:
        rows: one for each of `CALIBRATION_LEVELS`.
        z_mean, z_sd: mean and standard deviation of (predicted - true) / std; 0 and 1 where perfect, an sd above
            1 where the error bars are too short. NaN where a std is 0.
    """

    rows: tuple[CalibrationRow, ...]
    z_mean: float
    z_sd: float


@dataclass(frozen=True, eq=False)
class Influence:
    """What each model scores, and where it ranks, when one structural group is left out of the test.

    Attributes:
        groups: (G,) names of the groups.
        sizes: (G,) paths in each.
        values: (n_models, G) the metric without that group; NaN if nothing is left.
        ranks: (n_models, G) 1 is best; models that tie share the better rank.
        full_values, full_ranks: (n_models,) with all groups.
    """

    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    values: FloatArray
    ranks: IntArray
    full_values: FloatArray
    full_ranks: IntArray

    def largest(self, model: int) -> tuple[str, float]:
        """The group without which a model's value changes most, and that change, in the metric's unit."""
        change = np.nan_to_num(self.values[model] - self.full_values[model])
        k = int(np.argmax(np.abs(change)))
        return self.groups[k], float(change[k])

    def rank_range(self, model: int) -> tuple[int, int]:
        """The best and the worst rank of a model when any one group is left out."""
        return int(self.ranks[model].min()), int(self.ranks[model].max())


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that tells the models of one board apart, by one metric.

    Attributes:
        metric: its name.
        slugs: the models, best first.
        ranks: slug -> best and worst rank in 95% of the resamples.
        letters: slug -> the letters of its tie groups, see `tie_letters`.
        differences: (a, b) -> a's metric minus b's on all paths, with `p_holm`; a stands before b in `slugs`.
        common: the same on the paths that both have a value for, for the pairs in which one lacks some; these are
            other paths for each pair, so they are not corrected and make no tie groups.
        detectable: the median over all pairs of `Difference.detectable`; NaN for a single model.
        spread: slug -> sampling and seed standard deviation.
        influence: of the structural groups; models in the order of `slugs`.
        calibration: slug -> calibration, for the models that give a std.
    """

    metric: str
    slugs: tuple[str, ...]
    ranks: Mapping[str, tuple[int, int]]
    letters: Mapping[str, str]
    differences: Mapping[tuple[str, str], Difference]
    common: Mapping[tuple[str, str], Difference]
    detectable: float
    spread: Mapping[str, Spread]
    influence: Influence
    calibration: Mapping[str, Calibration]

    def difference(self, a: str, b: str) -> Difference:
        """The metric of a minus that of b on all paths, for either order of the two."""
        return self.differences[a, b] if (a, b) in self.differences else self.differences[b, a].swapped()

    def difference_on_common(self, a: str, b: str) -> Difference:
        """The metric of a minus that of b on the paths that both have: that on all paths if neither lacks any."""
        if (a, b) in self.common:
            return self.common[a, b]
        return self.common[b, a].swapped() if (b, a) in self.common else self.difference(a, b)


# --- Two models


def contender(slug: str, seeds: scoring.Seeds, labels: Labels, split: str) -> Contender:
    """A model's predictions on a split as `emigbench.predictions.grouped` orders them, ready to be compared."""
    samples = tuple(scoring.samples_of(seeds, labels, split).values())
    failed = {p.id for given in seeds.values() for p in given if p.status == "failed"}
    ids = tuple(splits.held_out(labels, split))
    return Contender(slug, ids, samples, np.array([path_id not in failed for path_id in ids], dtype=np.bool_))


def restricted(model: Contender, chosen: Sequence[int]) -> Contender:
    """The same model on the paths at some positions."""
    return Contender(
        model.slug,
        tuple(model.ids[k] for k in chosen),
        tuple(scoring.part_of(sample, chosen) for sample in model.samples),
        model.has_value[list(chosen)],
    )


def on_common_ids(a: Contender, b: Contender) -> tuple[Contender, Contender]:
    """Both models on the paths for which both have a value under every seed.

    Raises:
        EmigbenchError: if there are none.
    """
    _check_same_ids(a, b)
    chosen = np.flatnonzero(a.has_value & b.has_value).tolist()
    if not chosen:
        raise EmigbenchError(f"There is no path for which both {a.slug} and {b.slug} have a value.")
    return restricted(a, chosen), restricted(b, chosen)


def paired_difference(
    metric: Metric, a: Contender, b: Contender, weights: FloatArray | None = None, threshold: float | None = None
) -> Difference:
    """metric(a) - metric(b), both under the same resamples of the materials.

    On all paths, failures count with the train median; for the paths that both have, compare what
    `on_common_ids` gives.

    Args:
        metric: row of `emigbench.metrics.METRICS`.
        a: one model.
        b: the other, on the same paths.
        weights: (B, n) from `bootstrap_weights`; those of all intervals if not given.
        threshold: eV, for the metrics that need one.

    Raises:
        ValueError: if the two are not on the same paths.
    """
    _check_same_ids(a, b)
    groups = a.samples[0].material
    weights = scoring.resampling(groups) if weights is None else weights
    value = _value(metric, a, threshold) - _value(metric, b, threshold)
    drawn = statistics.resampled(metric, a.samples, weights, threshold)
    drawn = drawn - statistics.resampled(metric, b.samples, weights, threshold)
    return _difference(a.slug, b.slug, len(a), value, drawn, len(np.unique(groups)))


def influence_of_paths(
    metric: Metric, a: Contender, b: Contender, threshold: float | None = None
) -> list[tuple[str, float]]:
    """How much of metric(a) - metric(b) each path makes: the difference with it minus that without it.

    For MAE these are the differences of the two |errors| from their mean, over n - 1.

    Returns:
        (id, part in the metric's unit), largest size first, then by id; undefined ones are left out.
    """
    _check_same_ids(a, b)
    without = np.ones((len(a), len(a))) - np.eye(len(a))
    both = _value(metric, a, threshold) - _value(metric, b, threshold)
    rest = statistics.resampled(metric, a.samples, without, threshold)
    rest = rest - statistics.resampled(metric, b.samples, without, threshold)
    parts = [(i, float(part)) for i, part in zip(a.ids, both - rest, strict=True) if math.isfinite(part)]
    return sorted(parts, key=lambda each: (-round(abs(each[1]), 12), each[0]))


def detectable_difference(sd: float, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest true difference that a two-sided test at `level` finds with a chance of `power`.

    (z_{1 - level/2} + z_power) sd, that is 2.80 sd at 5% and 80% (Cohen 1988, chapter 2), for one pair alone:
    the correction for many pairs needs a larger one.

    Args:
        sd: standard deviation of the paired difference over the choice of materials, in any unit.
        power: chance to find it.
        level: of the test.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * sd


# --- Many models


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


def tie_groups(told_apart: Sequence[Sequence[bool]] | BoolArray) -> list[tuple[int, ...]]:
    """Groups of rows, best first, such that two rows share a group if and only if they are not told apart.

    Built by a greedy cover (the compact letter display of Piepho, J. Comput. Graph. Stat. 13, 456, 2004, made
    another way, whose effort stays polynomial): each pair that is not told apart and is in no group yet starts
    one; rows join it, best first, where they are told apart from none of its members, so that groups are
    maximal. A group whose pairs are all in others is dropped. A row that is told apart from all others is a
    group of its own.

    Args:
        told_apart: (n, n) symmetric table of the rows in the order of the board.

    Returns:
        Row numbers of each group, ascending, groups ordered by their members.
    """
    n = len(told_apart)
    table = np.array(told_apart, dtype=np.bool_).reshape(n, n)
    tied = [sum(1 << j for j in range(n) if j != i and not table[i, j]) for i in range(n)]
    covered = [0] * n
    groups: list[int] = []
    for i in range(n):
        while todo := tied[i] & ~covered[i] & ~((1 << i) - 1):
            group, candidates = 1 << i, tied[i]
            first = (todo & -todo).bit_length() - 1
            for j in (first, *range(n)):
                if candidates >> j & 1:
                    group, candidates = group | 1 << j, candidates & tied[j]
            groups.append(group)
            for j in _members(group):
                covered[j] |= group
        if not tied[i]:
            groups.append(1 << i)
    return sorted(_members(group) for group in _needed(groups))


def tie_letters(told_apart: Sequence[Sequence[bool]] | BoolArray) -> list[str]:
    """The letters of each row: two rows share one if and only if they are not told apart; see `tie_groups`.

    The first group is a, the 27th is A, the 53rd is a2.
    """
    groups = tie_groups(told_apart)
    names = [_letter(k) for k in range(len(groups))]
    return [
        "".join(name for name, group in zip(names, groups, strict=True) if i in group) for i in range(len(told_apart))
    ]


def compare_all(
    models: Sequence[Contender], groups: Sequence[str], metric: Metric = MAE, threshold: float | None = None
) -> Comparison:
    """Everything about a board: each model against each other one.

    Args:
        models: at least one, all on the same paths.
        groups: (n,) structural group of each path, for the influence.
        metric: one whose `better` is "lower" or "higher".
        threshold: eV, for the metrics that need one.

    Raises:
        ValueError: if there is no model, the paths differ or the metric ranks nobody.
    """
    if not models:
        raise ValueError("There is no model to compare.")
    for model in models[1:]:
        _check_same_ids(models[0], model)
    sign = -1 if metric.better == "higher" else 1
    by_slug = {model.slug: _value(metric, model, threshold) for model in models}
    models = sorted(models, key=lambda m: (math.isnan(by_slug[m.slug]), sign * by_slug[m.slug], m.slug))
    materials = models[0].samples[0].material
    weights, n_groups = scoring.resampling(materials), len(np.unique(materials))
    drawn = np.array([statistics.resampled(metric, model.samples, weights, threshold) for model in models])
    drawn = drawn.round(_DECIMALS)
    differences = _corrected(
        _difference(a.slug, b.slug, len(a), by_slug[a.slug] - by_slug[b.slug], drawn[i] - drawn[j], n_groups)
        for i, a in enumerate(models)
        for j, b in enumerate(models[i + 1 :], start=i + 1)
    )
    slugs = tuple(model.slug for model in models)
    sd = drawn.std(axis=1, ddof=1)
    return Comparison(
        metric=metric.name,
        slugs=slugs,
        ranks=dict(zip(slugs, statistics.rank_intervals(drawn, metric.better), strict=True)),
        letters=dict(zip(slugs, tie_letters(_told_apart(slugs, differences)), strict=True)),
        differences=differences,
        common=_all_on_common(metric, models, weights, threshold),
        detectable=float(np.median([d.detectable for d in differences.values()])) if differences else math.nan,
        spread={m.slug: _spread(metric, m, float(sd[k]), threshold) for k, m in enumerate(models)},
        influence=group_influence(metric, models, groups, threshold),
        calibration={m.slug: c for m in models if (c := calibration(m.samples)) is not None},
    )


def group_influence(
    metric: Metric, models: Sequence[Contender], groups: Sequence[str], threshold: float | None = None
) -> Influence:
    """Leave one structural group out: each model's metric and rank without it.

    Args:
        metric: one whose `better` is "lower" or "higher".
        models: on the same paths.
        groups: (n,) structural group of each path.
        threshold: eV, for the metrics that need one.
    """
    names, counts = np.unique(np.array(groups, dtype=np.str_), return_counts=True)
    without = statistics.leave_one_out_weights(groups)
    values = np.array([statistics.resampled(metric, model.samples, without, threshold) for model in models])
    full = np.array([_value(metric, model, threshold) for model in models])
    sizes = tuple(int(size) for size in counts)
    ranks, full_ranks = _ranks(metric, values), _ranks(metric, full[:, None])[:, 0]
    return Influence(tuple(str(name) for name in names), sizes, values, ranks, full, full_ranks)


# --- One model


def spread(metric: Metric, model: Contender, threshold: float | None = None) -> Spread:
    """Sampling and seed standard deviation of a model's metric."""
    drawn = statistics.resampled(metric, model.samples, scoring.resampling(model.samples[0].material), threshold)
    return _spread(metric, model, float(drawn.std(ddof=1)), threshold)


def calibration(samples: Sequence[Sample]) -> Calibration | None:
    """Expected and observed coverage of the predicted normal distributions, means over seeds.

    Returns:
        None if a seed gives no std.
    """
    given = [(sample.error, sample.std) for sample in samples if sample.std is not None]
    if len(given) != len(samples) or not given:
        return None
    n, rows = len(samples[0]), []
    for level in CALIBRATION_LEVELS:
        z = NormalDist().inv_cdf((1 + level) / 2)
        hits = float(np.mean([(np.abs(error) <= z * std).sum() for error, std in given]))
        rows.append(CalibrationRow(level, hits / n if n else math.nan, *statistics.wilson_interval(hits, n)))
    if n < 2 or any((std == 0).any() for _, std in given):
        return Calibration(tuple(rows), math.nan, math.nan)
    scores = [error / std for error, std in given]
    return Calibration(
        tuple(rows),
        z_mean=float(np.mean([z.mean() for z in scores])),
        z_sd=float(np.mean([z.std(ddof=1) for z in scores])),
    )


# --- Parts


def _value(metric: Metric, model: Contender, threshold: float | None) -> float:
    return float(np.mean([float(metric(sample, threshold=threshold)) for sample in model.samples]))


def _difference(a: str, b: str, n: int, value: float, drawn: FloatArray, n_groups: int) -> Difference:
    """A difference from its resampled values; nothing is known about it if there is one group only."""
    drawn = drawn.round(_DECIMALS)
    low, high = statistics.difference_interval(drawn, n_groups)
    defined = drawn[~np.isnan(drawn)]
    sd = float(defined.std(ddof=1)) if defined.size > 1 and n_groups > 1 else math.nan
    return Difference(a, b, n, value, low, high, sd, statistics.two_sided_p(drawn, value, n_groups))


def _corrected(found: Iterable[Difference]) -> dict[tuple[str, str], Difference]:
    differences = list(found)
    adjusted = holm([d.p for d in differences])
    return {(d.a, d.b): replace(d, p_holm=p) for d, p in zip(differences, adjusted, strict=True)}


def _told_apart(slugs: Sequence[str], differences: Mapping[tuple[str, str], Difference]) -> NDArray[np.bool_]:
    position = {slug: k for k, slug in enumerate(slugs)}
    table = np.zeros((len(slugs), len(slugs)), dtype=np.bool_)
    for (a, b), difference in differences.items():
        table[position[a], position[b]] = table[position[b], position[a]] = difference.told_apart
    return table


def _all_on_common(
    metric: Metric, models: Sequence[Contender], weights: FloatArray, threshold: float | None
) -> dict[tuple[str, str], Difference]:
    """Pairs of which one lacks a path, on the paths that both have; resamples are those of all paths.

    Most pairs share their paths with others, so each set of paths is looked at once.
    """
    by_paths: dict[bytes, list[tuple[Contender, Contender]]] = {}
    for i, a in enumerate(models):
        for b in models[i + 1 :]:
            both = a.has_value & b.has_value
            if both.any() and not both.all():
                by_paths.setdefault(both.tobytes(), []).append((a, b))
    found = {}
    for key, pairs in by_paths.items():
        both = np.frombuffer(key, dtype=np.bool_)
        models_on = {m.slug: m for pair in pairs for m in pair}
        value, drawn = _on_paths(metric, models_on, both, weights, threshold)
        n_groups = len(np.unique(models[0].samples[0].material[both]))
        for a, b in pairs:
            apart = drawn[a.slug] - drawn[b.slug]
            by = value[a.slug] - value[b.slug]
            found[a.slug, b.slug] = _difference(a.slug, b.slug, int(both.sum()), by, apart, n_groups)
    order = {model.slug: k for k, model in enumerate(models)}
    return {pair: found[pair] for pair in sorted(found, key=lambda pair: (order[pair[0]], order[pair[1]]))}


def _on_paths(
    metric: Metric, models: Mapping[str, Contender], chosen: BoolArray, weights: FloatArray, threshold: float | None
) -> tuple[dict[str, float], dict[str, FloatArray]]:
    """Slug -> metric, and slug -> resampled metric, on some of the paths; a mean takes one product for all models."""
    if metric.sizes is None:
        part = {slug: restricted(m, np.flatnonzero(chosen).tolist()) for slug, m in models.items()}
        on_part = np.ascontiguousarray(weights[:, chosen])
        drawn = {slug: statistics.resampled(metric, m.samples, on_part, threshold) for slug, m in part.items()}
        return {slug: _value(metric, m, threshold) for slug, m in part.items()}, drawn
    sizes = [np.mean([metric.sizes(sample) for sample in m.samples], axis=0) for m in models.values()]
    columns = np.column_stack([*sizes, np.ones(len(chosen))]) * chosen[:, None]
    totals = np.vstack([columns.sum(axis=0), weights @ columns])  # the first row is the sample itself
    with np.errstate(invalid="ignore"):
        means = totals[:, :-1] / totals[:, -1:]
    value = {slug: float(means[0, k]) for k, slug in enumerate(models)}
    return value, {slug: means[1:, k] for k, slug in enumerate(models)}


def _spread(metric: Metric, model: Contender, sampling_sd: float, threshold: float | None) -> Spread:
    if len(model.samples) == 1:
        return Spread(sampling_sd, None, None)
    seed_sd = statistics.seed_spread(metric, model.samples, threshold)
    return Spread(sampling_sd, seed_sd, seed_sd / math.sqrt(len(model.samples)))


def _ranks(metric: Metric, values: FloatArray) -> IntArray:
    """(n_models, k) ranks within each column, 1 is best, NaN worst; ties share the better one."""
    if metric.better not in ("lower", "higher"):
        raise ValueError(f"Models cannot be ranked by a metric whose better is {metric.better!r}.")
    loss = np.where(np.isnan(values), np.inf, values if metric.better == "lower" else -values)
    ranks: IntArray = np.array([(loss < own).sum(axis=0) + 1 for own in loss])
    return ranks


def _members(group: int) -> tuple[int, ...]:
    return tuple(k for k in range(group.bit_length()) if group >> k & 1)


def _needed(groups: Sequence[int]) -> list[int]:
    """The groups without those, looked at from the last, all of whose pairs are in others that stay."""
    times: dict[tuple[int, int], int] = {}
    pairs = {g: [(i, j) for i in _members(g) for j in _members(g) if i < j] for g in groups}
    for g in groups:
        for pair in pairs[g]:
            times[pair] = times.get(pair, 0) + 1
    kept = []
    for g in reversed(groups):
        if pairs[g] and all(times[pair] > 1 for pair in pairs[g]):
            for pair in pairs[g]:
                times[pair] -= 1
        else:
            kept.append(g)
    return kept


def _letter(k: int) -> str:
    turn, place = divmod(k, len(string.ascii_letters))
    return string.ascii_letters[place] + (str(turn + 1) if turn else "")


def _check_same_ids(a: Contender, b: Contender) -> None:
    if a.ids != b.ids:
        raise ValueError(f"{a.slug} and {b.slug} are not on the same paths.")
