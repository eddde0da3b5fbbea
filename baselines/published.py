"""Published predictions -> `predictions.csv` and `run.json` of their submissions.

Run `python -m emigbench_baselines.published TABLE POTENTIALS [SUBMISSIONS]` with the authors' table
(TABULATION-GIT-HUB.xlsx of Devi, Butler, Sai Gautam, DOI 10.1038/s41524-026-01972-8) and the collected barriers of
universal potentials (Bheemaguli, Xiao, Sai Gautam, DOI 10.1039/d5dd00534e). The cards are written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from emigbench import Prediction, load_labels, submission
from emigbench.predictions import grouped
from emigbench.splits import FITTED, SPLITS

TRAIN_SHEET, TEST_SHEET, ALL_SHEET = "TRAINING-PREDICTIONS", "TEST-PREDICTIONS-BEST-MODEL", "COMPLETE-TABUATION"
BARRIER = "barrier_max_minus_min_ev"
"""How Bheemaguli et al. define the barrier: the highest image minus the lowest one."""

Values = Mapping[str, float]
Splits = Mapping[str, Values]


def from_table(table: Path) -> Iterator[tuple[str, Splits]]:
    """Slug and barriers in eV by split and id, for every model of the authors' table; NaN where it is blank."""
    sheets = pd.read_excel(table, sheet_name=[TRAIN_SHEET, TEST_SHEET, ALL_SHEET])
    train, test = sheets[TRAIN_SHEET].set_index("SYS_NAME"), sheets[TEST_SHEET].set_index("SYS_NAME")
    everything = sheets[ALL_SHEET].set_index("sys_name")
    for number in (1, 2, 3, 4):
        splits: dict[str, Values] = {FITTED: train[f"MODEL-{number}"].to_dict()}
        if number == 3:
            splits["official"] = test["PREDICTION"].to_dict()
        yield f"devi2026-model-{number}", splits
    for column in ("MACE-RELAX", "MACE-NO-RELAX"):
        of_model = everything[column]
        # fitted to nothing, it answers alike in whatever fold a path is held out
        of_all = {split: of_model.to_dict() for split in SPLITS if split != "official"}
        of_parts = {"official": of_model[test.index].to_dict(), FITTED: of_model[train.index].to_dict()}
        yield f"devi2026-{column.lower()}", of_parts | of_all


def from_potentials(file: Path) -> Iterator[tuple[str, Splits]]:
    """Slug and test barriers in eV of every universal potential; NaN where it is blank."""
    for potential, rows in pd.read_csv(file).groupby("potential"):
        yield f"bheemaguli2026-{potential}", {"official": rows.set_index("id")[BARRIER].to_dict()}


def write(folder: Path, splits: Splits, source: str) -> None:
    """Write the predictions of one published row; a blank becomes a failed path."""
    labels = load_labels("full")
    rows = [
        (split, 0, Prediction(path_id, None, status="failed") if pd.isna(value) else Prediction(path_id, float(value)))
        for split, values in splits.items()
        for path_id, value in values.items()
    ]
    submission.write_results(folder, grouped(rows, labels, folder.name), labels, {"copied_from": source})


def main(table: Path, potentials: Path, submissions: Path = Path("submissions")) -> None:
    """Write the predictions of all published rows."""
    for source, found in ((table, from_table(table)), (potentials, from_potentials(potentials))):
        for slug, splits in found:
            write(submissions / slug, splits, source.name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
