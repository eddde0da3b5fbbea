"""A submission: a folder with `submission.yaml`, `predictions.csv` and `run.json`.

A person writes the first, the program the other two. A submission holds no scores: those are computed, always
by the current code. Nothing of it is ever executed.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from emigbench import run_schema, unfinished
from emigbench.datasets.hashing import predictions_hash
from emigbench.datasets.labels import Labels
from emigbench.errors import EmigbenchError, first_fault, in_words, quoted
from emigbench.model import Kind
from emigbench.predictions import (
    LARGEST_FILE,
    MOST_SEEDS,
    PREDICTIONS_FILE,
    PredictionSet,
    parse_predictions,
    write_predictions,
)
from emigbench.provenance import command
from emigbench.run_record import RUN_FILE
from emigbench.storage import read_text, refuse_link, write_text

CARD_FILE = "submission.yaml"
FILES = (CARD_FILE, PREDICTIONS_FILE, RUN_FILE)
LONGEST_SLUG = 60
SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_NO_FILE_NAMES = ("con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10)))  # Windows
_PAGE_NAMES = ("index", "readme", "results", "figures", "compare", "your-run")
RESERVED = frozenset((*_NO_FILE_NAMES, *_PAGE_NAMES))
LARGEST_CARD = 64_000
"""Bytes."""

_BLANK = frozenset(
    (
        *(0x115F, 0x1160, 0x3164, 0xFFA0),  # Hangul fillers
        *(0x034F, 0x17B4, 0x17B5, 0x2800),  # grapheme joiner, Khmer inherent vowels, empty Braille pattern
        *(*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),  # variation selectors
    )
)
"""Code points of letters, marks and symbols, and yet nothing to see."""


def _shown_as_written(text: str) -> str:
    """Refuse what cannot be seen: control characters, zero widths, what turns the direction of text around."""
    for character in text:
        category = unicodedata.category(character)
        unseen = category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or ord(character) in _BLANK
        if unseen and character not in "\n\t":
            name = unicodedata.name(character, "a control character")
            raise ValueError(f"it holds U+{ord(character):04X} ({name}), which cannot be seen; take it out")
    return text


def _not_reserved(slug: str) -> str:
    if slug in RESERVED:
        raise ValueError(f"{slug} is a reserved name; choose another")
    return slug


Text = Annotated[str, AfterValidator(_shown_as_written)]


class Card(BaseModel):
    """What a person says about a submission (`submission.yaml`); unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: Text = Field(min_length=1, max_length=80, description="name on the leaderboard")
    slug: Annotated[str, AfterValidator(_not_reserved)] = Field(
        pattern=SLUG,
        max_length=LONGEST_SLUG,
        description="name of the folder: small letters, digits and single hyphens",
    )
    version: Text = Field(max_length=20, description="version of the model, in quotes")
    kind: Kind = Field(description="what sort of model it is")
    authors: list[Annotated[Text, Field(min_length=1, max_length=100)]] = Field(
        min_length=1, max_length=200, description="who made the model, one a line"
    )
    source: Text = Field(max_length=500, description="where the code or the figures are")
    paper: Text = Field(default="", max_length=500, description="citation or DOI")
    licence: Text = Field(default="", max_length=100, description="licence of the model, such as MIT")
    inputs: Text = Field(max_length=2000, description="what the model is given of a path")
    training_data: Text = Field(max_length=2000, description="what it was fitted to")
    pretraining: Text = Field(default="", max_length=2000, description="what it was fitted to before that")
    n_parameters: Annotated[int, Field(strict=True, ge=0, le=10**15)] | None = Field(
        default=None, description="number of fitted parameters"
    )
    notes: Text = Field(default="", max_length=4000, description="what a reader should know")


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


def folders(parent: Path) -> list[Path]:
    """The folders of all submissions below a folder, in the order of their names.

    Raises:
        EmigbenchError: if one is a symbolic link.
    """
    refuse_link(parent)
    for child in sorted(parent.iterdir()) if parent.is_dir() else ():
        refuse_link(child)
    return sorted({file.parent for name in (CARD_FILE, PREDICTIONS_FILE) for file in parent.glob(f"*/{name}")})


def read(folder: Path, labels: Labels) -> Submission:
    """Read and validate a submission folder.

    Raises:
        EmigbenchError: one sentence about the first thing that is wrong.
    """
    _check_folder(folder)
    card = read_card(folder / CARD_FILE)
    if card.slug != folder.resolve().name:
        raise EmigbenchError(
            f"{folder / CARD_FILE}: slug is {card.slug!r}, but the folder is {quoted(folder.resolve().name)}."
        )
    run = run_schema.read(folder / RUN_FILE, labels)
    text = read_text(folder / PREDICTIONS_FILE, LARGEST_FILE)
    predictions = parse_predictions(text, labels, str(folder / PREDICTIONS_FILE))
    check_seeds(predictions, folder / PREDICTIONS_FILE)
    run_schema.check_whose(run, text, folder / RUN_FILE)
    return Submission(card, predictions, run)


