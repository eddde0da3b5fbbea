"""Predictions in, scores with intervals out: ids are joined, failures count, every figure has an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from statistics import median, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emigbench import splits, statistics
from emigbench.datasets.labels import Labels, labels_of
from emigbench.errors import EmigbenchError
from emigbench.metrics import BY_NAME, METRICS, Metric, Sample, confusion
from emigbench.predictions import as_scored, as_seed, as_written, grouped, listed
from emigbench.records import INTERVAL_LEVEL, FloatArray, Prediction

if TYPE_CHECKING:
    from emigbench.datasets.store import Dataset

RESAMPLES = 10_000
RESAMPLING_SEED = 0
THRESHOLDS_EV = (0.65, 0.525, 0.5)
SUBSET_METRICS = ("mae", "rmse", "r2")
COVERED = "covered"

Seeds = Mapping[int, Sequence[Prediction]]


@dataclass(frozen=True)
class Figure:
    """One score.

    Attributes:
        value: mean over seeds.
        low, high: 95% interval of the value over the choice of clusters, see `splits.Split.cluster`.
        unit: "eV" or "".
        seed_sd: standard deviation over seeds, None for a single one.
        of_mean_prediction: the score of the prediction averaged over seeds, None for a single one.
    """

    value: float
    low: float
    high: float
    unit: str
    seed_sd: float | None = None
    of_mean_prediction: float | None = None

    def __str__(self) -> str:
        """Such as `0.186 eV [0.131, 0.264]`; without brackets where no interval is defined."""
        interval = "" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{self.unit and ' '}{self.unit}{interval}"


@dataclass(frozen=True)
class Score:
    """All scores of one set of predictions on one split.

    Attributes:
        dataset: name, version and content hash of the dataset.
        split: name of the split.
        n: number of held-out paths.
        n_pairs: number of pairs of them that share a material.
        n_ranked_pairs: number of these whose barriers differ: only such pairs can be ranked right.
        seeds: seeds of the predictions.
        coverage: share of paths with a value; a failed path is scored with the train median and, where the model
            gives standard deviations or intervals, with those of the training labels.
        not_converged: share of paths whose value the model itself does not trust.
        metrics: name -> figure.
        classification: threshold in eV -> name -> figure.
        confusion: threshold in eV -> tp, fp, fn, tn, means over seeds; good (E_m <= threshold) is positive.
        subsets: name -> (number of paths, name -> figure).
    """

    dataset: Mapping[str, str]
    split: str
    n: int
    n_pairs: int
    n_ranked_pairs: int
    seeds: tuple[int, ...]
    coverage: float
    not_converged: float
    metrics: Mapping[str, Figure]
    classification: Mapping[float, Mapping[str, Figure]]
    confusion: Mapping[float, Mapping[str, float]]
    subsets: Mapping[str, tuple[int, Mapping[str, Figure]]]

    def __str__(self) -> str:
        """One line; everything else is in `metrics`, `classification` and `subsets`."""
        figures = [f"{BY_NAME[name].label} {self.metrics[name]}" for name in ("mae", "r2")]
        threshold, at = next(iter(self.classification.items()))
        figures.append(f"accuracy {at['accuracy']} at {threshold:g} eV")
        return f"{self.split}, {self.n} paths: {', '.join(figures)}; coverage {self.coverage:.1%}"

    def to_json(self) -> dict[str, Any]:
        """The score as plain values; what is undefined is None."""
        return {
            "dataset": dict(self.dataset),
            "split": self.split,
            "n": self.n,
            "n_pairs": self.n_pairs,
            "n_ranked_pairs": self.n_ranked_pairs,
            "seeds": list(self.seeds),
            "coverage": self.coverage,
            "not_converged": self.not_converged,
            "metrics": _plain(self.metrics),
            "classification": {
                f"{threshold:g}": {**_plain(figures), "confusion": dict(self.confusion[threshold])}
                for threshold, figures in self.classification.items()
            },
            "subsets": {name: {"n": n, "metrics": _plain(figures)} for name, (n, figures) in self.subsets.items()},
        }


def score(predictions: Sequence[Prediction] | Seeds, data: Dataset | Labels, split: str = "official") -> Score:
    """Score predictions of the held-out paths of a split.

    Args:
        predictions: one for each held-out path in any order, or such a sequence for each of several seeds; one
            beyond 100 eV counts as failed.
        data: the dataset, or its labels alone.
        split: name of the split.

    Raises:
        EmigbenchError: if an id is unknown, given twice or missing, or there is no such split or seed.
    """
    labels = labels_of(data)
    by_seed = _by_seed(predictions if isinstance(predictions, Mapping) else {0: predictions}, split)
    rows = ((split, seed, as_scored(p)) for seed, of_seed in by_seed.items() for p in of_seed)
    seeds = grouped(rows, labels, "The predictions")[split]
    samples = list(samples_of(seeds, labels, split).values())
    needs: tuple[str, ...] = ("value", "paths")
    if all(sample.std is not None for sample in samples):
        needs += ("std",)
    if all(sample.low is not None for sample in samples):
        needs += ("interval",)
    classifying = [metric for metric in METRICS if metric.needs == "threshold"]
    statuses = [prediction.status for given in seeds.values() for prediction in given]
    return Score(
        dataset=labels.identity,
        split=split,
        n=len(samples[0]),
        n_pairs=round(BY_NAME["pairs_told_apart"].trials(samples[0])),
        n_ranked_pairs=round(BY_NAME["pairs_ranked_right"].trials(samples[0])),
        seeds=tuple(seeds),
        coverage=1 - statuses.count("failed") / len(statuses),
        not_converged=statuses.count("not_converged") / len(statuses),
        metrics={m.name: figure(m, samples) for m in METRICS if m.needs in needs},
        classification={
            threshold: {m.name: figure(m.at(threshold), samples) for m in classifying} for threshold in THRESHOLDS_EV
        },
        confusion={threshold: _mean_confusion(samples, threshold) for threshold in THRESHOLDS_EV},
        subsets=_subset_figures(samples, _parts(seeds, labels, split)),
    )


def _by_seed(given: Mapping[Any, Any], split: str) -> dict[int, list[Prediction]]:
    """What a caller gave, after checking that it is predictions of one split by seed, some for each.

    Raises:
        EmigbenchError: if it is not.
    """
    if by_split := [name for name, each in given.items() if isinstance(name, str) and isinstance(each, Mapping)]:
        one = split if split in by_split else by_split[0]
        raise EmigbenchError(
            f"These are predictions by split ({', '.join(by_split)}); give those of one, as in "
            f"score(predictions[{one!r}], data, {one!r})."
        )
    lists = {seed: listed(of_seed) for seed, of_seed in given.items()}
    by_seed = {as_seed(seed): of_seed for seed, of_seed in lists.items()}
    if empty := [seed for seed, of_seed in by_seed.items() if not of_seed]:
        raise EmigbenchError(f"There are no predictions for seed {empty[0]}.")
    return by_seed


def samples_of(seeds: Seeds, labels: Labels, split: str) -> dict[int, Sample]:
    """Seed -> the held-out paths' barriers beside its predictions, to the digits that a file has of them.

    A failed path has the median of the training labels instead and, if all others have a standard deviation or an
    interval, those of the training labels. `seeds` is as `emigbench.predictions.grouped` orders it.
    """
    folds = splits.held_out(labels, split)
    ids = list(folds)
    train_of = {fold.name: fold.train for fold in folds.values()}
    guess = cache(lambda fold: _guess(labels, train_of[fold]))
    facts = [labels.by_id[path_id] for path_id in ids]
    e_m = np.array([each.e_m_ev for each in facts])
    material = np.array([each.material_id for each in facts])
    cluster = np.array(splits.clusters(labels, split))
    samples = {}
    for seed, given in seeds.items():
        filled = [p if p.e_m is not None else guess(folds[p.id].name) for p in given]
        predicted = np.array([as_written(p.e_m) for p in filled if p.e_m is not None])
        std, low, high = (_column(name, given, filled) for name in ("std", "low", "high"))
        samples[seed] = Sample(e_m, predicted, material, std, cluster, low, high)
    return samples


def _column(name: str, given: Sequence[Prediction], filled: Sequence[Prediction]) -> FloatArray | None:
    """(n,) a field of the predictions with failures filled in; None where the model gives none, or not for all."""
    told = [as_written(value) for p in filled if (value := getattr(p, name)) is not None]
    if len(told) < len(filled) or all(getattr(p, name) is None for p in given):
        return None
    return np.array(told)


def _guess(labels: Labels, ids: Sequence[str]) -> Prediction:
    """What the barriers of some paths alone say of another one: median, standard deviation, central 90%."""
    barriers = [labels.by_id[path_id].e_m_ev for path_id in ids]
    low, high = np.quantile(barriers, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    return Prediction("", median(barriers), pstdev(barriers), low=low, high=high)


def resampling(clusters: NDArray[np.str_]) -> FloatArray:
    """(10000, n) counts of the bootstrap over clusters that every interval uses; read-only, made once for each."""
    return _resampling(tuple(clusters.tolist()), RESAMPLES)


@lru_cache(maxsize=16)
def _resampling(clusters: tuple[str, ...], resamples: int) -> FloatArray:
    weights = statistics.bootstrap_weights(np.array(clusters, dtype=np.str_), resamples, RESAMPLING_SEED)
    weights.setflags(write=False)
    return weights


def figure(metric: Metric, samples: Sequence[Sample]) -> Figure:
    """One metric over seeds, with its interval, seed spread and score of the mean prediction.

    Args:
        metric: row of `emigbench.metrics.METRICS`; one that needs a threshold, at it (`Metric.at`).
        samples: one a seed, with the same n paths in the same order.
    """
    found = Figure(**vars(statistics.estimate(metric, samples, resampling(samples[0].cluster))))
    if len(samples) == 1:
        return found
    of_mean = float(metric(mean_sample(samples)))
    return replace(found, seed_sd=statistics.seed_spread(metric, samples), of_mean_prediction=of_mean)


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """The prediction averaged over seeds, as one normal of the mixture's mean and variance; interval ends are means."""
    values = np.array([sample.predicted for sample in samples])
    stds = [sample.std for sample in samples if sample.std is not None]
    std = np.sqrt(np.mean(np.square(stds), axis=0) + values.var(axis=0)) if len(stds) == len(samples) else None
    predicted = values.mean(axis=0)
    low, high = (_mean_of([getattr(sample, name) for sample in samples]) for name in ("low", "high"))
    return Sample(samples[0].e_m, predicted, samples[0].material, std, samples[0].cluster, low, high)


