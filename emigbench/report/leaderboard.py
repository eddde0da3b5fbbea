"""Submissions -> scored boards and `results.json`. The same inputs give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from emigbench import comparison, scoring, splits, submission
from emigbench.comparison import Comparison, Difference
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.model import Kind
from emigbench.predictions import PREDICTIONS_FILE, PredictionSet, read_predictions
from emigbench.progress import Progress
from emigbench.provenance import available_cores
from emigbench.report.cells import finite, mapped
from emigbench.report.text import steady
from emigbench.scoring import Score
from emigbench.submission import CARD_FILE, Card

RESULTS = "results.json"


@dataclass(frozen=True, eq=False)
class Entry:
    """One row before it is scored.

    Attributes:
        card: what a person says about the model.
        predictions: its predictions.
        fitted_to: name of the dataset that the run was made on.
        run: what the program recorded about the run.
    """

    card: Card
    predictions: PredictionSet
    fitted_to: str
    run: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One scored row of a board: the ranks that it may hold, best and worst, and the letters of its tie groups."""

    card: Card
    fitted_to: str
    score: Score
    ranks: tuple[int, int]
    tied: str


@dataclass(frozen=True, eq=False)
class Board(Sequence[Row]):
    """The rows of one split, best first, and what tells them apart: nothing for fits to the training paths."""

    rows: tuple[Row, ...]
    comparison: Comparison | None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def foreign(self) -> bool:
        """Whether a row was fitted to another dataset than it is scored on."""
        return any(row.fitted_to != row.score.dataset["name"] for row in self.rows)


Boards = Mapping[str, Board]
"""Split -> board."""


class OwnCard(Card):
    """The card of a run of the user's own: written by the program, so texts may be long and the kind unknown."""

    name: str
    slug: str
    source: str
    kind: Kind | Literal["–"]  # type: ignore[assignment]


def read_entries(folder: Path, labels: Labels) -> list[Entry]:
    """All submissions below a folder, in the order of their slugs.

    Raises:
        EmigbenchError: if there is none, one is not valid, or two have the same name.
    """
    found = [submission.read(each, labels) for each in submission.folders(folder)]
    if not found:
        raise EmigbenchError(f"There is no submission in {folder}.")
    for one, other in combinations(found, 2):
        submission.check_name(other.card, [one.card])
    return [Entry(each.card, each.predictions, labels.name, each.run) for each in found]


def local_entries(folders: Sequence[Path], labels: Labels) -> list[Entry]:
    """Runs of the user's own, which need no cards to stand beside the submissions.

    Runs of the same name are told apart by their folders.

    Raises:
        EmigbenchError: if a folder holds no valid predictions on this dataset.
    """
    if files := [folder for folder in folders if folder.is_file()]:
        raise EmigbenchError(f"{files[0]} is no folder of a run; emigbench init-submission makes one of a table.")
    runs = [submission.read_run(folder, labels) for folder in folders]
    names = [_name(folder, run) for folder, run in zip(folders, runs, strict=True)]
    slugs = ["your-run", *(f"your-run--{k}" for k in range(2, 1 + len(folders)))]  # as no submission may be called
    return [
        _local_entry(folder, run, f"{name}, {folder}" if names.count(name) > 1 else name, slug, labels)
        for folder, run, name, slug in zip(folders, runs, names, slugs, strict=False)
    ]


def _name(folder: Path, run: Mapping[str, Any]) -> str:
    """What to call a run: by its card if it has a valid one, else by its model."""
    with suppress(EmigbenchError):
        return submission.read_card(folder / CARD_FILE).name
    return str(run.get("model", folder.name))


def _local_entry(folder: Path, run: Mapping[str, Any], name: str, slug: str, labels: Labels) -> Entry:
    card = OwnCard(
        name=f"{name} (your run)",
        slug=slug,
        version="local",
        kind=submission.recorded_kind(run) or "–",
        authors=["you"],
        source=str(folder),
        inputs="",
        training_data="",
    )
    predictions = read_predictions(folder / PREDICTIONS_FILE, labels)
    return Entry(card, predictions, labels.name, run)


