"""Read `run.json`, which may come from anybody: what the program relies on in it is checked, the rest kept as it is.

`emigbench.run_record` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emigbench.datasets.hashing import predictions_hash
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError, first_fault, in_words, quoted
from emigbench.predictions import PREDICTIONS_FILE
from emigbench.run_record import DEEPEST, LARGEST_NUMBER, LARGEST_RUN, LONGEST_TEXT
from emigbench.storage import read_text

_WHO_WRITES_RUNS = "emigbench evaluate or init-submission writes one"


class _Unit(BaseModel):
    """What pages show of one fit, where a run record has it."""

    model_config = ConfigDict(strict=True)

    split: str = ""
    fold: str = ""
    seed: int = 0
    n_held_out: int = Field(default=0, ge=0)
    fit_seconds: float | None = Field(default=None, ge=0)
    predict_seconds: float | None = Field(default=None, ge=0)
    peak_memory_mb: float | None = Field(default=None, ge=0)
    details: dict[str, Any] = {}


class _Dataset(BaseModel):
    name: str | None = None
    version: str | None = None
    sha256: str


class _Run(BaseModel):
    """What the program relies on in `run.json`; the rest is kept as it is."""

    model_config = ConfigDict(strict=True)

    predictions_sha256: str
    dataset: _Dataset
    command: str = ""
    model: str = ""
    kind: str | None = None
    units: list[_Unit] = []
    versions: dict[str, str] = {}
    hardware: dict[str, str | int] = {}


def read(file: Path, labels: Labels) -> Mapping[str, Any]:
    """A run record of this dataset.

    Raises:
        EmigbenchError: one sentence about the first thing that is wrong.
    """
    run = parse(file)
    try:
        checked = _Run.model_validate(run)
    except ValidationError as error:
        raise EmigbenchError(f"{file} is not a run record: {first_fault(error)}; {_WHO_WRITES_RUNS}.") from error
    for key, said in checked.dataset.model_dump(exclude_none=True).items():
        if said != labels.identity[key]:
            raise EmigbenchError(
                f"{file} was made on another dataset ({key} {quoted(said[:12])}, that of {labels.name} "
                f"{labels.version} is {quoted(labels.identity[key][:12])}); evaluate again."
            )
    return run


def check_whose(run: Mapping[str, Any], predictions: str, file: Path) -> None:
    """Make sure that a run record belongs to the text of some predictions.

    Raises:
        EmigbenchError: if it belongs to others; it names the file.
    """
    digest, found = run["predictions_sha256"], predictions_hash(predictions)
    if digest != found:
        raise EmigbenchError(
            f"{file} belongs to other predictions (sha256 {quoted(digest[:12])}, {PREDICTIONS_FILE} has "
            f"{found[:12]}…); {_WHO_WRITES_RUNS}."
        )


def parse(file: Path) -> dict[str, Any]:
    """The content of a run record: bounded in size and depth, no number that JSON has not.

    Raises:
        EmigbenchError: if it is not there, or none.
    """
    text = read_text(file, LARGEST_RUN)
    try:
        run = _plain(json.loads(text), 0)
    except (ValueError, RecursionError) as error:
        raise EmigbenchError(f"{file} is not a run record ({in_words(error)}); {_WHO_WRITES_RUNS}.") from error
    if not isinstance(run, dict):
        raise EmigbenchError(f"{file} is not a run record: it holds no keys and values; {_WHO_WRITES_RUNS}.")
    return run


def _plain(value: Any, depth: int) -> Any:
    """A JSON value that every page can show: what is not printable in a text is replaced."""
    if depth > DEEPEST:
        raise ValueError(f"it nests deeper than {DEEPEST}")
    if isinstance(value, dict):
        return {_plain(key, depth): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"it has a text of more than {LONGEST_TEXT} characters")
        return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in value)
    if isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER:
        raise ValueError("it has a number that is too large or none")
    return value
