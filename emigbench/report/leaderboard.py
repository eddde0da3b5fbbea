"""Submissions -> `results.json` and the leaderboard's Markdown page. The same inputs give the same bytes."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from emigbench import scoring, splits, statistics, submission
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.evaluation import Progress
from emigbench.metrics import BY_NAME
from emigbench.predictions import PREDICTIONS_FILE, PredictionSet, read_predictions
from emigbench.scoring import Figure, Score
from emigbench.storage import write_text
from emigbench.submission import Card

PAGE, RESULTS = "README.md", "results.json"
RANKED_BY = "mae"


@dataclass(frozen=True, eq=False)
class Entry:
    """One row before it is scored.

    Attributes:
        card: what a person says about the model.
        predictions: its predictions.
        fitted_to: name of the dataset that the run was made on.
    """

    card: Card
    predictions: PredictionSet
    fitted_to: str


@dataclass(frozen=True)
class Row:
    """One scored row of a board: the ranks that it may hold, best and worst."""

    card: Card
    fitted_to: str
    score: Score
    ranks: tuple[int, int]


Boards = Mapping[str, Sequence[Row]]
"""Split -> rows, best first."""


class OwnCard(Card):
    """The card of a run of the user's own: written by the program, so texts may be long and the kind unknown."""

    name: str
    slug: str
    source: str
    kind: submission.Kind | Literal["–"]  # type: ignore[assignment]


def read_entries(folder: Path, labels: Labels) -> list[Entry]:
    """All submissions below a folder, in the order of their slugs.

    Raises:
        EmigbenchError: if there is none, or one is not valid.
    """
    names = (submission.CARD_FILE, PREDICTIONS_FILE)
    folders = sorted({file.parent for name in names for file in folder.glob(f"*/{name}")})
    if not folders:
        raise EmigbenchError(f"There is no submission in {folder}.")
    found = [submission.read(each, labels) for each in folders]
    return [Entry(each.card, each.predictions, labels.name) for each in found]


def local_entry(folder: Path, labels: Labels) -> Entry:
    """A run of the user's own, which needs no card to stand beside the submissions.

    Raises:
        EmigbenchError: if the folder holds no valid predictions on this dataset.
    """
    run = submission.read_run(folder, labels)
    kind: Any = run.get("kind")
    card = OwnCard(
        name=f"{run.get('model', folder.name)} (your run)",
        slug="your-run",
        version="local",
        kind=kind if kind in get_args(submission.Kind) else "–",
        authors=["you"],
        source=str(run.get("command", "")),
        inputs="",
        training_data="",
    )
    predictions = read_predictions(folder / PREDICTIONS_FILE, labels)
    return Entry(card, predictions, labels.name)


def restricted(entry: Entry, labels: Labels) -> Entry:
    """An entry with the predictions for the paths of a smaller dataset alone."""
    predictions = {
        split: {seed: [p for p in given if p.id in labels.by_id] for seed, given in seeds.items()}
        for split, seeds in entry.predictions.items()
    }
    return Entry(entry.card, predictions, entry.fitted_to)


def boards(entries: Sequence[Entry], labels: Labels, progress: Progress = lambda name, done, total: None) -> Boards:
    """Score every entry on every split that it has, best mean absolute error first."""
    tasks = [
        (split, entry) for split in (*splits.SPLITS, splits.FITTED) for entry in entries if split in entry.predictions
    ]
    scores: dict[str, list[tuple[Entry, Score]]] = {}
    for done, (split, entry) in enumerate(tasks, start=1):
        scored = scoring.score(entry.predictions[split], labels, split)
        scores.setdefault(split, []).append((entry, scored))
        progress(f"{entry.card.slug}, {split}", done, len(tasks))
    return {split: _rows(on_split, labels, split) for split, on_split in scores.items()}


def _rows(scores: Sequence[tuple[Entry, Score]], labels: Labels, split: str) -> list[Row]:
    ranks = _ranks([entry.predictions[split] for entry, _ in scores], labels, split)
    rows = [Row(entry.card, entry.fitted_to, scored, rank) for (entry, scored), rank in zip(scores, ranks, strict=True)]
    return sorted(rows, key=lambda row: (row.score.metrics[RANKED_BY].value, row.card.slug))


def _ranks(predictions: Sequence[scoring.Seeds], labels: Labels, split: str) -> list[tuple[int, int]]:
    """The ranks that each set of predictions holds, all under the same resamples of the materials."""
    metric = BY_NAME[RANKED_BY]
    samples = [list(scoring.samples_of(seeds, labels, split).values()) for seeds in predictions]
    weights = scoring.resampling(samples[0][0].material)
    resampled = [statistics.resampled(metric, of_model, weights) for of_model in samples]
    return statistics.rank_intervals(np.array(resampled), metric.better)