def restricted(entry: Entry, labels: Labels) -> Entry:
    """An entry with the predictions for the paths of a smaller dataset alone."""
    predictions = {
        split: {seed: [p for p in given if p.id in labels.by_id] for seed, given in seeds.items()}
        for split, seeds in entry.predictions.items()
        if split not in splits.CURVE
    }
    return Entry(entry.card, predictions, entry.fitted_to, entry.run)


def boards(entries: Sequence[Entry], labels: Labels, progress: Progress = lambda name, done, total: None) -> Boards:
    """Score every entry on every split that it has, best mean absolute error first."""
    tasks = [
        (split, entry) for split in (*splits.SPLITS, splits.FITTED) for entry in entries if split in entry.predictions
    ]
    scores: dict[str, list[tuple[Entry, Score]]] = {}
    # numpy works outside the interpreter's lock, so threads of ours use the cores better than those of its products
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(available_cores()) as pool:
        scored = pool.map(lambda task: scoring.score(task[1].predictions[task[0]], labels, task[0]), tasks)
        for done, ((split, entry), score) in enumerate(zip(tasks, scored, strict=True), start=1):
            scores.setdefault(split, []).append((entry, score))
            progress(f"{entry.card.slug}, {split}", done, len(tasks))
    return {split: _board(on_split, labels, split) for split, on_split in scores.items()}


def _board(scores: Sequence[tuple[Entry, Score]], labels: Labels, split: str) -> Board:
    by_slug = {entry.card.slug: (entry, score) for entry, score in scores}
    predictions = {slug: entry.predictions[split] for slug, (entry, _) in by_slug.items()}
    compared = comparison.compare_submissions(predictions, labels, split)
    rows = tuple(
        Row(entry.card, entry.fitted_to, score, compared.ranks[slug], compared.letters[slug])
        for slug, (entry, score) in ((slug, by_slug[slug]) for slug in compared.slugs)
    )
    return Board(rows, None if split == splits.FITTED else compared)


def to_json(found: Boards, labels: Labels) -> str:
    """The content of `results.json`."""
    content: dict[str, Any] = {
        "dataset": labels.identity,
        "resamples": scoring.RESAMPLES,
        "boards": {
            split: [
                {
                    **row.card.model_dump(),
                    "fitted_to": row.fitted_to,
                    "ranks": list(row.ranks),
                    **_standing(row, board.comparison),
                    "score": row.score.to_json(),
                }
                for row in board
            ]
            for split, board in found.items()
        },
        "comparisons": {
            split: _plain_comparison(board.comparison) for split, board in found.items() if board.comparison
        },
    }
    return json.dumps(_rounded(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _standing(row: Row, compared: Comparison | None) -> dict[str, Any]:
    """How a row stands among the others."""
    if compared is None:
        return {}
    slug = row.card.slug
    model = compared.slugs.index(slug)
    group, change = compared.influence.largest(model)
    calibration = compared.calibration.get(slug)
    return {
        "tied": row.tied,
        "spread": asdict(compared.spread[slug]),
        "influence": {
            "group": group,
            "change": change,
            "rank": int(compared.influence.full_ranks[model]),
            "ranks": list(compared.influence.rank_range(model)),
        },
        "calibration": None if calibration is None else asdict(calibration),
    }


def _plain_comparison(compared: Comparison) -> dict[str, Any]:
    return {
        "metric": comparison.MAE.name,
        "level": comparison.LEVEL,
        "power": comparison.POWER,
        "detectable": compared.detectable,
        "differences": [_plain_difference(d) for d in compared.differences.values()],
        "on_common_paths": [_plain_difference(d) for d in compared.common.values()],
    }


def _plain_difference(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "told_apart": difference.told_apart}


def _rounded(value: Any) -> Any:
    """Floats to 7 digits, so that files do not differ by what is the processor's. Undefined is None."""
    return mapped(value, lambda number: finite(float(f"{steady(number):.7g}")))
