"""What a model's page shows: what its template prints and `model.js` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emigbench import scoring
from emigbench.datasets.labels import Facts, Labels
from emigbench.metrics import BY_NAME
from emigbench.report import costs, per_path, text
from emigbench.report.cells import Cell, cell, finite, label
from emigbench.report.leaderboard import OwnCard
from emigbench.report.names import SPLIT_LABELS, SPLIT_NOTES
from emigbench.report.per_path import Line
from emigbench.scoring import Figure, Score

if TYPE_CHECKING:
    from emigbench.comparison import Comparison, Difference
    from emigbench.report.leaderboard import Boards, Entry, Row


MOST_RIVALS = 30
"""Other models that a page compares with; the best are shown where a board has more."""


@dataclass(frozen=True)
class ScoreLine:
    """One metric with its interval and what the seeds say."""

    label: str
    description: str
    unit: str
    cell: Cell
    seed_sd: float | None
    of_mean_prediction: float | None


@dataclass(frozen=True)
class ConfusionTable:
    """Counts at one threshold, with the scores that follow from them."""

    threshold: float
    counts: Mapping[str, float]
    scores: Sequence[ScoreLine]


@dataclass(frozen=True)
class Rival:
    """Another model beside this one: differences of the mean absolute error, this one's minus the other's.

    Attributes:
        slug, name: the other.
        all_paths: on all paths, failures replaced.
        told_apart: whether the p-value says so, corrected for the comparisons of this model alone.
        n_common, common: on the paths that both have a value for, where one lacks some (n_common may be 0); else None.
    """

    slug: str
    name: str
    all_paths: Cell
    told_apart: bool
    n_common: int | None
    common: Cell | None


@dataclass(frozen=True)
class SplitView:
    """All that a model's page says about one split."""

    split: str
    label: str
    note: str
    n: int
    coverage: float
    not_converged: float
    ranks: tuple[int, int] | None
    letters: str
    scores: Sequence[ScoreLine]
    shares: Sequence[tuple[str, Cell]]
    confusion: Sequence[ConfusionTable]
    parts: Sequence[Line]
    groups: Sequence[Line]
    ions: Sequence[Line]
    seeds: Sequence[tuple[int, float, float]]
    worst: Sequence[tuple[Facts, float, float]]
    rivals: Sequence[Rival]
    n_rivals: int
    n_tracks: int
    costs: costs.Costs
    calibrated: bool
    has_curve: bool
    influence: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class ModelPage:
    """A model's page; `files` is the folder of a submission in the repository, "" for a run of the user's own."""

    slug: str
    name: str
    kind: str
    version: str
    authors: str
    facts: Sequence[tuple[str, Sequence[text.Part]]]
    files: str
    splits: Sequence[SplitView]


def model_page(entry: Entry, boards: Boards, labels: Labels, names: Mapping[str, str]) -> ModelPage:
    """The page of one submission; `names` are those of all submissions by their slugs."""
    card = entry.card
    rows = [(split, row, board) for split, board in boards.items() for row in board if row.card.slug == card.slug]
    return ModelPage(
        slug=card.slug,
        name=text.clean(card.name, 120),
        kind=card.kind,
        version=text.clean(card.version, 20),
        authors=text.clean(", ".join(card.authors), 600),
        facts=_facts(entry),
        files="" if isinstance(card, OwnCard) else f"submissions/{card.slug}/",
        splits=[split_view(entry, row, labels, split, board.comparison, names) for split, row, board in rows],
    )


def _facts(entry: Entry) -> list[tuple[str, list[text.Part]]]:
    card, run = entry.card, entry.run
    shown = {
        "Source": card.source,
        "Paper": card.paper,
        "Licence": card.licence,
        "Is given": card.inputs,
        "Fitted to": card.training_data,
        "Pre-training": card.pretraining,
        "Parameters": "" if card.n_parameters is None else f"{card.n_parameters:,}".replace(",", "\u202f"),
        "Hardware": costs.hardware(run),
        "Command": run.get("command", ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items()),
        "Notes": card.notes,
    }
    return [(name, text.linked(value)) for name, value in shown.items() if text.clean(value)]


