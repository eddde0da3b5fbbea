"""Figures 4c and 4d: errors on the paper's three scenarios, and the confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from emigbench import scoring, splits
from emigbench.datasets.labels import Labels
from emigbench.drawing import canvas
from emigbench.metrics import Confusion, confusion
from emigbench.report.figures.style import BLUE, PINK
from emigbench.report.figures.submissions import TEST, TRAIN, Shown

THRESHOLD_EV = scoring.THRESHOLDS_EV[0]
SCENARIO_COLOURS = {"A": "#4477aa", "B": "#ee9944", "C": "#55a868"}


def scenarios_and_classes(model: Shown, labels: Labels) -> Any:
    """|error| on the paper's three scenarios as violins, and the confusion matrix at `THRESHOLD_EV`."""
    figure = canvas(6.4, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    figure.suptitle(model.name, fontsize=9)
    _violins(left, model, labels)
    _classes(right, model)
    return figure


def _violins(axes: Any, model: Shown, labels: Labels) -> None:
    sample, rows = model.sample(TEST), splits.subset_rows(labels, TEST)
    names = []
    errors = [np.abs(sample.error)[rows[f"scenario-{scenario.lower()}"]] for scenario in splits.SCENARIOS]
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
