"""Figures for papers: Devi et al.'s Figures 2b, 3 and 4 for any set of submissions, as SVG and PDF.

What they draw differs from the paper's where honesty asks for it: bars have 95% intervals, values beyond an axis are
marked and written out, and race tracks leave out paths that a model has no value for. The learning curve (Figure 4b)
is on the pages of the models that have one. The same submissions give the same bytes: letters are drawn as outlines of
the font that matplotlib brings, ids are hashed with a fixed salt, and no date is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from emigbench.datasets.labels import Labels
from emigbench.report.figures.parity_plot import parity
from emigbench.report.figures.race_tracks import race_track, tracks
from emigbench.report.figures.scenario_plots import scenarios_and_classes
from emigbench.report.figures.score_bars import scores
from emigbench.report.figures.style import Drawing, rendered, write
from emigbench.report.figures.submissions import CV, TEST, TRAIN, Shown, shown

__all__ = ["drawings", "rendered", "shown", "write"]


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
