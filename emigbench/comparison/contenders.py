"""A model on the held-out paths of a split, ready to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emigbench import scoring, splits, statistics
from emigbench.datasets.labels import Labels
from emigbench.metrics import BY_NAME, BoolArray, Metric, Sample
from emigbench.records import Prediction

MAE = BY_NAME["mae"]


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


def contender(slug: str, seeds: scoring.Seeds, labels: Labels, split: str) -> Contender:
    """A model's predictions on a split as `emigbench.predictions.grouped` orders them, ready to be compared."""
    samples = tuple(scoring.samples_of(seeds, labels, split).values())
    failed = {p.id for given in seeds.values() for p in given if p.status == "failed"}
    ids = tuple(splits.held_out(labels, split))
    return Contender(slug, ids, samples, np.array([path_id not in failed for path_id in ids], dtype=np.bool_))


def train_median(labels: Labels, split: str) -> Contender:
    """The median barrier of the training side for every path of a fold: what any model should beat."""
    failed = [Prediction(path_id, None, status="failed") for path_id in splits.held_out(labels, split)]
    return contender("train-median", {0: failed}, labels, split)  # a failed path is scored with that median


def restricted(model: Contender, chosen: Sequence[int]) -> Contender:
    """The same model on the paths at some positions."""
    return Contender(
        model.slug,
        tuple(model.ids[k] for k in chosen),
        tuple(scoring.part_of(sample, chosen) for sample in model.samples),
        model.has_value[list(chosen)],
    )


def value_of(metric: Metric, model: Contender) -> float:
    """The mean over seeds of a metric, in its unit, to the decimals that are the same on every machine."""
    return round(float(np.mean([float(metric(sample)) for sample in model.samples])), statistics.DECIMALS)


def check_same_ids(a: Contender, b: Contender) -> None:
    """Raise a ValueError if two models are not on the same paths."""
    if a.ids != b.ids:
        raise ValueError(f"{a.slug} and {b.slug} are not on the same paths.")
