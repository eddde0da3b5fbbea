"""What the pages show: view models that the templates print and `index.js` and `model.js` read."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from emigbench import scoring, splits
from emigbench.datasets.labels import Facts, Labels
from emigbench.metrics import BY_NAME, Sample
from emigbench.records import FloatArray
from emigbench.report import costs, plots, text
from emigbench.scoring import COVERED, THRESHOLDS_EV, Figure, Score

if TYPE_CHECKING:
    from emigbench.comparison import Comparison
    from emigbench.report.leaderboard import Boards, Entry, Row

ALL = "all"
"""Name of the subset that holds every path."""
HEAT_MAP_LIMIT = 30
"""Rows of a heat map; the best are shown where a board has more."""
SUBSET_LABELS = {
    ALL: "all paths",
    "scenario-a": "scenario A: another path of the material in train",
    "scenario-b": "scenario B: the same framework at another filling",
    "scenario-c": "scenario C: a like framework of other elements",
    "leak-free": "leak-free: no symmetry-identical twin in train",
    "same-cell": "same-cell: final state not relaxed in its own cell",
    "single-path": "single-path: one path a material",
    COVERED: "only the paths that a row has a value for",
}
SPLIT_LABELS = {
    "official": "Official split",
    "material-cv": "Five folds by framework",
    "leave-group-out": "Leave a group out",
    "leave-ion-out": "Leave an ion out",
    splits.FITTED: "Fit to the training paths",
}
SPLIT_NOTES = {
    "official": "The paper’s test set. Many of its paths share their framework with a training path.",
    "material-cv": "Every path, each predicted by a model that saw no path of its framework, material or band.",
    "leave-group-out": "Every path, each predicted by a model that saw none of its structural group.",
    "leave-ion-out": "Every path, each predicted by a model that saw none of its mobile ion, but maybe its framework.",
    splits.FITTED: "How well published models were fitted to these paths, not how good they are: nobody ranks here.",
}
COLUMNS = ("mae", "rmse", "r2", "share_below_100_mev")
THRESHOLD_COLUMNS = ("accuracy", "mcc")
DIGITS = {"mae": 3, "rmse": 3, "bias": 3, "median_abs_error": 3, "max_abs_error": 3, "crps": 3}


@dataclass(frozen=True)
class Cell:
    """A figure with its interval, as a table shows it; `missing` says why there is none."""

    value: float
    low: float
    high: float
    digits: int
    missing: str = "–"

    @property
    def defined(self) -> bool:
        """Whether there is a number."""
        return math.isfinite(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether the number has an interval."""
        return self.defined and math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def text(self) -> str:
        """The number."""
        return number(self.value, self.digits) if self.defined else self.missing

    @property
    def interval_text(self) -> str:
        """The interval in brackets, "" if there is none."""
        if not self.has_interval:
            return ""
        return f"[{number(self.low, self.digits)}, {number(self.high, self.digits)}]"

    def triple(self) -> list[float | None]:
        """Value, low, high for the script; None where undefined."""
        return [float(rounded(v)) if math.isfinite(v) else None for v in (self.value, self.low, self.high)]


def number(value: float, digits: int) -> str:
    """A number with a true minus sign, in powers of ten where it is huge."""
    shown = f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"
    return shown.replace("-", "−")


def rounded(value: float) -> str:
    """A number for the script to six digits: what differs beyond is the processor's, and would make files differ."""
    return f"{value:.6g}"


def cell(name: str, figure: Figure) -> Cell:
    """The cell of one metric."""
    return Cell(figure.value, figure.low, figure.high, DIGITS.get(name, 2))


# --- The index


@dataclass(frozen=True)
class BoardRow:
    """One row of a board."""

    slug: str
    name: str
    kind: str
    version: str
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
class HeatCell:
    """One difference of the heat map: the row's error minus the column's."""

    value: float
    low: float
    high: float
    p_holm: float | None
    told_apart: bool
    shade: int


@dataclass(frozen=True)
class HeatMap:
    """Pairwise differences of the best rows; None on the diagonal."""

    names: Sequence[str]
    slugs: Sequence[str]
    cells: Sequence[Sequence[HeatCell | None]]
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


