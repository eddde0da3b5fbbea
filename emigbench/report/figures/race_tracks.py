"""Figure 4a: how models run for the paths of one material."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emigbench import splits
from emigbench.datasets.labels import Labels
from emigbench.drawing import canvas
from emigbench.report.figures.style import LONGEST_NAME
from emigbench.report.figures.submissions import CV, TRAIN, Shown
from emigbench.report.text import clean

RACE_TRACKS = ("Li3OCl", "Ca2Mn2O5", "MgMnSiO4_pbnm", "a1-VOPO4_Na")
"""The materials of the paper's Figure 4a, by the start of their ids; paths are numbered from 1."""
MODEL_COLOURS = ("#cc6699", "#4477aa", "#228833", "#ee7733", "#882255", "#44aa99", "#997700", "#332288")
MARKERS = ("D", "^", "o", "s", "v", "P", "X", "p", "<", ">")
TRACK_COLOURS = {"Li": "#dfe9f5", "Na": "#fdf0d5", "K": "#eadcf4", "Mg": "#e0f0e3", "Ca": "#f7e1e1"}


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
    figure = canvas(1.1 + 0.72 * sum(map(len, chosen.values())) + 0.2 * len(chosen), 3.4 + 0.12 * len(models))
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
                if models[k].on[split].has_value[rows[path_id]]:
                    _runner(axes, x + spread[k], predicted[rows[path_id]], end, _look(k))
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
    handles = [axes.scatter([], [], s=24, **_look(k)) for k in range(len(models))]
    labels_shown = [clean(model.name, LONGEST_NAME) for model in models]
    figure.legend(handles, labels_shown, loc="outside lower center", ncols=min(3, len(models)))
    return figure


def _look(k: int) -> dict[str, str]:
    """Colour and marker of the k-th model."""
    return {"color": MODEL_COLOURS[k % len(MODEL_COLOURS)], "marker": MARKERS[k % len(MARKERS)]}


def _runner(axes: Any, x: float, value: float, end: float, look: Mapping[str, Any]) -> None:
    """A model's barrier for one path; one beyond the axis stands at its end, and is written beside it."""
    axes.scatter(x, min(value, 0.98 * end), s=24, lw=0.4, edgecolor="white", clip_on=False, zorder=3, **look)
    if value > end:
        axes.text(x, 0.95 * end, f"{value:.2g}", ha="center", va="top", fontsize=6)
