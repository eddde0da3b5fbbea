"""Figure 3: predicted against true barriers."""

from __future__ import annotations

from typing import Any

import numpy as np

from emigbench.drawing import canvas
from emigbench.metrics import BY_NAME, Sample
from emigbench.records import FloatArray
from emigbench.report.cells import number
from emigbench.report.figures.style import BLUE, FRAMED, PINK, PLATE
from emigbench.report.figures.submissions import TEST, TRAIN, Shown


def parity(model: Shown) -> Any:
    """Predicted against true barriers, with the histograms of both, and the shares of the error sizes."""
    sides = [split for split in (TRAIN, TEST) if split in model.on]
    figure = canvas(0.5 + 3.3 * len(sides), 3.7)
    figure.suptitle(model.name, fontsize=9)
    parts = figure.subfigures(1, len(sides), squeeze=False)[0]
    for part, split, letter in zip(parts, sides, ("a) ", "b) ") if len(sides) > 1 else ("",), strict=True):
        colour, title = {TRAIN: (BLUE, "Training paths"), TEST: (PINK, "Test paths")}[split]
        _parity_side(part, model, split, colour, letter + title)
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
