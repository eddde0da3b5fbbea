"""What the two sides of each split share, and what that does to scores: `emigbench data leakage` and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from emigbench import comparison, intervals, scoring, splits, statistics
from emigbench.comparison import Contender
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.metrics import BY_NAME, BoolArray
from emigbench.report import cells
from emigbench.report.leaderboard import Entry
from emigbench.scoring import Figure

METRICS = ("mae", "r2")


@dataclass(frozen=True)
class Parted:
    """A model's scores on the held-out paths that share something with their training side, and on the rest.

    Attributes:
        slug: name of the submission.
        shared, rest: metric -> figure.
        difference: MAE of the rest minus that of the shared part, in eV, both under the same resamples of clusters.
    """

    slug: str
    shared: Mapping[str, Figure]
    rest: Mapping[str, Figure]
    difference: Figure


@dataclass(frozen=True)
class Crossing:
    """One kind of thing that may be on both sides of a split.

    Attributes:
        kind: name in `emigbench.splits.SHARED`.
        forbidden: whether the split keeps it from crossing.
        paths: held-out id -> ids of its training side that share it.
        members: key of what is shared (a material, a band, ...) -> the ids that have it, in a fixed order.
        scores: one a submission, the best MAE on all paths first; none where nothing is shared, or everything.
    """

    kind: str
    forbidden: bool
    paths: Mapping[str, tuple[str, ...]]
    members: Mapping[str, tuple[str, ...]]
    scores: tuple[Parted, ...]


@dataclass(frozen=True)
class Leakage:
    """Everything that the sides of one split share.

    Attributes:
        split: its name.
        n_held_out: paths that some fold holds out.
        unused: fold -> ids that it has on neither side; only folds that have any.
        fold_of: held-out id -> name of its fold.
        crossings: one a kind.
    """

    split: str
    n_held_out: int
    unused: Mapping[str, tuple[str, ...]]
    fold_of: Mapping[str, str]
    crossings: tuple[Crossing, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        return {
            "n_held_out": self.n_held_out,
            "unused": {fold: list(ids) for fold, ids in self.unused.items()},
            "shared": {
                crossing.kind: {
                    "forbidden": crossing.forbidden,
                    "paths": {path_id: list(others) for path_id, others in crossing.paths.items()},
                    "scores": {each.slug: cells.mapped(asdict(each), cells.finite) for each in crossing.scores},
                }
                for crossing in self.crossings
            },
        }


def find(labels: Labels, split: str, entries: Sequence[Entry] = ()) -> Leakage:
    """What the sides of a split share, and the scores of the submissions that have predictions on it.

    Raises:
        EmigbenchError: if there is no split of that name, or it is a point of a learning curve.
    """
    if split not in splits.SPLITS:
        raise EmigbenchError(
            f"There is no leakage report of {split!r}; there is one of each of {', '.join(splits.SPLITS)}."
        )
    folds = splits.folds(labels, split)
    fold_of = {path_id: fold.name for fold in folds for path_id in fold.held_out}
    models = [
        comparison.contender(e.card.slug, e.predictions[split], labels, split)
        for e in entries
        if split in e.predictions
    ]
    models.sort(key=lambda model: (comparison.value_of(comparison.MAE, model), model.slug))
    return Leakage(
        split,
        len(fold_of),
        {fold.name: fold.unused for fold in folds if fold.unused},
        fold_of,
        tuple(_crossing(labels, split, kind, paths, models) for kind, paths in splits.leakage(labels, split).items()),
    )


def _crossing(
    labels: Labels, split: str, kind: str, paths: Mapping[str, tuple[str, ...]], models: Sequence[Contender]
) -> Crossing:
    key = splits.SHARED[kind]
    involved = {*paths, *(other for others in paths.values() for other in others)}
    members: dict[str, list[str]] = {}
    for facts in labels:
        if facts.id in involved:
            members.setdefault(str(key(facts)), []).append(facts.id)
    scores = [_parted(model, paths) for model in models] if models and 0 < len(paths) < len(models[0]) else []
    forbidden = kind in splits.SPLITS[split].never_shared
    return Crossing(kind, forbidden, paths, {name: tuple(ids) for name, ids in sorted(members.items())}, tuple(scores))


def _parted(model: Contender, shared: Mapping[str, object]) -> Parted:
    inside = np.array([path_id in shared for path_id in model.ids])
    parts = [comparison.restricted(model, np.flatnonzero(chosen).tolist()) for chosen in (inside, ~inside)]
    on_shared, on_rest = ({name: scoring.figure(BY_NAME[name], part.samples) for name in METRICS} for part in parts)
    return Parted(model.slug, on_shared, on_rest, _difference(model, inside))


def _difference(model: Contender, inside: BoolArray) -> Figure:
    """MAE outside a part minus MAE inside, in eV."""
    mae, cluster = comparison.MAE, model.samples[0].cluster
    weights = scoring.resampling(cluster)
    drawn = [statistics.resampled(mae, model.samples, weights * chosen) for chosen in (~inside, inside)]
    value = [
        float(np.mean([mae(sample, chosen.astype(np.float64)) for sample in model.samples]))
        for chosen in (~inside, inside)
    ]
    low, high = intervals.percentile_interval(drawn[0] - drawn[1], len(np.unique(cluster)))
    return Figure(value[0] - value[1], low, high, mae.unit)


# --- Markdown


def to_markdown(found: Sequence[Leakage], labels: Labels, *, ids: bool = True) -> str:
    """The report as a page; `ids` lists every path that is involved, which is long."""
    parts = [
        "# What the two sides of each split share",
        f"Dataset `{labels.name}` {labels.version} ({len(labels)} paths, content {labels.sha256[:12]}). A held-out "
        "path *shares* something if a path on the training side of its own fold has the same. A *duplicate band* is "
        "the same hop by symmetry; a *framework cluster* is one host topology with the same framework formula, "
        "whatever ion is in it and however full it is; the *framework formula* leaves the topology out; the "
        "*prototype* is the structural group and the stoichiometry of the framework, whatever its elements; the "
        "*composition* is the source's formula without polymorph and notes. Paths that would bring to a training "
        "side what its split keeps apart are *unused* in that fold.",
        f"Scores: brackets hold 95% intervals, bootstrap ({scoring.RESAMPLES:,} resamples) over materials on the "
        "official split, else over the frameworks, structural groups or ions that are held out. A model that "
        "remembers what it saw does better on the shared part, but the shared part may also just be easier: compare "
        "with the floors (train-median, group-median), which remember nothing of a single material.",
        "This page is generated by `emigbench data leakage --out docs/leakage.md`; do not edit it.",
    ]
    for each in found:
        parts += [f"## {each.split}", _summary(each), _counts(each)]
        if ids and each.unused:
            parts.append(_details("Unused paths by fold", {name: " ".join(i) for name, i in each.unused.items()}))
        for crossing in each.crossings:
            if crossing.paths:
                parts += _section(each, crossing, ids)
    return "\n\n".join(parts) + "\n"


def _summary(found: Leakage) -> str:
    n_folds, n_unused = len(set(found.fold_of.values())), sum(map(len, found.unused.values()))
    folds = "1 fold" if n_folds == 1 else f"{n_folds} folds"
    unused = f"; {n_unused} times a path is unused, in {len(found.unused)} folds" if n_unused else ""
    description = splits.SPLITS[found.split].description
    return f"{description[0].upper()}{description[1:]}. {found.n_held_out} held-out paths in {folds}{unused}."


def _counts(found: Leakage) -> str:
    from tabulate import tabulate

    lines = [
        {
            "Shared": crossing.kind,
            "Held-out paths that share it": f"{len(crossing.paths)} of {found.n_held_out}",
            "Different ones": len(crossing.members),
            "Training paths": len({other for others in crossing.paths.values() for other in others}),
            "Kept apart by the split": "yes" if crossing.forbidden else "no",
        }
        for crossing in found.crossings
    ]
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def _section(found: Leakage, crossing: Crossing, ids: bool) -> list[str]:
    parts = []
    if crossing.scores:
        parts += [f"### {found.split}: with and without a shared {crossing.kind}", _scores(found, crossing)]
    if ids:
        title = f"{found.split}: paths that share their {crossing.kind}"
        parts.append(_details(title, {name: _by_side(found, i) for name, i in crossing.members.items()}))
    return parts


def _scores(found: Leakage, crossing: Crossing) -> str:
    from tabulate import tabulate

    n = len(crossing.paths)
    lines = [
        {
            "Model": each.slug,
            f"MAE shared ({n}), eV": _cell("mae", each.shared["mae"]),
            f"MAE rest ({found.n_held_out - n}), eV": _cell("mae", each.rest["mae"]),
            "Rest − shared, eV": _cell("mae", each.difference),
            "R² shared": _cell("r2", each.shared["r2"]),
            "R² rest": _cell("r2", each.rest["r2"]),
        }
        for each in crossing.scores
    ]
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def _cell(metric: str, figure: Figure) -> str:
    cell = cells.cell(metric, figure)
    return f"{cell.text} {cell.interval_text}".strip()


def _by_side(found: Leakage, ids: Sequence[str]) -> str:
    """Ids by the fold that holds them out; "train" where none does."""
    sides: dict[str, list[str]] = {}
    for path_id in ids:
        sides.setdefault(found.fold_of.get(path_id, "train"), []).append(path_id)
    return "; ".join(f"{side}: {' '.join(members)}" for side, members in sorted(sides.items()))


def _details(title: str, lines: Mapping[str, str]) -> str:
    """A list that a reader opens."""
    items = "\n".join(f"- **{name}** · {text}" for name, text in lines.items())
    return f"<details><summary>{title} ({len(lines)})</summary>\n\n{items}\n\n</details>"