def board(
    split: str, rows: Sequence[Row], entries: Mapping[str, Entry], labels: Labels, comparison: Comparison | None
) -> Board:
    """The view of one split."""
    shown = [_board_row(row, entries[row.card.slug], split, comparison) for row in rows]
    pairs = list(comparison.differences.values()) if comparison else []
    return Board(
        split=split,
        label=SPLIT_LABELS.get(split, split),
        note=SPLIT_NOTES.get(split, ""),
        n=rows[0].score.n,
        n_materials=len({facts.material_id for facts in _held_out(labels, split)}),
        rows=shown,
        subsets=_subsets(rows),
        scale=plots.scale_of([row.cells["mae"].value for row in shown], [row.cells["mae"].high for row in shown]),
        ranked=split != splits.FITTED,
        detectable=_finite(comparison.detectable) if comparison else None,
        n_pairs=len(pairs),
        n_told_apart=sum(pair.told_apart for pair in pairs),
        heat_map=heat_map(shown, comparison) if comparison and len(shown) > 1 else None,
        foreign=any(row.fitted_to != row.score.dataset["name"] for row in rows),
    )


def _board_row(row: Row, entry: Entry, split: str, comparison: Comparison | None) -> BoardRow:
    score = row.score
    at_default = score.classification[THRESHOLDS_EV[0]]
    slug = row.card.slug
    return BoardRow(
        slug=slug,
        name=text.clean(row.card.name, 120),
        kind=row.card.kind,
        version=text.clean(row.card.version, 20),
        ranks=None if split == splits.FITTED else row.ranks,
        letters=comparison.letters.get(slug, "") if comparison else "",
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
    known = set(comparison.slugs)
    chosen = [row for row in rows if row.slug in known][:HEAT_MAP_LIMIT]
    found = {
        (a.slug, b.slug): comparison.difference(a.slug, b.slug) for a in chosen for b in chosen if a.slug != b.slug
    }
    sizes = sorted(abs(d.value) for d in found.values() if math.isfinite(d.value))
    scale = sizes[int(0.8 * (len(sizes) - 1))] if sizes else 1.0

    def heat_cell(a: str, b: str) -> HeatCell | None:
        if a == b:
            return None
        d = found[a, b]
        return HeatCell(d.value, d.low, d.high, d.p_holm, d.told_apart, plots.shade(d.value, scale))

    slugs = [row.slug for row in chosen]
    return HeatMap(
        names=[row.name for row in chosen],
        slugs=slugs,
        cells=[[heat_cell(a, b) for b in slugs] for a in slugs],
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


# --- A model's page


@dataclass(frozen=True)
class Line:
    """One line of a table of errors: a group, an ion, a scenario."""

    name: str
    n: int
    mae: float
    bias: float
    largest: float
    strip: str
    tick: str


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
        told_apart: whether the corrected p-value says so.
        n_common, common: on the paths that both have a value for, where one lacks some; else None.
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
    scenarios: Sequence[tuple[Line, Cell]]
    groups: Sequence[Line]
    ions: Sequence[Line]
    seeds: Sequence[tuple[int, float, float]]
    worst: Sequence[tuple[Facts, float, float]]
    rivals: Sequence[Rival]
    n_rivals: int
    n_tracks: int
    costs: costs.Costs
    calibrated: bool
    influence: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class ModelPage:
    """A model's page."""

    slug: str
    name: str
    kind: str
    version: str
    authors: str
    facts: Sequence[tuple[str, Sequence[text.Part]]]
    splits: Sequence[SplitView] = field(default_factory=tuple)


def model_page(
    entry: Entry,
    rows: Mapping[str, Row],
    labels: Labels,
    comparisons: Mapping[str, Comparison],
    names: Mapping[str, str],
) -> ModelPage:
    """The page of one submission; `rows` are its rows on each split, `names` those of all submissions."""
    card = entry.card
    return ModelPage(
        slug=card.slug,
        name=text.clean(card.name, 120),
        kind=card.kind,
        version=text.clean(card.version, 20),
        authors=text.clean(", ".join(card.authors), 600),
        facts=_facts(entry),
        splits=[split_view(entry, row, labels, split, comparisons.get(split), names) for split, row in rows.items()],
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
        "Command": run.get("command", "") if isinstance(run.get("command", ""), str) else "",
        "Versions": _versions(run.get("versions")),
        "Notes": card.notes,
    }
    return [(name, text.linked(value)) for name, value in shown.items() if text.clean(value)]


def _versions(found: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items()) if isinstance(found, dict) else ""


def split_view(
    entry: Entry, row: Row, labels: Labels, split: str, comparison: Comparison | None, names: Mapping[str, str]
) -> SplitView:
    """What a model's page says about one split."""
    seeds = entry.predictions[split]
    samples = scoring.samples_of(seeds, labels, split)
    facts = _held_out(labels, split)
    errors = np.array([sample.error for sample in samples.values()])
    score, slug = row.score, entry.card.slug
    tracks = _tracks(facts)
    return SplitView(
        split=split,
        label=SPLIT_LABELS.get(split, split),
        note=SPLIT_NOTES.get(split, ""),
        n=score.n,
        coverage=score.coverage,
        not_converged=score.not_converged,
        ranks=None if split == splits.FITTED else row.ranks,
        letters=comparison.letters.get(slug, "") if comparison else "",
        scores=_score_lines(score.metrics, leave_out=tuple(_SHARES)),
        shares=[(label, cell(name, score.metrics[name])) for name, label in _SHARES.items()],
        confusion=[
            ConfusionTable(threshold, score.confusion[threshold], _score_lines(score.classification[threshold]))
            for threshold in score.classification
        ],
        scenarios=_scenarios(score, _parts(labels, split), errors),
        groups=_lines(facts, errors, lambda f: f.structural_group),
        ions=_lines(facts, errors, lambda f: f.mobile_ion),
        seeds=[(seed, float(np.abs(s.error).mean()), _rmse(s)) for seed, s in samples.items()],
        worst=_worst(facts, list(samples.values())),
        rivals=_rivals(slug, comparison, names),
        n_rivals=len(comparison.slugs) - 1 if comparison and slug in comparison.slugs else 0,
        n_tracks=len({facts[k].material_id for k in tracks}),
        costs=costs.costs(entry.run, seeds, split),
        calibrated=bool(comparison and slug in comparison.calibration),
        influence=_influence(slug, comparison),
        data=_plot_data(entry, split, list(samples.values()), tracks, comparison),
    )


_SHARES = {
    "share_below_100_mev": "below 0.1 eV",
    "share_100_300_mev": "0.1 to 0.3 eV",
    "share_above_300_mev": "above 0.3 eV",
}


def _score_lines(figures: Mapping[str, Figure], leave_out: Sequence[str] = ()) -> list[ScoreLine]:
    return [
        ScoreLine(
            BY_NAME[name].label,
            BY_NAME[name].description,
            figure.unit,
            cell(name, figure),
            _finite(figure.seed_sd),
            _finite(figure.of_mean_prediction),
        )
        for name, figure in figures.items()
        if name not in leave_out
    ]


def _lines(facts: Sequence[Facts], errors: FloatArray, key: Any) -> list[Line]:
    """Errors by some key of the paths, the largest part first."""
    keys = [key(each) for each in facts]
    sizes = Counter(keys)
    return [
        _line(name, errors[:, [k for k, other in enumerate(keys) if other == name]])
        for name in sorted(sizes, key=lambda name: (-sizes[name], name))
    ]


def _line(name: str, errors: FloatArray) -> Line:
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
    )


@cache
def _held_out(labels: Labels, split: str) -> list[Facts]:
    """The facts of the held-out paths of a split, in order."""
    return [labels.by_id[path_id] for path_id in splits.held_out(labels, split)]


@cache
def _parts(labels: Labels, split: str) -> dict[str, list[int]]:
    """Subset -> the positions of its paths among the held-out ones."""
    position = {facts.id: k for k, facts in enumerate(_held_out(labels, split))}
    return {name: [position[i] for i in ids] for name, ids in splits.subsets(labels, split).items()}


def _scenarios(score: Score, parts: Mapping[str, list[int]], errors: FloatArray) -> list[tuple[Line, Cell]]:
    return [
        (
            _line(SUBSET_LABELS.get(name, name), errors[:, parts[name]]),
            cell("mae", figures["mae"]),
        )
        for name, (_, figures) in score.subsets.items()
        if parts.get(name)
    ]


def _rmse(sample: Sample) -> float:
    return float(np.sqrt(np.mean(np.square(sample.error))))


def _worst(facts: Sequence[Facts], samples: Sequence[Sample], n: int = 10) -> list[tuple[Facts, float, float]]:
    mean = scoring.mean_sample(samples)
    order = sorted(range(len(facts)), key=lambda k: (-abs(float(mean.error[k])), facts[k].id))
    return [(facts[k], float(mean.e_m[k]), float(mean.predicted[k])) for k in order[:n]]


def _rivals(slug: str, comparison: Comparison | None, names: Mapping[str, str]) -> list[Rival]:
    """The other models, best first, as many as a heat map shows."""
    if comparison is None or slug not in comparison.slugs:
        return []
    return [
        _rival(comparison, slug, other, names) for other in [s for s in comparison.slugs if s != slug][:HEAT_MAP_LIMIT]
    ]


def _rival(comparison: Comparison, slug: str, other: str, names: Mapping[str, str]) -> Rival:
    on_all, on_common = comparison.difference(slug, other), comparison.difference_on_common(slug, other)
    fewer = on_common.n != on_all.n
    return Rival(
        slug=other,
        name=names[other],
        all_paths=Cell(on_all.value, on_all.low, on_all.high, 3),
        told_apart=on_all.told_apart,
        n_common=on_common.n if fewer else None,
        common=Cell(on_common.value, on_common.low, on_common.high, 3) if fewer else None,
    )


MAX_TRACKS, LEAST_SPREAD_EV = 16, 0.1


def _tracks(facts: Sequence[Facts]) -> list[int]:
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


def _influence(slug: str, comparison: Comparison | None) -> str:
    """One sentence on the structural group that moves a model's error most."""
    if comparison is None or slug not in comparison.slugs or len(comparison.influence.groups) < 2:
        return ""
    model = comparison.slugs.index(slug)
    group, change = comparison.influence.largest(model)
    best, worst = comparison.influence.rank_range(model)
    ranks = f"stays {best}" if best == worst else f"moves between {best} and {worst}"
    direction = "lower" if change < 0 else "higher"
    return (
        f"The structural group {group} moves its error most: without it, the MAE would be {abs(change):.3f} eV "
        f"{direction}. Leaving out one group at a time, its rank {ranks} of {len(comparison.slugs)}."
    )


def _plot_data(
    entry: Entry, split: str, samples: Sequence[Sample], tracks: Sequence[int], comparison: Comparison | None
) -> dict[str, Any]:
    """What `model.js` draws: predictions in the order of `paths.js`, to a tenth of a meV."""
    mean = scoring.mean_sample(samples)
    statuses = [{p.status for p in same} for same in zip(*entry.predictions[split].values(), strict=True)]
    spread = np.std([s.predicted for s in samples], axis=0, ddof=1) if len(samples) > 1 else None
    calibration = comparison.calibration.get(entry.card.slug) if comparison else None
    return {
        "predicted": [_short(v) for v in mean.predicted],
        "std": None if mean.std is None else [_short(v) for v in mean.std],
        "seedSd": None if spread is None else [_short(v) for v in spread],
        "failed": [k for k, found in enumerate(statuses) if "failed" in found],
        "notConverged": [k for k, found in enumerate(statuses) if "not_converged" in found],
        "tracks": list(tracks),
        "histogram": plots.histogram([sample.error.tolist() for sample in samples]),
        "calibration": [{key: _short(value) for key, value in vars(row).items()} for row in calibration.rows]
        if calibration
        else None,
    }


def _short(value: float) -> float | None:
    number = float(value)
    if not math.isfinite(number):
        return None
    return round(number, 4) if abs(number) < 1e6 else float(f"{number:.4g}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def paths_data(labels: Labels, names: Iterable[str]) -> dict[str, Any]:
    """The facts that every model's page shares: id, group, ion, material and barrier, and the paths of each split."""
    position = {facts.id: k for k, facts in enumerate(labels)}
    return {
        "paths": [[f.id, f.structural_group, f.mobile_ion, f.material_id, f.e_m_ev] for f in labels],
        "splits": {name: [position[path_id] for path_id in splits.held_out(labels, name)] for name in names},
    }
