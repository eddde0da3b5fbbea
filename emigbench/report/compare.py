"""Two models beside each other, in words and figures: what `emigbench compare` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emigbench import comparison, intervals, scoring, splits, statistics, submission, unfinished
from emigbench.comparison import Contender, Difference
from emigbench.datasets import labels as datasets
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError, quoted
from emigbench.metrics import METRICS, Metric
from emigbench.predictions import PREDICTIONS_FILE, read_split
from emigbench.records import FloatArray
from emigbench.report import cells
from emigbench.statistics import Estimate

CHOICES = {m.name: m for m in METRICS if m.needs != "paths" and m.interval != "none" and m.better != "none"}
"""What two models are compared by; of a largest error nothing can be inferred, see `emigbench.intervals`."""
WANTED = {"std": ("std", "a standard deviation"), "interval": ("low", "an interval of its own")}
"""What a metric may need beside barriers -> the field of a sample, and its name in words."""
MOST_PATHS = 8
SHORT = ("rmse", "r2")
SHORT_IN_WORDS = "where few paths make most of the error they hold the truth in 84 to 93% of cases; MAE says more."
"""What `benchmarks/coverage.txt` says of 95% intervals of a difference in these."""


@dataclass(frozen=True)
class PairedScores:
    """Two models on one set of paths: the score of each, and the difference a - b."""

    a: Estimate
    b: Estimate
    difference: Difference


@dataclass(frozen=True)
class Part:
    """What one path contributes to the difference.

    Attributes:
        id: the path.
        group: its structural group.
        e_m: the label, eV.
        error_a, error_b: predicted minus true in eV, means over seeds.
        part: the difference with this path minus that without it, in the metric's unit.
    """

    id: str
    group: str
    e_m: float
    error_a: float
    error_b: float
    part: float


@dataclass(frozen=True)
class PairedComparison:
    """The whole comparison of two models on one split.

    Attributes:
        dataset: its name, version and content hash.
        split: name of the split.
        metric: name of the metric.
        label: what people call it, with its threshold if it has one.
        unit: its unit.
        better: "lower", "higher", "target" or "none".
        all_paths: failures count with the train median.
        n_common: number of the paths for which both have a value.
        common_paths: on those; None if neither lacks any, or if there are none.
        parts: the paths that make the most of the difference on all paths.
    """

    dataset: dict[str, str]
    split: str
    metric: str
    label: str
    unit: str
    better: str
    all_paths: PairedScores
    n_common: int
    common_paths: PairedScores | None
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        content = asdict(self)
        for name in ("all_paths", "common_paths"):
            if (scores := getattr(self, name)) is not None:
                content[name]["difference"]["told_apart"] = scores.difference.told_apart
                del content[name]["difference"]["p_holm"]
        return {key: cells.mapped(value, cells.finite) for key, value in content.items()}


def metric_named(name: str, threshold: float) -> Metric:
    """A metric that two models can be compared by, at a threshold in eV where it needs one.

    Raises:
        EmigbenchError: if there is none of that name, or the threshold is no barrier.
    """
    if name not in CHOICES:
        raise EmigbenchError(f"There is no metric {name!r} to compare by; there are {', '.join(CHOICES)}.")
    if not 0 < threshold < math.inf:
        raise EmigbenchError(f"A threshold is a barrier in eV above 0, not {threshold:g}.")
    return CHOICES[name].at(threshold)


def find(given: str, submissions: Path) -> Path:
    """The predictions that a name stands for: a submission folder, a CSV file or a slug.

    Raises:
        EmigbenchError: if it is none of these.
    """
    path = Path(given)
    for folder in (path, submissions / given):
        if (folder / PREDICTIONS_FILE).is_file():
            return folder / PREDICTIONS_FILE
    if path.is_file():
        return path
    if path.is_dir():
        unfinished.check_finished(path / PREDICTIONS_FILE)
        raise EmigbenchError(f"There is no {PREDICTIONS_FILE} in {path}.")
    known = sorted(file.parent.name for file in submissions.glob(f"*/{PREDICTIONS_FILE}"))
    among = f"{submissions} has {', '.join(known)}" if known else f"there is no submission in {submissions} either"
    raise EmigbenchError(f"{given!r} is no submission folder and no CSV file; {among}.")


def common_dataset(given: Sequence[str], submissions: Path, asked: str | None) -> Labels:
    """The dataset that both models are on: the one that is asked for, else the one that a run record names, or full.

    Raises:
        EmigbenchError: if a model's run record names another one, or there is no such dataset.
    """
    files = [find(each, submissions) for each in given]
    named = [submission.dataset_name(file) for file in files]
    chosen = asked or next(filter(None, named), "full")
    for each, name in zip(given, named, strict=True):
        if name not in (None, chosen):
            raise EmigbenchError(
                f"{each} is of dataset {quoted(name)}, not {quoted(chosen)}; two models are compared on the same one."
            )
    return datasets.read(chosen)


def read_pair(given: Sequence[str], submissions: Path, labels: Labels, split: str) -> tuple[Contender, Contender]:
    """Both models on a split, named by their folders, or as they were given where these are called the same.

    Raises:
        EmigbenchError: if a file is not valid, or has no predictions for the split.
    """
    files = [find(each, submissions) for each in given]
    names = [file.resolve().parent.name if file.name == PREDICTIONS_FILE else file.name for file in files]
    if names[0] == names[1]:
        names = list(given) if given[0] != given[1] else [given[0], f"{given[1]} (again)"]
    seeds = [read_split(file, labels, split) for file in files]
    a, b = (comparison.contender(name, each, labels, split) for name, each in zip(names, seeds, strict=True))
    return a, b


def compare(
    a: Contender, b: Contender, labels: Labels, split: str, metric: Metric = comparison.MAE
) -> PairedComparison:
    """Everything that `emigbench compare` says about two models.

    Raises:
        EmigbenchError: if the metric needs standard deviations or intervals, and one of them gives none.
    """
    field, what = WANTED.get(metric.needs, ("predicted", "a barrier"))
    for model in (a, b):
        if any(getattr(sample, field) is None for sample in model.samples):
            raise EmigbenchError(
                f"{model.slug} does not give {what} for every path of {split}, so there is no {metric.name} of it."
            )
    both, weights = a.has_value & b.has_value, scoring.resampling(a.samples[0].cluster)
    common = None
    if both.any() and not both.all():
        first, second = (comparison.restricted(model, np.flatnonzero(both).tolist()) for model in (a, b))
        common = _paired_scores(metric, first, second, np.ascontiguousarray(weights[:, both]))
    return PairedComparison(
        dataset=labels.identity,
        split=split,
        metric=metric.name,
        label=metric.label,
        unit=metric.unit,
        better=metric.better,
        all_paths=_paired_scores(metric, a, b, weights),
        n_common=int(both.sum()),
        common_paths=common,
        parts=tuple(_part(path_id, part, a, b, labels) for path_id, part in _largest(metric, a, b)),
    )


def in_words(found: PairedComparison) -> str:
    """The comparison as text for a terminal."""
    from tabulate import tabulate

    pair = found.all_paths.difference
    part = f"its part in {found.unit}" if found.unit else "its part"
    lines = [f"{found.label} on {found.split}, dataset {found.dataset['name']} {found.dataset['version']}", ""]
    failing = "; a failed path counts with the train median" if found.n_common < pair.n else ""
    lines += [f"All {pair.n} paths{failing}:", *_scores_in_words(found, found.all_paths)]
    if found.common_paths:
        both_have = f"The {found.n_common} paths that both have a value for:"
        lines += ["", both_have, *_scores_in_words(found, found.common_paths)]
    elif found.n_common == 0:
        lines += ["", "There is no path that both have a value for."]
    if found.metric in SHORT:
        lines += ["", f"Intervals of a difference in {found.label} are short: {SHORT_IN_WORDS}"]
    if found.parts:
        lines += ["", f"Paths that make the most of the difference on all paths ({part}; errors in eV):"]
        rows = [
            [p.id, p.group, f"{p.e_m:.3f}", f"{p.error_a:+.3f}", f"{p.error_b:+.3f}", f"{p.part:+.4f}"]
            for p in found.parts
        ]
        head = ["path", "group", "E_m", f"error of {pair.a}", f"error of {pair.b}", "part"]
        lines += [tabulate(rows, headers=head, disable_numparse=True)]
    return "\n".join(lines) + "\n"


def _scores_in_words(found: PairedComparison, scores: PairedScores) -> list[str]:
    pair, unit = scores.difference, f" {found.unit}" if found.unit else ""
    width = max(len(pair.a), len(pair.b))
    lines = [f"  {name:{width}}  {_with_interval(e, unit)}" for name, e in ((pair.a, scores.a), (pair.b, scores.b))]
    if math.isnan(pair.p):
        few = f"these paths are of fewer than {intervals.FEWEST_GROUPS} materials, groups or ions"
        return [*lines, f"  The difference is undefined: {few}, or the metric has no value."]
    lines.append(
        f"  Paired difference {pair.a} - {pair.b}: {pair.value:+.3f}{unit}, 95% interval {pair.low:+.3f} to "
        f"{pair.high:+.3f}, p = {cells.p_value(pair.p)}."
    )
    lines.append(f"  {_verdict(found, pair)}")
    if pair.sd > 0:
        lines.append(
            f"  The smallest true difference that such a test on these paths finds with a chance of "
            f"{comparison.POWER:.0%}: {pair.detectable:.3f}{unit}."
        )
    return lines


def _with_interval(score: Estimate, unit: str) -> str:
    interval = "" if math.isnan(score.low) else f", 95% interval {score.low:.3f} to {score.high:.3f}"
    return f"{score.value:.3f}{unit}{interval}"


def _verdict(found: PairedComparison, pair: Difference) -> str:
    if pair.sd == 0 and pair.value == 0:
        return "The two score the same in every resample."
    if not pair.told_apart:
        return f"Not resolved: these {pair.n} paths do not tell the two apart."
    ahead = {"lower": pair.value < 0, "higher": pair.value > 0}.get(found.better)
    if ahead is None:
        return "Resolved: the two differ."
    where = "paths like these"
    if found.split == splits.FITTED:
        where = "the training paths, which is no test of a model fitted to them"
    return f"Resolved: {pair.a if ahead else pair.b} is better on {where}."


def _paired_scores(metric: Metric, a: Contender, b: Contender, weights: FloatArray) -> PairedScores:
    """On some paths, under the resamples of all paths, as the leaderboard has it."""
    first, second = (statistics.estimate(metric, model.samples, weights) for model in (a, b))
    return PairedScores(first, second, comparison.paired_difference(metric, a, b, weights))


def _largest(metric: Metric, a: Contender, b: Contender) -> list[tuple[str, float]]:
    return [(i, part) for i, part in comparison.influence_of_paths(metric, a, b)[:MOST_PATHS] if abs(part) > 1e-9]


def _part(path_id: str, part: float, a: Contender, b: Contender, labels: Labels) -> Part:
    k, facts = a.ids.index(path_id), labels.by_id[path_id]
    errors = [float(np.mean([sample.error[k] for sample in model.samples])) for model in (a, b)]
    return Part(path_id, facts.structural_group, facts.e_m_ev, errors[0], errors[1], part)
