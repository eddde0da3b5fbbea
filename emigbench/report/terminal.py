"""A score as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from emigbench.metrics import BY_NAME
from emigbench.scoring import Figure, Score


def table(score: Score) -> str:
    """All figures of a score with their intervals, one a line."""
    from tabulate import tabulate

    head = (
        f"{score.dataset['name']} {score.dataset['version']}, split {score.split}: {score.n} paths, "
        f"{len(score.seeds)} seed(s), coverage {score.coverage:.1%}, not converged {score.not_converged:.1%}"
    )
    lines = _lines(score.metrics)
    for threshold, figures in score.classification.items():
        counts = " ".join(f"{name.upper()} {n:g}" for name, n in score.confusion[threshold].items())
        lines += [[f"E_m <= {threshold:g} eV is good", counts], *_lines(figures, indent="  ")]
    for name, (n, figures) in score.subsets.items():
        lines += [[f"{name} ({n} paths)"], *_lines(figures, indent="  ")]
    headers = ["", "value", "95% interval"]
    if len(score.seeds) > 1:
        headers += ["SD over seeds", "of mean prediction"]
    body = tabulate([line[: len(headers)] for line in lines], headers=headers, disable_numparse=True)
    return f"{head}\n\n{body}\n"


def _lines(figures: Mapping[str, Figure], indent: str = "") -> list[list[str]]:
    return [
        [
            indent + BY_NAME[name].label,
            "undefined" if math.isnan(figure.value) else f"{figure.value:.4f} {figure.unit}".rstrip(),
            "" if math.isnan(figure.low) else f"{figure.low:.4f} to {figure.high:.4f}",
            _number(figure.seed_sd),
            _number(figure.of_mean_prediction),
        ]
        for name, figure in figures.items()
    ]


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"
