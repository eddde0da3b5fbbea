"""Figures for papers: Devi et al.'s Figures 2b, 3 and 4 for any set of submissions, as SVG and PDF.

What they draw differs from the paper's where honesty asks for it: bars have 95% intervals, values beyond an axis are
marked and written out, failed paths are drawn as such. The learning curve (Figure 4b) is on the pages of the models
that have one. The same submissions give the same bytes: letters are drawn
as outlines of the font that matplotlib brings, ids are hashed with a fixed salt, and no date is written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emigbench import comparison, scoring, splits
from emigbench.comparison import Contender
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.metrics import BY_NAME, Confusion, Sample, confusion
from emigbench.records import FloatArray
from emigbench.report.cells import number
from emigbench.report.leaderboard import Entry
from emigbench.scoring import Figure

TEST, TRAIN, CV = "official", splits.FITTED, "material-cv"
THRESHOLD_EV = scoring.THRESHOLDS_EV[0]
FORMATS = ("svg", "pdf")
RACE_TRACKS = ("Li3OCl", "Ca2Mn2O5", "MgMnSiO4_pbnm", "a1-VOPO4_Na")
"""The materials of the paper's Figure 4a, by the start of their ids; paths are numbered from 1."""

BLUE, PINK, GREY = "#4477aa", "#cc6699", "#777777"
SCENARIO_COLOURS = {"A": "#4477aa", "B": "#ee9944", "C": "#55a868"}
MODEL_COLOURS = ("#cc6699", "#4477aa", "#228833", "#ee7733", "#882255", "#44aa99", "#997700", "#332288")
MARKERS = ("D", "^", "o", "s", "v", "P", "X", "p", "<", ">")
TRACK_COLOURS = {"Li": "#dfe9f5", "Na": "#fdf0d5", "K": "#eadcf4", "Mg": "#e0f0e3", "Ca": "#f7e1e1"}
PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
FRAMED: Mapping[str, Any] = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.8}

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "emigbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

Drawing = Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Shown:
    """A submission as the figures show it: on each split, its predictions and its scores."""

    slug: str
    name: str
    on: Mapping[str, Contender]
    mae: Mapping[str, Figure]
    r2: Mapping[str, Figure]

    def sample(self, split: str) -> Sample:
        """The prediction averaged over seeds."""
        return scoring.mean_sample(self.on[split].samples)


def shown(entries: Sequence[Entry], labels: Labels, slugs: Sequence[str] = ()) -> list[Shown]:
    """The chosen submissions, or all, best MAE on the test set first and those without one last.

    Raises:
        EmigbenchError: if there is none of a slug.
    """
    by_slug = {entry.card.slug: entry for entry in entries}
    for slug in slugs:
        if slug not in by_slug:
            raise EmigbenchError(f"There is no submission {slug!r}; there are {', '.join(sorted(by_slug))}.")
    weights: dict[str, FloatArray] = {}
    found = []
    for entry in (by_slug[slug] for slug in dict.fromkeys(slugs or by_slug)):
        on = {
            s: comparison.contender(entry.card.slug, seeds, labels, s)
            for s, seeds in entry.predictions.items()
            if s in (TEST, TRAIN, CV)
        }
        mae, r2 = {}, {}
        for split, model in on.items():
            if split not in weights:
                weights[split] = scoring.resampling(model.samples[0].material)
            mae[split] = scoring.figure(BY_NAME["mae"], model.samples, weights[split], None)
            r2[split] = scoring.figure(BY_NAME["r2"], model.samples, weights[split], None)
        found.append(Shown(entry.card.slug, entry.card.name, on, mae, r2))
    return sorted(found, key=lambda each: (TEST not in each.mae, _any_mae(each), each.slug))


def _any_mae(model: Shown) -> float:
    return min(model.mae[split].value for split in ((TEST,) if TEST in model.mae else model.mae))


def drawings(models: Sequence[Shown], labels: Labels) -> dict[str, Drawing]:
    """File name without ending -> what draws the figure; only figures that there are predictions for."""
    found: dict[str, Drawing] = {}
    if any(TEST in model.on or TRAIN in model.on for model in models):
        found["figure-2b-scores"] = partial(scores, models)
    for split in (TRAIN, CV):
        if (runners := [model for model in models if split in model.on]) and tracks(labels, split):
            found[f"figure-4a-race-track-{split}"] = partial(race_track, runners, labels, split)
    for model in models:
        if TEST in model.on:
            found[f"figure-4cd-scenarios-classes-{model.slug}"] = partial(scenarios_and_classes, model, labels)
        if TEST in model.on or TRAIN in model.on:
            found[f"figure-3-parity-{model.slug}"] = partial(parity, model)
    return dict(sorted(found.items()))


