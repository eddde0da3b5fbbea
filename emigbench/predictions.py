"""`predictions.csv`: sets of predictions, read with every id checked and written the same way each time."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emigbench import splits
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError
from emigbench.records import Prediction
from emigbench.storage import read_text, write_text

PREDICTIONS_FILE = "predictions.csv"
COLUMNS = ("split", "seed", "id", "e_m_ev", "std_ev", "status", "seconds")
REQUIRED_COLUMNS = ("id", "e_m_ev")
ALL_SPLITS = (*splits.SPLITS, splits.FITTED)

PredictionSet = Mapping[str, Mapping[int, Sequence[Prediction]]]
"""Split -> seed -> one prediction for each held-out path, in the order of the labels."""


def read_predictions(file: Path, labels: Labels, default_split: str = "official") -> PredictionSet:
    """Read predictions from CSV and check them against a dataset.

    Only `id` and `e_m_ev` are required columns; the others default to `default_split`, seed 0, no std, ok.

    Raises:
        EmigbenchError: naming the file, the line and the id at fault.
    """
    return grouped(_parse_rows(file, default_split), labels, str(file))


def grouped(rows: Iterable[tuple[str, int, Prediction]], labels: Labels, where: str) -> PredictionSet:
    """Order rows (split, seed, prediction) by split, seed and the labels' own order, and check the ids.

    Raises:
        EmigbenchError: if an id is unknown, given twice or missing.
    """
    found: dict[str, dict[int, dict[str, Prediction]]] = {}
    expected = {}
    for split, seed, prediction in rows:
        if split not in ALL_SPLITS:
            raise EmigbenchError(f"{where}: there is no split {split!r}; there are {', '.join(ALL_SPLITS)}.")
        if split not in expected:
            expected[split] = splits.held_out(labels, split)
        if prediction.id not in expected[split]:
            known = "is not held out by" if prediction.id in labels.by_id else f"is no path of {labels.name} in"
            raise EmigbenchError(f"{where}: {prediction.id!r} {known} split {split}.")
        of_seed = found.setdefault(split, {}).setdefault(seed, {})
        if prediction.id in of_seed:
            raise EmigbenchError(f"{where}: {prediction.id!r} is given twice for split {split}, seed {seed}.")
        of_seed[prediction.id] = prediction
    if not found:
        raise EmigbenchError(f"{where}: there are no predictions.")
    for split, seeds in found.items():
        for seed, given in seeds.items():
            if missing := [path_id for path_id in expected[split] if path_id not in given]:
                raise EmigbenchError(
                    f"{where}: {len(missing)} of {len(expected[split])} ids are missing for split {split}, seed "
                    f"{seed}, the first is {missing[0]!r}; give it a row with status failed if there is no value."
                )
    return {
        split: {seed: [found[split][seed][i] for i in expected[split]] for seed in sorted(found[split])}
        for split in ALL_SPLITS
        if split in found
    }


def write_predictions(predictions: PredictionSet, file: Path) -> None:
    """Write predictions as `read_predictions` reads them, the same bytes for the same values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for split, seeds in predictions.items():
        for seed, given in seeds.items():
            for p in given:
                values = (_number(p.e_m), _number(p.std), p.status, _number(p.seconds, ".4g"))
                writer.writerow((split, seed, p.id, *values))
    write_text(file, buffer.getvalue())


def _number(value: float | None, form: str = ".8g") -> str:
    return "" if value is None else f"{value:{form}}"


def _parse_rows(file: Path, default_split: str) -> Iterator[tuple[str, int, Prediction]]:
    reader = csv.reader(io.StringIO(read_text(file)), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, file)
        for values in reader:
            if values:
                yield _parse_row(header, values, f"{file}, line {reader.line_num}", default_split)
    except csv.Error as error:
        raise EmigbenchError(f"{file}, line {reader.line_num} is not CSV: {error}.") from error


def _check_header(header: list[str], file: Path) -> None:
    for name in header:
        if name not in COLUMNS:
            raise EmigbenchError(
                f"{file} has an unknown column {name!r}; columns are {', '.join(COLUMNS)} (barriers in eV)."
            )
    if len(set(header)) != len(header):
        raise EmigbenchError(f"{file} has a column twice.")
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise EmigbenchError(f"{file} has no column {name!r}; columns are {', '.join(COLUMNS)}.")


def _parse_row(header: list[str], values: list[str], where: str, default_split: str) -> tuple[str, int, Prediction]:
    if len(values) != len(header):
        raise EmigbenchError(f"{where} has {len(values)} values, the header has {len(header)}.")
    row = dict(zip(header, (value.strip() for value in values), strict=True))
    path_id, seed = row["id"], row.get("seed") or "0"
    if not path_id or not path_id.isprintable():
        raise EmigbenchError(f"{where}: {path_id!r} is no id.")
    if not (seed.isascii() and seed.isdigit() and len(seed) <= 9):
        raise EmigbenchError(f"{where}: seed {seed!r} of {path_id} is no whole number.")
    e_m, std, seconds = (_parse_number(row.get(name), f"{where}: {name} of {path_id}") for name in _NUMBERS)
    status: Any = row.get("status") or "ok"
    if status != "failed" and e_m is None:
        raise EmigbenchError(f"{where}: {path_id} has no e_m_ev; set its status to failed if there is none.")
    try:
        prediction = Prediction(path_id, e_m, std, status, seconds)
    except ValueError as error:
        raise EmigbenchError(f"{where}: {error}") from error
    return row.get("split") or default_split, int(seed), prediction


_NUMBERS = ("e_m_ev", "std_ev", "seconds")
_DECIMAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"  # float() also takes 1_000 and other alphabets' digits


def _parse_number(text: str | None, what: str) -> float | None:
    if not text:
        return None
    if not re.fullmatch(_DECIMAL, text, re.ASCII) or not math.isfinite(float(text)):
        raise EmigbenchError(f"{what} is {text!r}, expected a finite number.")
    return float(text)