def check_seeds(predictions: PredictionSet, file: Path) -> None:
    """Make sure that a submission may have so many seeds.

    Raises:
        EmigbenchError: if there are more than `MOST_SEEDS` on a split; it names the file.
    """
    for split, seeds in predictions.items():
        if len(seeds) > MOST_SEEDS:
            raise EmigbenchError(f"{file} has {len(seeds)} seeds on split {split}; at most {MOST_SEEDS} are taken.")


def check_name(card: Card, others: Iterable[Card]) -> None:
    """Make sure that a name tells a submission from others, in whatever capitals and forms of letters it is written.

    Raises:
        EmigbenchError: if another one is called the same.
    """
    for other in others:
        if other.slug != card.slug and _as_read(other.name) == _as_read(card.name):
            raise EmigbenchError(
                f"{card.slug} and {other.slug} have the same name, {quoted(card.name)}; choose another in one "
                f"{CARD_FILE}."
            )


def cards_beside(folder: Path) -> list[Card]:
    """The cards of all submissions in the folder that one is in, without those that cannot be read."""
    found = []
    for file in sorted(folder.resolve().parent.glob(f"*/{CARD_FILE}")):
        with suppress(EmigbenchError):
            found.append(read_card(file))
    return found


def _as_read(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def read_card(file: Path) -> Card:
    """Read `submission.yaml`.

    Raises:
        EmigbenchError: one sentence about the first thing that is wrong.
    """
    text = read_text(file, LARGEST_CARD)
    try:
        content = yaml.load(text, _PlainLoader)  # a SafeLoader that takes even less
    except Exception as error:  # PyYAML lets ValueError, KeyError, RecursionError and more through
        raise EmigbenchError(f"{file} is not valid YAML ({in_words(error)}).") from error
    if not isinstance(content, dict):
        raise EmigbenchError(f"{file} holds no keys and values.")
    try:
        return Card(**{str(key): value for key, value in content.items() if value is not None or key not in _OPTIONAL})
    except ValidationError as error:
        raise EmigbenchError(f"{file}: {first_fault(error)}.") from error


_OPTIONAL = frozenset(name for name, field in Card.model_fields.items() if not field.is_required())


class _PlainLoader(yaml.SafeLoader):
    """Keys, values and lists: no tags that build objects, no aliases that multiply, no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {event.start_mark.line + 1} has an anchor (&) or an alias (*); write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"it has the key {quoted(twice)} twice")
        return super().construct_mapping(node, deep)


def dataset_name(file: Path) -> str | None:
    """The dataset that the `run.json` beside a `predictions.csv` names, or None if there is none or it names none."""
    if file.name != PREDICTIONS_FILE:
        return None
    try:
        return str(run_schema.parse(file.with_name(RUN_FILE))["dataset"]["name"])
    except (EmigbenchError, KeyError, TypeError):
        return None


def read_run(folder: Path, labels: Labels) -> Mapping[str, Any]:
    """Read `run.json`, and make sure that it belongs to these predictions and this dataset.

    Raises:
        EmigbenchError: one sentence about the first thing that is wrong.
    """
    unfinished.check_finished(folder / RUN_FILE)
    run = run_schema.read(folder / RUN_FILE, labels)
    run_schema.check_whose(run, read_text(folder / PREDICTIONS_FILE, LARGEST_FILE), folder / RUN_FILE)
    return run


def write_results(folder: Path, predictions: PredictionSet, labels: Labels, said: Mapping[str, Any]) -> None:
    """Write predictions in canonical form, and a run record that belongs to them.

    Args:
        folder: of the submission.
        predictions: all of them.
        labels: of the dataset.
        said: what else the record says; a command or dataset among it stands in place of this one.

    Raises:
        EmigbenchError: if the folder cannot be written to.
    """
    file = folder / PREDICTIONS_FILE
    write_predictions(predictions, file)
    record = {
        "command": command(),
        "dataset": labels.identity,
        **said,
        "predictions_sha256": predictions_hash(file.read_text(encoding="utf-8")),
    }
    write_text(folder / RUN_FILE, json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def recorded_kind(run: Mapping[str, Any]) -> Kind | None:
    """The kind that a run record names, or None where it names none of ours."""
    return next((kind for kind in get_args(Kind) if kind == run.get("kind")), None)


def _check_folder(folder: Path) -> None:
    """Make sure that a folder is one, and holds a submission's files and nothing else."""
    refuse_link(folder)
    if not folder.is_dir():
        raise EmigbenchError(f"There is no submission folder {folder}.")
    for child in sorted(folder.iterdir()):
        refuse_link(child)
        if child.name not in (*FILES, unfinished.FOLDER):
            raise EmigbenchError(
                f"{folder} holds {quoted(child.name)}, which is no part of a submission ({', '.join(FILES)})."
            )
        if child.name == unfinished.FOLDER and not child.is_dir():
            raise EmigbenchError(f"{child} is no folder of an unfinished run; take it away.")