def write(folder: Path, name: str, draw: Drawing) -> list[Path]:
    """Draw one figure and write it in each of `FORMATS`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for ending, content in rendered(draw).items():
        files.append(folder / f"{name}.{ending}")
        files[-1].write_bytes(content)
    return files


def rendered(draw: Drawing) -> dict[str, bytes]:
    """Format -> the bytes of a figure."""
    with style():
        figure = draw()
        contents = {}
        for ending in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, metadata=METADATA[ending])
            contents[ending] = buffer.getvalue()
    return contents


@contextmanager
def style() -> Iterator[None]:
    """The figures' own settings, whatever the user's matplotlibrc says."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    with matplotlib.rc_context(settings):
        yield


# --- Figure 2b


def scores(models: Sequence[Shown]) -> Any:
    """R² and MAE of all models on the training (solid) and test paths (hatched), with 95% intervals."""
    from matplotlib.patches import Patch

    models = [model for model in models if TEST in model.on or TRAIN in model.on]
    figure = _figure(max(3.6, 1.3 + 0.46 * len(models)), 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    maes = [model.mae[split] for model in models for split in (TRAIN, TEST) if split in model.mae]
    highest = max(np.nanmax([each.value, each.high]) for each in maes)
    top = max(1.05 * min(highest, 3 * float(np.median([each.value for each in maes]))), 1e-3)
    for axes, colour, label, attribute, (bottom, end) in (
        (upper, BLUE, "R²", "r2", (-0.5, 1.0)),
        (lower, PINK, "MAE (eV)", "mae", (0.0, top)),
    ):
        for k, model in enumerate(models):
            both = TRAIN in model.on and TEST in model.on
            for split, shift in ((TRAIN, -0.2), (TEST, 0.2)):
                if split in model.on:
                    _bar(axes, k + shift * both, getattr(model, attribute)[split], (bottom, end), colour, split == TEST)
        axes.set_ylim(bottom, end)
        axes.set_ylabel(label)
        axes.axhline(0, color="black", linewidth=0.7)
    upper.legend(
        handles=[
            Patch(label="training paths", facecolor=GREY),
            Patch(label="test paths", facecolor="white", edgecolor=GREY, hatch="/////"),
        ],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
    )
    lower.set_xticks(range(len(models)), [_short(model.name) for model in models], rotation=40, ha="right")
    lower.set_xlim(-0.6, len(models) - 0.4)
    return figure


def _bar(
    axes: Any, x: float, figure: Figure, limits: tuple[float, float], colour: str, hatched: bool, width: float = 0.36
) -> None:
    """A bar with its interval; one that leaves the axis ends there, and its value is written beside it."""
    low, high = limits
    height = min(max(figure.value, low), high)
    look = {"facecolor": "white", "edgecolor": colour, "hatch": "/////"} if hatched else {"facecolor": colour}
    axes.bar(x, height, width, linewidth=0.8, **look)
    if height != figure.value:
        vertical = {"ha": "center", "rotation": 90, "fontsize": 6.5, "color": "black"}
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        inside = low + 0.04 * (high - low) if height == low else high - 0.04 * (high - low)
        axes.text(
            x,
            inside,
            f"{figure.value:.3g}".replace("-", "−"),
            va="bottom" if height == low else "top",
            bbox=box,
            **vertical,
        )
    elif np.isfinite(figure.low):
        ends = np.clip([figure.low, figure.high], low, high)
        axes.plot([x, x], ends, color="black", linewidth=0.8, solid_capstyle="butt")


# --- Figure 3


def parity(model: Shown) -> Any:
    """Predicted against true barriers, with the histograms of both, and the shares of the error sizes."""
    sides = [split for split in (TRAIN, TEST) if split in model.on]
    figure = _figure(0.5 + 3.3 * len(sides), 3.7)
    figure.suptitle(model.name, fontsize=9)
    for part, split, colour in zip(_columns(figure, len(sides)), sides, (BLUE, PINK)[-len(sides) :], strict=True):
        letter = f"{'ab'[sides.index(split)]}) " if len(sides) > 1 else ""
        _parity_side(part, model, split, colour, letter + {TRAIN: "Training paths", TEST: "Test paths"}[split])
    return figure


def _parity_side(part: Any, model: Shown, split: str, colour: str, title: str) -> None:
    sample, has_value = model.sample(split), model.on[split].has_value
    true, predicted = sample.e_m, sample.predicted
    end = 1.06 * float(max(true.max(), min(predicted.max(), 1.4 * true.max())))
    start = min(0.0, 1.06 * float(max(predicted.min(), -0.4 * true.max())))
    drawn = np.clip(predicted, start, end)
    beyond = drawn != predicted
    grid = part.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5), wspace=0.04, hspace=0.04)
    axes = part.add_subplot(grid[1, 0])
    above, beside = part.add_subplot(grid[0, 0], sharex=axes), part.add_subplot(grid[1, 1], sharey=axes)
    axes.plot([start, end], [start, end], color="black", linewidth=0.7, zorder=1)
    inside = has_value & ~beyond
    axes.scatter(true[inside], drawn[inside], s=11, color=colour, alpha=0.65, linewidth=0, zorder=2)
    for chosen, marker, label in (
        (beyond, "^", "beyond the axis"),
        (~has_value & ~beyond, "x", "failed: train median"),
    ):
        if chosen.any():
            n = f"{label} ({chosen.sum()})"
            axes.scatter(
                true[chosen], drawn[chosen], s=16, marker=marker, color="black", lw=0.8, label=n, clip_on=False
            )
    axes.set_xlim(start, end)
    axes.set_ylim(start, end)
    axes.set_xlabel("literature $E_m$ (eV)", parse_math=True)
    axes.set_ylabel("predicted $E_m$ (eV)", parse_math=True)
    bins = np.linspace(start, end, 25)
    above.hist(true, bins=bins, color=colour, alpha=0.6)
    beside.hist(drawn, bins=bins, color=colour, alpha=0.6, orientation="horizontal")
    for margin in (above, beside):
        margin.axis("off")
    above.set_title(title)
    text = f"R² {number(model.r2[split].value, 3)}\nMAE {model.mae[split].value:.3f} eV\nn {len(true)}"
    axes.text(0.04, 0.97, text, transform=axes.transAxes, va="top", bbox=PLATE)
    if beyond.any() or not has_value.all():
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0.82), handletextpad=0.2, borderpad=0.2, **FRAMED)
    where = _emptiest((true - start) / (end - start), (drawn - start) / (end - start))
    _error_shares(axes.inset_axes(where, zorder=0), sample, colour)


