"""Submissions -> `results.json` and the leaderboard's Markdown page. The same inputs give the same bytes."""

from __future__ import annotations

import html
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from emigbench import comparison, scoring, splits, submission
from emigbench.comparison import Comparison, Difference
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.metrics import BY_NAME
from emigbench.model import Kind
from emigbench.predictions import PREDICTIONS_FILE, PredictionSet, read_predictions
from emigbench.progress import Progress
from emigbench.report.cells import finite, mapped, with_interval
from emigbench.report.text import steady
from emigbench.scoring import THRESHOLDS_EV, Score
from emigbench.submission import CARD_FILE, Card

PAGE, RESULTS = "README.md", "results.json"
RANKED_BY = "mae"


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
    run: Mapping[str, Any] = field(default_factory=dict)


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
    slugs = ["your-run", *(f"your-run-{k}" for k in range(2, 1 + len(folders)))]
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
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        scored = pool.map(lambda task: scoring.score(task[1].predictions[task[0]], labels, task[0]), tasks)
        for done, ((split, entry), score) in enumerate(zip(tasks, scored, strict=True), start=1):
            scores.setdefault(split, []).append((entry, score))
            progress(f"{entry.card.slug}, {split}", done, len(tasks))
    return {split: _board(on_split, labels, split) for split, on_split in scores.items()}


def _board(scores: Sequence[tuple[Entry, Score]], labels: Labels, split: str) -> Board:
    by_slug = {entry.card.slug: (entry, score) for entry, score in scores}
    predictions = {slug: entry.predictions[split] for slug, (entry, _) in by_slug.items()}
    compared = comparison.compare_submissions(predictions, labels, split, BY_NAME[RANKED_BY])
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
        "metric": compared.metric,
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


def to_markdown(found: Boards, labels: Labels) -> str:
    """The leaderboard's page."""
    parts = [
        "# Leaderboard",
        f"Dataset `{labels.name}` {labels.version} ({len(labels)} paths, content {labels.sha256[:12]}). Brackets "
        f"hold 95% intervals by bootstrap ({scoring.RESAMPLES:,} resamples) over what is new in the test: materials on "
        f"the official split, else the frameworks, structural groups or mobile ions that are held out. "
        f"*Tied*: rows that share a letter are not told apart by these paths (paired difference of MAE, 5% after "
        f"Holm's correction for all pairs). *Ranks* are those that a row may hold: below all rows that are told to be "
        f"better than it, above all that are told to be worse (corrected for its own pairs). A failed path is "
        f"scored with the median of its training side and lowers the coverage. "
        f"With several seeds a figure is the mean over seeds; the SD over seeds is another thing than the interval. "
        f"This page is generated by `emigbench leaderboard build`; do not edit it.",
    ]
    for split, rows in found.items():
        parts += [f"## {_TITLES[split]}", _INTRODUCTIONS[split].format(n=rows[0].score.n)]
        if rows.comparison is not None and rows.comparison.differences:
            parts.append(resolving_power(rows.comparison))
        parts.append(main_table(rows))
        if rows[0].score.subsets:
            parts += ["### MAE in eV on parts of the test set", _SUBSET_NOTE, subset_table(rows)]
    return "\n\n".join(parts) + "\n"


_TITLES = {
    "official": "Official split",
    "material-cv": "Five folds grouped by framework",
    "leave-group-out": "One structural group held out at a time",
    "leave-ion-out": "One mobile ion held out at a time",
    splits.FITTED: "On the training paths themselves",
}
_INTRODUCTIONS = {
    "official": "The paper's test set, {n} paths. Many share their framework with a training path.",
    "material-cv": "All {n} paths, each predicted by a model that saw no path of its framework, material or band. "
    "Intervals and tests are over the frameworks, since the question is about one more framework.",
    "leave-group-out": "All {n} paths, each predicted by a model that saw no path of its structural group, framework "
    "cluster or material: how far a model carries to another family of structures. Intervals and tests are over the "
    "groups, since the question is about one more group; they are wide, since there are few.",
    "leave-ion-out": "All {n} paths, each predicted by a model that saw no path of its mobile ion; the same framework "
    "may have hosted another ion in train. Intervals and tests are over the ions, of which there are so few that "
    "little is told apart.",
    splits.FITTED: "The {n} training paths themselves: how well models fit them, which is not a test.",
}
_SUBSET_NOTE = (
    "Scenario A: another path of the material is in train; B: the same framework at another filling; C: a like "
    "framework of other elements. Leak-free: without the bands that have a symmetry-identical twin in train. "
    "Same-cell: without the paths whose final state was relaxed in its own cell. Single-path: one path a material. "
    "Rows that lack paths are shown on those that they have, too: such a figure compares with no other on this page."
)


def resolving_power(compared: Comparison) -> str:
    """What differences a board can resolve, in one sentence or two."""
    pairs = compared.differences.values()
    apart = sum(pair.told_apart for pair in pairs)
    return (
        f"These paths tell {apart} of {len(pairs)} pairs of rows apart. Between two typical rows a test of their "
        f"difference has a chance of {comparison.POWER:.0%} to resolve one of {compared.detectable:.2f} eV in MAE, "
        "before any correction for many pairs; smaller ones are mostly missed."
    )


def main_table(rows: Board) -> str:
    """The scores of a board as a Markdown table."""
    from tabulate import tabulate

    table = []
    for row in rows:
        figures = row.score.metrics
        line = {
            "Ranks": f"{row.ranks[0]}–{row.ranks[1]}",
            "Tied": row.tied,
            "Model": _escaped(row.card.name),
            "Kind": row.card.kind,
            "MAE (eV)": with_interval(figures["mae"]),
            "R²": with_interval(figures["r2"], 2),
            "RMSE (eV)": with_interval(figures["rmse"]),
            f"Accuracy at {THRESHOLDS_EV[0]:g} eV": with_interval(
                row.score.classification[THRESHOLDS_EV[0]]["accuracy"], 2
            ),
            "Coverage": f"{row.score.coverage:.1%}",
            "Seeds": _seeds(row.score),
        }
        if rows.comparison is None:
            del line["Ranks"], line["Tied"]
        if rows.foreign:
            line["Fitted to"] = row.fitted_to
        table.append(line)
    return tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)


def _seeds(score: Score) -> str:
    """Number of seeds, and the standard deviation of the ranking metric over them."""
    sd = score.metrics[RANKED_BY].seed_sd
    return str(len(score.seeds)) if sd is None or math.isnan(sd) else f"{len(score.seeds)} (SD {steady(sd):.3f})"


def subset_table(rows: Sequence[Row]) -> str:
    """Mean absolute errors on the subsets as a Markdown table."""
    from tabulate import tabulate

    sizes = {name: n for row in rows for name, (n, _) in row.score.subsets.items()}
    partly_covered = sizes.pop(scoring.COVERED, None) is not None
    table = []
    for row in rows:
        parts = {name: (n, with_interval(figures["mae"])) for name, (n, figures) in row.score.subsets.items()}
        line = {"Model": _escaped(row.card.name), **{f"{name} ({n})": parts[name][1] for name, n in sizes.items()}}
        if partly_covered:
            n, mae = parts.get(scoring.COVERED, (0, ""))
            line["Only paths with a value"] = f"{mae} ({n})" if n else "all of them"
        table.append(line)
    return tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: a name cannot open a tag, a link or a table cell."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", text)