def _mean_of(arrays: Sequence[FloatArray | None]) -> FloatArray | None:
    """The mean over seeds, None where one has none."""
    given = [each for each in arrays if each is not None]
    return np.mean(given, axis=0) if len(given) == len(arrays) else None


def part_of(sample: Sample, chosen: Sequence[int]) -> Sample:
    """The rows of a sample at some positions."""
    std, low, high = (None if each is None else each[chosen] for each in (sample.std, sample.low, sample.high))
    return Sample(
        sample.e_m[chosen], sample.predicted[chosen], sample.material[chosen], std, sample.cluster[chosen], low, high
    )


def _parts(seeds: Seeds, labels: Labels, split: str) -> dict[str, list[int]]:
    """Positions of the paths of each subset; `covered` are those with a value, where some have none."""
    parts = dict(splits.subset_rows(labels, split))
    failed = {k for given in seeds.values() for k, p in enumerate(given) if p.status == "failed"}
    if failed:
        parts[COVERED] = [k for k in range(len(next(iter(seeds.values())))) if k not in failed]
    return {name: positions for name, positions in parts.items() if positions}


def _subset_figures(
    samples: Sequence[Sample], parts: Mapping[str, list[int]]
) -> dict[str, tuple[int, dict[str, Figure]]]:
    chosen = [metric for metric in METRICS if metric.name in SUBSET_METRICS]
    scores = {}
    for name, positions in parts.items():
        of_part = [part_of(sample, positions) for sample in samples]
        scores[name] = (len(positions), {m.name: figure(m, of_part) for m in chosen})
    return scores


def _mean_confusion(samples: Sequence[Sample], threshold: float) -> dict[str, float]:
    counts = [confusion(sample, threshold)._asdict() for sample in samples]
    if len(counts) == 1:
        return counts[0]
    return {name: sum(count[name] for count in counts) / len(counts) for name in counts[0]}


def _plain(figures: Mapping[str, Figure]) -> dict[str, dict[str, float | str | None]]:
    return {name: {key: _json_value(value) for key, value in vars(figure).items()} for name, figure in figures.items()}


def _json_value(value: float | str | None) -> float | str | None:
    """None for what JSON has no number for: undefined, or beyond the largest float."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
