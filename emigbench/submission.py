"""A submission: a folder with `submission.yaml`, `predictions.csv` and `run.json`.

A person writes the first, the program the other two. A submission holds no scores: those are computed, always
by the current code. Nothing of it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emigbench.datasets.hashing import predictions_hash
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError, in_words
from emigbench.predictions import PREDICTIONS_FILE, PredictionSet, read_predictions
from emigbench.provenance import RUN_FILE
from emigbench.storage import read_text

CARD_FILE = "submission.yaml"
SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"

Kind = Literal["floor", "classical", "graph", "interatomic-potential", "hybrid", "published"]


class Card(BaseModel):
    """What a person says about a submission (`submission.yaml`); unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=80, description="name on the leaderboard")
    slug: str = Field(pattern=SLUG, max_length=60, description="name of the folder")
    version: str = Field(max_length=20)
    kind: Kind
    authors: list[str] = Field(min_length=1)
    source: str = Field(description="where the code or the figures are")
    paper: str = ""
    licence: str = ""
    inputs: str = Field(description="what the model is given of a path")
    training_data: str = Field(description="what it was fitted to")
    pretraining: str = ""
    n_parameters: int | None = Field(default=None, ge=0)
    notes: str = ""


@dataclass(frozen=True, eq=False)
class Submission:
    """A submission that was read and found valid.

    Attributes:
        card: what a person says about it.
        predictions: all its predictions.
        run: what the program recorded about the run.
    """

    card: Card
    predictions: PredictionSet
    run: Mapping[str, Any]


def read(folder: Path, labels: Labels) -> Submission:
    """Read and validate a submission folder.

    Raises:
        EmigbenchError: one sentence about the first thing that is wrong.
    """
    if not folder.is_dir():
        raise EmigbenchError(f"There is no submission folder {folder}.")
    card = read_card(folder / CARD_FILE)
    if card.slug != folder.resolve().name:
        raise EmigbenchError(
            f"{folder / CARD_FILE}: slug is {card.slug!r}, but the folder is {folder.resolve().name!r}."
        )
    predictions = read_predictions(folder / PREDICTIONS_FILE, labels)
    return Submission(card, predictions, read_run(folder, labels))


def read_card(file: Path) -> Card:
    """Read `submission.yaml`."""
    text = read_text(file)
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # PyYAML lets ValueError, KeyError, RecursionError and more through
        raise EmigbenchError(f"{file} is not valid YAML ({in_words(error)}).") from error
    if not isinstance(content, dict):
        raise EmigbenchError(f"{file} holds no keys and values.")
    try:
        return Card(**{str(key): value for key, value in content.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = "; put it in quotes" if first["type"] == "string_type" else ""
        raise EmigbenchError(f"{file}: {key!r}: {first['msg']}{hint}.") from error


def dataset_name(folder: Path) -> str | None:
    """The dataset that `run.json` names, or None if there is no such file or it names none."""
    try:
        return str(json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["dataset"]["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_run(folder: Path, labels: Labels) -> Mapping[str, Any]:
    """Read `run.json`, and make sure that it belongs to these predictions and this dataset."""
    file = folder / RUN_FILE
    text = read_text(file)
    try:
        run = json.loads(text)
        digest, dataset = run["predictions_sha256"], run["dataset"]["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EmigbenchError(
            f"{file} is not a run record ({in_words(error)}); emigbench evaluate writes one."
        ) from error
    found = predictions_hash(read_text(folder / PREDICTIONS_FILE).splitlines())
    if digest != found:
        raise EmigbenchError(
            f"{file} belongs to other predictions (sha256 {str(digest)[:12]}…, {PREDICTIONS_FILE} has {found[:12]}…)."
        )
    if dataset != labels.sha256:
        raise EmigbenchError(
            f"{file} was made on another dataset (sha256 {str(dataset)[:12]}…, {labels.name} {labels.version} has "
            f"{labels.sha256[:12]}…); evaluate again."
        )
    return dict(run)
