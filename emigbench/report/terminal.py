"""A score as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from emigbench.errors import on_one_line
from emigbench.report import cells
from emigbench.report.cells import label
from emigbench.report.names import SUBSET_LABELS
from emigbench.scoring import Figure, Score

if TYPE_CHECKING:
    from emigbench.comparison import Difference
    from emigbench.contribution import Standing


def table(score: Score) -> str:
    """All figures of a score with their intervals, one a line."""
    from tabulate import tabulate

    head = (
        f"{score.dataset['name']} {score.dataset['version']}, split {score.split}: {score.n} paths, "
        f"{len(score.seeds)} seed(s), coverage {score.coverage:.1%}, not converged {score.not_converged:.1%}"
    )
    lines = _lines(score.metrics, score)
    for threshold, figures in score.classification.items():
        counts = " ".join(f"{name.upper()} {n:g}" for name, n in score.confusion[threshold].items())
        lines += [[f"E_m <= {threshold:g} eV is good", counts], *_lines(figures, score, indent="  ")]
    for name, (n, figures) in score.subsets.items():
        lines += [[f"{SUBSET_LABELS[name]} ({n} paths)"], *_lines(figures, score, indent="  ")]
    headers = ["", "value", "95% interval"]
    if len(score.seeds) > 1:
        headers += ["SD over seeds", "of mean prediction"]
    if score.coverage < 1:
        head += "\nPaths without a value are scored with the median barrier of their training side."
    rows = [line[: len(headers)] for line in lines]
    body = tabulate(rows, headers=headers, disable_numparse=True, preserve_whitespace=True)
    return f"{head}\n\n{body}\n"


def beside_the_median(pair: Difference) -> str:
    """Whether a model beats the training median, by its MAE minus that of the median."""
    if math.isnan(pair.p):
        return ""
    if abs(pair.value) < 0.0005 and not pair.told_apart:
        return "The MAE is that of the training median.\n"
    size = f"{abs(pair.value):.3f} eV {'below' if pair.value < 0 else 'above'} that of the training median"
    told = f"[{pair.low:.3f}, {pair.high:.3f}], {'told apart from it' if pair.told_apart else 'not told apart from it'}"
    return f"The MAE is {size} (difference {told}, p = {cells.p_value(pair.p)}).\n"


def plain(pair: Difference) -> dict[str, float | int | bool | None]:
    """A difference as JSON has it; what is undefined is None."""
    named = {"mae_difference_ev": pair.value, "low_ev": pair.low, "high_ev": pair.high, "p": pair.p}
    return {**{name: cells.finite(value) for name, value in named.items()}, "told_apart": pair.told_apart}


def standings(name: str, found: Mapping[str, Standing]) -> str:
    """The row that a submission would get on each split, and which rows it is not told apart from."""
    return "\n".join(_standing(name, split, standing) for split, standing in found.items())


def _standing(name: str, split: str, standing: Standing) -> str:
    from tabulate import tabulate

    row = {"Model": on_one_line(name), **cells.columns(standing.score)}
    if standing.ranks is not None:
        row = {"Ranks": f"{standing.ranks[0]}–{standing.ranks[1]} of {standing.n_rows}", **row}
    lines = [
        f"{split}: {standing.score.n} paths",
        "",
        tabulate([row], headers="keys", tablefmt="github", disable_numparse=True),
        "",
    ]
    if standing.ranks is None:
        lines.append("These are paths that models were fitted to, so nobody is ranked.")
    elif standing.n_rows > 1:
        n = len(standing.tied)
        tied = f": {'; '.join(map(on_one_line, standing.tied))}" if n else ""
        rows = f"{standing.n_rows - 1} rows" if standing.n_rows > 2 else "1 row"
        lines.append(f"Not told apart from {n} of {rows} (5%, corrected for these comparisons alone){tied}.")
        if not math.isnan(standing.resolution):
            lines.append(
                f"Two models that differ by less than about {standing.resolution:.2f} eV mostly look alike here."
            )
    return "\n".join(lines) + "\n"


def _lines(figures: Mapping[str, Figure], score: Score, indent: str = "") -> list[list[str]]:
    return [
        [
            indent + label(name, score),
            "undefined" if math.isnan(figure.value) else f"{_number(figure.value)} {figure.unit}".rstrip(),
            "" if math.isnan(figure.low) else f"{_number(figure.low)} to {_number(figure.high)}",
            _number(figure.seed_sd),
            _number(figure.of_mean_prediction),
        ]
        for name, figure in figures.items()
    ]


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else cells.plain(value, 4)
