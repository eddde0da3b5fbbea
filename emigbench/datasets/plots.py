"""The dataset card's plots: what barriers, ions, structural groups and hop lengths the dataset holds.

PNG files without a date or a version in them: the same labels give the same bytes with the same matplotlib.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emigbench import drawing
from emigbench.datasets.labels import Facts, Labels

TRAIN_COLOUR, TEST_COLOUR, DOT_COLOUR, LINE_COLOUR = "#4477aa", "#ee7733", "#66aa88", "#444444"
DPI = 150
GOOD = 0.65
"""eV; the barrier up to which the paper calls a conductor good."""
END = 4.2
"""eV; barriers beyond are drawn at the end of the axis, and marked."""

_STYLE = {"font.size": 9, "axes.axisbelow": True, "grid.color": "#dddddd", "grid.linewidth": 0.6}


def draw(labels: Labels) -> dict[str, bytes]:
    """All plots: file name -> PNG."""
    drawings: dict[str, Callable[[Sequence[Facts]], Any]] = {
        "barriers.png": barriers,
        "hop-lengths.png": hop_lengths,
        "ions.png": ions,
        "groups.png": groups,
    }
    with drawing.looks(_STYLE):
        return {name: drawing.content(draw_one(labels), "png", dpi=DPI) for name, draw_one in drawings.items()}


def barriers(rows: Sequence[Facts]) -> Any:
    """Histogram of the barriers; what lies beyond `END` is counted in the last bar."""
    figure, axes = _canvas(6.4, 3.2)
    _histogram(axes, rows, lambda facts: facts.e_m_ev, np.arange(0, END + 0.01, 0.1), "eV")
    axes.axvline(GOOD, color=LINE_COLOUR, linewidth=1, linestyle="--")
    low = sum(facts.e_m_ev <= GOOD for facts in rows)
    note = f"{GOOD} eV, the paper's limit: {low} good conductors, {len(rows) - low} bad ones"
    axes.annotate(note, (GOOD, 1), (5, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top")
    axes.set_xlabel("Migration barrier (eV)")
    axes.legend(loc="center right")
    return figure


def hop_lengths(rows: Sequence[Facts]) -> Any:
    """Histogram of the straight hop lengths."""
    figure, axes = _canvas(6.4, 3.2)
    last = np.ceil(max(facts.hop_length_a for facts in rows))
    _histogram(axes, rows, lambda facts: facts.hop_length_a, np.arange(1, last + 0.01, 0.2), "Å")
    axes.set_xlabel("Straight length of the hop (Å)")
    axes.legend(loc="upper right")
    return figure


def ions(rows: Sequence[Facts]) -> Any:
    """Number of paths of each ion, and beside it the spread of their barriers."""
    figure, (left, right) = _canvas(6.4, 3.2, columns=2)
    names = [name for name, _ in Counter(facts.mobile_ion for facts in rows).most_common()]
    _bars(left, rows, lambda facts: facts.mobile_ion, names)
    left.legend(loc="lower right")
    _boxes(right, [[facts.e_m_ev for facts in rows if facts.mobile_ion == name] for name in names])
    right.set_yticks(range(len(names)), [])
    return figure


def groups(rows: Sequence[Facts]) -> Any:
    """Number of paths of each structural group, and beside it the spread of their barriers."""
    figure, (left, right) = _canvas(7.2, 6.2, columns=2)
    names = [name for name, _ in Counter(facts.structural_group for facts in rows).most_common()]
    _bars(left, rows, lambda facts: facts.structural_group, names)
    left.set_yticks(range(len(names)), [name.capitalize() for name in names])
    left.legend(loc="lower right")
    _boxes(right, [[facts.e_m_ev for facts in rows if facts.structural_group == name] for name in names])
    right.set_yticks(range(len(names)), [])
    return figure


def _histogram(axes: Any, rows: Sequence[Facts], value: Callable[[Facts], float], edges: Any, unit: str) -> None:
    """Stacked bars of both sides of the official split."""
    sides = [[min(value(facts), edges[-1]) for facts in rows if facts.split == side] for side in ("train", "test")]
    axes.hist(sides, bins=edges, stacked=True, color=[TRAIN_COLOUR, TEST_COLOUR], label=_labels(rows), rwidth=0.92)
    middle = float(np.median([value(facts) for facts in rows]))
    axes.plot([], [], " ", label=f"median {middle:.2f} {unit}")
    beyond = sum(value(facts) > edges[-1] for facts in rows)
    if beyond:
        note = f"{beyond} above {edges[-1]:g} {unit}"
        axes.annotate(note, (edges[-1], beyond), (-2, 14), textcoords="offset points", ha="right", fontsize=8)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel("Paths")
    axes.grid(axis="y")


def _bars(axes: Any, rows: Sequence[Facts], name_of: Callable[[Facts], str], names: Sequence[str]) -> None:
    counts = {side: Counter(name_of(facts) for facts in rows if facts.split == side) for side in ("train", "test")}
    train, test = ([counts[side][name] for name in names] for side in ("train", "test"))
    of_train, of_test = _labels(rows)
    axes.barh(range(len(names)), train, color=TRAIN_COLOUR, label=of_train)
    axes.barh(range(len(names)), test, left=train, color=TEST_COLOUR, label=of_test)
    for place, total in enumerate(np.add(train, test)):
        axes.annotate(f"{total}", (total, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("Paths")
    axes.grid(axis="x")


def _boxes(axes: Any, values: Sequence[Sequence[float]]) -> None:
    """Each barrier as a dot, the middle half as a box with the median; triangles stand for what is beyond `END`."""
    for place, own in enumerate(values):
        shifts = 0.3 * np.sin(2.4 * np.arange(len(own)))  # spreads the dots, the same way each time
        axes.plot(own, place + shifts, ".", color=DOT_COLOUR, alpha=0.5, markersize=4, markeredgewidth=0)
        if max(own) > END:
            axes.plot(END, place, ">", color=DOT_COLOUR, markersize=6, clip_on=False)
        low, middle, high = np.percentile(own, [25, 50, 75])
        axes.barh(place, high - low, left=low, height=0.75, fill=False, edgecolor=LINE_COLOUR, linewidth=0.8)
        axes.plot([middle, middle], [place - 0.375, place + 0.375], color=LINE_COLOUR, linewidth=1.6)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlim(0, END)
    axes.set_xlabel("Barrier (eV)")
    axes.grid(axis="x")


def _labels(rows: Sequence[Facts]) -> list[str]:
    n_train = sum(facts.split == "train" for facts in rows)
    return [f"train ({n_train})", f"test ({len(rows) - n_train})"]


def _canvas(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure in inches, and its axes."""
    figure = drawing.canvas(width, height)
    return figure, figure.subplots(1, columns)