def split_view(
    entry: Entry, row: Row, labels: Labels, split: str, comparison: Comparison | None, names: Mapping[str, str]
) -> SplitView:
    """What a model's page says about one split."""
    seeds = entry.predictions[split]
    samples = scoring.samples_of(seeds, labels, split)
    facts = per_path.held_out(labels, split)
    errors = np.array([sample.error for sample in samples.values()])
    score, slug = row.score, entry.card.slug
    curve = per_path.learning_curve(entry, labels, split, score.metrics["mae"])
    tracks = per_path.tracks(facts)
    return SplitView(
        split=split,
        label=SPLIT_LABELS[split],
        note=SPLIT_NOTES[split],
        n=score.n,
        coverage=score.coverage,
        not_converged=score.not_converged,
        ranks=row.ranks if comparison else None,
        letters=row.tied if comparison else "",
        scores=_score_lines(score.metrics, score, leave_out=tuple(_SHARES)),
        shares=[(words, cell(name, score.metrics[name])) for name, words in _SHARES.items()],
        confusion=[
            ConfusionTable(threshold, score.confusion[threshold], _score_lines(figures, score))
            for threshold, figures in score.classification.items()
        ],
        parts=per_path.parts(score, labels, split, errors),
        groups=per_path.lines(facts, errors, lambda f: f.structural_group),
        ions=per_path.lines(facts, errors, lambda f: f.mobile_ion),
        seeds=[(seed, float(BY_NAME["mae"](s)), float(BY_NAME["rmse"](s))) for seed, s in samples.items()],
        worst=per_path.worst(facts, list(samples.values())),
        rivals=_rivals(slug, comparison, names),
        n_rivals=len(comparison.slugs) - 1 if comparison else 0,
        n_tracks=len({facts[k].material_id for k in tracks}),
        costs=costs.costs(entry.run, seeds, split),
        calibrated=bool(comparison and slug in comparison.calibration),
        has_curve=bool(curve),
        influence=_influence(slug, comparison),
        data={**per_path.plot_data(entry, split, list(samples.values()), tracks, comparison), "curve": curve},
    )


_SHARES = {
    "share_below_100_mev": "below 0.1 eV",
    "share_100_300_mev": "0.1 to 0.3 eV",
    "share_above_300_mev": "above 0.3 eV",
}


def _score_lines(figures: Mapping[str, Figure], score: Score, leave_out: Sequence[str] = ()) -> list[ScoreLine]:
    return [
        ScoreLine(
            label(name, score),
            BY_NAME[name].description,
            figure.unit,
            cell(name, figure),
            finite(figure.seed_sd),
            finite(figure.of_mean_prediction),
        )
        for name, figure in figures.items()
        if name not in leave_out
    ]


def _rivals(slug: str, comparison: Comparison | None, names: Mapping[str, str]) -> list[Rival]:
    """The other models, best first."""
    if comparison is None:
        return []
    own = comparison.own_differences(slug)
    return [
        _rival(other, names[other], on_all, comparison.difference_on_common(slug, other))
        for other, on_all in list(own.items())[:MOST_RIVALS]
    ]


def _rival(other: str, name: str, on_all: Difference, on_common: Difference) -> Rival:
    fewer = on_common.n != on_all.n
    return Rival(
        slug=other,
        name=name,
        all_paths=Cell(on_all.value, on_all.low, on_all.high, 3),
        told_apart=on_all.told_apart,
        n_common=on_common.n if fewer else None,
        common=Cell(on_common.value, on_common.low, on_common.high, 3) if fewer else None,
    )


def _influence(slug: str, comparison: Comparison | None) -> str:
    """One sentence on the structural group that moves a model's error most."""
    if comparison is None or len(comparison.influence.groups) < 2:
        return ""
    model = comparison.slugs.index(slug)
    group, change = comparison.influence.largest(model)
    best, worst = comparison.influence.rank_range(model)
    ranks = f"stays {best}" if best == worst else f"moves between {best} and {worst}"
    direction = "lower" if change < 0 else "higher"
    return (
        f"The structural group {group} moves its error most: without it, the MAE would be "
        f"{text.steady(abs(change)):.3f} eV {direction}. Leaving out one group at a time, "
        f"its rank {ranks} of {len(comparison.slugs)}."
    )
