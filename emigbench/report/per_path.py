"""A model's errors path by path: by group and ion, the worst, the race tracks, and what the plots draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from emigbench import scoring, splits
from emigbench.datasets.labels import Facts, Labels
from emigbench.metrics import BY_NAME, Sample
from emigbench.records import FloatArray
from emigbench.report import plots
from emigbench.report.cells import Cell, cell, short
from emigbench.report.names import SUBSET_LABELS
from emigbench.scoring import Figure, Score

if TYPE_CHECKING:
    from emigbench.comparison import Comparison
    from emigbench.report.leaderboard import Entry


@dataclass(frozen=True)
class Line:
    """One line of a table of errors: a group, an ion, or a part of the test set, whose MAE has an interval (`cell`)."""

    name: str
    n: int
    mae: float
    bias: float
    largest: float
    strip: str
    tick: str
    cell: Cell | None


def lines(facts: Sequence[Facts], errors: FloatArray, key: Callable[[Facts], str]) -> list[Line]:
    """(n_seeds, n) errors in eV by some key of the n paths, the largest part first."""
    keys = [key(each) for each in facts]
    sizes = Counter(keys)
    return [
        _line(name, errors[:, [k for k, other in enumerate(keys) if other == name]])
        for name in sorted(sizes, key=lambda name: (-sizes[name], name))
    ]


def _line(name: str, errors: FloatArray, cell: Cell | None = None) -> Line:
    per_path = np.abs(errors).mean(axis=0)
    mae = float(per_path.mean())
    return Line(
        name=name,
        n=errors.shape[1],
        mae=mae,
        bias=float(errors.mean()),
        largest=float(per_path.max()),
        strip=plots.strip(per_path.tolist()),
        tick=plots.strip_at(mae),
        cell=cell,
    )


@cache
def held_out(labels: Labels, split: str) -> list[Facts]:
    """The facts of the held-out paths of a split, in order."""
    return [labels.by_id[path_id] for path_id in splits.held_out(labels, split)]


def parts(score: Score, labels: Labels, split: str, errors: FloatArray) -> list[Line]:
    """The (n_seeds, n) errors in eV of each subset, with the interval of its MAE."""
    rows = splits.subset_rows(labels, split)
    return [
        _line(SUBSET_LABELS[name], errors[:, rows[name]], cell("mae", figures["mae"]))
        for name, (_, figures) in score.subsets.items()
        if rows.get(name)
    ]


def worst(facts: Sequence[Facts], samples: Sequence[Sample], n: int = 10) -> list[tuple[Facts, float, float]]:
    """The paths with the largest errors of the mean prediction: facts, true and predicted barrier in eV."""
    mean = scoring.mean_sample(samples)
    order = sorted(range(len(facts)), key=lambda k: (-abs(float(mean.error[k])), facts[k].id))
    return [(facts[k], float(mean.e_m[k]), float(mean.predicted[k])) for k in order[:n]]


MAX_TRACKS, LEAST_SPREAD_EV = 16, 0.1


def tracks(facts: Sequence[Facts]) -> list[int]:
    """Positions of the paths of the race-track plot: materials of several paths, largest spread of labels first."""
    members: dict[str, list[int]] = {}
    for k, each in enumerate(facts):
        members.setdefault(each.material_id, []).append(k)
    spread = {
        material: max(facts[k].e_m_ev for k in own) - min(facts[k].e_m_ev for k in own)
        for material, own in members.items()
        if len(own) > 1
    }
    several = [material for material in spread if spread[material] >= LEAST_SPREAD_EV or len(facts) < 100]
    chosen = sorted(several, key=lambda material: (-spread[material], material))[:MAX_TRACKS]
    return [k for material in chosen for k in sorted(members[material], key=lambda k: facts[k].id)]


def plot_data(
    entry: Entry, split: str, samples: Sequence[Sample], tracks: Sequence[int], comparison: Comparison | None
) -> dict[str, Any]:
    """What `model.js` draws: predictions in the order of `paths.js`, to a tenth of a meV."""
    mean = scoring.mean_sample(samples)
    statuses = [{p.status for p in same} for same in zip(*entry.predictions[split].values(), strict=True)]
    spread = np.std([s.predicted for s in samples], axis=0, ddof=1) if len(samples) > 1 else None
    calibration = comparison.calibration.get(entry.card.slug) if comparison else None
    return {
        "predicted": [short(v) for v in mean.predicted],
        "std": None if mean.std is None else [short(v) for v in mean.std],
        "seedSd": None if spread is None else [short(v) for v in spread],
        "failed": [k for k, found in enumerate(statuses) if "failed" in found],
        "notConverged": [k for k, found in enumerate(statuses) if "not_converged" in found],
        "tracks": list(tracks),
        "histogram": plots.histogram([sample.error.tolist() for sample in samples]),
        "calibration": [{key: short(value) for key, value in vars(row).items()} for row in calibration.rows]
        if calibration
        else None,
    }


def learning_curve(entry: Entry, labels: Labels, split: str, figure: Figure) -> list[dict[str, float | None]]:
    """MAE on the official test set after ever more training paths, all of them last; [] for a model without one.

    Args:
        entry: the submission.
        labels: the dataset.
        split: only `official` has a curve.
        figure: the MAE after all training paths.
    """
    points = []
    for part in (part for part in splits.CURVE if split == "official" and part in entry.predictions):
        samples = list(scoring.samples_of(entry.predictions[part], labels, part).values())
        points.append((len(splits.folds(labels, part)[0].train), scoring.figure(BY_NAME["mae"], samples)))
    if points:
        points.append((len(splits.folds(labels, split)[0].train), figure))
    return [{"n": n, "mae": short(each.value), "low": short(each.low), "high": short(each.high)} for n, each in points]


def paths_data(labels: Labels, names: Iterable[str]) -> dict[str, Any]:
    """The facts that every model's page shares: id, group, ion, material and barrier, and the paths of each split."""
    position = {facts.id: k for k, facts in enumerate(labels)}
    return {
        "paths": [[f.id, f.structural_group, f.mobile_ion, f.material_id, f.e_m_ev] for f in labels],
        "splits": {name: [position[path_id] for path_id in splits.held_out(labels, name)] for name in names},
    }
