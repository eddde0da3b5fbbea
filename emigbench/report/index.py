"""What the index shows: the boards that its template prints and `index.js` reads."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emigbench import splits
from emigbench.datasets.labels import Labels
from emigbench.report import costs, plots, text
from emigbench.report.cells import Cell, cell, finite
from emigbench.report.names import ALL, SPLIT_LABELS, SPLIT_NOTES
from emigbench.scoring import COVERED, THRESHOLDS_EV, Score

if TYPE_CHECKING:
    from emigbench.comparison import Comparison, Difference
    from emigbench.report import leaderboard
    from emigbench.report.leaderboard import Boards, Entry, Row

HEAT_MAP_LIMIT = 30
"""Rows of a heat map; the best are shown where a board has more."""
COLUMNS = ("mae", "rmse", "r2", "share_below_100_mev")
THRESHOLD_COLUMNS = ("accuracy", "mcc")


@dataclass(frozen=True)
class BoardRow:
    """One row of a board."""

    slug: str
    name: str
    kind: str
    ranks: tuple[int, int] | None
    letters: str
    cells: Mapping[str, Cell]
    threshold_cells: Mapping[str, Cell]
    coverage: float
    not_converged: float
    n_seeds: int
    seed_sd: float | None
    parameters: int | None
    costs: costs.Costs
    fitted_to: str

    @property
    def search_text(self) -> str:
        """What the text filter looks at."""
        return f"{self.name} {self.slug} {self.kind} {self.costs.hardware}".lower()


MOST_TIES = 6
"""Tie letters, or ranges of them, that a row shows."""
_LETTER = re.compile(r"([A-Za-z])(\d*)")


def runs_of(letters: str) -> list[str]:
    """Tie letters (a to Z, then a2 to Z2 and so on) with three or more in a row as a range: abcf is a–c, f."""
    runs: list[list[tuple[int, str]]] = []
    for place, letter in sorted(_places(letters)):
        if runs and place == runs[-1][-1][0] + 1:
            runs[-1].append((place, letter))
        else:
            runs.append([(place, letter)])
    shown = [
        text
        for run in runs
        for text in ([f"{run[0][1]}–{run[-1][1]}"] if len(run) > 2 else [letter for _, letter in run])
    ]
    return shown if len(shown) <= MOST_TIES else [*shown[:MOST_TIES], "…"]


def _places(letters: str) -> list[tuple[int, str]]:
    """The single letters of a row, each with its place in their order."""
    alphabet = string.ascii_letters
    return [
        (alphabet.index(match[1]) + len(alphabet) * (int(match[2] or 1) - 1), match[0])
        for match in _LETTER.finditer(letters)
    ]


def ranks_text(ranks: tuple[int, int]) -> str:
    """Ranks from best to worst: 1–5, or 3 alone."""
    best, worst = ranks
    return str(best) if best == worst else f"{best}–{worst}"


@dataclass(frozen=True)
class HeatMap:
    """Pairwise differences of the best rows.

    Attributes:
        names: of the models.
        cells: the error of the row minus that of the column; None on the diagonal.
        scale: eV, the difference that is shaded most.
        left_out: how many rows there are beside them.
    """

    names: Sequence[str]
    cells: Sequence[Sequence[Difference | None]]
    scale: float
    left_out: int


@dataclass(frozen=True)
class Board:
    """One split of the index."""

    split: str
    label: str
    note: str
    n: int
    n_materials: int
    rows: Sequence[BoardRow]
    subsets: Mapping[str, int | None]
    scale: tuple[float, float]
    ranked: bool
    detectable: float | None
    n_pairs: int
    n_told_apart: int
    heat_map: HeatMap | None
    foreign: bool

    @property
    def tie_groups(self) -> list[str]:
        """The letters of the board, in order."""
        return [letter for _, letter in sorted({each for row in self.rows for each in _places(row.letters)})]

    def ties(self, row: BoardRow) -> list[str]:
        """The letters of a row: each in a column of its own ("" where the row lacks it), or ranges of many."""
        groups = self.tie_groups
        if len(groups) > MOST_TIES:
            return runs_of(row.letters)
        return [letter if letter in row.letters else "" for letter in groups]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the rows, each once."""
        return sorted({row.kind for row in self.rows})


