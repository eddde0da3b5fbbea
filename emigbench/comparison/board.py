"""A whole board: each model against each other one, what they rank, and what the split can resolve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from emigbench import scoring, statistics
from emigbench.comparison.contenders import MAE, Contender, check_same_ids, contender, value_of
from emigbench.comparison.differences import Difference, all_on_common, corrected, paired_differences, resampled
from emigbench.comparison.error_bars import Calibration, calibration
from emigbench.comparison.influence import Influence, group_influence
from emigbench.comparison.ties import possible_ranks, tie_letters
from emigbench.datasets.labels import Labels


@dataclass(frozen=True)
class Spread:
    """Two kinds of uncertainty of a mean over seeds, side by side, in eV.

    Attributes:
        sampling_sd: standard deviation over the choice of clusters; more of them lower it.
        seed_sd: standard deviation over seeds; None for a single one.
        seed_sd_of_mean: seed_sd / sqrt(seeds); more seeds lower it. None for a single one.
    """

    sampling_sd: float
    seed_sd: float | None
    seed_sd_of_mean: float | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that tells the models of one board apart, by MAE.

    Attributes:
        slugs: the models, best first.
        differences: (a, b) -> a's MAE minus b's on all paths, with `p_holm`; a stands before b in `slugs`.
        common: the same on the paths that both have a value for, for the pairs in which one lacks some (undefined, with
            an n of 0, where there is no such path); these are other paths for each pair, so they are not corrected
            and make no tie groups.
        detectable: the median over all pairs of `Difference.detectable`; NaN for a single model.
        spread: slug -> sampling and seed standard deviation.
        influence: of the structural groups; models in the order of `slugs`.
        calibration: slug -> calibration, for the models that give a std.
    """

    slugs: tuple[str, ...]
    differences: Mapping[tuple[str, str], Difference]
    common: Mapping[tuple[str, str], Difference]
    detectable: float
    spread: Mapping[str, Spread]
    influence: Influence
    calibration: Mapping[str, Calibration]

    def difference(self, a: str, b: str) -> Difference:
        """The MAE of a minus that of b on all paths, for either order of the two."""
        return self.differences[a, b] if (a, b) in self.differences else self.differences[b, a].swapped()

    def own_differences(self, slug: str) -> dict[str, Difference]:
        """Other model -> the MAE of this one minus that of it, with p-values corrected for these pairs alone."""
        own = corrected(self.difference(slug, other) for other in self.slugs if other != slug)
        return {other: difference for (_, other), difference in own.items()}

    @cached_property
    def letters(self) -> Mapping[str, str]:
        """Slug -> the letters of its tie groups, see `tie_letters`."""
        told_apart = [[a != b and self.difference(a, b).told_apart for b in self.slugs] for a in self.slugs]
        return dict(zip(self.slugs, tie_letters(told_apart), strict=True))

    @cached_property
    def ranks(self) -> Mapping[str, tuple[int, int]]:
        """Slug -> best and worst rank that it may hold, from its own differences; see `possible_ranks`."""
        own = [self.own_differences(slug) for slug in self.slugs]
        told_apart = [[other in of_row and of_row[other].told_apart for other in self.slugs] for of_row in own]
        return dict(zip(self.slugs, possible_ranks(told_apart), strict=True))

    def difference_on_common(self, a: str, b: str) -> Difference:
        """The MAE of a minus that of b on the paths that both have: that on all paths if neither lacks any."""
        if (a, b) in self.common:
            return self.common[a, b]
        return self.common[b, a].swapped() if (b, a) in self.common else self.difference(a, b)


def compare_all(models: Sequence[Contender], groups: Sequence[str]) -> Comparison:
    """Everything about a board: each model against each other one.

    Args:
        models: at least one, all on the same paths.
        groups: (n,) structural group of each path, for the influence.

    Raises:
        ValueError: if there is no model, or the paths differ.
    """
    if not models:
        raise ValueError("There is no model to compare.")
    for model in models[1:]:
        check_same_ids(models[0], model)
    models = sorted(models, key=lambda model: (value_of(MAE, model), model.slug))
    weights = scoring.resampling(models[0].samples[0].cluster)
    pairs = list(combinations(range(len(models)), 2))
    differences = corrected(paired_differences(MAE, models, pairs, weights))
    sd = resampled(MAE, models, weights).std(axis=1, ddof=1)
    return Comparison(
        slugs=tuple(model.slug for model in models),
        differences=differences,
        common=all_on_common(MAE, models, weights),
        detectable=float(np.median([d.detectable for d in differences.values()])) if differences else math.nan,
        spread={m.slug: _spread(m, float(sd[k])) for k, m in enumerate(models)},
        influence=group_influence(models, groups),
        calibration={m.slug: c for m in models if (c := calibration(m.samples, weights)) is not None},
    )


def compare_submissions(predictions: Mapping[str, scoring.Seeds], labels: Labels, split: str) -> Comparison:
    """The board of a split by MAE, from each submission's predictions on it by slug; see `compare_all`."""
    models = [contender(slug, seeds, labels, split) for slug, seeds in predictions.items()]
    return compare_all(models, [labels.by_id[path_id].structural_group for path_id in models[0].ids])


def _spread(model: Contender, sampling_sd: float) -> Spread:
    if len(model.samples) == 1:
        return Spread(sampling_sd, None, None)
    seed_sd = statistics.seed_spread(MAE, model.samples)
    return Spread(sampling_sd, seed_sd, seed_sd / math.sqrt(len(model.samples)))