def _emptiest(x: FloatArray, y: FloatArray) -> tuple[float, float, float, float]:
    """Where in the unit square the inset hides the fewest points: lower right, or upper left below the text."""
    width, height = 0.38, 0.25
    places = ((0.60, 0.09), (0.05, 0.46))
    hidden = [np.count_nonzero((x > a) & (x < a + width) & (y > b - 0.05) & (y < b + height + 0.08)) for a, b in places]
    return (*places[int(np.argmin(hidden))], width, height)


def _error_shares(axes: Any, sample: Sample, colour: str) -> None:
    """The inset: which share of the paths is off by how much."""
    names = ("share_below_100_mev", "share_100_300_mev", "share_above_300_mev")
    shares = [100 * float(BY_NAME[name](sample)) for name in names]
    axes.bar(range(3), shares, 0.8, color=colour, alpha=0.9)
    for k, share in enumerate(shares):
        axes.text(k, share + 2, f"{share:.0f}%", ha="center", fontsize=6.5)
    axes.set_xticks(range(3), ["<0.1", "0.1–0.3", ">0.3"], fontsize=6)
    axes.set_yticks([])
    axes.set_ylim(0, 1.3 * max(shares))
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0, pad=1.5)
    axes.set_title("|error| (eV)", fontsize=6.5, pad=2)
    axes.patch.set_alpha(0)


# --- Figure 4


