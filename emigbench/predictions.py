"""`predictions.csv`: sets of predictions, read with every id checked and written the same way each time."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from emigbench import splits
from emigbench.datasets.labels import Labels, labels_of
from emigbench.errors import EmigbenchError, quoted
from emigbench.records import Prediction, Status
from emigbench.storage import csv_text, read_text, write_text

if TYPE_CHECKING:
    from emigbench.datasets.store import Dataset

PREDICTIONS_FILE = "predictions.csv"
INTERVAL_COLUMNS = ("low_ev", "high_ev")
COLUMNS = ("split", "seed", "id", "e_m_ev", "std_ev", "status", "seconds", *INTERVAL_COLUMNS)
REQUIRED_COLUMNS = ("id", "e_m_ev")
LARGEST_FILE = 20_000_000
"""Bytes; five seeds on every split are 0.2 MB."""
LARGEST_EV = 100.0
"""Beyond this a number is no barrier: published values from unrelaxed bands reach 86 eV."""
MOST_SEEDS = 20
"""Scoring time grows with the seeds."""
LARGEST_SEED = 999_999_999
LONGEST_ID, LONGEST_LINE, MOST_LINES = 200, 2_000, 200_000
ALL_SPLITS = (*splits.NAMES, splits.FITTED)

PredictionSet = Mapping[str, Mapping[int, Sequence[Prediction]]]
"""Split -> seed -> one prediction for each held-out path, in the order of the labels."""


def read_predictions(file: Path | str, data: Dataset | Labels, default_split: str = "official") -> PredictionSet:
    """Read predictions from CSV and check them against a dataset, or its labels alone.

    Only `id` and `e_m_ev` are required columns; the others default to `default_split`, seed 0, no std, ok.

    Raises:
        EmigbenchError: naming the file and the id at fault, and the line where a row by itself is wrong.
    """
    return parse_predictions(read_text(Path(file), LARGEST_FILE), labels_of(data), str(file), default_split)


def read_split(file: Path, labels: Labels, split: str) -> Mapping[int, Sequence[Prediction]]:
    """The predictions of each seed on one split; of a file without that column, all of them.

    Raises:
        EmigbenchError: if the file is not valid, or has none for the split.
    """
    predictions = read_predictions(file, labels, default_split=split)
    if split not in predictions:
        raise EmigbenchError(f"{file} has no predictions for split {split}; it has {', '.join(predictions)}.")
    return predictions[split]


def parse_predictions(text: str, labels: Labels, where: str, default_split: str = "official") -> PredictionSet:
    """The predictions in the text of a CSV file, as `read_predictions` reads them; `where` names it in errors."""
    return grouped(_parse_rows(text, where, default_split), labels, where)


def grouped(rows: Iterable[tuple[str, int, Prediction]], labels: Labels, where: str) -> PredictionSet:
    """Order rows (split, seed, prediction) by split, seed and the labels' own order, and check the ids.

    Raises:
        EmigbenchError: if an id is unknown, given twice or missing.
    """
    found: dict[str, dict[int, dict[str, Prediction]]] = {}
    expected = {}
    for split, seed, prediction in rows:
        _check_split(split, where)
        if split not in expected:
            expected[split] = splits.held_out(labels, split)
        if prediction.id not in expected[split]:
            known = "is not held out by" if prediction.id in labels.by_id else f"is no path of {labels.name} in"
            raise EmigbenchError(f"{where}: {quoted(prediction.id)} {known} split {split}.")
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


def write_predictions(predictions: Mapping[str, Mapping[int, Iterable[Prediction]]], file: Path | str) -> None:
    """Write predictions, such as `{"official": {0: model.predict(test)}}`, as `read_predictions` reads them.

    The same values give the same bytes.
    A file of a model without intervals has no columns for them.

    Raises:
        EmigbenchError: if there is no such split or seed, or something else than predictions by split and seed.
    """
    rows = list(_rows(predictions, str(file)))
    with_intervals = any(p.low is not None for _, _, p in rows)
    columns = COLUMNS if with_intervals else COLUMNS[: -len(INTERVAL_COLUMNS)]
    lines = (
        (split, seed, p.id, _number(p.e_m), _number(p.std), p.status, _number(p.seconds, ".4g"))
        + ((_number(p.low), _number(p.high)) if with_intervals else ())
        for split, seed, p in rows
    )
    write_text(Path(file), csv_text([columns, *lines]))


def listed(given: Iterable[Prediction]) -> list[Prediction]:
    """The predictions of one seed; anything else, such as numbers, is refused in words."""
    found = list(given) if isinstance(given, Iterable) else [given]
    if others := [p for p in found if not isinstance(p, Prediction)]:
        raise EmigbenchError(
            f"A prediction is a {type(others[0]).__name__}; give one emigbench.Prediction(id, e_m) for each path, and "
            f"several seeds as {{seed: predictions}}."
        )
    return found


def as_seed(value: object) -> int:
    """A seed as a file of predictions has it.

    Raises:
        EmigbenchError: if it is no whole number, negative or of more than nine digits.
    """
    if isinstance(value, Integral) and 0 <= int(value) <= LARGEST_SEED:
        return int(value)
    raise EmigbenchError(f"{quoted(value)} is no seed; seeds are whole numbers from 0 to {LARGEST_SEED}.")


def is_implausible(value: float | None) -> bool:
    """Whether a number is no barrier or standard deviation in eV, whatever the model."""
    return value is not None and abs(value) > LARGEST_EV


def as_scored(prediction: Prediction) -> Prediction:
    """A prediction, failed where its barrier, standard deviation or interval is beyond what one can be."""
    if any(map(is_implausible, (prediction.e_m, prediction.std, prediction.low, prediction.high))):
        return Prediction(prediction.id, None, status="failed")
    return prediction


def as_written(value: float) -> float:
    """A barrier or standard deviation in eV to the eight digits that a file has of it."""
    return float(_number(value))


def _number(value: float | None, form: str = ".8g") -> str:
    return "" if value is None else f"{value:{form}}"


def _rows(
    predictions: Mapping[str, Mapping[int, Iterable[Prediction]]], where: str
) -> Iterator[tuple[str, int, Prediction]]:
    if not isinstance(predictions, Mapping) or not all(isinstance(seeds, Mapping) for seeds in predictions.values()):
        raise EmigbenchError(
            f"{where}: predictions are written by split and seed; give {{'official': {{0: predictions}}}}."
        )
    for split, seeds in predictions.items():
        _check_split(split, where)
        for seed, given in seeds.items():
            for prediction in listed(given):
                yield split, as_seed(seed), prediction


def _check_split(split: str, where: str) -> None:
    if split not in ALL_SPLITS:
        raise EmigbenchError(f"{where}: there is no split {quoted(split)}; there are {', '.join(splits.NAMES)}.")


def _parse_rows(text: str, where: str, default_split: str) -> Iterator[tuple[str, int, Prediction]]:
    reader = csv.reader(_lines(text, where), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, where)
        for values in reader:
            if values:
                yield _parse_row(header, values, f"{where}, line {reader.line_num}", default_split)
    except csv.Error as error:
        raise EmigbenchError(f"{where}, line {reader.line_num} is not CSV: {error}.") from error


def _lines(text: str, where: str) -> Iterator[str]:
    """The lines of a text, neither longer nor more than rows can be."""
    if text.count("\n") > MOST_LINES:
        raise EmigbenchError(f"{where} has more than {MOST_LINES} lines.")
    for number, line in enumerate(io.StringIO(text), start=1):
        if len(line) > LONGEST_LINE:
            raise EmigbenchError(f"{where}, line {number} is longer than {LONGEST_LINE} characters.")
        yield line


_LIKELY = {column.replace("_", "").removesuffix("ev"): column for column in COLUMNS}
"""What a column is probably meant to be: its name in small letters and without the unit -> the one that is read."""


def _check_header(header: list[str], where: str) -> None:
    for name in header:
        if name not in COLUMNS:
            advice = f"columns are {', '.join(COLUMNS)} (barriers in eV)"
            if likely := _LIKELY.get(name.lower().replace("_", "")):
                advice = f"call it {likely} if that is what it holds"
            elif not name:
                advice = "if it is the index of a pandas table, write that with index=False"
            elif name.startswith("sep="):
                advice = "delete this line, which only Excel reads"
            elif ";" in name or "\t" in name:
                advice = "columns are separated by commas"
            raise EmigbenchError(f"{where} has an unknown column {quoted(name)}; {advice}.")
    if len(set(header)) != len(header):
        raise EmigbenchError(f"{where} has a column twice.")
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise EmigbenchError(f"{where} has no column {name!r}; columns are {', '.join(COLUMNS)}.")


def _parse_row(header: list[str], values: list[str], where: str, default_split: str) -> tuple[str, int, Prediction]:
    if len(values) != len(header):
        raise EmigbenchError(f"{where} has {len(values)} values, the header has {len(header)}.")
    row = dict(zip(header, (value.strip() for value in values), strict=True))
    path_id, seed = row["id"], row.get("seed") or "0"
    if not path_id or not path_id.isprintable() or len(path_id) > LONGEST_ID:
        raise EmigbenchError(f"{where}: {quoted(path_id)} is no id.")
    if not re.fullmatch(_SEED, seed, re.ASCII):
        raise EmigbenchError(f"{where}: seed {quoted(seed)} of {path_id} is no whole number from 0 to {LARGEST_SEED}.")
    e_m, std, seconds, low, high = (_parse_number(row.get(name), f"{where}: {name} of {path_id}") for name in _NUMBERS)
    status: Any = row.get("status") or "ok"
    if status not in get_args(Status):
        expected = ", ".join(get_args(Status))
        raise EmigbenchError(f"{where}: status {quoted(status)} of {path_id} is none of {expected}.")
    if status != "failed" and e_m is None:
        raise EmigbenchError(f"{where}: {path_id} has no e_m_ev; set its status to failed if there is none.")
    for name, value in (("e_m_ev", e_m), ("std_ev", std), ("low_ev", low), ("high_ev", high)):
        if is_implausible(value):
            raise EmigbenchError(
                f"{where}: {name} of {path_id} is {value:g} eV, which is beyond the plausible {LARGEST_EV:g} eV; "
                f"check the unit, or set its status to failed."
            )
    try:
        prediction = Prediction(path_id, e_m, std, status, seconds, low, high)
    except ValueError as error:
        raise EmigbenchError(f"{where}: {error}") from error
    return row.get("split") or default_split, int(float(seed)), prediction


_NUMBERS = ("e_m_ev", "std_ev", "seconds", *INTERVAL_COLUMNS)
_SEED = r"\d{1,9}(\.0+)?"  # pandas writes 0.0 once a column has held a gap
_DECIMAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"  # float() also takes 1_000 and other alphabets' digits


def _parse_number(text: str | None, what: str) -> float | None:
    if not text:
        return None
    if not re.fullmatch(_DECIMAL, text, re.ASCII) or not math.isfinite(float(text)):
        raise EmigbenchError(f"{what} is {quoted(text)}, expected a finite number such as 0.5.")
    return float(text)