def to_json(found: Boards, labels: Labels) -> str:
    """The content of `results.json`."""
    content: dict[str, Any] = {
        "dataset": {"name": labels.name, "version": labels.version, "sha256": labels.sha256},
        "resamples": scoring.RESAMPLES,
        "boards": {
            split: [
                {
                    **row.card.model_dump(),
                    "fitted_to": row.fitted_to,
                    "ranks": list(row.ranks),
                    "score": row.score.to_json(),
                }
                for row in rows
            ]
            for split, rows in found.items()
        },
    }
    return json.dumps(_rounded(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    """Floats to 9 digits: what differs beyond is the processor's, and would make files differ."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def to_markdown(found: Boards, labels: Labels) -> str:
    """The leaderboard's page."""
    parts = [
        "# Leaderboard",
        f"Dataset `{labels.name}` {labels.version} ({len(labels)} paths, content {labels.sha256[:12]}). Brackets "
        f"hold 95% intervals: bootstrap over materials ({scoring.RESAMPLES:,} resamples), Wilson for proportions. "
        f"*Ranks* are those that a row holds in 95% of the resamples: rows whose ranks overlap are not told apart "
        f"by these paths. A failed path is scored with the median of its training side and lowers the coverage. "
        f"With several seeds a figure is the mean over seeds. "
        f"This page is generated by `emigbench leaderboard build`; do not edit it.",
    ]
    for split, rows in found.items():
        parts += [f"## {_TITLES[split]}", _INTRODUCTIONS[split].format(n=rows[0].score.n)]
        parts.append(main_table(rows, ranked=split != splits.FITTED))
        if rows[0].score.subsets:
            parts += ["### MAE in eV on parts of the test set", _SUBSET_NOTE, subset_table(rows)]
    return "\n\n".join(parts) + "\n"


_TITLES = {
    "official": "Official split",
    "material-cv": "Five folds grouped by framework",
    splits.FITTED: "On the training paths themselves",
}
_INTRODUCTIONS = {
    "official": "The paper's test set, {n} paths. Many share their framework with a training path.",
    "material-cv": "All {n} paths, each predicted by a model that saw no path of its framework, material or band.",
    splits.FITTED: "Published fits to the {n} training paths: how well a model was fitted, not how good it is.",
}
_SUBSET_NOTE = (
    "Scenario A: another path of the material is in train; B: the same framework at another filling; C: a like "
    "framework of other elements. Leak-free: without the bands that have a symmetry-identical twin in train. "
    "Same-cell: without the paths whose final state was relaxed in its own cell. Single-path: one path a material. "
    "Rows that lack paths are shown on those that they have, too: such a figure compares with no other on this page."
)


def main_table(rows: Sequence[Row], *, ranked: bool = True) -> str:
    """The scores of a board as a Markdown table."""
    from tabulate import tabulate

    foreign = any(row.fitted_to != row.score.dataset["name"] for row in rows)
    table = []
    for row in rows:
        figures = row.score.metrics
        line = {
            "Ranks": f"{row.ranks[0]}–{row.ranks[1]}",
            "Model": _escaped(row.card.name),
            "Kind": row.card.kind,
            "MAE (eV)": _with_interval(figures["mae"]),
            "R²": _with_interval(figures["r2"], 2),
            "RMSE (eV)": _with_interval(figures["rmse"]),
            "Accuracy at 0.65 eV": _with_interval(row.score.classification[0.65]["accuracy"], 2),
            "Coverage": f"{row.score.coverage:.1%}",
            "Seeds": len(row.score.seeds),
        }
        if not ranked:
            del line["Ranks"]
        if foreign:
            line["Fitted to"] = row.fitted_to
        table.append(line)
    return tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)


def subset_table(rows: Sequence[Row]) -> str:
    """Mean absolute errors on the subsets as a Markdown table."""
    from tabulate import tabulate

    sizes = {name: n for row in rows for name, (n, _) in row.score.subsets.items()}
    partly_covered = sizes.pop(scoring.COVERED, None) is not None
    table = []
    for row in rows:
        parts = {name: (n, _with_interval(figures["mae"])) for name, (n, figures) in row.score.subsets.items()}
        line = {"Model": _escaped(row.card.name), **{f"{name} ({n})": parts[name][1] for name, n in sizes.items()}}
        if partly_covered:
            n, mae = parts.get(scoring.COVERED, (0, ""))
            line["Only paths with a value"] = f"{mae} ({n})" if n else "all of them"
        table.append(line)
    return tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)


def _with_interval(figure: Figure, digits: int = 3) -> str:
    if np.isnan(figure.value):
        return "–"
    if np.isnan(figure.low):
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: a name cannot open a tag, a link or a table cell."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", text)


def write(folder: Path, page: str, results: str) -> None:
    """Write the page and the results."""
    write_text(folder / RESULTS, results)
    write_text(folder / PAGE, page)


def differences(folder: Path, page: str, results: str) -> list[str]:
    """Names of the files in a folder that are not what the submissions give."""
    wanted = {PAGE: page, RESULTS: results}
    return [
        name
        for name, text in wanted.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]