def tracks(labels: Labels, split: str) -> dict[str, list[str]]:
    """Material -> its paths that the split holds out: the paper's four, or else those of the most paths."""
    ids = list(splits.held_out(labels, split))
    chosen = {name: [i for i in ids if re.fullmatch(re.escape(name) + r"_\d+", i)] for name in RACE_TRACKS}
    chosen = {name: of_one for name, of_one in chosen.items() if len(of_one) > 1}
    if chosen:
        return chosen
    by_material: dict[str, list[str]] = {}
    for path_id in ids:
        by_material.setdefault(labels.by_id[path_id].material_id, []).append(path_id)
    most = sorted((name for name, of_one in by_material.items() if len(of_one) > 1), key=lambda m: -len(by_material[m]))
    return {name: by_material[name] for name in most[:4]}


def race_track(models: Sequence[Shown], labels: Labels, split: str) -> Any:
    """Predictions for the paths of materials that have several; dashes are the literature's barriers."""
    chosen = tracks(labels, split)
    figure = _figure(1.1 + 0.72 * sum(map(len, chosen.values())) + 0.2 * len(chosen), 3.4 + 0.12 * len(models))
    axes = figure.add_subplot()
    spread = np.linspace(-0.32, 0.32, len(models)) if len(models) > 1 else [0.0]
    x, ticks, names = 0.0, [], []
    true = [labels.by_id[path_id].e_m_ev for ids in chosen.values() for path_id in ids]
    samples = [model.sample(split).predicted for model in models]
    rows = {path_id: k for k, path_id in enumerate(models[0].on[split].ids)}
    drawn = [predicted[rows[i]] for predicted in samples for ids in chosen.values() for i in ids]
    end = 1.12 * max(*true, min(max(drawn), 2 * max(true)))
    start = min(0.0, *drawn)
    for material, ids in chosen.items():
        first = x
        for path_id in ids:
            barrier = labels.by_id[path_id].e_m_ev
            axes.plot([x - 0.42, x + 0.42], [barrier, barrier], color="black", linestyle=(0, (4, 2)), linewidth=1)
            for k, predicted in enumerate(samples):
                value = predicted[rows[path_id]]
                if not models[k].on[split].has_value[rows[path_id]]:
                    continue
                look = {"color": MODEL_COLOURS[k % len(MODEL_COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
                axes.scatter(
                    x + spread[k],
                    min(value, 0.98 * end),
                    s=24,
                    lw=0.4,
                    edgecolor="white",
                    clip_on=False,
                    zorder=3,
                    **look,
                )
                if value > end:
                    axes.text(x + spread[k], 0.95 * end, f"{value:.2g}", ha="center", va="top", fontsize=6)
            ticks.append(x)
            names.append(path_id.rpartition("_")[2])
            x += 1
        ion = labels.by_id[ids[0]].mobile_ion
        axes.axvspan(first - 0.5, x - 0.5, color=TRACK_COLOURS.get(ion, "#eeeeee"), linewidth=0, zorder=0)
        axes.text((first + x - 1) / 2, 1.015, f"{material}\n{ion}", transform=axes.get_xaxis_transform(), ha="center")
        x += 0.2
    axes.set_xticks(ticks, names)
    axes.set_xlim(-0.6, x - 0.6)
    axes.set_ylim(start - 0.02 * end, end)
    axes.set_xlabel("path" + {TRAIN: ", of the training set", CV: ", held out with its framework"}.get(split, ""))
    axes.set_ylabel("$E_m$ (eV)", parse_math=True)
    handles = [
        axes.scatter([], [], s=24, color=MODEL_COLOURS[k % len(MODEL_COLOURS)], marker=MARKERS[k % len(MARKERS)])
        for k in range(len(models))
    ]
    labels_shown = [_short(model.name) for model in models]
    figure.legend(handles, labels_shown, loc="outside lower center", ncols=min(3, len(models)))
    return figure


def scenarios_and_classes(model: Shown, labels: Labels) -> Any:
    """|error| on the paper's three scenarios as violins, and the confusion matrix at `THRESHOLD_EV`."""
    figure = _figure(6.4, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    figure.suptitle(model.name, fontsize=9)
    _violins(left, model, labels)
    _classes(right, model)
    return figure


def _violins(axes: Any, model: Shown, labels: Labels) -> None:
    sample, ids = model.sample(TEST), model.on[TEST].ids
    chosen = splits.subsets(labels, TEST)
    position = {path_id: k for k, path_id in enumerate(ids)}
    names = []
    errors = [np.abs(sample.error)[[position[i] for i in chosen[f"scenario-{s.lower()}"]]] for s in splits.SCENARIOS]
    end = 1.05 * min(max((float(e.max()) for e in errors if len(e)), default=1.0), 4.0)
    for k, (scenario, size) in enumerate(zip(splits.SCENARIOS, errors, strict=True)):
        names.append(f"{scenario} ({len(size)})")
        if len(size) == 0:
            continue
        if len(size) > 1 and size.std() > 0:
            body = axes.violinplot([np.minimum(size, end)], [k], widths=0.8, showextrema=False, points=200)["bodies"][0]
            body.set(facecolor=SCENARIO_COLOURS[scenario], alpha=0.55, edgecolor="none")
        spots = np.sin(12.9898 * np.arange(len(size))) * 0.08  # apart from each other, the same each time
        axes.scatter(k + spots, np.minimum(size, end), s=5, color=SCENARIO_COLOURS[scenario], lw=0, zorder=2)
        axes.plot([k - 0.2, k + 0.2], [np.median(size)] * 2, color="black", linewidth=1.4, zorder=3)
        axes.plot(k, size.mean(), "o", markerfacecolor="white", markeredgecolor="black", markersize=5, zorder=4)
        if beyond := int((size > end).sum()):
            axes.text(k, end, f"{beyond} above", ha="center", va="bottom", fontsize=6.5)
    axes.set_xticks(range(3), names)
    axes.set_xlim(-0.6, 2.6)
    axes.set_ylim(0, end)
    axes.set_xlabel("scenario (paths)")
    axes.set_ylabel("|error| on the test paths (eV)")
    axes.set_title("line: median, circle: mean", fontsize=7, color="#444444")


def _classes(axes: Any, model: Shown) -> None:
    """The confusion matrix; where there are training predictions, each cell is cut in two triangles."""
    test = confusion(model.sample(TEST), THRESHOLD_EV)
    train = confusion(model.sample(TRAIN), THRESHOLD_EV) if TRAIN in model.on else None
    for count, colour, upper in ((train, BLUE, True), (test, PINK, False)):
        if count is not None:
            for (column, row), n in _cells(count).items():
                _triangle(axes, column, row, n, sum(count), colour, upper if train is not None else None)
    for k in range(3):
        axes.axhline(k, color="black", linewidth=0.8)
        axes.axvline(k, color="black", linewidth=0.8)
    axes.set(xlim=(0, 2), ylim=(0, 2), aspect="equal")
    axes.set_xticks([0.5, 1.5], ["good", "bad"])
    axes.set_yticks([0.5, 1.5], ["bad", "good"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("literature")
    right = (test.tp + test.tn) / sum(test)
    title = f"good: at most {THRESHOLD_EV} eV; {right:.1%} of test paths right"
    if train is not None:
        title += f"\nupper triangles: training paths, {(train.tp + train.tn) / sum(train):.1%} right"
    axes.set_title(title, fontsize=7, color="#444444")


def _cells(count: Confusion) -> dict[tuple[int, int], int]:
    """(column, row) from the lower left corner -> count: rows are the truth, columns the prediction."""
    return {(0, 1): count.tp, (1, 1): count.fn, (0, 0): count.fp, (1, 0): count.tn}


def _triangle(axes: Any, column: int, row: int, n: int, total: int, colour: str, upper: bool | None) -> None:
    """A half of a cell (upper left or lower right), or the whole of it, shaded by its share of all paths."""
    x, y = column, row
    corners = {
        True: ([(x, y), (x, y + 1), (x + 1, y + 1)], (x + 0.3, y + 0.7)),
        False: ([(x, y), (x + 1, y), (x + 1, y + 1)], (x + 0.7, y + 0.3)),
        None: ([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)], (x + 0.5, y + 0.5)),
    }
    points, middle = corners[upper]
    axes.fill(*zip(*points, strict=True), facecolor=colour, alpha=0.12 + 0.7 * n / total, linewidth=0)
    axes.text(*middle, f"{n}\n{n / total:.0%}", ha="center", va="center")
    if upper is not None:
        axes.plot([x, x + 1], [y, y + 1], color="black", linewidth=0.5)


# --- Parts


def _figure(width: float, height: float) -> Any:
    """A figure in inches that no window shows."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def _columns(figure: Any, n: int) -> list[Any]:
    found = figure.subfigures(1, n, squeeze=False)
    return list(found[0])


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