def board(split: str, rows: leaderboard.Board, entries: Mapping[str, Entry], labels: Labels) -> Board:
    """The view of one split."""
    comparison = rows.comparison
    shown = [_board_row(row, entries[row.card.slug], split, ranked=comparison is not None) for row in rows]
    pairs = list(comparison.differences.values()) if comparison else []
    return Board(
        split=split,
        label=SPLIT_LABELS[split],
        note=SPLIT_NOTES[split],
        n=rows[0].score.n,
        n_materials=len({labels.by_id[path_id].material_id for path_id in splits.held_out(labels, split)}),
        rows=shown,
        subsets=_subsets(rows),
        scale=plots.scale_of([row.cells["mae"].value for row in shown], [row.cells["mae"].high for row in shown]),
        ranked=comparison is not None,
        detectable=finite(comparison.detectable) if comparison else None,
        n_pairs=len(pairs),
        n_told_apart=sum(pair.told_apart for pair in pairs),
        heat_map=heat_map(shown, comparison) if comparison and len(shown) > 1 else None,
        foreign=rows.foreign,
    )


def _board_row(row: Row, entry: Entry, split: str, *, ranked: bool) -> BoardRow:
    score = row.score
    at_default = score.classification[THRESHOLDS_EV[0]]
    return BoardRow(
        slug=row.card.slug,
        name=text.clean(row.card.name, 120),
        kind=row.card.kind,
        ranks=row.ranks if ranked else None,
        letters=row.tied if ranked else "",
        cells={name: cell(name, score.metrics[name]) for name in COLUMNS},
        threshold_cells={name: cell(name, at_default[name]) for name in THRESHOLD_COLUMNS},
        coverage=score.coverage,
        not_converged=score.not_converged,
        n_seeds=len(score.seeds),
        seed_sd=score.metrics["mae"].seed_sd,
        parameters=row.card.n_parameters,
        costs=costs.costs(entry.run, entry.predictions[split], split),
        fitted_to=row.fitted_to,
    )


def _subsets(rows: Sequence[Row]) -> dict[str, int | None]:
    """Subset -> number of paths, None where it is another for each row; all paths first, covered last."""
    sizes: dict[str, int | None] = {ALL: rows[0].score.n}
    sizes |= {name: n for row in rows for name, (n, _) in row.score.subsets.items()}
    if COVERED in sizes:
        del sizes[COVERED]
        sizes[COVERED] = None
    return sizes


def heat_map(rows: Sequence[BoardRow], comparison: Comparison) -> HeatMap:
    """Differences of the mean absolute error, row minus column."""
    chosen = rows[:HEAT_MAP_LIMIT]
    cells = [[None if a is b else comparison.difference(a.slug, b.slug) for b in chosen] for a in chosen]
    sizes = sorted(abs(d.value) for of_row in cells for d in of_row if d and math.isfinite(d.value))
    return HeatMap(
        names=[row.name for row in chosen],
        cells=cells,
        scale=sizes[int(0.8 * (len(sizes) - 1))] if sizes else 1.0,
        left_out=len(rows) - len(chosen),
    )


def script_data(boards: Boards) -> dict[str, Any]:
    """What `index.js` needs to show other subsets and thresholds: figures as [value, low, high]."""
    return {split: {row.card.slug: _row_data(row.score) for row in rows} for split, rows in boards.items()}


def _row_data(score: Score) -> dict[str, Any]:
    subsets = {ALL: (score.n, score.metrics), **score.subsets}
    return {
        "subsets": {
            name: {"n": n, **{key: cell(key, figures[key]).triple() for key in COLUMNS if key in figures}}
            for name, (n, figures) in subsets.items()
        },
        "thresholds": {
            f"{threshold:g}": {name: cell(name, figures[name]).triple() for name in THRESHOLD_COLUMNS}
            for threshold, figures in score.classification.items()
        },
    }
