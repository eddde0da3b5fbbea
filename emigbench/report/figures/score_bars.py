"""Figure 2b: the scores of all models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emigbench.drawing import canvas
from emigbench.report.figures.style import BLUE, GREY, LONGEST_NAME, PINK
from emigbench.report.figures.submissions import TEST, TRAIN, Shown
from emigbench.report.text import clean
from emigbench.scoring import Figure

BAR_WIDTH = 0.36


def scores(models: Sequence[Shown]) -> Any:
    """R² and MAE of all models on the training (solid) and test paths (hatched), with 95% intervals."""
    from matplotlib.patches import Patch

    models = [model for model in models if TEST in model.on or TRAIN in model.on]
    figure = canvas(max(3.6, 1.3 + 0.46 * len(models)), 4.6)
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
    names = [clean(model.name, LONGEST_NAME) for model in models]
    lower.set_xticks(range(len(models)), names, rotation=40, ha="right")
    lower.set_xlim(-0.6, len(models) - 0.4)
    return figure


def _bar(axes: Any, x: float, figure: Figure, limits: tuple[float, float], colour: str, hatched: bool) -> None:
    """A bar with its interval; one that leaves the axis ends there, and its value is written beside it."""
    low, high = limits
    height = min(max(figure.value, low), high)
    look = {"facecolor": "white", "edgecolor": colour, "hatch": "/////"} if hatched else {"facecolor": colour}
    axes.bar(x, height, BAR_WIDTH, linewidth=0.8, **look)
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
